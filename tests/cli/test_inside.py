"""tl trace, tl lens, --set and --nan-trap on a small model, on damaged copies of it, and on programs with a mistake planted."""
import json
import pathlib
import unittest

import common

try:
    import numpy as np
    import tiny
except ImportError:
    raise SystemExit(common.SKIP)

IDS = "5,70,104,111,9,33"
SOURCE = pathlib.Path(__file__).resolve().parents[2]


class Inside(common.ModelCase):
    def json(self, *args, **more):
        return json.loads(self.tl(*args, "--json", **more)[0])

    def program(self, old, new):
        """models/llama.tl with one place changed."""
        text = (SOURCE / "models/llama.tl").read_text()
        self.assertEqual(text.count(old), 1, old)
        path = self.folder / "changed.tl"
        path.write_text(text.replace(old, new))
        return path

    def line_of(self, path, part):
        return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if part in line)

    # ---- trace
    def test_trace(self):
        got = self.json("trace", "-m", self.model, "--ids", IDS, "--watch", "blk.*.X A[l=1]")
        self.assertEqual([v["key"] for v in got["values"]], ["blk.0.X#1", "blk.0.X#2", "blk.1.A", "blk.1.X#1", "blk.1.X#2"])
        self.assertEqual(got["values"][0]["shape"], [6, tiny.WIDTH])
        self.assertEqual(got["values"][0]["axes"], ["p", "e"])
        self.assertEqual(sum(got["values"][0]["histogram"]), 6 * tiny.WIDTH)
        self.assertEqual(got["values"][0]["nan"] + got["values"][0]["inf"], 0)
        table = self.tl("trace", "-m", self.model, "--ids", IDS, "--watch", "X")[0].decode()
        self.assertIn("blk.1.X#2", table)
        self.assertIn("models/llama.tl:", table)

    def test_npy_and_bits(self):
        out = self.folder / "out"
        self.tl("trace", "-m", self.model, "--ids", IDS, "--npy", out)
        self.tl("score", "-m", self.model, "--ids", IDS, "--logits", self.folder / "l.npy")
        logits, seen = np.load(self.folder / "l.npy"), np.load(out / "result.npy")
        self.assertTrue(np.array_equal(logits, seen))
        a = np.load(out / "blk.0.A.npy")
        self.assertTrue(np.allclose(a.sum(-1), 1, atol=1e-5))
        # several steps: the same values as in one
        many = self.folder / "many"
        self.tl("trace", "-m", self.model, "--ids", IDS, "--npy", many, "-b", 2)
        for name in ("X", "blk.1.X#2", "blk.0.A", "result"):
            self.assertTrue(np.array_equal(np.load(out / f"{name}.npy"), np.load(many / f"{name}.npy")), name)
        x, got = np.load(out / "blk.1.G.npy"), self.json("trace", "-m", self.model, "--ids", IDS, "--watch", "G[l=1]", "-b", 2)["values"][0]
        for name, want in (("min", x.min()), ("max", x.max()), ("mean", x.mean()), ("rms", np.sqrt((x ** 2).mean()))):
            self.assertAlmostEqual(got[name], float(want), places=5, msg=name)

    def test_no_tokenizer(self):
        path = self.folder / "bare.gguf"
        tiny.write(path, architecture="unheard-of", edit=lambda w: None)
        program = self.folder / "p.tl"
        program.write_text((SOURCE / "models/llama.tl").read_text().replace('"llama', '"unheard-of'))
        for command in (["trace", "--watch", "X"], ["lens"]):
            self.tl(command[0], "-m", path, "--program", program, "--ids", IDS, *command[1:])
            self.tl(command[0], "-m", path, "--ids", IDS, *command[1:], status=1)

    def test_wrong(self):
        self.assertIn(b"there are: at, Sees", self.tl("trace", "-m", self.model, "--ids", IDS, "--watch", "Nope", status=2)[1])
        self.tl("trace", "-m", self.model, status=2)
        self.tl("trace", "-m", self.model, "--ids", "1,999999", status=1)
        self.tl("lens", "-m", self.model, "--ids", IDS, "-k", "0", status=2)
        broken = self.folder / "broken.gguf"
        whole = pathlib.Path(self.model).read_bytes()
        for n in (0, 3, 100, 5000, len(whole) // 2):
            broken.write_bytes(whole[:n])
            self.tl("trace", "-m", broken, "--ids", IDS, status=1)
            self.tl("lens", "-m", broken, "--ids", IDS, status=1)

    # ---- patches
    def test_set(self):
        np.save(self.folder / "steer.npy", np.ones(tiny.WIDTH, np.float32))
        plain = self.json("trace", "-m", self.model, "--ids", IDS, "--watch", "X[l=1]#2 X[l=0]#2")["values"]
        path = str(self.folder / "steer.npy")
        moved = self.json("trace", "-m", self.model, "--ids", IDS, "--watch", "X[l=1]#3", "--set", f'X[l=1] += 4 * "{path}"')["values"]
        self.assertAlmostEqual(moved[0]["mean"], plain[1]["mean"] + 4, places=4)
        self.assertTrue(moved[0]["patched"])
        zero = self.json("trace", "-m", self.model, "--ids", IDS, "--watch", "A[l=0]#2", "--set", "A[l=0] = 0")["values"]
        self.assertEqual((zero[0]["min"], zero[0]["max"]), (0, 0))
        self.tl("generate", "-m", self.model, "-p", "hello", "-n", 2, "--set", "X[l=0] *= 2")
        program = self.folder / "patched.tl"
        program.write_text('import "models/llama.tl"\npatch A[l=0] = 0\n')
        self.assertEqual(self.tl("fmt", "--check", program)[0], b"")
        self.tl("check", program)
        a = self.tl("score", "-m", self.model, "--ids", IDS, "--set", "A[l=0] = 0")[0]
        b = self.tl("score", "-m", self.model, "--ids", IDS, "--program", program)[0]
        self.assertEqual(a, b)
        self.assertNotEqual(a, self.tl("score", "-m", self.model, "--ids", IDS)[0])

    def test_no_such_value(self):
        trace = lambda pattern: self.tl("trace", "-m", self.model, "--ids", IDS, "--watch", pattern, status=2)[1].decode()
        self.assertIn("there are: at, Sees", trace("Nothing"))
        for pattern in ("X[l=99]", "X@12", "X[l=0]#7"):
            self.assertIn("the name gets one in line 48 (outside of layers), 58, 63; layers are 0 to 1", trace(pattern))
        empty = self.folder / "empty"
        empty.mkdir()
        self.assertIn(b"none of the", self.tl("diff", self.model, empty, "--ids", IDS, status=1)[1])

    def test_set_in_a_conversation(self):
        chat = lambda *more: self.tl("chat", "-m", self.model, "-n", 12, "--temp", 0, *more, text="hello\nthe hello\n")[0]
        reply = lambda *more: self.tl("generate", "-m", self.model, "-n", 12, "--temp", 0, "--chat", "-p", "hello", *more)[0]
        patch = ("--set", "X[l=1] *= -1")
        self.assertNotEqual(chat(*patch), chat())
        self.assertTrue(chat(*patch).startswith(reply(*patch)))
        self.assertEqual(chat("--set", "X[l=1] *= 1"), chat())
        self.assertEqual(self.tl("chat", "-m", self.model, "--set", "Nothing = 0", text="hello\n", status=2)[0], b"")

    def test_activation_patching(self):
        """What another text left at layer 0, put into this one: from there on it is the other text."""
        self.tl("trace", "-m", self.model, "--ids", "5,61,77,8,99,12", "--npy", self.folder / "clean")
        patch = f'X[l=0] = "{self.folder}/clean/blk.0.X#2.npy"'
        self.tl("trace", "-m", self.model, "--ids", IDS, "--watch", "result", "--npy", self.folder / "moved", "--set", patch)
        clean, moved = np.load(self.folder / "clean/result.npy"), np.load(self.folder / "moved/result.npy")
        self.assertTrue(np.array_equal(clean, moved))
        patch = patch.replace("l=0]", "l=0, p=3]")
        self.tl("trace", "-m", self.model, "--ids", IDS, "--watch", "X[l=0]", "--npy", self.folder / "one", "--set", patch)
        before, after = np.load(self.folder / "one/blk.0.X#2.npy"), np.load(self.folder / "one/blk.0.X#3.npy")
        other = np.load(self.folder / "clean/blk.0.X#2.npy")
        self.assertTrue(np.array_equal(after[3], other[3]))
        self.assertTrue(np.array_equal(after[[0, 1, 2, 4, 5]], before[[0, 1, 2, 4, 5]]))

    def test_examples(self):
        plain = self.tl("score", "-m", self.model, "--ids", IDS)[0]
        for name in ("ablate_head", "steer"):
            self.assertNotEqual(plain, self.tl("score", "-m", self.model, "--ids", IDS, "--program", SOURCE / f"examples/inside/{name}.tl")[0], name)

    def test_diff(self):
        same = self.json("diff", self.model, self.model, "--ids", IDS)
        self.assertIsNone(same["first"])
        self.assertEqual((same["kl"], same["changed"]), (0, []))
        changed = self.program("G[p, f] = silu(", "G[p, f] = gelu(")
        got = self.json("diff", self.model, "--ids", IDS, "--program-b", changed)
        self.assertEqual(got["first"], "blk.0.G")
        self.assertGreater(got["kl"], 0)
        self.assertIn(b"the first that diverges (NMSE over 1e-05): blk.0.G, models/llama.tl", self.tl("diff", self.model, "--ids", IDS, "--program-b", changed)[0])
        out = self.folder / "ref"
        self.tl("trace", "-m", self.model, "--ids", IDS, "--npy", out)
        self.assertIsNone(self.json("diff", self.model, out, "--ids", IDS)["first"])
        x = np.load(out / "blk.1.H.npy")
        x[2, 5] += 1
        np.save(out / "blk.1.H.npy", x)
        got = self.json("diff", self.model, out, "--ids", IDS)
        self.assertEqual(got["first"], "blk.1.H")
        worst = next(v for v in got["values"] if v["key"] == "blk.1.H")
        self.assertEqual(worst["at"], "p=2, e=5")
        x = x.astype(np.float64)
        y = x.copy()
        y[2, 5] -= 1
        self.assertAlmostEqual(worst["nmse"], ((x - y) ** 2).sum() / (y ** 2).sum(), places=6)
        isa = self.json("diff", self.model, "--ids", IDS, "--cpu-a", "ref", "--cpu-b", "ref")
        self.assertIsNone(isa["first"])
        self.tl("diff", self.model, "--ids", IDS, status=2)
        self.tl("diff", self.model, self.model, status=2)
        (out / "blk.0.X#1.npy").write_bytes(b"nothing")
        self.tl("diff", self.model, out, "--ids", IDS, status=1)

    def test_set_in_a_program(self):
        path = self.folder / "p.tl"
        path.write_text("let x[i] = tensor([1.0, 2.0, 3.0])\ny[i] = x[i] * 2\nprint(y)\n")
        self.assertEqual(self.tl("run", path, "--set", "y[i=1] = 0")[0].decode().replace(" ", ""), "[2.0,0.0,6.0]\n")
        self.assertIn(b"nothing was patched", self.tl("run", path, "--set", "z = 0", status=2)[1])

    # ---- the trap
    def test_trap_finite(self):
        self.tl("score", "-m", self.model, "--ids", IDS, "--nan-trap")
        a = self.tl("generate", "-m", self.model, "-p", "hello", "-n", 8, "--temp", 0, "--nan-trap")[0]
        self.assertEqual(a, self.tl("generate", "-m", self.model, "-p", "hello", "-n", 8, "--temp", 0)[0])

    def test_trap_overflow(self):
        program = self.program("        G[p, f] = silu(", "        Big[p, e] = exp(200 * X[p, e])\n        G[p, f] = silu(")
        self.tl("score", "-m", self.model, "--ids", IDS, "--program", program, "--nan-trap")  # nobody reads it: it is not computed
        program.write_text(program.read_text().replace("        U[p, f] =", "        X[p, e] += 1.0e-30 * Big[p, e]\n        U[p, f] ="))
        err = self.tl("score", "-m", self.model, "--ids", IDS, "--program", program, "--nan-trap", status=1)[1].decode()
        self.assertIn(f"changed.tl:{self.line_of(program, 'Big[p, e] = exp')}:", err)
        self.assertIn("the first value that is not finite: Big[p=", err)
        self.assertIn("l=0] is inf", err)
        self.assertIn("no weight is the cause", err)
        self.assertNotIn("tl doctor", err)

    def test_trap_weight(self):
        def damage(w):
            for tensors in w.tensors:
                t = tensors.get("blk.1.ffn_down.weight")
                if t is not None:
                    t.tensor[7, 11] = np.inf
        path = self.folder / "bad.gguf"
        tiny.write(path, edit=damage)
        err = self.tl("generate", "-m", path, "-p", "hello", "-n", 2, "--nan-trap", status=1)[1].decode()
        self.assertIn(f"models/llama.tl:{self.line_of(SOURCE / 'models/llama.tl', 'WD[l, e, f] G[p, f]')}:", err)
        self.assertIn("e=7, l=1] is ", err)
        self.assertIn("the weight blk.1.ffn_down.weight (F32) is the cause: 1 of its values", err)
        self.assertIn("tl doctor -m", err)

    def test_trap_masks(self):  # -inf that a program writes itself is no fault
        program = self.program("softmax(Q[p, g, r, j, c] K[l, s, g, j, c] * gain / sqrt(D)) where Sees(p, s)", "softmax(S[p, g, r, s])")
        program.write_text(program.read_text().replace("        A[p, g, r, s.] =", "        S[p, g, r, s] = select(Sees(p, s), Q[p, g, r, j, c] K[l, s, g, j, c] * gain / sqrt(D), -1 / 0.0)\n        A[p, g, r, s.] =")
                           .replace("-1 / 0.0", "log(0.0)"))
        self.tl("score", "-m", self.model, "--ids", IDS, "--program", program, "--nan-trap")

    def test_trap_in_a_program(self):
        path = self.folder / "p.tl"
        path.write_text("let x[i] = tensor([1.0, 2.0, 300.0])\ny[i] = exp(x[i])\nprint(sum(y))\n")
        self.tl("run", path)
        err = self.tl("run", path, "--nan-trap", status=1)[1].decode()
        self.assertIn("p.tl:2:1", err)
        self.assertIn("y[i=2] is inf", err)

    # ---- the lens
    def test_lens(self):
        got = self.json("lens", "-m", self.model, "--ids", IDS, "-k", 3)
        self.assertEqual([x["layer"] for x in got["layers"]], [None, *range(tiny.LAYERS)])
        self.tl("score", "-m", self.model, "--ids", IDS, "--logits", self.folder / "l.npy")
        logits = np.load(self.folder / "l.npy").astype(np.float64)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        for i, cell in enumerate(got["layers"][-1]["positions"]):
            self.assertEqual([g["id"] for g in cell], list(np.argsort(-p[i], kind="stable")[:3]))
            self.assertAlmostEqual(cell[0]["p"], p[i].max(), places=5)
        page = self.folder / "lens.html"
        self.tl("lens", "-m", self.model, "-p", "hello </script><b>", "--html", page)
        text = page.read_text()
        self.assertEqual(text.count("</script>"), 1)
        self.assertNotIn("http", text)
        self.assertIn("layer", self.tl("lens", "-m", self.model, "-p", "hello there")[0].decode())


if __name__ == "__main__":
    common.main()
