// base.c - errors, allocation, arena, byte buffer, vector, map and half-precision conversions of base.h.
#include "base/base.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <time.h>

// ---- errors --------------------------------------------------------------------------------------
static void err_fill(tl_error *err, tl_status code, int64_t offset, const char *fmt, va_list ap) {
    if (!err) return;
    err->code = code;
    err->offset = offset;
    vsnprintf(err->message, sizeof err->message, fmt, ap);
}

tl_status err_set(tl_error *err, tl_status code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err_fill(err, code, -1, fmt, ap);
    va_end(ap);
    return code;
}

tl_status err_at(tl_error *err, tl_status code, int64_t offset, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err_fill(err, code, offset, fmt, ap);
    va_end(ap);
    return code;
}

void check_failed(const char *expr, const char *file, int line) {
    fprintf(stderr, "tensorlogic: internal error: %s is false at %s:%d\n", expr, file, line);
    abort();
}

// ---- allocation ----------------------------------------------------------------------------------
static _Atomic int64_t alloc_count;
static _Atomic int64_t fail_at = -1;
#ifndef NDEBUG
static _Thread_local bool forbidden;
#endif

void mem_fail_after(int64_t n) { atomic_store(&fail_at, n); }
int64_t mem_count(void) { return atomic_load(&alloc_count); }
void mem_forbid(bool forbid) {
#ifndef NDEBUG
    forbidden = forbid;
#else
    (void)forbid;
#endif
}

static bool alloc_allowed(void) {
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
#ifndef NDEBUG
    TL_CHECK(!forbidden && "allocation during replay");
#endif
    if (atomic_load_explicit(&fail_at, memory_order_relaxed) < 0) return true;
    return atomic_fetch_sub(&fail_at, 1) != 0;
}

void *mem_alloc(size_t size) { return alloc_allowed() ? malloc(size ? size : 1) : NULL; }
void *mem_calloc(size_t count, size_t size) {
    size_t bytes; // checked here: a sanitizer's calloc would stop the program
    return alloc_allowed() && size_mul(count, size, &bytes) ? calloc(count ? count : 1, size ? size : 1) : NULL;
}
void *mem_realloc(void *p, size_t size) { return alloc_allowed() ? realloc(p, size ? size : 1) : NULL; }
void mem_free(void *p) { free(p); }
char *mem_strdup(const char *s) {
    size_t n = strlen(s) + 1;
    char *p = mem_alloc(n);
    return p ? memcpy(p, s, n) : NULL;
}
void *mem_alloc_aligned(size_t size, size_t align) {
    size_t padded;
    if (!alloc_allowed() || !size_add(size ? size : 1, align - 1, &padded)) return NULL;
    return aligned_alloc(align, padded / align * align);
}
void mem_free_aligned(void *p) { free(p); }

bool size_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
bool size_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

// ---- arena ---------------------------------------------------------------------------------------
struct arena_block {
    arena_block *next;
    size_t cap;
    _Alignas(16) unsigned char data[];
};
enum { ARENA_BLOCK = 64 * 1024 };

static void *arena_fail(arena *a, size_t size) {
    if (a->on_fail) a->on_fail(a->fail_ctx, size);
    check_failed("arena has memory", __FILE__, __LINE__);
}

void *arena_alloc(arena *a, size_t size) {
    size_t need;
    if (!size_add(size, 15, &need)) return arena_fail(a, size);
    need &= ~(size_t)15;
    if (!a->head || a->head->cap - a->used < need) {
        size_t cap = need > ARENA_BLOCK ? need : ARENA_BLOCK, bytes;
        if (a->limit && (cap > a->limit || a->total > a->limit - cap)) return arena_fail(a, size);
        arena_block *b = size_add(cap, sizeof *b, &bytes) ? mem_alloc(bytes) : NULL;
        if (!b) return arena_fail(a, size);
        b->next = a->head;
        b->cap = cap;
        a->head = b;
        a->used = 0;
        a->total += cap;
    }
    void *p = a->head->data + a->used;
    a->used += need;
    return memset(p, 0, need);
}

