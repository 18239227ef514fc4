// attention_avx512.c - attention compiled for one instruction set.
#include "cpu/simd_avx512.h"
#include "cpu/vec.h"
#include "cpu/attention_core.h"
