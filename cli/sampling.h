// sampling.h - options that say how tokens are chosen, and what a reply must be.
#ifndef CLI_SAMPLING_H
#define CLI_SAMPLING_H
#include "args.h"
#include <tensorlogic.h>

typedef struct sampling_args {
    tl_sampling s;
    int64_t seed; // -1: from the system's random numbers
    const char *letters; // --sampling-seq
    arg_list biases, breakers;
} sampling_args;
#define SAMPLING_DEFAULT {.s = tl_sampling_default(), .seed = -1}
#define SAMPLING_OPTIONS(a)                                                                                            \
    {ARG_HEADING, "Sampling (docs/generation.md)", 0, NULL, NULL, NULL, 0, 0},                                         \
    {ARG_FLOAT, "temp", 0, &(a).s.temperature, "T", "temperature; 0: always the most probable (default: 0.8)", 0, 100}, \
    {ARG_I32, "top-k", 0, &(a).s.top_k, "N", "only the N most probable; 0: off (default: 40)", 0, 2e9},                \
    {ARG_FLOAT, "top-p", 0, &(a).s.top_p, "P", "only the fewest that together reach P; 1: off (default: 0.95)", 0, 1}, \
    {ARG_FLOAT, "min-p", 0, &(a).s.min_p, "P", "only those of at least P times the best; 0: off (default: 0.05)", 0, 1}, \
    {ARG_FLOAT, "typical", 0, &(a).s.typical_p, "P", "only the most typical that together exceed P; 1: off (default: 1)", 1e-9, 1}, \
    {ARG_FLOAT, "top-n-sigma", 0, &(a).s.top_n_sigma, "N", "only logits within N deviations of the best; 0: off (default: 0)", -1, 1e6}, \
    {ARG_FLOAT, "xtc-probability", 0, &(a).s.xtc_probability, "P", "how often the top choices are left out (default: 0)", 0, 1}, \
    {ARG_FLOAT, "xtc-threshold", 0, &(a).s.xtc_threshold, "P", "top choices are those from P on (default: 0.1)", 0, 1}, \
    {ARG_FLOAT, "repeat-penalty", 0, &(a).s.repeat_penalty, "X", "for tokens seen lately; 1: off (default: 1)", 1e-3, 1e3}, \
    {ARG_FLOAT, "presence-penalty", 0, &(a).s.presence_penalty, "X", "taken from their logits (default: 0)", -1e3, 1e3}, \
    {ARG_FLOAT, "frequency-penalty", 0, &(a).s.frequency_penalty, "X", "the same for each time (default: 0)", -1e3, 1e3}, \
    {ARG_I32, "repeat-last-n", 0, &(a).s.penalty_last_n, "N", "how many tokens are lately; -1: all (default: 64)", -1, 2e9}, \
    {ARG_FLOAT, "dry-multiplier", 0, &(a).s.dry_multiplier, "X", "for what lengthens a repetition; 0: off (default: 0)", 0, 1e3}, \
    {ARG_FLOAT, "dry-base", 0, &(a).s.dry_base, "X", "how fast that grows with its length (default: 1.75)", 0, 1e3}, \
    {ARG_I32, "dry-allowed-length", 0, &(a).s.dry_allowed_length, "N", "repetitions that cost X alone (default: 2)", 0, 2e9}, \
    {ARG_I32, "dry-penalty-last-n", 0, &(a).s.dry_penalty_last_n, "N", "how far it looks back; -1: all (default: -1)", -1, 2e9}, \
    {ARG_LIST, "dry-sequence-breaker", 0, &(a).breakers, "TEXT", "ends repetitions; may be repeated; none: no breakers", 0, 0}, \
    {ARG_FLOAT, "dynatemp-range", 0, &(a).s.dynatemp_range, "R", "temperature T - R to T + R by the entropy (default: 0)", 0, 100}, \
    {ARG_FLOAT, "dynatemp-exp", 0, &(a).s.dynatemp_exponent, "X", "exponent of the entropy in it (default: 1)", -100, 100}, \
    {ARG_I32, "mirostat", 0, &(a).s.mirostat, "1|2", "hold the surprise instead of the chain (default: 0)", 0, 2}, \
    {ARG_FLOAT, "mirostat-ent", 0, &(a).s.mirostat_tau, "BITS", "the surprise wanted (default: 5)", 0, 1e3},           \
    {ARG_FLOAT, "mirostat-lr", 0, &(a).s.mirostat_eta, "X", "how fast it is corrected (default: 0.1)", 0, 1e3},        \
    {ARG_LIST, "logit-bias", 0, &(a).biases, "ID(+|-)X", "add to a token's logit, as 15+1, 15-inf; may be repeated", 0, 0}, \
    {ARG_TEXT, "samplers", 0, &(a).s.samplers, "A;B;C", "the chain by names", 0, 0},                                   \
    {ARG_TEXT, "sampling-seq", 0, &(a).letters, "ABC", "the chain by letters (default: edskypmxt)", 0, 0},             \
    {ARG_I64, "seed", 's', &(a).seed, "S", "the same seed gives the same choices; -1: any (default: -1)", 0, 0}

typedef struct constraint_args {
    const char *grammar, *grammar_file, *schema, *schema_file, *regex, *choices, *rule;
} constraint_args;
#define CONSTRAINT_OPTIONS(a)                                                                                          \
    {ARG_HEADING, "What a reply must be (one of these)", 0, NULL, NULL, NULL, 0, 0},                                   \
    {ARG_TEXT, "grammar", 0, &(a).grammar, "GBNF", "a text of this grammar", 0, 0},                                    \
    {ARG_TEXT, "grammar-file", 0, &(a).grammar_file, "FILE", "a text of the grammar in FILE", 0, 0},                   \
    {ARG_TEXT, "json-schema", 'j', &(a).schema, "JSON", "a document that this schema accepts; {}: any JSON", 0, 0},    \
    {ARG_TEXT, "json-schema-file", 0, &(a).schema_file, "FILE", "the same, the schema is in FILE", 0, 0},              \
    {ARG_TEXT, "regex", 0, &(a).regex, "REGEX", "matches from beginning to end", 0, 0},                                \
    {ARG_TEXT, "choices", 0, &(a).choices, "A|B|C", "one of these", 0, 0},                                                \
    {ARG_TEXT, "rule", 0, &(a).rule, "FILE.tl", "tokens that its rule Allowed(seq, tok) derives", 0, 0}

typedef struct reply_args {
    constraint_args constraint;
    arg_list stops;
    float max_seconds;
    bool ignore_end;
} reply_args;
#define REPLY_OPTIONS(a)                                                                                               \
    {ARG_LIST, "stop", 0, &(a).stops, "TEXT", "end the reply before TEXT; may be repeated", 0, 0},                     \
    {ARG_FLOAT, "max-time", 0, &(a).max_seconds, "SECONDS", "end the reply after so long; 0: no limit (default: 0)", 0, 1e9}, \
    {ARG_FLAG, "ignore-eos", 0, &(a).ignore_end, NULL, "go on after an end token", 0, 0}

// What is asked for: *text NULL: nothing; else freed with free(). 0, or the exit status after its message.
int read_constraint(const char *command, const constraint_args *a, tl_constraint_kind *kind, char **text, size_t *n);
// 0, or the exit status after its message. *out NULL: none is asked for.
int open_constraint(const char *command, const constraint_args *a, tl_model *m, tl_constraint **out);

void sampling_fix_seed(sampling_args *a); // -1 becomes a seed that the system's random numbers gave
int open_sampler(const char *command, const sampling_args *a, const tl_model *m, bool verbose, tl_sampler **out);
#endif
