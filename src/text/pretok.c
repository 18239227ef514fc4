// pretok.c - compiles the patterns of one pre-tokenizer (pretok.def) with PCRE2 and applies them.
#include "text/pretok.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MAX_PATTERNS = 8, STACK_START = 32 << 10, STACK_MOST = 256 << 20 };

#define THIRDS(p) "\x01" p // marks the pattern; see pattern_compile
#define RULE(id, ...) static const char *const rule_##id[] = {__VA_ARGS__, NULL};
#include "text/pretok.def"

static const struct pre_row {
    const char *name;
    const char *const *patterns;
    unsigned flags;
} pre_rows[] = {
#define PRE(name, rule, flags) {name, rule_##rule, flags},
#include "text/pretok.def"
};
enum { N_ROWS = sizeof pre_rows / sizeof *pre_rows };

typedef struct pattern {
    pcre2_code *code;
    bool thirds, jit;
} pattern;

struct pretok {
    pcre2_general_context *memory; // PCRE2's allocations go through mem_alloc too
    pcre2_compile_context *compiling;
    unsigned flags;
    int n;
    pattern patterns[MAX_PATTERNS];
};

const char *pretok_name(size_t i) { return i < N_ROWS ? pre_rows[i].name : NULL; }
unsigned pretok_flags(const pretok *p) { return p->flags; }

static void *pcre_alloc(PCRE2_SIZE size, void *ctx) { return (void)ctx, mem_alloc(size); }
static void pcre_free(void *p, void *ctx) { (void)ctx, mem_free(p); }

void pretok_free(pretok *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) pcre2_code_free(p->patterns[i].code);
    pcre2_compile_context_free(p->compiling);
    pcre2_general_context_free(p->memory);
    mem_free(p);
}

// Writes \s, \S and \d as the classes they stand for.
static void expand_classes(sbuf *out, const char *re) {
    static const char space[] =
        "\\x09-\\x0d \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
    bool in_class = false;
    for (; *re; re++) {
        if (*re == '\\' && re[1]) {
            re++;
            if (*re == 's') sbuf_printf(out, in_class ? "%s" : "[%s]", space);
            else if (*re == 'S') sbuf_printf(out, "[^%s]", space);
            else if (*re == 'd') sbuf_puts(out, "\\p{Nd}");
            else sbuf_putc(out, '\\'), sbuf_putc(out, *re);
            continue;
        }
        if (*re == '[') in_class = true;
        if (*re == ']') in_class = false;
        sbuf_putc(out, *re);
    }
}

