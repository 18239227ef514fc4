"""Writes a chat model with random float32 weights and a byte-level vocabulary: 0.5 MB, always the same bytes.

    tiny.py OUT.gguf [ARCHITECTURE]
"""
import sys

try:
    import gguf
    import numpy as np
except ImportError:
    print("the Python packages of tests/requirements.txt are not installed")
    sys.exit(77)

TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WIDTH, LAYERS, HEADS, KV_HEADS, HIDDEN = 64, 2, 4, 2, 128


def byte_letters():
    """The letters that stand for bytes in GPT-2's vocabulary (Radford et al. 2019, encoder.py)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def write(path, architecture="llama", template=TEMPLATE, special=tuple(SPECIAL), edit=None):
    """`edit` is called with the writer once it knows all metadata and tensors, to change some of them."""
    letters = byte_letters()
    merges = ["h e", "l l", "he ll", "hell o", "Ġ t", "t h"]
    tokens = [*special] + letters + ["".join(m.split()) for m in merges]
    w = gguf.GGUFWriter(path, architecture)
    w.add_name("tiny")
    w.add_context_length(256)
    w.add_embedding_length(WIDTH)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(HIDDEN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(WIDTH // HEADS)
    w.add_vocab_size(len(tokens))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([3] * len(special) + [1] * (len(tokens) - len(special)))
    w.add_token_merges(merges)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    if template:
        w.add_chat_template(template)
    random = np.random.default_rng(7)

    def matrix(name, rows, columns):
        w.add_tensor(name + ".weight", (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32))

    matrix("token_embd", len(tokens), WIDTH)
    kv = WIDTH // HEADS * KV_HEADS
    for i in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{name}.weight", np.ones(WIDTH, np.float32))
        for name, rows, columns in (("attn_q", WIDTH, WIDTH), ("attn_k", kv, WIDTH), ("attn_v", kv, WIDTH), ("attn_output", WIDTH, WIDTH),
                                    ("ffn_gate", HIDDEN, WIDTH), ("ffn_up", HIDDEN, WIDTH), ("ffn_down", WIDTH, HIDDEN)):
            matrix(f"blk.{i}.{name}", rows, columns)
    w.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    matrix("output", len(tokens), WIDTH)
    if edit:
        edit(w)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    write(*sys.argv[1:])
