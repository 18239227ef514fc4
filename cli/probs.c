// probs.c - see probs.h.
#include "probs.h"
#include "base/base.h"
#include "reply.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DOUBTS = 12 }; // tokens whose alternatives are listed

// ---- one token ---------------------------------------------------------------------------------
static void insert_best(const float *logits, int32_t id, int32_t *best) {
    int at = PROBS_SHOWN;
    while (at > 0 && (best[at - 1] < 0 || logits[id] > logits[best[at - 1]])) at--;
    if (at == PROBS_SHOWN) return;
    memmove(best + at + 1, best + at, (size_t)(PROBS_SHOWN - 1 - at) * sizeof *best);
    best[at] = id;
}

void probs_add(probs *p, const float *logits, int64_t n, int32_t id) {
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 256;
        token_prob *grown = realloc(p->list, cap * sizeof *grown);
        if (!grown) return; // the text is shown without
        p->list = grown, p->cap = cap;
    }
    token_prob *t = &p->list[p->n++];
    *t = (token_prob){.id = id};
    for (int i = 0; i < PROBS_SHOWN; i++) t->others[i] = -1;
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(logits[i])) continue;
        insert_best(logits, (int32_t)i, t->others);
        if ((double)logits[i] > max) max = (double)logits[i];
    }
    for (int64_t i = 0; i < n; i++)
        if (!isnan(logits[i])) sum += exp((double)logits[i] - max);
    t->p = (float)(exp((double)logits[id] - max) / sum);
    for (int i = 0; i < PROBS_SHOWN && t->others[i] >= 0; i++) t->other_p[i] = (float)(exp((double)logits[t->others[i]] - max) / sum);
}

// ---- text --------------------------------------------------------------------------------------
// From sure to doubtful: plain green, green, yellow, orange, red of the 256 colours.
static int color_of(double p) { return p >= 0.9 ? 34 : p >= 0.6 ? 112 : p >= 0.3 ? 220 : p >= 0.1 ? 208 : 196; }

void probs_print(probs *p, const char *text, size_t n) {
    double least = 1;
    for (size_t i = p->told; i < p->n; i++) least = (double)p->list[i].p < least ? (double)p->list[i].p : least;
    bool known = p->told < p->n;
    if (p->color && known) printf("\033[38;5;%dm", color_of(least));
    print_reply_text(text, n);
    if (p->color && known) printf("\033[0m");
    for (size_t i = p->told; i < p->n && !p->color; i++) printf("[%.2f]", (double)p->list[i].p);
    fflush(stdout);
    p->told = p->n;
}

// ---- alternatives ------------------------------------------------------------------------------
static int doubtful_first(const void *a, const void *b) {
    const token_prob *x = *(const token_prob *const *)a, *y = *(const token_prob *const *)b;
    return x->p != y->p ? (x->p > y->p) - (x->p < y->p) : (x > y) - (x < y);
}

static int in_order(const void *a, const void *b) {
    const token_prob *x = *(const token_prob *const *)a, *y = *(const token_prob *const *)b;
    return (x > y) - (x < y);
}

static void print_token(const probs *p, int32_t id) {
    size_t n;
    char shown[60];
    const char *text = tl_token_text(p->model, id, true, &n);
    fprintf(stderr, "\"%s\"", str_escape(shown, sizeof shown, (str){text, n}));
}

static void print_doubt(const probs *p, const token_prob *t) {
    fprintf(stderr, "%6zu  ", (size_t)(t - p->list) + 1);
    print_token(p, t->id);
    fprintf(stderr, " %.2f; else", (double)t->p);
    for (int i = 0; i < PROBS_SHOWN && t->others[i] >= 0; i++) {
        if (t->others[i] == t->id) continue;
        fputs(" ", stderr);
        print_token(p, t->others[i]);
        fprintf(stderr, " %.2f", (double)t->other_p[i]);
    }
    fputc('\n', stderr);
}

void probs_end(probs *p) {
    const token_prob **list = malloc((p->n + 1) * sizeof *list);
    size_t n = 0;
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) {
        sum += log((double)p->list[i].p);
        if (list && p->list[i].p < 0.9f) list[n++] = &p->list[i];
    }
    if (p->n) fprintf(stderr, "[%zu tokens, perplexity %.2f%s]\n", p->n, exp(-sum / (double)p->n), n ? "; least sure of" : "");
    if (list) {
        qsort(list, n, sizeof *list, doubtful_first);
        if (n > DOUBTS) n = DOUBTS;
        qsort(list, n, sizeof *list, in_order);
        for (size_t i = 0; i < n; i++) print_doubt(p, list[i]);
    }
    free(list);
    p->n = p->told = 0;
}

void probs_free(probs *p) {
    free(p->list);
    p->list = NULL;
    p->n = p->cap = p->told = 0;
}
