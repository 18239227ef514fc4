"""Commands with --device cuda, on the simulated driver: each says what the CPU says, or why not.

    test_commands.py TL DRIVER.so
"""
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "cli"))
DRIVER = os.path.abspath(sys.argv.pop(2))
from common import ModelCase, main

try:
    import numpy as np
    import test_lora
    import tiny  # noqa: F401
except ImportError:
    raise SystemExit(77)

TEXT = "the cat sat on the mat, the cat sat on the"


class Commands(ModelCase):
    def setUp(self):
        super().setUp()
        self.env["TL_CUDA_DRIVER"] = DRIVER

    def said(self, *args, device, status=0, **env):
        return self.tl("generate", "-m", self.model, "-p", TEXT, "-n", 10, "--seed", 5, "--device", device, *args, status=status, **env)

    def check_same(self, *args):
        cpu, gpu = self.said(*args, device="cpu")[0], self.said(*args, device="cuda")[0]
        self.assertEqual(cpu, gpu, args)
        return gpu

    def test_generate(self):
        self.check_same("--temp", 0)
        drawn = self.check_same("--spec", "off", "--temp", "1.5")
        self.assertEqual(self.said("--spec", "ngram", "--temp", "1.5", device="cuda")[0], drawn)
        self.check_same("--spec", "off", "--repeat-penalty", "1.5", "--logit-bias", "104+4", "--temp", 2, "--ignore-eos")
        self.check_same("--top-k", 0, "--temp", 2)  # drawn on the host
        self.check_same("--choices", "yes please|no thanks", "--temp", 0)
        self.check_same("--beams", 2)
        self.check_same("--set", "X[l=1] *= 2", "--temp", 0)
        self.check_same("--cache-type", "f32", "--temp", 0)
        self.check_same("--gpu-layers", 1, "--temp", 0)

    def test_stops(self):
        """A reply that ends while the next step is under way leaves a cache that goes on rightly."""
        session = self.folder / "s"
        for first in (3, 5):
            plain = self.tl("generate", "-m", self.model, "-p", TEXT, "-n", first, "--temp", 0, "--device", "cuda", "--spec", "off", "--session", session)[0]
            whole = self.said("--temp", 0, device="cpu")[0]
            self.assertTrue(whole.startswith(plain.rstrip(b"\n")), (whole, plain))
        self.assertEqual(self.said("--temp", 0, "--session", session, device="cuda")[0], whole)
        self.assertEqual(self.said("--temp", 0, "--session", session, device="cpu")[0], whole)

    def test_lora(self):
        file = str(self.folder / "a.gguf")
        test_lora.adapter(file, test_lora.pairs(3))
        changed = self.check_same("--lora", file, "--temp", 0)
        self.assertNotEqual(changed, self.said("--temp", 0, device="cuda")[0])

    def test_batch(self):
        prompts = self.folder / "p.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": TEXT[:10 + 5 * i], "max_tokens": 6, "seed": i, "temperature": 1.2}) + "\n" for i in range(5)))
        out = {}
        for device in ("cpu", "cuda"):
            out[device] = self.folder / device
            self.tl("generate", "-m", self.model, "--prompts", prompts, "--out", out[device], "--device", device, "--parallel", 3)
        texts = [[json.loads(x)["text"] for x in o.read_text().splitlines()] for o in out.values()]
        self.assertEqual(*texts)

    def test_inside(self):
        for command in (["score", "--json", "-p", TEXT], ["trace", "-p", "hello", "--json"]):
            cpu, gpu = (self.tl(command[0], "-m", self.model, *command[1:], "--device", d)[0] for d in ("cpu", "cuda"))
            self.assertEqual(list(json.loads(cpu)), list(json.loads(gpu)))
        a, b = ([x for x in json.loads(self.tl("score", "-m", self.model, "-p", TEXT, "--json", "--device", d)[0])["logprobs"] if x] for d in ("cpu", "cuda"))
        self.assertLess(np.abs(np.array(a) - b).max(), 1e-4)
        wide = str(self.folder / "wide.gguf")
        heads, tiny.HEADS, tiny.KV_HEADS = (tiny.HEADS, tiny.KV_HEADS), 2, 1  # of whole blocks
        tiny.write(wide)
        tiny.HEADS, tiny.KV_HEADS = heads
        for cache, warnings in (("q8_0", 0), ("q4_0", 1)):
            both = [self.tl("generate", "-m", wide, "-p", TEXT, "-n", 8, "--temp", 0, "--cache-type", cache, "--device", d) for d in ("cpu", "cuda")]
            self.assertEqual(both[0][0], both[1][0])
            self.assertEqual(both[1][1].count(b"warning"), warnings, both[1][1])
        self.assertIn(b"q4_0 on a GPU", both[1][1])
        out, err = self.said("--nan-trap", "--temp", 0, device="cuda")
        self.assertEqual(err.count(b"warning"), 1)
        self.assertEqual(out, self.said("--temp", 0, device="cpu")[0])

    def test_measuring(self):
        trace = self.folder / "t.json"
        answer = json.loads(self.tl("profile", "-m", self.model, "--device", "cuda", "-n", 2, "--json", "--trace", trace, "--trace-steps", 1)[0])
        self.assertGreater(len(answer["decode"]), 10)
        self.assertEqual(answer["layer"]["layers"], tiny.LAYERS)
        self.assertGreater(answer["layer"]["exposed_microseconds"], 0)
        self.assertGreater(len(json.loads(trace.read_text())["traceEvents"]), 10)
        answer = json.loads(self.tl("bench", "-m", self.model, "--device", "cuda", "-p", 8, "-n", 4, "-r", 1, "-s", 3, "--profile", "--json")[0])
        self.assertGreater(answer["decode_tokens_per_second"], 0)
        self.assertIn("layer", answer["profile"])

    def test_messages(self):
        err = self.said(device="cuda", status=1, TL_SIM_MEMORY="9000000")[1]
        for words in (b"does not fit", b"MiB of weights", b"MiB of cache", b"--gpu-layers", b"-c N"):
            self.assertIn(words, err)
        for env, words in (({"TL_CUDA_DRIVER": "/nowhere/libcuda.so"}, b"no CUDA driver"), ({"TL_SIM_DEVICES": "-1"}, b"does not start"), ({"TL_SIM_DEVICES": "0"}, b"no CUDA device"),
                           ({"TL_SIM_CC": "75"}, b"compute capability 7.5"), ({"TL_SIM_CC": "120", "TL_SIM_NO_BINARY": "1"}, b"compute capability 12.0"),
                           ({"TL_SIM_OLD": "1"}, b"too old"), ({"TL_SIM_BREAK": "1"}, b"failed")):
            out, err = self.said(device="cuda", status=1, **env)
            self.assertIn(words, err, env)
            self.assertEqual(err.count(b"\n"), 1, err)
        self.assertEqual(self.said("--temp", 0, device="auto", TL_CUDA_DRIVER="/nowhere")[0], self.said("--temp", 0, device="cpu")[0])
        out, err = self.said("--temp", 0, device="auto", TL_SIM_CC="75")
        self.assertIn(b"the CPU is used", err)
        self.tl("generate", "-m", self.model, "-p", TEXT, "--gpu-layers", "some", status=2)
        self.tl("generate", "-m", self.model, "-p", TEXT, "--device", "tpu", status=2)
        self.assertIn(b"device simulated", self.tl("generate", "-m", self.model, "-p", TEXT, "-n", 1, "-v", TL_DEVICE="cuda:0")[1])

    def test_lost(self):
        """The device breaks in the middle of a reply: what was said is there, the message is one line, the session's file stays."""
        session = self.folder / "s"
        self.tl("generate", "-m", self.model, "-p", TEXT, "-n", 3, "--temp", 0, "--device", "cuda", "--session", session)
        kept = session.read_bytes()
        for after in (300, 400, 500):
            for how in ("off", "ngram"):
                out, err = self.tl("generate", "-m", self.model, "-p", TEXT, "-n", 40, "--temp", 0, "--spec", how, "--device", "cuda", "--session", session, "--ignore-eos", status=1,
                                   TL_SIM_BREAK_AFTER=str(after))
                self.assertIn(b"CUDA device 0 (simulated) failed", err)
                self.assertEqual(session.read_bytes(), kept)
                whole = self.tl("generate", "-m", self.model, "-p", TEXT, "-n", 40, "--temp", 0, "--ignore-eos")[0]
                self.assertTrue(whole.startswith(out.rstrip(b"\n")), (out, whole))


main()
