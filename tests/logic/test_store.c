// test_store.c - tuple sets and indexes against lists that are searched from end to end.
#include "program.h"
#include "logic/relation.h"

static uint64_t seed;
static uint64_t rnd(uint64_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

// Columns of these kinds: dense, sparse, growing away from what was there, at the edge of packing, beyond it.
typedef enum { DENSE, SPARSE, GROWING, DOWN, EDGE, WIDE, KINDS } value_kind;
static logic_word draw(value_kind k, size_t i) {
    switch (k) {
    case DENSE: return rnd(40);
    case SPARSE: return rnd(60) * 7919 * 31;
    case GROWING: return rnd(30) + i * 3;
    case DOWN: return 100000 - i * 3 - rnd(30);
    case EDGE: return i > 500 && rnd(50) == 0 ? 0x80000000u - rnd(2) : rnd(3);
    default: return i > 700 && rnd(100) == 0 ? (uint64_t)-1 - rnd(3) : rnd(40);
    }
}

enum { ROWS = 3000, MAX = 3 };
static logic_word list[ROWS][MAX];
static size_t n_list;

static bool same(const logic_word *a, const logic_word *b, uint32_t cols, int arity) {
    for (int c = 0; c < arity; c++)
        if ((cols >> c & 1) && a[c] != b[c]) return false;
    return true;
}

static bool in_list(const logic_word *row, int arity) {
    for (size_t i = 0; i < n_list; i++)
        if (same(list[i], row, ~0u, arity)) return true;
    return false;
}

static void expect_block(tupset *s, relindex *ix, const logic_word *row, size_t fresh, size_t upto) {
    logic_word key[MAX];
    size_t n = 0, old = 0, want = 0, want_old = 0;
    for (int c = 0; c < s->arity; c++)
        if (ix->cols >> c & 1) key[n++] = row[c];
    ixblock b = relindex_find(s, ix, key);
    for (size_t r = 0; r < upto; r++) {
        if (!same(list[r], row, ix->cols, s->arity)) continue;
        want++;
        want_old += r < fresh;
        if (want > b.n) break;
        uint64_t packed = 0;
        if (b.rows) assert_true(tupset_pack(s, list[r], &packed) && b.rows[want - 1] == packed);
        else assert_int_equal(b.ids[want - 1], r);
    }
    old = b.old;
    assert_int_equal(b.n, want);
    assert_int_equal(old, want_old);
}

static void check_round(tupset *s, size_t fresh) {
    static const uint32_t keys[] = {1, 2, 3, 4, 5};
    for (size_t k = 0; k < 5; k++) {
        if (keys[k] >= 1u << s->arity || keys[k] + 1 == 1u << s->arity) continue;
        relindex *ix = tupset_index(s, keys[k]);
        assert_non_null(ix);
        assert_true(tupset_index_update(s, ix, fresh, s->n));
        for (int i = 0; i < 30; i++) {
            logic_word row[MAX];
            memcpy(row, list[rnd(s->n)], sizeof row);
            if (i % 5 == 0) row[rnd((uint64_t)s->arity)] += rnd(3);
            expect_block(s, ix, row, fresh, s->n);
        }
    }
}

static void fill(int arity, value_kind kind, bool batches) {
    logic_mem mem = {0};
    tupset s;
    tupset_init(&s, &mem, arity, LF_NONE, LT_INT, false);
    n_list = 0;
    size_t fresh = 0;
    for (size_t i = 0; n_list < 1500 && i < 2500; i++) {
        logic_word row[MAX] = {0};
        uint64_t key;
        for (int c = 0; c < arity; c++) row[c] = draw(c == 1 ? DENSE : kind, i);
        bool is_new = !in_list(row, arity);
        assert_int_equal(tupset_contains(&s, row), !is_new);
        if (batches && s.packed && tupset_pack(&s, row, &key)) {
            uint64_t twice[2] = {key, key};
            assert_true(tupset_insert_packed(&s, twice, 2));
        } else {
            assert_int_equal(tupset_insert(&s, row), is_new ? TUP_NEW : TUP_OLD);
        }
        if (is_new) memcpy(list[n_list++], row, sizeof row);
        assert_int_equal(s.n, n_list);
        if (i % 97 == 96) {
            check_round(&s, fresh);
            fresh = s.n;
        }
    }
    check_round(&s, s.n); // nothing new: everything is old
    tupset copy;
    tupset_init(&copy, &mem, arity, LF_NONE, LT_INT, false);
    assert_true(tupset_copy(&copy, &s));
    for (size_t r = 0; r < n_list; r++) {
        logic_word row[MAX] = {0};
        tupset_row(&copy, r, row);
        assert_memory_equal(row, list[r], sizeof row);
        assert_true(tupset_contains(&copy, row));
    }
    tupset_deinit(&copy);
    tupset_deinit(&s);
    assert_int_equal(mem.used, 0); // the account is exact
}

static void sets(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        for (int arity = 1; arity <= MAX; arity++) {
            seed = (uint64_t)(kind * 10 + arity);
            fill(arity, (value_kind)kind, false);
            fill(arity, (value_kind)kind, true);
        }
}

// Runs of rows that share all but their last column, into a matrix of bits, its box and beyond.
static void runs(void **state) {
    (void)state;
    logic_mem mem = {0};
    tupset s;
    enum { N = 300 };
    static uint8_t have[N][2 * N];
    tupset_init(&s, &mem, 2, LF_NONE, LT_INT, false);
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t key = rnd(N) << 32 | rnd(N);
        have[key >> 32][key & 0xFFFFFFFF] = 1;
        assert_true(tupset_insert_packed(&s, &key, 1));
    }
    assert_non_null(s.map);
    for (int round = 0; round < 2000 && s.map; round++) {
        uint64_t rows[8], base = rnd(N) << 32;
        size_t n = 1 + rnd(8), done;
        for (size_t i = 0; i < n; i++) rows[i] = rnd(1000) << 32 | (round > 1000 && rnd(40) == 0 ? N + rnd(N) : rnd(N));
        assert_true(tupset_insert_run(&s, base, rows, n, 0, 0xFFFFFFFF, &done));
        for (size_t i = 0; i < done; i++) have[base >> 32][rows[i] & 0xFFFFFFFF] = 1;
        if (done < n) assert_true((rows[done] & 0xFFFFFFFF) >= N);
    }
    uint64_t beyond = (uint64_t)5 << 32 | (2 * N - 1);
    have[5][2 * N - 1] = 1;
    assert_true(tupset_insert_packed(&s, &beyond, 1));
    size_t count = 0;
    for (uint64_t a = 0; a < N; a++)
        for (uint64_t b = 0; b < 2 * N; b++) {
            assert_int_equal(tupset_contains_packed(&s, a << 32 | b), have[a][b]);
            count += have[a][b];
        }
    assert_int_equal(s.n, count);
    tupset_deinit(&s);
    assert_int_equal(mem.used, 0);
}

