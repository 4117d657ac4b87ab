#!/usr/bin/env bash
# Fetches the public question sets of papers on speculative decoding:
#
#   scripts/fetch_data.sh                      all: spec_bench, cnndm, gsm8k, humaneval
#   scripts/fetch_data.sh spec_bench gsm8k     some
#   scripts/fetch_data.sh --from DIR [SET…]    from a local copy: DIR/SET/question.jsonl
#
# Each set becomes data/SET/question.jsonl, which `logitspec bench --bench-name SET` reads. The sets
# come from the repository of LogitSpec's authors. scripts/data.sha256 has their checksums; another
# file is refused. Existing sets are only checked.
#
# The exit code is 0 if all sets are there, and 2 if a set cannot be fetched or has a wrong
# checksum.
set -euo pipefail
cd_from=$PWD
cd "$(dirname "$0")/.."

home=https://raw.githubusercontent.com/smart-lty/LogitSpec/HEAD/data
sets=(spec_bench cnndm gsm8k humaneval)

# The checksum of a set. Empty if there is no such set.
expected_sum() {
    awk -v name="$1/question.jsonl" '$2 == name { print $1 }' scripts/data.sha256
}

die() {
    echo "fetch_data: $*" >&2
    exit 2
}

sum_of() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1"
    else
        shasum -a 256 "$1" # macOS
    fi | cut -d ' ' -f 1
}

from=
wanted=()
while [ $# -gt 0 ]; do
    case $1 in
    --from)
        [ $# -ge 2 ] || die "--from needs the folder that holds SET/question.jsonl"
        from=$2
        shift
        ;;
    -*) die "unknown flag $1; usage: scripts/fetch_data.sh [--from DIR] [SET…]" ;;
    *)
        [ -n "$(expected_sum "$1")" ] || die "there is no set called $1; there are: ${sets[*]}"
        wanted+=("$1")
        ;;
    esac
    shift
done
[ ${#wanted[@]} -gt 0 ] || wanted=("${sets[@]}")
case $from in
"" | /*) ;;
*) from=$cd_from/$from ;;
esac

# Fetches or copies a set.
get() {
    local set=$1 to=$2
    if [ -n "$from" ]; then
        [ -r "$from/$set/question.jsonl" ] ||
            die "$from/$set/question.jsonl is missing; check --from"
        cp "$from/$set/question.jsonl" "$to"
    elif command -v curl >/dev/null; then
        curl --fail --location --silent --show-error --retry 3 --connect-timeout 15 \
            --output "$to" "$home/$set/question.jsonl" 2>"$to.log" ||
            die "cannot fetch $home/$set/question.jsonl ($(tail -n 1 "$to.log"));" \
                "check the network, or copy it from elsewhere with --from DIR"
    elif command -v wget >/dev/null; then
        wget --quiet --tries=3 --timeout=15 --output-document="$to" "$home/$set/question.jsonl" ||
            die "cannot fetch $home/$set/question.jsonl;" \
                "check the network, or copy it from elsewhere with --from DIR"
    else
        die "needs curl or wget; or copy the sets from elsewhere with --from DIR"
    fi
}

scratch=
trap 'rm -rf "$scratch"; rmdir "data/$set" 2>/dev/null || true' EXIT
for set in "${wanted[@]}"; do
    file=data/$set/question.jsonl
    if [ -f "$file" ] && [ "$(sum_of "$file")" = "$(expected_sum "$set")" ]; then
        echo "fetch_data: $file is there" >&2
        continue
    fi
    mkdir -p "data/$set"
    # Use a temporary folder next to the file, and rename at the end, so that the file is complete.
    scratch=$(mktemp -d "data/$set/.fetch.XXXXXX")
    get "$set" "$scratch/question.jsonl"
    sum=$(sum_of "$scratch/question.jsonl")
    [ "$sum" = "$(expected_sum "$set")" ] ||
        die "$set has a wrong checksum (sha256 $sum, expected $(expected_sum "$set"));" \
            "nothing was changed"
    chmod 644 "$scratch/question.jsonl"
    mv -f "$scratch/question.jsonl" "$file"
    rm -rf "$scratch"
    echo "fetch_data: $file, $(wc -l <"$file" | tr -d ' ') questions" >&2
done
