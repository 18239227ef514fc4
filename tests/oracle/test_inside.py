"""What `tl trace`, `tl lens` and `tl diff` show, against hidden states that other people's code computed and against numpy.

    test_inside.py --tl build/tl [--cases FOLDER] [--models NAME ...]

FOLDER/NAME has model.gguf, case.json (token ids) and hidden.npy: the embedding, then what each layer leaves, the last one behind
the last norm. Every value must be within 2e-4. Of a model by name (77 if none is there) the residual of every layer is
compared with the oracle's, whose weights are dequantized and whose activations are not rounded; the lens with numpy's last norm
and head applied to the residuals as traced, the normed row in levels of 8 bits as products with quantized weights have it; and the
errors that `tl diff` tells with those of the traced values.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import oracle
from test_reference import KNOWN, LIMIT

TEXT = "The capital of France is Paris."
ROUNDED = 5e-3  # NMSE that 8-bit activations may cause in the residual of most positions; a wrong layer has about 1
LENS = 3e-5     # of a probability
EDGE = 1e-5     # of a level: a norm's sum in another order moves a value by less
ANY = 0.1       # and of any: a first token's value of thousands, which some models remove again near the end, leaves 3e-2


class Tl:
    def __init__(self, path, folder):
        self.path, self.folder = path, pathlib.Path(folder)

    def json(self, *args):
        return json.loads(subprocess.run([self.path, *map(str, args), "--json"], check=True, stdout=subprocess.PIPE).stdout)

    def trace(self, name, *args):
        out = self.folder / name
        subprocess.run([self.path, "trace", *map(str, args), "--npy", out], check=True, stdout=subprocess.DEVNULL)
        return {f.stem: np.load(f) for f in out.glob("*.npy")}


def residuals(values, layers):
    """The last X of each layer; before them, the last outside of layers."""
    def last(prefix):
        keys = [k for k in values if k.startswith(prefix) and (k == prefix or k[len(prefix)] == "#")]
        return values[max(keys, key=lambda k: int(k.partition("#")[2] or 0))]
    return [last("X")] + [last(f"blk.{i}.X") for i in range(layers)]


def in_levels(x):
    """x [rows, k] as products with quantized weights read it: blocks of 32 in units of a 127th of their largest magnitude, not yet
    rounded, and these units."""
    b = x.astype(np.float32).reshape(len(x), -1, 32)
    top = np.maximum(np.abs(b).max(-1, keepdims=True), np.float32(1e-30))
    return b * (np.float32(127) / top), top / np.float32(127)


def last_norm(m, x):
    return oracle.rms_norm(x, m["output_norm.weight"], m.key("attention.layer_norm_rms_epsilon"))


def probabilities(m, levels, unit):
    """The head and the softmax of rounded levels."""
    n = (levels * unit).reshape(len(levels), -1)
    z = (n @ m["output.weight" if m.has("output.weight") else "token_embd.weight"].T).astype(np.float64)
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def other_roundings(values):
    """Levels of one row [1, blocks, 32] with one value that lies on the edge of two levels put into the other."""
    for at in np.argwhere(np.abs(np.abs(values - np.floor(values)) - 0.5) < EDGE):
        levels = np.rint(values)
        levels[tuple(at)] = np.floor(values[tuple(at)]) + np.ceil(values[tuple(at)]) - levels[tuple(at)]
        yield levels


def nmse(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return ((a - b) ** 2).sum() / (a ** 2).sum()


def check_case(tl, case):
    m, want = oracle.Model(case / "model.gguf"), np.load(case / "hidden.npy")
    ids = json.loads((case / "case.json").read_text())["tokens"]
    got = residuals(tl.trace(case.name, "-m", case / "model.gguf", "--ids", ",".join(map(str, ids)), "--watch", "X"), len(want) - 1)
    got[-1] = last_norm(m, got[-1])
    worst = max(float(np.abs(g - w).max()) for g, w in zip(got, want))
    print(f"{case.name:18} hidden states: largest difference {worst:.2e}{'' if worst < LIMIT else '  TOO LARGE'}")
    return worst < LIMIT


def oracle_residuals(m, ids):
    gemma = m.arch.startswith("gemma")
    table = m["token_embd.weight"]
    xs = [table[ids] * np.float32(np.sqrt(table.shape[1]) if gemma else 1)]
    for layer in range(m.key("block_count")):
        m.ready = {"token_embd.weight": table}
        xs.append(oracle.block(m, xs[-1], layer, oracle.ACTIVATIONS["gelu" if gemma else "silu"], {}))
    return xs


def lens_error(p, cell):
    """p [vocab] against what the lens says of a place; its first token may be another than numpy's only if about as probable."""
    return max([abs(g["p"] - p[g["id"]]) for g in cell] + [p.max() - p[cell[0]["id"]]])


