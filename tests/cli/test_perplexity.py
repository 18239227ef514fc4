"""tl perplexity: windows, scored tokens and numbers, worked out again from the logits that tl score writes."""
import json
import math

import numpy as np
import tiny
from common import ModelCase, main


class Perplexity(ModelCase):
    def text(self, n=40):
        path = self.folder / "text.txt"
        path.write_text("".join(f"hello {i} there, the {i * 7919 % 1000}. " for i in range(n)))
        return path

    def by_hand(self, model, ids, window, bos):
        logs = []
        for at in range(0, len(ids) - window + 1, window):
            part = ids[at:at + window]
            given = [bos, *part[1:]] if bos is not None else part
            self.tl("score", "-m", model, "--ids", ",".join(map(str, given)), "--logits", self.folder / "l.npy")
            logits = np.load(self.folder / "l.npy").astype(np.float64)
            for i in range(window // 2, window - 1):
                row = logits[i] - logits[i].max()
                logs.append(math.log(np.exp(row).sum()) - row[part[i + 1]])
        return logs

    def check(self, model, bos, window):
        path = self.text()
        ids = json.loads(self.tl("tokenize", "-m", model, "-f", path, "--json")[0])["ids"]
        self.assertEqual(ids[0] == bos, bos is not None)
        found = json.loads(self.tl("perplexity", "-m", model, "-f", path, "-w", window, "--json", "--cache-type", "f32")[0])
        logs = self.by_hand(model, ids, window, bos)
        self.assertEqual((found["chunks"], found["scored"]), (len(ids) // window, len(logs)))
        self.assertAlmostEqual(found["perplexity"] / math.exp(np.mean(logs)), 1, places=9)
        error = math.exp(np.mean(logs)) * math.sqrt(np.var(logs) / (len(logs) - 1))
        self.assertAlmostEqual(found["error"] / error, 1, places=6)
        self.assertEqual(len(found["after_each"]), found["chunks"])
        self.assertAlmostEqual(found["after_each"][-1], found["perplexity"])
        self.assertEqual(found["stamp"]["command"], "perplexity")

    def test_without_bos(self):
        for window in (32, 33, 64):
            with self.subTest(window=window):
                self.check(self.model, None, window)

    def test_first_token_of_each_window_is_bos(self):
        path = self.folder / "bos.gguf"
        tiny.write(path, edit=lambda w: w.add_add_bos_token(True))
        self.check(path, 1, 48)

    def test_batches_make_no_difference(self):
        path = self.text()
        want = self.tl("perplexity", "-m", self.model, "-f", path, "-w", "64")[0]
        for more in (["-b", "7"], ["-t", "1"], ["-c", "64"]):
            self.assertEqual(self.tl("perplexity", "-m", self.model, "-f", path, "-w", "64", *more)[0], want)
        self.assertIn(b"2 windows of 64", self.tl("perplexity", "-m", self.model, "-f", path, "-w", "64", "--chunks", "2")[0])

    def test_refuses(self):
        short = self.folder / "short.txt"
        short.write_text("hello")
        self.assertIn(b"at least 1024", self.tl("perplexity", "-m", self.model, "-f", short, status=1)[1])
        self.tl("perplexity", "-m", self.model, status=2)
        self.tl("perplexity", "-m", self.model, "-f", short, "-w", "3", status=2)
        self.tl("perplexity", "-m", self.model, "-f", self.folder / "no.txt", status=1)


if __name__ == "__main__":
    main()
