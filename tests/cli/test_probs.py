"""How tokens are chosen, shown: tl sample-trace, tl chat --show-probs, print_top_k with a tokenizer in scope."""
import json
import re

import numpy as np
from common import ModelCase, main


class Probabilities(ModelCase):
    def trace(self, *args):
        return json.loads(self.tl("sample-trace", "-m", self.model, "-p", "hello", "--json", *args)[0])["tokens"]

    def test_chain(self):
        tokens = self.trace("-n", "3", "--seed", "5", "--top-k", "20", "--temp", "0.7", "--top", "265")
        self.assertEqual(len(tokens), 3)
        self.tl("score", "-m", self.model, "--text", "hello", "--logits", self.folder / "l.npy")
        logits = np.load(self.folder / "l.npy")[-1].astype(np.float64)
        p = np.exp(logits - logits.max())
        p /= p.sum()
        steps = {s["sampler"]: s for s in tokens[0]["steps"]}
        self.assertEqual(steps["logits"]["left"], 265)
        shown = {c["id"]: c["p"] for c in steps["logits"]["candidates"]}
        np.testing.assert_allclose([shown[i] for i in range(265)], p, rtol=2e-3)  # score keeps its cache in float32
        self.assertEqual(steps["top_k"]["left"], 20)
        best = sorted(range(265), key=lambda i: -p[i])[:20]
        self.assertEqual({c["id"] for c in steps["top_k"]["candidates"]}, set(best))
        self.assertAlmostEqual(sum(c["p"] for c in steps["temperature"]["candidates"]), 1, places=5)
        self.assertEqual(tokens[0]["steps"][-1]["sampler"], "draw")
        self.assertEqual(tokens[0]["steps"][-1]["candidates"][0]["id"], tokens[0]["id"])

    def test_same_choices_as_generate(self):
        said = json.loads(self.tl("generate", "-m", self.model, "-p", "hello", "-n", "6", "--seed", "5", "--ignore-eos", "--json")[0])["text"]
        traced = self.trace("-n", "6", "--seed", "5")
        ids = " ".join(str(t["id"]) for t in traced)
        text = self.tl("detokenize", "-m", self.model, text=ids)[0].decode()
        self.assertTrue(said.startswith(text.rstrip("\n")[:20]), (said, text))

    def test_text(self):
        out = self.tl("sample-trace", "-m", self.model, "-p", "hello", "-n", "2", "--seed", "1")[0].decode()
        self.assertEqual(out.count("token "), 2)
        self.assertRegex(out, r"logits +265 ")
        self.tl("sample-trace", "-m", self.model, status=2)
        self.tl("sample-trace", "-m", self.model, "-p", "x", "-n", "0", status=2)

    def test_chat_shows_numbers_without_colours(self):
        plain = self.tl("chat", "-m", self.model, "--seed", "3", "-n", "9", text="hello\n")[0].decode()
        out, err = self.tl("chat", "-m", self.model, "--seed", "3", "-n", "9", "--show-probs", text="hello\n", NO_COLOR="1")
        out = out.decode()
        found = re.findall(r"\[(\d\.\d\d)\]", out)
        self.assertEqual(len(found), 9)
        self.assertTrue(all(0 <= float(x) <= 1 for x in found))
        self.assertEqual(re.sub(r"(\[\d\.\d\d\])+", "", out), plain)
        self.assertIn(b"perplexity", err)
        self.assertIn(b"else", err)
        self.assertNotIn("\033", out)

    def test_print_top_k_finds_the_tokenizer(self):
        program = self.folder / "p.tl"
        program.write_text('let m = load_model(arg("file"))\n'
                           'let words = load_tokenizer(m)\n'
                           'print_top_k([0.5, 3.0, 1.0], 2)\n')
        out = self.tl("run", program, f"file={self.model}")[0].decode()
        self.assertEqual(out, '  [1] = 3.0000  "<|im_start|>"\n  [2] = 1.0000  "<|im_end|>"\n')
        program.write_text("print_top_k([0.5, 3.0, 1.0], 2)\n")
        self.assertEqual(self.tl("run", program)[0].decode(), "  [1] = 3.0000\n  [2] = 1.0000\n")


if __name__ == "__main__":
    main()
