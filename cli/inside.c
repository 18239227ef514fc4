// inside.c - see inside.h.
#include "inside.h"
#include "interrupt.h"
#include "progress.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int inside_check(const char *command, const inside_args *a) {
    if (!!a->file + !!a->text + !!a->ids != 1) return args_wrong(command, "give one of -p TEXT, -f FILE and --ids 1,2,3");
    return -1;
}

// ---- tokens ------------------------------------------------------------------------------------
int inside_tokens(const char *command, const inside_args *a, const opened *o, int32_t **ids, size_t *n) {
    char *text = NULL;
    size_t size = a->text ? strlen(a->text) : 0;
    int32_t *made = NULL;
    tl_error err;
    *ids = NULL, *n = 0;
    if (a->ids) {
        if (!parse_ids(a->ids, ids, n)) return args_wrong(command, "--ids: whole numbers separated by commas are wanted");
    } else {
        int status = a->file ? read_file(command, a->file, &text, &size) : 0;
        if (status != 0) return status;
        unsigned flags = (a->no_special ? 0 : TL_ADD_SPECIAL) | (a->parse_special ? TL_PARSE_SPECIAL : 0);
        tl_status st = tl_tokenize(o->model, text ? text : a->text, size, flags, &made, n, &err);
        free(text);
        if (st != TL_OK) {
            fail_with(command, &err);
            fprintf(stderr, "--ids 1,2,3 gives token ids without a tokenizer\n");
            return err.code == TL_E_USAGE ? 2 : 1;
        }
        *ids = malloc((*n + 1) * sizeof **ids);
        if (*ids && *n) memcpy(*ids, made, *n * sizeof **ids);
        tl_free(made);
    }
    if (!*ids) return fail(command, "out of memory");
    int64_t vocab = tl_model_n_vocab(o->model);
    for (size_t i = 0; i < *n; i++)
        if ((*ids)[i] < 0 || (*ids)[i] >= vocab) return fail(command, "token %d is not in the vocabulary of %" PRId64, (*ids)[i], vocab);
    return *n ? 0 : fail(command, "the text has no tokens");
}

static const char *token_text(const tl_model *m, int32_t id, size_t *n) {
    const char *text = tl_token_text(m, id, true, n);
    if (!text) *n = 0;
    return text ? text : "";
}

json_t *inside_token_texts(const tl_model *m, const int32_t *ids, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        size_t length;
        const char *text = token_text(m, ids[i], &length);
        json_array_append_new(list, json_bytes(text, length));
    }
    return list;
}

int inside_show_token(const tl_model *m, int32_t id, int width, char *buf) {
    size_t n;
    const char *text = token_text(m, id, &n);
    int columns = 0;
    if (n == 0) {
        snprintf(buf, 16, "#%d", id);
        return (int)strlen(buf);
    }
    for (size_t i = 0; i < n && columns < width;) {
        unsigned char c = (unsigned char)text[i];
        size_t k = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        bool whole = c < 0x80 || (c >= 0xc2 && i + k <= n);
        for (size_t j = 1; whole && j < k; j++) whole = ((unsigned char)text[i + j] & 0xc0) == 0x80;
        int wide = whole && k >= 3 && c >= 0xe3 && c != 0xef ? 2 : 1; // CJK and emoji, near enough
        if (columns + wide > width) break;
        if (c == ' ') buf += sprintf(buf, "\u00b7");
        else if (c == '\n') buf += sprintf(buf, "\u21b5");
        else if (c < 0x20 || c == 0x7f || !whole) buf += sprintf(buf, "\ufffd"), k = 1;
        else memcpy(buf, text + i, k), buf += k;
        i += k;
        columns += wide;
    }
    *buf = 0;
    return columns;
}

// ---- running -----------------------------------------------------------------------------------
int inside_run(const char *command, tl_session *s, const int32_t *ids, size_t n, inside_step each, void *ctx) {
    size_t batch = (size_t)tl_session_n_batch(s);
    tl_row *rows = malloc(batch * sizeof *rows);
    if (!rows) return fail(command, "out of memory");
    int status = 0;
    progress bar;
    progress_start(&bar, "reading", (int64_t)n, 0, !isatty(STDERR_FILENO));
    bar.unit = "tokens";
    interrupt_catch();
    tl_seq_cut(s, 0, 0);
    for (size_t from = 0; from < n && status == 0; from += batch) {
        size_t m = n - from < batch ? n - from : batch;
        const float *logits;
        tl_error err;
        for (size_t i = 0; i < m; i++) rows[i] = (tl_row){.token = ids[from + i], .logits = true};
        tl_status st = interrupt_came ? TL_E_CANCELLED : tl_session_step(s, rows, m, &logits, &err);
        if (st == TL_OK) status = each(ctx, from, m, logits);
        if (status == 0 && interrupt_came) st = TL_E_CANCELLED; // what was looked at is not whole
        progress_update(&bar, (int64_t)(from + m), "");
        if (st != TL_OK || status != 0) progress_end(&bar); // a message follows, or has been told
        if (st == TL_E_CANCELLED) status = fail(command, "stopped within the first %zu of %zu tokens", from + m, n);
        else if (st != TL_OK) status = fail_with(command, &err);
    }
    progress_end(&bar);
    interrupt_leave();
    free(rows);
    return status;
}

