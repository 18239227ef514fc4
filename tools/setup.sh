#!/bin/sh
# Installs what a task needs, and only what is missing: Debian packages through apt, Python packages into .venv.
#   tools/setup.sh build|model|test|bench|clean-check ...
# A call that finds everything in place changes nothing and takes a few hundredths of a second. What is there is
# asked of dpkg and of the virtual environment themselves, so there is no stamp file that could lie.
set -eu
cd "$(dirname "$0")/.."

build="gcc libc6-dev cmake ninja-build pkg-config libpcre2-dev libutf8proc-dev libjansson-dev libedit-dev libmd4c-dev
       libarchive-dev nettle-dev"
model="python3 python3-pip"
tests="libcmocka-dev gringo clang libclang-rt-dev python3 python3-venv python3-pip gcc-aarch64-linux-gnu libc6-dev-arm64-cross
       qemu-user-static"
bench="g++ python3 python3-venv python3-dev python3-pip"

# What each group is looked for by where there is no dpkg: programs and pkg-config modules.
programs_build="cc cmake ninja pkg-config"
programs_model="python3"
programs_test="clang python3"
modules_build="libpcre2-8 libutf8proc jansson libedit libarchive nettle"
modules_test="cmocka"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

missing_packages() {
    for package in $1; do
        case "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" in
            *"ok installed") ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1; then sudo "$@"
    else die "these packages need root, and sudo is not there: $missing"
    fi
}

debian() {
    missing=$(missing_packages "$1")
    [ -n "$missing" ] || return 0
    say "installing Debian packages: $missing"
    as_root apt-get update -q >&2 || die "apt-get update failed"
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >&2 \
        || die "apt-get could not install: $missing"
}

other_system() { # group: say what is missing; installing is for the user to do
    absent=""
    eval "wanted=\${programs_$1:-}"
    for program in $wanted; do command -v "$program" >/dev/null 2>&1 || absent="$absent $program"; done
    eval "wanted=\${modules_$1:-}"
    for module in $wanted; do pkg-config --exists "$module" 2>/dev/null || absent="$absent $module"; done
    [ -z "$absent" ] || die "this is not a Debian system; please install:$absent"
}

packages() { # group, Debian packages
    if command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then debian "$2"
    else other_system "$1"
    fi
}

# True when .venv has every package that the requirements file names, at the version it asks for (if it does).
venv_has() {
    [ -x .venv/bin/python ] && .venv/bin/python - "$1" <<'PY'
import re, sys
from importlib.metadata import version
for line in open(sys.argv[1]):
    want = re.match(r"\s*([A-Za-z0-9._-]+)(?:==([^\s;#]+))?", line)
    if want and (lambda have: want[2] and have != want[2])(version(want[1])):
        sys.exit(1)
PY
}

venv() { # requirements file
    venv_has "$1" 2>/dev/null && return 0
    [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || { say "making .venv"; python3 -m venv --clear .venv; }
    say "installing the Python packages of $1 into .venv"
    .venv/bin/python -m pip install -q --disable-pip-version-check --prefer-binary -r "$1" >&2 \
        || die "pip could not install the packages of $1"
}

# The compiler of the peer llama.cpp, natively built. gcc before 13 loses most of the tile configuration that its AMX products
# load (_tile_loadconfig names 8 of the 64 bytes it reads), so that they stop with an illegal instruction; clang does not.
peer_compiler() {
    grep -qs amx_int8 /proc/cpuinfo && command -v gcc >/dev/null 2>&1 && [ "$(gcc -dumpversion | cut -d. -f1)" -lt 13 ] || return 0
    packages bench "clang libomp-dev"
    # Older clangs call the macro __AMXINT8__; llama.cpp asks for __AMX_INT8__ and would silently leave its AMX products out.
    amx=""
    clang -march=native -dM -E -x c /dev/null | grep -q __AMX_INT8__ || amx="-D__AMX_TILE__ -D__AMX_INT8__ -D__AMX_BF16__"
    CC=clang CXX=clang++ CFLAGS="${CFLAGS:-} $amx" CXXFLAGS="${CXXFLAGS:-} $amx" PIP_NO_CACHE_DIR=1
    export CC CXX CFLAGS CXXFLAGS PIP_NO_CACHE_DIR
}

# The JSON Schema Test Suite, which only the source package of jsonschema carries.
schema_suite() {
    suite=.venv/share/json-schema-test-suite
    [ ! -d "$suite/draft2020-12" ] || return 0
    say "fetching the JSON Schema Test Suite (in the source package of jsonschema)"
    rm -rf "$suite.new" && mkdir -p "$suite.new"
    .venv/bin/python -m pip download -q --disable-pip-version-check --no-deps --no-binary jsonschema -d "$suite.new" jsonschema >&2 \
        && tar -xzf "$suite.new"/jsonschema-*.tar.gz -C "$suite.new" --strip-components=3 --wildcards 'jsonschema-*/json/tests/draft2020-12/*' \
        && rm -f "$suite.new"/*.tar.gz && rm -rf "$suite" && mv "$suite.new" "$suite" \
        || say "it could not be fetched: the test text_grammar_jsonschema_suite is skipped"
}

for group in "$@"; do
    case $group in
        build) packages build "$build" ;;
        model) packages model "$model" ;;
        test) packages test "$tests"; venv tests/requirements.txt; schema_suite ;;
        bench) packages bench "$bench"; peer_compiler; venv bench/requirements.txt ;;
        clean-check) packages clean-check "debootstrap" ;;
        *) die "unknown group $group" ;;
    esac
done
