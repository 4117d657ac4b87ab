#!/usr/bin/env bash
# Compares LogitSpec with plain decoding: installs missing build tools, builds, answers one question
# with both methods, and measures both.
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

# Answers the question with a method and shows the statistics.
show() {
    echo
    echo "── $2 ──"
    "$logitspec" generate -m "$model" --method "$1" -n 400 -f "$prompt" 2>"$scratch/log" ||
        {
            cat "$scratch/log" >&2
            exit 1
        }
    grep -E '^(decode|accepted)' "$scratch/log"
}

prompt=scripts/demo_prompt.txt
echo
echo "── the question ──"
cat "$prompt"
show baseline "plain decoding"
show logitspec "LogitSpec"

echo
echo "── five answers of each, in turn ──"
"$logitspec" compare -m "$model" -n 400 --runs 5 -f "$prompt"
if [ "$model" = "$demo_model" ]; then
    echo
    echo "On the bundled model speculation gains little: a pass takes very little time."
    echo "docs/benchmarks.md has the results of larger models."
fi
