#!/usr/bin/env bash
# Builds logitspec with a GPU backend and checks the answers of that backend.
#
#   scripts/test_gpu.sh                      Vulkan
#   scripts/test_gpu.sh --backend cuda       NVIDIA; the CUDA toolkit must be installed
#   scripts/test_gpu.sh --backend metal      Apple
#   scripts/test_gpu.sh --yes                does not ask before it installs anything
#
# Vulkan needs no GPU: without one, Mesa's software device computes, at some 4 tokens/s. It is asked
# less then. Missing packages are installed, with apt. The Vulkan headers of Debian 12 are too old
# for llama.cpp; those of Debian 13 are unpacked into the build folder and used instead.
#
# Builds go to target/gpu-BACKEND: with llama.cpp some 15 minutes on two cores the first time. The
# exit code is 0 if all answers are those of plain decoding on the same device, 1 if one is not, and
# 2 if something is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "test_gpu: $*" >&2
    exit 2
}

say() { echo "test_gpu: $*" >&2; }

usage="usage: scripts/test_gpu.sh [--backend vulkan|cuda|metal] [--yes]"
backend=vulkan
yes=false
while [ $# -gt 0 ]; do
    case $1 in
    --yes | -y) yes=true ;;
    --backend)
        [ $# -ge 2 ] || die "$usage"
        backend=$2
        shift
        ;;
    *) die "unknown argument $1; $usage" ;;
    esac
    shift
done
case $backend in
vulkan | cuda | metal) ;;
*) die "there is no backend $backend; $usage" ;;
esac

if $yes; then scripts/setup.sh --yes; else scripts/setup.sh; fi
command -v cargo >/dev/null || . "$HOME/.cargo/env"
built=$PWD/target/gpu-$backend
have() { command -v "$1" >/dev/null 2>&1; }

# Installs what Vulkan needs and is missing.
install_vulkan() {
    local missing=() sudo=() answer
    have glslc || missing+=(glslc)
    [ -e /usr/include/vulkan/vulkan.h ] || missing+=(libvulkan-dev)
    compgen -G "/usr/share/cmake/SPIRV-Headers*" >/dev/null ||
        compgen -G "/usr/*/cmake/SPIRV-Headers*" >/dev/null || missing+=(spirv-headers)
    compgen -G "/usr/share/vulkan/icd.d/*" >/dev/null || missing+=(mesa-vulkan-drivers)
    have vulkaninfo || missing+=(vulkan-tools)
    [ ${#missing[@]} -gt 0 ] || return 0
    have apt-get || die "missing: ${missing[*]} (names of Debian's packages); install them"
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "missing: ${missing[*]}; installing them needs root"
        sudo=(sudo)
    fi
    say "will install with apt: ${missing[*]}"
    if ! $yes && [ -t 0 ]; then
        read -r -p "test_gpu: continue? [Y/n] " answer
        case $answer in "" | [Yy]*) ;; *) die "nothing was installed" ;; esac
    fi
    ${sudo[@]+"${sudo[@]}"} apt-get update -qq
    ${sudo[@]+"${sudo[@]}"} env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq "${missing[@]}" >/dev/null
}

# Unpacks the Vulkan headers of Debian 13 into the build folder, if those of the system are too old.
# Nothing of the system changes: they come through a list of sources of their own, from the archive
# that this system uses.
newer_headers() {
    ! grep -q VkLayerSettingEXT /usr/include/vulkan/vulkan_core.h || return 0
    export VULKAN_SDK=$built/vulkan
    [ ! -e "$VULKAN_SDK/include/vulkan/vulkan.h" ] || return 0
    local archive keys=/usr/share/keyrings/debian-archive-keyring.gpg apt=$built/apt
    archive=$(apt-cache policy libvulkan-dev | awk '$2 ~ /^https?:/ { print $2; exit }')
    [ -n "$archive" ] && [ -f "$keys" ] ||
        die "the Vulkan headers are too old: install 1.3.275 or later, or set VULKAN_SDK"
    say "the Vulkan headers of this system are too old, fetching those of Debian 13"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$VULKAN_SDK"
    echo "deb [signed-by=$keys] $archive trixie main" >"$apt/sources.list"
    local options=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=)
    apt-get "${options[@]}" update >/dev/null
    (cd "$apt" && apt-get "${options[@]}" download libvulkan-dev >/dev/null)
    dpkg-deb --extract "$apt"/libvulkan-dev_*.deb "$apt/package"
    # The headers only: the system's library is the one that programs load.
    mv "$apt/package/usr/include" "$VULKAN_SDK/include"
    rm -rf "$apt"
}

software=false
case $backend in
vulkan)
    install_vulkan
    [ -n "${VULKAN_SDK:-}" ] || newer_headers
    types=$(vulkaninfo --summary 2>/dev/null | grep deviceType || true)
    case $types in
    *_GPU*) ;;
    *CPU*) software=true ;;
    *) die "vulkaninfo finds no device: install a driver" ;;
    esac
    ;;
cuda)
    have nvcc || [ -n "${CUDA_PATH:-}" ] || die "there is no nvcc: install the CUDA toolkit"
    have nvidia-smi || die "there is no nvidia-smi: install the driver; a GPU is needed to test"
    ;;
metal) [ "$(uname)" = Darwin ] || die "Metal is Apple's: run this on a Mac" ;;
esac

say "building llama.cpp and logitspec with $backend into $built"
build=(cargo test --release --locked --features "$backend" --test llama)
export CARGO_TARGET_DIR=$built
"${build[@]}" --no-run

check=("$built/release/logitspec" exactness -m data/models/logitspec-demo.gguf)
tests=()
if $software; then
    say "there is no GPU: Mesa's software device computes"
    # llama.cpp takes a processor's device only if it is named. Mesa offers half precision and
    # matrices, too, but slowly.
    export GGML_VK_VISIBLE_DEVICES=0 GGML_VK_DISABLE_F16=1 GGML_VK_DISABLE_COOPMAT=1
    check+=(--question-end 2 -n 24 --capacities 24 --methods logitspec,prompt-lookup)
    # The tests that ask for few tokens.
    tests=(a_second_turn_continues_the_first_one the_last_row_equals)
fi
# Without one, the processor would compute, and all would be well.
"$built/release/logitspec" devices --json | grep -q '"kind":"[a-z ]*GPU"' || $software ||
    die "llama.cpp finds no device for $backend: see logitspec devices"
failed=()
# One at a time: a second one would wait for the device.
say "tests"
"${build[@]}" -- --test-threads 1 ${tests[@]+"${tests[@]}"} || failed+=("tests of llama.cpp")
say "answers against plain decoding on this device"
"${check[@]}" || failed+=("logitspec exactness")
if [ ${#failed[@]} -gt 0 ]; then
    say "failed: ${failed[*]}"
    exit 1
fi
say "all answers are those of plain decoding, with $backend"
