#!/usr/bin/env python3
"""Compares the Datalog engine with clingo and DuckDB, one thread each, in pairs: ours, theirs, ours, theirs, ...

usage: compare.py BENCH_LOGIC [ROUNDS] [tc|sg ...]

BENCH_LOGIC is the program of bench/logic/logic.c. clingo comes with Debian's package gringo, DuckDB with
`pip install duckdb`; one that is missing is left out. Times: ours and DuckDB's are of the evaluation alone with the
facts loaded; clingo's is the whole process, since it loads and grounds in one go, and is set against our whole process.
The number of result rows must be the same everywhere.
"""
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

WORKLOADS = {  # name: (nodes, edges, clingo rules, SQL)
    "tc": (1400, 4200, "t(X,Y) :- e(X,Y). t(X,Z) :- t(X,Y), e(Y,Z).",
           "WITH RECURSIVE t(x, y) AS (SELECT x, y FROM e UNION SELECT t.x, e.y FROM t JOIN e ON t.y = e.x) SELECT count(*) FROM t"),
    "sg": (20000, 2500, "t(X,Y) :- e(A,X), e(A,Y), X != Y. t(X,Y) :- e(A,X), t(A,B), e(B,Y).",
           "WITH RECURSIVE t(x, y) AS (SELECT p.x, q.x FROM (SELECT y AS x, x AS a FROM e) p JOIN (SELECT y AS x, x AS a FROM e) q "
           "ON p.a = q.a WHERE p.x <> q.x UNION SELECT p.y, q.y FROM t JOIN e p ON p.x = t.x JOIN e q ON q.x = t.y) SELECT count(*) FROM t"),
}


def edges(name, n, m, seed=1):
    """The graph that logic.c makes: the same generator, the same order of draws."""
    state = seed

    def draw(k):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % k

    found = []
    for i in range(m):
        a, b = draw(n), draw(n)
        if name == "sg":
            a, b = draw(i // 3 + 1), i + 1
        draw(100)
        found.append((a, b))
    return found


def ours(bench, name, n, m):
    start = time.perf_counter()
    words = subprocess.run([bench, name, str(n), str(m)], capture_output=True, text=True, check=True).stdout.split()
    return int(words[2]), float(words[4]) / 1e3, time.perf_counter() - start


def clingo(path):
    start = time.perf_counter()
    # The rules hide the answer with #show, since it would take longer to print than to find.
    out = subprocess.run(["clingo", path, "--outf=1", "-V1"], capture_output=True, text=True).stdout
    return out, time.perf_counter() - start


def main():
    bench, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    try:
        import duckdb
    except ImportError:
        duckdb = None
    for name, (n, m, rules, sql) in WORKLOADS.items():
        if sys.argv[3:] and name not in sys.argv[3:]:
            continue
        graph = edges(name, n, m)
        against = {"clingo": [], "DuckDB": []}
        rows, mine = 0, []
        if duckdb:
            db = duckdb.connect(config={"threads": 1})
            db.execute("CREATE TABLE e(x INT, y INT)")
            db.executemany("INSERT INTO e VALUES (?, ?)", sorted(set(graph)))
        with tempfile.NamedTemporaryFile("w", suffix=".lp") as program:
            program.write(rules + "\n#show.\n" + "".join(f"e({a},{b}).\n" for a, b in graph))
            program.flush()
            counted = None
            for _ in range(rounds):
                rows, seconds, whole = ours(bench, name, n, m)
                mine.append(seconds)
                if shutil.which("clingo"):
                    against["clingo"].append(clingo(program.name)[1] / whole)
                    rows, seconds, whole = ours(bench, name, n, m)
                if duckdb:
                    start = time.perf_counter()
                    counted = db.execute(sql).fetchone()[0]
                    against["DuckDB"].append((time.perf_counter() - start) / seconds)
            if counted is not None and counted != rows:
                sys.exit(f"{name}: {rows} rows here, {counted} in DuckDB")
            if shutil.which("clingo"):
                with open(program.name, "a", encoding="utf-8") as more:
                    more.write("n(N) :- N = #count{X,Y : t(X,Y)}. #show n/1.\n")
                found = clingo(program.name)[0]
                if f"n({rows})" not in found:
                    sys.exit(f"{name}: clingo finds another number than {rows}")
        print(f"{name}: {rows} rows in {statistics.median(mine) * 1e3:.0f} ms; "
              + ", ".join(f"{k} takes {statistics.median(v):.1f} times as long (pairs {min(v):.1f} to {max(v):.1f})" for k, v in against.items() if v))


if __name__ == "__main__":
    main()
