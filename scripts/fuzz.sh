#!/usr/bin/env bash
# Builds the fuzz targets and runs each for some seconds:
#
#   scripts/fuzz.sh SECONDS [TARGET…]      all targets, or those named
#
# Stops at the first finding and says how to replay it; exits 0 only if there was none. Needs a C++
# compiler (libFuzzer is compiled) and installs cargo-fuzz if it is missing. Any toolchain will do:
# without sanitizers, which code without `unsafe` has little use for, nothing needs a nightly one.
set -euo pipefail

cd "$(dirname "$0")/.."

if [[ ! ${1-} =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: scripts/fuzz.sh SECONDS [TARGET…]" >&2
    exit 2
fi
seconds=$1
shift

if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz.sh: cargo-fuzz is missing, installing it" >&2
    cargo install --locked cargo-fuzz
fi

mapfile -t all < <(cargo fuzz list)
targets=("${@:-${all[@]}}")
for target in "${targets[@]}"; do
    if [[ ! " ${all[*]} " == *" $target "* ]]; then
        echo "fuzz.sh: no target is called $target; there are: ${all[*]}" >&2
        exit 2
    fi
done

for target in "${targets[@]}"; do
    echo "fuzz.sh: $target for $seconds s" >&2
    # -max_len: long inputs add time, not situations.
    cargo fuzz run --sanitizer none "$target" -- \
        -max_total_time="$seconds" -max_len=1024 -timeout=20 -print_final_stats=1
done
echo "fuzz.sh: no findings" >&2
