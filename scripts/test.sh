#!/usr/bin/env bash
# Installs what is missing and runs all checks: formatting, lints, documentation and tests.
#
#   scripts/test.sh          asks before it installs anything, if there is a terminal
#   scripts/test.sh --yes    does not ask
#
# It tests a real model as well if scripts/fetch_model.sh has fetched one.
#
# llama.cpp is built once, because everything that needs it uses the release profile: about 13
# minutes on two cores the first time (6 after scripts/demo.sh), 3 after that.
set -euo pipefail
cd "$(dirname "$0")/.."

for arg in "$@"; do
    case $arg in
    --yes | -y) ;;
    *)
        echo "usage: scripts/test.sh [--yes]" >&2
        exit 2
        ;;
    esac
done

scripts/setup.sh "$@"
have_cargo_env="$HOME/.cargo/env"
command -v cargo >/dev/null || . "$have_cargo_env"

for tool in fmt clippy; do
    cargo $tool --version >/dev/null 2>&1 || {
        echo "test: cargo $tool is missing:" \
            "run 'rustup component add rustfmt clippy', then this again" >&2
        exit 2
    }
done

step() { echo "== $*" >&2; }

step "formatting"
cargo fmt --all --check

step "lints"
cargo clippy --release --workspace --all-targets --locked -- -D warnings

step "the pure core alone"
cargo clippy --release --lib --no-default-features --locked -- -D warnings
# With llama.cpp, without kernels of our own.
cargo clippy --release --lib --no-default-features --features llama --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" \
    cargo doc --release --workspace --no-deps --locked --document-private-items

if [ -f fuzz/Cargo.toml ]; then
    step "fuzz targets build"
    cargo check --quiet --manifest-path fuzz/Cargo.toml --locked
fi

step "tests of the pure core, with debug assertions"
cargo test --no-default-features --locked --no-fail-fast

step "tests"
# All of them, so that one run tells all that is wrong.
cargo test --release --workspace --locked --no-fail-fast

step "tests on a real model"
if [ -f data/models/SmolLM2-135M-Instruct.Q4_1.gguf ]; then
    cargo test --release --locked --test real_model -- --ignored
else
    echo "test: skipped: there is no real model; scripts/fetch_model.sh fetches it" >&2
fi

step "clients of the server"
scripts/clients.sh
