// session_int.h - a session's insides, shared by session.c and session_file.c.
#ifndef TL_RUN_SESSION_INT_H
#define TL_RUN_SESSION_INT_H
#include "run/run.h"
#include "run/slots.h"

typedef struct sequence {
    int32_t *slots, *at;    // [n_list]; entries [first, first + n), at[first + i] = dropped + i
    int64_t first, n;
    int64_t dropped;        // positions that no rule can see any more
} sequence;

struct tl_session {
    tl_model *m;
    arena a;               // graph and states
    arena traced;          // the graph, while it is made or where it is watched
    ir_graph g;
    ev_state *states;
    plan *p;
    int64_t n_ctx, n_batch;
    int32_t n_seq;
    sequence *seqs;
    attn_seq *views;       // [n_seq], what the plan reads
    slot_pool pool;
    int64_t window;        // no row sees positions so far behind it; 0: some rule sees all
    int64_t n_list;        // room of a sequence's lists: twice n_ctx, so that those with a window rarely move
    int32_t *in[INPUT_COUNT];
    tl_row *prompt;        // [n_batch], one step of tl_session_prompt
    watch_list watch;
    int64_t rows, outs;    // of the last step
    char **patches;        // ended by NULL
    tl_dtype cache_type;
    size_t trunk;          // rows of the last step that several sequences own
    int32_t trunk_also;    // how many more than one
    bool trap, hidden;
    int64_t width;         // of a row that a step gives
    // choices among the logits of the last step (session_choose.c)
    cuda_chooser *chooser; // NULL: none was begun on a device so far
    int32_t *chosen;       // [n_batch]
    cuda_choice *choices;  // [n_batch], with the chooser
    int64_t n_chosen;      // -1: there are none
    bool choosing;         // on the device: `chosen` does not have them yet
    int64_t late;          // rows of the last step, whose tokens are not known yet; 0: all is known
};

tl_status session_take_choices(tl_session *s, tl_error *err);  // what was begun is in s->chosen afterwards
int32_t session_choice(const tl_session *s, int32_t token);     // the id that TL_CHOSEN(i) stands for, once it is known
void session_learn_rows(tl_session *s, size_t n);              // what the slots of the last step's rows hold
void session_take_back(tl_session *s, size_t n);               // the last step's rows

void session_append(tl_session *s, sequence *q, int32_t slot); // one position more, for a slot that is taken or shared
#endif
