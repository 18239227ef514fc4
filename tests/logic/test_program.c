// test_program.c - what programs of facts, rules and queries answer.
#include "program.h"

static void facts(void **state) {
    (void)state;
    program_expect("relation Parent(x: entity, y: entity)\n"
                   "Parent(\"Alice\", \"Bob\")\nParent(Bob, Carol)\nParent(\"Alice\", \"Bob\")\n"
                   "query Parent(x, y)\nParent(Bob, z)?\nParent(\"Alice\", \"Bob\")?\nParent(Bob, \"Alice\")?\n",
                   "x=Alice y=Bob\nx=Bob y=Carol\nz=Carol\nyes\nno\n");
}

static void rules(void **state) {
    (void)state;
    program_expect("entity Person = {Alice, Bob, Carol, Dan}\n"
                   "relation Parent(x: Person, y: Person)\nrelation Sister(x: Person, y: Person)\n"
                   "Parent(Alice, Bob)\nParent(Bob, Carol)\nSister(Dan, Bob)\n"
                   "Anc(x, z) <- Parent(x, z)\nAnc(x, z) <- Anc(x, y), Parent(y, z)\n"
                   "Aunt(x, z) <- Sister(x, y), Parent(y, z)\n"
                   "Childless(x) <- Person(x), not Parent(x, _)\n"
                   "query Anc(x, z)\nquery Aunt(x, Carol)\nquery Childless(c)\nquery Anc(x, y) where x != Bob, not Parent(x, y)\n",
                   "x=Alice z=Bob\nx=Alice z=Carol\nx=Bob z=Carol\nx=Dan\nc=Carol\nc=Dan\nx=Alice y=Carol\n");
}

static void arithmetic(void **state) {
    (void)state;
    program_expect("relation N(x: int)\nN(0)\nN(x + 1) <- N(x), x < 5\n"
                   "Square(x, x * x) <- N(x)\nHalf(x, x / 2) <- N(x), x % 2 == 1\n"
                   "query Square(x, y) where y > 8\nHalf(x, h)?\nSquare(x, 16)?\nquery N(x) where x - 3 == -1\nquery N(x) where y == x + 1, y >= 6\n",
                   "x=3 y=9\nx=4 y=16\nx=5 y=25\nx=1 h=0.5\nx=3 h=1.5\nx=5 h=2.5\nx=4\nx=2\nx=5 y=6\n");
}

static void aggregates(void **state) {
    (void)state;
    program_expect("relation Sale(who: string, what: string, n: int)\n"
                   "Sale(\"a\", \"x\", 3)\nSale(\"a\", \"y\", 3)\nSale(\"b\", \"x\", 5)\n"
                   "Items(w, count(i)) <- Sale(w, i, _)\nTotal(w, sum(n)) <- Sale(w, _, n)\nAll(sum(n)) <- Sale(w, i, n)\n"
                   "Mean(w, avg(n)) <- Sale(w, i, n)\nMost(max(n)) <- Sale(_, _, n)\nLeast(w, min(n)) <- Sale(w, _, n)\n"
                   "Kinds(count[i](i)) <- Sale(_, i, _)\n"
                   "query Items(w, k)\nquery Total(w, k)\nAll(x)?\nMean(w, m)?\nMost(m)?\nLeast(w, m)?\nKinds(k)?\n",
                   "w=\"a\" k=2\nw=\"b\" k=1\nw=\"a\" k=3\nw=\"b\" k=5\nx=11\nw=\"a\" m=3.0\nw=\"b\" m=5.0\nm=5\nw=\"a\" m=3\nw=\"b\" m=5\nk=2\n");
}

