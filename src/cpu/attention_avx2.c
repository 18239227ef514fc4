// attention_avx2.c - attention compiled for one instruction set.
#include "cpu/simd_avx2.h"
#include "cpu/vec.h"
#include "cpu/attention_core.h"
