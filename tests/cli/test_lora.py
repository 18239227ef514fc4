"""LoRA adapters: as if the weights had been changed, and broken files are refused."""
import json
import pathlib
import sys

from common import Case, main

try:
    import gguf
    import numpy as np
    import tiny

    sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "oracle"))
    import oracle
except ImportError:
    raise SystemExit(77)

RANK = 3
TARGETS = ["blk.0.attn_q", "blk.0.attn_v", "blk.1.attn_output", "blk.1.ffn_down", "blk.0.ffn_gate", "output", "token_embd"]


def shapes(name):
    found = {}
    tiny.write("/dev/null", edit=lambda w: found.update({k: v.tensor.shape for k, v in w.tensors[-1].items()}))
    return found[name + ".weight"]


def pairs(seed, names=TARGETS):
    random, out = np.random.default_rng(seed), {}
    for name in names:
        n, k = shapes(name)
        if name == "token_embd":
            n, k = k, n  # B A is [width, vocab] there: rows of A are looked up
        a, b = random.standard_normal((RANK, k)), random.standard_normal((n, RANK)) / 6
        out[name] = (a.astype(np.float32), b.astype(np.float32))
    return out


def adapter(path, data, alpha=6.0, architecture="llama", kind="adapter", lora="lora", edit=None):
    w = gguf.GGUFWriter(path, architecture)
    w.add_string("general.type", kind)
    w.add_string("adapter.type", lora)
    if alpha is not None:
        w.add_float32("adapter.lora.alpha", alpha)
    for name, (a, b) in data.items():
        table = name == "token_embd"
        w.add_tensor(f"{name}.weight.lora_a", np.ascontiguousarray(a.T) if table else a)
        w.add_tensor(f"{name}.weight.lora_b", b)
    if edit:
        edit(w)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def merged(path, changes):
    def edit(w):
        for data, scale in changes:
            for name, (a, b) in data.items():
                t = w.tensors[-1][name + ".weight"]
                change = (scale * (b.astype(np.float64) @ a.astype(np.float64)))
                t.tensor = (t.tensor + (change.T if name == "token_embd" else change)).astype(np.float32)

    tiny.write(path, edit=edit)
    return path


def distance(x, want):
    """Of the errors' size to that of the values."""
    return float(np.sqrt(((x.astype(np.float64) - want) ** 2).mean() / (want.astype(np.float64) ** 2).mean()))


