#!/bin/sh
# The tools as commands: test_cli.sh TL SOURCE. Prints what failed; exit status 1 if anything did.
tl=$1
source=$2
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failed=0

# expect STATUS TEXT COMMAND...: the exit status, and a line of stdout or stderr that holds TEXT.
expect() {
    status=$1 text=$2
    shift 2
    "$@" >out 2>&1 </dev/null
    got=$?
    if [ $got -ne "$status" ] || ! grep -qF -- "$text" out; then
        echo "FAILED ($got instead of $status, wanted: $text): $*"
        cat out
        failed=1
    fi
}

# ---- fmt
printf 'let  x=1\nprint( x )\n' >a.tl
cp a.tl b.tl
expect 1 a.tl "$tl" fmt --check a.tl
cmp -s a.tl b.tl || { echo "FAILED: --check changed the file"; failed=1; }
expect 0 '' "$tl" fmt a.tl
expect 0 '' "$tl" fmt --check a.tl
printf 'let x = 1\nprint(x)\n' | cmp -s - a.tl || { echo "FAILED: fmt"; cat a.tl; failed=1; }
printf 'let  x=1\n' | "$tl" fmt - | grep -qx 'let x = 1' || { echo "FAILED: fmt -"; failed=1; }
printf 'let x = (\n' >bad.tl
expect 1 "bad.tl:1:9: error: '(' is never closed" "$tl" fmt bad.tl
expect 1 'No such file' "$tl" fmt missing.tl
expect 0 '' "$tl" fmt --check "$source"/models/*.tl "$source"/models/fn/*.tl "$source"/std/*.tl "$source"/examples/*.tl

# ---- check
printf 'let a = 1\nprint(b)\n' >wrong.tl
printf 'fn f(x) { let y = 1\nx }\nprint(f(1))\n' >unused.tl
expect 0 '' "$tl" check a.tl
expect 1 "wrong.tl:2:7: error: unknown name 'b'" "$tl" check a.tl wrong.tl
expect 1 '1 error, 0 warnings' "$tl" check wrong.tl
expect 1 '"level":"error"' "$tl" check --json wrong.tl
expect 0 "'y' is never used" "$tl" check unused.tl
expect 1 "'y' is never used" "$tl" check --strict unused.tl
expect 2 'something is missing' "$tl" check
expect 1 'No such file' "$tl" check missing.tl
expect 0 '' "$tl" check "$source"/models/*.tl "$source"/models/fn/*.tl "$source"/std/*.tl "$source"/examples/*.tl

exit $failed
