// token_decode.c - a stream of ids to a stream of valid UTF-8.
#include "text/token_int.h"

void token_decoder_init(token_decoder *d, const tokenizer *t, unsigned flags) {
    *d = (token_decoder){.t = t, .flags = flags};
}

void token_decoder_deinit(token_decoder *d) { sbuf_free(&d->out); }

// The second byte's range depends on the lead (Unicode, table 3-7); the others are 80..BF.
static bool continues(const unsigned char *held, size_t n, unsigned char c) {
    if (n != 1) return (c & 0xc0) == 0x80;
    unsigned char low = held[0] == 0xe0 ? 0xa0 : held[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = held[0] == 0xed ? 0x9f : held[0] == 0xf4 ? 0x8f : 0xbf;
    return c >= low && c <= high;
}

static void put_replacement(token_decoder *d) {
    sbuf_put(&d->out, "\xef\xbf\xbd", 3);
    d->n_held = 0;
}

static void put_byte(token_decoder *d, unsigned char c) {
    if (d->n_held && !continues(d->held, d->n_held, c)) put_replacement(d);
    if (d->n_held == 0) {
        if (c < 0x80) {
            sbuf_putc(&d->out, (char)c);
            return;
        }
        if (c < 0xc2 || c > 0xf4) {
            put_replacement(d);
            return;
        }
    }
    d->held[d->n_held++] = c;
    if (d->n_held < utf8_lead_len(d->held[0])) return;
    sbuf_put(&d->out, (const char *)d->held, d->n_held);
    d->n_held = 0;
}

str token_decoder_put(token_decoder *d, int32_t id) {
    d->out.n = 0;
    str piece = tokenizer_piece(d->t, id, (d->flags & DECODE_SPECIAL) != 0);
    if (piece.n && !d->started && !(tokenizer_is_special(d->t, id))) {
        bool drop = (d->flags & DECODE_WHOLE) && d->t->add_space_prefix && piece.p[0] == ' ';
        d->started = true;
        if (drop) piece.p++, piece.n--;
    }
    for (size_t i = 0; i < piece.n; i++) put_byte(d, (unsigned char)piece.p[i]);
    return (str){d->out.p ? d->out.p : "", d->out.n};
}

str token_decoder_end(token_decoder *d) {
    d->out.n = 0;
    if (d->n_held) put_replacement(d);
    d->started = false;
    return (str){d->out.p ? d->out.p : "", d->out.n};
}
