"""Speed of tl beside llama.cpp, in pairs: both sides run alternately in one session, each time as a fresh process with the same
number of threads, so that what else the machine does falls on both. Medians of the rounds, and the spread of their ratios.
A round in which other processes kept a tenth of a processor busy is run again, up to twice as many times as there are rounds.

    bench/compare.py --tl build/tl [-m MODEL ...] [-p 256] [-n 64] [-d 0] [-s 1] [-t 2] [-r 5] [--out FOLDER]

MODEL is a name that `tl models` lists or a path; without -m all models that are ready. Prints a Markdown table; --out writes
compare.md, compare.json, compare.csv and, where matplotlib is installed, compare.png.
llama.cpp comes from the package llama-cpp-python, by its low-level interface (`make bench` installs it).
"""
import argparse
import csv
import json
import os
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import time

MEASURES = ["decode_tokens_per_second", "prompt_tokens_per_second"]
COSTS = ["load_seconds", "first_token_seconds", "peak_rss_bytes"]
SHARES = ["share", "read_bytes_per_second"]  # of tl alone: decoding against a plain read of the same weights in the same process
DISTURBED = 0.1  # processors that others may keep busy in a round that counts


def arbitrary(i, n_vocab):
    """The ids that `tl bench` uses (cli/bench.c)."""
    mask = (1 << 64) - 1
    z = (i + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 32) * 0xD6E8FEB86659FD93 & mask
    first = 300 if n_vocab > 1000 else 0
    return first + (z >> 20) % (n_vocab - first)


# ---- one round of llama.cpp, in a process of its own ----------------------------------------------
def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def llama_round(a):
    import ctypes

    import llama_cpp as ll

    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    ll.llama_backend_init()
    python_rss, start = peak_rss(), time.perf_counter()
    model = ll.llama_model_load_from_file(a.model[0].encode(), ll.llama_model_default_params())
    params = ll.llama_context_default_params()
    params.n_ctx = max(a.prompt, a.depth + max(a.decode, 2) * a.sequences) + 8
    params.n_seq_max, params.kv_unified = a.sequences, True
    params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = a.threads
    context = ll.llama_init_from_model(model, params)
    result = {"load_seconds": time.perf_counter() - start}
    n_vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    memory = ll.llama_get_memory(context)

    def step(ids):
        tokens = (ll.llama_token * len(ids))(*ids)  # the batch only points to them
        if ll.llama_decode(context, ll.llama_batch_get_one(tokens, len(ids))) != 0:
            sys.exit("llama.cpp: llama_decode failed")
        ll.llama_synchronize(context)
        return ll.llama_get_logits_ith(context, -1)[0]

    def fill(n):
        ll.llama_memory_clear(memory, True)
        ids = [arbitrary(i, n_vocab) for i in range(n)]
        start = time.perf_counter()
        for i in range(0, n, 512):
            step(ids[i : i + 512])
        return time.perf_counter() - start

    batch = ll.llama_batch_init(a.sequences, 0, 1)

    def step_all(at, ids):  # one token for each sequence
        batch.n_tokens = a.sequences
        for k, token in enumerate(ids):
            batch.token[k], batch.pos[k], batch.n_seq_id[k], batch.logits[k] = token, at, 1, True
            batch.seq_id[k][0] = k
        if ll.llama_decode(context, batch) != 0:
            sys.exit("llama.cpp: llama_decode failed")
        ll.llama_synchronize(context)
        return [ll.llama_get_logits_ith(context, k)[0] for k in range(a.sequences)]

    def decode(at, n):
        for k in range(1, a.sequences):
            ll.llama_memory_seq_cp(memory, 0, k, 0, -1)
        ids = [[arbitrary(1000 + i * a.sequences + k, n_vocab) for k in range(a.sequences)] for i in range(n)]
        start = time.perf_counter()
        for i in range(n):
            step_all(at + i, ids[i])
        return time.perf_counter() - start

    fill(4)
    result["first_token_seconds"] = time.perf_counter() - start
    decode(4, 2)  # as tl bench: one round that does not count
    fill(a.prompt)
    result["prompt_tokens_per_second"] = a.prompt / fill(a.prompt)
    fill(a.depth)
    result["decode_tokens_per_second"] = a.decode * a.sequences / decode(a.depth, a.decode)
    result["peak_rss_bytes"] = peak_rss() - python_rss
    result["features"] = [f.split("=")[0].strip() for f in ll.llama_print_system_info().decode().removeprefix("CPU :").split("|") if "= 1" in f]
    print(json.dumps(result))


