// text.c - facts from and to TSV and CSV. No header line. TSV: \t \n \r \\ stand for themselves in a field. CSV as RFC
// 4180: fields with commas, quotes or line ends in double quotes, quotes doubled.
#include "logic/impl.h"
#include <errno.h>
#include <math.h>

typedef struct reader {
    str text;
    size_t at, line, line_at;
    char sep;
    sbuf buf;                         // decoded fields of one line
    size_t ends[LOGIC_MAX_COLS];      // of each field in buf
    int n;                            // fields; may exceed LOGIC_MAX_COLS
} reader;

static bool end_field(reader *r) {
    if (r->n < LOGIC_MAX_COLS) r->ends[r->n] = r->buf.n;
    r->n++;
    return !r->buf.failed;
}

static bool at_line_end(const reader *r) { return r->at >= r->text.n || r->text.p[r->at] == '\n' || (r->text.p[r->at] == '\r' && r->at + 1 < r->text.n && r->text.p[r->at + 1] == '\n'); }

static tl_status quoted(reader *r, tl_error *err) {
    size_t begin = r->at++;
    for (;; r->at++) {
        if (r->at >= r->text.n) return err_at(err, TL_E_FORMAT, (int64_t)begin, "line %zu: the quote is never closed", r->line);
        char c = r->text.p[r->at];
        if (c == '"') {
            if (r->at + 1 >= r->text.n || r->text.p[r->at + 1] != '"') break;
            r->at++;
        }
        sbuf_putc(&r->buf, c);
    }
    r->at++;
    if (at_line_end(r) || r->text.p[r->at] == r->sep) return TL_OK;
    return err_at(err, TL_E_FORMAT, (int64_t)r->at, "line %zu: text after a closing quote", r->line);
}

static tl_status plain(reader *r, tl_error *err) {
    while (!at_line_end(r) && r->text.p[r->at] != r->sep) {
        char c = r->text.p[r->at++];
        if (c == '\\' && r->sep == '\t') {
            static const char from[] = "tnr\\", to[] = "\t\n\r\\";
            const char *k = r->at < r->text.n && r->text.p[r->at] ? strchr(from, r->text.p[r->at]) : NULL;
            if (!k) return err_at(err, TL_E_FORMAT, (int64_t)r->at, "line %zu: expected \\t, \\n, \\r or \\\\ after a backslash", r->line);
            c = to[k - from];
            r->at++;
        }
        sbuf_putc(&r->buf, c);
    }
    return TL_OK;
}

// The next line's fields; *more false at the end of the text. Empty lines are skipped where `skip` is set.
static tl_status next_line(reader *r, bool skip, bool *more, tl_error *err) {
    while (skip && r->at < r->text.n && at_line_end(r)) {
        r->at += r->text.p[r->at] == '\r' ? 2 : 1;
        r->line++;
    }
    *more = r->at < r->text.n;
    r->buf.n = 0;
    r->n = 0;
    r->line++;
    r->line_at = r->at;
    while (*more) {
        if (r->sep == ',' && !at_line_end(r) && r->text.p[r->at] == '"') TL_TRY(quoted(r, err));
        else TL_TRY(plain(r, err));
        if (!end_field(r)) return err_set(err, TL_E_MEMORY, "out of memory");
        bool end = at_line_end(r);
        if (r->at < r->text.n) r->at += end && r->text.p[r->at] == '\r' ? 2 : 1;
        if (end) break;
    }
    return TL_OK;
}

static str field(const reader *r, int i) {
    size_t from = i ? r->ends[i - 1] : 0;
    return (str){(r->buf.p ? r->buf.p : "") + from, r->ends[i] - from};
}

// ---- numbers -------------------------------------------------------------------------------------------
static bool whole_number(str s, int64_t *out) {
    char buf[32], *end;
    if (s.n == 0 || s.n >= sizeof buf || s.p[0] == ' ' || s.p[0] == '+') return false;
    memcpy(buf, s.p, s.n);
    buf[s.n] = 0;
    errno = 0;
    *out = strtoll(buf, &end, 10);
    return end == buf + s.n && errno == 0;
}

static bool real_number(str s, double *out) {
    char buf[64], *end;
    if (s.n == 0 || s.n >= sizeof buf || s.p[0] == ' ' || s.p[0] == '+') return false;
    memcpy(buf, s.p, s.n);
    buf[s.n] = 0;
    *out = strtod(buf, &end);
    return end == buf + s.n && !strpbrk(buf, "xX");
}

static bool read_value(str s, logic_type t, logic_value *v) {
    *v = (logic_value){.type = t, .s = s};
    if (t == LT_INT) return whole_number(s, &v->i);
    if (t == LT_FLOAT) return real_number(s, &v->f);
    if (t != LT_BOOL) return true;
    v->i = str_is(s, "true") || str_is(s, "1");
    return v->i || str_is(s, "false") || str_is(s, "0");
}

// ---- reading -------------------------------------------------------------------------------------------
static tl_status check_width(const reader *r, const logic_rel *rel, tl_error *err) {
    if (r->n == rel->arity) return TL_OK;
    return err_at(err, TL_E_FORMAT, (int64_t)r->line_at, "line %zu: %d fields for the %d columns of '%.*s'", r->line, r->n, rel->arity, (int)rel->name.n, rel->name.p);
}

