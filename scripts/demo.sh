#!/usr/bin/env bash
# Shows LogitSpec beside plain decoding: installs missing build tools, builds, fetches a real model,
# answers two prompts with both methods, and measures both. The first prompt asks for a text that
# copies from it, the second one for a text that does not.
#
#   scripts/demo.sh                       asks before it installs or fetches, if there is a terminal
#   scripts/demo.sh --yes                 does not ask
#   scripts/demo.sh --model FILE.gguf     uses another model
#
# The real model is SmolLM2-135M-Instruct, 98 MB (see scripts/fetch_model.sh). Without it, the model
# of this repository answers. The first run compiles llama.cpp: about 8 minutes on two cores.
set -euo pipefail
cd_from=$PWD
cd "$(dirname "$0")/.."

usage() {
    echo "usage: scripts/demo.sh [--yes] [--model FILE.gguf]" >&2
    exit 2
}

yes=false
bundled=data/models/logitspec-demo.gguf
real=data/models/SmolLM2-135M-Instruct.Q4_1.gguf
model=
while [ $# -gt 0 ]; do
    case $1 in
    --yes | -y) yes=true ;;
    --model | -m)
        [ $# -ge 2 ] || usage
        case $2 in /*) model=$2 ;; *) model=$cd_from/$2 ;; esac
        shift
        ;;
    *) usage ;;
    esac
    shift
done
if [ -n "$model" ] && [ ! -r "$model" ]; then
    echo "demo: $model is missing; check --model" >&2
    exit 2
elif [ ! -r "$bundled" ] && [ -z "$model" ]; then
    echo "demo: $bundled is missing; it is part of the repository:" \
        "run git checkout -- data/models" >&2
    exit 2
fi

# Whether to fetch the real model. Without a terminal nobody can be asked.
wants_real_model() {
    ! $yes || return 0
    [ -t 0 ] || return 1
    local answer
    read -r -p "demo: fetch a real model, SmolLM2-135M-Instruct (98 MB)? [Y/n] " answer
    case $answer in "" | [Yy]*) ;; *) return 1 ;; esac
}

# Asked first, so that nobody has to wait for the build to answer.
fetch=false
if [ -n "$model" ]; then
    :
elif [ -f "$real" ]; then
    model=$real
elif wants_real_model; then
    fetch=true
else
    echo "demo: the model of this repository answers; --yes fetches a real one (98 MB)" >&2
    model=$bundled
fi

if $yes; then scripts/setup.sh --yes; else scripts/setup.sh; fi
command -v cargo >/dev/null || . "$HOME/.cargo/env"
logitspec=${CARGO_TARGET_DIR:-target}/release/logitspec
[ -x "$logitspec" ] ||
    echo "demo: building llama.cpp and logitspec, about 8 minutes on two cores" >&2
cargo build --release --locked
if $fetch; then
    model=$real
    LOGITSPEC=$logitspec scripts/fetch_model.sh smollm2 || {
        echo "demo: so the model of this repository answers" >&2
        model=$bundled
    }
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
color=()
[ ! -t 1 ] || color=(--color-drafts)

# Answers a prompt with a method and shows the statistics.
answer() {
    echo
    echo "── $3 ──"
    "$logitspec" generate -m "$model" -n 200 -f "$1" --method "$2" "${@:4}" 2>"$scratch/log" ||
        {
            cat "$scratch/log" >&2
            exit 1
        }
    grep -E '^(decode|accepted)' "$scratch/log"
}

# Shows a prompt and both answers.
show() {
    echo
    echo "════ $2 ════"
    cat "$1"
    answer "$1" baseline "plain decoding"
    answer "$1" logitspec "LogitSpec" ${color[@]+"${color[@]}"}
}

if [ "$model" = "$bundled" ]; then
    copies=scripts/demo_summary.txt new=scripts/demo_prompt.txt
else
    copies=scripts/demo_edit.txt new=scripts/demo_new.txt
fi
show "$copies" "a prompt whose answer copies from it"
show "$new" "a prompt whose answer is new text"

echo
echo "════ side by side: three answers of each, in turn ════"
"$logitspec" compare -m "$model" -n 200 --runs 3 -f "$copies" -f "$new"
echo
if [ "$model" = "$bundled" ]; then
    echo "On the bundled model speculation gains little: a pass takes very little time."
fi
echo "Your own model and prompts: $logitspec compare -m MODEL.gguf -f PROMPT.txt"