def peer_build(features):
    """What llama.cpp was compiled for; a warning where it leaves out what this processor has."""
    widest = [f for f in features if f.startswith(("AVX", "AMX", "NEON", "MATMUL", "SVE"))]
    cpu = pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").exists() else ""
    if " amx_int8" in cpu and "AMX_INT8" not in features:
        print("compare: this llama.cpp was built without its AMX products and is slower than it could be here; remove it and run this again by `make bench`:\n"
              "         .venv/bin/pip uninstall -y llama-cpp-python", file=sys.stderr)
        return " ".join(widest) + ", WITHOUT the AMX of this processor"
    return " ".join(widest)


# ---- pairs ------------------------------------------------------------------------------------------
def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode == -signal.SIGILL and "--llama-round" in command:
        sys.exit("llama.cpp stopped at an illegal instruction: gcc before 13 spoils its AMX products. Remove it and run this again by"
                 " `make bench`,\nwhich builds it with clang where the CPU has AMX: .venv/bin/pip uninstall -y llama-cpp-python")
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return json.loads(done.stdout)


def busy_seconds():
    """Processor time that all processes of this machine have taken, and what the host took from it; None where unknown."""
    try:
        with open("/proc/stat") as f:
            ticks = list(map(int, f.readline().split()[1:9]))
    except OSError:
        return None
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def run_watched(command):
    """The result, and how many processors others kept busy meanwhile."""
    before, own, start = busy_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = run_json(command)
    after, done, seconds = busy_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    if before is None or after is None:
        return result, 0.0
    ours = done.ru_utime + done.ru_stime - own.ru_utime - own.ru_stime
    return result, max(0.0, (after - before - ours) / seconds)


def measure(a, path):
    """The rounds of one model: a list of (tl, llama.cpp), the one that goes first alternating."""
    size = ["-p", str(a.prompt), "-n", str(a.decode), "-t", str(a.threads), "-s", str(a.sequences)]
    ours = [a.tl, "bench", "--json", "-r", "1", "-m", path, "-d", str(a.depth), *size]
    theirs = [sys.executable, __file__, "--llama-round", "-m", path, "--depth", str(a.depth), *size]
    rounds, disturbed = [], 0
    while len(rounds) < a.rounds:
        i = len(rounds)
        first, second = (ours, theirs) if i % 2 == 0 else (theirs, ours)
        (one, others), (two, more) = run_watched(first), run_watched(second)
        others = max(others, more)
        if others > a.others and disturbed < 2 * a.rounds:
            disturbed += 1
            print(f"{pathlib.Path(path).stem}: others kept {others:.2f} processors busy; round {i + 1} again", file=sys.stderr, flush=True)
            continue
        rounds.append((one, two) if i % 2 == 0 else (two, one))
        print(f"{pathlib.Path(path).stem}: round {i + 1} of {a.rounds}", file=sys.stderr, flush=True)
    return rounds


def summary(name, path, rounds):
    row = {"model": name, "bytes": os.path.getsize(path)}
    for key in MEASURES + COSTS:
        ours, theirs = [r[0][key] for r in rounds], [r[1][key] for r in rounds]
        ratios = [x / y for x, y in zip(ours, theirs)]
        row[key] = {"tl": statistics.median(ours), "llama.cpp": statistics.median(theirs), "ratio": statistics.median(ratios),
                    "least": min(ratios), "most": max(ratios), "runs": list(zip(ours, theirs))}
    for key in SHARES:  # what `tl bench` could not measure counts as 0
        runs = [r[0].get("decode_memory", {}).get(key) or 0 for r in rounds]
        row[key] = {"tl": statistics.median(runs), "runs": [(x, None) for x in runs]}
    return row


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def ready_models(a):
    return [(row["name"], row["path"]) for row in run_json([a.tl, "models", "--json"]) if row["ready"]]


def find_models(a):
    known = dict(ready_models(a))
    return [(m, known.get(m, m)) if m in known else (pathlib.Path(m).stem, m) for m in a.model] if a.model else list(known.items())


