"""The default model, where it has been fetched (`make test` tries to): it answers in sense, and the numbers agree with one
another. Exits with 77 where it is missing."""
import json
import subprocess
import sys
import unittest

from common import SKIP, TL, Case, main


def ready():
    listed = json.loads(subprocess.run([TL, "models", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    return next(row["path"] for row in listed if row["default"]) if any(row["default"] and row["ready"] for row in listed) else None


class DefaultModel(Case):
    def test_hello(self):
        out, err = self.tl("chat", MODEL, "--temp", "0", "-n", "40", text="Hello\n")
        self.assertRegex(out.decode(), r"^Hello! (How can I|I)")  # in float32 the model says: How can I assist you today?
        self.assertIn(b"tokens/s", err)

    def test_a_fact(self):
        out, _ = self.tl("generate", "-m", MODEL, "-p", "The capital of France is", "-n", "4", "--temp", "0")
        self.assertTrue(out.decode().startswith(" Paris"), out)

    def test_score_agrees_with_generate(self):
        found = json.loads(self.tl("score", "-m", MODEL, "--text", "The capital of France is Paris", "--json")[0])
        self.assertGreater(found["logprobs"][-1], -1.5)
        other = json.loads(self.tl("score", "-m", MODEL, "--text", "The capital of France is London", "--json")[0])
        self.assertLess(other["logprobs"][-1], found["logprobs"][-1])

    def test_one_thread_and_two_say_the_same(self):
        runs = [self.tl("generate", "-m", MODEL, "-p", "Once upon a time", "-n", "24", "--seed", "7", "-t", t)[0] for t in ("1", "2")]
        self.assertEqual(runs[0], runs[1])

    def test_tokens(self):
        text = "Hello w\u00f6rld 12345 \U0001f600\n\n  x = {1: 'a'}"
        ids = self.tl("tokenize", "-m", MODEL, text)[0]
        self.assertEqual(self.tl("detokenize", "-m", MODEL, text=ids)[0].decode(), text)
        self.assertEqual(self.tl("tokenize", "-m", MODEL, "--parse-special", "<|im_start|>user")[0].split()[0], b"1")


if __name__ == "__main__":
    MODEL = ready()
    if not MODEL:
        print("the default model has not been fetched")
        sys.exit(SKIP)
    main()
