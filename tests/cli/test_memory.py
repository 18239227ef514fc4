"""Peak memory: what a larger file adds to it is at most 1.15 times the file plus the cache (docs/performance.md, "Memory")."""
import json
import pathlib
import unittest

import gguf

import tiny
from common import SKIP, TL, Case, main

KINDS = {"Q4_0": gguf.GGMLQuantizationType.Q4_0, "Q8_0": gguf.GGMLQuantizationType.Q8_0}


def quantize(kind):
    def edit(w):
        tensors = [(name, info.tensor) for name, info in w.tensors[0].items()]
        w.tensors[0].clear()
        for name, values in tensors:
            if values.ndim == 1:
                w.add_tensor(name, values)
            else:
                w.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    return edit


class Memory(Case):
    def bench(self, model):
        return json.loads(self.tl("bench", "-m", model, "-p", "32", "-n", "4", "-r", "1", "-t", "2", "--json")[0])

    def test_peak(self):
        sizes = tiny.WIDTH, tiny.LAYERS, tiny.HEADS, tiny.HIDDEN
        for name, kind in KINDS.items():
            with self.subTest(name):
                small, large = self.folder / f"small-{name}.gguf", self.folder / f"large-{name}.gguf"
                tiny.write(small, edit=quantize(kind))
                try:
                    tiny.WIDTH, tiny.LAYERS, tiny.HEADS, tiny.HIDDEN = 768, 8, 12, 3072
                    tiny.write(large, edit=quantize(kind))
                finally:
                    tiny.WIDTH, tiny.LAYERS, tiny.HEADS, tiny.HIDDEN = sizes
                a, b = self.bench(small), self.bench(large)
                self.assertGreater(b["file_bytes"], 30e6)
                self.assertLess(b["peak_rss_bytes"] - a["peak_rss_bytes"], 1.15 * (b["file_bytes"] - a["file_bytes"]) + b["cache_bytes"])


if __name__ == "__main__":
    if any(name in pathlib.Path(TL).read_bytes() for name in (b"__asan_init", b"__tsan_init", b"__msan_init")):
        print("a sanitizer's own memory would be counted")
        raise SystemExit(SKIP)
    main()
