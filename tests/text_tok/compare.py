#!/usr/bin/env python3
"""Compares token ids with llama.cpp (llama-cpp-python) and Hugging Face `tokenizers`, on thousands of varied lines.

    compare.py (--driver build/tests/text_tok/tok_driver | --tl build/tl) [-n LINES] [--seed S] MODEL.gguf...
    compare.py --golden FILE -n 150 MODEL.gguf     writes what the two agree on, for test_files.c

The Hugging Face tokenizer is built from the file's own tokens and merges (for SentencePiece vocabularies the merges follow
from the scores). It takes str only, so that invalid UTF-8 is given to it as llama.cpp reads it (byte-level BPE) or
not at all (SentencePiece, where bytes are kept). The peers themselves differ on some lines: llama.cpp takes "</s>" for a control
token in every vocabulary, and merges never reach over a byte that a byte-level vocabulary lacks, where `tokenizers` drops the byte first. On such
lines ours must be one of the two. Exits with 1 if a line is neither's.
"""
import argparse
import json
import random
import struct
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

WORDS = """the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you
were her all she there would their we him been has when who will more no if out so said what up its about into than them can
only other new some could time these two may then do first any my now such like our over man me even most made after also did
many before must through years where much your way well down should because each just those people mister how too little state
good very make world still own see men work long get here between both life being under never day same another know while last
don't I'm you're we've they'd she'll it's DON'T WE'VE Tokenization internationalization antidisestablishmentarianism""".split()
SCRIPTS = """Съешь же ещё этих мягких французских булок, да выпей чаю.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία με δάφνες.
いろはにほへと ちりぬるを わかよたれそ つねならむ。カタカナも漢字も書きます。
天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。寒来暑往，秋收冬藏。
모든 국민은 인간으로서의 존엄과 가치를 가지며, 행복을 추구할 권리를 가진다.
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق
דג סקרן שט בים מאוכזב ולפתע מצא חברה
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार भगवान श्रीराम
আমি বাংলায় গান গাই, আমি বাংলার গান গাই
தமிழ் மொழி உலகின் பழமையான மொழிகளில் ஒன்று
తెలుగు భాష చాలా మధురమైనది
ಕನ್ನಡ ನಾಡು ನುಡಿ
മലയാളം ഭാഷ
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน
ລາວ ພາສາ
កាន់តែពិសេសអាចខលចេញ
မြန်မာဘာသာစကား
བོད་སྐད་
ქართული ენა ძალიან ლამაზია
Հայերեն լեզուն
አማርኛ ቋንቋ ነው
ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ
Příliš žluťoučký kůň úpěl ďábelské ódy
Zażółć gęślą jaźń
Pijamalı hasta yağız şoföre çabucak güvendi. İIıi
Tiếng Việt có nhiều dấu thanh phức tạp
Fête à Noël où l'été s'achève, ça n'est-il pas l'œuvre?
Falsches Üben von Xylophonmusik quält jeden größeren Zwerg
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia. ¿Qué? ¡Sí!
Þjófum fíll úr æði bæ
e\u0301a\u0300o\u0308 n\u0303 combining Z\u0351\u036b\u0343a\u035alg\u0321o
\U0001d573\U0001d58a\U0001d591\U0001d591\U0001d594 ﬁ ﬂ Ⅷ ㎏ ½ ² ³ ₁ ① Ａ１
𐍈𐌰𐌹𐍂𐌰 𒀭 𓀀 𝄞 𠜎𠜱𠝹""".split("\n")
EMOJI = "😀 😂 🥹 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 🇯🇵 ❤️ ☃ ⌨️ 1️⃣ 🦙 🤖 ✅ 🚀 👨🏿‍💻 🫠".split(" ")
CODE = """int main(int argc, char **argv) {\n    printf("%d\\n", argc);\n    return 0;\n}
def f(x):\n\tif x == 0:\n\t\treturn None\n\n\treturn [i**2 for i in range(x)]  # squares
SELECT a.id, COUNT(*) AS n FROM t1 a LEFT JOIN t2 b ON a.id=b.id WHERE a.x<>'it''s' GROUP BY 1;
<div class="a b"><p>&nbsp;Hello &amp; bye</p><br/></div></s><b>x</b>
std::vector<std::pair<int, float>> v{{1, 2.0f}}; auto&& x = *p->q[0]; x <<= 3; y ^= ~z; a ? b : c;
{"key": [1, 2.5e-10, null, true], "näme": "va\\"lue\\u00e9"}
$ curl -sSL https://example.com/a/b?c=d&e=%20f#g | sed -e 's/\\/x/g' > /dev/null 2>&1
\\begin{equation} \\int_0^\\infty e^{-x^2} dx = \\frac{\\sqrt{\\pi}}{2} \\end{equation}
fn main() -> Result<(), Box<dyn Error>> { let x: &'static str = "hi"; println!("{x:?}"); Ok(()) }
#include <stdio.h>\r\n#define MAX(a,b) ((a)>(b)?(a):(b))\r\n\r\n""".split("\n")
SPECIALS = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<bos>", "<eos>", "<pad>", "<|endoftext|>", "<0x41>", "<0x0A>",
            "<start_of_turn>", "<end_of_turn>", "<unused7>", "<tool_call>", "<h1>", "</h1>", "[INST]", "<mask>", "▁", "▁▁a", "Ġ"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "\n\n\n", " \n", "\n ", "\t\t", "    ", "\u00a0", "\u3000", "\u2003", "\u200b",
          "\u0085", "\u2028", "\u180e", "\ufeff", "\v", "\f", "\x1c", "\x00", "\x7f"]


