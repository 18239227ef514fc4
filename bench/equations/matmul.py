#!/usr/bin/env python3
"""A float32 product of matrices, written as a tensor equation, beside numpy's OpenBLAS: one core, in pairs.

usage: matmul.py TL [SIZE] [ROUNDS]     (1024 and 5)

Every measurement is a fresh process on one core, ours and numpy's in turn; each takes the best of several products after
a first one that is not counted. OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are taken out of numpy's environment, so that
OpenBLAS finds out itself which kernels fit. The results are compared with each other.
"""
import os
import statistics
import subprocess
import sys
import tempfile

PROGRAM = """
let A[i, k] = load_npy("{0}/a.npy")
let B[k, j] = load_npy("{0}/b.npy")
let best = 1e9
for round in range({2}) {{
    X[i, k] = A[i, k] + round    // equal products would be computed once
    let ready = X[0, 0] as float
    let begin = time()
    C[i, j] = X[i, k] B[k, j]
    let done = C[0, 0] as float
    if round > 0 {{ best = min(best, time() - begin) }} else {{ save_npy("{0}/c.npy", C) }}
}}
print(best as float)
"""
PEER = """
import sys, time, numpy as np
a, b, best = np.load("{0}/a.npy"), np.load("{0}/b.npy"), 1e9
for r in range({2}):
    t = time.perf_counter()
    c = a @ b
    if r: best = min(best, time.perf_counter() - t)
d = np.load("{0}/c.npy")
if not np.allclose(c, d, rtol=1e-4, atol=1e-3): sys.exit("the products differ")
print(best)
"""


def seconds(command):
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    env.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(command, env=env, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}), check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def main():
    import numpy as np
    tl, size, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1024, int(sys.argv[3]) if len(sys.argv) > 3 else 5
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in "ab":
            np.save(f"{folder}/{name}.npy", rng.standard_normal((size, size), dtype=np.float32))
        with open(f"{folder}/matmul.tl", "w", encoding="utf-8") as f:
            f.write(PROGRAM.format(folder, size, 6))
        mine, theirs = [], []
        for _ in range(rounds):
            mine.append(seconds([tl, "run", "-t", "1", f"{folder}/matmul.tl"]))
            theirs.append(seconds([sys.executable, "-c", PEER.format(folder, size, 6)]))
        ratios = [a / b for a, b in zip(mine, theirs)]
        flops = 2e-9 * size ** 3
        print(f"{size}x{size}: {statistics.median(mine) * 1e3:.1f} ms ({flops / statistics.median(mine):.0f} GFLOP/s), OpenBLAS "
              f"{statistics.median(theirs) * 1e3:.1f} ms ({flops / statistics.median(theirs):.0f} GFLOP/s): "
              f"{statistics.median(ratios):.2f} times as long (pairs {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