static void body_folds(void **state) {
    (void)state;
    program_expect("entity P = {A, B, C}\nrelation Parent(x: P, y: P)\nrelation Age(x: P, n: int)\n"
                   "Parent(A, B)\nParent(A, C)\nAge(B, 4)\nAge(C, 10)\n"
                   "Kids(x, n) <- P(x), n == count[y](Parent(x, y))\n"
                   "Sum(x, s) <- P(x), s == sum[y](Parent(x, y) Age(y))\n"
                   "Old(x, m) <- P(x), m == max[y, a](Parent(x, y) Age(y, a) a)\n"
                   "query Kids(x, n)\nquery Sum(x, s)\nquery Old(x, m)\nquery P(x) where count[y](Parent(x, y)) == 0\n",
                   "x=A n=2\nx=B n=0\nx=C n=0\nx=A s=14\nx=B s=0\nx=C s=0\nx=A m=10\nx=B\nx=C\n");
}

static void shortest_paths(void **state) {
    (void)state;
    const char *base = "relation Edge(x: string, y: string, w: int)\nrelation Dist(x: string, d: int)\n"
                       "Edge(\"a\", \"b\", 7)\nEdge(\"a\", \"c\", 2)\nEdge(\"c\", \"b\", 3)\nEdge(\"b\", \"a\", 1)\nEdge(\"b\", \"d\", 1)\nDist(\"a\", 0)\n";
    const char *ways[] = {"Dist(y) min= Dist(x) + Edge(x, y)\n", "Dist(y, min(d + w)) <- Dist(x, d), Edge(x, y, w)\n",
                          "Dist(y) min= d + w where Dist(x, d), Edge(x, y, w)\n"};
    for (int i = 0; i < 3; i++) {
        char text[1000];
        snprintf(text, sizeof text, "%s%squery Dist(x, d)\n", base, ways[i]);
        program_expect(text, "x=\"a\" d=0\nx=\"b\" d=5\nx=\"c\" d=2\nx=\"d\" d=6\n");
    }
    program_expect("relation E(x: int, y: int, w: float)\nE(1, 2, 0.5)\nE(2, 3, 0.25)\nE(1, 3, 0.125)\n"
                   "relation Best(x: int, p: float)\nBest(1, 1)\nBest(y) max= Best(x) * E(x, y)\nquery Best(x, p)\n",
                   "x=1 p=1.0\nx=2 p=0.5\nx=3 p=0.125\n");
    program_expect("relation E(x: int, y: int)\nE(1, 2)\nE(2, 3)\nE(4, 4)\nrelation R(x: int)\nR(1)\nR(y) or= R(x) and E(x, y)\nquery R(x)\n", "x=1\nx=2\nx=3\n");
}

static void tensor_style_sum(void **state) {
    (void)state;
    program_expect("relation A(i: int, j: int, v: float)\nrelation B(j: int, v: float)\nA(0, 0, 1)\nA(0, 1, 2)\nA(1, 1, 3)\nB(0, 10)\nB(1, 100)\n"
                   "C(i) = A(i, j) B(j)\nquery C(i, v)\n",
                   "i=0 v=210.0\ni=1 v=300.0\n");
}

static void changes(void **state) {
    (void)state;
    program p;
    program_open(&p, NULL);
    assert_int_equal(program_run(&p, "relation E(x: int, y: int)\nE(1, 2)\nT(x, y) <- E(x, y)\nT(x, z) <- T(x, y), E(y, z)\nquery T(1, y)\n"), TL_OK);
    assert_int_equal(program_run(&p, "E(2, 3)\nquery T(1, y)\nU(y) <- T(1, y), not E(1, y)\nquery U(y)\n"), TL_OK);
    assert_int_equal(program_run(&p, "E(3, 9223372036854775807)\nE(-1, 1)\nquery T(x, y) where y > 3\nU(x)?\n"), TL_OK);
    assert_string_equal(p.out.p, "y=2\ny=2\ny=3\ny=3\nx=-1 y=9223372036854775807\nx=1 y=9223372036854775807\nx=2 y=9223372036854775807\nx=3 y=9223372036854775807\n"
                                 "x=3\nx=9223372036854775807\n");
    program_close(&p);
}

