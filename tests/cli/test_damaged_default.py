"""The default model, damaged: what tl doctor and the NaN trap say of a copy with one infinite scale, of one with a useless output.weight
and of a program that overflows. Exits with 77 where the model has not been fetched."""
import json
import pathlib
import shutil
import subprocess
import sys

from common import SKIP, TL, Case, main

try:
    import gguf
    import numpy as np
except ImportError:
    sys.exit(SKIP)

SOURCE = pathlib.Path(__file__).resolve().parents[2]
LINE = "X[p, e] += WD[l, e, f] G[p, f] U[p, f] + BD[l, e]"


def line_of(part):
    return next(i for i, line in enumerate((SOURCE / "models/llama.tl").read_text().splitlines(), 1) if part in line)


class Damaged(Case):
    def test_a_scale(self):
        """One Q4_1 scale of blk.7.ffn_down.weight is infinity."""
        copy = self.folder / "m.gguf"
        shutil.copy(MODEL, copy)
        t = next(t for t in gguf.GGUFReader(MODEL).tensors if t.name == "blk.7.ffn_down.weight")
        self.assertEqual(t.tensor_type, gguf.GGMLQuantizationType.Q4_1)
        row, block = 123, 5
        offset = int(t.data_offset) + (row * (int(t.shape[0]) // 32) + block) * 20
        with open(copy, "r+b") as f:
            f.seek(offset)
            f.write(b"\x00\x7c")
        found = json.loads(self.tl("doctor", copy, "--json", status=1)[0])["findings"]
        bad = [f for f in found if f.get("tensor") == t.name]
        self.assertEqual([(f["severity"], f["row"], f["block"], f["offset"]) for f in bad], [("error", row, block, offset)])
        self.assertIn("scale", json.dumps(bad[0]))
        err = self.tl("generate", "-m", copy, "-p", "Hello", "-n", 3, "--nan-trap", status=1)[1].decode()
        self.assertTrue(err.startswith(f"models/llama.tl:{line_of(LINE)}:9: error: the first value that is not finite: X["), err)
        self.assertIn(f"e={row}, l=7", err)
        self.assertIn(f"blk.7.ffn_down.weight (Q4_1) is the cause: 32 of its values are not finite, the first in row {row}, block {block} (byte {offset} of the file, its scale)", err)

    def test_an_output_matrix(self):
        """An output.weight whose scales are infinity is added: a warning, tied, right answers; --no-repair: an error."""
        r, copy = gguf.GGUFReader(MODEL), str(self.folder / "m.gguf")
        w = gguf.GGUFWriter(copy, "llama")
        for f in r.fields.values():
            if not f.name.startswith("GGUF.") and f.name != "general.architecture":
                w.add_key_value(f.name, f.contents(), f.types[0], sub_type=f.types[-1] if f.types[0] == gguf.GGUFValueType.ARRAY else None)
        for t in r.tensors:
            w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
        emb = next(t for t in r.tensors if t.name == "token_embd.weight")
        rows, width = int(emb.shape[1]), int(emb.shape[0])
        # a row of 576 values is no multiple of Q6_K's blocks of 256: Q8_0 then, whose d comes first (tests/cli/test_doctor.py has Q6_K)
        kind, values, size, d = (gguf.GGMLQuantizationType.Q6_K, 256, 210, 208) if width % 256 == 0 else (gguf.GGMLQuantizationType.Q8_0, 32, 34, 0)
        data = np.zeros((rows, width // values * size), np.uint8)
        data[:, d + 1::size] = 0x7c  # float16 infinity: 0x7c00
        w.add_tensor("output.weight", data, raw_dtype=kind)
        w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file()
        w.close()
        call = ("-p", "The capital of France is", "-n", 8, "--temp", 0)
        out, err = self.tl("generate", "-m", copy, *call)
        self.assertEqual(out, self.tl("generate", "-m", MODEL, *call)[0])
        self.assertIn(b"warning: output.weight", err)
        out = self.tl("doctor", copy)[0].decode()
        self.assertIn("the embedding is used instead", out)
        self.assertIn("0 errors", out)
        self.assertIn(b"output.weight", self.tl("generate", "-m", copy, *call, "--no-repair", status=1)[1])

    def test_an_overflow(self):
        text = (SOURCE / "models/llama.tl").read_text()
        old = "G[p, f] = silu(WG[l, f, e] H[p, e] + BG[l, f])"
        program = self.folder / "hot.tl"
        self.assertIn(old, text)
        program.write_text(text.replace(old, "G[p, f] = exp(50 * (WG[l, f, e] H[p, e] + BG[l, f]))"))
        err = self.tl("score", "-m", MODEL, "--program", program, "--text", "Hello", "--nan-trap", status=1)[1].decode()
        self.assertIn(f"hot.tl:{line_of(old)}:9: error: the first value that is not finite: G[", err)
        self.assertIn("no weight is the cause", err)
        self.assertNotIn("is the cause:", err.replace("no weight is the cause:", ""))


if __name__ == "__main__":
    listed = json.loads(subprocess.run([TL, "models", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    MODEL = next((row["path"] for row in listed if row["default"] and row["ready"]), None)
    if not MODEL:
        print("the default model has not been fetched")
        sys.exit(SKIP)
    main()
