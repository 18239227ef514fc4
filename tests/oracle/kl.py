"""How far an engine is from exact: the mean KL divergence of its token probabilities from those of a float32 forward pass
over the same dequantized weights (oracle.py), on the three texts of texts/; beside it that of llama.cpp.

    kl.py --tl build/tl [--llama] [--limit 6e-3] [--threads N] [--device cuda] [--cache-type f16] [MODEL ...]

MODEL is a name that `tl models` lists or a path; without one all models that are ready.

--device: tl's are those of that device; beside them the mean KL from the probabilities that tl has on the CPU, and both perplexities.

--llama needs the package llama-cpp-python. Exit status 1 when tl's mean over the texts is above --limit, or above llama.cpp's.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import oracle

TEXTS = sorted((pathlib.Path(__file__).parent / "texts").glob("*.txt"))


def tl_score(a, model, text, folder, device=None):
    """Ids, logits and perplexity of the text, by `tl score`."""
    out = pathlib.Path(folder) / "logits.npy"
    threads = ["-t", str(a.threads)] if a.threads else []
    where = (["--device", device] if device else []) + (["--cache-type", a.cache_type] if a.cache_type else [])
    done = subprocess.run([a.tl, "score", "-m", model, "-f", text, "--json", "--logits", out, *threads, *where], check=True, stdout=subprocess.PIPE)
    said = json.loads(done.stdout)
    return said["ids"], np.load(out), said["perplexity"]


def llama_logits(model, ids, threads):
    """Logits by llama.cpp's low-level interface, one batch, all positions wanted."""
    import ctypes

    import llama_cpp as ll

    global quiet  # it is called as long as the library lives
    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    ll.llama_backend_init()
    handle = ll.llama_model_load_from_file(str(model).encode(), ll.llama_model_default_params())
    params = ll.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = len(ids)
    params.n_threads = params.n_threads_batch = threads or 2
    context = ll.llama_init_from_model(handle, params)
    batch = ll.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
    if ll.llama_decode(context, batch) != 0:
        raise SystemExit("llama.cpp: llama_decode failed")
    n_vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(handle))
    rows = [np.ctypeslib.as_array(ll.llama_get_logits_ith(context, i), (n_vocab,)).copy() for i in range(len(ids))]
    ll.llama_batch_free(batch)
    ll.llama_free(context)
    ll.llama_model_free(handle)
    return np.stack(rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tl", required=True)
    parser.add_argument("--llama", action="store_true")
    parser.add_argument("--limit", type=float)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--cache-type")
    parser.add_argument("--text", help="only this one of the texts")
    parser.add_argument("--if-ready", action="store_true", help="exit with 77 when a model has not been fetched")
    parser.add_argument("models", nargs="*")
    a = parser.parse_args()
    failed = False
    texts = [t for t in TEXTS if a.text in (None, t.stem)]
    listed = json.loads(subprocess.run([a.tl, "models", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    ready = {row["name"]: row["path"] for row in listed if row["ready"]}
    if a.if_ready and not set(a.models) <= set(ready):
        print("the model has not been fetched")
        sys.exit(77)
    for model in [ready.get(name, name) for name in a.models] or ready.values():
        with tempfile.TemporaryDirectory() as folder:
            got = [tl_score(a, model, text, folder, a.device) for text in texts]
            cpu = [tl_score(a, model, text, folder, "cpu") for text in texts] if a.device else []
        exact = oracle.forward_all(model, [ids for ids, _, _ in got])
        ours = [oracle.mean_kl(want, logits) for want, (_, logits, _) in zip(exact, got)]
        theirs = [oracle.mean_kl(want, llama_logits(model, ids, a.threads)) for want, (ids, _, _) in zip(exact, got)] if a.llama else []
        for i, (text, (ids, logits, perplexity)) in enumerate(zip(texts, got)):
            if len(ids) <= 100:
                sys.exit(f"{text} has only {len(ids)} tokens")
            line = f"{pathlib.Path(model).stem:20} {text.stem:8} {len(ids):4} tokens  tl {ours[i]:.3e}"
            if cpu:
                line += f"  the CPU's {oracle.mean_kl(exact[i], cpu[i][1]):.3e}, from the CPU's {oracle.mean_kl(cpu[i][1], logits):.3e}, perplexity {perplexity:.4f} and {cpu[i][2]:.4f}"
            print(line + (f"  llama.cpp {theirs[i]:.3e}" if theirs else ""), flush=True)
        mean = float(np.mean(ours))
        too_far = not mean <= (a.limit or float("inf")) or bool(theirs and mean > np.mean(theirs))
        failed |= too_far
        print(f"{pathlib.Path(model).stem:20} mean     tl {mean:.3e}" + (f"  llama.cpp {np.mean(theirs):.3e}" if theirs else "")
              + ("  TOO FAR" if too_far else ""), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
