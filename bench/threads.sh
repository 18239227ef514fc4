#!/bin/sh
# threads.sh - decoding and prompts by number of threads, in alternation: every round runs each number of threads once, for each
# program, so that what else the machine does falls on all. Medians of the rounds.
#
#   bench/threads.sh [-t "1 2 4 8 12 16"] [-r 5] [-p 256] [-n 64] [-b TL]... MODEL...
#
# -b: a tl program (default: build/tl); with several, each is measured in the same rounds. Numbers of threads beyond the
# machine's processors are left out. Needs sh, awk and sort. The last column: how much faster than the smallest number of threads.
set -eu
threads="1 2 4 8 12 16" rounds=5 prompt=256 decode=64 programs=
while getopts t:r:p:n:b: o; do
    case $o in
    t) threads=$OPTARG ;; r) rounds=$OPTARG ;; p) prompt=$OPTARG ;; n) decode=$OPTARG ;; b) programs="$programs $OPTARG" ;;
    *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { sed -n 's/^#   //p' "$0" >&2; exit 2; }
[ -n "$programs" ] || programs=build/tl
most=$(getconf _NPROCESSORS_ONLN)
runs=$(mktemp)
trap 'rm -f "$runs"' EXIT
trap 'exit 130' INT TERM

for model; do
    : >"$runs"
    round=0
    while [ $((round += 1)) -le "$rounds" ]; do
        for t in $threads; do
            [ "$t" -le "$most" ] || continue
            for b in $programs; do
                said=$("$b" bench -r 1 -p "$prompt" -n "$decode" -t "$t" -m "$model") || { echo "threads.sh: $b bench failed" >&2; exit 1; }
                echo "$said" | awk -v key="$b $t" '
                    /^prompt / { p = $(NF - 1) } /^decode +[0-9]/ { d = $(NF - 1) } /^decode reads/ { sub(/.*: /, ""); s = $1 }
                    END { print key, d, p, s + 0 }' >>"$runs"
            done
        done
        echo "$model: round $round of $rounds" >&2
    done
    echo "$model ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $most processors; decode $decode, prompt $prompt, medians of $rounds)"
    printf '%-24s %7s %10s %10s %22s %8s\n' program threads decode prompt "of a plain read, %" times
    for b in $programs; do
        first=
        for t in $threads; do
            [ "$t" -le "$most" ] || continue
            line=
            for column in 3 4 5; do
                line="$line $(awk -v b="$b" -v t="$t" -v c=$column '$1 == b && $2 == t { print $c }' "$runs" | sort -g | awk '
                    { v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }')"
            done
            first=${first:-${line# }}
            echo "$b $t$line ${first%% *}" | awk '{ printf "%-24s %7d %10.1f %10.1f %22.0f %8.2f\n", $1, $2, $3, $4, $5, $3 / $6 }'
        done
    done
done
