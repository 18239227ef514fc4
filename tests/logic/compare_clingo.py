#!/usr/bin/env python3
"""Random stratified Datalog programs, here and in clingo (Debian package gringo): every relation must have the same rows.

usage: compare_clingo.py DRIVER [PROGRAMS] [SEED]

DRIVER is the program of driver.c. The programs have recursion, mutual recursion, negation, comparisons, bounded
arithmetic, constants, wildcards, repeated variables, strings, and count, sum, min and max over a body. Exits with 77
(skipped) when there is no clingo.
"""
import random
import re
import shutil
import subprocess
import sys

OPS = ["==", "!=", "<", "<=", ">", ">="]


class Rule:
    """One rule, written for both sides."""

    def __init__(self, rng, head, rels, level, ints):
        self.rng, self.ints, self.bound, self.tl, self.lp = rng, ints, [], [], []
        below = [r for r in rels if r[2] <= level]
        for _ in range(rng.randint(1, 3)):
            self.atom(rng.choice(below), True)
        strict = [r for r in rels if r[2] < level]
        if rng.random() < 0.4 and strict:
            self.atom(rng.choice(strict), False)
        if rng.random() < 0.4 and self.bound:
            a, op, b = self.known(), rng.choice(OPS if ints else OPS[:2]), self.known()
            self.tl.append(f"{a[0]} {op} {b[0]}")
            self.lp.append(f"{a[1]} {'=' if op == '==' else op} {b[1]}")
        args = [self.known() for _ in range(head[1])]
        if ints and self.bound and rng.random() < 0.3:  # one step up, below a bound
            i, v = rng.randrange(head[1]), rng.choice(self.bound)
            self.tl.append(f"{v} < 9")
            self.lp.append(f"{v.upper()} < 9")
            args[i] = (f"{v} + 1", f"{v.upper()}+1")
        self.head_tl = f"{head[0]}({', '.join(a[0] for a in args)})"
        self.head_lp = f"{head[0].lower()}({','.join(a[1] for a in args)})"

    def constant(self):
        k = self.rng.randrange(5)
        return (str(k), str(k)) if self.ints else (f'"s{k}"', f'"s{k}"')

    def known(self):
        if not self.bound or self.rng.random() < 0.1:
            return self.constant()
        v = self.rng.choice(self.bound)
        return v, v.upper()

    def atom(self, rel, positive):
        args = []
        for _ in range(rel[1]):
            k = self.rng.random()
            if k < 0.1:
                args.append(("_", "_"))
            elif k < 0.2:
                args.append(self.constant())
            elif positive:
                v = f"v{self.rng.randrange(4)}"
                args.append((v, v.upper()))
            else:
                args.append(self.known())
        if positive:
            self.bound += [a[0] for a in args if a[0][0] == "v" and a[0] not in self.bound]
        self.tl.append(("" if positive else "not ") + f"{rel[0]}({', '.join(a[0] for a in args)})")
        self.lp.append(("" if positive else "not ") + f"{rel[0].lower()}({','.join(a[1] for a in args)})")

    def write(self, tl, lp):
        tl.append(f"{self.head_tl} <- {', '.join(self.tl)}")
        lp.append(f"{self.head_lp} :- {', '.join(self.lp)}.")


def fold_rule(rng, rels, level, tl, lp, ints):
    """F(g, fold) over the solutions of a body without wildcards, which clingo's sets of tuples then count alike."""
    for _ in range(20):
        rule = Rule(rng, ("F", 1, level), rels, level, ints)
        if any("_" in a for a in rule.tl) or len(rule.bound) < 2 or "+" in rule.head_tl or not rule.head_tl.startswith("F(v"):
            continue
        kind = rng.choice(["count", "sum", "min", "max"] if ints else ["count"])
        group = rule.head_tl[2:-1]
        what = rng.choice(rule.bound)
        weights = ",".join(v.upper() for v in rule.bound)
        body = ", ".join(rule.lp)
        tl.append(f"F({group}, {kind}({what})) <- {', '.join(rule.tl)}")
        term = {"count": weights}.get(kind, f"{what.upper()},{weights}")
        lp.append(f"fg({group.upper()}) :- {body}.")
        inner = body.replace(group.upper(), "G")
        lp.append(f"f(G,N) :- fg(G), N = #{kind}{{{term.replace(group.upper(), 'G')} : {inner}}}.")
        return True
    return False


def make(seed):
    rng = random.Random(seed)
    ints = rng.random() < 0.7
    rels = [(f"R{i}", rng.randint(1, 3), (0, 0, 0, 1, 1, 2, 2, 3)[i]) for i in range(8)]
    kind = "int" if ints else "string"
    tl = [f"relation {n}({', '.join(f'c{i}: {kind}' for i in range(a))})" for n, a, _ in rels]
    lp = []
    for n, a, level in rels:
        for _ in range(rng.randint(2, 8) if level == 0 else 0):
            row = ", ".join(str(rng.randrange(5)) if ints else f'"s{rng.randrange(5)}"' for _ in range(a))
            tl.append(f"{n}({row})")
            lp.append(f"{n.lower()}({row}).")
    for rel in rels:
        for _ in range(rng.randint(1, 3) if rel[2] else 0):
            Rule(rng, rel, rels, rel[2], ints).write(tl, lp)
    names = {r[0]: r[1] for r in rels}
    if rng.random() < 0.5 and fold_rule(rng, rels, 3, tl, lp, ints):
        names["F"] = 2
    return tl, lp, names


def rows_here(driver, tl, names):
    """Rows of every relation; a query's variables bear the relation's name, so one run answers all."""
    queries = [f"query {n}({', '.join(f'{n.lower()}_{i}' for i in range(a))})" for n, a in names.items()]
    done = subprocess.run([driver], input="\n".join(tl + queries) + "\n", capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + "\n".join(tl))
    rows = {n: set() for n in names}
    for line in done.stdout.splitlines():
        if "=" in line:
            rows[line.split("_")[0].upper()].add(tuple(v.split("=", 1)[1] for v in line.split(" ")))
    return rows


def main():
    driver, programs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    if not shutil.which("clingo"):
        print("skipped: there is no clingo (Debian: apt-get install gringo; tools/setup.sh test does)")
        sys.exit(77)
    total = 0
    for s in range(seed, seed + programs):
        tl, lp, names = make(s)
        out = subprocess.run(["clingo", "-V0", "--warn=none", "-"], input="\n".join(lp), capture_output=True, text=True, check=False).stdout
        theirs = {n: set() for n in names}
        for name, args in re.findall(r"(\w+)\(([^)]*)\)", out):
            if name.upper() in theirs:
                theirs[name.upper()].add(tuple(args.split(",")))
        if "SATISFIABLE" not in out:
            sys.exit(f"clingo refuses program {s}:\n{out}\n" + "\n".join(lp))
        for name, mine in rows_here(driver, tl, names).items():
            total += len(mine)
            if mine != theirs[name]:
                sys.exit(f"program {s}, {name}: here only {sorted(mine - theirs[name])}, in clingo only {sorted(theirs[name] - mine)}\n" + "\n".join(tl) + "\n\n" + "\n".join(lp))
    print(f"{programs} programs, {total} rows, no difference")


if __name__ == "__main__":
    main()
