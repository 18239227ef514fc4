// vec_ops.h - the op numbers of map1, map2 and map2s: rows of map.def in file order, as the IR counts them.
#ifndef TL_CPU_VEC_OPS_H
#define TL_CPU_VEC_OPS_H
enum {
#define MAP1(name, expr) MAP_##name,
#define MAP2(name, expr) MAP_##name,
#include "cpu/map.def"
#undef MAP1
#undef MAP2
};
#endif
