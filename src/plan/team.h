// team.h - how many of a pool's threads take part in a kind of step, chosen by the time that steps take.
//
// More threads are not always faster: where memory is the limit, or the host gives a processor to others, each more only waits. A
// trial runs steps with the number in force and with its neighbours in turn, so that what else the machine does falls on all alike.
// Any number gives the same bits, so a wrong choice costs time only.
#ifndef TL_TEAM_H
#define TL_TEAM_H
#include "base/base.h"

enum {
    TEAM_SIZES = 3,  // compared in a trial
    TEAM_ROUNDS = 6, // turns of each
    TEAM_COUNTED = 2, // steps of a turn, after one that does not count: threads wake up, and caches hold other parts of the weights
    TEAM_SAMPLES = TEAM_ROUNDS * TEAM_COUNTED,
};
typedef struct team_choice {
    int most;            // threads there are
    int level;           // in force outside of trials; 0: all of them, then ever fewer
    // the trial, of levels first to first + n - 1; n 0: there is none
    int first, n, turn, round, step;
    bool out[TEAM_SIZES];
    bool again;          // it repeats one that another number than the one in force has won
    double ns[TEAM_SIZES][TEAM_SAMPLES];
    // between trials
    int64_t wait, pause; // steps until the next trial, and as it was when that wait began
    double usual, sum;   // ns of a step after the last trial; of the steps since the last look
    int summed;
} team_choice;
void team_init(team_choice *t, int most);
int team_in_force(const team_choice *t);       // threads, 1 to most
int team_size(const team_choice *t);           // of the next step: in a trial another one may have its turn
void team_took(team_choice *t, double ns);     // that step's time
#endif
