// sample_chain.c - which samplers in which order, from names or letters.
#include "run/sample.h"

static const struct {
    const char *name, *more; // more: other names, with spaces between
    char letter;
} kinds[] = {
#define SAMPLER(id, name, letter, more) {name, more, letter},
#include "run/samplers.def"
#undef SAMPLER
};

const char *sampler_kind_name(sampler_kind k) { return kinds[k].name; }

static bool among(str word, const char *list) {
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, " ");
        if (str_eq(word, (str){p, n})) return true;
        p += n + strspn(p + n, " ");
    }
    return false;
}

static tl_status unknown(str word, bool letter, tl_error *err) {
    char shown[60], all[300];
    size_t n = 0;
    for (int k = 0; k < SAMPLER_KINDS; k++) {
        if (letter) n += (size_t)snprintf(all + n, sizeof all - n, "%s%c (%s)", k ? ", " : "", kinds[k].letter, kinds[k].name);
        else n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", k ? ", " : "", kinds[k].name);
    }
    return err_set(err, TL_E_USAGE, "there is no sampler \"%s\"; there are %s", str_escape(shown, sizeof shown, word), all);
}

static tl_status add(sampler_kind *out, size_t *n, int kind, tl_error *err) {
    if (*n == CHAIN_MOST) return err_set(err, TL_E_USAGE, "more than %d samplers in the chain", CHAIN_MOST);
    out[(*n)++] = (sampler_kind)kind;
    return TL_OK;
}

static tl_status parse_letters(const char *text, sampler_kind *out, size_t *n, tl_error *err) {
    for (; *text; text++) {
        int k = 0;
        while (k < SAMPLER_KINDS && kinds[k].letter != *text) k++;
        if (k == SAMPLER_KINDS) return unknown((str){text, 1}, true, err);
        TL_TRY(add(out, n, k, err));
    }
    return TL_OK;
}

tl_status chain_parse(const char *text, sampler_kind *out, size_t *n, tl_error *err) {
    *n = 0;
    if (!text) text = "=edskypmxt";
    if (*text == '=') return parse_letters(text + 1, out, n, err);
    for (const char *p = text; *p;) {
        size_t len = strcspn(p, ";,");
        int k = 0;
        while (k < SAMPLER_KINDS && !str_eq((str){p, len}, str_of(kinds[k].name)) && !among((str){p, len}, kinds[k].more)) k++;
        if (k == SAMPLER_KINDS) return unknown((str){p, len}, false, err);
        TL_TRY(add(out, n, k, err));
        p += len;
        if (*p) p++;
    }
    return TL_OK;
}