# ---- reports ------------------------------------------------------------------------------------------
def markdown(info, rows, a):
    several = f" x {a.sequences}" if a.sequences > 1 else ""
    depth = f" after {a.depth}" if a.depth else ""
    out = [f"{info['cpu']}, {info['isa']} kernels, {a.threads} threads; medians of {a.rounds} pairs; llama.cpp: llama-cpp-python {info['peer']} ({info['peer_build']})", "",
           f"| model | decode {a.decode}{several}{depth}: tl | llama.cpp | ratio (spread) | of a plain read | prefill {a.prompt}: tl | llama.cpp | ratio (spread) | first token | memory |",
           "|---|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        d, p, f, m = r[MEASURES[0]], r[MEASURES[1]], r["first_token_seconds"], r["peak_rss_bytes"]
        out.append(f"| {r['model']} | {d['tl']:.1f} | {d['llama.cpp']:.1f} | {d['ratio']:.2f} ({d['least']:.2f} to {d['most']:.2f}) "
                   f"| {100 * r['share']['tl']:.0f} % of {r['read_bytes_per_second']['tl'] / 1e9:.0f} GB/s "
                   f"| {p['tl']:.1f} | {p['llama.cpp']:.1f} | {p['ratio']:.2f} ({p['least']:.2f} to {p['most']:.2f}) "
                   f"| {f['tl']:.2f} / {f['llama.cpp']:.2f} s | {m['tl'] / 1e6:.0f} / {m['llama.cpp'] / 1e6:.0f} MB |")
    return "\n".join(out)


def plot(path, info, rows):
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return
    fig, axes = plt.subplots(1, 2, figsize=(10, 0.7 * len(rows) + 2))
    for ax, key, title in zip(axes, MEASURES, ["decode", "prefill"]):
        ratios = [r[key]["ratio"] for r in rows]
        spread = [[r[key]["ratio"] - r[key]["least"] for r in rows], [r[key]["most"] - r[key]["ratio"] for r in rows]]
        ax.barh([r["model"] for r in rows], ratios, xerr=spread, color="#4477aa")
        ax.axvline(1, color="black", linewidth=1)
        ax.set_title(f"{title}: times llama.cpp")
        ax.invert_yaxis()
    fig.suptitle(info["cpu"], fontsize=9)
    fig.tight_layout()
    fig.savefig(path, dpi=120)


def write_files(folder, info, rows, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.md").write_text(text + "\n")
    (folder / "compare.json").write_text(json.dumps({**info, "models": rows}, indent=1) + "\n")
    with open(folder / "compare.csv", "w", newline="") as f:
        table = csv.writer(f)
        table.writerow(["model", "measure", "round", "tl", "llama.cpp"])
        for r in rows:
            for key in MEASURES + COSTS + SHARES:
                table.writerows([r["model"], key, i + 1, x, y] for i, (x, y) in enumerate(r[key]["runs"]))
    plot(folder / "compare.png", info, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tl", default="build/tl")
    parser.add_argument("-m", dest="model", action="append", default=[])
    parser.add_argument("-p", dest="prompt", type=int, default=256)
    parser.add_argument("-n", dest="decode", type=int, default=64)
    parser.add_argument("-d", "--depth", type=int, default=0)
    parser.add_argument("-s", "--sequences", type=int, default=1)
    parser.add_argument("-t", dest="threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("-r", dest="rounds", type=int, default=5)
    parser.add_argument("--others", type=float, default=DISTURBED, help="processors that others may keep busy in a round that counts")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--llama-round", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.llama_round:
        return llama_round(a)
    from importlib.metadata import version

    rows, isa, build = [], "", ""
    models = find_models(a)
    if not models:
        sys.exit("no model is ready: `tl pull` fetches one")
    for name, path in models:
        rounds = measure(a, path)
        isa = rounds[0][0]["isa"]
        build = build or peer_build(rounds[0][1]["features"])
        rows.append(summary(name, path, rounds))
    info = {"cpu": cpu_name(), "isa": isa, "threads": a.threads, "rounds": a.rounds, "prompt": a.prompt, "decode": a.decode,
            "depth": a.depth, "sequences": a.sequences, "peer": version("llama-cpp-python"), "peer_build": build}
    text = markdown(info, rows, a)
    print(text)
    if a.out:
        write_files(a.out, info, rows, text)


if __name__ == "__main__":
    main()
