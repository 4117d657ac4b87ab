#!/usr/bin/env bash
# Installs what building logitspec needs and is missing: a C++ compiler, cmake, libclang.
#
#   scripts/setup.sh          says what it will install and asks first, if there is a terminal to ask on
#   scripts/setup.sh --yes    does not ask
#
# Run again at no cost: what is there is not touched.
set -euo pipefail

yes=false
for arg in "$@"; do
    case $arg in
    --yes | -y) yes=true ;;
    *)
        echo "usage: scripts/setup.sh [--yes]" >&2
        exit 2
        ;;
    esac
done

say() { echo "setup: $*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    # The places where bindgen looks: the loader's cache, and the folders of installed LLVMs.
    { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null || true; } | grep -q 'libclang\(-[0-9.]*\)\?\.so' && return 0
    local dir
    for dir in /usr/lib /usr/lib64 /usr/lib/llvm*/lib /usr/lib64/llvm*/lib /usr/lib/*-linux-gnu \
        /opt/homebrew/opt/llvm/lib /usr/local/opt/llvm/lib /Library/Developer/CommandLineTools/usr/lib; do
        # Not libclang-cpp, which some systems have without the library that bindgen loads.
        compgen -G "$dir/libclang.so*" >/dev/null && return 0
        compgen -G "$dir/libclang-[0-9]*.so*" >/dev/null && return 0
        compgen -G "$dir/libclang.dylib" >/dev/null && return 0
    done
    return 1
}

missing=()
have c++ || have g++ || have clang++ || missing+=(compiler)
have cmake || missing+=(cmake)
have make || have ninja || missing+=(make)
have_libclang || missing+=(libclang)

if ! have cargo; then
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    have cargo || {
        say "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"
        exit 2
    }
fi

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

# What each thing is called here.
package() {
    case $1:$2 in
    apt:compiler) echo g++ ;;
    apt:libclang) echo libclang-dev ;;
    dnf:compiler) echo gcc-c++ ;;
    dnf:libclang) echo clang-devel ;;
    pacman:compiler) echo gcc ;;
    pacman:libclang) echo clang ;;
    brew:compiler) echo gcc ;;
    brew:libclang) echo llvm ;;
    *) echo "$2" ;;
    esac
}

if have apt-get; then
    manager=apt
elif have dnf; then
    manager=dnf
elif have pacman; then
    manager=pacman
elif have brew; then
    manager=brew
else
    say "missing: ${missing[*]}; no apt, dnf, pacman or brew was found, so please install them by hand"
    exit 2
fi

packages=()
for thing in "${missing[@]}"; do
    packages+=("$(package "$manager" "$thing")")
done

sudo=()
if [ "$manager" != brew ] && [ "$(id -u)" -ne 0 ]; then
    have sudo || {
        say "missing: ${packages[*]}; installing them needs root: run 'scripts/setup.sh' as root, or install them by hand"
        exit 2
    }
    sudo=(sudo)
fi

say "will install with $manager: ${packages[*]}"
if ! $yes && [ -t 0 ]; then
    read -r -p "setup: go on? [Y/n] " answer
    case $answer in
    "" | [Yy]*) ;;
    *)
        say "nothing was installed"
        exit 2
        ;;
    esac
fi

case $manager in
apt)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}"
    ;;
dnf) "${sudo[@]}" dnf install -y -q "${packages[@]}" ;;
pacman) "${sudo[@]}" pacman -S --needed --noconfirm "${packages[@]}" ;;
brew) brew install "${packages[@]}" ;;
esac
say "done"
