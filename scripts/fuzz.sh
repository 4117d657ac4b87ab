#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a number of seconds:
#
#   scripts/fuzz.sh SECONDS [TARGET…]      all targets, or those named
#
# Stops at the first finding and prints how to replay it. The exit code is 0 if there is none. Needs
# a
# C++ compiler for libFuzzer, and installs cargo-fuzz if it is missing. A stable toolchain is
# enough,
# because there are no sanitizers: the code under test has no `unsafe`.
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
        echo "fuzz.sh: there is no target $target; the targets are: ${all[*]}" >&2
        exit 2
    fi
done

for target in "${targets[@]}"; do
    echo "fuzz.sh: $target for $seconds s" >&2
    # -max_len: longer inputs only take more time.
    cargo fuzz run --sanitizer none "$target" -- \
        -max_total_time="$seconds" -max_len=1024 -timeout=20 -print_final_stats=1
done
echo "fuzz.sh: no findings" >&2
