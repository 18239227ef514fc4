#!/bin/sh
# tools/fuzz.sh FOLDER SECONDS: runs every fuzzer in FOLDER for so long, starting from fuzz/corpus/NAME.
# New inputs go to FOLDER/corpus-NAME, what crashes to FOLDER/crash-NAME-*. Stops at the first crash.
set -eu
folder=$1 seconds=$2
found=0
for fuzzer in "$folder"/fuzz_*; do
    [ -f "$fuzzer" ] && [ -x "$fuzzer" ] || continue
    found=1
    name=${fuzzer##*/fuzz_}
    mkdir -p "$folder/corpus-$name"
    set -- "$folder/corpus-$name"
    [ ! -d "fuzz/corpus/$name" ] || set -- "$@" "fuzz/corpus/$name"
    [ ! -f "fuzz/$name.dict" ] || set -- "$@" "-dict=fuzz/$name.dict"
    echo "fuzzing $name for $seconds s" >&2
    "$fuzzer" "$@" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$folder/crash-$name-" || { echo "fuzz_$name failed: see $folder/crash-$name-*" >&2; exit 1; }
done
[ $found = 1 ] || { echo "no fuzzer in $folder" >&2; exit 1; }
