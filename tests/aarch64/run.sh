#!/bin/sh
# Builds src/cpu and its tests for AArch64 and runs them under qemu.   run.sh CMAKE BUILD_FOLDER
set -eu
cmake=$1 build=$2
here=$(dirname "$0")
skip() { echo "skipped: $*"; exit 77; }
[ "$(uname -m)" != aarch64 ] || skip "this machine runs them itself, as tests cpu_*"
for tool in aarch64-linux-gnu-gcc qemu-aarch64-static; do
    command -v "$tool" >/dev/null || skip "$tool is not installed (tools/setup.sh test installs it)"
done
[ -f "$build/build.ninja" ] || "$cmake" -G Ninja -S "$here/cross" -B "$build" -DCMAKE_SYSTEM_NAME=Linux \
    -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_EXE_LINKER_FLAGS=-static \
    -DCMAKE_CROSSCOMPILING_EMULATOR="qemu-aarch64-static;-cpu;max" -DCMAKE_BUILD_TYPE=Release
"$cmake" --build "$build"
cd "$build"
"${cmake%cmake}ctest" --output-on-failure --no-tests=error -j 2
