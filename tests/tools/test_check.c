// What `tl check` says: one row is a program and the messages it must give, in order; anything else is a failure.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <tensorlogic.h>

typedef struct row { const char *program, *message[4]; } row; // "E line: part of it" or "W line: ..."

#define STEP_HEAD "fn step(tok: int32[p], pos: int32[p], seq: int32[p], slot: int32[p], out: int32[o]) -> float32[o, e] {\nK[slot[p], e] := 1.0\n"
static const row rows[] = {
    // names
    {"let lenght = 3\nprint(length)", {"E 2: unknown name 'length'"}},
    {"print(undefined_thing)", {"E 1: unknown name 'undefined_thing'"}},
    {"fn f(x) { x + y }\nlet y = 2\nprint(f(1))", {0}}, // bodies see the whole file
    {"print(y)\nlet y = 2", {"E 1: unknown name 'y'"}},
    {"print(\"{nmae}\")\nlet name = 1", {"E 1: unknown name 'nmae'"}},
    {"main { let a = 1\nif a { let b = 2\nprint(b) }\nprint(b) }", {"E 4: unknown name 'b'"}},
    {"x += 1", {"E 1: 'x' has no value to update yet"}},
    {"dim e = 4\nprint(e * 2)", {0}},
    {"fn f(x: float32[n]) { x / sqrt(n) }", {0}}, // a size of the signature
    {"print(model, tokens)", {0}},
    {"import \"no such file.tl\"", {"E 1: cannot import \"no such file.tl\""}},
    // calls
    {"fn f(a, b) { a + b }\nprint(f(1))", {"E 2: f takes 2 arguments, 1 given"}},
    {"fn f(a) { a }\nprint(f(b=1))", {"E 2: f has no parameter 'b'"}},
    {"print(sqrt(1, 2))", {"E 1: sqrt takes 1 argument, 2 given"}},
    {"print(transpose())", {"E 1: transpose takes 1 to 3 arguments, 0 given"}},
    {"print(softmax([1.0], axes=0))", {"E 1: softmax has no parameter 'axes'"}},
    {"print(softmax([1.0], axis=0), sum([1.0], axis=0, keep=true))", {0}},
    {"fn f(a, a) { a }", {"E 1: the function has two parameters named 'a'"}},
    {"fn f() { 1 }\nfn f() { 2 }", {"W 2: 'f' is declared again"}},
    // axes
    {"dim e = 2\nlet X[p, e] = [[1.0, 2.0]]\nY[p] = X[p, e, q]", {"E 3: 'X' has 2 axes, 3 indices are given"}},
    {"let X[p, e] = [[1.0, 2.0]]\nY[p] = X[p]", {"E 2: 'X' has 2 axes, 1 index is given"}},
    {"let X[p, e] = [[1.0, 2.0]]\nlet row = X[0]\nprint(row)", {0}}, // a row, outside of equations
    {"let X[p, e] = [[1.0, 2.0]]\nprint(X[0, 1, 2])", {"E 2: 'X' has 2 axes, 3 indices are given"}},
    {"dim g = 2\nlet W[(g d), e] = [[1.0], [2.0]]\nY[g] = W[g, d, e]", {0}}, // a split axis is two
    {"dim a = 2, b = 2\nlet X[a] = [1.0, 2.0]\nY[b] = X[b]", {"E 3: index 'b' (dim b) on an axis declared as dim 'a'"}},
    {"dim a = 2, b = 2\nlet X[a] = [1.0, 2.0]\nY[a'] = X[a']", {0}},
    {"dim a = 2\nlet X[a] = [1.0, 2.0]\nprint(X[2])", {"E 3: index 2 of an axis of 2"}},
    {"let X = [1.0]\nX := [[1.0]]\nY[i, j] = X[i, j]", {0}}, // its rank is not known
    {"let X[i] = [1.0]\nX[i, i'] += 1.0", {"E 2: 'X' has 1 axis, 2 indices are given"}},
    {"relation P(x: entity, y: entity)\nP(A, B)\nP(A)", {"E 3: 'P' has 2 arguments, 1 given"}},
    // states and names with a value
    {"dim e = 2\ntensor K: float16[s, e] state\n" STEP_HEAD "_A[p, s.] = softmax(K[s, e])\nresult[o, e] = 1.0\n}", {"W 5: every slot of the state 'K' is read"}},
    {"dim e = 2\ntensor K: float16[s, e] state\n" STEP_HEAD "_A[p, s.] = softmax(K[s, e]) where s <= pos[p]\nresult[o, e] = 1.0\n}", {0}},
    {"dim e = 2\ntensor K: float16[s, e] state\n" STEP_HEAD "_Y[p, e] = K[s, e]\nresult[o, e] = 1.0\n}", {"W 5: every slot of the state 'K' is read"}},
    {"let i = 1\nlet W = [[1,2],[3,4]]\nlet V = [1, 2]\nZ[j] = W[j, i] V[i]\nprint(Z)", {"W 4: 'i' has a value, so nothing is summed over it here"}},
    {"let i = 1\nlet W = [[1,2],[3,4]]\nlet V = [1, 2]\nZ[j] = W[j, i] V[j]\nprint(Z)", {0}},
    {"let X[i, j] = [[1.0]]\nY[i, j] = sum[j](X[i, j])\nprint(Y)", {"W 2: 'j' is an index of the left side"}},
    // indices
    {"Y[i] = 1.0", {"E 1: nothing tells the size of index 'i'"}},
    {"dim i = 3\nY[i] = i * 2", {0}},
    {"let X[i] = [1.0]\nY[i, i] = X[i]", {"E 2: index 'i' stands twice on the left"}},
    {"let w[k] = [1.0, 2.0]\nlet X[n] = [1.0, 2.0, 3.0]\ndim m = 2\nY[m] = X[m + k] w[k]", {0}},
    {"let X[i] = [1.0]\nprint(sum[i](X[i] X[j]))", {"E 2: index 'j' is not folded here"}},
    {"let X[i] = [1.0]\nprint(sum[j](X[0]))", {"W 2: index 'j' is not used in what is folded over it"}},
    {"let X[i, j] = [[1.0]]\nY[i] = sum[i](X[i, j])", {"W 2: 'i' is an index of the left side"}},
    // definitions
    {"let X[i] = [1.0]\nY[i] = X[i]\nY[i] = 2.0 X[i]", {"E 3: 'Y' is defined a second time"}},
    {"let X[i] = [1.0]\nY[i] = X[i]\nY[0] = 2.0", {"E 3: 'Y' is defined already as a whole"}},
    {"let X[i] = [1.0]\nY[i] = X[i]\nY[i] += X[i]\nY[i] := X[i]", {0}},
    {"let X[i] = [1.0]\nR[i, 0] = X[i]\nR[i, 1] = 2.0 X[i]", {0}},
    {"let X[i] = [1.0]\nfor k in range(2) { Y[i] = X[i]\nprint(Y) }", {0}}, // a new one each time
    {"tensor K: float16[s, e] state\nfn f(x: float32[e], slot: int32[p]) { K[slot[p], e] = x[e] }", {"E 2: a state is overwritten with ':='"}},
    {"tensor K: float16[s, e] state\nfn f(x: float32[e], slot: int32[p]) { K[slot[p]] := 1.0 }", {"E 2: 'K' has 2 axes, 1 index is given"}},
    // softmax and masks
    {"let X[p, s] = [[1.0]]\nA[p, s.] = X[p, s]", {"E 2: the dot marks the axis of a softmax"}},
    {"let X[p, s] = [[1.0]]\nA[p, s.] = softmax(X[p, s])", {0}},
    {"let X[p, s] = [[1.0]]\nM(p, s) <- X[p, s] > 0\nA[p, s.] = softmax(X[p, s] M(p, s))", {"W 3: a mask as a factor under softmax"}},
    {"let X[p, s] = [[1.0]]\nM(p, s) <- X[p, s] > 0\nA[p, s.] = softmax(X[p, s]) where M(p, s)", {0}},
    {"let W[i, j] = [[1.0]]\nlet x[j] = [1.0]\nY[i] = (W[i, j] x[j]) ^ 2", {"E 3: index 'j' is summed in a product inside a power"}},
    {"let W[i, j] = [[1.0]]\nlet x[j] = [1.0]\nY[i] = sum[j](W[i, j] x[j]) ^ 2", {0}},
    {"let X[i] = [1.0]\nR[i, 0] = X[i]\nR[i, 0] = 2.0 X[i]", {"E 3: 'R' is defined for these elements already"}},
    // rules
    {"relation Edge(x: string, y: string, w: int)\nrelation Dist(x: string, d: int)\nDist(\"a\", 0)\nDist(y) min= Dist(x) + Edge(x, y)", {0}},
    {"relation P(x: entity, y: entity)\nrelation A(x: entity, y: entity)\nA(x, z) <- A(x, y), P(y, z)\nA(x, z) <- P(x, y)", {"E 4: 'z' does not occur in the body"}},
    {"entity N = {a, b}\nrelation E(x: N, y: N)\nrelation R(x: N)\nE(a, b)\nR(a) <- E(a, b)\nquery R(x) where x != b", {0}},
    // flow
    {"break", {"E 1: 'break' outside a loop"}},
    {"loop { print(1)\nbreak }", {0}},
    {"main { return 1 }", {"E 1: 'return' outside a function"}},
    {"fn f(n) { return n\nprint(n) }", {"W 2: this is never reached"}},
    {"fn f() { continue }", {"E 1: 'continue' outside a loop"}},
    // values that nobody uses
    {"let a = 1\na + 1", {"W 2: this value is not used"}},
    {"let xs = [1]\nappend(xs, 2)", {"W 2: this value is not used"}},
    {"let xs = [1]\npush(xs, 2)", {0}},
    {"fn f(x) { let y = x\nx }", {"W 1: 'y' is never used"}},
    {"fn f(x) { let _y = x\nx }", {0}},
    {"fn f(x) { result := x }", {0}},
    {"fn f(x) { if x { 1 } else { 2 } }", {0}},
    // several at once, and what does not parse
    {"print(a)\nprint(b)\nbreak", {"E 1: unknown name 'a'", "E 2: unknown name 'b'", "E 3: 'break' outside"}},
    {"let x = (1", {"E 1: '(' is never closed"}},
    {"import \"no such file.tl\"\nprint(f(1))", {"E 1: cannot import"}}, // what it would have defined is not known
    {"", {0}},
};

