// session_choose.c - tokens chosen from the logits of a session's last step, on the device where they are if it can.
//
// On a device a choice is begun behind the step that it belongs to, and the next step may be begun behind the choice
// (TL_CHOSEN): the host learns the token while the device is at work on the step that follows.
#include "run/sample.h"
#include "run/session_int.h"

int32_t session_choice(const tl_session *s, int32_t token) {
    int32_t id = s->chosen[-1 - token];
    return id < 0 ? 0 : id; // no choice: as a device has it
}

tl_status session_take_choices(tl_session *s, tl_error *err) {
    if (!s->choosing) return TL_OK;
    size_t late = (size_t)s->late;
    tl_status st = cuda_chosen(s->chooser, s->chosen, err);
    s->choosing = false;
    s->late = 0;
    if (!late) return st;
    if (st != TL_OK) {
        session_take_back(s, late);
        return st;
    }
    for (size_t i = 0; i < late; i++) {
        int32_t *t = &s->in[INPUT_TOK][i];
        if (*t < 0) *t = session_choice(s, *t);
    }
    session_learn_rows(s, late);
    return TL_OK;
}

static bool all_on_device(const tl_session *s, tl_sampler *const *samplers) {
    if (!plan_output_on_device(s->p, 0)) return false;
    for (int64_t i = 0; i < s->outs; i++)
        if (!sampler_device_can(samplers[i], s->m->n_vocab)) return false;
    return true;
}

static tl_status make_chooser(tl_session *s, tl_error *err) {
    if (s->chooser) return TL_OK;
    if (!s->choices) s->choices = mem_calloc((size_t)s->n_batch, sizeof *s->choices);
    if (!s->choices) return err_set(err, TL_E_MEMORY, "out of memory");
    return cuda_chooser_new(s->m->engine->device, &s->chooser, err);
}

static tl_status begin_on_device(tl_session *s, tl_sampler *const *samplers, const uint64_t *const *masks, tl_error *err) {
    const float *logits = plan_output_on_device(s->p, 0);
    TL_TRY(make_chooser(s, err));
    for (int64_t i = 0; i < s->outs; i++) {
        cuda_choice *c = &s->choices[i];
        if (!sampler_device_choice(samplers[i], s->m->n_vocab, c)) return err_set(err, TL_E_MEMORY, "out of memory");
        c->x = logits + i * s->m->n_vocab;
        c->mask = masks ? masks[i] : NULL;
    }
    TL_TRY(cuda_choose(s->chooser, s->choices, (int)s->outs, s->m->n_vocab, err));
    s->choosing = true;
    return TL_OK;
}

static tl_status choose_on_host(tl_session *s, tl_sampler *const *samplers, const uint64_t *const *masks, tl_error *err) {
    const void *out;
    TL_TRY(plan_fetch(s->p, 0, &out, err));
    for (int64_t i = 0; i < s->outs; i++)
        s->chosen[i] = tl_sampler_pick_masked(samplers[i], (const float *)out + i * s->m->n_vocab, s->m->n_vocab, masks ? masks[i] : NULL);
    return TL_OK;
}

tl_status tl_session_choose(tl_session *s, tl_sampler *const *samplers, const uint64_t *const *masks, int32_t *ids, tl_error *err) {
    TL_TRY(session_take_choices(s, err));
    s->n_chosen = -1;
    if (s->hidden) return err_set(err, TL_E_USAGE, "a session that ends before the logits has nothing to choose from");
    if (s->outs == 0) return err_set(err, TL_E_USAGE, "the last step has no logits to choose from");
    TL_TRY(all_on_device(s, samplers) ? begin_on_device(s, samplers, masks, err) : choose_on_host(s, samplers, masks, err));
    s->n_chosen = s->outs;
    return ids ? tl_session_chosen(s, ids, err) : TL_OK;
}

tl_status tl_session_chosen(tl_session *s, int32_t *ids, tl_error *err) {
    int64_t n = s->n_chosen;
    if (n < 0) return err_set(err, TL_E_USAGE, "no choice was begun");
    TL_TRY(session_take_choices(s, err));
    memcpy(ids, s->chosen, (size_t)n * sizeof *ids);
    return TL_OK;
}

bool tl_session_chooses_ahead(const tl_session *s, const tl_sampler *sampler) {
    return plan_output_on_device(s->p, 0) && !plan_is_split(s->p) && !s->trap && !s->hidden && sampler_device_can(sampler, s->m->n_vocab);
}
