// map.cuh - the scalar operations of cpu/map.def on the device, by number.
#ifndef TL_CUDA_MAP_CUH
#define TL_CUDA_MAP_CUH
#include "cuda/dev.cuh"

enum {
#define MAP1(name, expr) CMAP_##name,
#define MAP2(name, expr) CMAP_##name,
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    CMAP_COPY,
    CMAP_SELECT,
    CMAP_END
};

// Values as the C library gives them, to its rounding: the device's own functions are within 2 units in the last place.
DEV float map1(int op, float a) {
    switch (op) {
#define MAP1(name, expr) \
    case CMAP_##name: return expr;
#define MAP2(name, expr)
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    default: return a;
    }
}

DEV float map2(int op, float a, float b) {
    switch (op) {
#define MAP1(name, expr)
#define MAP2(name, expr) \
    case CMAP_##name: return expr;
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    default: return a;
    }
}

DEV int map_inputs(int op) {
    switch (op) {
#define MAP1(name, expr) case CMAP_##name: return 1;
#define MAP2(name, expr) case CMAP_##name: return 2;
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    case CMAP_SELECT: return 3;
    default: return 1;
    }
}
#endif
