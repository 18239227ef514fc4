// attention_neon.c - attention compiled for one instruction set.
#include "cpu/simd_neon.h"
#include "cpu/vec.h"
#include "cpu/attention_core.h"