def number(r):
    kind = r.randrange(6)
    n = r.randrange(10 ** r.randint(1, 18))
    return [str(n), f"{n:,}", f"{n / 97:.{r.randint(0, 9)}f}", f"0x{n:X}", f"-{n}e{r.randint(-30, 30)}",
            "".join(r.choice("٠١٢٣४५६௭８９Ⅳ²½") for _ in range(r.randint(1, 7)))][kind]


def random_char(r):
    while True:
        c = r.choice([r.randrange(0x80), r.randrange(0x80, 0x800), r.randrange(0x800, 0x10000), r.randrange(0x1F000, 0x1FB00),
                      r.randrange(0x10000, 0x110000)])
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def assigned_char(r):
    import unicodedata
    while True:  # Python 3.11 knows Unicode 14: what every library under comparison knows too
        c = random_char(r)
        if unicodedata.category(c) != "Cn":
            return c


def line(r):
    """One text of up to some hundred bytes."""
    kind = r.randrange(14)
    if kind == 0:
        text = " ".join(r.choice(WORDS) for _ in range(r.randint(1, 30)))
    elif kind == 1:
        text = r.choice(SCRIPTS)
        cut = r.randrange(len(text))
        text = text[cut:] + r.choice(["", " ", "\n"]) + text[:cut]
    elif kind == 2:
        text = r.choice(["", " "]).join(r.choice(EMOJI) for _ in range(r.randint(1, 8)))
    elif kind == 3:
        text = "\n".join(r.choice(CODE) for _ in range(r.randint(1, 4)))
    elif kind == 4:
        text = r.choice([" ", ", ", "+", "\n", ""]).join(number(r) for _ in range(r.randint(1, 8)))
    elif kind == 5:
        text = "".join(r.choice(SPACES) * r.randint(1, 12) + r.choice(WORDS + [""]) for _ in range(r.randint(1, 8)))
    elif kind == 6:
        text = "".join(r.choice(SPECIALS) + r.choice(["", " ", "a", "\n"]) for _ in range(r.randint(1, 5)))
    elif kind == 7:
        text = r.choice("a1. =-*_#\n\t~é中😀") * r.randint(1, 200)
    elif kind == 8:
        text = "".join(assigned_char(r) for _ in range(r.randint(1, 30)))
    elif kind == 9:
        text = "".join(r.choice("'’sStTrReEvVlLdDmM ſ\n!1") for _ in range(r.randint(1, 40)))
    elif kind == 10:
        text = "".join(chr(r.randrange(128)) for _ in range(r.randint(1, 60)))
    elif kind == 11:
        data = bytearray("".join(r.choice(SCRIPTS + EMOJI + WORDS) for _ in range(r.randint(1, 3))).encode())
        for _ in range(r.randint(1, 6)):  # broken in places
            i = r.randrange(len(data) + 1)
            data[i:i + r.randint(0, 2)] = bytes(r.choice([0x80, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0xFF, 0xC0, 0xFE, 0x61])
                                                for _ in range(r.randint(0, 2)))
        return bytes(data)
    elif kind == 12:
        return bytes(r.choice([r.randrange(0xF5), r.randrange(0x80)]) for _ in range(r.randint(1, 40)))
    else:
        text = "".join(r.choice([lambda: r.choice(WORDS), lambda: number(r), lambda: r.choice(SPACES), lambda: r.choice(EMOJI),
                                 lambda: r.choice(SCRIPTS)[:9], lambda: r.choice(".,;:!?()[]{}<>/\\|@#$%^&*-_=+`~\"'…—«»")])()
                       for _ in range(r.randint(1, 40)))
    return text.encode()


