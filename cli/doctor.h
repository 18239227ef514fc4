// doctor.h - what the parts of `tl doctor` share: findings, each with a severity, a place and what to do.
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H
#include "common.h"
#include "gguf/gguf.h"

typedef enum { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_ERROR } doctor_level; // an error: a chat would go wrong

typedef struct doctor_args {
    model_args model;
    const char *repair;     // path of a mended copy
    bool json, zero_nan;
} doctor_args;

typedef struct doctor {
    const doctor_args *a;
    const char *path;
    gguf *g;                // NULL: the file cannot be read as a whole
    json_t *findings;       // array of objects: severity, check, message, advice, and the place
    json_t *facts;          // object: what was measured
    int count[DOCTOR_ERROR + 1];
    // Tensors with non-finite values: a bad one that no statement reads harms nothing, which is known later.
    const gguf_tensor **bad;
    size_t n_bad;
    bool tied;              // output.weight is unusable, the embedding takes its place
} doctor;

// Adds a finding; `place` (fields of the object; may be NULL) is taken over. advice "": none. Returns the finding, borrowed.
json_t *doctor_find(doctor *d, doctor_level level, const char *check, json_t *place, const char *advice, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
void doctor_set_level(doctor *d, json_t *finding, doctor_level level);

void doctor_tensors(doctor *d); // doctor_tensors.c: values and statistics
void doctor_use(doctor *d);     // doctor_use.c: program, text, memory, speed, a step
// doctor_repair.c: writes the copy. 0, or the exit status after its message.
int doctor_repair(doctor *d);
#endif
