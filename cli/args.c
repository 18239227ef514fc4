// args.c - see args.h. getopt_long does the splitting; the ranges, the messages and the help are made from the table.
#include "args.h"
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 128, LONG_ONLY = 256 };

int args_wrong(const char *name, const char *format, ...) {
    va_list ap;
    fprintf(stderr, "tl %s: ", name);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, "\ntry `tl %s --help`\n", name);
    return 2;
}

int args_positional(const char *name, const char *argument, const char **model) {
    if (*model) return args_wrong(name, "\"%s\" is one argument too many: the model is given with -m", argument);
    *model = argument;
    return -1;
}

// ---- near words --------------------------------------------------------------------------------
// Edit distance with transpositions counted as one edit; words over 40 letters count as far.
static int distance(const char *a, const char *b) {
    int d[42][42], n = (int)strlen(a), m = (int)strlen(b);
    if (n > 40 || m > 40) return INT_MAX;
    for (int i = 0; i <= n; i++) d[i][0] = i;
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= m; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *args_nearest(const char *word, const char *const *names) {
    const char *best = NULL;
    int least = (int)strlen(word) / 3 + 2; // at most a third of the word wrong, and one letter more
    for (; *names; names++) {
        int d = distance(word, *names);
        if (strlen(word) >= 3 && strncmp(word, *names, strlen(word)) == 0) d = 1;
        if (d < least) least = d, best = *names;
    }
    return best;
}

// ---- help --------------------------------------------------------------------------------------
static void print_option(const arg_option *o) {
    char left[80];
    if (o->kind == ARG_HEADING) {
        printf("\n%s:\n", o->name);
        return;
    }
    int n = o->letter ? snprintf(left, sizeof left, "-%c, --%s", o->letter, o->name)
                      : snprintf(left, sizeof left, "    --%s", o->name);
    if (o->value) snprintf(left + n, sizeof left - (size_t)n, " %s", o->value);
    printf("  %-27s %s\n", left, o->help);
}

static int print_help(const arg_command *c) {
    printf("usage: tl %s %s\n\n%s\n", c->name, c->usage, c->about);
    if (c->options->kind != ARG_HEADING) printf("\nOptions:\n");
    for (const arg_option *o = c->options; o->kind != ARG_END; o++) print_option(o);
    printf("  %-27s %s\n", "-h, --help", "show this");
    return 0;
}

// ---- values ------------------------------------------------------------------------------------
static bool read_integer(const char *text, arg_kind kind, long long *out) {
    char *end;
    errno = 0;
    // Seeds use all 64 bits, and as in llama.cpp -1 is a seed like any other.
    *out = kind == ARG_U64 && *text != '-' ? (long long)strtoull(text, &end, 10) : strtoll(text, &end, 10);
    return end != text && !*end && !errno;
}

static int wrong_range(const arg_command *c, const arg_option *o, const char *text) {
    if (o->high >= 1e9) return args_wrong(c->name, "--%s: %s is less than %g", o->name, text, o->low);
    return args_wrong(c->name, "--%s: %s is not between %g and %g", o->name, text, o->low, o->high);
}

static int store(const arg_command *c, const arg_option *o, const char *text) { // -1, or the exit status
    long long whole = 0;
    double value = 0;
    if (o->kind == ARG_FLAG) return *(bool *)o->to = true, -1;
    if (o->kind == ARG_TEXT) return *(const char **)o->to = text, -1;
    if (o->kind == ARG_LIST) {
        arg_list *l = o->to;
        if (l->n == sizeof l->p / sizeof *l->p) return args_wrong(c->name, "--%s is given more than %zu times", o->name, l->n);
        return l->p[l->n++] = text, -1;
    }
    if (o->kind == ARG_FLOAT) {
        char *end;
        value = strtod(text, &end);
        if (end == text || *end || !isfinite(value)) return args_wrong(c->name, "--%s: \"%s\" is not a number", o->name, text);
    } else {
        if (!read_integer(text, o->kind, &whole)) return args_wrong(c->name, "--%s: \"%s\" is not a whole number", o->name, text);
        value = (double)whole;
        if ((o->kind == ARG_INT || o->kind == ARG_I32) && (whole < INT32_MIN || whole > INT32_MAX))
            return args_wrong(c->name, "--%s: %s is too large", o->name, text);
    }
    if (o->low < o->high && (value < o->low || value > o->high)) return wrong_range(c, o, text);
    if (o->kind == ARG_FLOAT) *(float *)o->to = (float)value;
    else if (o->kind == ARG_INT) *(int *)o->to = (int)whole;
    else if (o->kind == ARG_I32) *(int32_t *)o->to = (int32_t)whole;
    else if (o->kind == ARG_I64) *(int64_t *)o->to = whole;
    else *(uint64_t *)o->to = (uint64_t)whole;
    return -1;
}

// ---- reading -----------------------------------------------------------------------------------
static int wrong_option(const arg_command *c, char **argv) {
    const char *names[MAX_OPTIONS + 2] = {"help"};
    char word[64];
    int n = 1;
    if (optopt && optopt < LONG_ONLY) return args_wrong(c->name, "there is no option -%c", optopt);
    const char *given = argv[optind - 1];
    snprintf(word, sizeof word, "%s", given + strspn(given, "-"));
    word[strcspn(word, "=")] = '\0';
    for (const arg_option *o = c->options; o->kind != ARG_END; o++)
        if (o->kind != ARG_HEADING) names[n++] = o->name;
    int begins = 0;
    for (int i = 0; i < n; i++) begins += strncmp(word, names[i], strlen(word)) == 0;
    if (begins > 1) return args_wrong(c->name, "--%s is the beginning of several options", word);
    for (int i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0) return args_wrong(c->name, "--%s takes no value", word);
    const char *near = args_nearest(word, names);
    if (near) return args_wrong(c->name, "there is no option --%s; did you mean --%s?", word, near);
    return args_wrong(c->name, "there is no option --%s", word);
}

static void make_tables(const arg_command *c, struct option *longs, char *shorts) {
    int n = 0;
    if (c->rest) *shorts++ = '+';
    *shorts++ = ':'; // a missing value is told apart from an unknown option
    for (const arg_option *o = c->options; o->kind != ARG_END; o++) {
        if (o->kind == ARG_HEADING) continue;
        int index = (int)(o - c->options);
        longs[n++] = (struct option){o->name, o->value ? required_argument : no_argument, NULL, LONG_ONLY + index};
        if (!o->letter) continue;
        *shorts++ = o->letter;
        if (o->value) *shorts++ = ':';
    }
    longs[n++] = (struct option){"help", no_argument, NULL, 'h'};
    longs[n] = (struct option){0};
    *shorts++ = 'h';
    *shorts = '\0';
}

static const arg_option *find_option(const arg_command *c, int code) {
    if (code >= LONG_ONLY) return &c->options[code - LONG_ONLY];
    const arg_option *o = c->options;
    while (o->kind == ARG_HEADING || o->letter != code) o++;
    return o;
}

int args_parse(const arg_command *c, int argc, char **argv, int *first) {
    struct option longs[MAX_OPTIONS + 2];
    char shorts[2 * MAX_OPTIONS + 8];
    make_tables(c, longs, shorts);
    opterr = 0, optind = 0; // 0: glibc starts afresh
    for (int code; (code = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        if (code == 'h') return print_help(c);
        if (code == '?') return wrong_option(c, argv);
        if (code == ':') return args_wrong(c->name, "%s needs a value", argv[optind - 1]);
        int status = store(c, find_option(c, code), optarg);
        if (status >= 0) return status;
    }
    *first = optind;
    int n = argc - optind;
    if (n < c->least) return args_wrong(c->name, "something is missing: tl %s %s", c->name, c->usage);
    if (c->most >= 0 && n > c->most) return args_wrong(c->name, "\"%s\" is one argument too many", argv[optind + c->most]);
    return -1;
}