class Lora(Case):
    def setUp(self):
        super().setUp()
        self.base = str(self.folder / "base.gguf")
        tiny.write(self.base)

    def logits(self, model, *args):
        out = self.folder / "logits.npy"
        self.tl("score", "-m", model, "--ids", "5,80,33,100,7,9,200", "--logits", out, *args)
        return np.load(out)

    def test_as_merged(self):
        one, two = pairs(1), pairs(2, ["blk.0.attn_q", "blk.1.ffn_up"])
        a, b = (adapter(str(self.folder / f"{i}.gguf"), d) for i, d in enumerate((one, two)))
        base = self.logits(self.base)
        for args, changes in ((["--lora", a], [(one, 2)]), (["--lora", a + ":0.5"], [(one, 1)]), (["--lora", a + ":-1", "--lora", b], [(one, -2), (two, 2)])):
            want = self.logits(merged(str(self.folder / "merged.gguf"), changes))
            got = self.logits(self.base, *args)
            self.assertGreater(np.abs(want - base).max(), 0.1)
            self.assertLess(np.abs(got - want).max(), 2e-3 * np.abs(want).max(), args)
        self.assertTrue(np.array_equal(self.logits(self.base, "--lora", a + ":0"), base))
        self.assertTrue(np.array_equal(self.logits(self.base, "--lora", a, "-t", "1", "-b", "2"), self.logits(self.base, "--lora", a)))

    def test_both_styles(self):
        a = adapter(str(self.folder / "a.gguf"), pairs(1))
        program = str(pathlib.Path(__file__).parents[2] / "models/fn/llama.tl")
        self.assertTrue(np.array_equal(self.logits(self.base, "--lora", a), self.logits(self.base, "--lora", a, "--program", program)))

    def traced(self, model, *args):
        folder = self.folder / "npy"
        for f in folder.glob("*.npy"):
            f.unlink()
        self.tl("trace", "-m", model, "--ids", "5,80,33,100,7", "--npy", folder, *args)
        return {f.name: np.load(f).astype(np.float64) for f in folder.glob("*.npy")}

    def test_seen_inside(self):
        """Every named value, also those that fused operations swallow, and the lens are those of the changed weights."""
        one = pairs(1)
        a = adapter(str(self.folder / "a.gguf"), one)
        changed = merged(str(self.folder / "merged.gguf"), [(one, 2)])
        want, got, base = self.traced(changed), self.traced(self.base, "--lora", a), self.traced(self.base)
        self.assertEqual((want.keys(), got.keys()), (got.keys(), base.keys()))
        self.assertGreater(len(want), 30)
        for name, w in want.items():
            self.assertLess(np.abs(got[name] - w).max(), 1e-4 * np.abs(w).max() + 1e-6, name)
        self.assertGreater(sum(not np.array_equal(got[n], base[n]) for n in got), 20)
        logits = self.logits(self.base, "--lora", a)  # watching changes no bit
        self.assertTrue(np.array_equal(got["result.npy"].astype(np.float32)[:, :], self.traced(self.base, "--lora", a, "--watch", "result")["result.npy"]))
        self.assertTrue(np.array_equal(self.traced(self.base, "--lora", a, "--ids", "5,80,33,100,7,9,200")["result.npy"].astype(np.float32), logits))
        lens = [json.loads(self.tl("lens", "-m", m, "--ids", "5,80,33", "--json", *more)[0]) for m, more in ((changed, ()), (self.base, ("--lora", a)))]
        for x, y in zip(lens[0]["layers"], lens[1]["layers"]):
            for p, q in zip(x["positions"], y["positions"]):
                self.assertEqual(p[0]["id"], q[0]["id"])
                self.assertAlmostEqual(p[0]["p"], q[0]["p"], places=5)

    def test_trapped(self):
        a = adapter(str(self.folder / "a.gguf"), pairs(1, ["blk.1.ffn_down"]))
        err = self.tl("score", "-m", self.base, "--ids", "5,80", "--lora", a + ":1e38", "--nan-trap", status=1)[1].decode()
        self.assertIn("models/llama.tl:63", err)
        self.assertIn("l=1", err)
        self.tl("score", "-m", self.base, "--ids", "5,80", "--lora", a, "--nan-trap")

    def quantized(self, kind):
        def edit(w):
            for name, t in w.tensors[-1].items():
                if t.tensor.ndim == 2:
                    t.tensor = gguf.quants.quantize(t.tensor, kind)
                    t.dtype, t.nbytes = kind, t.tensor.nbytes

        path = str(self.folder / f"{kind.name}.gguf")
        tiny.write(path, edit=edit)
        return path

    def test_quantized_base(self):
        """Against numpy on the dequantized weights with the change added to them; errors are those of the base without an adapter."""
        ids, data = [5, 80, 33, 100, 7, 9, 200], pairs(1)
        a = adapter(str(self.folder / "a.gguf"), data)

        class Changed(oracle.Model):
            def __getitem__(self, name):
                w, (x, y) = super().__getitem__(name), data.get(name.removesuffix(".weight"), (None, None))
                if x is None:
                    return w
                change = 2 * (y.astype(np.float64) @ x.astype(np.float64))
                return (w + (change.T if name == "token_embd.weight" else change)).astype(np.float32)

        for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q5_1, gguf.GGMLQuantizationType.F16):
            base = self.quantized(kind)
            plain, = oracle.forward_all(base, [ids])
            m = Changed(base)
            want = oracle.hidden_all(m, [ids])[0] @ m["output.weight"].T
            self.assertGreater(distance(plain, want), 0.3, kind)  # the adapter changes much
            limit = 2 * max(distance(self.logits(base), plain), 1e-3)
            for isa in (None, "ref", "avx2"):
                got = self.logits(base, "--lora", a, *(["--isa", isa] if isa else []))
                self.assertLess(distance(got, want), limit, (kind, isa))

    def refused(self, path, *says):
        err = self.tl("score", "-m", self.base, "--ids", "5", "--lora", path, status=1)[1].decode()
        for s in says:
            self.assertIn(s, err)

    def test_broken(self):
        path = str(self.folder / "x.gguf")
        good = pairs(1, ["blk.0.attn_q"])
        a, b = good["blk.0.attn_q"]
        self.refused(adapter(path, good, alpha=float("nan")), "alpha")
        self.refused(adapter(path, good, alpha=float("inf")), "alpha")
        self.refused(adapter(path, good, alpha=None), "alpha")
        self.refused(adapter(path, good, kind="model"), "no adapter")
        self.refused(adapter(path, good, lora="magic"), "magic")
        self.refused(adapter(path, good, architecture="qwen2"), "qwen2", "llama")
        self.refused(adapter(path, {"blk.9.attn_q": (a, b)}), "blk.9.attn_q")
        self.refused(adapter(path, {"blk.0.attn_q": (a[:, :32], b)}), "do not fit")
        self.refused(adapter(path, {"blk.0.attn_q": (a, b[:, :2])}), "do not fit")
        self.refused(adapter(path, {"blk.0.attn_q": (a[:0], b[:, :0])}))
        self.refused(adapter(path, {"blk.0.attn_q": (a * np.nan, b)}), "lora_a")
        self.refused(adapter(path, {}), "nothing in it")
        self.refused(adapter(path, good, edit=lambda w: w.add_tensor("blk.1.attn_q.weight.lora_b", b)), "blk.1.attn_q")
        self.refused(adapter(path, good, edit=lambda w: w.add_tensor("more", b)), "more")
        self.refused("/no/such/file.gguf")
        whole = pathlib.Path(adapter(path, good)).read_bytes()
        for n in (0, 3, 40, len(whole) // 2, len(whole) - 1):
            pathlib.Path(path).write_bytes(whole[:n])
            self.refused(path)
        self.refused(self.base, "no adapter")


if __name__ == "__main__":
    main()