// What the columns of unknown type hold, by looking at every line.
static tl_status guess_types(reader r, logic_rel *rel, logic_type *types, tl_error *err) {
    bool more, any = false;
    int64_t i;
    double d;
    for (int c = 0; c < rel->arity; c++) types[c] = rel->cols[c].type == LT_ANY ? LT_INT : rel->cols[c].type, any = any || rel->cols[c].type == LT_ANY;
    if (!any) return TL_OK;
    r.buf = (sbuf){0};
    tl_status status = TL_OK;
    while ((status = next_line(&r, rel->arity > 1, &more, err)) == TL_OK && more && (status = check_width(&r, rel, err)) == TL_OK)
        for (int c = 0; c < rel->arity; c++) {
            if (rel->cols[c].type != LT_ANY) continue;
            if (types[c] == LT_INT && !whole_number(field(&r, c), &i)) types[c] = LT_FLOAT;
            if (types[c] == LT_FLOAT && !real_number(field(&r, c), &d)) types[c] = LT_STRING;
        }
    sbuf_free(&r.buf);
    return status;
}

static tl_status read_lines(logic_db *db, logic_rel *rel, reader *r, const logic_type *types, bool add, tl_error *err) {
    bool more;
    logic_value row[LOGIC_MAX_COLS];
    char buf[60];
    for (;;) {
        TL_TRY(next_line(r, rel->arity > 1, &more, err));
        if (!more) return TL_OK;
        TL_TRY(check_width(r, rel, err));
        for (int c = 0; c < rel->arity; c++) {
            if (read_value(field(r, c), types[c], &row[c])) continue;
            return err_at(err, TL_E_FORMAT, (int64_t)r->line_at, "line %zu, field %d: \"%s\" is not %s", r->line, c + 1, str_escape(buf, sizeof buf, field(r, c)), type_name(types[c]));
        }
        if (add) TL_TRY(logic_fact(db, rel, row, err));
    }
}

// Everything is read twice, so that a text with an error adds nothing.
tl_status logic_load_text(logic_db *db, logic_rel *rel, logic_format f, str text, tl_error *err) {
    logic_type types[LOGIC_MAX_COLS];
    if (rel->arity == 0) return err_set(err, TL_E_USAGE, "'%.*s' has no columns to load", (int)rel->name.n, rel->name.p);
    reader r = {.text = text, .sep = f == LOGIC_CSV ? ',' : '\t'};
    if (text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0) r.at = 3;
    TL_TRY(guess_types(r, rel, types, err));
    reader again = r;
    tl_status status = read_lines(db, rel, &r, types, false, err);
    if (status == TL_OK) {
        again.buf = r.buf;
        status = read_lines(db, rel, &again, types, true, err);
        r.buf = again.buf;
    }
    sbuf_free(&r.buf);
    return status;
}

// ---- writing -------------------------------------------------------------------------------------------
static void write_text(str s, logic_format f, bool only, sbuf *out) {
    bool quote = f == LOGIC_CSV && only && s.n == 0; // an empty line would be no row
    for (size_t i = 0; i < s.n && f == LOGIC_CSV; i++) quote = quote || strchr(",\"\n\r", s.p[i]);
    if (quote) sbuf_putc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (f == LOGIC_CSV) {
            if (c == '"') sbuf_putc(out, c);
            sbuf_putc(out, c);
        } else if (c == '\t' || c == '\n' || c == '\r' || c == '\\') {
            sbuf_putc(out, '\\');
            sbuf_putc(out, c == '\t' ? 't' : c == '\n' ? 'n' : c == '\r' ? 'r' : '\\');
        } else {
            sbuf_putc(out, c);
        }
    }
    if (quote) sbuf_putc(out, '"');
}

tl_status logic_save_text(logic_db *db, logic_rel *rel, logic_format f, sbuf *out, diag_list *dl) {
    logic_rows *rows;
    TL_TRY(logic_iterate(db, rel, dl, &rows));
    int n = logic_rows_columns(rows);
    for (size_t r = 0; r < logic_rows_count(rows); r++) {
        for (int c = 0; c < n; c++) {
            logic_value v = logic_rows_value(rows, r, c);
            if (c) sbuf_putc(out, f == LOGIC_CSV ? ',' : '\t');
            if (type_is_text(v.type)) write_text(v.s, f, n == 1, out);
            else logic_value_text(v, out);
        }
        sbuf_putc(out, '\n');
    }
    logic_rows_free(rows);
    return out->failed ? TL_E_MEMORY : TL_OK;
}

// ---- files ---------------------------------------------------------------------------------------------
static logic_format format_of(const char *path) {
    size_t n = strlen(path);
    return n >= 4 && strcmp(path + n - 4, ".csv") == 0 ? LOGIC_CSV : LOGIC_TSV;
}

tl_status logic_load(logic_db *db, logic_rel *r, const char *path, tl_error *err) {
    FILE *f = fopen(path, "rb");
    sbuf text = {0};
    if (!f) return err_set(err, TL_E_IO, "%s: %s", path, strerror(errno));
    char part[1 << 14];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0 && !text.failed;) sbuf_put(&text, part, n);
    bool bad = ferror(f);
    fclose(f);
    tl_status status = bad           ? err_set(err, TL_E_IO, "%s: cannot be read", path)
                       : text.failed ? err_set(err, TL_E_MEMORY, "out of memory")
                                     : logic_load_text(db, r, format_of(path), (str){text.p, text.n}, err);
    sbuf_free(&text);
    return status;
}

tl_status logic_save(logic_db *db, logic_rel *r, const char *path, diag_list *dl, tl_error *err) {
    sbuf text = {0};
    tl_status status = logic_save_text(db, r, format_of(path), &text, dl);
    if (status == TL_OK) {
        FILE *f = fopen(path, "wb");
        bool ok = f && fwrite(text.p ? text.p : "", 1, text.n, f) == text.n;
        if (f && fclose(f) != 0) ok = false;
        if (!ok) status = err_set(err, TL_E_IO, "%s: %s", path, strerror(errno));
    } else if (status == TL_E_MEMORY) {
        err_set(err, TL_E_MEMORY, "out of memory");
    }
    sbuf_free(&text);
    return status;
}