static tl_status pattern_compile(pretok *pre, const char *re, tl_error *err) {
    pattern *p = &pre->patterns[pre->n];
    p->thirds = *re == '\x01';
    sbuf expanded = {0};
    expand_classes(&expanded, re + p->thirds);
    if (expanded.failed) {
        sbuf_free(&expanded);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    p->code = pcre2_compile((PCRE2_SPTR)expanded.p, expanded.n, PCRE2_UTF | PCRE2_NO_UTF_CHECK, &code, &at, pre->compiling);
    sbuf_free(&expanded);
    if (!p->code) {
        char why[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(err, code == PCRE2_ERROR_HEAP_FAILED ? TL_E_MEMORY : TL_E_UNSUPPORTED,
                       "this PCRE2 cannot compile a pre-tokenizer pattern (at %zu): %s", (size_t)at, why);
    }
    pre->n++;
    p->jit = pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0;
    return TL_OK;
}

static const struct pre_row *row_find(str name) {
    for (size_t i = 0; i < N_ROWS; i++)
        if (str_is(name, pre_rows[i].name)) return &pre_rows[i];
    return NULL;
}

// Any default would give wrong ids without a word: the user has to know.
static tl_status unknown(str name, tl_error *err) {
    char shown[100];
    sbuf what = {0}, known = {0};
    if (name.n) sbuf_printf(&what, "unknown pre-tokenizer '%s'", str_escape(shown, sizeof shown, name));
    else sbuf_puts(&what, "the file names no pre-tokenizer");
    for (size_t i = 0; i < N_ROWS; i++) sbuf_printf(&known, i ? ", %s" : "%s", pre_rows[i].name);
    tl_status status = what.failed || known.failed
                           ? err_set(err, TL_E_MEMORY, "out of memory")
                           : err_set(err, TL_E_UNSUPPORTED, "%s (tokenizer.ggml.pre). Name the one that the model was "
                                     "trained with by --pre NAME: %s", what.p, known.p);
    sbuf_free(&what);
    sbuf_free(&known);
    return status;
}

tl_status pretok_new(str name, pretok **out, tl_error *err) {
    *out = NULL;
    const struct pre_row *row = row_find(name);
    if (!row) return unknown(name, err);
    pretok *p = mem_calloc(1, sizeof *p);
    if (!p) return err_set(err, TL_E_MEMORY, "out of memory");
    p->flags = row->flags;
    p->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    p->compiling = p->memory ? pcre2_compile_context_create(p->memory) : NULL;
    tl_status status = p->compiling ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory");
    for (const char *const *re = row->patterns; *re && status == TL_OK; re++) {
        TL_CHECK(p->n < MAX_PATTERNS);
        status = pattern_compile(p, *re, err);
    }
    if (status != TL_OK) {
        pretok_free(p);
        return status;
    }
    *out = p;
    return TL_OK;
}

void pretok_work_deinit(pretok_work *w) {
    vec_free(&w->ends);
    vec_free(&w->next);
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    *w = (pretok_work){0};
}

// A text such as a megabyte of one letter may need more stack than the JIT's 32 KB on the machine stack.
static bool grow_stack(const pretok *p, pretok_work *w) {
    if (w->stack) return false;
    w->stack = pcre2_jit_stack_create(STACK_START, STACK_MOST, p->memory);
    w->context = pcre2_match_context_create(p->memory);
    if (!w->stack || !w->context) return false;
    pcre2_jit_stack_assign(w->context, NULL, w->stack);
    return true;
}

static int match(const pretok *pre, const pattern *p, pretok_work *w, str text, size_t from) {
    PCRE2_SPTR subject = (PCRE2_SPTR)text.p;
    if (!p->jit) return pcre2_match(p->code, subject, text.n, from, PCRE2_NO_UTF_CHECK, w->match, w->context);
    int rc = pcre2_jit_match(p->code, subject, text.n, from, PCRE2_NO_UTF_CHECK, w->match, w->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && grow_stack(pre, w))
        rc = pcre2_jit_match(p->code, subject, text.n, from, PCRE2_NO_UTF_CHECK, w->match, w->context);
    return rc;
}

// Ends of the pieces of text[from, to): three characters each, the first one or two where it does not come out even.
static bool push_thirds(pretok_work *w, const char *text, size_t from, size_t to) {
    size_t chars = 0;
    for (size_t i = from; i < to; i++) chars += ((unsigned char)text[i] & 0xc0) != 0x80;
    for (size_t i = from; i < to;) {
        do i++;
        while (i < to && ((unsigned char)text[i] & 0xc0) == 0x80);
        if (--chars % 3 == 0 && !vec_push(&w->next, (uint32_t)i)) return false;
    }
    return true;
}

static tl_status no_memory(tl_error *err) { return err_set(err, TL_E_MEMORY, "out of memory"); }

// Applies pattern k to text[begin, end): what it matches and what lies between are pieces of their own.
static tl_status split_piece(const pretok *pre, int k, pretok_work *w, const char *text, size_t begin, size_t end,
                             tl_error *err) {
    const pattern *p = &pre->patterns[k];
    const size_t *place = pcre2_get_ovector_pointer(w->match);
    size_t done = begin; // no pattern matches nothing, so that this grows
    while (done < end) {
        int rc = match(pre, p, w, (str){text + begin, end - begin}, done - begin);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc == PCRE2_ERROR_NOMEMORY) return no_memory(err);
        if (rc < 0) return err_set(err, TL_E_LIMIT, "a pre-tokenizer pattern failed on this text (PCRE2 error %d)", rc);
        size_t start = begin + place[0], stop = begin + place[1];
        if (start > done && !vec_push(&w->next, (uint32_t)start)) return no_memory(err);
        if (!(p->thirds ? push_thirds(w, text, start, stop) : vec_push(&w->next, (uint32_t)stop))) return no_memory(err);
        done = stop;
    }
    return done == end || vec_push(&w->next, (uint32_t)end) ? TL_OK : no_memory(err);
}

tl_status pretok_split(const pretok *p, pretok_work *w, const char *text, size_t n, tl_error *err) {
    if (!w->match && !(w->match = pcre2_match_data_create(1, p->memory))) return no_memory(err);
    w->ends.n = 0;
    if (n == 0) return TL_OK;
    if (!vec_push(&w->ends, (uint32_t)n)) return no_memory(err);
    for (int i = 0; i < p->n; i++) {
        w->next.n = 0;
        for (size_t k = 0, begin = 0; k < w->ends.n; begin = w->ends.p[k++])
            TL_TRY(split_piece(p, i, w, text, begin, w->ends.p[k], err));
        uint32_t *was = w->ends.p;
        size_t was_cap = w->ends.cap;
        w->ends.p = w->next.p, w->ends.n = w->next.n, w->ends.cap = w->next.cap;
        w->next.p = was, w->next.n = 0, w->next.cap = was_cap;
    }
    return TL_OK;
}
