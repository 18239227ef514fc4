"""LoRA adapters: as if the weights had been changed, and broken files are refused."""
import pathlib

from common import Case, main

try:
    import gguf
    import numpy as np
    import tiny
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
