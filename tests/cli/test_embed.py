"""`tl embed`: vectors are what numpy makes of the hidden states, whatever is beside a text and however it comes in."""
import json
import pathlib
import sys

from common import ModelCase, main

try:
    import numpy as np

    sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "oracle"))
    import oracle
    import tiny
except ImportError:
    raise SystemExit(77)

TEXTS = ["hello there", "the cat sat on the mat, the cat sat on the hat", "x", "é 猫 ~", "hello there, hello there. " * 6]


class Embed(ModelCase):
    def lines(self, *args, text="", model=None):
        return [json.loads(x) for x in self.tl("embed", "-m", model or self.model, *args, text=text)[0].splitlines()]

    def wanted(self, texts, pooling, model=None):
        m = oracle.Model(model or self.model)
        ids = [json.loads(self.tl("tokenize", "-m", model or self.model, "--json", t)[0]) for t in texts]
        ids = [i["ids"] if isinstance(i, dict) else i for i in ids]
        hidden = oracle.hidden_all(m, ids)
        pool = {"mean": lambda h: h.mean(axis=0), "last": lambda h: h[-1], "cls": lambda h: h[0]}[pooling]
        return np.array([pool(h.astype(np.float64)) for h in hidden]), [len(i) for i in ids]

    def test_as_numpy(self):
        for architecture in ("llama", "qwen2"):
            model = str(self.folder / f"{architecture}.gguf")
            tiny.write(model, architecture)
            for pooling in ("mean", "last", "cls"):
                want, lengths = self.wanted(TEXTS, pooling, model)
                got = self.lines(*TEXTS, "--pooling", pooling, model=model)
                self.assertEqual([g["tokens"] for g in got], lengths)
                self.assertEqual([g["index"] for g in got], list(range(len(TEXTS))))
                self.assertLess(np.abs(np.array([g["embedding"] for g in got]) - want).max(), 1e-4, (architecture, pooling))
                got = np.array([g["embedding"] for g in self.lines(*TEXTS, "--pooling", pooling, "--normalize", model=model)])
                self.assertLess(np.abs(got - want / np.linalg.norm(want, axis=1, keepdims=True)).max(), 1e-5)

    def test_company_changes_nothing(self):
        together = self.tl("embed", "-m", self.model, *TEXTS)[0]
        for args in (["-b", "1"], ["-b", "7", "--parallel", "2"], ["--parallel", "1"], ["-t", "1"]):
            self.assertEqual(self.tl("embed", "-m", self.model, *TEXTS, *args)[0], together, args)
        alone = [self.lines(t)[0]["embedding"] for t in TEXTS]
        self.assertEqual([json.loads(x)["embedding"] for x in together.splitlines()], alone)

    def test_ways_in_and_out(self):
        want = self.lines(*TEXTS)
        file = self.folder / "texts.txt"
        file.write_text("\n".join(TEXTS) + "\n")
        self.assertEqual(self.lines("-f", file), want)
        self.assertEqual(self.lines(text=file.read_bytes()), want)
        self.assertEqual(self.lines("-f", "-", text="\r\n".join(TEXTS)), want)
        self.assertEqual(self.lines("-f", file, "--whole"), self.lines("\n".join(TEXTS) + "\n"))
        answer = json.loads(self.tl("embed", "-m", self.model, *TEXTS, "--json")[0])
        self.assertEqual((answer["object"], answer["model"]), ("list", "tiny"))
        self.assertEqual(answer["data"], [{"object": "embedding", "index": w["index"], "embedding": w["embedding"]} for w in want])
        self.assertEqual(answer["usage"], {"prompt_tokens": sum(w["tokens"] for w in want), "total_tokens": sum(w["tokens"] for w in want)})
        self.assertEqual(self.tl("embed", "-m", self.model, *TEXTS, "--npy", self.folder / "v.npy")[0], b"")
        read = np.load(self.folder / "v.npy")
        self.assertTrue(np.array_equal(read, np.array([w["embedding"] for w in want], np.float32)))
        cut = self.lines(TEXTS[1], "--truncate", "4")[0]
        self.assertEqual((cut["tokens"], cut["embedding"]), (4, self.lines(TEXTS[1], "--truncate", "4", "-b", "3")[0]["embedding"]))

    def test_a_patch_is_seen(self):
        self.assertNotEqual(self.lines("hello", "--set", "X[l=0] *= 2"), self.lines("hello"))

    def test_wrong(self):
        long = "word " * 400
        self.assertIn(b"--truncate", self.tl("embed", "-m", self.model, "a", long, status=1)[1])
        self.assertIn(b"text 2 has", self.tl("embed", "-m", self.model, "a", TEXTS[1], "-c", "5", status=1)[1])
        self.assertIn(b"no text", self.tl("embed", "-m", self.model, status=1)[1])
        self.assertIn(b"no tokens", self.tl("embed", "-m", self.model, "--no-special", "", status=1)[1])
        self.tl("embed", "-m", self.model, "a", "--pooling", "max", status=2)
        self.tl("embed", "-m", self.model, "a", "-f", "x", status=2)
        self.tl("embed", "-m", self.model, "a", "--json", "--npy", "x", status=2)
        self.tl("embed", "-m", self.model, "a", "--whole", status=2)
        self.tl("embed", "-m", self.model, "-f", "/no/such/file", status=1)
        self.tl("embed", "-m", self.model, "a", "--npy", "/no/such/folder/x.npy", status=1)
        self.assertFalse((self.folder / "x.npy").exists())


if __name__ == "__main__":
    main()
