// speculate.h - guessing the next tokens, so that one step of the model can check several at once.
//
// A guess only costs time: every token of the reply is chosen from the model's own logits by the reply's own sampler, which
// are the same bits whatever is beside them in the step. So the text is the same with and without guesses, drawn or greedy.
// Guesses are what followed the longest earlier occurrence of the last tokens, or a small model's choice. With SPEC_TREE a second
// branch begins with another token: what followed another occurrence, or the small model's second choice.
#ifndef CLI_SPECULATE_H
#define CLI_SPECULATE_H
#include "common.h"

enum { DRAFT_MOST = 24, DRAFT_MATCH = 3, BRANCH_MOST = 4 }; // tokens guessed at once; tokens that an earlier occurrence must share

typedef struct speculation {
    enum { SPEC_AUTO, SPEC_NGRAM, SPEC_OFF, SPEC_TREE } mode; // AUTO: only where it has paid lately
    opened *small;         // guesses come from this model; NULL: from the text
    // -- the text so far: tokens, and for each place the one before it that has the same last DRAFT_MATCH tokens --
    int32_t *ids, *before, *table;
    size_t n, cap, n_small; // n_small: how much of it the small model's cache holds
    // -- what it costs and brings --
    double step_one, ratio; // seconds of a step without guesses; time with guesses by time without, lately
    double lost, row_cost; // in steps without guesses: lost by guessing so far, and the cost of one guess in a step
    int64_t steps;         // that the text would have taken without guesses
    int64_t wait, pause;    // tokens to go without guessing; how many the next time
    int length;             // of the next guess
    int64_t guessed, right; // tokens, in all
} speculation;

bool speculation_set(speculation *s, const int32_t *ids, size_t n); // the text is ids[n] now; false: out of memory
bool speculation_add(speculation *s, int32_t id);
// branch: room for BRANCH_MOST, or NULL; it begins with another token than out. All are `most` together.
size_t speculation_guess(speculation *s, int32_t *out, size_t most, int32_t *branch, size_t *n_branch);
void speculation_report(speculation *s, size_t guessed, size_t right, double seconds); // of a step
void speculation_free(speculation *s);
// Opens the small model; its vocabulary must be that of `big`. 0, or the exit status after its message.
int speculation_open(const char *command, const char *name, const model_args *like, const tl_model *big, opened *small);
#endif