static void folds(void **state) {
    (void)state;
    static const logic_fold kinds[] = {LF_MAX, LF_MIN, LF_SUM, LF_COUNT, LF_AVG};
    for (size_t k = 0; k < 5; k++) {
        logic_mem mem = {0};
        tupset s;
        double want[20] = {0};
        int count[20] = {0};
        bool real = kinds[k] == LF_AVG;
        tupset_init(&s, &mem, 2, kinds[k], real ? LT_FLOAT : LT_INT, false);
        seed = k;
        for (int i = 0; i < 500; i++) {
            logic_word row[2] = {rnd(20), 0};
            int64_t v = (int64_t)rnd(1000) - 500;
            if (kinds[k] == LF_COUNT) v = 1;
            row[1] = real ? logic_of_float((double)v) : logic_of_int(v);
            double *w = &want[row[0]];
            if (count[row[0]]++ == 0) *w = (double)v;
            else if (kinds[k] == LF_MAX) *w = (double)v > *w ? (double)v : *w;
            else if (kinds[k] == LF_MIN) *w = (double)v < *w ? (double)v : *w;
            else *w += (double)v;
            assert_true(tupset_insert(&s, row) <= TUP_NEW);
        }
        for (logic_word g = 0; g < 20; g++) {
            int64_t r = tupset_find(&s, &g);
            assert_true(r >= 0);
            logic_word w = tupset_get(&s, (size_t)r, 1);
            double v = real ? logic_to_float(w) * count[g] : (double)logic_to_int(w);
            assert_true(v - want[g] < 1e-6 && want[g] - v < 1e-6);
        }
        tupset_deinit(&s);
        assert_int_equal(mem.used, 0);
    }
}

static void strings(void **state) {
    (void)state;
    logic_mem mem = {0};
    interner *in = interner_new(&mem);
    char text[40000];
    logic_word id, again;
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 2000; i++) {
        int n = snprintf(text, sizeof text, "%d", i * 7919 % 2000);
        size_t len = i % 500 == 3 ? sizeof text : (size_t)n; // some larger than a chunk
        text[n] = 'x';
        assert_true(interner_put(in, (str){text, len}, &id));
        assert_int_equal(id, i);
        assert_true(interner_put(in, (str){text, len}, &again) && again == id);
        assert_true(str_eq(interner_text(in, id), (str){text, len}));
    }
    assert_false(interner_find(in, STR("none"), &id));
    const uint32_t *rank = interner_ranks(in);
    for (logic_word a = 0; a < 200; a++)
        for (logic_word b = 0; b < 200; b++) {
            str s = interner_text(in, a), t = interner_text(in, b);
            int c = memcmp(s.p, t.p, s.n < t.n ? s.n : t.n);
            bool less = c < 0 || (c == 0 && s.n < t.n);
            assert_int_equal(rank[a] < rank[b], less);
        }
    interner_free(in);
    assert_int_equal(mem.used, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sets), cmocka_unit_test(runs), cmocka_unit_test(folds), cmocka_unit_test(strings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
