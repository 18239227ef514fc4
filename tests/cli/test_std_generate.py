"""std/generate.tl says what `tl generate` says: greedy, side by side, beams, guesses; and in any sampler's hands."""
import json
import pathlib

from common import ModelCase, main

ROOT = pathlib.Path(__file__).parents[2]
TEXT = "the cat sat on the mat, the cat sat on the"


class Drivers(ModelCase):
    def run_tl(self, body, status=0):
        program = self.folder / "p.tl"
        program.write_text(f'import "{ROOT}/std/generate.tl"\nlet ids = tokenize(model, "{TEXT}")\nmain {{\n{body}\n}}\n')
        out, err = self.tl("run", program, "-m", self.model, status=status)
        return out.decode(), err.decode()

    def generate(self, *args, prompt=TEXT):
        return json.loads(self.tl("generate", "-m", self.model, "-p", prompt, "--ignore-eos", "--json", *args)[0])

    def test_greedy(self):
        want = self.generate("-n", "30", "--temp", "0")["text"]
        for call in ("generate_greedy(session(model), ids, 30)", "generate_with(session(model), ids, 30, fn_greedy)", "generate_speculative(session(model), ids, 30, 6)"):
            body = f"print(detokenize(model, {call}))"
            if "fn_greedy" in call:
                body = body.replace("fn_greedy", "greedy_sample")
            self.assertEqual(self.run_tl(body)[0], want + "\n", call)

    def test_batch(self):
        prompts = [TEXT, "hello", "a b c d e"]
        want = [self.generate("-n", "12", "--temp", "0", prompt=p)["text"] for p in prompts]
        listed = ", ".join(f'tokenize(model, "{p}")' for p in prompts)
        out = self.run_tl(f"for r in generate_batch(session(model, sequences=3), [{listed}], 12) {{ print(detokenize(model, r)) }}")[0]
        self.assertEqual(out, "".join(w + "\n" for w in want))

    def test_beams(self):
        want = self.generate("-n", "6", "--beams", "3", "--n-best", "3")["beams"]
        out = self.run_tl("for b in generate_beams(session(model, sequences=6), ids, 3, 6) { print(b[0]) print(detokenize(model, b[1])) }".replace(") print", ")\nprint"))[0]
        rows = out.split("\n")
        self.assertEqual(rows[1:6:2], [b["text"] for b in want])
        for got, b in zip(rows[0:6:2], want):
            self.assertAlmostEqual(float(got), b["log_probability"], places=3)

    def test_wrong(self):
        for body, says in (("let s = session(3)", "needs a model"), ("session_step(3, 1)", "session(model)"), ("session_step(session(model), 1, 5)", "sequence 5 of 1"),
                           ("session_prompt(session(model), [])", "empty prompt"), ("session_step(session(model), [1, 2], [0])", "each token has one"),
                           ("session_fork(session(model), 0, 7)", "numbered 0 to 0"), ("session_prompt(session(model), [99999])", "outside the vocabulary"),
                           ("session(model, sequences=0)", "1 to 10000"), ("top_k([1.0], 0)", "at least 1")):
            self.assertIn(says, self.run_tl(body, status=1)[1])


if __name__ == "__main__":
    main()
