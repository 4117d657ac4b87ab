#!/usr/bin/env bash
# Evaluates a model: runs plain decoding and LogitSpec on question sets and writes a report.
#
#   scripts/eval.sh MODEL.gguf                        on spec_bench
#   scripts/eval.sh MODEL.gguf gsm8k humaneval        on other sets: data/SET/question.jsonl
#   scripts/eval.sh MODEL.gguf spec_bench -- FLAGS    with more flags for `logitspec bench`, such as
#                                                     --template vicuna
#
# Answers go to data/SET/model_answer/ of this checkout, unless FLAGS say otherwise. The report with
# its plots goes to MODEL-report.html in the same folder. The same command resumes a run that was
# stopped, unless it has --overwrite.
#
# Environment variables:
#
#   LOGITSPEC    a program to use instead of building one
#   DATA_DIR     the folder of the question sets, instead of data
#
# The exit code is that of logitspec, or 2 for bad usage or a missing question set.
set -euo pipefail

usage() {
    echo "usage: scripts/eval.sh MODEL.gguf [SET…] [-- FLAGS of logitspec bench…]" >&2
    exit 2
}

absolute() {
    case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$PWD/$1" ;; esac
}

[ $# -ge 1 ] || usage
case $1 in -*) usage ;; esac
model=$(absolute "$1")
shift
sets=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in -*) usage ;; esac
    sets+=("$1")
    shift
done
[ $# -eq 0 ] || shift
[ ${#sets[@]} -gt 0 ] || sets=(spec_bench)
for flag in "$@"; do
    [ "$flag" != --json ] || {
        echo "eval: the report cannot be made with --json;" \
            "use logitspec bench --json, then logitspec report --json" >&2
        exit 2
    }
done
if [ ! -r "$model" ]; then
    echo "eval: $model cannot be read; name a GGUF file" >&2
    exit 2
fi
logitspec=${LOGITSPEC:+$(absolute "$LOGITSPEC")}
root=$(cd "$(dirname "$0")/.." && pwd)
data=${DATA_DIR:+$(absolute "$DATA_DIR")}
data=${data:-$root/data}

for set in "${sets[@]}"; do
    [ -f "$data/$set/question.jsonl" ] && continue
    echo "eval: $data/$set/question.jsonl is missing;" \
        "scripts/fetch_data.sh $set fetches the public sets" >&2
    exit 2
done
if [ -z "$logitspec" ]; then
    "$root/scripts/setup.sh"
    command -v cargo >/dev/null || . "$HOME/.cargo/env"
    # In a subshell, because FLAGS may name files relative to the current folder.
    (cd "$root" && cargo build --release --locked)
    logitspec=$(cd "$root" && absolute "${CARGO_TARGET_DIR:-target}/release/logitspec")
fi

figures=$(mktemp)
trap 'rm -f "$figures"' EXIT
for set in "${sets[@]}"; do
    echo "== $set" >&2
    code=0
    "$logitspec" bench -m "$model" --data-dir "$data" --bench-name "$set" "$@" >"$figures" ||
        code=$?
    cat "$figures"
    [ $code -eq 0 ] || exit $code
    # The last line is the command for the report, quoted for a shell.
    report=$(sed -n 's/^all figures: logitspec //p' "$figures")
    if [ -z "$report" ]; then
        echo "eval: no report, because it needs the method baseline and another one" >&2
        continue
    fi
    eval "set_report=($report)"
    page=$(dirname "${set_report[1]}")/$(basename "$model" .gguf)-report.html
    "$logitspec" "${set_report[@]}" --html "$page"
    echo "the page with plots: $page" >&2
done
