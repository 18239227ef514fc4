"""Random tensor equations, run by `tl run` and evaluated here by their definition: every result must agree.

usage: random_equations.py TL [EQUATIONS] [SEED]

An equation is evaluated here over arrays with one axis for each of its indices, the way docs/language.md says: every
term sums over its own indices, a function argument over those that occur nowhere else. Products of plain reads are
compared with numpy.einsum as well. Values are small whole numbers, so sums are exact in float32.
"""
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import numpy as np

BATCH = 250
NAMES = "ijklmn"
BINARY = {"+": np.add, "-": np.subtract, ">": np.greater, "<=": np.less_equal, "==": np.equal}


class Case:
    """One equation: the text that declares its tensors and defines R<number>, and what the result must be."""

    def __init__(self, rng, number, declared):
        self.rng, self.number, self.declared = rng, number, declared
        self.n = rng.randint(1, 5)
        suffix = str(number) if declared else ""
        self.names = [c + suffix for c in NAMES[: self.n]]
        self.size = [rng.choice([1, 2, 2, 3, 3, 4]) for _ in self.names]
        self.before, self.tensors, self.anchored, self.einsum = [], 0, set(), None
        if declared:
            self.before.append("dim " + ", ".join(f"{n} = {s}" for n, s in zip(self.names, self.size)))

    # ---- arrays with one axis for each index ---------------------------------------------------------
    def grid(self, label):
        return np.arange(self.size[label]).reshape([-1 if k == label else 1 for k in range(self.n)])

    def fold(self, x, over, op=np.add):
        for k in over:
            full = list(x.shape)
            full[k] = self.size[k]
            x = op.reduce(np.broadcast_to(x, full), axis=k, keepdims=True)
        return x

    # ---- what is read --------------------------------------------------------------------------------
    def tensor(self, sizes, values=(-3, 3), axes=None):
        """Declares a tensor of random whole numbers; axes: its labels, where all are plain."""
        x = np.array([self.rng.randint(*values) for _ in range(int(np.prod(sizes)))], float).reshape(sizes)
        name = f"T{self.number}_{self.tensors}"
        self.tensors += 1
        heads = f"[{', '.join(self.names[k] for k in axes)}]" if axes and self.declared and len(set(axes)) == len(axes) else ""
        self.before.append(f"let {name}{heads} = {json.dumps(x.astype(int).tolist())}")
        return name, x

    def plain(self, labels):
        name, x = self.tensor([self.size[k] for k in labels], axes=labels)
        self.anchored |= set(labels)
        return name, x

    def position(self, label):
        """text, size of the axis, positions as an array, labels of a place that holds index `label`."""
        s, g, i = self.size[label], self.grid(label), self.names[label]
        anchored = label in self.anchored or self.declared
        kind = self.rng.randrange(14) if anchored else 0
        self.anchored.add(label)
        if kind == 8:
            c = self.rng.randint(-1, 2)
            return f"{i} {'+' if c >= 0 else '-'} {abs(c)}", s + self.rng.randint(0, 1), g + c, {label}
        if kind == 9:
            return f"{s - 1} - {i}", s, s - 1 - g, {label}
        if kind == 10:
            return f"2 * {i}", 2 * s - self.rng.randint(0, 1), 2 * g, {label}
        if kind == 11:
            return f"{i} / 2", s, g // 2, {label}
        if kind == 12:
            other = self.rng.choice(sorted(self.anchored)) if self.anchored else label
            return f"{i} + {self.names[other]}", s + self.rng.randint(0, self.size[other]), g + self.grid(other), {label, other}
        if kind == 13:
            wide = self.rng.randint(1, 4)
            name, idx = self.tensor([s], (0, wide - 1), axes=[label])
            return f"{name}[{i}]", wide, idx.reshape(g.shape).astype(int), {label}
        return i, s, g, {label}

    def read(self, labels):
        """A read that holds all of `labels`: text, array, the labels it has."""
        labels = list(labels)
        self.rng.shuffle(labels)
        if self.rng.random() < 0.35:
            name, x = self.plain(labels)
            order = sorted(labels)
            x = x.transpose([labels.index(k) for k in order]).reshape([self.size[k] if k in labels else 1 for k in range(self.n)])
            return (f"{name}[{', '.join(self.names[k] for k in labels)}]" if labels else name), x, set(labels)
        places, k, extra = [], 0, 0
        while k < len(labels):
            if k + 1 < len(labels) and self.declared and self.rng.random() < 0.15:
                a, b = labels[k], labels[k + 1]
                places.append((f"({self.names[a]} {self.names[b]})", self.size[a] * self.size[b], self.grid(a) * self.size[b] + self.grid(b), {a, b}))
                self.anchored |= {a, b}
                k += 2
                continue
            places.append(self.position(labels[k]))
            if len(labels) + extra < 5 and self.rng.random() < 0.08:
                extra += 1
                places.append((self.names[labels[k]], self.size[labels[k]], self.grid(labels[k]), {labels[k]}))
                self.anchored.add(labels[k])
            k += 1
        if self.rng.random() < 0.2:
            wide = self.rng.randint(1, 3)
            at = self.rng.randrange(wide)
            places.insert(self.rng.randint(0, len(places)), (str(at), wide, np.full([1] * self.n, at), set()))
        name, x = self.tensor([p[1] for p in places])
        inside, index = True, []
        for (_, size, at, _) in places:
            inside = inside & (at >= 0) & (at < size)
            index.append(np.clip(at, 0, size - 1))
        if not places:
            return name, np.full([1] * self.n, float(x)), set()
        value = np.where(inside, x[tuple(np.broadcast_arrays(*index))], 0.0)
        return f"{name}[{', '.join(p[0] for p in places)}]", value, set().union(*(p[3] for p in places))

    # ---- expressions: (text, labels, function of the kept labels to an array) --------------------------
    def subset(self):
        return self.rng.sample(range(self.n), self.rng.randint(0 if self.rng.random() < 0.15 else 1, min(self.n, 4)))

    def factor(self, depth):
        k = self.rng.random()
        if depth < 2 and k < 0.06:  # a sum in parentheses: each of its terms sums what it alone has
            t, labels, f = self.sum(depth + 1, 2)
            return f"({t})", labels, f
        if depth < 2 and k < 0.12:
            name, op = self.rng.choice([("abs", np.abs), ("relu", lambda x: np.maximum(x, 0)), ("sign", np.sign), ("square", np.square)])
            t, labels, f = self.sum(depth + 1, 2)
            return f"{name}({t})", labels, lambda keep: op(f(keep))
        if depth < 2 and k < 0.16:
            name, op = self.rng.choice([("max", np.maximum), ("min", np.minimum)])
            (ta, la, fa), (tb, lb, fb) = self.product(depth + 1, 2), self.product(depth + 1, 2)
            return f"{name}({ta}, {tb})", la | lb, lambda keep: op(fa(keep | lb), fb(keep | la))
        if depth < 2 and k < 0.22:
            name, op = self.rng.choice([("sum", np.add), ("max", np.maximum), ("min", np.minimum), ("prod", np.multiply)])
            t, labels, f = self.product(depth + 1, 2)
            over = [x for x in labels if self.rng.random() < 0.5]
            if over and set(over) <= self.anchored | (set(range(self.n)) if self.declared else set()):
                brackets = ", ".join(self.names[x] for x in over)
                if op is np.add:
                    return f"sum[{brackets}]({t})", labels - set(over), lambda keep: f(keep - set(over))
                return f"{name}[{brackets}]({t})", labels - set(over), lambda keep: self.fold(f(keep | set(over)), over, op)
            return f"({t})", labels, f
        if k < 0.26:
            c = self.rng.choice([2, 3, 0.5, 1])
            return str(c), set(), lambda keep: np.full([1] * self.n, float(c))
        if k < 0.29 and self.anchored:
            label = self.rng.choice(sorted(self.anchored))
            return self.names[label], {label}, lambda keep: self.grid(label).astype(float)
        t, x, labels = self.read(self.subset())
        if k > 0.95 and labels:
            return f"{t} ^ 2", labels, lambda keep: x ** 2
        return t, labels, lambda keep: x

    def product(self, depth, most):
        parts = [self.factor(depth) for _ in range(self.rng.randint(1, most))]
        text = parts[0][0]
        for p in parts[1:]:
            text += (" " if self.rng.random() < 0.5 and not p[0][0].isdigit() and p[0][0] != "(" else " * ") + p[0]
        labels = set().union(*(p[1] for p in parts))
        minus = self.rng.random() < 0.1
        divide = self.rng.choice([2, 4]) if self.rng.random() < 0.1 else 1

        def value(keep):
            x = np.full([1] * self.n, (-1.0 if minus else 1.0) / divide)
            for i, p in enumerate(parts):
                x = x * p[2](keep.union(*(o[1] for j, o in enumerate(parts) if j != i)))
            return self.fold(x, [k for k in labels - keep if x.shape[k] == self.size[k]])

        return ("-" if minus else "") + text + (f" / {divide}" if divide > 1 else ""), labels, value

    def sum(self, depth, most):
        parts = [self.product(depth, 4 if depth == 0 else 2) for _ in range(self.rng.choice([1, 1, 1, 2, 2, 3]) if depth == 0 else self.rng.randint(1, most))]
        text, ops = parts[0][0], []
        for p in parts[1:]:
            ops.append(self.rng.choice([1, -1]))
            text += (" + " if ops[-1] > 0 else " - ") + (f"({p[0]})" if p[0][0] == "-" else p[0])

        def value(keep):
            x = parts[0][2](keep)
            for sign, p in zip(ops, parts[1:]):
                x = x + sign * p[2](keep)
            return x

        return text, set().union(*(p[1] for p in parts)), value

    # ---- the equation --------------------------------------------------------------------------------
    def guard(self):
        (ta, xa, la), op = self.read(self.rng.sample(range(self.n), self.rng.randint(1, min(2, self.n)))), self.rng.choice([">", "<=", "=="])
        c = self.rng.randint(-2, 2)
        negated = self.rng.random() < 0.2
        x = BINARY[op](xa, c)
        return f"{'not ' if negated else ''}{'(' if negated else ''}{ta} {op} {c}{')' if negated else ''}", ~x if negated else x, la

    def make(self):
        text, labels, value = self.sum(0, 3)
        known = self.anchored | (set(range(self.n)) if self.declared else set())
        if not labels <= known:
            return None
        head = [k for k in sorted(labels if not self.declared or self.rng.random() < 0.8 else range(self.n)) if self.rng.random() < 0.55]
        self.rng.shuffle(head)
        assign = self.rng.choice(["=", "=", "=", "+=", "max=", "min=", "avg=", "or="])
        where = self.guard() if self.rng.random() < 0.25 else None
        if where and not where[2] <= known | self.anchored:
            return None
        keep = set(head)
        every = keep | labels | (where[2] if where else set())
        total = [self.size[k] if k in keep else 1 for k in range(self.n)]
        if assign in ("=", "+=") and (not where or where[2] <= keep):
            x = value(keep)
            x = np.where(where[1], x, 0) if where else x
        else:
            x = value(every)
            mask = where[1] if where else np.ones([1] * self.n, bool)
            shape = np.broadcast_shapes(x.shape, mask.shape)
            over = [k for k in range(self.n) if k not in keep and (k in labels or (where and k in where[2])) and shape[k] == self.size[k]]
            identity = {"max=": -np.inf, "min=": np.inf}.get(assign, 0)
            x, mask = np.broadcast_to(np.where(mask, x, identity), shape), np.broadcast_to(mask, shape)
            if assign == "or=":
                x = x != 0
            op = {"max=": np.maximum, "min=": np.minimum, "or=": np.logical_or}.get(assign, np.add)
            folded = self.fold(x, over, op)
            if assign == "avg=":
                with np.errstate(invalid="ignore", divide="ignore"):
                    folded = folded / self.fold(mask.astype(float), over)
            x = folded
        x = np.broadcast_to(x, total).astype(float)
        composite = len(head) >= 2 and self.rng.random() < 0.15
        name = f"R{self.number}"
        if composite:
            inner = " ".join(self.names[k] for k in head[:2])
            heads = [f"({inner})"] + [self.names[k] for k in head[2:]]
        else:
            heads = [self.names[k] for k in head]
        order = sorted(head)
        x = x.reshape([self.size[k] for k in order]).transpose([order.index(k) for k in head]) if head else x.reshape(())
        if composite:
            x = x.reshape([x.shape[0] * x.shape[1], *x.shape[2:]])
        first = None
        if not composite and head and assign in ("+=", "max=", "min=") and self.rng.random() < 0.4:
            first = np.array([self.rng.randint(-2, 2) for _ in range(x.size)], float).reshape(x.shape)
            self.before.append(f"let {name} = {json.dumps(first.astype(int).tolist())}")
            x = {"+=": np.add, "max=": np.maximum, "min=": np.minimum}[assign](first, x)
        if assign == "avg=" and not np.isfinite(x).all():
            return None  # an average of nothing
        guard = f" where {where[0]}" if where else ""
        if not head:
            if assign not in ("=", "+=") or where or not labels:
                return None
            self.before.append(f"let {name}[z] = [1.0]")
            self.before.append(f"{name}[z] := {text}")
            return self.before, name, x.reshape(1)
        self.before.append(f"{name}[{', '.join(heads)}] {assign} {text}{guard}")
        return self.before, name, x