def as_llama_reads(data):
    """The str that llama.cpp's byte-level BPE makes of bytes, or None where it has lone surrogates or over-large characters."""
    out, i = [], 0
    while i < len(data):
        b = data[i]
        n = 1 if b < 0x80 else 0 if b < 0xC0 else 2 if b < 0xE0 else 3 if b < 0xF0 else 4 if b < 0xF8 else 0
        tail = data[i + 1:i + n]
        if n == 0 or len(tail) != n - 1 or any(t & 0xC0 != 0x80 for t in tail):
            out.append("\ufffd")
            i += 1
            continue
        c = b if n == 1 else b & (0x7F >> n)
        for t in tail:
            c = c << 6 | t & 0x3F
        if c > 0x10FFFF or 0xD800 <= c < 0xE000:
            return None
        out.append(chr(c))
        i += n
    return "".join(out)


def decode_strictly(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def crashes_llama(data):
    """A four-byte form beyond U+10FFFF makes llama.cpp's tokenizer throw."""
    return any(data[i] == 0xF4 and data[i + 1] >= 0x90 or 0xF5 <= data[i] < 0xF8
               for i in range(len(data) - 3) if all(t & 0xC0 == 0x80 for t in data[i + 1:i + 4]))


QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def field(reader, key, default=None):
    f = reader.fields.get(key)
    return f.contents() if f else default


def merges_from_scores(tokens, scores, types):
    ids = {t: i for i, t in enumerate(tokens) if types[i] not in (2, 3, 6)}
    found = []
    for token, i in ids.items():
        for k in range(1, len(token)):
            a, b = ids.get(token[:k]), ids.get(token[k:])
            if a is not None and b is not None:
                found.append((-scores[i], i, a, b, token[:k], token[k:]))
    found.sort()
    return [(f[4], f[5]) for f in found]


def hf_tokenizer(path, parse_special):
    """(tokenizer, whether it keeps bytes that are no UTF-8)"""
    reader = gguf.GGUFReader(path)
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    vocab = {t: i for i, t in enumerate(tokens)}
    spm = field(reader, "tokenizer.ggml.model") == "llama"
    if spm:
        merges = merges_from_scores(tokens, field(reader, "tokenizer.ggml.scores"), types)
        unk = tokens[field(reader, "tokenizer.ggml.unknown_token_id", 0)]
        t = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token=unk, fuse_unk=True, byte_fallback=True))
        space = [normalizers.Replace(" ", "▁")]
        if field(reader, "tokenizer.ggml.add_space_prefix", True):
            space.insert(0, normalizers.Prepend("▁"))
        t.normalizer = normalizers.Sequence(space)
    else:
        merges = [tuple(m.split(" ")) for m in field(reader, "tokenizer.ggml.merges")]
        t = tokenizers.Tokenizer(models.BPE(vocab, merges))
        t.decoder = decoders.ByteLevel()
        pre = field(reader, "tokenizer.ggml.pre")
        if pre == "smollm":
            first = [pre_tokenizers.Digits(individual_digits=True)]
        elif pre == "qwen2":
            first = [pre_tokenizers.Split(Regex(QWEN2), "isolated")]
        elif pre == "gpt-2":
            first = []
        else:
            sys.exit(f"{path}: no Hugging Face rule for pre-tokenizer {pre}")
        t.pre_tokenizer = pre_tokenizers.Sequence(first + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre != "qwen2")])
    wanted = (3, 4) if parse_special else (4,)
    t.add_tokens([AddedToken(tokens[i], normalized=False, special=False) for i, k in enumerate(types) if k in wanted])
    return t, spm