def check_lens(tl, path, m, xs, ids):
    """Probabilities of the lens, against the head in numpy. Its norm may put a value on the edge of two levels into the other one."""
    worst = 0
    for x, layer in zip(xs, tl.json("lens", "-m", path, "--ids", ids)["layers"]):
        values, unit = in_levels(last_norm(m, x))
        p = probabilities(m, np.rint(values), unit)
        for i, cell in enumerate(layer["positions"]):
            error = lens_error(p[i], cell)
            if error >= LENS:
                row = slice(i, i + 1)
                error = min([error] + [lens_error(probabilities(m, levels, unit[row])[0], cell) for levels in other_roundings(values[row])])
            worst = max(worst, error)
    return worst


def check_diff(tl, path, ids, values, program):
    """`tl diff` against a copy of the program whose layers add a little less: the errors of all X, as numpy has them."""
    other = tl.trace("changed", "-m", path, "--ids", ids, "--watch", "X", "--program", program)
    found = {v["key"]: v for v in tl.json("diff", path, "--ids", ids, "--program-b", program, "--watch", "X")["values"]}
    worst, changed = 0, 0
    for key, a in values.items():
        want, b = nmse(a, other[key]), other[key].astype(float)
        changed += want > 0
        worst = max(worst, abs(found[key]["nmse"] - want) / max(want, 1e-30), abs(found[key]["largest"] - np.abs(a - b).max()) / np.abs(a).max())
    return worst if changed >= len(values) - 3 else 1  # all but what the first layer computes


def changed_program(tl, name, m):
    text = (pathlib.Path(__file__).parents[2] / f"models/{m.arch}.tl").read_text()
    loop = text.rindex("for l in range(")
    end = text.index("\n    }", loop)
    path = tl.folder / f"{name}.tl"
    path.write_text(text[:end] + "\n        X[p, e] += -0.001 * X[p, e]" + text[end:])
    return path


def check_model(tl, name, path):
    m = oracle.Model(path)
    numbers = tl.json("tokenize", "-m", path, TEXT)
    ids = numbers["ids"] if isinstance(numbers, dict) else numbers
    given = ",".join(map(str, ids))
    values = tl.trace(name, "-m", path, "--ids", given, "--watch", "X")
    xs = residuals(values, m.key("block_count"))
    errors = np.array([[nmse(w[p], g[p]) for p in range(len(ids))] for w, g in zip(oracle_residuals(m, ids), xs)])
    usual = np.median(errors, axis=1).max()
    m.ready = {}
    lens, diff = check_lens(tl, path, m, xs, given), check_diff(tl, path, given, values, changed_program(tl, name, m))
    good = usual < ROUNDED and errors.max() < ANY and lens < LENS and diff < 1e-5
    print(f"{name:18} residuals: NMSE {usual:.1e}, at most {errors.max():.1e}; lens: probability off by {lens:.1e}; diff: off by {diff:.1e} of itself{'' if good else '  TOO LARGE'}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tl", required=True)
    parser.add_argument("--cases", type=pathlib.Path)
    parser.add_argument("--models", nargs="*", default=[])
    a = parser.parse_args()
    ready = {row["name"]: row["path"] for row in json.loads(subprocess.run([a.tl, "models", "--json"], check=True, stdout=subprocess.PIPE).stdout) if row["ready"]}
    models = [n for n in a.models if n in ready]
    cases = [a.cases / n for n in KNOWN if (a.cases / n / "hidden.npy").exists()] if a.cases else []
    if not models and not cases:
        print("skipped: none of the models has been fetched")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        tl = Tl(a.tl, folder)
        good = [check_case(tl, c) for c in cases] + [check_model(tl, n, ready[n]) for n in models]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
