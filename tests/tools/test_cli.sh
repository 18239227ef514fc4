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
    if [ $got -ne "$status" ] || { [ -n "$text" ] && ! grep -qF -- "$text" out; }; then
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
printf 'let x = (1\n' >bad.tl
expect 1 "bad.tl:1:9: error: '(' is never closed" "$tl" fmt bad.tl
expect 1 'No such file' "$tl" fmt missing.tl
expect 0 '' "$tl" fmt --check "$source"/models/*.tl "$source"/models/fn/*.tl "$source"/std/*.tl "$source"/examples/*.tl "$source"/examples/paper/*.tl

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
# fmt twice changes nothing, and no comment is lost, in every program there is; what does not parse stays as it is
mkdir every
n=0
find "$source" -name '*.tl' -not -path '*/build*/*' -not -path '*/.*' >names
while read -r program; do n=$((n + 1)) && cp "$program" every/$n.tl; done <names
[ $n -gt 100 ] || { echo "FAILED: only $n programs were found"; failed=1; }
cat every/*.tl | grep -o '//.*' | tr -d ' \t' | sort >before
"$tl" fmt every/*.tl >out 2>&1
cp -r every again
"$tl" fmt again/*.tl >out 2>&1
diff -r every again >out || { echo "FAILED: fmt is not idempotent"; cat out; failed=1; }
cat every/*.tl | grep -o '//.*' | tr -d ' \t' | sort | diff before - >out || { echo "FAILED: fmt lost a comment"; cat out; failed=1; }
expect 0 '' "$tl" check "$source"/models/*.tl "$source"/models/fn/*.tl "$source"/std/*.tl "$source"/examples/*.tl "$source"/examples/paper/*.tl
printf 'import "two.tl"\n' >one.tl
printf 'import "one.tl"\nlet two = 2\n' >two.tl
printf 'import "two.tl"\nprint(tow)\n' >uses.tl
expect 1 'the imports form a cycle back to' "$tl" check one.tl
printf 'let two = 2\n' >two.tl
expect 0 '' "$tl" check one.tl
expect 1 "did you mean 'two'" "$tl" check uses.tl
for program in "$source"/tests/programs/*.tl; do # what runs has no errors
    case $program in
    */bad_*) ;;
    *) expect 0 '' "$tl" check "$program" ;;
    esac
done

# ---- test
cat >tests.tl <<'END'
let k = 3
let xs = [1]
test changes {
    k := 4
    push(xs, 2)
    assert k == 4 and len(xs) == 2
}
test fresh { assert k == 3 and len(xs) == 1 and xs[0] == 1 }
main { print("main runs") }
END
printf 'test wrong { assert 1 == 2, "one" }\ntest right { assert true }\n' >failing.tl
expect 0 '2 passed, 0 failed' "$tl" test tests.tl
grep -q 'main runs' out && { echo "FAILED: tl test ran main"; failed=1; }
expect 1 'one: 1 == 2' "$tl" test failing.tl
expect 1 '3 passed, 1 failed' "$tl" test tests.tl failing.tl
expect 1 "unknown name 'b'" "$tl" test wrong.tl
expect 1 'No such file' "$tl" test missing.tl