def einsum_case(rng, number):
    """A product of plain reads, which numpy.einsum evaluates by itself."""
    case = Case(rng, number, False)
    operands = [case.rng.sample(range(case.n), rng.randint(1, min(4, case.n))) for _ in range(rng.randint(1, 4))]
    for labels in operands:
        if rng.random() < 0.2 and len(labels) < 4:
            labels.append(rng.choice(labels))
    pairs = [case.plain(labels) for labels in operands]
    have = sorted(set().union(*map(set, operands)))
    head = [k for k in have if rng.random() < 0.5] or have[:1]
    rng.shuffle(head)
    spec = ",".join("".join(NAMES[k] for k in labels) for labels in operands) + "->" + "".join(NAMES[k] for k in head)
    reads = " ".join(f"{n}[{', '.join(case.names[k] for k in labels)}]" for (n, _), labels in zip(pairs, operands))
    case.before.append(f"R{number}[{', '.join(case.names[k] for k in head)}] = {reads}")
    return case.before, f"R{number}", np.einsum(spec, *(x for _, x in pairs))


def softmax_case(rng, number):
    case = Case(rng, number, False)
    text, x, labels = case.read(range(case.n))
    if len(labels) < case.n or labels - case.anchored:
        return None
    axis = rng.choice(sorted(labels))
    heads = [case.names[k] + ("." if k == axis else "") for k in range(case.n)]
    guard, mask = "", np.ones([1] * case.n, bool)
    if rng.random() < 0.5:
        g, mask, more = case.guard()
        if more - case.anchored:
            return None
        guard = f" where {g}"
    x = np.broadcast_to(np.where(mask, x, -np.inf), case.size)
    largest = x.max(axis=axis, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(largest), largest, 0))
    total = e.sum(axis=axis, keepdims=True)
    case.before.append(f"R{number}[{', '.join(heads)}] = softmax({text}){guard}")
    return case.before, f"R{number}", np.divide(e, total, out=np.zeros_like(e), where=total > 0)


