"""tl diff --tensors: against numpy on the values as the gguf package decodes them."""
import json

import gguf
import numpy as np
import tiny
from common import Case, main

Q = gguf.GGMLQuantizationType


def requantized(names, type):
    def edit(w):
        for name in names:
            old = w.tensors[0].pop(name).tensor
            w.add_tensor(name, gguf.quants.quantize(old, type), raw_dtype=type)
    return edit


def values(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64) for t in gguf.GGUFReader(path).tensors}


class DiffTensors(Case):
    def file(self, name, edit=None, **more):
        path = self.folder / name
        tiny.write(path, edit=edit, **more)
        return path

    def diff(self, a, b, *args):
        return json.loads(self.tl("diff", "--tensors", a, b, "--json", *args)[0])

    def test_the_same(self):
        a, b = self.file("a.gguf"), self.file("b.gguf")
        found = self.diff(a, b)
        self.assertTrue(found["identical"])
        self.assertEqual(found["tensors"], [])
        every = self.diff(a, b, "--all")["tensors"]
        self.assertEqual({t["name"] for t in every}, set(values(a)))
        self.assertTrue(all(t["nmse"] == 0 and t["cosine"] == 1 for t in every))
        self.assertIn(b"metadata is the same", self.tl("diff", "--tensors", a, b)[0])

    def test_numbers_are_those_of_numpy(self):
        names = [f"blk.{i}.{k}.weight" for i in range(2) for k in ("attn_q", "ffn_down", "ffn_up")] + ["token_embd.weight"]
        a = self.file("a.gguf")
        for type in (Q.Q8_0, Q.Q4_1, Q.Q5_0, Q.F16):
            b = self.file("b.gguf", requantized(names, type))
            x, y = values(a), values(b)
            for threads in (1, 2):
                found = {t["name"]: t for t in self.diff(a, b, "-t", threads)["tensors"]}
                self.assertEqual(set(found), set(names))
                for name in names:
                    with self.subTest(type=type.name, name=name):
                        t, d = found[name], x[name] - y[name]
                        self.assertEqual((t["type_a"], t["type_b"]), ("F32", type.name))
                        np.testing.assert_allclose(t["nmse"], (d ** 2).sum() / (x[name] ** 2).sum(), rtol=1e-9)
                        np.testing.assert_allclose(t["cosine"], (x[name] * y[name]).sum() / np.sqrt((x[name] ** 2).sum() * (y[name] ** 2).sum()), rtol=1e-12)
                        np.testing.assert_allclose(t["largest_error"], abs(d).max(), rtol=1e-12)
                        at = np.unravel_index(abs(d).argmax(), d.shape)
                        self.assertEqual((t["row"], t["column"]), tuple(map(int, at)))
                        np.testing.assert_allclose((t["a"], t["b"]), (x[name][at], y[name][at]), rtol=1e-7)

    def test_what_is_not_in_both(self):
        def edit(w):
            w.tensors[0].pop("blk.0.ffn_up.weight")
            w.add_tensor("extra.weight", np.ones((2, 64), np.float32))
            w.tensors[0].pop("blk.1.attn_k.weight")
            w.add_tensor("blk.1.attn_k.weight", np.ones((16, 64), np.float32))
            w.tensors[0]["blk.0.attn_v.weight"].tensor[3, 4] = np.nan
            w.kv_data[0].pop("llama.rope.freq_base")
            w.add_bool("mine", True)
            tokens = w.kv_data[0].pop("tokenizer.ggml.tokens").value
            w.add_token_list([*tokens[:7], "SEVEN", *tokens[8:]])
            w.kv_data[0].pop("general.name")
            w.add_name("changed")
        a, b = self.file("a.gguf"), self.file("b.gguf", edit)
        found = self.diff(a, b)
        self.assertFalse(found["identical"])
        self.assertEqual((found["only_a"], found["only_b"]), (["blk.0.ffn_up.weight"], ["extra.weight"]))
        tensors = {t["name"]: t for t in found["tensors"]}
        self.assertEqual(set(tensors), {"blk.1.attn_k.weight", "blk.0.attn_v.weight"})
        self.assertEqual((tensors["blk.1.attn_k.weight"]["shape_a"], tensors["blk.1.attn_k.weight"]["shape_b"]), ([64, 32], [64, 16]))
        self.assertNotIn("nmse", tensors["blk.1.attn_k.weight"])
        bad = tensors["blk.0.attn_v.weight"]
        self.assertEqual((bad["nonfinite_a"], bad["nonfinite_b"], bad["nmse"]), (0, 1, 0))
        meta = found["metadata"]
        self.assertEqual((meta["only_a"], meta["only_b"]), (["llama.rope.freq_base"], ["mine"]))
        differ = {d["key"]: d for d in meta["differ"]}
        self.assertEqual(set(differ), {"tokenizer.ggml.tokens", "general.name"})
        self.assertEqual((differ["general.name"]["a"], differ["general.name"]["b"]), ("tiny", "changed"))
        self.assertEqual((differ["tokenizer.ggml.tokens"]["at"], differ["tokenizer.ggml.tokens"]["b"]["element"]), (7, "SEVEN"))
        text = self.tl("diff", "--tensors", a, b)[0].decode()
        for part in ("only in A: blk.0.ffn_up.weight", "only in B: extra.weight", "shapes [64, 32] and [64, 16]", "metadata only in B: mine"):
            self.assertIn(part, text)

    def test_wrong_calls_and_files(self):
        a = self.file("a.gguf")
        (self.folder / "cut.gguf").write_bytes(a.read_bytes()[:3000])
        self.assertIn(b"cut.gguf", self.tl("diff", "--tensors", a, self.folder / "cut.gguf", status=1)[1])
        self.assertIn(b"nothing.gguf", self.tl("diff", "--tensors", self.folder / "nothing.gguf", a, status=1)[1])
        self.tl("diff", "--tensors", a, status=2)
        self.tl("diff", "--tensors", a, a, a, status=2)


if __name__ == "__main__":
    main()
