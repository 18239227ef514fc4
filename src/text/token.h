// token.h - text to token ids and back: byte-level BPE, SentencePiece BPE (SPM), WordPiece and Unigram.
//
// A tokenizer is made from plain arrays, as a GGUF file has them. It borrows the texts of tokens and merges, the scores and the
// charsmap: these must outlive it, the arrays of slices need not. It is immutable once made and may be shared by threads. Ids are
// exactly those of the reference tokenizers.
//
// Text is bytes, not necessarily UTF-8. Byte-level BPE reads each byte that is not part of a character as U+FFFD;
// the others spell such bytes with their byte tokens.
//
// Safety: text that may not name special tokens (parse_special false) never yields a control token, however it is
// spelled and however pieces merge. Control tokens are those that the file calls so, those that end a reply, and
// user-defined ones of the form <|...|>. (Other user-defined tokens, such as HTML tags, are read in any text.)
#ifndef TL_TEXT_TOKEN_H
#define TL_TEXT_TOKEN_H
#include "base/base.h"

typedef struct tokenizer tokenizer;

enum { // values of token_source.types, those of tokenizer.ggml.token_type
    TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4, TOKEN_UNUSED = 5, TOKEN_BYTE = 6
};

enum { TOKEN_UNSET = -1 }; // an id or flag that the file does not state; the kind of model then decides

// What a vocabulary consists of. Start from token_source_init().
typedef struct token_source {
    str model;              // tokenizer.ggml.model
    str pre;                // tokenizer.ggml.pre; empty: absent
    bool pre_forced;        // `pre` is the user's choice: with an unknown `model` it means byte-level BPE
    str name, architecture; // general.name, general.architecture; may be empty (they select token attributes)
    const str *tokens;
    size_t n_tokens;
    const void *scores;     // n_tokens float32 of any alignment, or NULL
    const void *types;      // n_tokens int32 of any alignment, or NULL: all normal
    const str *merges;      // "left right", best first
    size_t n_merges;
    const void *charsmap;   // precompiled normalizer of Unigram models, or NULL
    size_t charsmap_n;
    int64_t bos, eos, unk, sep, pad, mask, eot, eom, fim_pad, fim_rep, fim_sep; // token ids or TOKEN_UNSET
    int8_t add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces, lowercase, strip_accents; // 0, 1, TOKEN_UNSET
} token_source;
void token_source_init(token_source *s);

// TL_E_UNSUPPORTED: unknown model or pre-tokenizer (the message names the override to use); TL_E_FORMAT: the arrays do
// not fit together; TL_E_MEMORY.
tl_status tokenizer_new(const token_source *source, tokenizer **out, tl_error *err);
void tokenizer_free(tokenizer *t); // NULL is fine
// The i-th name that `pre` may have, NULL past the last.
const char *tokenizer_pre_name(size_t i);

// ---- encoding ------------------------------------------------------------------------------------
enum {
    TOKEN_ADD_SPECIAL = 1,  // BOS, EOS or SEP as the model asks
    TOKEN_PARSE_SPECIAL = 2 // "<|im_end|>" in the text is that token
};
typedef VEC(int32_t) token_ids; // release with vec_free

// Appends the ids of `text` to *out. TL_E_LIMIT: 2 GiB or more; TL_E_FORMAT: the vocabulary has neither bytes nor an
// unknown token for a character (byte-level BPE leaves it out); TL_E_MEMORY. On failure *out is as it was.
tl_status tokenizer_encode(const tokenizer *t, str text, unsigned flags, token_ids *out, tl_error *err);

// A run of text and whether special tokens may be read in it.
typedef struct token_segment {
    str text;
    bool parse_special;
} token_segment;
// The segments joined are one text (words and merges cross their borders); a special token is read only where every byte of
// it may be. add_special as TOKEN_ADD_SPECIAL.
tl_status tokenizer_encode_segments(const tokenizer *t, const token_segment *segments, size_t n, bool add_special,
                                    token_ids *out, tl_error *err);

// ---- tokens ----------------------------------------------------------------------------------------
int32_t tokenizer_size(const tokenizer *t);
int32_t tokenizer_bos(const tokenizer *t); // -1: none; also the next three
int32_t tokenizer_eos(const tokenizer *t);
int32_t tokenizer_unk(const tokenizer *t);
int32_t tokenizer_pad(const tokenizer *t);
bool tokenizer_adds_bos(const tokenizer *t); // with TOKEN_ADD_SPECIAL
bool tokenizer_adds_eos(const tokenizer *t);
int32_t tokenizer_find(const tokenizer *t, str text); // the token spelled so in the file, or -1
// Ends a reply: EOS, end of turn or message, file and repository separators. False for an id out of range.
bool tokenizer_is_end(const tokenizer *t, int32_t id);
// Control or unknown token: it has no text of its own.
bool tokenizer_is_special(const tokenizer *t, int32_t id);
str tokenizer_token(const tokenizer *t, int32_t id); // as spelled in the file; empty for an id out of range
// The bytes the token stands for, perhaps a part of a character. Empty for special tokens unless `special`, for unused tokens
// and for ids out of range.
str tokenizer_piece(const tokenizer *t, int32_t id, bool special);

// ---- decoding --------------------------------------------------------------------------------------
enum {
    DECODE_SPECIAL = 1, // special tokens are spelled out
    DECODE_WHOLE = 2    // the ids are a whole text: the space that encoding put before it is left out
};
// Turns ids into text that is always valid UTF-8: the bytes of an unfinished character are held back, bytes that can
// never become one give U+FFFD (one for each maximal part, as Unicode recommends). Lives in the caller's storage.
typedef struct token_decoder {
    const tokenizer *t;
    unsigned flags;
    bool started;           // text has come out
    unsigned char held[4];
    size_t n_held;
    sbuf out;
} token_decoder;
void token_decoder_init(token_decoder *d, const tokenizer *t, unsigned flags);
// The new text, empty if none yet; valid until the next call. An allocation failure sets d->out.failed.
str token_decoder_put(token_decoder *d, int32_t id);
str token_decoder_end(token_decoder *d);     // what was held back, as U+FFFD; the decoder is as new
void token_decoder_deinit(token_decoder *d);
#endif