def make(rng, number):
    while True:
        kind = rng.random()
        case = einsum_case(rng, number) if kind < 0.25 else softmax_case(rng, number) if kind < 0.3 else Case(rng, number, rng.random() < 0.5).make()
        if case:
            return case


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    out = {}
    for name, t in json.loads(data[8 : 8 + n]).items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            kind = {"F32": "<f4", "BOOL": "?", "I32": "<i4", "U8": "u1"}[t["dtype"]]
            out[name] = np.frombuffer(data[8 + n + begin : 8 + n + end], kind).reshape(t["shape"])
    return out


def run(tl, cases, folder):
    program = "\n".join(line for before, _, _ in cases for line in before)
    found = "{" + ", ".join(f'"{name}": {name}' for _, name, _ in cases) + "}"
    path = pathlib.Path(folder) / "equations.tl"
    path.write_text(f'{program}\nsave_safetensors("{folder}/results.safetensors", {found})\n')
    done = subprocess.run([tl, "run", str(path)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        return f"exit {done.returncode}: {done.stderr[:2000]}"
    results = read_safetensors(f"{folder}/results.safetensors")
    bad = []
    for before, name, want in cases:
        have = results[name].astype(float)
        if have.shape != want.shape or not np.allclose(have, want, rtol=1e-5, atol=1e-5):
            bad.append("\n".join([*before, f"expected {want.tolist()}", f"found {have.tolist()}"]))
    return "\n\n".join(bad[:8])


def main():
    tl, wanted = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, wanted, BATCH):
            rng = random.Random(f"{seed} {first}")
            problem = run(tl, [make(rng, k) for k in range(first, min(first + BATCH, wanted))], folder)
            if problem:
                bad += 1
                print(f"equations {first}.. of seed {seed}:\n{problem}\n")
    print(f"{wanted} equations, {bad or 'no'} difference{'s' if bad > 1 else ''}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