# ---- repl: from a pipe. session STATUS TEXT: entries on stdin
session() {
    status=$1 text=$2
    cat >entries
    "$tl" repl <entries >out 2>&1
    got=$?
    if [ $got -ne "$status" ] || ! grep -qxF -- "$text" out; then
        echo "FAILED ($got instead of $status, wanted the line: $text)"
        cat entries out
        failed=1
    fi
}
printf 'let x = 2\nx + 1\n' | session 0 3
printf 'fn f(a) {\n    a * 2\n}\nf(4)\n' | session 0 8
printf 'let x =\n  5\nx\n' | session 0 5
printf '"a // b"\n' | session 0 '"a // b"'
printf 'let m = {"a": 1}\nm["a"] = 2; let n = 1; error("no")\nm\n' | session 1 '{"a": 1}'
printf 'let n = 1; error("no")\nn\n' | session 1 "input:1:1: error: unknown name 'n'"
printf 'let xs = [[1]]\npush(xs[0], 2); error("no")\nxs\n' | session 1 '[[1]]'
printf 'relation P(x: int)\nP(1)\nP(2); error("no")\ntuples(P)\n' | session 1 '[[1]]'
printf 'relation P(x: int)\nP(1)\nQ(x) <- P(x); error("no")\nrelation Q(s: string); Q("s")\nquery Q(x)\n' | session 1 'x=s'
printf 'relation P(x: int)\nP(1)\nP(x) <- P(y), y < 9, x == y + 1; error("no")\nlen(P)\n' | session 1 1
printf 'relation P(x: entity)\nP(A)\nP(B); error("no")\nP(C)\nX[x] = step(P[x])\nX\n' | session 1 '[1.0, 1.0]'
printf 'P(1); error("no")\nrelation P(x: int); P(1); error("no")\nlet P = 3\nP\n' | session 1 3
printf 'dim e = 3\nlet x[e] = [1.0, 2.0, 3.0]\nY[e] = 2 x[e]\n:type Y\n' | session 0 'float32[e=3]'
printf ':type 1 + 1\n' | session 0 'an integer'
printf 'let x[e] = [1.0, 2.0]\n:explain Y[e] = 2 x[e]\nY\n' | session 1 "input:1:1: error: unknown name 'Y'"
printf 'let x[e] = [1.0, 2.0]\n:explain Y[e] = 2 x[e]\n' | session 0 '  loops   e in 2'
printf 'let x[e] = [1.0, 2.0]\n:explain Z = sqrt(sum[e](x[e] ^ 2))\n' | session 0 '  loops   sum over e in 2'
printf ':explain let n = 3 + 4\n' | session 1 'this is no equation: Y[i] = W[i, j] x[j]'
printf ':load tests.tl\nk\n' | session 0 'main runs'
printf ':load missing.tl\n1 + 1\n' | session 1 2
printf ':hlep\n' | session 1 'there is no command :hlep; did you mean :help?'
printf '1 + 1\n:quit\nerror("not reached")\n' | session 0 2
printf 'let z = (1 +\n' | session 1 "input:1:13: error: expected an expression after '+', found the end of the file"

# ---- explain
cat >order.tl <<'END'
dim i = 30, j = 2, k = 40, l = 3
A[i, j] = randn(30, 2)[i, j]
B[j, k] = randn(2, 40)[j, k]
C[k, l] = randn(40, 3)[k, l]
D[i, l] = A[i, j] B[j, k] C[k, l]
print("not shown")
END
expect 0 'order.tl:5: D[i, l] = A[i, j] B[j, k] C[k, l]' "$tl" explain order.tl:5
expect 0 'loops   i in 30, l in 3; sum over j in 2, k in 40' "$tl" explain order.tl:5
expect 0 '420 operations in this order; 7200 if all indices ran at once' "$tl" explain order.tl:5
grep -q 'kernels EINSUM' out || { echo "FAILED: explain names no kernel"; cat out; failed=1; }
grep -q 'not shown' out && { echo "FAILED: explain prints what the program prints"; failed=1; }
expect 0 'digraph' "$tl" explain --dot order.tl:5
expect 0 'stage 0' "$tl" explain --plan order.tl:5
expect 2 'no equation that was computed stands here' "$tl" explain order.tl:6
expect 2 'either --plan or --dot' "$tl" explain --plan --dot order.tl
expect 1 "unknown name 'b'" "$tl" explain wrong.tl

# ---- lsp
sh "$source/tests/tools/messages.sh" <"$source/tests/tools/lsp.in" | "$tl" lsp >lsp.out
[ $? -eq 0 ] || { echo "FAILED: lsp's exit status"; failed=1; }
while IFS= read -r text; do
    grep -qF -- "$text" lsp.out || { echo "FAILED: lsp does not answer $text"; cat lsp.out; failed=1; }
done <<'END'
"hoverProvider":true
"message":"unknown name 'Z'"
tensor x[e=2]
"range":{"start":{"line":2,"character":4},"end":{"line":2,"character":5}}
"label":"print_top_k"
"newText":"dim e = 2
"name":"Y"
there is no such method
"diagnostics":[]
"id":8,"result":null
END
printf 'Content-Length: 3\r\n\r\n{x}' | "$tl" lsp >lsp.out
[ $? -eq 1 ] && grep -q 'this is no JSON' lsp.out || { echo "FAILED: lsp and broken JSON"; failed=1; }
printf 'Content-Length: 99999999999\r\n\r\n' | "$tl" lsp >lsp.out
[ $? -eq 1 ] || { echo "FAILED: lsp and a huge message"; failed=1; }

exit $failed
