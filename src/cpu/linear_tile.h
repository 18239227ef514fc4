// linear_tile.h - a thread's AMX tiles: their shapes. For linear_amx.c and linear_bf16_amx.c.
#ifndef TL_CPU_LINEAR_TILE_H
#define TL_CPU_LINEAR_TILE_H
#include <stdint.h>

typedef struct tile_config { // Intel SDM volume 1, section 18.2: palette 1
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
} tile_config;
_Static_assert(sizeof(tile_config) == 64, "LDTILECFG reads 64 bytes");

static inline void tile_configure(const tile_config *c) { __asm__ volatile("ldtilecfg %0" : : "m"(*c)); }
static inline void tile_release(void) { __asm__ volatile("tilerelease" ::: "memory"); }
#endif
