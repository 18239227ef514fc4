// lens.c - `tl lens`: the logit lens. What the model would answer had its program ended after each layer: the statements that
// follow the step function's loop over layers, applied to every layer (nostalgebraist 2020, "interpreting GPT: the logit lens").
#include "inside.h"
#include "interrupt.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LENS_ROWS = 8, MOST_K = 50 };

typedef struct guess { int32_t id; double p; } guess;

typedef struct lens {
    const inside_args *a;
    const opened *o;
    const int32_t *ids;
    size_t n, layers;      // layers: with the one before the first
    int k;
    guess *best;           // [layers, n, k]
    float *values;
    const char *html;
} lens;

static guess *guesses(const lens *l, size_t layer, size_t token) { return l->best + (layer * l->n + token) * (size_t)l->k; }

// The k most probable; of equals the first.
static void find_best(const float *x, int64_t n, int k, guess *out) {
    double max = -INFINITY, sum = 0;
    int have = 0;
    for (int64_t i = 0; i < n; i++) max = (double)x[i] > max ? (double)x[i] : max;
    for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]) || (have == k && (double)x[i] <= out[k - 1].p)) continue;
        int at = have < k ? have++ : k - 1;
        while (at > 0 && out[at - 1].p < (double)x[i]) out[at] = out[at - 1], at--;
        out[at] = (guess){(int32_t)i, (double)x[i]};
    }
    for (int i = 0; i < k; i++) out[i] = i < have ? (guess){out[i].id, exp(out[i].p - max) / sum} : (guess){-1, NAN};
}

static int on_step(void *ctx, size_t from, size_t rows, const float *logits) {
    lens *l = ctx;
    tl_watch w;
    tl_error err;
    (void)logits;
    for (size_t i = 0; i < l->layers && !interrupt_came; i++) {
        tl_session_watch_at(l->o->session, i, &w);
        size_t vocab = (size_t)w.size[1];
        if (!l->values && !(l->values = malloc((size_t)tl_session_n_batch(l->o->session) * vocab * sizeof *l->values))) return fail("lens", "out of memory");
        if (tl_session_watch_read(l->o->session, i, l->values, &err) != TL_OK) return fail_with("lens", &err);
        for (size_t r = 0; r < rows; r++) find_best(l->values + r * vocab, (int64_t)vocab, l->k, guesses(l, i, from + r));
    }
    return 0;
}

static int layer_of(const lens *l, size_t i) {
    tl_watch w;
    tl_session_watch_at(l->o->session, i, &w);
    return (int)w.layer;
}

// ---- the terminal ------------------------------------------------------------------------------
static void put_cell(const lens *l, int32_t id, int width) {
    char text[256];
    int columns = id >= 0 ? inside_show_token(l->o->model, id, width, text) : 0;
    printf(" %s%*s", columns ? text : "", width > columns ? width - columns : 0, "");
}

static int print_table(const lens *l) {
    enum { WIDTH = 10, PERCENT = 4 };
    bool color = color_wanted(stdout);
    size_t columns = 8; // positions side by side
    for (size_t from = 0; from < l->n; from += columns) {
        size_t to = from + columns < l->n ? from + columns : l->n;
        printf("%-6s", "layer");
        for (size_t t = from; t < to; t++) put_cell(l, l->ids[t], WIDTH), printf("%*s", PERCENT, "");
        putchar('\n');
        for (size_t i = 0; i < l->layers; i++) {
            if (layer_of(l, i) < 0) printf("%-6s", "input");
            else printf("%-6d", layer_of(l, i));
            for (size_t t = from; t < to; t++) {
                const guess *g = guesses(l, i, t);
                if (color) printf("\033[48;5;%dm\033[38;5;%dm", isfinite(g->p) ? 232 + (int)(g->p * 20) : 52, g->p > 0.5 ? 231 : 252);
                put_cell(l, g->id, WIDTH);
                printf("%3.0f%%", isfinite(g->p) ? 100 * g->p : 0);
                if (color) printf("\033[0m");
            }
            putchar('\n');
        }
        if (to < l->n) putchar('\n');
    }
    return 0;
}

