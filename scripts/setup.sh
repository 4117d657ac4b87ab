#!/usr/bin/env bash
# Installs missing build tools: a C++ compiler, cmake, make and libclang.
#
#   scripts/setup.sh          asks before it installs anything, if there is a terminal
#   scripts/setup.sh --yes    does not ask
#
# It does nothing if all tools are installed.
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

have_compiler() {
    # On a Mac the commands exist even if the tools are not installed.
    [ "$(uname)" != Darwin ] || xcode-select -p >/dev/null 2>&1 || return 1
    { have cc || have gcc || have clang; } && { have c++ || have g++ || have clang++; }
}

# The root of the system's folders. Tests use another one.
root=${LOGITSPEC_SETUP_ROOT:-}

# Whether a folder has libclang, which bindgen loads. libclang-cpp is another library.
holds_libclang() {
    compgen -G "$1/libclang.so*" >/dev/null || compgen -G "$1/libclang-[0-9]*.so*" >/dev/null ||
        compgen -G "$1/libclang.dylib" >/dev/null
}

# Whether libclang and its headers are installed.
have_libclang() {
    # The user has set the path.
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    local dir found=false
    local xcode="$root"/Applications/Xcode.app/Contents/Developer
    # bindgen searches the cache of the loader and the folders of LLVM.
    { ldconfig -p 2>/dev/null || "$root/sbin/ldconfig" -p 2>/dev/null || true; } |
        grep -q 'libclang\(-[0-9.]*\)\?\.so' && found=true
    for dir in "$root"/opt/homebrew/opt/llvm/lib "$root"/usr/local/opt/llvm/lib \
        "$root"/Library/Developer/CommandLineTools/usr/lib \
        "$xcode"/Toolchains/XcodeDefault.xctoolchain/usr/lib; do
        holds_libclang "$dir" && return 0
    done
    for dir in "$root"/usr/lib "$root"/usr/lib64 "$root"/usr/lib/llvm*/lib \
        "$root"/usr/lib64/llvm*/lib "$root"/usr/lib/*-linux-gnu; do
        holds_libclang "$dir" && found=true
    done
    $found || return 1
    # clang comes with the headers.
    have clang && return 0
    for dir in "$root"/usr/lib "$root"/usr/lib64 "$root"/usr/local/lib \
        "$root"/usr/lib/llvm*/lib "$root"/usr/lib64/llvm*/lib; do
        compgen -G "$dir/clang/*/include/stddef.h" >/dev/null && return 0
    done
    return 1
}

find_missing() {
    missing=()
    have_compiler || missing+=(compiler)
    have cmake || missing+=(cmake)
    have make || missing+=(make)
    have_libclang || missing+=(libclang)
}

if ! have cargo; then
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    have cargo || {
        say "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"
        exit 2
    }
fi
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
version=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
if [ "$(printf '%s\n' "$needed" "$version" | sort -V | head -n 1)" != "$needed" ]; then
    say "rustc is $version, $needed or later is needed:" \
        "run 'rustup update', or install Rust with rustup (https://rustup.rs)"
    exit 2
fi

if [ -n "${LIBCLANG_PATH:-}" ] && [ ! -f "$LIBCLANG_PATH" ] &&
    ! holds_libclang "$LIBCLANG_PATH"; then
    say "LIBCLANG_PATH is $LIBCLANG_PATH, which has no libclang:" \
        "unset it, or set it to the folder of libclang.so (libclang.dylib on a Mac)"
    exit 2
fi
find_missing
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

if [ "$(uname)" = Darwin ] && ! have_compiler; then
    say "Apple's command line tools are missing: run 'xcode-select --install', then this again"
    exit 2
fi

# The name of a package.
package() {
    case $1:$2 in
    apt:compiler) echo g++ ;;
    apt:libclang) echo libclang-dev ;;
    dnf:compiler) echo gcc-c++ ;;
    dnf:libclang) echo clang-devel ;;
    pacman:compiler) echo gcc ;;
    pacman:libclang) echo clang ;;
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
    say "missing: ${missing[*]};" \
        "no apt, dnf, pacman or brew was found, so please install them by hand"
    exit 2
fi

packages=()
for thing in "${missing[@]}"; do
    packages+=("$(package "$manager" "$thing")")
done

sudo=()
if [ "$manager" != brew ] && [ "$(id -u)" -ne 0 ]; then
    have sudo || {
        say "missing: ${packages[*]}; installing them needs root:" \
            "run 'scripts/setup.sh' as root, or install them by hand"
        exit 2
    }
    sudo=(sudo)
fi

say "will install with $manager: ${packages[*]}"
if ! $yes && [ -t 0 ]; then
    read -r -p "setup: continue? [Y/n] " answer
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
pacman)
    # Fetch the package list only if there is none, as in a container. A new list with old packages
    # is a partial upgrade, which pacman does not support.
    compgen -G "/var/lib/pacman/sync/*.db" >/dev/null || "${sudo[@]}" pacman -Sy --noconfirm
    "${sudo[@]}" pacman -S --needed --noconfirm "${packages[@]}"
    ;;
brew) brew install "${packages[@]}" ;;
esac
find_missing
if [ ${#missing[@]} -gt 0 ]; then
    say "$manager succeeded, but these are still missing: ${missing[*]};" \
        "please install them by hand"
    exit 2
fi
say "done"