void *arena_dup(arena *a, const void *data, size_t size) {
    void *p = arena_alloc(a, size);
    return size ? memcpy(p, data, size) : p;
}

char *arena_strndup(arena *a, const char *s, size_t n) {
    char *p = arena_alloc(a, n + 1);
    if (n) memcpy(p, s, n);
    return p;
}

char *arena_printf(arena *a, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
    if (n >= 0) vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

void arena_free(arena *a) {
    for (arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        mem_free(b);
    }
    a->head = NULL;
    a->used = a->total = 0;
}

// ---- strings -------------------------------------------------------------------------------------
uint64_t str_hash(str s) { // FNV-1a over 8-byte words, then a mix: keys are short names
    uint64_t h = 0xcbf29ce484222325u ^ s.n;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        uint64_t w;
        memcpy(&w, s.p + i, 8);
        h = (h ^ w) * 0x9fb21c651e98df25u;
        h ^= h >> 29;
    }
    for (; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

// Length of the valid UTF-8 sequence at p (n bytes left), or 0.
static size_t utf8_len(const unsigned char *p, size_t n) {
    if (p[0] < 0x80) return 1;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < len) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return len;
}

char *str_escape(char *buf, size_t cap, str s) {
    size_t at = 0;
    if (cap == 0) return buf;
    for (size_t i = 0; i < s.n;) {
        const unsigned char *p = (const unsigned char *)s.p + i;
        size_t len = utf8_len(p, s.n - i);
        bool c1 = len == 2 && p[0] == 0xc2 && p[1] < 0xa0; // C1 controls steer some terminals
        bool plain = len > 0 && !c1 && p[0] >= 0x20 && p[0] != 0x7f;
        size_t need = plain ? len : 4;
        if (at + need + 4 > cap) { // keep room for "..."
            if (at + 4 <= cap) memcpy(buf + at, "...", 3), at += 3;
            break;
        }
        if (plain) memcpy(buf + at, p, len);
        else snprintf(buf + at, 5, "\\x%02x", p[0]);
        at += need;
        i += plain ? len : 1;
    }
    buf[at] = 0;
    return buf;
}

// ---- byte buffer ---------------------------------------------------------------------------------
void sbuf_put(sbuf *b, const char *s, size_t n) {
    size_t need;
    if (b->failed) return;
    if (!size_add(b->n, n, &need) || !size_add(need, 1, &need)) {
        b->failed = true;
        return;
    }
    if (need > b->cap) {
        size_t cap = b->cap < 128 ? 256 : b->cap;
        while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        char *p = mem_realloc(b->p, cap);
        if (!p) {
            b->failed = true;
            return;
        }
        b->p = p;
        b->cap = cap;
    }
    if (n) memcpy(b->p + b->n, s, n);
    b->n += n;
    b->p[b->n] = 0;
}
void sbuf_puts(sbuf *b, const char *s) { sbuf_put(b, s, strlen(s)); }
void sbuf_putc(sbuf *b, char c) { sbuf_put(b, &c, 1); }
void sbuf_vprintf(sbuf *b, const char *fmt, va_list ap) {
    char small[256];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        sbuf_put(b, small, (size_t)n);
    } else if (n > 0) {
        char *big = mem_alloc((size_t)n + 1);
        if (big) {
            vsnprintf(big, (size_t)n + 1, fmt, again);
            sbuf_put(b, big, (size_t)n);
            mem_free(big);
        } else {
            b->failed = true;
        }
    }
    va_end(again);
}
void sbuf_printf(sbuf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    sbuf_vprintf(b, fmt, ap);
    va_end(ap);
}
void sbuf_free(sbuf *b) {
    mem_free(b->p);
    *b = (sbuf){0};
}