static int failures;

static void check_row(const row *r) {
    tl_analysis *a;
    tl_error err;
    tl_problem p;
    assert_int_equal(tl_analysis_new("t.tl", r->program, strlen(r->program), false, &a, &err), TL_OK);
    size_t i = 0;
    for (; tl_analysis_problem(a, i, &p); i++) {
        char got[600];
        snprintf(got, sizeof got, "%c %d: %s", p.warning ? 'W' : 'E', p.line, p.message);
        if (i >= 4 || !r->message[i] || strncmp(got, r->message[i], strlen(r->message[i])) != 0)
            failures++, print_error("%s\n-- gives: %s\n-- wanted: %s\n", r->program, got, i < 4 && r->message[i] ? r->message[i] : "nothing more");
        assert_non_null(strstr(p.text, p.message));
        assert_true(p.json[0] == '{');
    }
    if (i < 4 && r->message[i]) failures++, print_error("%s\n-- does not give: %s\n", r->program, r->message[i]);
    assert_int_equal(tl_analysis_errors(a) + tl_analysis_warnings(a), i);
    tl_analysis_free(a);
}

static void messages(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(&rows[i]);
    assert_int_equal(failures, 0);
}

// Programs that are known to run have no problems.
static void shipped_programs(void **state) {
    static const char *const files[] = {"models/llama.tl", "models/gemma3.tl", "models/qwen2.tl", "models/gemma.tl", "models/fn/llama.tl", "std/nn.tl", "examples/full_transformer.tl"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[4096];
        tl_analysis *a;
        tl_error err;
        tl_problem p;
        snprintf(path, sizeof path, "%s/%s", REPO_DIR, files[i]);
        assert_int_equal(tl_analysis_new(path, NULL, 0, false, &a, &err), TL_OK);
        if (tl_analysis_problem(a, 0, &p)) fail_msg("%s", p.text);
        tl_analysis_free(a);
    }
}

