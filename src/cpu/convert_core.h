// convert_core.h - narrow types to float32 in the words of simd_*.h; exact, so equal to `ref` bit for bit.
enum { Q8_VALUES = 32, Q8_BYTES = 34, Q8_VECS = Q8_VALUES / V_N, Q4_BYTES = 18 };

V_INLINE float q8_scale(const uint8_t *block) {
    uint16_t h;
    memcpy(&h, block, 2);
    return v_f16(h);
}

static void V_NAME(load_q8)(const uint8_t *src, float *dst, int64_t n) {
    for (int64_t b = 0; b < n / Q8_VALUES; b++, src += Q8_BYTES, dst += Q8_VALUES) {
        vf d = v_set1(q8_scale(src));
        V_UNROLL for (int i = 0; i < Q8_VECS; i++) v_store(dst + i * V_N, v_mul(d, v_load_i8(src + 2 + i * V_N)));
    }
}

static void V_NAME(load_q4)(const uint8_t *src, float *dst, int64_t n) {
    for (int64_t b = 0; b < n / Q8_VALUES; b++, src += Q4_BYTES, dst += Q8_VALUES) {
        int8_t q[Q8_VALUES];
        for (int i = 0; i < Q8_VALUES / 2; i++) {
            q[i] = (int8_t)((src[2 + i] & 15) - 8);
            q[i + Q8_VALUES / 2] = (int8_t)((src[2 + i] >> 4) - 8);
        }
        vf d = v_set1(q8_scale(src));
        V_UNROLL for (int i = 0; i < Q8_VECS; i++) v_store(dst + i * V_N, v_mul(d, v_load_i8(q + i * V_N)));
    }
}

static void V_NAME(load)(tl_dtype type, const void *src, float *dst, int64_t n) {
    const uint16_t *h = src;
    int64_t i = 0;
    switch (type) {
    case DT_F32: memmove(dst, src, (size_t)n * sizeof *dst); break;
    case DT_F16:
        for (; i + V_N <= n; i += V_N) v_store(dst + i, v_load_f16(h + i));
        for (; i < n; i++) dst[i] = f16_to_f32(h[i]);
        break;
    case DT_BF16:
        for (; i + V_N <= n; i += V_N) v_store(dst + i, v_load_bf16(h + i));
        for (; i < n; i++) dst[i] = bf16_to_f32(h[i]);
        break;
    case DT_Q8_0: V_NAME(load_q8)(src, dst, n); break;
    case DT_Q4_0: V_NAME(load_q4)(src, dst, n); break;
    default: TL_CHECK(!"load: F32, F16, BF16, Q8_0 or Q4_0");
    }
}
