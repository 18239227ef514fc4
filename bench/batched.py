#!/usr/bin/env python3
"""Many prompts side by side: `tl generate --prompts --parallel N` beside llama.cpp, in alternating pairs.

usage: batched.py [-m MODEL.gguf] [--tl build/tl] [--prompts 64] [--parallel 8] [-n 64] [-t 2] [--pairs 3]

llama.cpp runs through the low-level interface of llama-cpp-python (bench/requirements.txt): one context, a cache shared by N
sequences; each step decodes a token of every sequence under way, and when one ends the next prompt takes its place in the same
step (continuous batching). Both choose greedily and go on to N tokens whatever comes. Loading is not counted. At the end
the texts of tl are compared with those that it says of each prompt alone.
"""
import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

WORDS = "river stone light copper winter garden engine letter market harbor signal forest paper silver morning thunder".split()


def prompts(n):
    """Of 8 to about 90 tokens, all different."""
    out = []
    for i in range(n):
        a, b, c = (WORDS[(i * k + k) % len(WORDS)] for k in (1, 3, 7))
        text = f"Story {i}. The {a} and the {b}: " + f"once there was a {c} that nobody had seen, and the {a} said to it: " * (i % 5)
        out.append(text.strip())
    return out


class Peer:
    def __init__(self, model, parallel, threads, longest):
        import llama_cpp

        self.l, self.parallel = llama_cpp, parallel
        llama_cpp.llama_backend_init()
        silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
        self.keep = silent
        llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
        self.model = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())
        p = llama_cpp.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max, p.n_threads, p.n_threads_batch = parallel * longest, 512, 512, parallel, threads, threads
        if hasattr(p, "kv_unified"):
            p.kv_unified = True
        self.context = llama_cpp.llama_init_from_model(self.model, p)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def tokens(self, text):
        data, buffer = text.encode(), (self.l.llama_token * 4096)()
        n = self.l.llama_tokenize(self.vocab, data, len(data), buffer, 4096, True, False)
        return list(buffer[:n])

    def run(self, texts, n_predict):
        """Seconds for all; tokens of each."""
        import numpy as np

        l, b, waiting, live, out = self.l, self.batch, [self.tokens(t) for t in texts], {}, {}
        memory = l.llama_get_memory(self.context)
        l.llama_memory_clear(memory, True)
        free, at = list(range(self.parallel)), 0
        start = time.perf_counter()
        while live or at < len(waiting):
            b.n_tokens = 0
            rows = []

            def add(token, position, sequence, wanted):
                i = b.n_tokens
                b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, position, 1, sequence, wanted
                if wanted:
                    rows.append((i, sequence))
                b.n_tokens += 1

            for sequence, job in live.items():
                add(job["said"][-1], job["n"], sequence, True)
                job["n"] += 1
            while free and at < len(waiting) and b.n_tokens + len(waiting[at]) <= 512:
                sequence, ids = free.pop(0), waiting[at]
                for i, token in enumerate(ids):
                    add(token, i, sequence, i + 1 == len(ids))
                live[sequence] = {"index": at, "n": len(ids), "said": []}
                at += 1
            if l.llama_decode(self.context, b) != 0:
                sys.exit("llama_decode failed")
            for i, sequence in rows:
                logits = np.ctypeslib.as_array(l.llama_get_logits_ith(self.context, i), shape=(self.n_vocab,))
                job = live[sequence]
                job["said"].append(int(logits.argmax()))
                if len(job["said"]) == n_predict:
                    out[job["index"]] = job["said"]
                    del live[sequence]
                    l.llama_memory_seq_rm(memory, sequence, -1, -1)
                    free.append(sequence)
        return time.perf_counter() - start, out


def ours(a, file):
    done = subprocess.run([a.tl, "generate", "-m", a.model, "--prompts", file, "--parallel", str(a.parallel), "-t", str(a.threads)], capture_output=True, check=True, text=True)
    seconds = float(re.search(r"of replies in ([0-9.]+) s", done.stderr)[1])
    return seconds, [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default=os.path.expanduser("~/.cache/tensorlogic/smollm2.gguf"))
    parser.add_argument("--tl", default="build/tl")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("-n", "--n-predict", type=int, default=64)
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="only compare the texts with those of single runs")
    a = parser.parse_args()
    texts = prompts(a.prompts)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        for text in texts:
            f.write(json.dumps({"prompt": text, "max_tokens": a.n_predict, "temperature": 0, "ignore_eos": True}) + "\n")
        f.flush()
        if a.alone:
            said, same = ours(a, f.name)[1], 0
            for text, line in zip(texts, said):
                one = subprocess.run([a.tl, "generate", "-m", a.model, "-p", text, "-n", str(a.n_predict), "--temp", "0", "--ignore-eos", "--json", "-t", str(a.threads)],
                                     capture_output=True, check=True, text=True)
                same += json.loads(one.stdout)["text"] == line["text"]
            print(f"{same} of {len(texts)} texts are those of single runs")
            sys.exit(same != len(texts))
        peer, ratios = Peer(a.model, a.parallel, a.threads, 160 + a.n_predict), []
        total = a.prompts * a.n_predict
        for i in range(a.pairs):
            order = (lambda: peer.run(texts, a.n_predict)[0], lambda: ours(a, f.name)[0])
            first = order[i % 2]()
            second = order[1 - i % 2]()
            there, here = (first, second) if i % 2 == 0 else (second, first)
            ratios.append(there / here)
            print(f"llama.cpp {there:6.2f} s, {total / there:7.1f} tokens/s    tl {here:6.2f} s, {total / here:7.1f} tokens/s    ratio {ratios[-1]:.2f}", flush=True)
        print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
