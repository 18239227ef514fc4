// base.h - what every other folder uses: status and errors, arena, slices, vectors, maps, checked sizes.
// Invariant: nothing here knows tensors, models or programs, and nothing prints or exits.
#ifndef TL_BASE_H
#define TL_BASE_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorlogic.h"

// ---- status and errors: tl_status and tl_error are public -----------------------------------------
#if defined(__GNUC__)
#define TL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define TL_UNUSED __attribute__((unused))
#else
#define TL_PRINTF(fmt, args)
#define TL_UNUSED
#endif

// Fills *err (when not NULL) and returns `code`, so that a failing function can `return err_set(...)`.
tl_status err_set(tl_error *err, tl_status code, const char *fmt, ...) TL_PRINTF(3, 4);
tl_status err_at(tl_error *err, tl_status code, int64_t offset, const char *fmt, ...) TL_PRINTF(4, 5);
#define TL_TRY(call)                                                                                                   \
    do {                                                                                                               \
        tl_status try_status_ = (call);                                                                                \
        if (try_status_ != TL_OK) return try_status_;                                                                  \
    } while (0)
// A broken invariant of ours, never an input error: prints to stderr and aborts.
_Noreturn void check_failed(const char *expr, const char *file, int line);
#define TL_CHECK(expr) ((expr) ? (void)0 : check_failed(#expr, __FILE__, __LINE__))

// ---- allocation --------------------------------------------------------------------------------
// All heap memory of the library comes through these, so that tests can fail the Nth allocation and
// debug builds can forbid allocation during replay.
void *mem_alloc(size_t size);                // NULL on failure; uninitialised
void *mem_calloc(size_t count, size_t size); // NULL on failure or overflow; zeroed
void *mem_realloc(void *p, size_t size);
void mem_free(void *p);
char *mem_strdup(const char *s);
void *mem_alloc_aligned(size_t size, size_t align); // free with mem_free_aligned
void mem_free_aligned(void *p);
void mem_fail_after(int64_t n);   // tests: the nth allocation from now fails (-1: never)
void mem_forbid(bool forbid);     // this thread: debug builds abort on an allocation while set
int64_t mem_count(void);          // allocations made so far by this process

bool size_mul(size_t a, size_t b, size_t *out); // false on overflow
bool size_add(size_t a, size_t b, size_t *out);

// ---- arena -------------------------------------------------------------------------------------
// Bump allocation freed as a whole. Zeroed memory. arena_alloc never returns NULL: on exhaustion it calls
// on_fail (a longjmp of the front end) or, when that is not set, aborts through TL_CHECK.
typedef struct arena_block arena_block;
typedef struct arena {
    arena_block *head;
    size_t used, total, limit;              // limit 0: none
    void (*on_fail)(void *ctx, size_t size); // must not return
    void *fail_ctx;
} arena;
void *arena_alloc(arena *a, size_t size); // 16-byte aligned, zeroed
void *arena_dup(arena *a, const void *data, size_t size);
char *arena_strndup(arena *a, const char *s, size_t n);
char *arena_printf(arena *a, const char *fmt, ...) TL_PRINTF(2, 3);
void arena_free(arena *a); // frees everything; the arena is empty and usable again
#define arena_new(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define arena_array(a, T, n) ((T *)arena_alloc((a), sizeof(T) * (size_t)(n)))

// ---- string slice ------------------------------------------------------------------------------
typedef struct str {
    const char *p; // not NUL-terminated in general
    size_t n;
} str;
#define STR(lit) ((str){(lit), sizeof(lit) - 1})
static inline str str_of(const char *s) { return (str){s, s ? strlen(s) : 0}; }
static inline bool str_eq(str a, str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool str_is(str a, const char *b) { return str_eq(a, str_of(b)); }
static inline bool str_starts(str a, str prefix) { return a.n >= prefix.n && memcmp(a.p, prefix.p, prefix.n) == 0; }
uint64_t str_hash(str s);
// Writes s into buf with control bytes and invalid UTF-8 as \xNN, cut to fit with "..."; returns buf.
char *str_escape(char *buf, size_t cap, str s);

// ---- growing byte buffer -----------------------------------------------------------------------
typedef struct sbuf { // zero-initialise; p is NUL-terminated after every call
    char *p;
    size_t n, cap;
    bool failed; // an allocation failed: the content is cut
} sbuf;
void sbuf_put(sbuf *b, const char *s, size_t n);
void sbuf_puts(sbuf *b, const char *s);
void sbuf_putc(sbuf *b, char c);
void sbuf_printf(sbuf *b, const char *fmt, ...) TL_PRINTF(2, 3);
void sbuf_vprintf(sbuf *b, const char *fmt, va_list ap);
void sbuf_free(sbuf *b);
// Appends a file's bytes, at most `most` of them. TL_E_IO (path: why), TL_E_LIMIT, TL_E_MEMORY; b is then empty.
tl_status sbuf_read_file(sbuf *b, const char *path, size_t most, tl_error *err);

// ---- vector ------------------------------------------------------------------------------------
// VEC(int) v = {0}; if (!vec_push(&v, 3)) out of memory; v.p[i], v.n; vec_free(&v).
#define VEC(T)                                                                                                         \
    struct {                                                                                                           \
        T *p;                                                                                                          \
        size_t n, cap;                                                                                                 \
    }
bool vec_grow_(void **p, size_t *cap, size_t need, size_t elem);
#define vec_reserve(v, need) vec_grow_((void **)&(v)->p, &(v)->cap, (need), sizeof *(v)->p)
#define vec_push(v, x) (vec_reserve((v), (v)->n + 1) ? ((v)->p[(v)->n++] = (x), true) : false)
#define vec_free(v) (mem_free((v)->p), (v)->p = NULL, (v)->n = (v)->cap = 0)

// ---- time ---------------------------------------------------------------------------------------
double clock_ns(void); // monotonic, in nanoseconds

// ---- hash map: byte string -> int64 or pointer --------------------------------------------------
// Keys are not copied: they must outlive the map. Open addressing; no deletion.
typedef struct map_entry {
    str key;
    uint64_t hash;
    int64_t value;
} map_entry;
typedef struct map { // zero-initialise
    map_entry *slots;
    size_t n, cap;
} map;
int64_t *map_get(const map *m, str key);             // NULL if absent
bool map_put(map *m, str key, int64_t value);        // false: out of memory; overwrites
void map_free(map *m);

// ---- half-precision ----------------------------------------------------------------------------
float f16_to_f32(uint16_t h); // exact, plain C
uint16_t f32_to_f16(float f); // round to nearest even; overflow to inf; NaN stays NaN
static inline float bf16_to_f32(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
uint16_t f32_to_bf16(float f);
#endif
