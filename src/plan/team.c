// team.c - the choice behind team.h.
#include "plan/team.h"

enum {
    FIRST_WAIT = 32,     // steps before the first trial: memory is touched, and a short reply has no use for trials
    AGAIN_WAIT = 32,     // after a change: the next neighbour may be better still
    LEAST_WAIT = 512,    // after a trial that changed nothing, doubled for each more
    MOST_WAIT = 8192,
    DRIFT_WAIT = 128,    // after a change of a step's time
    LOOK = 32,           // steps whose mean is held against the usual time
};
static const double GAIN = 0.97;     // a change must bring more than this,
static const double HOPELESS = 1.05; // who is slower by this in its best step leaves the trial,
static const double DRIFT = 1.25;    // and a step's time has changed when it is this many times longer or shorter

// Level 0: all threads, 1: three quarters, 2: half, 3: three eighths, ... down to one.
static int team_at(const team_choice *t, int level) {
    int n = t->most >> level / 2;
    if (level % 2) n = n * 3 / 4;
    return n > 1 ? n : 1;
}

void team_init(team_choice *t, int most) { *t = (team_choice){.most = most, .wait = FIRST_WAIT, .pause = LEAST_WAIT / 2}; }

int team_in_force(const team_choice *t) { return team_at(t, t->level); }

int team_size(const team_choice *t) { return team_at(t, t->n ? t->first + t->turn : t->level); }

// ---- the trial -------------------------------------------------------------------------------------
static void begin_trial(team_choice *t) { // the number in force, the next smaller and the next larger
    t->first = t->level > 0 ? t->level - 1 : 0;
    t->turn = t->round = t->step = 0;
    t->again = false;
    int last = team_in_force(t) > 1 ? t->level + 1 : t->level;
    t->n = last - t->first + 1;
    memset(t->out, 0, sizeof t->out);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Mean of all but the slowest quarter: single stalls do not count, frequent ones do.
static double typical(const double *ns, int n) {
    double sorted[TEAM_SAMPLES], sum = 0;
    int kept = n - n / 4;
    memcpy(sorted, ns, sizeof *ns * (size_t)n);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    for (int i = 0; i < kept; i++) sum += sorted[i];
    return sum / kept;
}

static double fastest(const double *ns, int n) {
    double least = ns[0];
    for (int i = 1; i < n; i++) least = ns[i] < least ? ns[i] : least;
    return least;
}

// Faster than b in all rounds but one?
static bool keeps_winning(const double *a, const double *b) {
    int won = 0;
    for (int r = 0; r < TEAM_ROUNDS; r++) {
        double x = 0, y = 0;
        for (int i = r * TEAM_COUNTED; i < (r + 1) * TEAM_COUNTED; i++) x += a[i], y += b[i];
        won += x < y;
    }
    return won >= TEAM_ROUNDS - 1;
}

static int winner(const team_choice *t, int samples) {
    int own = t->level - t->first, best = own;
    double least = GAIN * typical(t->ns[own], samples);
    for (int i = 0; i < t->n; i++) {
        if (t->out[i] || i == own || !keeps_winning(t->ns[i], t->ns[own])) continue;
        double ns = typical(t->ns[i], samples);
        if (ns < least) least = ns, best = i;
    }
    return best;
}

static void first_turn(team_choice *t) {
    for (t->turn = 0; t->out[t->turn];) t->turn++;
}

// Who wins must win once more, against the number in force alone: chance seldom does.
static void end_trial(team_choice *t, int samples) {
    int own = t->level - t->first, best = winner(t, samples);
    if (best != own && !t->again) {
        t->again = true;
        for (int i = 0; i < t->n; i++) t->out[i] = i != own && i != best;
        t->round = 0;
        first_turn(t);
        return;
    }
    t->usual = typical(t->ns[best], samples);
    t->level = t->first + best;
    t->n = t->summed = 0;
    t->sum = 0;
    t->pause = best != own ? LEAST_WAIT / 2 : t->pause * 2 < MOST_WAIT ? t->pause * 2 : MOST_WAIT;
    t->wait = best != own ? AGAIN_WAIT : t->pause;
}

// The hopeless leave; true while two or more are left.
static bool thin_out(team_choice *t, int samples) {
    int own = t->level - t->first, left = 0;
    double limit = HOPELESS * typical(t->ns[own], samples);
    for (int i = 0; i < t->n; i++) {
        if (i != own && fastest(t->ns[i], samples) > limit) t->out[i] = true;
        left += !t->out[i];
    }
    return left > 1;
}

static void try_step(team_choice *t, double ns) {
    if (t->step > 0) t->ns[t->turn][t->round * TEAM_COUNTED + t->step - 1] = ns;
    if (t->step++ < TEAM_COUNTED) return;
    t->step = 0;
    do t->turn++;
    while (t->turn < t->n && t->out[t->turn]);
    if (t->turn < t->n) return;
    int samples = ++t->round * TEAM_COUNTED;
    if (!thin_out(t, samples) || t->round == TEAM_ROUNDS) {
        end_trial(t, samples);
        return;
    }
    first_turn(t);
}

// ---- between trials --------------------------------------------------------------------------------
static void watch_drift(team_choice *t, double ns) {
    t->sum += ns;
    if (++t->summed < LOOK) return;
    double mean = t->sum / t->summed;
    if (t->usual > 0 && (mean > DRIFT * t->usual || mean * DRIFT < t->usual)) {
        t->usual = mean;
        t->pause = LEAST_WAIT / 2;
        if (t->wait > DRIFT_WAIT) t->wait = DRIFT_WAIT;
    }
    t->sum = t->summed = 0;
}

void team_took(team_choice *t, double ns) {
    if (t->n) {
        try_step(t, ns);
        return;
    }
    watch_drift(t, ns);
    if (--t->wait <= 0) begin_trial(t);
}
