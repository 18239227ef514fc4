"""Broken metadata, vocabularies, chat templates and programs: each is refused with a message that names what is wrong, or
works as the file means; nothing crashes, hangs or reads beyond. The names G22, G44 to G59 are those of the project's list of
malformed inputs; G1 to G43 are in tests/gguf and tests/run. Run under the sanitizers as well."""
import json
import time
import unittest

import tiny
from common import Case, main

TOKENS, TYPES, MERGES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"
LIMIT = 20  # seconds, sanitizers included; a loop without end or quadratic work on these sizes takes far longer


def drop(key):
    return lambda w: w.kv_data[0].pop(key)


def put(key, value, how="add_array"):
    def edit(w):
        w.kv_data[0].pop(key, None)
        getattr(w, how)(key, value)
    return edit


def tokens(change):
    """Changes the list of tokens; the model's tensors keep their size where the list keeps its length."""
    def edit(w):
        found = list(w.kv_data[0][TOKENS].value)
        change(found)
        put(TOKENS, found)(w)
    return edit


def at(i, text):
    def change(found):
        found[i] = text
    return tokens(change)


def spm(words, scores=None, types=None, model="llama"):
    """A vocabulary with scores; 265 entries, so that it fits the tensors."""
    def edit(w):
        rest = [f"word{i}" for i in range(265 - 3 - len(words))]
        every = ["<unk>", "<s>", "</s>", *words, *rest]
        for key in (MERGES, "tokenizer.ggml.pre"):
            w.kv_data[0].pop(key)
        put("tokenizer.ggml.model", model, "add_string")(w)
        put(TOKENS, every)(w)
        put("tokenizer.ggml.scores", scores if scores is not None else [-float(i) for i in range(len(every))])(w)
        put(TYPES, types if types is not None else [2, 3, 3] + [6 if x.startswith("<0x") else 1 for x in words] + [1] * len(rest))(w)
    return edit


BYTES = [f"<0x{i:02X}>" for i in range(256)]


