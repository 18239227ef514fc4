"""tl doctor: a sound model, each way in which one can be broken, and the mended copy. The damage is done here."""
import json
import os
import pathlib
import random
import shutil

import struct
import subprocess

import unittest

import gguf
import numpy as np
import tiny
from common import Case, TL, main

Q = gguf.GGMLQuantizationType
DEFAULT = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tensorlogic" / "smollm2.gguf"
INF = b"\x00\x7c"


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def poke(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(int(offset))
        f.write(data)


def quantized(name, type):
    """An edit for tiny.write: the tensor in another storage format."""
    def edit(w):
        old = w.tensors[0].pop(name).tensor
        w.add_tensor(name, gguf.quants.quantize(old, type), raw_dtype=type)
    return edit


def without(*names):
    return lambda w: [w.tensors[0].pop(name) for name in names]


def key(name, value, how="add_uint32"):
    def edit(w):
        w.kv_data[0].pop(name, None)
        getattr(w, how)(name, value)
    return edit


class DoctorCase(Case):
    def file(self, edit=None, name="m.gguf", **more):
        path = self.folder / name
        tiny.write(path, edit=edit, **more)
        return path

    def doctor(self, path, *args, status=0):
        out, err = self.tl("doctor", "-m", path, "--json", *args, status=status)
        found = json.loads(out)
        self.assertEqual(found["chat_works"], status == 0)
        for level, count in (("error", found["errors"]), ("warning", found["warnings"])):
            self.assertEqual(sum(f["severity"] == level for f in found["findings"]), count)
        return found

    def one(self, found, **fields):
        """The only finding with these fields."""
        those = [f for f in found["findings"] if all(f.get(k) == v for k, v in fields.items())]
        self.assertEqual(len(those), 1, (fields, found["findings"]))
        return those[0]

    def none_but_ok(self, found):
        self.assertEqual([f for f in found["findings"] if f["severity"] != "ok"], [])


class Doctor(DoctorCase):
    # ---- a sound model
    def test_sound(self):
        found = self.doctor(self.file())
        self.none_but_ok(found)
        checks = {f["check"] for f in found["findings"]}
        self.assertEqual(checks, {"structure", "values", "statistics", "output", "tokenizer", "template", "program", "memory", "speed", "step"})
        self.assertEqual(found["chat_prompt"], "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
        # keys and values of 2 layers, 2 heads of 16 values, float16, and one position for each slot
        cache = 256 * (2 * 2 * 2 * 16 * 2 + 4)
        self.assertEqual(found["memory"]["context"], 256)
        self.assertAlmostEqual(found["memory"]["cache"], cache, delta=256 * 4)
        self.assertGreater(found["speed"]["bytes_per_token"], 200_000)
        out, _ = self.tl("doctor", self.folder / "m.gguf")
        self.assertIn(b"0 errors, 0 warnings: a chat works", out)

    def test_context_asked_for(self):
        path = self.file()
        small, large = (self.doctor(path, "-c", n)["memory"] for n in (64, 256))
        self.assertAlmostEqual(large["cache"] / small["cache"], 4, delta=0.01)
        self.assertIn("longer than the 256", self.one(self.doctor(path, "-c", "512"), severity="warning")["message"])

    # ---- values
    def test_bad_scale_names_tensor_row_block_and_byte(self):
        path = self.file(quantized("blk.1.ffn_down.weight", Q.Q4_1))
        t = tensors(path)["blk.1.ffn_down.weight"]
        offset = t.data_offset + (5 * 4 + 2) * 20  # row 5, block 2: a row has 128 / 32 blocks of 20 bytes
        poke(path, offset, INF)
        found = self.doctor(path, status=1)
        f = self.one(found, check="values")
        self.assertEqual((f["severity"], f["tensor"], f["type"], f["row"], f["block"], f["offset"], f["count"], f["blocks"], f["cause"]),
                         ("error", "blk.1.ffn_down.weight", "Q4_1", 5, 2, offset, 32, 1, "scale"))
        self.assertIn("--zero-nan", f["advice"])
        self.assertEqual(self.one(found, check="step")["severity"], "error")
        poke(path, offset, struct.pack("<e", 0.01) + INF)  # now the minimum
        self.assertEqual(self.one(self.doctor(path, status=1), check="values")["cause"], "min")

    def test_bad_values(self):
        path = self.file()
        t = tensors(path)["blk.0.attn_q.weight"]
        for i in (3 * 64 + 7, 3 * 64 + 9, 60 * 64):
            poke(path, t.data_offset + 4 * i, struct.pack("<f", float("nan")))
        f = self.one(self.doctor(path, status=1), check="values")
        self.assertEqual((f["row"], f["block"], f["count"], f["cause"], f["offset"]), (3, 7, 3, "values", t.data_offset + 4 * (3 * 64 + 7)))

    def test_statistics(self):
        def edit(w):
            down = w.tensors[0]["blk.0.ffn_down.weight"].tensor
            down[9:12] = 0
            up = w.tensors[0]["blk.1.ffn_up.weight"].tensor
            up[4, 5] = 1e6
        found = self.doctor(self.file(edit), status=0)
        zeros = self.one(found, check="statistics", tensor="blk.0.ffn_down.weight")
        self.assertEqual((zeros["severity"], zeros["row"], zeros["count"]), ("warning", 9, 3))
        large = self.one(found, check="statistics", tensor="blk.1.ffn_up.weight")
        self.assertEqual((large["severity"], large["row"], large["block"]), ("warning", 4, 5))

    def test_unlike_its_siblings(self):
        layers, tiny.LAYERS = tiny.LAYERS, 6
        try:
            def edit(w):
                w.tensors[0]["blk.3.attn_v.weight"].tensor[:] *= 100
            found = self.doctor(self.file(edit))
        finally:
            tiny.LAYERS = layers
        f = self.one(found, severity="warning")
        self.assertEqual((f["check"], f["tensor"]), ("statistics", "blk.3.attn_v.weight"))
        self.assertIn("siblings", f["message"])

    # ---- output.weight
    def test_unusable_output_is_tied(self):
        width, tiny.WIDTH = tiny.WIDTH, 256  # Q6_K has blocks of 256
        try:
            tied = self.file(without("output.weight"), name="tied.gguf")
            bad = self.file(quantized("output.weight", Q.Q8_0), name="bad.gguf")  # gguf cannot write Q6_K
            six = self.file(lambda w: (w.tensors[0].pop("output.weight"), w.add_tensor("output.weight", np.zeros((265, 210), np.uint8), raw_dtype=Q.Q6_K)), name="six.gguf")
        finally:
            tiny.WIDTH = width
        t = tensors(six)["output.weight"]
        for row in range(265):
            poke(six, t.data_offset + 210 * row + 208, INF)
        t = tensors(bad)["output.weight"]
        poke(bad, t.data_offset + 34 * (8 * 4 + 1), INF)
        for path, row, block, offset in ((six, 0, 0, 0), (bad, 4, 1, 34 * 33)):
            with self.subTest(path=path.name):
                f = self.one(self.doctor(path), check="values")
                self.assertEqual((f["severity"], f["tensor"], f["row"], f["block"]), ("warning", "output.weight", row, block))
                self.assertEqual(f["offset"], tensors(path)["output.weight"].data_offset + offset)
                ask = ("generate", "-p", "hello", "-n", "12", "--temp", "0", "-m")
                out, err = self.tl(*ask, path)
                self.assertEqual(out, self.tl(*ask, tied)[0])  # the bytes of the model that is tied by itself
                self.assertEqual(err.count(b"warning"), 1)
                self.assertIn(b"output.weight", err)
                refused = self.doctor(path, "--no-repair", status=1)
                self.assertEqual(self.one(refused, check="values")["severity"], "error")
                self.assertIn(b"output.weight", self.tl(*ask, path, "--no-repair", status=1)[1])

    def test_neither_output_nor_embedding(self):
        found = self.doctor(self.file(without("output.weight", "token_embd.weight")), status=1)
        self.assertIn("token_embd.weight", " ".join(f["message"] for f in found["findings"] if f["check"] == "program"))

    # ---- program
    def test_all_missing_tensors_and_wrong_shapes_with_their_lines(self):
        def edit(w):
            without("blk.1.ffn_up.weight", "blk.1.attn_k.weight")(w)
            w.tensors[0].pop("blk.1.attn_v.weight")
            w.add_tensor("blk.1.attn_v.weight", np.ones((48, 64), np.float32))
            w.add_tensor("blk.0.strange.weight", np.full((4, 64), np.nan, np.float32))
        found = self.doctor(self.file(edit), status=1)
        lines = (pathlib.Path(__file__).parents[2] / "models" / "llama.tl").read_text().splitlines()
        for name in ("ffn_up", "attn_k", "attn_v"):
            f = self.one(found, check="program", tensor=f"blk.1.{name}.weight")
            self.assertEqual((f["severity"], f["file"]), ("error", "models/llama.tl"))
            self.assertIn(f"blk.{{l}}.{name}.weight", lines[f["line"] - 1])

    def test_unused_tensors(self):
        path = self.file(lambda w: w.add_tensor("blk.0.strange.weight", np.full((4, 64), np.nan, np.float32)))
        found = self.doctor(path)  # nobody reads it, so that its NaN does no harm
        self.assertEqual(self.one(found, check="values")["severity"], "warning")
        self.assertEqual(self.one(found, check="program", severity="warning")["tensors"], ["blk.0.strange.weight"])

    # ---- models that cannot chat
    def test_no_tokenizer(self):
        def edit(w):
            for name in [k for k in w.kv_data[0] if k.startswith("tokenizer.")]:
                w.kv_data[0].pop(name)
        found = self.doctor(self.file(edit, template=None), status=1)
        self.assertEqual(self.one(found, severity="error")["check"], "tokenizer")
        self.assertEqual(self.one(found, check="step")["severity"], "ok")  # the rest of it is sound

    def test_no_template(self):
        found = self.doctor(self.file(template=None, special=("<a>", "<b>", "<c>")), status=1)
        self.assertEqual(self.one(found, severity="error")["check"], "template")

    def test_unknown_architecture(self):
        path = self.file(architecture="nosuch")
        found = self.doctor(path, status=1)
        self.assertIn("--program", self.one(found, severity="error", check="program")["advice"])
        program = self.folder / "nosuch.tl"
        text = (pathlib.Path(__file__).parents[2] / "models" / "llama.tl").read_text()
        program.write_text(text.replace('"llama.', '"nosuch.').replace('"llama"', '"nosuch"'))
        self.none_but_ok(self.doctor(path, "--program", program))
        program.write_text(text)  # asks for llama's metadata
        f = self.one(self.doctor(path, "--program", program, status=1), severity="error", check="program")
        self.assertEqual((f["file"], f["line"]), (str(program), 5))

    # ---- broken files
    def calm(self, path, *args):
        done = subprocess.run([TL, "doctor", "-m", path, "--json", *args], capture_output=True, env=self.env, timeout=120)
        self.assertIn(done.returncode, (0, 1), done.stderr[-2000:])
        self.assertNotRegex(done.stderr.decode("utf-8", "replace"), "Sanitizer|runtime error|Assertion")
        return done.returncode, json.loads(done.stdout)

    def test_every_structural_problem_is_told(self):
        path = self.file()
        size = path.stat().st_size
        with open(path, "r+b") as f:
            f.truncate(size - 70_000)  # output.weight is there in part, norms and matrices before it are whole
        found = self.doctor(path, status=1)
        self.assertGreaterEqual(found["errors"], 1)
        self.assertTrue(all(f["check"] == "structure" for f in found["findings"]))
        for cut in (0, 3, 10, 24, 100, 1000, 5000, size // 2, size - 1):
            tiny.write(path)
            with open(path, "r+b") as f:
                f.truncate(cut)
            with self.subTest(cut=cut):
                status, found = self.calm(path)
                self.assertEqual(status, 1)

    def test_no_regular_file(self):
        self.assertIn(b"directory", self.tl("doctor", "-m", self.folder, status=1)[0])
        os.mkfifo(self.folder / "pipe.gguf")
        self.assertIn(b"pipe", self.tl("doctor", "-m", self.folder / "pipe.gguf", status=1)[0])
        (self.folder / "loop.gguf").symlink_to("loop.gguf")
        self.tl("doctor", "-m", self.folder / "loop.gguf", status=1)

    def test_metadata_that_lies(self):  # G34 to G41 of the list of malformed inputs
        for name, value in (("block_count", 0), ("block_count", 2**31), ("block_count", 3), ("attention.head_count", 0), ("attention.head_count_kv", 0),
                            ("attention.head_count_kv", 3), ("embedding_length", 63), ("embedding_length", 2**32 - 1), ("attention.key_length", 2**31),
                            ("context_length", 0), ("rope.dimension_count", 7)):
            with self.subTest(key=name, value=value):
                self.calm(self.file(key("llama." + name, value)), "-c", "64")
        for name, value in (("attention.layer_norm_rms_epsilon", float("nan")), ("rope.freq_base", 0.0), ("rope.freq_base", float("inf"))):
            with self.subTest(key=name, value=value):
                self.calm(self.file(key("llama." + name, value, "add_float32")))
        for bad in ("../etc/passwd", "%s%n", "a/b", ""):
            with self.subTest(architecture=bad):
                self.assertEqual(self.calm(self.file(key("general.architecture", bad, "add_string")))[0], 1)

    def test_changed_bytes(self):
        path = self.file()
        good = path.read_bytes()
        dice = random.Random(11)
        for i in range(24):
            bad = bytearray(good)
            for _ in range(1 + i % 3):
                bad[dice.randrange(24, 9000)] ^= 1 << dice.randrange(8)
            path.write_bytes(bad)
            with self.subTest(i=i):
                self.calm(path)

    # ---- repair
    def damaged(self):
        path = self.file(quantized("blk.1.ffn_down.weight", Q.Q4_1))
        t, out = tensors(path)["blk.1.ffn_down.weight"], tensors(path)["output.weight"]
        poke(path, t.data_offset + 20 * 6, INF)
        poke(path, out.data_offset, struct.pack("<f", float("inf")))
        return path

    def test_repair(self):
        path, out = self.damaged(), self.folder / "out.gguf"
        before = path.read_bytes()
        text, err = self.tl("doctor", "-m", path, "--repair", out, status=1)  # the matrix is left as it is
        self.assertIn(b"output.weight: left out", err)
        self.assertIn(b"left as it is", err)
        self.assertNotIn("output.weight", tensors(out))
        out.unlink()
        done = json.loads(self.tl("doctor", "-m", path, "--json", "--repair", out, "--zero-nan")[0])
        self.assertTrue(done["repaired"]["chat_works"])
        self.assertFalse(done["chat_works"])
        old, new = gguf.GGUFReader(path), gguf.GGUFReader(out)
        self.assertEqual({k: v.contents() for k, v in old.fields.items() if not k.startswith("GGUF.")},
                         {k: v.contents() for k, v in new.fields.items() if not k.startswith("GGUF.")})
        a, b = tensors(path), tensors(out)
        self.assertEqual(set(a) - set(b), {"output.weight"})
        for name, t in b.items():
            same = bytes(t.data.tobytes()) == bytes(a[name].data.tobytes())
            self.assertEqual(same, name != "blk.1.ffn_down.weight", name)
        want = bytearray(a["blk.1.ffn_down.weight"].data.tobytes())
        want[120:140] = bytes(20)
        self.assertEqual(bytes(b["blk.1.ffn_down.weight"].data.tobytes()), bytes(want))
        self.assertEqual(path.read_bytes(), before)
        self.assertEqual(sorted(os.listdir(self.folder)), ["m.gguf", "out.gguf"])

    def test_repair_never_writes_over_anything(self):
        path = self.damaged()
        before = path.read_bytes()
        os.link(path, self.folder / "hard.gguf")
        (self.folder / "soft.gguf").symlink_to("m.gguf")
        (self.folder / "other.gguf").write_bytes(b"mine")
        (self.folder / "dangling.gguf").symlink_to("nothing")
        for name in ("m.gguf", "./m.gguf", "hard.gguf", "soft.gguf", "other.gguf", "dangling.gguf", "no/such/folder.gguf"):
            with self.subTest(out=name):
                self.tl("doctor", "-m", path, "--repair", self.folder / name, "--zero-nan", status=1)
                self.tl("doctor", "-m", self.folder / "soft.gguf", "--repair", self.folder / name, status=1)
        self.assertEqual(path.read_bytes(), before)
        self.assertEqual((self.folder / "other.gguf").read_bytes(), b"mine")
        self.assertEqual(sorted(os.listdir(self.folder)), ["dangling.gguf", "hard.gguf", "m.gguf", "other.gguf", "soft.gguf"])
        self.tl("doctor", "-m", path, "--zero-nan", status=2)

    def test_repair_of_a_file_that_cannot_be_read(self):
        path = self.file()
        with open(path, "r+b") as f:
            f.truncate(200_000)
        self.assertIn(b"fetch it again", self.tl("doctor", "-m", path, "--repair", self.folder / "out.gguf", status=1)[1])
        self.assertFalse((self.folder / "out.gguf").exists())


@unittest.skipUnless(DEFAULT.exists(), "the default model is not there")
class DefaultModel(DoctorCase):
    """The story of docs/debugging.md, on the real model."""

    def test_sound(self):
        self.none_but_ok(self.doctor(DEFAULT))

    def test_scale_of_ffn_down(self):
        path = self.folder / "bad.gguf"
        shutil.copy(DEFAULT, path)
        t = tensors(path)["blk.7.ffn_down.weight"]
        self.assertEqual(t.tensor_type, Q.Q4_1)
        offset = int(t.data_offset) + 20 * (100 * 48 + 3)
        poke(path, offset, INF)
        f = self.one(self.doctor(path, status=1), check="values")
        self.assertEqual((f["tensor"], f["row"], f["block"], f["offset"], f["cause"]), ("blk.7.ffn_down.weight", 100, 3, offset, "scale"))

    def test_bad_output_is_tied(self):
        path = self.folder / "bad.gguf"
        reader = gguf.GGUFReader(DEFAULT)
        w = gguf.GGUFWriter(path, "llama")
        for name, field in reader.fields.items():
            if name.startswith("GGUF.") or name == "general.architecture":
                continue
            value = field.contents()
            w.add_key_value(name, value, field.types[0], sub_type=field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None)
        for t in reader.tensors:
            w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
        data = np.zeros((49152, 34 * 576 // 32), np.uint8)
        data.reshape(-1, 34)[:, 1] = 0x7c
        w.add_tensor("output.weight", data, raw_dtype=Q.Q8_0)
        w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
        f = self.one(self.doctor(path), severity="warning")
        self.assertEqual((f["tensor"], f["row"], f["block"], f["count"]), ("output.weight", 0, 0, 49152 * 576))
        ask = ("generate", "--chat", "-p", "Hello", "-n", "20", "--temp", "0", "-m")
        out, err = self.tl(*ask, path)
        self.assertEqual(out, self.tl(*ask, DEFAULT)[0])
        self.assertEqual(err.count(b"warning"), 1)
        self.assertIn(b"--no-repair", self.tl(*ask, path, "--no-repair", status=1)[1])


if __name__ == "__main__":
    main()
