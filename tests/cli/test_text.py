"""tokenize, detokenize, generate, score and bench, on the tiny model."""
import json
import math
import os
import unittest

import numpy as np

import tiny
from common import ModelCase, main


class Text(ModelCase):
    def on(self, command, *args, **more):
        return self.tl(command, "-m", self.model, *args, **more)[0]

    # ---- tokens
    def test_tokenize(self):
        self.assertEqual(self.on("tokenize", "hello"), b"262\n")
        found = json.loads(self.on("tokenize", "hello!", "--json"))
        self.assertEqual(found["tokens"], ["hello", "!"])
        self.assertEqual(found["ids"][0], 262)

    def test_special_tokens_are_text_unless_asked(self):
        plain = self.on("tokenize", "<|im_end|>").split()
        self.assertGreater(len(plain), 5)
        self.assertEqual(self.on("tokenize", "<|im_end|>", "--parse-special"), b"2\n")

    def test_round_trip(self):
        for text in ("hello world", "h\u00e9llo \U0001f600\n\ttabs  and   spaces ", "\u65e5\u672c\u8a9e", "<|im_start|>", "line\r\nline"):
            with self.subTest(text=text):
                ids = self.on("tokenize", "-f", "-", text=text)
                self.assertEqual(self.on("detokenize", text=ids), text.encode())
                self.assertEqual(self.on("detokenize", *[i.decode() for i in ids.split()]), text.encode())

    def test_files_are_read_as_they_are(self):
        path = self.folder / "text.txt"
        path.write_bytes(b"hello\n")
        self.assertEqual(len(self.on("tokenize", "-f", path).split()), 2)

    def test_detokenize_forms(self):
        for form in (["262,262"], ["262 262"], ["[262, 262]"], ["262", "262"]):
            self.assertEqual(self.on("detokenize", *form), b"hellohello")
        self.assertEqual(json.loads(self.on("detokenize", "--json", "262"))["text"], "hello")
        self.assertEqual(self.on("detokenize", "262,2,262"), b"hellohello")
        self.assertEqual(self.on("detokenize", "--special", "262,2"), b"hello<|im_end|>")
        self.assertIn(b"not in the vocabulary", self.tl("detokenize", "-m", self.model, "265", status=1)[1])

    # ---- generate
    def generate(self, *args, **more):
        return self.on("generate", "-p", "hello", *args, **more)

    def test_greedy_repeats_itself_and_json_agrees(self):
        first = self.generate("--temp", "0", "-n", "12")
        self.assertEqual(first, self.generate("--temp", "0", "-n", "12"))
        found = json.loads(self.generate("--temp", "0", "-n", "12", "--json"))
        self.assertEqual(found["text"].encode(), first)
        self.assertEqual(found["prompt_tokens"], 1)
        self.assertTrue(found["stop"] in ("length", "end"))

    def test_seeds(self):
        a = ["--temp", "1", "--top-k", "0", "--top-p", "1", "--min-p", "0", "-n", "16"]
        self.assertEqual(self.generate(*a, "--seed", "5"), self.generate(*a, "--seed", "5"))
        self.assertGreater(len({self.generate(*a, "--seed", str(i)) for i in range(4)}), 1)
        self.assertEqual(self.generate(*a, "--seed", "5", "-t", "1"), self.generate(*a, "--seed", "5", "-t", "2"))

    def test_nothing_asked_nothing_said(self):
        self.assertEqual(self.generate("-n", "0"), b"")

    def test_top_k_of_one_is_greedy(self):
        self.assertEqual(self.generate("--temp", "2", "--top-k", "1", "-n", "8"), self.generate("--temp", "0", "-n", "8"))

    def test_the_context_ends_it(self):
        found = json.loads(self.generate("-n", "-1", "-c", "16", "--ignore-eos", "--json", "--temp", "0"))
        self.assertEqual(found["stop"], "context")
        self.assertEqual(found["tokens"], 16)  # 15 are in the cache beside the prompt; the last needs no place
        _, err = self.tl("generate", "-m", self.model, "-p", "a b c d e f", "-c", "4", status=1)
        self.assertGreater(len(err), 10)

    def test_prompt_from_a_pipe_and_a_file(self):
        path = self.folder / "prompt.txt"
        path.write_text("hello\n")
        want = self.generate("--temp", "0", "-n", "8")
        self.assertEqual(self.on("generate", "--temp", "0", "-n", "8", "-f", path), want)
        self.assertEqual(self.on("generate", "--temp", "0", "-n", "8", text="hello"), want)

    def test_verbose_tells_the_order_of_sampling(self):
        _, err = self.tl("generate", "-m", self.model, "-p", "hello", "-n", "1", "-v", "--seed", "3")
        order = [err.decode().index(word) for word in ("penalties", "top_k", "top_p", "min_p", "temperature")]
        self.assertEqual(order, sorted(order))
        self.assertIn(b"seed 3", err)

    # ---- score
    def test_score(self):
        out = self.folder / "logits.npy"
        found = json.loads(self.on("score", "--text", "hello, hello", "--json", "--logits", out))
        logits = np.load(out).astype(np.float64)
        self.assertEqual(logits.shape, (len(found["ids"]), 265))
        self.assertIsNone(found["logprobs"][0])
        for i, token in enumerate(found["ids"][1:]):
            row = logits[i] - logits[i].max()
            self.assertAlmostEqual(found["logprobs"][i + 1], row[token] - math.log(np.exp(row).sum()), places=6)
        ids = ",".join(map(str, found["ids"]))
        again = json.loads(self.on("score", "--ids", ids, "--json"))
        self.assertNotEqual(again.pop("stamp"), found.pop("stamp"))  # the call is another one
        self.assertEqual(again, found)
        path = self.folder / "text.txt"
        path.write_text("hello, hello")
        again = json.loads(self.on("score", "-f", path, "--json"))
        again.pop("stamp")
        self.assertEqual(again, found)

    def test_score_for_people(self):
        lines = self.on("score", "--text", "hello hello").decode().splitlines()
        self.assertIn(" -  ", lines[0])
        self.assertIn("perplexity", lines[-1])

    def test_chunks_and_threads_make_no_difference(self):
        text = self.folder / "long.txt"
        text.write_text("hello there " * 12)
        want = self.on("score", "-f", text, "--logits", self.folder / "a.npy")
        for more in (["-b", "1"], ["-b", "7"], ["-t", "1"], ["-t", "2"]):
            self.assertEqual(self.on("score", "-f", text, "--logits", self.folder / "b.npy", *more), want)
            self.assertEqual((self.folder / "a.npy").read_bytes(), (self.folder / "b.npy").read_bytes())

    def test_score_refuses(self):
        self.assertIn(b"not in the vocabulary", self.tl("score", "-m", self.model, "--ids", "1,999", status=1)[1])
        self.assertIn(b"No such file", self.tl("score", "-m", self.model, "--ids", "1", "--logits", "/no/where/x.npy", status=1)[1])

    # ---- bench
    def test_bench(self):
        found = json.loads(self.on("bench", "-p", "32", "-n", "4", "-r", "2", "-t", "1", "--json"))
        for key in ("prompt_tokens_per_second", "decode_tokens_per_second", "load_seconds", "first_token_seconds", "peak_rss_bytes"):
            self.assertGreater(found[key], 0)
        self.assertEqual(found["threads"], 1)
        memory = found["decode_memory"]  # of the tiny model's weights, each read once a step
        self.assertTrue(0 < memory["weight_bytes"] < found["peak_rss_bytes"] and memory["read_bytes_per_second"] > 0 and memory["share"] > 0)
        self.assertGreater(memory["cache_bytes"], 0)
        self.assertEqual(found["file_bytes"], os.path.getsize(self.model))
        self.assertGreater(found["cache_bytes"], memory["cache_bytes"])
        self.assertIn(b"tokens/s", self.on("bench", "-p", "8", "-n", "2", "-r", "1"))

    def test_bench_of_several_sequences(self):
        found = json.loads(self.on("bench", "-p", "0", "-n", "4", "-d", "8", "-s", "3", "-r", "1", "--json"))
        self.assertEqual(found["sequences"], 3)
        self.assertGreater(found["decode_tokens_per_second"], 0)

    def test_bench_profile(self):
        found = json.loads(self.on("bench", "-p", "16", "-n", "4", "-r", "1", "--profile", "--json"))["profile"]
        self.assertGreater(found["read_bytes_per_second"], 1e8)
        for part in ("decode", "prompt"):
            rows = found[part]
            self.assertAlmostEqual(sum(r["share"] for r in rows), 1, places=6)
            self.assertEqual(rows, sorted(rows, key=lambda r: -r["seconds_per_step"]))
            self.assertTrue(all(r["file"] == "models/llama.tl" and r["line"] > 0 for r in rows), rows)
        head = [r for r in found["decode"] if r["bytes"] == 265 * 64 * 4]  # output.weight, float32, read once
        self.assertEqual(len(head), 1)
        self.assertIn("Out[v, e]", head[0]["text"])
        self.assertIn(b"models/llama.tl", self.on("bench", "-p", "0", "-n", "2", "-r", "1", "--profile"))


if __name__ == "__main__":
    main()