static void unreadable(void **state) {
    (void)state;
    tl_analysis *a;
    tl_error err;
    assert_int_equal(tl_analysis_new("no/such/file.tl", NULL, 0, false, &a, &err), TL_E_IO);
    assert_non_null(strstr(err.message, "no/such/file.tl"));
}

// ---- names at places -----------------------------------------------------------------------------
static const char program[] = "dim e = 4\n"
                              "// Doubles x.\n"
                              "fn twice(x: float32[e]) -> float32[e] {\n"
                              "    y[e] = 2.0 x[e]\n"
                              "    y\n"
                              "}\n"
                              "let v[e] = [1.0, 2.0, 3.0, 4.0]\n"
                              "print(twice(v), sqrt(2))\n";

static void at(const tl_analysis *a, int line, int col, const char *name, const char *kind, const char *detail, int at_line) {
    tl_name n;
    assert_true(tl_analysis_at(a, line, col, &n));
    assert_string_equal(n.name, name);
    assert_string_equal(n.kind, kind);
    assert_string_equal(n.detail, detail);
    assert_int_equal(n.line, at_line);
}

static void places(void **state) {
    (void)state;
    tl_analysis *a;
    tl_name n;
    assert_int_equal(tl_analysis_new("t.tl", program, sizeof program - 1, false, &a, NULL), TL_OK);
    assert_int_equal(tl_analysis_errors(a), 0);
    at(a, 8, 8, "twice", "function", "fn twice(x: float32[e]) -> float32[e]", 3);
    assert_true(tl_analysis_at(a, 8, 8, &n));
    assert_string_equal(n.doc, "Doubles x.");
    at(a, 8, 13, "v", "tensor", "tensor v[e=4]", 7);
    at(a, 4, 16, "x", "parameter", "x: float32[e]", 3);
    at(a, 4, 18, "e", "dim", "dim e = 4", 1);
    at(a, 8, 18, "sqrt", "builtin", "sqrt(x)", 0);
    assert_false(tl_analysis_at(a, 2, 5, &n));
    assert_false(tl_analysis_at(a, 99, 1, &n));
    tl_analysis_free(a);
}

