// logprobs.c - see logprobs.h.
#include "logprobs.h"
#include <math.h>

static double log_sum(const float *x, int64_t n) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = (double)x[i] > max ? (double)x[i] : max;
    if (isinf(max)) return max;
    for (int64_t i = 0; i < n; i++) sum += isnan(x[i]) ? 0 : exp((double)x[i] - max);
    return max + log(sum);
}

static int best(const float *x, int64_t n, int32_t *ids, int k) { // by insertion: k is small
    int found = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]) || (found == k && (k == 0 || !(x[i] > x[ids[k - 1]])))) continue;
        int at = found < k ? found++ : k - 1;
        for (; at > 0 && x[i] > x[ids[at - 1]]; at--) ids[at] = ids[at - 1];
        ids[at] = (int32_t)i;
    }
    return found;
}

static json_t *one(const tl_model *m, int32_t id, double logprob) {
    size_t n;
    const char *text = tl_token_text(m, id, true, &n);
    return json_pack("{s:i, s:o, s:o}", "id", id, "token", json_bytes(text, n), "logprob", json_real_or_null(logprob));
}

json_t *logprobs_json(const tl_model *m, const float *logits, int64_t n, int32_t id, int k) {
    int32_t ids[LOGPROBS_MOST];
    double total = log_sum(logits, n);
    json_t *all = one(m, id, (double)logits[id] - total), *top = json_array();
    int found = best(logits, n, ids, k < LOGPROBS_MOST ? k : LOGPROBS_MOST);
    for (int i = 0; i < found; i++) json_array_append_new(top, one(m, ids[i], (double)logits[ids[i]] - total));
    json_object_set_new(all, "top", top);
    return all;
}
