"""Every instruction set of this machine gives the same bits: logits of small models in several formats, replies drawn at random, and
every named value of the default model where it has been fetched. Processors that multiply bfloat16 round what meets BF16 weights
(docs/architecture.md): those are left out of that format."""
import json
import re
import subprocess

from common import TL, ModelCase, main
import tiny
import gguf

TEXT = "hello the hello, and the three of them"
KINDS = gguf.GGMLQuantizationType


def quantize(kind):
    def edit(w):
        for name in [n for n in w.tensors[0] if "norm" not in n]:
            values = w.tensors[0].pop(name).tensor
            w.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    return edit


def default_model():
    listed = json.loads(subprocess.run([TL, "models", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    return next((row["path"] for row in listed if row["default"] and row["ready"]), None)


class SameBits(ModelCase):
    def setUp(self):
        super().setUp()
        call = ("score", "-m", self.model, "--text", "a", "--isa")
        choices = re.search(rb"the choices are (.*)", self.tl(*call, "none", status=2)[1])[1].decode().split(", ")
        has = lambda isa: subprocess.run([TL, *call, isa], env=self.env, capture_output=True).returncode == 0
        self.others = [isa for isa in choices[1:] if has(isa)]  # beside "ref"

    def logits(self, model, isa, *options):
        out = self.folder / "logits.npy"
        self.tl("score", "-m", model, "--text", TEXT, "--logits", out, "--isa", isa, *options)
        return out.read_bytes()

    def test_formats(self):
        model = self.folder / "m.gguf"
        for kind in (None, KINDS.F16, KINDS.BF16, KINDS.Q4_0, KINDS.Q4_1, KINDS.Q5_0, KINDS.Q5_1, KINDS.Q8_0):
            tiny.write(model, edit=quantize(kind) if kind is not None else None)
            for options in ((), ("--cache-type", "f16", "-b", "3", "-t", "2")):
                want = self.logits(model, "ref", *options)
                for isa in self.others:
                    if kind != KINDS.BF16 or isa not in ("avx512bf16", "amx"):
                        self.assertEqual(self.logits(model, isa, *options), want, (kind, isa, options))

    def test_replies(self):
        reply = lambda isa: self.tl("generate", "-m", self.model, "-p", "hello", "-n", 40, "--temp", 1.5, "--seed", 7, "--isa", isa)[0]
        want = reply("ref")
        for isa in self.others:
            self.assertEqual(reply(isa), want, isa)

    def test_the_default_model(self):
        path = default_model()
        if not path:
            self.skipTest("the default model has not been fetched")
        for isa in self.others:
            found = json.loads(self.tl("diff", path, "-p", "The capital of France is", "--cpu-a", "ref", "--cpu-b", isa, "--json")[0])
            self.assertGreater(len(found["values"]), 300)
            self.assertEqual([v["key"] for v in found["values"] if v["largest"] != 0], [], isa)
            self.assertEqual((found["first"], found["kl"], found["changed"]), (None, 0, []))


if __name__ == "__main__":
    main()
