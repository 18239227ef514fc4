#!/usr/bin/env python3
"""Write golden.def: what other implementations make of the blocks of every quantized format.

    pip install gguf libgguf numpy
    tests/gguf/make_golden.py > tests/gguf/golden.def

DECODED(type, blocks, hash, first values): `blocks` blocks of seeded random bytes (scales made finite), decoded by the
Python package gguf (Q1_0: libgguf); hash over the bits of the float32 results.
ENCODED(type, exact, hash, error): 1024 seeded values encoded by libgguf, ggml's own code; hash over the bytes, which
ours must equal where `exact` is 1, and the sum of squared errors, which ours must not exceed.
test_quant.c makes the same inputs.
"""
import sys
import numpy as np
import gguf
import libgguf
from gguf import GGMLQuantizationType as T, GGML_QUANT_SIZES as SIZES

# Byte offsets of the float16 scales, as quant_scale_places() has them; IQ1_M's top bits lie in the last two bytes.
SCALES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
          "TQ1_0": (52,), "TQ2_0": (64,), "IQ1_M": (54,), "MXFP4": (), "NVFP4": ()}
TYPES = ("Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS IQ1_M "
         "TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0").split()
ENCODED = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0".split()
EXACT = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"}


def numbers(seed):
    """A linear congruential generator's top 24 bits."""
    while True:
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        yield seed >> 8


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def raw_blocks(name, blocks):
    n, gen = SIZES[T[name]][1], numbers(int(T[name]) + 1)
    raw = np.array([[next(gen) >> 16 for _ in range(n)] for _ in range(blocks)], np.uint8)
    for at in SCALES.get(name, (0,)):
        raw[:, at + 1] &= 0xBF  # exponent below 16: finite, and below 2
    if name == "MXFP4":
        raw[:, 0] = raw[:, 0] & 0x7F
    return raw


def decoded(name, raw):
    if name == "Q1_0":
        return np.asarray(libgguf.dequantize_rows(raw, int(T[name])), np.float32)
    return gguf.quants.dequantize(raw, T[name])


def main():
    np.seterr(all="ignore")
    print("// golden.def - made by make_golden.py with gguf and libgguf", libgguf._libgguf.__dict__.get("__version__", "0.2.2"))
    for name in TYPES:
        blocks = 4 if SIZES[T[name]][0] == 256 else 16
        bits = decoded(name, raw_blocks(name, blocks)).reshape(-1).view(np.uint32)
        print(f"DECODED({name}, {blocks}, 0x{fnv(bits.tobytes()):016x}u, {', '.join(f'0x{b:08x}' for b in bits[:4])})")
    gen = numbers(7)
    x = np.array([sum(next(gen) for _ in range(4)) - 2 * 0xFFFFFF for _ in range(1024)], np.float32) * np.float32(2.0**-30)
    for name in ENCODED:
        raw = np.asarray(libgguf.quantize_rows(x.reshape(1, -1), int(T[name]))).view(np.uint8).reshape(-1, SIZES[T[name]][1])
        error = float(((decoded(name, raw).reshape(-1).astype(np.float64) - x) ** 2).sum())
        print(f"ENCODED({name}, {int(name in EXACT)}, 0x{fnv(raw.tobytes()):016x}u, {error:.9g})")


if __name__ == "__main__":
    sys.exit(main())