def run_driver(driver, model, texts, parse_special):
    data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    done = subprocess.run([driver, model] + ["--parse-special"] * parse_special, input=data, stdout=subprocess.PIPE, check=True)
    return [[int(x) for x in row.split()] for row in done.stdout.decode().split("\n")[:-1]]


def run_tl(tl, model, texts, parse_special):
    rows = []
    with tempfile.NamedTemporaryFile() as f:
        for text in texts:
            f.seek(0)
            f.truncate()
            f.write(text)
            f.flush()
            done = subprocess.run([tl, "tokenize", "-m", model, "-f", f.name, "--json"] + ["--parse-special"] * parse_special,
                                  stdout=subprocess.PIPE, check=True)
            answer = json.loads(done.stdout)
            rows.append(answer["ids"] if isinstance(answer, dict) else answer)
    return rows


def write_golden(args, model, texts):
    """Lines of text in hex, a tab, ids; special tokens are parsed."""
    llama = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    hf, keeps_bytes = hf_tokenizer(model, True)
    with open(args.golden, "w", encoding="ascii") as out:
        for text in texts:
            as_str = decode_strictly(text) if keeps_bytes else as_llama_reads(text)
            if crashes_llama(text) or as_str is None:
                continue
            ids = llama.tokenize(text, add_bos=False, special=True)
            if ids == hf.encode(as_str, add_special_tokens=False).ids:
                out.write(f"{text.hex()}\t{' '.join(map(str, ids))}\n")


def compare(args, model, texts, parse_special):
    if args.tl:
        ours = run_tl(args.tl, model, texts, parse_special)
    else:
        ours = run_driver(args.driver, model, texts, parse_special)
    llama = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    hf, keeps_bytes = hf_tokenizer(model, parse_special)
    add_special = bool(args.tl)  # `tl tokenize` adds what the model asks for
    adds_bos = add_special and llama.tokenize(b"a", add_bos=True)[0] == llama.token_bos()
    equal = [0, 0]
    compared = [0, 0]
    disagree = bad = 0
    for text, got in zip(texts, ours, strict=True):
        peers = {}
        if not crashes_llama(text):
            peers["llama.cpp"] = llama.tokenize(text, add_bos=add_special, special=parse_special)
        as_str = decode_strictly(text) if keeps_bytes else as_llama_reads(text)
        if as_str is not None:
            ids = hf.encode(as_str, add_special_tokens=False).ids
            peers["tokenizers"] = [llama.token_bos()] * adds_bos + ids
        for i, who in enumerate(("llama.cpp", "tokenizers")):
            compared[i] += who in peers
            equal[i] += who in peers and peers[who] == got
        agreed = len(set(map(tuple, peers.values()))) < 2
        disagree += not agreed
        if peers and got not in peers.values():
            bad += 1
            if bad <= args.show:
                print(f"{model}: {text!r}\n  ours {got}\n  " + "\n  ".join(f"{w} {v}" for w, v in peers.items()))
    print(f"{model}: {len(texts)} lines{', special tokens parsed' if parse_special else ''}: {bad} differ; equal to llama.cpp "
          f"{equal[0]} of {compared[0]}, to tokenizers {equal[1]} of {compared[1]}; these two disagree on {disagree}", flush=True)
    return bad


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--driver")
    p.add_argument("--tl")
    p.add_argument("--golden")
    p.add_argument("-n", type=int, default=2500)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--show", type=int, default=5)
    p.add_argument("--parse-special", action="store_true", help="only with special tokens parsed (default: both ways)")
    p.add_argument("models", nargs="+")
    args = p.parse_args()
    if bool(args.driver) + bool(args.tl) + bool(args.golden) != 1:
        p.error("one of --driver, --tl and --golden")
    r = random.Random(args.seed)
    texts = [t.encode() for t in SPACES + SCRIPTS + CODE + EMOJI]
    while len(texts) < args.n:
        texts.append(line(r))
    if args.golden:
        return write_golden(args, args.models[0], texts)
    bad = 0
    for model in args.models:
        for parse_special in ([True] if args.parse_special else [False, True]):
            bad += compare(args, model, texts, parse_special)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
