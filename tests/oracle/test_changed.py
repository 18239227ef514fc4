"""A changed line in a model's program changes the logits exactly as the same change in the oracle does.

    test_changed.py FOLDER MODELS --tl build/tl

FOLDER has the reference cases (test_reference.py), MODELS the programs; those of MODELS/fn are tried too.
"""
import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

import oracle
from test_reference import LIMIT, score

# For each program: what is replaced, by what, and the same for the oracle.
CHANGES = {
    "llama.tl": [
        ("silu(", "relu(", {"activation": "relu"}),
        ("silu(", "gelu(", {"activation": "gelu"}),
        ('let L = meta(M, "llama.block_count")', 'let L = meta(M, "llama.block_count") - 1', {"layers": 2}),
        ("* gain / sqrt(D)", "* gain * 0.5 / sqrt(D)", {"attn_scale": 0.5}),
        ("X[p, e] = Emb[tok[p], e]", "X[p, e] = 2.0 * Emb[tok[p], e]", {"embed_scale": 2}),
    ],
    "qwen2.tl": [
        ("silu(", "relu(", {"activation": "relu"}),
        ('let L = meta(M, "qwen2.block_count")', 'let L = meta(M, "qwen2.block_count") - 2', {"layers": 1}),
    ],
    "gemma3.tl": [
        ("gelu(", "silu(", {"activation": "silu"}),
        ('let L = meta(M, "gemma3.block_count")', 'let L = meta(M, "gemma3.block_count") - 1', {"layers": 6}),
    ],
    "fn/llama.tl": [
        ("silu(", "relu(", {"activation": "relu"}),
        ('let L = meta(M, "llama.block_count")', 'let L = meta(M, "llama.block_count") - 1', {"layers": 2}),
        ("let x = embedding(emb, tok)", "let x = embedding(emb, tok) * 2.0", {"embed_scale": 2}),
    ],
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--tl", required=True)
    a = parser.parse_args()
    failed = False
    for program, changes in CHANGES.items():
        case = a.folder / pathlib.Path(program).stem
        ids = json.loads((case / "case.json").read_text())["tokens"]
        before = np.load(case / "logits.npy")
        text = (a.programs / program).read_text()
        for old, new, change in changes:
            if text.count(old) != 1:
                sys.exit(f"{program}: \"{old}\" is there {text.count(old)} times, not once")
            with tempfile.TemporaryDirectory() as folder:
                changed = pathlib.Path(folder) / "changed.tl"
                changed.write_text(text.replace(old, new))
                got = score(a.tl, case / "model.gguf", ids, "--program", changed)
            worst = float(np.abs(got - oracle.forward(case / "model.gguf", ids, change)).max())
            moved = float(np.abs(got - before).max())
            right = worst < LIMIT and moved > 0.01
            failed |= not right
            print(f"{program:12} {str(change):24} moved by {moved:.3f}, from the oracle {worst:.2e}{'' if right else '  WRONG'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
