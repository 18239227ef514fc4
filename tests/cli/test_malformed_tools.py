"""Broken files through the tools that look into models: doctor, repair, trace, lens, diff, score with the NaN trap. Each says what
is wrong or works as far as the file goes; none crashes, hangs, prints control bytes or touches the file.

    test_malformed_tools.py TL TEST_GGUF_MALFORMED

The second program writes the files G1 to G33 of the project's list of malformed inputs; G34 to G43 and a model without tokenizer
or with an unknown architecture are made here, and so are copies of a good model with random bytes."""
import pathlib
import random
import subprocess
import sys
import time

WRITER = sys.argv.pop(2)

import tiny
from common import TL, ModelCase, main

LIMIT = 20  # seconds, sanitizers included
SOURCE = pathlib.Path(__file__).resolve().parents[2]


def put(key, value, how="add_uint32"):
    def edit(w):
        w.kv_data[0].pop("llama." + key, None)
        getattr(w, how)("llama." + key, value)
    return edit


def shape(name, *size):
    def edit(w):
        t = w.tensors[0].pop(name)
        w.add_tensor(name, t.tensor.reshape(-1)[:1].repeat(int(tiny.np.prod(size))).reshape(size))
    return edit


def fill(name, value):
    def edit(w):
        w.tensors[0][name].tensor.reshape(-1)[3] = value
    return edit


EDITS = [shape("blk.0.attn_q.weight", 64, 32), shape("token_embd.weight", 7, 64), shape("blk.1.attn_norm.weight", 3),  # G34
         put("attention.head_count", 0), put("attention.head_count_kv", 0), put("attention.head_count_kv", 8), put("attention.head_count", 5),  # G35
         put("attention.key_length", 0), put("attention.key_length", 2 ** 31), put("embedding_length", 63),
         put("block_count", 0), put("block_count", 2 ** 31), put("block_count", 3), put("block_count", 1),  # G36
         put("context_length", 0), put("context_length", 2 ** 63, "add_uint64"),  # G37
         put("rope.dimension_count", 7), put("rope.dimension_count", 1000), put("rope.freq_base", 0.0, "add_float32"),  # G38
         put("rope.freq_base", -1.0, "add_float32"), put("rope.freq_base", float("nan"), "add_float32"),
         put("attention.layer_norm_rms_epsilon", 0.0, "add_float32"), put("attention.layer_norm_rms_epsilon", float("nan"), "add_float32"),  # G39
         put("attention.layer_norm_rms_epsilon", -1.0, "add_float32"), put("expert_count", 2 ** 31), put("attention.sliding_window", 0),  # G40
         put("feed_forward_length", [128], "add_array"), put("block_count", "2", "add_string"), lambda w: w.tensors[0].pop("output.weight"),  # G41
         fill("blk.0.ffn_up.weight", float("nan")), fill("output.weight", float("inf")), fill("token_embd.weight", float("-inf")),  # G42
         lambda w: w.kv_data[0]["general.architecture"].__setattr__("value", "../%s/llama")]  # G43


