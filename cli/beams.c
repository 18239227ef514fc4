// beams.c - `tl generate --beams`: the most probable texts instead of drawn ones.
#include "beams.h"
#include <stdlib.h>
#include <string.h>

static json_t *text_of(const opened *o, const tl_hypothesis *h) {
    struct { char *p; size_t n; } t = {0};
    tl_decoder *d;
    tl_error err;
    if (tl_decoder_new(o->model, false, &d, &err) != TL_OK) return NULL;
    FILE *to = open_memstream(&t.p, &t.n);
    for (size_t i = 0; to && i < h->n; i++) fputs(tl_decoder_put(d, h->ids[i]), to);
    if (to) fputs(tl_decoder_end(d), to), fclose(to);
    tl_decoder_free(d);
    json_t *j = json_bytes(t.p ? t.p : "", t.n);
    free(t.p);
    return j;
}

static int show(const beam_args *a, const opened *o, const tl_hypothesis *h, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:o, s:f, s:f, s:I, s:s}", "text", text_of(o, &h[i]), "log_probability", h[i].log_probability, "score", h[i].score,
                                              "tokens", (json_int_t)h[i].n, "stop", h[i].finished ? "end" : "length"));
    if (a->json) return print_json(json_pack("{s:o}", "beams", list));
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_object_get(json_array_get(list, i), "text"));
        if (n > 1) printf("%9.4f  ", h[i].score);
        puts(text ? text : "");
    }
    json_decref(list);
    return 0;
}

int beams_generate(const beam_args *a, const model_args *model, opened *o, const int32_t *ids, size_t n) {
    tl_error err;
    tl_hypothesis *h;
    size_t found;
    const model_args *m = model;
    int64_t train = tl_model_n_ctx_train(o->model), most = a->most < 0 ? 256 : a->most, need = (int64_t)n + (a->beams + 1) * most;
    if (train > 0 && (int64_t)n + most > train) most = train - (int64_t)n;
    if (most < 1) return fail("generate", "the prompt has %zu tokens, which leaves no room for a reply", n);
    const tl_session_options options = {.n_ctx = m->n_ctx ? m->n_ctx : need, .n_batch = m->n_batch > a->beams ? m->n_batch : a->beams < 512 ? 512 : a->beams + 1,
                                        .n_seq = a->beams + 1, .cache_type = m->cache_type};
    const tl_beam_options how = {.beams = a->beams, .groups = a->groups, .diversity = a->diversity, .length_penalty = a->length_penalty, .most = most,
                                 .ignore_end = a->ignore_end, .early = a->early, .constraint = a->constraint, .cancel = a->cancel};
    if (tl_session_new(o->model, &options, &o->session, &err) != TL_OK) return fail_with("generate", &err);
    double start = seconds_now();
    if (tl_beam_search(o->session, ids, n, &how, &h, &found, &err) != TL_OK) return fail_with("generate", &err);
    double passed = seconds_now() - start;
    int status = show(a, o, h, found < (size_t)a->n_best ? found : (size_t)a->n_best);
    if (model->verbose && found > 0) fprintf(stderr, "[%zu tokens with %d beams in %.2f s: %.2f ms a token]\n", h[0].n, a->beams, passed, 1e3 * passed / (double)(h[0].n ? h[0].n : 1));
    tl_hypotheses_free(h, found);
    return status;
}