// ---- JSON and HTML -----------------------------------------------------------------------------
static json_t *lens_json(const lens *l) {
    json_t *layers = json_array(), *ids = json_array();
    for (size_t t = 0; t < l->n; t++) json_array_append_new(ids, json_integer(l->ids[t]));
    for (size_t i = 0; i < l->layers; i++) {
        json_t *row = json_array();
        for (size_t t = 0; t < l->n; t++) {
            json_t *cell = json_array();
            for (int k = 0; k < l->k; k++) {
                const guess *g = guesses(l, i, t) + k;
                if (g->id < 0) continue;
                json_t *text = inside_token_texts(l->o->model, &g->id, 1);
                json_array_append_new(cell, json_pack("{s:i, s:O, s:o}", "id", g->id, "token", json_array_get(text, 0), "p", json_real_or_null(g->p)));
                json_decref(text);
            }
            json_array_append_new(row, cell);
        }
        int layer = layer_of(l, i);
        json_array_append_new(layers, json_pack("{s:o, s:o}", "layer", layer < 0 ? json_null() : json_integer(layer), "positions", row));
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "model", tl_model_name(l->o->model), "ids", ids, "tokens", inside_token_texts(l->o->model, l->ids, l->n), "layers", layers);
}

static const char page_head[] =
    "<!doctype html>\n<meta charset=\"utf-8\">\n<title>Logit lens</title>\n<style>\n"
    "body { font: 14px system-ui, sans-serif; margin: 24px; color: #222; background: #fff }\n"
    "h1 { font-size: 18px } table { border-collapse: collapse } th, td { padding: 3px 6px; text-align: left; font: 12px ui-monospace, monospace; "
    "white-space: pre; max-width: 11em; overflow: hidden; text-overflow: ellipsis }\n"
    "td { border: 1px solid #fff; cursor: default } thead th { position: sticky; top: 0; background: #fff } tbody th { position: sticky; left: 0; background: #fff }\n"
    "#tip { position: fixed; display: none; background: #222; color: #fff; padding: 8px; border-radius: 4px; font: 12px ui-monospace, monospace; white-space: pre; pointer-events: none }\n"
    "</style>\n<h1></h1>\n<p>Each cell: what the model would say after this position, had it ended with this layer. Darker: more probable. Point at a cell for the next best.</p>\n"
    "<table><thead></thead><tbody></tbody></table><div id=\"tip\"></div>\n<script>\nconst data = ";
static const char page_tail[] =
    ";\nconst show = t => t.replace(/ /g, '\\u00b7').replace(/\\n/g, '\\u21b5');\n"
    "const name = g => g.token === '' ? '#' + g.id : show(g.token);\n"
    "document.querySelector('h1').textContent = 'Logit lens: ' + data.model;\n"
    "const add = (row, tag, text) => { const e = document.createElement(tag); e.textContent = text; row.append(e); return e };\n"
    "const head = document.querySelector('thead').insertRow();\nadd(head, 'th', 'layer');\n"
    "data.ids.forEach((id, i) => add(head, 'th', data.tokens[i] === '' ? '#' + id : show(data.tokens[i])));\n"
    "const tip = document.getElementById('tip');\n"
    "data.layers.forEach(l => {\n  const row = document.querySelector('tbody').insertRow();\n  add(row, 'th', l.layer === null ? 'input' : l.layer);\n"
    "  l.positions.forEach(cell => {\n    const best = cell[0], td = add(row, 'td', best ? name(best) : 'NaN'), p = best && best.p !== null ? best.p : 0;\n"
    "    td.style.background = best ? `hsl(215 70% ${96 - 58 * p}%)` : '#c33';\n    td.style.color = p > 0.55 || !best ? '#fff' : '#222';\n"
    "    td.onmousemove = e => { tip.style.display = 'block'; tip.style.left = Math.min(e.clientX + 12, innerWidth - 220) + 'px'; tip.style.top = e.clientY + 12 + 'px';\n"
    "      tip.textContent = cell.map(g => (100 * (g.p || 0)).toFixed(1).padStart(5) + ' %  ' + name(g)).join('\\n') };\n"
    "    td.onmouseleave = () => tip.style.display = 'none';\n  });\n});\n</script>\n";

