"""Random statements over indices, run by `tl run` and evaluated here by plain loops over every value of every index.

usage: random_loops.py TL [STATEMENTS] [SEED]

Beside random_equations.py, which evaluates whole arrays, this one goes element by element and covers what changes
tensors and what runs in steps: slices on both sides, scatters with every assignment, pooling, recurrences over a virtual
index and their kept steps, fixpoints, functions that are called for each position, folds by name, relations as tensors.
Values are small whole numbers, so that sums are exact.
"""
import itertools
import json
import random
import sys
import tempfile

import numpy as np
from random_equations import run

BATCH = 200
UPDATES = {":=": lambda a, b: b, "+=": lambda a, b: a + b, "-=": lambda a, b: a - b, "*=": lambda a, b: a * b,
           "max=": max, "min=": min, "or=": lambda a, b: float(a != 0 or b != 0)}
FOLDS = {"sum": sum, "prod": lambda v: np.prod(v), "max": max, "min": min, "avg": lambda v: sum(v) / len(v), "mean": lambda v: sum(v) / len(v),
         "any": lambda v: float(any(v)), "all": lambda v: float(all(v)), "count": lambda v: float(sum(x != 0 for x in v)),
         "argmax": lambda v: float(v.index(max(v))), "argmin": lambda v: float(v.index(min(v)))}


def spread(*sizes):
    return itertools.product(*(range(s) for s in sizes))


