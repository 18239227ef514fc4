"""A forward pass in float32 numpy over the dequantized weights of a GGUF file: what the engine's logits are compared with.

It is written from the papers and from the format's description, not from the engine: no cache, no batching, whole matrices.
Architectures: llama (Mistral too), qwen2, gemma, gemma3. A change of the model can be asked for, to check that a changed
line in a .tl program does what it says.

    oracle.py MODEL.gguf IDS OUT.npy [activation=relu] [layers=2] [attn_scale=0.5] [embed_scale=2] [residual_scale=0.5]

IDS: 1,2,3. OUT.npy: float32 [tokens, vocab].
"""
import math
import sys

import gguf
import numpy as np

F32 = np.float32


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return F32(0.5) * x * (1 + np.tanh(F32(math.sqrt(2 / math.pi)) * (x + F32(0.044715) * x * x * x)))


ACTIVATIONS = {"silu": silu, "gelu": gelu_tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
               "tanh": np.tanh}


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + F32(eps)) * weight


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Model:
    """The metadata and, tensor by tensor, the weights of a file. Matrices come as [out, in]."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.fields = {k: v.contents() for k, v in reader.fields.items() if not k.startswith(("GGUF", "tokenizer"))}
        self.tensors = {t.name: t for t in reader.tensors}
        self.arch = self.fields["general.architecture"]
        self.ready = {}  # dequantized weights of the layer at hand

    def key(self, name, default=None):
        return self.fields.get(f"{self.arch}.{name}", default)

    def has(self, name):
        return name in self.tensors

    def __getitem__(self, name):
        if name not in self.ready:
            t = self.tensors[name]
            self.ready[name] = gguf.quants.dequantize(t.data, t.tensor_type).astype(F32).reshape([int(n) for n in reversed(t.shape)])
        return self.ready[name]

    def linear(self, x, name):
        y = x @ self[name + ".weight"].T
        return y + self[name + ".bias"] if self.has(name + ".bias") else y


def rope_angles(m, n, width, base, scaled):
    """cos and sin, [n, width/2], and the factor on both that YaRN asks for (Peng et al. 2023, section 3.4)."""
    pair = np.arange(width // 2, dtype=np.float64)
    freq = base ** (-2 * pair / width)
    magnitude = 1.0
    kind, factor = m.key("rope.scaling.type", "none"), m.key("rope.scaling.factor", 1.0)
    if m.has("rope_freqs.weight"):
        freq = freq / m["rope_freqs.weight"].astype(np.float64)
    if scaled and kind == "linear":
        freq = freq / factor
    if scaled and kind == "yarn":
        train = m.key("rope.scaling.original_context_length")

        def turns(count):  # the pair that turns `count` times within the trained context
            return width * math.log(train / (count * 2 * math.pi)) / (2 * math.log(base))

        low, high = max(math.floor(turns(32)), 0), min(math.ceil(turns(1)), width - 1)
        ramp = np.clip((pair - low) / max(high - low, 1e-3), 0, 1)
        freq = freq / factor * ramp + freq * (1 - ramp)
        magnitude = 1 + 0.1 * math.log(factor)
    angle = np.arange(n, dtype=np.float64)[:, None] * freq
    return (np.cos(angle) * magnitude).astype(F32), (np.sin(angle) * magnitude).astype(F32)


def rope(x, angles, halves):
    """x: [n, heads, width]. halves: pairs are (i, i + width/2); otherwise (2i, 2i + 1)."""
    cos, sin = angles[0][:, None, :], angles[1][:, None, :]
    y = x.copy()
    rotated = 2 * cos.shape[-1]
    if halves:
        half = rotated // 2
        a, b = x[..., :half], x[..., half:rotated]
        y[..., :half], y[..., half:rotated] = a * cos - b * sin, a * sin + b * cos
    else:
        a, b = x[..., 0:rotated:2], x[..., 1:rotated:2]
        y[..., 0:rotated:2], y[..., 1:rotated:2] = a * cos - b * sin, a * sin + b * cos
    return y


def attention(m, x, layer, angles, window, change):
    n = len(x)
    heads, kv_heads = m.key("attention.head_count"), m.key("attention.head_count_kv", m.key("attention.head_count"))
    prefix = f"blk.{layer}."
    q = m.linear(x, prefix + "attn_q").reshape(n, heads, -1)
    k = m.linear(x, prefix + "attn_k").reshape(n, kv_heads, -1)
    v = m.linear(x, prefix + "attn_v").reshape(n, kv_heads, -1)
    eps = m.key("attention.layer_norm_rms_epsilon")
    if m.has(prefix + "attn_q_norm.weight"):
        q, k = rms_norm(q, m[prefix + "attn_q_norm.weight"], eps), rms_norm(k, m[prefix + "attn_k_norm.weight"], eps)
    halves = m.arch != "llama"
    q, k = rope(q, angles, halves), rope(k, angles, halves)
    group = heads // kv_heads
    scores = np.einsum("phc,shc->hps", q, np.repeat(k, group, axis=1)) / F32(math.sqrt(q.shape[-1])) * F32(change.get("attn_scale", 1))
    p, s = np.arange(n)[:, None], np.arange(n)[None, :]
    sees = (s <= p) & ((p - s < window) if window else True)
    weights = softmax(np.where(sees, scores, F32(-np.inf)))
    mixed = np.einsum("hps,shc->phc", weights, np.repeat(v, group, axis=1)).reshape(n, -1)
    return m.linear(mixed, prefix + "attn_output")


def feed_forward(m, x, layer, activation):
    prefix = f"blk.{layer}."
    return m.linear(activation(m.linear(x, prefix + "ffn_gate")) * m.linear(x, prefix + "ffn_up"), prefix + "ffn_down")


def layer_kind(m, layer):
    """(sliding window or None, RoPE base, whether its positions are scaled): in gemma3 every sixth layer is global."""
    base = m.key("rope.freq_base", 10000.0)
    if m.arch == "gemma3" and (layer + 1) % m.key("attention.sliding_window_pattern", 6) != 0:
        return m.key("attention.sliding_window"), m.key("rope.freq_base_swa", 10000.0), False
    return None, base, True


def head_width(m):
    return m.key("rope.dimension_count") or m.key("attention.key_length") or m.key("embedding_length") // m.key("attention.head_count")


def block(m, x, layer, activation, change):
    prefix, eps = f"blk.{layer}.", m.key("attention.layer_norm_rms_epsilon")
    residual = F32(change.get("residual_scale", 1))
    window, base, scaled = layer_kind(m, layer)
    angles = rope_angles(m, len(x), head_width(m), base, scaled)
    y = attention(m, rms_norm(x, m[prefix + "attn_norm.weight"], eps), layer, angles, window, change)
    if m.has(prefix + "post_attention_norm.weight"):
        y = rms_norm(y, m[prefix + "post_attention_norm.weight"], eps)
    x = x + residual * y
    y = feed_forward(m, rms_norm(x, m[prefix + "ffn_norm.weight"], eps), layer, activation)
    if m.has(prefix + "post_ffw_norm.weight"):
        y = rms_norm(y, m[prefix + "post_ffw_norm.weight"], eps)
    return x + residual * y


def hidden_all(m, sequences, change=None):
    """What the last norm makes, float32 [tokens, width], of each sequence of ids, apart from one another."""
    change = change or {}
    if m.arch not in ("llama", "qwen2", "gemma", "gemma3"):
        raise SystemExit(f"oracle: no architecture {m.arch}")
    gemma = m.arch.startswith("gemma")
    activation = ACTIVATIONS[change.get("activation", "gelu" if gemma else "silu")]
    table = m["token_embd.weight"]
    scale = F32(change.get("embed_scale", 1)) * F32(math.sqrt(table.shape[1]) if gemma else 1)
    xs = [table[list(ids)] * scale for ids in sequences]
    for layer in range(int(change.get("layers", m.key("block_count")))):
        m.ready = {"token_embd.weight": table}
        xs = [block(m, x, layer, activation, change) for x in xs]
    norm, eps = m["output_norm.weight"], m.key("attention.layer_norm_rms_epsilon")
    return [rms_norm(x, norm, eps).astype(F32) for x in xs]


def forward_all(path, sequences, change=None):
    """Logits float32 [tokens, vocab] of each sequence of ids; a layer is dequantized once for all."""
    m = Model(path)
    xs = hidden_all(m, sequences, change)
    head = m["output.weight"] if m.has("output.weight") else m["token_embd.weight"]
    return [(x @ head.T).astype(F32) for x in xs]


def forward(path, ids, change=None):
    return forward_all(path, [ids], change)[0]


def mean_kl(reference, other):
    """Mean over positions of KL(softmax(reference) || softmax(other)), in float64."""
    total = 0.0
    for a, b in zip(reference, other):
        a, b = a.astype(np.float64), b.astype(np.float64)
        a, b = a - a.max(), b - b.max()
        a, b = a - math.log(np.exp(a).sum()), b - math.log(np.exp(b).sum())
        total += float((np.exp(a) * (a - b)).sum())
    return total / len(reference)


if __name__ == "__main__":
    changes = dict(word.split("=", 1) for word in sys.argv[4:])
    changes = {k: v if k == "activation" else float(v) for k, v in changes.items()}
    np.save(sys.argv[3], forward(sys.argv[1], [int(i) for i in sys.argv[2].split(",")], changes))
