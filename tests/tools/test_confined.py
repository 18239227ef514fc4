"""A model's program has no files, environment or input, imports from its own folder only, and has budgets.

usage: test_confined.py TL    Exits with 77 where the packages that write a model are not installed.
"""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from common import ModelCase, main  # noqa: E402

STEP = """
fn step(tok: int32[p], pos: int32[p], seq: int32[p], slot: int32[p], out: int32[o]) -> float32[o, v] {
    let E[v, e] = get_tensor(model, "token_embd.weight")
    result[o, v] = E[v, e] E[tok[out[o]], e]
}
"""
FORBIDDEN = [
    ('let x = env("HOME")', b"a model's program cannot use env"),
    ("let x = input()", b"a model's program cannot use input"),
    ('let x = load_npy("x.npy")', b"a model's program cannot use load_npy"),
    ('save_npy("x.npy", [1.0])', b"a model's program cannot use save_npy"),
    ('let x = load_safetensors("x.safetensors")', b"a model's program cannot use load_safetensors"),
    ('save_safetensors("x.safetensors", {"a": [1.0]})', b"a model's program cannot use save_safetensors"),
    ('relation R(x: int)\nload_facts(R, "/etc/passwd")', b"a model's program cannot use load_facts"),
    ('relation R(x: int)\nsave_facts(R, "out.tsv")', b"a model's program cannot use save_facts"),
    ('let M = load_model("/other.gguf")', b"a model's program cannot open another file"),
    ('let T = load_tokenizer("/other.gguf")', b"a model's program cannot open another file"),
    ('let f = env\nlet x = f("HOME")', b"a model's program cannot use env"),
    ('import "../outside.tl"', b"imports from its own folder only"),
    ('import "/etc/passwd"', b"imports from its own folder only"),
    ('import "link.tl"', b"imports from its own folder only"),
]
BUDGETS = [
    ("let n = 0\nwhile true { n += 1 }", b"statements, which is its limit"),
    ("fn f(n) { f(n + 1) }\nlet x = f(0)", b"calls are nested too deeply"),
    ("let x = zeros(2000000, 1000)", b"which is its limit"),
    ('let s = "x"\nwhile true { s = s + s }', b"which is its limit"),
]


class Confined(ModelCase):
    def run_program(self, text, status):
        (self.folder / "outside.tl").write_text("let outside = 1\n")
        inside = self.folder / "program"
        inside.mkdir(exist_ok=True)
        (inside / "part.tl").write_text("let scale = 1\n")
        if not (inside / "link.tl").is_symlink():
            os.symlink(self.folder / "outside.tl", inside / "link.tl")
        (inside / "step.tl").write_text(text + "\n" + STEP)
        return self.tl("generate", "-m", self.model, "--program", inside / "step.tl", "-p", "hi", "-n", "2", "--temp", "0", status=status)

    def test_allowed(self):
        self.run_program('import "part.tl"\nimport "std/nn.tl"', 0)

    def test_forbidden(self):
        for text, message in FORBIDDEN:
            with self.subTest(text):
                self.assertIn(message, self.run_program(text, 1)[1])
        self.assertFalse((self.folder / "program" / "out.tsv").exists())

    def test_budgets(self):
        for text, message in BUDGETS:
            with self.subTest(text):
                self.assertIn(message, self.run_program(text, 1)[1])

    def test_run_has_budgets_on_request(self):
        path = self.folder / "loop.tl"
        path.write_text("let xs = []\nwhile true { push(xs, [1, 2, 3]) }\n")
        self.assertIn(b"the program has run 1000 statements, which is its limit", self.tl("run", "--max-steps", "1000", path, status=1)[1])
        self.assertIn(b"more than 16 MiB, which is its limit", self.tl("run", "--max-memory", "16", path, status=1)[1])
        path.write_text("dim i = 1024, j = 1024, k = 1024\nA[i, j] = i + j\nB[j, k] = j - k\nC[i, k] = A[i, j] B[j, k]\nprint(C[0, 0])\n")
        self.assertIn(b"statements, which is its limit", self.tl("run", "--max-steps", "1000", path, status=1)[1])
        self.assertEqual(len(self.tl("run", "--max-steps", "3000", path)[0].splitlines()), 1)
        path.write_text("relation N(x: int)\nN(0)\nN(x + 1) <- N(x), x < 1000000\nquery N(5)\n")
        self.assertIn(b"the relations need more than their limit", self.tl("run", "--max-memory", "4", path, status=1)[1])
        path.write_text('for i in range(300) { let x = zeros(1000, 200) }\nprint("done")\n')
        self.assertEqual(self.tl("run", "--max-memory", "16", path)[0], b"done\n")


if __name__ == "__main__":
    main()
