// sampling.c - see sampling.h.
#include "sampling.h"
#include "common.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

// "15043+1.5", "15043-inf", as llama.cpp reads it.
static int read_bias(const char *command, const char *text, int64_t n_vocab, tl_logit_bias *out) {
    char *sign, *end;
    long long id = strtoll(text, &sign, 10);
    if (sign == text || (*sign != '+' && *sign != '-'))
        return args_wrong(command, "--logit-bias: \"%s\" is no token id with + or - and a number behind it", text);
    float x = strtof(sign, &end);
    if (*end || end == sign + 1 || isnan(x) || x == INFINITY) return args_wrong(command, "--logit-bias: \"%s\" is not a number, or +inf", sign);
    if (id < 0 || id >= n_vocab) return args_wrong(command, "--logit-bias: token id %lld is outside the vocabulary of %lld", id, (long long)n_vocab);
    *out = (tl_logit_bias){(int32_t)id, x};
    return 0;
}

static void tell_chain(const tl_sampler *s, const tl_sampling *o) {
    fprintf(stderr, "sampling: ");
    if (o->mirostat) fprintf(stderr, "temperature %g -> mirostat %d", (double)o->temperature, o->mirostat);
    for (size_t i = 0; !o->mirostat && tl_sampler_name(s, i); i++) fprintf(stderr, "%s%s", i ? " -> " : "", tl_sampler_name(s, i));
    fprintf(stderr, "; temperature %g, top-k %d, top-p %g, min-p %g, repeat %g, presence %g, frequency %g, last %d; seed %llu\n",
            (double)o->temperature, o->top_k, (double)o->top_p, (double)o->min_p, (double)o->repeat_penalty, (double)o->presence_penalty,
            (double)o->frequency_penalty, o->penalty_last_n, (unsigned long long)o->seed);
}

static int make_sampler(const char *command, const sampling_args *a, const tl_model *m, tl_sampling *s, tl_sampler **out) {
    tl_error err;
    const char *const *breakers = (const char *const *)a->breakers.p;
    size_t n = a->breakers.n;
    if (n == 1 && strcmp(breakers[0], "none") == 0) n = 0;
    if (tl_sampler_new(s, out, &err) != TL_OK) return fail_with(command, &err);
    if (tl_sampler_bind(*out, m, a->breakers.n ? breakers : NULL, n, &err) == TL_OK) return 0;
    tl_sampler_free(*out);
    *out = NULL;
    return fail_with(command, &err);
}

void sampling_fix_seed(sampling_args *a) {
    while (a->seed == -1)
        if (getrandom(&a->seed, sizeof a->seed, 0) != sizeof a->seed) a->seed = time(NULL);
}

int open_sampler(const char *command, const sampling_args *a, const tl_model *m, bool verbose, tl_sampler **out) {
    tl_sampling s = a->s;
    char letters[80];
    *out = NULL;
    sampling_args fixed = *a;
    sampling_fix_seed(&fixed);
    s.seed = (uint64_t)fixed.seed;
    if (a->letters && s.samplers) return args_wrong(command, "give either --samplers or --sampling-seq");
    if (a->letters) {
        snprintf(letters, sizeof letters, "=%s", a->letters);
        s.samplers = letters;
    }
    tl_logit_bias *biases = calloc(a->biases.n + 1, sizeof *biases);
    if (!biases) return fail(command, "out of memory");
    s.logit_bias = biases, s.n_logit_bias = a->biases.n;
    int status = 0;
    for (size_t i = 0; i < a->biases.n && status == 0; i++) status = read_bias(command, a->biases.p[i], tl_model_n_vocab(m), &biases[i]);
    if (status == 0) status = make_sampler(command, a, m, &s, out);
    free(biases);
    if (status == 0 && verbose) tell_chain(*out, &s);
    return status;
}

// ---- constraints -------------------------------------------------------------------------------
int read_constraint(const char *command, const constraint_args *a, tl_constraint_kind *kind, char **text, size_t *n) {
    const struct {
        const char *text, *file;
        tl_constraint_kind kind;
    } rows[] = {{a->grammar, a->grammar_file, TL_CONSTRAINT_GRAMMAR}, {a->schema, a->schema_file, TL_CONSTRAINT_JSON_SCHEMA},
                {a->regex, NULL, TL_CONSTRAINT_REGEX}, {a->choices, NULL, TL_CONSTRAINT_CHOICES},
                {a->rule, NULL, TL_CONSTRAINT_RULE_FILE}};
    int given = 0;
    size_t at = 0;
    *text = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        given += (rows[i].text != NULL) + (rows[i].file != NULL);
        if (rows[i].text || rows[i].file) at = i;
    }
    if (given == 0) return 0;
    if (given > 1) return args_wrong(command, "give one of --grammar, --json-schema, --regex, --choices and --rule");
    *kind = rows[at].kind;
    if (rows[at].file) return read_file(command, rows[at].file, text, n);
    *text = strdup(rows[at].text);
    if (*text) *n = strlen(*text);
    return *text ? 0 : fail(command, "out of memory");
}

int open_constraint(const char *command, const constraint_args *a, tl_model *m, tl_constraint **out) {
    tl_constraint_kind kind;
    char *text;
    size_t n;
    tl_error err;
    *out = NULL;
    int status = read_constraint(command, a, &kind, &text, &n);
    if (status == 0 && text && tl_constraint_new(m, kind, text, n, out, &err) != TL_OK) status = fail(command, "%s", err.message);
    free(text);
    return status;
}