// ---- telling -----------------------------------------------------------------------------------
size_t inside_elements(const tl_watch *w) {
    size_t n = 1;
    for (int i = 0; i < w->rank; i++) n *= (size_t)w->size[i];
    return n;
}

void inside_place(const tl_watch *w, char *buf, size_t cap) {
    if (w->call_file) snprintf(buf, cap, "%s:%d from %s:%d", w->file, w->line, w->call_file, w->call_line);
    else snprintf(buf, cap, "%s:%d", w->file, w->line);
}

void inside_shape(const tl_watch *w, char *buf, size_t cap, size_t rows) {
    int n = snprintf(buf, cap, "[");
    for (int i = 0; i < w->rank && n < (int)cap; i++)
        n += snprintf(buf + n, cap - (size_t)n, "%s%s%s%" PRId64, i ? ", " : "", w->axis[i], w->axis[i][0] ? "=" : "",
                      i == 0 && (w->rows || w->outs) ? (int64_t)rows : w->size[i]);
    if (n < (int)cap) snprintf(buf + n, cap - (size_t)n, "]");
}

static json_t *text_or_null(const char *text) { return text ? json_string(text) : json_null(); }

json_t *inside_json(const tl_watch *w, size_t rows) {
    json_t *axes = json_array(), *shape = json_array();
    size_t n = 0;
    while (n < w->text_n && w->text[n] != '\n') n++;
    for (int i = 0; i < w->rank; i++) {
        json_array_append_new(axes, json_string(w->axis[i]));
        json_array_append_new(shape, json_integer(i == 0 && (w->rows || w->outs) ? (json_int_t)rows : (json_int_t)w->size[i]));
    }
    return json_pack("{s:s, s:s, s:o, s:s, s:i, s:i, s:o, s:o, s:o, s:b, s:b, s:o, s:o}", "key", w->key, "name", w->name, "layer",
                     w->layer >= 0 ? json_integer(w->layer) : json_null(), "file", w->file, "line", w->line, "column", w->col, "text", json_bytes(w->text ? w->text : "", n),
                     "called_from", text_or_null(w->call_file), "called_line", w->call_file ? json_integer(w->call_line) : json_null(), "beside", w->beside,
                     "patched", w->patched, "axes", axes, "shape", shape);
}

// ---- .npy --------------------------------------------------------------------------------------
bool npy_write_header(FILE *f, const int64_t *size, int rank) {
    char dict[246];
    int n = snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < rank; i++) n += snprintf(dict + n, sizeof dict - (size_t)n, "%" PRId64 ",%s", size[i], i + 1 < rank ? " " : "");
    n += snprintf(dict + n, sizeof dict - (size_t)n, "), }");
    if (n >= (int)sizeof dict) return false;
    return fwrite("\x93NUMPY\x01\x00\xf6\x00", 1, 10, f) == 10 && fprintf(f, "%-245s\n", dict) == 246;
}

static bool npy_shape(const char *text, int64_t *size, int *rank) {
    const char *s = strstr(text, "'shape': (");
    if (!s) return false;
    s += strlen("'shape': (");
    for (*rank = 0; *s && *s != ')';) {
        char *end;
        errno = 0;
        long long v = strtoll(s, &end, 10);
        if (end == s || errno || v < 0 || *rank == 8) return false;
        size[(*rank)++] = v;
        s = end + strspn(end, ", ");
    }
    return *s == ')';
}

bool npy_read(const char *path, float **data, int64_t *size, int *rank, const char **why) {
    unsigned char head[12] = {0};
    char text[4096];
    FILE *f = fopen(path, "rb");
    *data = NULL;
    *why = "it is no .npy file of float32 or float64 in C order";
    if (!f) return *why = strerror(errno), false;
    size_t n = fread(head, 1, 10, f) == 10 && memcmp(head, "\x93NUMPY", 6) == 0 ? head[8] | (size_t)head[9] << 8 : 0;
    if (head[6] != 1 || n == 0 || n >= sizeof text || fread(text, 1, n, f) != n) return fclose(f), false;
    text[n] = 0;
    bool f8 = strstr(text, "'<f8'"), f4 = strstr(text, "'<f4'");
    size_t count = 1;
    bool ok = (f8 || f4) && strstr(text, "'fortran_order': False") && npy_shape(text, size, rank);
    for (int i = 0; ok && i < *rank; i++) ok = !__builtin_mul_overflow(count, (size_t)size[i], &count);
    long at = ftell(f), end = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    ok = ok && at >= 0 && end >= at && count == (size_t)(end - at) / (f8 ? 8 : 4) && fseek(f, at, SEEK_SET) == 0;
    if (ok) *data = malloc((count + 1) * sizeof **data);
    ok = ok && *data;
    for (size_t i = 0; ok && i < count; i++) {
        double d;
        ok = f8 ? fread(&d, 8, 1, f) == 1 : fread(*data + i, 4, 1, f) == 1;
        if (ok && f8) (*data)[i] = (float)d;
    }
    fclose(f);
    if (!ok) free(*data), *data = NULL;
    return ok;
}
