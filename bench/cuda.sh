#!/bin/bash
# bench/cuda.sh TL [FOLDER] - speed on a CUDA GPU: writes models of real shapes with random weights (make_synthetic_gguf.py in
# ../shared/tools, or MAKER=path) into FOLDER and prints, for each, tokens a second of a prompt of 512 and of decoding,
# one sequence and 64. Medians of RUNS=5. Needs python3 with numpy and gguf to make the models, 12 GB for all of them.
set -eu
tl=$1 folder=${2:-/tmp/tl-cuda-bench}
maker=${MAKER:-$(dirname "$0")/../../shared/tools/make_synthetic_gguf.py}
mkdir -p "$folder"
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem --format=csv,noheader
export TL_DEVICE=cuda
measure() { # NAME SEQUENCES MAKER-OPTIONS...
    local name=$1 sequences=$2 file=$folder/$1.gguf
    shift 2
    [ -f "$file" ] || python3 "$maker" "$file" "$@"
    echo "== $name"
    "$tl" bench -m "$file" -p 512 -n 128 -d 128 -r "${RUNS:-5}" | grep -E '^(prompt|decode|load)'
    [ "$sequences" = 1 ] || "$tl" bench -m "$file" -p 0 -n 128 -d 128 -s "$sequences" -c $((sequences * 272)) -r "${RUNS:-5}" | grep '^decode'
}
measure tinyllama-q4_0 64
measure smollm2-q4_1 1 --shape smollm2-135m --type Q4_1 --embed-type Q8_0 --tied
measure llama3-1b-bf16 1 --shape llama3-1b --type BF16 --output-type BF16 --tied
measure llama3-8b-q4_k 64 --shape llama3-8b --type Q4_K
measure llama3-8b-q4_0 1 --shape llama3-8b --type Q4_0