// While something is being typed the rest is still known.
static void broken_programs(void **state) {
    (void)state;
    tl_analysis *a;
    static const char text[] = "let v = 1\nlet w = (\nprint(v)\n";
    assert_int_equal(tl_analysis_new("t.tl", text, sizeof text - 1, false, &a, NULL), TL_OK);
    assert_int_equal(tl_analysis_errors(a), 1);
    at(a, 1, 5, "v", "value", "value v", 1);
    tl_analysis_free(a);
}

static void count_name(void *ctx, const tl_name *n) {
    char *seen = ctx;
    strcat(strcat(seen, n->name), " ");
}

static void completion(void **state) {
    (void)state;
    tl_analysis *a;
    char seen[8192] = "";
    assert_int_equal(tl_analysis_new("t.tl", program, sizeof program - 1, false, &a, NULL), TL_OK);
    tl_analysis_complete(a, 8, 1, "tw", count_name, seen);
    assert_string_equal(seen, "twice ");
    seen[0] = 0;
    tl_analysis_complete(a, 5, 5, "y", count_name, seen); // the function's own
    assert_string_equal(seen, "y ");
    seen[0] = 0;
    tl_analysis_complete(a, 8, 1, "y", count_name, seen); // which ends with it
    assert_string_equal(seen, "");
    tl_analysis_complete(a, 8, 1, "soft", count_name, seen);
    assert_non_null(strstr(seen, "softmax "));
    assert_non_null(strstr(seen, "softplus "));
    tl_analysis_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(messages), cmocka_unit_test(shipped_programs), cmocka_unit_test(unreadable), cmocka_unit_test(places), cmocka_unit_test(broken_programs), cmocka_unit_test(completion)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