static int write_page(const lens *l) {
    json_t *data = lens_json(l);
    char *text = data ? json_dumps(data, JSON_COMPACT) : NULL;
    FILE *f = text ? fopen(l->html, "w") : NULL;
    int status = 0;
    if (!text) status = fail("lens", "out of memory");
    else if (!f) status = fail("lens", "%s: %s", l->html, strerror(errno));
    if (f) {
        fputs(page_head, f);
        for (const char *c = text; *c; c++) // no token's text ends the script
            if (*c == '<') fputs("\\u003c", f);
            else fputc(*c, f);
        fputs(page_tail, f);
        if (ferror(f) | fclose(f)) status = fail("lens", "%s: %s", l->html, strerror(errno));
    }
    free(text);
    json_decref(data);
    return status;
}

// ---- the command -------------------------------------------------------------------------------
static int lens_ids(lens *l, opened *o) {
    int status = open_session("lens", &l->a->model, (int64_t)l->n, l->n < LENS_ROWS ? (int64_t)l->n : LENS_ROWS, o);
    if (status != 0) return status;
    l->layers = tl_session_watch_count(o->session);
    l->best = calloc(l->layers * l->n * (size_t)l->k, sizeof *l->best);
    if (!l->best) return fail("lens", "out of memory");
    if ((status = inside_run("lens", o->session, l->ids, l->n, on_step, l)) != 0) return status;
    if (l->html && (status = write_page(l)) != 0) return status;
    if (l->a->json) return print_json(lens_json(l));
    return l->html ? 0 : print_table(l);
}

int cli_lens(int argc, char **argv) {
    inside_args a = {.model.cache_type = "f32", .model.lens = true};
    int32_t *ids = NULL;
    lens l = {.a = &a, .k = 5};
    int first;
    const arg_option options[] = {
        INSIDE_TEXT_OPTIONS(a),
        {ARG_INT, "top", 'k', &l.k, "N", "tokens for each layer and position in --json and --html (default: 5)", 1, MOST_K},
        {ARG_TEXT, "html", 0, &l.html, "FILE", "write a heat map as a page that needs nothing else", 0, 0},
        {ARG_FLAG, "json", 0, &a.json, NULL, "ids, tokens, and for each layer and position the N most probable", 0, 0},
        MODEL_OPTIONS(a.model), INSIDE_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "lens", .usage = "[-m MODEL] (-p TEXT | -f FILE | --ids 1,2,3) [options]", .options = options, .most = 1,
        .about = "The logit lens: what the model would answer had it ended after each layer. The program's statements behind its loop\n"
                 "over layers (its last norm and its head) are applied to every layer; nothing has to be declared for it.\n\n"
                 "Examples:\n  tl lens -p 'The capital of France is'\n  tl lens -p 'The capital of France is' --html lens.html -k 10"};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0 || (status = inside_check("lens", &a)) >= 0) return status;
    if (first < argc && (status = args_positional("lens", argv[first], &a.model.model)) >= 0) return status;
    opened o;
    if ((status = open_model("lens", &a.model, TL_MODEL_WHOLE, &o)) != 0) return status;
    l.o = &o;
    status = inside_tokens("lens", &a, &o, &ids, &l.n);
    l.ids = ids;
    if (status == 0) status = lens_ids(&l, &o);
    opened_free(&o);
    free(ids), free(l.best), free(l.values);
    return status;
}
