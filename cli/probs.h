// probs.h - how sure the model was of each token of a reply: colours or numbers in the text, and what else it might have said.
#ifndef CLI_PROBS_H
#define CLI_PROBS_H
#include "common.h"

enum { PROBS_SHOWN = 4 }; // alternatives of a token

typedef struct token_prob {
    int32_t id;
    float p;                     // of the model's own distribution: temperature 1, no sampler
    int32_t others[PROBS_SHOWN]; // the most probable ones, in order, the chosen one included; -1: none
    float other_p[PROBS_SHOWN];
} token_prob;

typedef struct probs { // zero, then the first two set
    const tl_model *model;
    bool color;
    token_prob *list;
    size_t n, cap, told;
} probs;

void probs_add(probs *p, const float *logits, int64_t n, int32_t id);
// Prints text that the tokens added since the last call gave: coloured, or with the probabilities of these tokens behind it.
void probs_print(probs *p, const char *text, size_t n);
// Ends a reply: on stderr, the alternatives where the model was least sure.
void probs_end(probs *p);
void probs_free(probs *p);
#endif