static void repeated_and_named(void **state) {
    (void)state;
    program_expect("relation R(a: int, b: int, c: int)\nR(1, 1, 2)\nR(1, 2, 2)\nR(3, 3, 3)\n"
                   "query R(x, x, y)\nquery R(x, _, x)\nquery R(c: 2, a: u, b: 2)\nOnly(x) <- R(x, y, y), not R(y, x, _)\nquery Only(x)\n"
                   "Zero() <- R(3, 3, 3)\nZero()?\nNone() <- R(4, _, _)\nNone()?\n",
                   "x=1 y=2\nx=3 y=3\nx=3\nu=1\nx=1\nyes\nno\n");
}

static void budgets(void **state) {
    (void)state;
    program p;
    logic_options o = {.max_rounds = 100};
    program_open(&p, &o);
    assert_int_equal(program_run(&p, "relation N(x: int)\nN(0)\nN(x + 1) <- N(x)\nquery N(x)\n"), TL_E_LIMIT);
    assert_non_null(strstr(p.out.p, "t.tl:3:1: error: the rules of 'N' have not come to an end after 100 rounds (101 rows, the last is N(100))"));
    program_close(&p);
    program_open(&p, &o); // a cycle of negative weight has no shortest way
    assert_int_equal(program_run(&p, "relation E(x: int, y: int, w: int)\nE(1, 2, -1)\nE(2, 1, 0)\nrelation D(x: int, d: int)\nD(1, 0)\nD(y) min= D(x) + E(x, y)\nquery D(x, d)\n"), TL_E_LIMIT);
    program_close(&p);
    o = (logic_options){.max_steps = 1000};
    program_open(&p, &o);
    assert_int_equal(program_run(&p, "relation N(x: int)\nN(0)\nN(x + 1) <- N(x), x < 50\nP(x, y, z) <- N(x), N(y), N(z)\nquery P(1, 1, 1)\n"), TL_E_LIMIT);
    program_close(&p);
    o = (logic_options){.max_bytes = 200000};
    program_open(&p, &o);
    assert_int_equal(program_run(&p, "relation N(x: int)\nN(0)\nN(x + 1) <- N(x), x < 200\nP(x, y, z) <- N(x), N(y), N(z)\nquery P(1, 1, 1)\n"), TL_E_LIMIT);
    assert_non_null(strstr(p.out.p, "limit of 200000 bytes"));
    program_close(&p);
}

static const char *block(const char *from, const char *fence, sbuf *out) { // the text between ```kind and ```
    const char *p = from ? strstr(from, fence) : NULL;
    if (!p) return NULL;
    p += strlen(fence);
    const char *end = strstr(p, "```");
    out->n = 0;
    sbuf_put(out, p, (size_t)(end - p));
    return end + 3;
}

// Every program of docs/logic.md gives the answers printed below it.
static void documented(void **state) {
    (void)state;
    FILE *f = fopen(REPO_DIR "/docs/logic.md", "rb");
    sbuf page = {0}, text = {0}, want = {0};
    char part[4096];
    int count = 0;
    assert_non_null(f);
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) sbuf_put(&page, part, n);
    fclose(f);
    for (const char *at = page.p; (at = block(at, "```tl\n", &text)) != NULL; count++) {
        at = block(at, "```text\n", &want);
        assert_non_null(at);
        program_expect(text.p, want.p);
    }
    assert_int_equal(count, 6);
    sbuf_free(&page);
    sbuf_free(&text);
    sbuf_free(&want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts),          cmocka_unit_test(rules),   cmocka_unit_test(arithmetic),         cmocka_unit_test(aggregates), cmocka_unit_test(body_folds),
        cmocka_unit_test(shortest_paths), cmocka_unit_test(changes), cmocka_unit_test(repeated_and_named), cmocka_unit_test(budgets),    cmocka_unit_test(tensor_style_sum),
        cmocka_unit_test(documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