class Malformed(Case):
    def calm(self, *args, status, text=""):
        """Runs it; nothing but a clean end counts. Returns stdout and stderr as text."""
        begun = time.monotonic()
        statuses = status if isinstance(status, tuple) else (status,)
        for wanted in statuses:
            try:
                out, err = self.tl(*args, status=wanted, text=text)
                break
            except AssertionError:
                if wanted == statuses[-1]:
                    raise
        err = err.decode("utf-8", "replace")
        self.assertNotRegex(err, "Sanitizer|runtime error|Assertion", args)
        self.assertLess(time.monotonic() - begun, LIMIT * len(statuses), args)
        return out.decode("utf-8", "replace"), err

    def file(self, edit=None, **more):
        path = self.folder / "bad.gguf"
        tiny.write(path, edit=edit, **more)
        return path

    def refused(self, edit, *words, command=("tokenize", "hello")):
        """The file with `edit` is refused, and the message has the words."""
        err = self.calm(command[0], "-m", self.file(edit), *command[1:], status=1)[1]
        for word in words:
            self.assertIn(word, err)

    def works(self, edit, *command):
        return self.calm(command[0], "-m", self.file(edit), *command[1:], status=0)[0]

    # ---- metadata
    def test_g22_required_keys_missing_one_by_one(self):
        for key in ("block_count", "embedding_length", "attention.head_count", "attention.layer_norm_rms_epsilon"):
            with self.subTest(key=key):
                self.refused(drop("llama." + key), key, command=("generate", "-p", "hello", "-n", "1"))
        self.refused(drop("general.architecture"), "general.architecture", command=("generate", "-p", "hello", "-n", "1"))
        for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre", TOKENS, MERGES):
            with self.subTest(key=key):
                self.refused(drop(key), key)

    # ---- vocabularies
    def test_g44_token_lists(self):
        self.refused(put(TOKENS, [1, 2, 3]), TOKENS)
        self.refused(put(TOKENS, "text", "add_string"), TOKENS)
        self.refused(put(TOKENS, 5, "add_uint32"), TOKENS)
        self.refused(put(TYPES, [1, 3, 3]), TYPES)
        self.refused(put(TYPES, [1] * 400), TYPES)
        self.refused(put(TYPES, ["one"] * 265), TYPES)
        self.refused(spm(BYTES, scores=[0.0] * 3), "tokenizer.ggml.scores")
        self.refused(spm(BYTES, scores=[0.0] * 999), "tokenizer.ggml.scores")

    def test_g45_merges(self):
        for name, merge in {"without a space": "he", "empty": ""}.items():
            with self.subTest(merge=name):
                self.refused(put(MERGES, ["h e", merge]), MERGES)
        plain = self.works(put(MERGES, ["h e"]), "tokenize", "hello")
        for name, merge in {"unknown parts": "qqq zzz", "three parts": "h e l", "twice": "h e"}.items():  # never apply
            with self.subTest(merge=name):
                self.assertEqual(self.works(put(MERGES, ["h e", merge]), "tokenize", "hello"), plain)

    def test_g46_byte_tokens(self):
        for bad in ("<0x-1>", "<0xZZ>", "<0x100>", "<0x>"):
            with self.subTest(token=bad):
                path = self.file(spm(BYTES[:255] + [bad]))
                self.calm("tokenize", "-m", path, "h\u00e9\u4e16 \U0001f600", status=(0, 1))
        out, err = self.calm("tokenize", "-m", self.file(spm([])), "--json", "zzz", status=(0, 1))  # no byte tokens at all
        self.assertTrue(out or "byte" in err)

    def test_g47_special_ids_out_of_range(self):
        for key in ("bos", "eos", "eot", "unknown", "padding"):
            for value in (265, 2**32 - 1):
                with self.subTest(key=key, value=value):
                    name = f"tokenizer.ggml.{key}_token_id"
                    path = self.file(put(name, value, "add_uint32"))
                    out, err = self.calm("tokenize", "-m", path, "hello", status=(1, 0))
                    self.assertTrue(name in err or out.strip().isdigit() or "262" in out)

    def test_g48_odd_tokens(self):
        for name, text in {"empty": "", "twice": "h", "NUL": "a\0b", "1 MB": "x" * 1_000_000, "invalid UTF-8": b"\xff\xfe"}.items():
            with self.subTest(token=name):
                path = self.file(at(100, text))
                out, err = self.calm("tokenize", "-m", path, "hello world", status=(0, 1))
                self.assertTrue(out or TOKENS in err, err)
                self.calm("detokenize", "-m", path, text="100 101 102", status=(0, 1))

    def test_g49_unknown_names(self):
        self.refused(put("tokenizer.ggml.model", "nosuch", "add_string"), "nosuch")
        self.refused(put("tokenizer.ggml.pre", "nosuch", "add_string"), "nosuch", "--pre")
        path = self.file(put("tokenizer.ggml.pre", "nosuch", "add_string"))
        self.assertEqual(self.calm("tokenize", "-m", path, "--pre", "gpt-2", "hello", status=0)[0], "262\n")

    def test_g50_scores_and_charsmap(self):
        nan = float("nan")
        path = self.file(spm(BYTES, scores=[nan] * 265))
        self.calm("tokenize", "-m", path, "hello", status=(0, 1))
        for blob in (b"\xff" * 3, b"\xff\xff\xff\x7f", b"\x10\0\0\0" + b"\xff" * 16, b"\x08\0\0\0" + b"\xff" * 8 + b"abc"):
            with self.subTest(charsmap=blob[:4]):
                def edit(w, blob=blob):
                    spm([], model="t5")(w)
                    put("tokenizer.ggml.precompiled_charsmap", list(blob))(w)
                self.calm("tokenize", "-m", self.file(edit), "hello \u00c5\u2460", status=(0, 1))

    # ---- chat templates
    def chat(self, template, status=1, say="Hello"):
        path = self.file(template=template)
        return self.calm("chat", path, "--temp", "0", "-n", "2", text=say + "\n", status=status)

    def test_g51_g52_depth(self):
        deep = 100_000
        for name, template in {"(": "{{ " + "(" * deep + "1" + ")" * deep + " }}", "[": "{{ " + "[" * deep + "]" * deep + " }}",
                               "if": "{% if true %}" * deep + "{% endif %}" * deep,
                               "macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"}.items():
            with self.subTest(template=name):
                self.assertRegex(self.chat(template)[1], "deep|nest|recurs")

    def test_g53_amounts(self):
        for template in ("{% for i in range(10**9) %}x{% endfor %}", "{{ 'a' * 10**9 }}",
                         "{% for i in range(10**4) %}{% for j in range(10**4) %}{% for k in range(10**4) %}{% endfor %}{% endfor %}{% endfor %}",
                         "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}"):
            with self.subTest(template=template[:30]):
                self.assertRegex(self.chat(template)[1], "template")

    def test_g54_g55_errors(self):
        for template in ("{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 'abc'[::0] }}", "{{ ", "{% if", "{# open", "{{ 'open }}", "{% for x in %}{% endfor %}",
                         "{{ 'a' | nosuchfilter }}", "{% if 1 is nosuchtest %}{% endif %}", "{{ nosuchfunction(1) }}"):
            with self.subTest(template=template):
                self.assertIn("template", self.chat(template)[1])
        self.chat("{{ (-9223372036854775807 - 1) // -1 }}{{ 99999999999999999999999999 }}", status=(0, 1))

    def test_g56_g57_trust(self):
        self.assertIn("say no", self.chat("{{ raise_exception('say no') }}")[1])
        for template in ("{{ ''.__class__ }}", "{{ messages.__class__.__init__.__globals__ }}"):
            self.chat(template + "x", status=(0, 1))
        path = self.file()
        plain = self.calm("tokenize", "-m", path, "<|im_end|>{{ 1 }}", status=0)[0].split()
        self.assertNotIn("2", plain)  # text can never become a special token
        self.assertIn("2", self.calm("tokenize", "-m", path, "--parse-special", "<|im_end|>", status=0)[0].split())
        self.chat(tiny.TEMPLATE, status=0, say="{{ raise_exception('not run') }} <|im_start|>system")

    def test_g58_size(self):
        self.chat("x" * 10_000_000, status=1)
        self.chat(b"\xff\xfe{{ messages[0].content }}".decode("latin-1"), status=(0, 1))

    # ---- programs
    def program(self, text, status=1, name="bad.tl"):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.calm("run", path, status=status)

    def test_g59_programs(self):
        deep = 100_000
        for name, (text, words) in {
            "parentheses": ("let x = " + "(" * deep + "1" + ")" * deep, "deep|nest"),
            "blocks": ("if true { " * deep + "}" * deep, "deep|nest"),
            "prefix": ("let x = " + "-" * deep + "1", "deep|nest"),
            "literal": ("let x = " + "9" * 5000, "number|large|range"),
            "string": ('let x = "never closed', "string|quote"),
            "comment": ("/* never closed", "comment"),
            "bytes": (b"let x = \xff\xfe\x00", "UTF-8|character|byte"),
            "far column": (" " * 70_000 + "let x = = 1", ":1:700"),
            "recursion": ("fn f(x) { return f(x + 1) }\nprint(f(0))", "deep|recurs"),
            "division": ("let n = 0\nprint(zeros(4 / n))", "zero|divi|size|integer"),
            "shape": ("print(zeros(9000000000000000000, 9))", "large|overflow|size|memory|elements"),
            "memory": ("let x = zeros(100000, 100000)\nlet y = x + 1.0\nprint(y[5, 5])", "large|memory|budget|limit"),
            "import": ('import "../../etc/passwd"', "import|passwd"),
        }.items():
            with self.subTest(program=name):
                err = self.program(text)[1]
                self.assertRegex(err, words)
                self.assertLess(len(err), 20_000)
        (self.folder / "other.tl").write_text('import "bad.tl"\n')
        self.assertRegex(self.program('import "other.tl"\n')[1], "cycl|circ|itself")

    def test_programs_that_come_with_a_model_touch_nothing(self):
        secret = self.folder / "secret.txt"
        secret.write_text("secret")
        model = self.file()
        for call in (f'read_text("{secret}")', f'save_npy(zeros(2), "{self.folder}/made.npy")', f'load_npy("{secret}")'):
            with self.subTest(call=call):
                program = self.folder / "model.tl"
                program.write_text(f"let x = {call}\n")
                err = self.calm("generate", "-m", model, "--program", program, "-p", "hello", "-n", "1", status=1)[1]
                self.assertNotIn("secret\n", err)
                self.assertFalse((self.folder / "made.npy").exists())
        self.assertEqual(json.loads(self.calm("inspect", "-m", model, "--json", status=0)[0])["version"], 3)


if __name__ == "__main__":
    main()