tl_status sbuf_read_file(sbuf *b, const char *path, size_t most, tl_error *err) {
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(err, TL_E_IO, "%s: %s", path, strerror(errno));
    char part[1 << 14];
    for (size_t got; b->n <= most && (got = fread(part, 1, sizeof part, f)) > 0;) sbuf_put(b, part, got);
    int bad = ferror(f) ? errno : 0;
    fclose(f);
    sbuf_put(b, "", 0); // an empty file is an empty string
    tl_status st = TL_OK;
    if (bad) st = err_set(err, TL_E_IO, "%s: %s", path, strerror(bad));
    else if (b->failed || !b->p) st = err_set(err, TL_E_MEMORY, "out of memory");
    else if (b->n > most) st = err_set(err, TL_E_LIMIT, "%s: larger than %zu bytes", path, most);
    if (st != TL_OK) sbuf_free(b);
    return st;
}

// ---- vector --------------------------------------------------------------------------------------
bool vec_grow_(void **p, size_t *cap, size_t need, size_t elem) {
    if (need <= *cap) return true;
    size_t n = *cap < 8 ? 8 : *cap + *cap / 2, bytes;
    if (n < need) n = need;
    if (!size_mul(n, elem, &bytes)) return false;
    void *q = mem_realloc(*p, bytes);
    if (!q) return false;
    *p = q;
    *cap = n;
    return true;
}

// ---- map -----------------------------------------------------------------------------------------
static map_entry *map_slot(const map *m, str key, uint64_t hash) {
    size_t mask = m->cap - 1, i = (size_t)hash & mask;
    while (m->slots[i].hash && !(m->slots[i].hash == hash && str_eq(m->slots[i].key, key))) i = (i + 1) & mask;
    return &m->slots[i];
}

static bool map_grow(map *m) {
    map bigger = {.n = m->n, .cap = m->cap ? m->cap * 2 : 16};
    bigger.slots = mem_calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots) return false;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].hash) *map_slot(&bigger, m->slots[i].key, m->slots[i].hash) = m->slots[i];
    mem_free(m->slots);
    *m = bigger;
    return true;
}

int64_t *map_get(const map *m, str key) {
    if (!m->cap) return NULL;
    map_entry *e = map_slot(m, key, str_hash(key) | 1);
    return e->hash ? &e->value : NULL;
}

bool map_put(map *m, str key, int64_t value) {
    if (m->n * 4 >= m->cap * 3 && !map_grow(m)) return false;
    uint64_t hash = str_hash(key) | 1; // 0 marks an empty slot
    map_entry *e = map_slot(m, key, hash);
    if (!e->hash) m->n++;
    *e = (map_entry){key, hash, value};
    return true;
}

void map_free(map *m) {
    mem_free(m->slots);
    *m = (map){0};
}

// ---- half-precision ------------------------------------------------------------------------------
float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff, u;
    if (e == 31) u = sign | 0x7f800000u | m << 13;
    else if (e) u = sign | (e + 112) << 23 | m << 13;
    else if (m) { // subnormal: normalise
        int shift = __builtin_clz(m) - 21;
        u = sign | (uint32_t)(113 - shift) << 23 | (m << shift & 0x3ff) << 13;
    } else u = sign;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t f32_to_f16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff)); // NaN, payload kept, quiet
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00);                    // rounds past 65504
    if (a < 0x38800000u) {                                                    // subnormal or zero
        float tiny = 0.5f, x;                                                 // adding 0.5 rounds at 2^-24, to nearest even
        memcpy(&x, &a, 4);
        x += tiny;
        uint32_t r, base = 0x3f000000u;
        memcpy(&r, &x, 4);
        return (uint16_t)(sign | (r - base));
    }
    a += 0xfff + (a >> 13 & 1); // to nearest even
    return (uint16_t)(sign | (a - 0x38000000u) >> 13);
}

uint16_t f32_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

// ---- time ----------------------------------------------------------------------------------------
double clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
