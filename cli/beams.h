// beams.h - `tl generate --beams`.
#ifndef CLI_BEAMS_H
#define CLI_BEAMS_H
#include "common.h"

typedef struct beam_args {
    int32_t beams, groups, n_best; // beams 0: no beam search
    float length_penalty, diversity;
    int64_t most;
    bool early, ignore_end, json;
    tl_constraint *constraint;
    volatile const int *cancel;
} beam_args;
#define BEAM_DEFAULT {.groups = 1, .n_best = 1, .diversity = 0.5f}
#define BEAM_OPTIONS(a)                                                                                                \
    {ARG_HEADING, "Beam search (docs/generation.md)", 0, NULL, NULL, NULL, 0, 0},                                      \
    {ARG_I32, "beams", 0, &(a).beams, "N", "follow the N most probable texts instead of drawing one", 1, 1024},        \
    {ARG_I32, "n-best", 0, &(a).n_best, "K", "show the K best, with scores (default: 1)", 1, 1024},                    \
    {ARG_FLOAT, "length-penalty", 0, &(a).length_penalty, "A", "score: log-probability / length^A (default: 0)", -10, 10}, \
    {ARG_I32, "beam-groups", 0, &(a).groups, "G", "G groups of beams that avoid each other (default: 1)", 1, 1024},    \
    {ARG_FLOAT, "diversity", 0, &(a).diversity, "X", "how much they do (default: 0.5)", 0, 1e3},                       \
    {ARG_FLAG, "early-stop", 0, &(a).early, NULL, "stop at N finished texts, though a better one might come", 0, 0}
int beams_generate(const beam_args *a, const model_args *model, opened *o, const int32_t *ids, size_t n);
#endif
