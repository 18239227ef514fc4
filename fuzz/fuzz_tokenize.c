// fuzz_tokenize.c - a vocabulary and a text out of the input's bytes: the tokenizer either refuses the vocabulary or
// keeps its promises for the text.
//
// Input: model (1 byte), pre-tokenizer (1), flags (1), then the tokens, each a length (1; 0 ends them), a type (1), a
// score (1) and the bytes; then the merges, each a length and the bytes; the rest is the text, whose first half is a
// segment without special tokens.
#include "text/token.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    const uint8_t *p, *end;
} input;

static int take(input *in) { return in->p < in->end ? *in->p++ : 0; }

static str take_bytes(input *in, size_t n) {
    if (n > (size_t)(in->end - in->p)) n = (size_t)(in->end - in->p);
    str s = {(const char *)in->p, n};
    in->p += n;
    return s;
}

enum { MOST_TOKENS = 2000, ALPHABET = 256 };
typedef struct vocab {
    str tokens[MOST_TOKENS + ALPHABET], merges[MOST_TOKENS];
    int32_t types[MOST_TOKENS + ALPHABET];
    float scores[MOST_TOKENS + ALPHABET];
    char spelled[ALPHABET][8];
    size_t n, n_merges;
} vocab;
static vocab v;

static void add(str text, int type, float score) {
    v.tokens[v.n] = text;
    v.types[v.n] = type;
    v.scores[v.n++] = score;
}

static void add_alphabet(bool spelled_as_hex) {
    for (unsigned b = 0, next = 256; b < ALPHABET; b++) {
        bool prints = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        unsigned c = prints ? b : next++;
        char *s = v.spelled[b];
        if (spelled_as_hex) snprintf(s, 8, "<0x%02X>", b);
        else if (c < 0x80) s[0] = (char)c, s[1] = 0;
        else s[0] = (char)(0xc0 | c >> 6), s[1] = (char)(0x80 | (c & 0x3f)), s[2] = 0;
        add(str_of(s), spelled_as_hex ? TOKEN_BYTE : TOKEN_NORMAL, 0);
    }
}

static void read_vocab(input *in, token_source *s) {
    static const char *const models[] = {"gpt2", "llama", "bert", "t5", "gemma4", "none"};
    v.n = v.n_merges = 0;
    token_source_init(s);
    unsigned model = (unsigned)take(in) % 6, pre = (unsigned)take(in), flags = (unsigned)take(in);
    s->model = str_of(models[model]);
    const char *name = tokenizer_pre_name(pre);
    s->pre = str_of(name ? name : "gpt-2");
    if (flags & 1) add_alphabet(model != 0);
    s->add_bos = (flags & 2) != 0, s->add_eos = (flags & 4) != 0, s->add_space_prefix = (flags & 8) != 0;
    s->remove_extra_whitespaces = (flags & 16) != 0;
    if (flags & 32) s->unk = flags >> 6;
    for (int n; v.n < MOST_TOKENS && (n = take(in)) != 0;) {
        int type = take(in) % 8;
        float score = (float)take(in) - 200;
        add(take_bytes(in, (size_t)n), type, score);
    }
    for (int n; v.n_merges < MOST_TOKENS && (n = take(in)) != 0;) v.merges[v.n_merges++] = take_bytes(in, (size_t)n);
    s->tokens = v.tokens, s->n_tokens = v.n;
    s->types = v.types, s->scores = v.scores;
    s->merges = v.merges, s->n_merges = v.n_merges;
}

static bool starts_char(unsigned char c) { return (c & 0xc0) != 0x80; }

// What comes out of the decoder is valid UTF-8: here, whole characters in each output.
static void decode(const tokenizer *t, const token_ids *ids, unsigned flags) {
    token_decoder d;
    token_decoder_init(&d, t, flags);
    for (size_t i = 0; i <= ids->n; i++) {
        str s = i < ids->n ? token_decoder_put(&d, ids->p[i]) : token_decoder_end(&d);
        TL_CHECK(s.n == 0 || starts_char((unsigned char)s.p[0]));
        for (size_t k = 0; k < s.n;) {
            unsigned char c = (unsigned char)s.p[k];
            size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
            TL_CHECK(k + len <= s.n && c < 0xf5 && starts_char(c));
            for (size_t j = 1; j < len; j++) TL_CHECK(!starts_char((unsigned char)s.p[k + j]));
            k += len;
        }
    }
    token_decoder_deinit(&d);
}

// Ids are in range, and control tokens come only from text that may name them or from add_special.
static void check(const tokenizer *t, const token_ids *ids, bool special) {
    for (size_t i = 0; i < ids->n; i++) {
        TL_CHECK(ids->p[i] >= 0 && ids->p[i] < tokenizer_size(t));
        TL_CHECK(special || ids->p[i] == tokenizer_unk(t) || !tokenizer_is_special(t, ids->p[i]));
    }
    decode(t, ids, 0);
    decode(t, ids, DECODE_SPECIAL | DECODE_WHOLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, data + size};
    token_source s;
    tokenizer *t;
    tl_error err;
    read_vocab(&in, &s);
    if (tokenizer_new(&s, &t, &err) != TL_OK) return 0;
    str text = {(const char *)in.p, (size_t)(in.end - in.p)};
    token_ids ids = {0};
    for (unsigned flags = 0; flags < 4; flags++) {
        ids.n = 0;
        if (tokenizer_encode(t, text, flags, &ids, &err) == TL_OK) check(t, &ids, flags != 0);
        else TL_CHECK(ids.n == 0);
    }
    token_segment parts[2] = {{{text.p, text.n / 2}, false}, {{text.p + text.n / 2, text.n - text.n / 2}, true}};
    ids.n = 0;
    if (tokenizer_encode_segments(t, parts, 2, true, &ids, &err) == TL_OK) check(t, &ids, true);
    vec_free(&ids);
    tokenizer_free(t);
    return 0;
}
