"""`tl inspect`, and files that are no models: every command says so and fails, none crashes."""
import json
import unittest

import tiny
from common import Case, main


class Files(Case):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "tiny.gguf"
        tiny.write(self.model)

    def test_inspect(self):
        out, err = self.tl("inspect", self.model, "--tensors")
        self.assertEqual(err, b"")
        text = out.decode()
        for part in ("GGUF version 3", "general.architecture", '"llama"', "llama.block_count", "tokenizer.ggml.tokens",
                     "blk.1.ffn_down.weight", "[128, 64]", "F32"):
            self.assertIn(part, text)

    def test_inspect_json(self):
        found = json.loads(self.tl("inspect", "-m", self.model, "--tensors", "--json")[0])
        self.assertEqual(found["version"], 3)
        self.assertEqual(found["metadata"]["llama.embedding_length"], tiny.WIDTH)
        self.assertEqual(len(found["metadata"]["tokenizer.ggml.tokens"]), 265)
        self.assertEqual(found["metadata"]["tokenizer.chat_template"], tiny.TEMPLATE)
        shapes = {t["name"]: t["shape"] for t in found["tensors"]}
        self.assertEqual(shapes["token_embd.weight"], [tiny.WIDTH, 265])
        self.assertEqual(found["tensor_count"], len(shapes))
        self.assertNotIn("tensors", json.loads(self.tl("inspect", self.model, "--json")[0]))

    def test_no_models(self):
        whole = self.model.read_bytes()
        cases = {"empty": b"", "text": b"This is a text and no model at all.\n", "magic": b"GGUF", "cut": whole[: len(whole) // 2],
                 "version": whole[:4] + b"\x63\0\0\0" + whole[8:], "counts": whole[:8] + b"\xff" * 16 + whole[24:]}
        for name, data in cases.items():
            path = self.folder / f"{name}.gguf"
            path.write_bytes(data)
            for command in (["inspect"], ["tokenize", "x"], ["generate", "-p", "x"], ["score", "--text", "x"], ["chat"], ["bench"]):
                with self.subTest(file=name, command=command):
                    out, err = self.tl(*command, "-m", path, status=1)
                    self.assertEqual(out, b"")
                    self.assertGreater(len(err), 10)
        with self.subTest(file="a folder"):
            self.tl("inspect", self.folder, status=1)

    def test_an_unknown_architecture_is_named(self):
        path = self.folder / "other.gguf"
        tiny.write(path, architecture="nosuchthing")
        self.assertIn(b"nosuchthing", self.tl("generate", "-m", path, "-p", "x", status=1)[1])
        self.assertEqual(self.tl("tokenize", "-m", path, "hello")[0], b"262\n")  # tokens need no program
        program = self.folder / "read.tl"
        program.write_text('print(shape(get_tensor(model, "token_embd.weight")))\n')
        self.assertIn(b"265", self.tl("run", "-m", path, program)[0])  # nor does a program that reads the weights itself
        path = self.folder / "evil.gguf"
        tiny.write(path, architecture="../../etc/passwd")
        self.assertIn(b"../", self.tl("generate", "-m", path, "-p", "x", status=1)[1])

    def test_control_bytes_in_a_file_do_not_reach_the_terminal(self):
        path = self.folder / "escape.gguf"
        tiny.write(path, template="\x1b[31mred")
        self.assertNotIn(b"\x1b", self.tl("inspect", path)[0])


if __name__ == "__main__":
    main()
