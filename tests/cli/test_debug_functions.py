"""stats, nonfinite and compare: against numpy, as tl trace and tl diff say it, in the REPL; and the debugging examples."""
import json
import pathlib

import common

try:
    import numpy as np
    import tiny
except ImportError:
    raise SystemExit(common.SKIP)

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
IDS = "5,70,104,111,9,33"


def value(text):
    """A printed map as Python has it."""
    return json.loads(text.replace("nan,", "NaN,").replace("inf,", "Infinity,"))


class DebugFunctions(common.ModelCase):
    def run_text(self, text, *args):
        path = self.folder / "p.tl"
        path.write_text(text)
        return self.tl("run", path, *args)[0].decode()

    def example(self, name, *args, model=None, **more):
        return self.tl("run", EXAMPLES / f"{name}.tl", "-m", model or self.model, "-p", "hello", *args, **more)

    def damaged(self, name, at, size):
        """A copy of the model in which one value of a tensor is infinite."""
        def edit(w):
            x = w.tensors[0][name].tensor.copy()
            x.reshape(-1)[at * size + 3] = np.inf
            w.tensors[0][name].tensor = x
        path = self.folder / "damaged.gguf"
        tiny.write(path, edit=edit)
        return path

    # ---- values
    def test_numpy(self):
        rng = np.random.default_rng(3)
        a, b = (rng.standard_normal((7, 5, 9)).astype(np.float32) for _ in range(2))
        b = a + 0.01 * b
        b[2, 3, 4] += 1
        np.save(self.folder / "a.npy", a), np.save(self.folder / "b.npy", b)
        text = f'let a = load_npy("{self.folder}/a.npy")\nlet b = load_npy("{self.folder}/b.npy")\nprint(stats(a))\nprint(compare(a, b))\n'
        s, d = map(value, self.run_text(text).splitlines())
        x, y = a.astype(np.float64), b.astype(np.float64)
        self.assertEqual((s["shape"], s["nan"], s["inf"]), ([7, 5, 9], 0, 0))
        for key, want in (("min", x.min()), ("max", x.max()), ("mean", x.mean()), ("rms", np.sqrt((x ** 2).mean()))):
            np.testing.assert_allclose(s[key], want, rtol=1e-12, err_msg=key)
        e = x - y
        self.assertEqual(d["at"], [2, 3, 4])
        for key, want in (("nmse", (e ** 2).sum() / (x ** 2).sum()), ("cosine", (x * y).sum() / np.sqrt((x ** 2).sum() * (y ** 2).sum())), ("largest", abs(e).max()),
                          ("a", x[2, 3, 4]), ("b", y[2, 3, 4])):
            np.testing.assert_allclose(d[key], want, rtol=1e-12, err_msg=key)

    def test_as_trace_and_diff(self):
        """The same numbers as the commands that look into models."""
        self.tl("trace", "-m", self.model, "--ids", IDS, "--watch", "blk.*.X#2", "--npy", self.folder)
        for v in json.loads(self.tl("trace", "-m", self.model, "--ids", IDS, "--watch", "blk.*.X#2", "--json")[0])["values"]:
            s = value(self.run_text(f'print(stats(load_npy("{self.folder}/{v["key"]}.npy")))\n'))
            for key in ("shape", "min", "max", "mean", "rms", "nan", "inf"):
                self.assertEqual(s[key], v[key], key)
        names = "blk.0.attn_q.weight", "blk.1.attn_q.weight"
        def other(w):
            w.tensors[0][names[0]].tensor = w.tensors[0][names[1]].tensor
        tiny.write(self.folder / "other.gguf", edit=other)
        told = json.loads(self.tl("diff", "--tensors", self.model, self.folder / "other.gguf", "--json")[0])["tensors"][0]
        found = value(self.example("compare_tensors")[0].decode().splitlines()[-1].removeprefix("difference "))
        for here, there in (("nmse", "nmse"), ("cosine", "cosine"), ("largest", "largest_error"), ("a", "a"), ("b", "b")):
            np.testing.assert_allclose(found[here], told[there], rtol=1e-9, err_msg=here) # sums in another order: [in, out]
        self.assertEqual(found["at"], [told["column"], told["row"]])

    def test_repl(self):
        out = self.tl("repl", text="stats([3, 4])\nnonfinite([1, 2])\ncompare([1, 1], [1, 2])\n")[0].decode().splitlines()
        self.assertEqual(value(out[0])["mean"], 3.5)
        self.assertEqual(out[1], "0")
        self.assertEqual(value(out[2])["nmse"], 0.5)

    def test_inside_a_step(self):
        """The values of a step function are not there yet while it is traced."""
        text = (EXAMPLES.parent / "models/llama.tl").read_text()
        first = next(line for line in text.splitlines() if line.strip().startswith("X[p, e] ="))
        for call in ("stats(X)", "nonfinite(X)", "compare(X, X)"):
            path = self.folder / "step.tl"
            path.write_text(text.replace(first, f"{first}\n    print({call})", 1))
            err = self.tl("score", "-m", self.model, "--ids", IDS, "--program", path, status=1)[1].decode()
            self.assertRegex(err, r"step.tl:\d+:\d+: error: the value of this tensor is not known while the function is traced")

    # ---- the examples
    def test_weight_tying(self):
        for name in ("test_weight_tying", "chat_weight_tying"):
            out = self.example(name)[0].decode()
            self.assertEqual(out.count("  ["), 5, name)
        self.assertIn("You: hello\nReply: ", out)
        self.assertRegex(self.example("chat_multi_token_test")[0].decode(), r"\Atokens: [0-8]\nreply: ")

    def test_debug_logits(self):
        lines = self.example("debug_logits")[0].decode().splitlines()
        for line, name in ((lines[1], "embedding"), (lines[2], "logits   ")):
            self.assertEqual(value(line.removeprefix(f"{name} "))["nan"], 0)
        self.assertEqual(sum("] = " in line for line in lines), 10)

    def test_debug_nan(self):
        self.assertEqual(self.example("debug_nan")[0], b"all weights are finite\n")
        path = self.damaged("blk.1.ffn_down.weight", 5, 128)
        line, end = self.example("debug_nan", model=path)[0].decode().splitlines()
        found = value(line.removeprefix("  blk.1.ffn_down.weight: "))
        self.assertEqual((found["nan"], found["inf"], found["first"]), (0, 1, [3, 5])) # [in, out]
        self.assertEqual(end, "1 values are not")

    def test_debug_output_weight(self):
        lines = self.example("debug_output_weight")[0].decode().splitlines()
        self.assertEqual([line.split(" ")[0] for line in lines], ["token_embd.weight", "output.weight", "against"])
        self.assertGreater(value(lines[2].removeprefix("against each other "))["nmse"], 0)
        path = self.damaged("output.weight", 7, tiny.WIDTH)
        self.assertIn(b"ties its output", self.example("debug_output_weight", model=path)[0])

    def test_compare_tensors(self):
        same = self.example("compare_tensors", "a=output.weight", "b=output.weight")[0].decode().splitlines()
        self.assertEqual(value(same[2].removeprefix("difference ")), {"nmse": 0, "cosine": 1, "largest": 0, "apart": 0})
        self.assertIn(b"the shapes differ", self.example("compare_tensors", "b=output.weight")[0])


common.main()
