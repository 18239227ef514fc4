"""The oracle, and `tl score` where a program for it is given, against the logits that other people's code computed.

    test_reference.py FOLDER [--tl build/tl] [NAME ...]

FOLDER/NAME has model.gguf (float32 weights), case.json (token ids) and logits.npy; see reference/README.md. Each largest
difference must be below 2e-4.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import oracle

KNOWN = ["llama", "llama-tied-rope3", "llama-bias-yarn", "mistral", "qwen2", "gemma", "gemma3"]
LIMIT = 2e-4


def score(tl, model, ids, *options):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "logits.npy"
        subprocess.run([tl, "score", "-m", model, "--ids", ",".join(map(str, ids)), "--logits", out, "--json", *options],
                       check=True, stdout=subprocess.DEVNULL)
        return np.load(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tl")
    parser.add_argument("names", nargs="*")
    a = parser.parse_args()
    failed = False
    names = a.names or [n for n in KNOWN if (a.folder / n).is_dir()]
    if not names:
        sys.exit(f"there is no case in {a.folder}")
    for name in names:
        case = a.folder / name
        ids = json.loads((case / "case.json").read_text())["tokens"]
        want = np.load(case / "logits.npy")
        got = {"oracle": oracle.forward(case / "model.gguf", ids)}
        if a.tl:
            got["tl"] = score(a.tl, case / "model.gguf", ids)
        for who, logits in got.items():
            worst = float(np.abs(logits - want).max()) if logits.shape == want.shape else float("inf")
            failed |= not worst < LIMIT
            print(f"{name:18} {who:7} largest difference {worst:.2e}{'' if worst < LIMIT else '  TOO LARGE'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
