#!/usr/bin/env bash
# Compares LogitSpec with plain decoding: installs missing build tools, builds, and answers one
# question with both methods.
#
#   scripts/demo.sh                       asks before it installs anything, if there is a terminal
#   scripts/demo.sh --yes                 does not ask
#   scripts/demo.sh --model FILE.gguf     uses another model
#
# The first run compiles llama.cpp: about 8 minutes on two cores.
set -euo pipefail
cd_from=$PWD
cd "$(dirname "$0")/.."

usage() {
    echo "usage: scripts/demo.sh [--yes] [--model FILE.gguf]" >&2
    exit 2
}

setup=()
demo_model=data/models/logitspec-demo.gguf
model=$demo_model
while [ $# -gt 0 ]; do
    case $1 in
    --yes | -y) setup+=(--yes) ;;
    --model | -m)
        [ $# -ge 2 ] || usage
        case $2 in /*) model=$2 ;; *) model=$cd_from/$2 ;; esac
        shift
        ;;
    *) usage ;;
    esac
    shift
done
if [ ! -r "$model" ]; then
    if [ "$model" = "$demo_model" ]; then
        fix="it is part of the repository: run git checkout -- data/models"
    else
        fix="check --model"
    fi
    echo "demo: $model is missing; $fix" >&2
    exit 2
fi

scripts/setup.sh ${setup[@]+"${setup[@]}"}
command -v cargo >/dev/null || . "$HOME/.cargo/env"
logitspec=${CARGO_TARGET_DIR:-target}/release/logitspec
[ -x "$logitspec" ] ||
    echo "demo: building llama.cpp and logitspec, about 8 minutes on two cores" >&2
cargo build --release --locked

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Answers the question with a method. Writes the statistics to a file.
answer() {
    "$logitspec" generate -m "$model" --method "$1" -n 400 -f scripts/demo_prompt.txt \
        2>"$scratch/$1.log" ||
        {
            cat "$scratch/$1.log" >&2
            exit 1
        }
    sed -n 's/^decode .*, \([0-9.]*\) tokens\/s.*/\1/p' "$scratch/$1.log" >>"$scratch/$1.speeds"
}

show() {
    echo
    echo "── $2 ──"
    answer "$1" | tee "$scratch/$1.txt"
    grep -E '^(decode|accepted)' "$scratch/$1.log"
}

# The median of an odd number of speeds.
median() {
    sort -n "$1" | awk '{ speed[NR] = $1 } END { print speed[(NR + 1) / 2] }'
}

echo
echo "── the question ──"
cat scripts/demo_prompt.txt
show baseline "plain decoding"
show logitspec "LogitSpec"

# Take five answers of each method, in turn, because the speed of a machine varies.
for _ in 1 2 3 4; do
    answer baseline >/dev/null
    answer logitspec >/dev/null
done
if cmp -s "$scratch/baseline.txt" "$scratch/logitspec.txt"; then
    same="the answers are the same"
else
    same="the answers differ: see docs/exactness.md"
fi
echo
bundled=0
[ "$model" != "$demo_model" ] || bundled=1
plain=$(median "$scratch/baseline.speeds")
fast=$(median "$scratch/logitspec.speeds")
awk -v bundled=$bundled -v plain="$plain" -v fast="$fast" -v same="$same" 'BEGIN {
    printf "plain decoding  %8.1f tokens/s\n", plain
    printf "LogitSpec       %8.1f tokens/s\n", fast
    printf "ratio           %8.2f  (medians of five answers each; %s)\n", fast / plain, same
    if (bundled && fast < 1.1 * plain) {
        print "\nOn the bundled model speculation gains little: a pass takes very little time."
        print "docs/benchmarks.md has the results of larger models."
    }
}'
