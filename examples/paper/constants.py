"""Prints what the programs of this folder are checked against, computed with numpy by other means than theirs.

usage: constants.py [--check]      with --check: every printed line must occur in a program of this folder
"""
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent


def grid(*sizes):
    return np.meshgrid(*[np.arange(s, dtype=float) for s in sizes], indexing="ij")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    y = np.exp(x - x.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


def norm(x):
    m = x - x.mean(-1, keepdims=True)
    return m / np.sqrt((m * m).mean(-1, keepdims=True) + 1e-5)


def layers():
    i, j, k = grid(3, 4, 4)
    w, x = np.sin(3 * i + 5 * j + 7 * k), np.cos(np.arange(4))
    for layer in w:
        x = sigmoid(layer @ x)
    return [x]


def rnn():
    a, b = grid(3, 3)
    c, d = grid(3, 2)
    t, k = grid(5, 2)
    w, v, u, x = np.sin(a + 2 * b), np.cos(2 * c + d), np.sin(t + k), np.zeros(3)
    for row in u:
        x = sigmoid(w @ x + v @ row)
    return [x]


def cnn():
    x, y, c = grid(6, 6, 2)
    padded = np.zeros((8, 8, 2))
    padded[:6, :6] = np.sin(x + 2 * y + 3 * c)
    dx, dy, c = grid(3, 3, 2)
    kernel, out = np.cos(dx - dy + c), np.zeros((6, 6))
    for r in range(6):
        for s in range(6):
            out[r, s] = max(0.0, float((padded[r:r + 3, s:s + 3] * kernel).sum()))
    return [[out.sum(), out[2, 3]]]


def gnn():
    n, d = grid(4, 3)
    x = np.sin(n + 2 * d)
    near = np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1)
    l, d, e = grid(2, 3, 3)
    agg, own, out = np.cos(l + d + 2 * e), np.sin(l + 2 * d + e), np.cos(3 * np.arange(3))
    for k in range(2):
        x = np.maximum(near @ x @ agg[k].T + x @ own[k].T, 0)
    return [sigmoid(x @ out), [sigmoid((x @ out).sum()), sigmoid(x[0] @ x[2])]]


def attention():
    p, d = grid(4, 6)
    x = np.sin(p + 2 * d)
    k, d = grid(3, 6)
    v, e = grid(5, 6)
    q, key, val = x @ np.cos(k + d).T, x @ np.sin(2 * k + d).T, x @ np.cos(v - e).T
    comp = softmax(q @ key.T / np.sqrt(3))
    return [comp[1], (comp @ val)[2]]


def transformer():
    b, h, k, d = grid(2, 2, 4, 8)
    wq, wk, wv = np.sin(b + 2 * h + 3 * k + 5 * d), np.cos(b + 3 * h + 2 * k + 5 * d), np.sin(2 * b + h + k + 3 * d)
    b, d, h, k = grid(2, 8, 2, 4)
    ws = np.cos(b + d + 2 * h + 3 * k).reshape(2, 8, 8)
    b, f, d = grid(2, 6, 8)
    wp = np.sin(b + 3 * f + 2 * d)
    b, d, f = grid(2, 8, 6)
    wm = np.cos(2 * b + d + 3 * f)
    t, d = grid(7, 8)
    wo, emb = np.sin(5 * t + d), np.cos(3 * t + 2 * d)
    p, d = grid(5, 8)
    x = emb[[3, 1, 4, 1, 5]] + np.where(d % 2 == 0, np.sin(p / 1e4 ** (d / 8)), np.cos(p / 1e4 ** ((d - 1) / 8)))
    for k in range(2):
        heads = [softmax((x @ wq[k, h].T) @ (x @ wk[k, h].T).T / 2) @ (x @ wv[k, h].T) for h in range(2)]
        x = norm(np.concatenate(heads, -1) @ ws[k].T + x)
        x = norm(np.maximum(x @ wp[k].T, 0) @ wm[k].T + x)
    return [x[4], softmax(x @ wo.T)[4]]


def tucker():
    p, q, r = grid(2, 2, 2)
    core = np.sin(1 + p + 2 * q + 4 * r)
    (i, p), (j, q), (k, r) = grid(4, 2), grid(5, 2), grid(6, 2)
    a = np.einsum("ip,jq,kr,pqr->ijk", np.cos(i + p), np.sin(1 + 2 * j + q), np.cos(k - 2 * r), core)
    return [[np.abs(a).sum(), a[1, 2, 3]]]


def main():
    bad = 0
    for program in (layers, rnn, cnn, gnn, attention, transformer, tucker):
        text = (HERE / f"{program.__name__}.tl").read_text(encoding="utf-8")
        for values in program():
            line = "[" + ", ".join(f"{v:.7f}" for v in values) + "]"
            if "--check" not in sys.argv:
                print(f"{program.__name__}: let want = {line}")
            elif line not in text:
                bad += 1
                print(f"{program.__name__}.tl lacks {line}")
    sys.exit(1 if bad else 0)


main()
