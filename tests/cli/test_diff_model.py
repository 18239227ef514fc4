"""tl diff of the default model against its own weights in F16: the error by layer, as numpy has it from the two traces. Exits
with 77 where the model has not been fetched or the packages of tests/requirements.txt are not installed."""
import json
import math
import subprocess
import sys

from common import SKIP, TL, Case, main

try:
    import gguf
    import numpy as np
except ImportError:
    sys.exit(SKIP)

TEXT = "The capital of France is Paris."


def default_model():
    listed = json.loads(subprocess.run([TL, "models", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    return next((row["path"] for row in listed if row["default"] and row["ready"]), None)


def as_f16(path, to):
    """A copy of the file whose Q4_1 tensors are F16; returns the architecture, their names, and how many layers there are."""
    r, names = gguf.GGUFReader(path), []
    arch = r.fields["general.architecture"].contents()
    w = gguf.GGUFWriter(to, arch)
    for f in r.fields.values():
        if not f.name.startswith("GGUF.") and f.name != "general.architecture":
            w.add_key_value(f.name, f.contents(), f.types[0], sub_type=f.types[-1] if f.types[0] == gguf.GGUFValueType.ARRAY else None)
    for t in r.tensors:
        if t.tensor_type == gguf.GGMLQuantizationType.Q4_1:
            names.append(t.name)
            w.add_tensor(t.name, gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float16))
        else:
            w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file()
    w.close()
    return names, r.fields[f"{arch}.block_count"].contents()


class DiffModel(Case):
    def test_q4_1_against_f16(self):
        other = self.folder / "f16.gguf"
        names, layers = as_f16(MODEL, other)
        self.assertGreater(len(names), 0)

        # the weights: F16 rounds to 11 bits, so no value is off by more than 2^-11 of itself (or half the least subnormal)
        weights = json.loads(self.tl("diff", "--tensors", MODEL, other, "--json")[0])
        self.assertEqual({t["name"] for t in weights["tensors"]}, set(names))
        for t in weights["tensors"]:
            self.assertEqual((t["type_a"], t["type_b"]), ("Q4_1", "F16"))
            self.assertLess(t["nmse"], 2 ** -22)

        # the values
        found = json.loads(self.tl("diff", MODEL, other, "-p", TEXT, "--json")[0])
        self.assertTrue(all(v["in_b"] and v["same_shape"] for v in found["values"]))
        nmse = {v["key"]: v["nmse"] for v in found["values"]}
        for model, folder in ((MODEL, "a"), (other, "b")):
            self.tl("trace", "-m", model, "-p", TEXT, "--watch", "X result", "--npy", self.folder / folder)
        keys = [f"blk.{i}.X#2" for i in range(layers)] + ["result"]
        for key in keys:
            a, b = (np.load(self.folder / folder / f"{key}.npy").astype(np.float64) for folder in "ab")
            want = ((a - b) ** 2).sum() / (a ** 2).sum()
            self.assertGreater(want, 0, key)
            self.assertLess(abs(nmse[key] / want - 1), 1e-6, key)
            self.assertLess(want, 0.05, key) # the same weights, other arithmetic
        self.assertEqual(found["first"], next((v["key"] for v in found["values"] if v["nmse"] > found["limit"]), None))
        self.assertTrue(math.isfinite(found["kl"]) and 0 <= found["kl"] < 0.1, found["kl"])

        # as people read it: a line for every layer
        table = self.tl("diff", MODEL, other, "-p", TEXT)[0].decode()
        for key in keys:
            self.assertIn(f"\n{key} ", table)
        self.assertIn("KL divergence", table)


if __name__ == "__main__":
    MODEL = default_model()
    if not MODEL:
        print("the default model has not been fetched")
        sys.exit(SKIP)
    main()