class MalformedTools(ModelCase):
    def calm(self, *args, statuses=(0, 1, 2)):
        start = time.monotonic()
        done = subprocess.run([TL, *map(str, args)], input=b"", capture_output=True, env=self.env, timeout=4 * LIMIT)
        said = done.stdout + done.stderr
        self.assertIn(done.returncode, statuses, f"{args}: {said[-1500:]!r}")
        self.assertLess(time.monotonic() - start, LIMIT, args)
        self.assertTrue(said, args)
        self.assertFalse([b for b in said if b < 32 and b not in b"\n\t"], f"{args}: {said[:1500]!r}")
        self.assertNotIn(b"Sanitizer", done.stderr)
        return said

    def tools(self, path, i):
        """The doctor and its repair always; of the others, which open the file in the same way, two each time."""
        before = path.read_bytes()
        out = self.folder / "out.gguf"
        self.calm("doctor", path, "--json" if i % 2 else "--ctx-size=64")
        self.calm("doctor", path, "--repair", out, "--zero-nan")
        others = [("trace", "-m", path, "--ids", "1,2", "--watch", "X"), ("lens", "-m", path, "--ids", "1,2"), ("diff", path, self.model, "--ids", "1,2"),
                  ("diff", self.model, path, "--ids", "1,2"), ("diff", "--tensors", path, self.model), ("score", "-m", path, "--ids", "1,2", "--nan-trap")]
        for k in (0, 1):
            self.calm(*others[(2 * i + k) % len(others)])
        if out.exists():  # what a repair writes is a model file
            self.calm("inspect", out, statuses=(0,))
            out.unlink()
        self.assertEqual(path.read_bytes(), before)

    def test_structure(self):
        folder = self.folder / "files"
        folder.mkdir()
        subprocess.run([WRITER, "write", folder], check=True)
        files = sorted(folder.glob("*.gguf"))
        self.assertGreater(len(files), 80)
        (folder / "empty.gguf").write_bytes(b"")
        for i, path in enumerate([*files, folder / "empty.gguf"]):
            self.tools(path, i)
        for path in (folder, folder / "no-such.gguf", pathlib.Path("/dev/null")):
            self.calm("doctor", path, statuses=(1, 2))

    def test_meaning(self):
        path = self.folder / "m.gguf"
        for i, edit in enumerate(EDITS):
            tiny.write(path, edit=edit)
            self.tools(path, i)

    def test_random_bytes(self):
        good, dice, path = pathlib.Path(self.model).read_bytes(), random.Random(5), self.folder / "m.gguf"
        for i in range(24):
            data = bytearray(good)
            for _ in range(1 + i % 7):
                at = dice.randrange(len(data) if i % 4 == 0 else 24000)  # mostly header, keys and tensor table
                data[at] = dice.randrange(256)
            path.write_bytes(data[:dice.randrange(len(data))] if i % 5 == 4 else data)
            self.tools(path, i)

    def test_neither_tokenizer_nor_known_architecture(self):
        def strip(w):
            for key in [k for k in w.kv_data[0] if k.startswith("tokenizer.")]:
                w.kv_data[0].pop(key)
        path, program = self.folder / "m.gguf", self.folder / "odd.tl"
        tiny.write(path, architecture="odd", edit=strip)
        program.write_text((SOURCE / "models/llama.tl").read_text().replace('"llama.', '"odd.'))
        for call in (("doctor", path), ("trace", "-m", path, "--ids", "1"), ("lens", "-m", path, "--ids", "1"), ("score", "-m", path, "--ids", "1,2", "--nan-trap")):
            self.assertIn(b"--program FILE.tl", self.calm(*call, statuses=(1,)))
        wrong = self.calm("trace", "-m", path, "--ids", "1", "--program", SOURCE / "models/llama.tl", statuses=(1,))
        self.assertIn(b'the file has "odd.', wrong)
        with_program = ("--program", program)
        said = self.calm("doctor", path, *with_program, statuses=(1,))
        self.assertIn(b"no tokenizer", said)
        self.assertIn(b"1 error", said)
        self.assertIn(b"most probable token is #", said)
        for text in (("trace", "-m", path), ("lens", "-m", path)):
            self.assertIn(b"--ids 1,2,3", self.calm(*text, "-p", "hello", *with_program, statuses=(1,)))
            self.calm(*text, "--ids", "1,2", *with_program, statuses=(0,))
        self.assertIn(b"all ", self.calm("diff", path, "--ids", "1,2", "--cpu-a", "ref", *with_program, statuses=(0,)))
        self.calm("diff", path, self.model, "--ids", "1,2", "--program-a", program, statuses=(0,))
        self.calm("score", "-m", path, "--ids", "1,2", "--nan-trap", *with_program, statuses=(0,))
        program.write_text(program.read_text().replace("silu(", "exp(1000 * "))
        self.assertIn(b"odd.tl:61", self.calm("score", "-m", path, "--ids", "1,2", "--nan-trap", *with_program, statuses=(1,)))


if __name__ == "__main__":
    main()