class Maker:
    def __init__(self, rng, number):
        self.rng, self.number, self.lines, self.made = rng, number, [], 0

    def tensor(self, *sizes, low=-3, high=3, names=None):
        x = np.array([self.rng.randint(low, high) for _ in range(int(np.prod(sizes)))], float).reshape(sizes)
        name = f"T{self.number}_{self.made}"
        self.made += 1
        self.lines.append(f"let {name}{'[' + ', '.join(names) + ']' if names else ''} = {json.dumps(x.astype(int).tolist())}")
        return name, x

    def size(self):
        return self.rng.choice([1, 2, 2, 3, 3, 4, 5])

    def bounds(self, n):
        a = self.rng.randrange(n)
        return a, self.rng.randint(a + 1, n)

    def slice_text(self, a, b, n):
        if a == 0 and b == n and self.rng.random() < 0.5:
            return ":"
        low = "" if a == 0 and self.rng.random() < 0.5 else str(a - n if self.rng.random() < 0.2 and a else a)
        high = "" if b == n and self.rng.random() < 0.5 else str(b - n if self.rng.random() < 0.2 and b < n else b)
        return f"{low}:{high}"

    # ---- kinds: each returns (name of the result, array) -------------------------------------------------
    def slice_read(self):
        """R[kept] = sum over the rest of X[slices, fixed and named places][indices] times a vector."""
        sizes = [self.size() for _ in range(self.rng.randint(1, 3))]
        name, x = self.tensor(*sizes)
        inner, outer, names, place, extent = [], [], [], [], []
        for k, n in enumerate(sizes):
            index = "ijk"[k]
            how = self.rng.random()
            if how < 0.6:
                a, b = self.bounds(n)
                inner.append(self.slice_text(a, b, n))
                outer.append(index)
                names.append(index)
                extent.append(b - a)
                place.append(lambda at, index=index, a=a: at[index] + a)
            elif how < 0.8:
                c = self.rng.randrange(n)
                inner.append(str(c))
                place.append(lambda at, c=c: c)
            else:
                inner.append(index)
                names.append(index)
                extent.append(n)
                place.append(lambda at, index=index: at[index])
        if not outer:
            return None
        kept = [n for n in names if self.rng.random() < 0.6] or names[:1]
        v, w = self.tensor(extent[names.index(names[0])])
        out = np.zeros([extent[names.index(n)] for n in kept])
        for at in spread(*extent):
            at = dict(zip(names, at))
            out[tuple(at[n] for n in kept)] += x[tuple(p(at) for p in place)] * w[at[names[0]]]
        result = f"R{self.number}"
        self.lines.append(f"{result}[{', '.join(kept)}] = {name}[{', '.join(inner)}][{', '.join(outer)}] {v}[{names[0]}]")
        return result, out

    def slice_write(self):
        sizes = [self.size() for _ in range(self.rng.randint(1, 3))]
        result = f"R{self.number}"
        out = np.array([self.rng.randint(-3, 3) for _ in range(int(np.prod(sizes)))], float).reshape(sizes)
        op = self.rng.choice(list(UPDATES))
        self.lines.append(f"let {result} = {json.dumps(out.astype(int).tolist())}")
        head, ranges = [], []
        for n in sizes:
            if self.rng.random() < 0.3:
                c = self.rng.randrange(n)
                head.append(str(c))
                ranges.append((c, c + 1, False))
            else:
                a, b = self.bounds(n)
                head.append(self.slice_text(a, b, n))
                ranges.append((a, b, True))
        widths = [b - a for a, b, s in ranges if s]
        if not widths:
            return None
        if self.rng.random() < 0.4:
            c = self.rng.randint(-3, 3)
            right, value = str(c), lambda at: c
        else:  # slices of the right side run along with those of the left
            more = [w + self.rng.randint(0, 2) for w in widths]
            first = [self.rng.randint(0, m - w) for m, w in zip(more, widths)]
            name, x = self.tensor(*more)
            right = f"{name}[{', '.join(self.slice_text(f, f + w, m) for f, w, m in zip(first, widths, more))}]"
            value = lambda at: x[tuple(a + f for a, f in zip(at, first))]
        for at in spread(*[b - a for a, b, _ in ranges]):
            to = tuple(a + r[0] for a, r in zip(at, ranges))
            out[to] = UPDATES[op](out[to], value([a for a, r in zip(at, ranges) if r[2]]))
        self.lines.append(f"{result}[{', '.join(head)}] {op} {right}")
        return result, out

    def scatter(self):
        """Y[idx[i], j] op= X[i, j] (or two scattered axes, or i + c), in the order of the indices; guards keep what is there."""
        n, m, wide = self.size(), self.size(), self.size()
        op = self.rng.choice(list(UPDATES))
        idx, places = self.tensor(n, low=0, high=wide - 1)
        value, x = self.tensor(n, m)
        two = self.rng.random() < 0.3
        result = f"R{self.number}"
        out = np.array([self.rng.randint(-2, 2) for _ in range(wide * (wide if two else m))], float).reshape(wide, wide if two else m)
        self.lines.append(f"let {result} = {json.dumps(out.astype(int).tolist())}")
        if two:
            idy, other = self.tensor(m, low=0, high=wide - 1)
        for i, j in spread(n, m):
            to = (int(places[i]), int(other[j]) if two else j)
            out[to] = UPDATES[op](out[to], x[i, j])
        self.lines.append(f"{result}[{idx}[i], {idy + '[j]' if two else 'j'}] {op} {value}[i, j]")
        return result, out

    def pooling(self):
        n, k, m = self.rng.randint(1, 7), self.rng.randint(1, 3), self.size()
        value, x = self.tensor(n, m)
        op = self.rng.choice(["+=", "max=", "min=", "*=", "or="])
        out = np.array([self.rng.randint(-1, 1) for _ in range(((n - 1) // k + 1) * m)], float).reshape(-1, m)
        result = f"R{self.number}"
        self.lines.append(f"let {result} = {json.dumps(out.astype(int).tolist())}")
        for i, j in spread(n, m):
            out[i // k, j] = UPDATES[op](out[i // k, j], x[i, j])
        self.lines.append(f"{result}[i / {k}, j] {op} {value}[i, j]")
        return result, out

    def recurrence(self):
        """H[*t + 1, d] = clip(W[d, d'] H[*t, d'] + U[t, d]); its last value, or a reading of all steps."""
        d, steps = self.size(), self.rng.randint(1, 5)
        w, weight = self.tensor(d, d, low=-1, high=1)
        u, given = self.tensor(steps, d, low=-2, high=2)
        name = f"H{self.number}"
        start = np.array([self.rng.randint(-2, 2) for _ in range(d)], float)
        self.lines.append(f"let {name} = {json.dumps(start.astype(int).tolist())}")
        history = [start]
        for t in range(steps):
            before, after = history[-1], np.zeros(d)
            for i in range(d):
                total = sum(weight[i, k] * before[k] for k in range(d)) + given[t, i]
                after[i] = min(max(total, -4), 4)
            history.append(after)
        self.lines.append(f"{name}[*t + 1, d] = min(max(sum[d'](W[d, d'] {name}[*t, d']) + U[t, d], -4), 4)".replace("W[", f"{w}[").replace("U[", f"{u}["))
        if self.rng.random() < 0.4:
            return name, history[-1]
        result, later = f"R{self.number}", self.rng.random() < 0.5
        self.lines.append(f"{result}[t, d] = 2 {name}[*t{' + 1' if later else ''}, d] - {u}[t, d]")
        return result, np.array([[2 * history[t + later][i] - given[t, i] for i in range(d)] for t in range(steps)])

    def fixpoint(self):
        n = self.rng.randint(1, 5)
        edge, x = self.tensor(n, n, low=0, high=1)
        name = f"R{self.number}"
        if self.rng.random() < 0.5:
            reach = x.copy()
            for k, i, j in spread(n, n, n):
                reach[i, j] = max(reach[i, j], min(reach[i, k], reach[k, j]))
            self.lines += [f"{name}[i, j] = {edge}[i, j]", f"{name}[i, k] or= {name}[i, j] {edge}[j, k]"]
            return name, reach
        cost, c = self.tensor(n, n, low=1, high=5)
        far = np.where(x > 0, c, 1000.0)
        for k, i, j in spread(n, n, n):
            far[i, j] = min(far[i, j], far[i, k] + far[k, j])
        self.lines += [f"{name}[i, j] = select({edge}[i, j] > 0, {cost}[i, j], 1000)", f"{name}[i, k] min= {name}[i, j] + {name}[j, k]"]
        return name, far

    def lifted(self):
        """A function with declared axes, called for each position of the other indices."""
        n, m, d = self.size(), self.size(), self.size()
        value, x = self.tensor(n, m, d)
        f, name = f"f{self.number}", f"R{self.number}"
        kind = self.rng.randrange(4)
        if kind == 0:
            self.lines += [f"fn {f}(x: float32[?]) {{ sum(x) - 2 * x[0] }}", f"{name}[i, j] = {f}({value}[i, j, k])"]
            return name, np.array([[sum(x[i, j]) - 2 * x[i, j, 0] for j in range(m)] for i in range(n)])
        if kind == 1:
            self.lines += [f"fn {f}(x: float32[?]) -> float32[?] {{ x - max(x) }}", f"{name}[j, i, k] = {f}({value}[i, j, k])"]
            return name, np.array([[[x[i, j, k] - max(x[i, j]) for k in range(d)] for i in range(n)] for j in range(m)])
        if kind == 2:
            o = self.size()
            w, weight = self.tensor(o, d)
            self.lines += [f"fn {f}(x: float32[a], W: float32[b, a]) -> float32[b] {{ result[b] = W[b, a] x[a] }}", f"{name}[i, o] = {f}({value}[i, j, k], {w}[o, k])"]
            out = np.zeros((n, o))
            for i, j, k, p in spread(n, m, d, o):  # j is in one term only: summed
                out[i, p] += x[i, j, k] * weight[p, k]
            return name, out
        s, scale = self.tensor(n)
        self.lines += [f"fn {f}(x: float32[p, q], s) {{ s * sum(x) + len(x) }}", f"{name}[i] = {f}({value}[i, j, k], {s}[i])"]
        return name, np.array([scale[i] * x[i].sum() + m for i in range(n)])

    def named_fold(self):
        n, m = self.size(), self.size()
        value, x = self.tensor(n, m)
        fold, name = self.rng.choice(list(FOLDS)), f"R{self.number}"
        if fold in ("any", "all", "count"):
            inside, f = f"{value}[i, j] > 0", lambda i, j: float(x[i, j] > 0)
        else:
            inside, f = f"{value}[i, j] + j", lambda i, j: x[i, j] + j
        self.lines.append(f"{name}[i] = {fold}[j]({inside})")
        return name, np.array([FOLDS[fold]([f(i, j) for j in range(m)]) for i in range(n)], float)

    def folded(self):
        """Every assignment of a fold, with a guard over kept and folded indices."""
        n, m = self.size(), self.size()
        value, x = self.tensor(n, m)
        guard, g = self.tensor(n, m)
        op = self.rng.choice(["=", "+=", "max=", "min=", "*=", "or=", "avg="])
        fold = {"=": sum, "+=": sum, "max=": max, "min=": min, "*=": lambda v: float(np.prod(v)), "or=": lambda v: float(any(v)), "avg=": lambda v: sum(v) / len(v)}[op]
        nothing = {"max=": -np.inf, "min=": np.inf, "*=": 1.0}.get(op, 0.0)
        c, name = self.rng.randint(-2, 1), f"R{self.number}"
        rows = [[x[i, j] * (j + 1) for j in range(m) if g[i, j] > c and i <= j + 1] for i in range(n)]
        if op == "avg=" and not all(rows):
            return None
        self.lines.append(f"{name}[i] {op} {value}[i, j] (j + 1) where {guard}[i, j] > {c}, i <= j + 1")
        return name, np.array([float(fold(r)) if r else nothing for r in rows])

    def relation(self):
        """A relation as a tensor, and a rule beside the equation that says the same."""
        n = self.rng.randint(2, 4)
        rel, name = f"Rel{self.number}", f"R{self.number}"
        rows = sorted({(self.rng.randrange(n), self.rng.randrange(n)) for _ in range(self.rng.randint(1, 6))} | {(n - 1, n - 1)})
        self.lines += [f"relation {rel}(a: int, b: int)"] + [f"{rel}({a}, {b})" for a, b in rows]
        self.lines += [f"Two{self.number}(x, z) <- {rel}(x, y), {rel}(y, z)", f"{name}[x, z] = Two{self.number}[x, z] + 10 * {rel}[x, y] {rel}[y, z]"]
        out = np.zeros((n, n))
        for a, b, c in spread(n, n, n):
            out[a, c] += 10 * ((a, b) in rows and (b, c) in rows)
        return name, out + (out > 0)

    def several_terms(self):
        """Terms that each sum over their own indices, divisions, composite places and gathers."""
        n, m, k = self.size(), self.size(), self.size()
        a, x = self.tensor(n, m)
        b, y = self.tensor(n * k)
        c, z = self.tensor(4, m)
        idx, at = self.tensor(n, low=0, high=3)
        name = f"R{self.number}"
        self.lines.append(f"dim n{self.number} = {n}, k{self.number} = {k}")
        i, kk = f"n{self.number}", f"k{self.number}"
        self.lines.append(f"{name}[{i}] = {a}[{i}, j] - {b}[({i} {kk})] / 2 + {c}[{idx}[{i}], j'] ({i} + 1)")
        out = np.zeros(n)
        for p in range(n):
            out[p] = sum(x[p, j] for j in range(m)) - sum(y[p * k + q] / 2 for q in range(k)) + sum(z[int(at[p]), j] * (p + 1) for j in range(m))
        return name, out


KINDS = [Maker.slice_read, Maker.slice_write, Maker.scatter, Maker.pooling, Maker.recurrence, Maker.fixpoint, Maker.lifted, Maker.named_fold, Maker.folded,
         Maker.relation, Maker.several_terms]


def make(rng, number):
    while True:
        maker = Maker(rng, number)
        found = rng.choice(KINDS)(maker)
        if found:
            return maker.lines, found[0], np.asarray(found[1], float)


def main():
    tl, wanted = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, wanted, BATCH):
            rng = random.Random(f"loops {seed} {first}")
            problem = run(tl, [make(rng, k) for k in range(first, min(first + BATCH, wanted))], folder)
            if problem:
                bad += 1
                print(f"statements {first}.. of seed {seed}:\n{problem}\n")
    print(f"{wanted} statements, {bad or 'no'} difference{'s' if bad > 1 else ''}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
