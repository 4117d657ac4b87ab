#!/usr/bin/env bash
# Runs the scripts in tests/clients against `logitspec serve` with the demo model. Clients whose
# language or package is missing are skipped, and named.
#
#   scripts/clients.sh [PROGRAM]
#
# PYTHON names the Python to use, NODE_PATH where packages of Node.js are.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-target/release/logitspec}
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT

"$program" serve -m data/models/logitspec-demo.gguf --port 0 --json \
    >"$folder/ready" 2>"$folder/log" &
server=$!
for _ in $(seq 600); do
    [ -s "$folder/ready" ] && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$folder/ready")
if [ -z "$url" ]; then
    cat "$folder/log" >&2
    exit 1
fi
export OPENAI_BASE_URL=$url/v1

skip() { echo "skipped: $*" >&2; }

python_client() {
    if ! command -v "$python" >/dev/null; then
        skip "$1: there is no $python"
    elif ! "$python" -c "import $2" 2>/dev/null; then
        skip "$1: the package $3 is not installed"
    else
        "$python" "tests/clients/$1"
    fi
}

# Node.js looks for packages of modules beside the script only.
node_client() {
    local packages=${NODE_PATH:-tests/clients/node_modules}
    if ! command -v node >/dev/null; then
        skip "$1: there is no node"
    elif [ ! -d "$packages/openai" ]; then
        skip "$1: the package openai is not in $packages"
    else
        cp "tests/clients/$1" "$folder/$1"
        ln -s "$(cd "$packages" && pwd)" "$folder/node_modules"
        node "$folder/$1"
    fi
}

if command -v curl >/dev/null; then
    curl -sS --fail "$url/health" >/dev/null
    curl -sS --fail "$OPENAI_BASE_URL/chat/completions" -H 'Content-Type: application/json' \
        -d '{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}' |
        grep -q '"finish_reason"'
    echo "curl: done"
else
    skip "curl: it is not installed"
fi
python_client openai_python.py openai openai
python_client langchain_python.py langchain_openai langchain-openai
node_client openai_node.mjs
