"""Replies as they are asked for: constraints, stop strings, limits, logprobs, completions, samplers. A random model with a small
vocabulary says anything, so whatever holds is the work of the program. Exits with 77 without the packages of
tests/requirements.txt; what needs jsonschema is left out without it."""
import json
import math
import pathlib
import subprocess
import time

from common import TL, ModelCase, main

try:
    import jsonschema
except ImportError:
    jsonschema = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}}},
          "required": ["name", "age"], "additionalProperties": False}


class Reply(ModelCase):
    def say(self, *options, status=0, prompt="hello"):
        return self.tl("generate", "-m", self.model, "-p", prompt, *options, status=status)[0].decode()

    def json(self, *options, status=0):
        return json.loads(self.say("--json", *options, status=status))

    def refused(self, words, *options, status=1):
        begin = time.monotonic()
        err = self.tl("generate", "-m", self.model, "-p", "x", "-n", "3", *options, status=status)[1].decode()
        self.assertIn(words, err)
        self.assertLess(len(err), 3000)
        return time.monotonic() - begin

    # ---- constraints
    def test_json_is_valid_whatever_the_seed_the_temperature_and_the_length(self):
        for seed in range(24):
            text = self.say("-j", json.dumps(PERSON), "-n", 1 + seed * 3, "--temp", seed % 4, "--seed", seed, "--top-k", 0 if seed % 3 else 40)
            found = json.loads(text)
            self.assertIsInstance(found["name"], str)
            self.assertIsInstance(found["age"], int)
            self.assertLessEqual(set(found), {"name", "age", "tags"})
            if jsonschema:
                jsonschema.validate(found, PERSON)

    def test_any_json(self):
        for seed in range(10):
            json.loads(self.say("-j", "{}", "-n", "40", "--temp", "2", "--seed", seed))

    def test_regex(self):
        for seed in range(10):
            text = self.say("--regex", r"[A-Z]{2}-[0-9]{3,5}(x|yy)?", "-n", 2 * seed + 1, "--seed", seed, "--temp", 3)
            self.assertRegex(text, r"\A[A-Z]{2}-[0-9]{3,5}(x|yy)?\Z")

    def test_choices(self):
        seen = {self.say("--choices", "yes|no|maybe so", "--seed", seed, "--temp", 2) for seed in range(12)}
        self.assertLessEqual(seen, {"yes", "no", "maybe so"})
        self.assertGreater(len(seen), 1)

    def test_grammar_from_a_file_and_cut(self):
        path = self.folder / "sum.gbnf"
        path.write_text('root ::= term ("+" term)*\nterm ::= [0-9]+ | "(" root ")"\n')
        for n in range(12):
            text = self.say("--grammar-file", path, "-n", n, "--seed", n, "--temp", 1.5)
            self.assertEqual(text.count("("), text.count(")"))
            self.assertRegex(text.replace("(", "").replace(")", ""), r"\A[0-9]+(\+[0-9]+)*\Z")

    def test_what_was_added_is_told(self):
        found = self.json("-j", json.dumps(PERSON), "-n", "4")
        self.assertEqual(found["stop"], "length")
        self.assertGreater(found["completed_bytes"], 0)
        json.loads(found["text"])
        whole = self.json("--choices", "ab|ac")
        self.assertEqual((whole["stop"], whole["completed_bytes"]), ("end", 0))

    def test_ignore_eos_under_a_constraint(self):
        self.assertEqual(self.json("--choices", "ab", "--ignore-eos")["stop"], "end")  # nothing else may come
        found = self.json("--regex", "a+", "--ignore-eos", "-n", "20")
        self.assertEqual((found["stop"], found["text"]), ("length", "a" * 20))

    def test_stop_string_under_a_constraint(self):
        found = self.json("--regex", "[ab]{5}c[ab]{5}", "--stop", "c")
        self.assertEqual(found["stop"], "stop")
        self.assertRegex(found["text"], r"\A[ab]{5}c[ab]{5}\Z")

    def test_time_under_a_constraint(self):
        found = self.json("-j", json.dumps(PERSON), "--max-time", "0.000001", "-n", "1000")
        self.assertEqual(found["stop"], "time")
        json.loads(found["text"])

    def test_a_full_cache_under_a_constraint(self):
        found = self.json("-j", '{"type":"array","items":{"type":"integer"},"minItems":90}', "-c", "16", "-n", "-1")
        self.assertEqual(found["stop"], "context")
        self.assertGreaterEqual(len(json.loads(found["text"])), 90)

    def test_chat(self):
        out, _ = self.tl("chat", "-m", self.model, "-j", json.dumps(PERSON), "-n", "20", text="one\ntwo\n")
        decoder, rest, n = json.JSONDecoder(), out.decode().strip(), 0
        while rest:
            value, end = decoder.raw_decode(rest)
            self.assertIn("age", value)
            rest, n = rest[end:].strip(), n + 1
        self.assertEqual(n, 2)

    def test_examples(self):
        folder = ROOT / "examples" / "generation"
        schema = json.loads((folder / "person.schema.json").read_text())
        for seed in range(4):
            found = json.loads(self.say("--json-schema-file", folder / "person.schema.json", "-n", 30 * seed, "--seed", seed))
            self.assertLessEqual(set(schema["required"]), set(found))
            if jsonschema:
                jsonschema.validate(found, schema)
            self.assertRegex(self.say("--grammar-file", folder / "list.gbnf", "-n", 20 * seed, "--seed", seed), r"\A(- [A-Z][a-z ]{2,30}\n){1,5}\Z")

    def test_a_rule(self):
        example = ROOT / "examples" / "generation" / "no_repeat.tl"
        for seed in range(3):
            found = self.json("--rule", example, "-n", "40", "--seed", seed, "--temp", "0.3", "--logprobs", "0")
            ids = [t["id"] for t in found["logprobs"]]
            self.assertGreaterEqual(len(ids), 4)
            for i, token in enumerate(ids):
                self.assertNotIn(token, ids[max(0, i - 8):i])
        path = self.folder / "rule.tl"
        path.write_text('Allowed(s, t) <- Sequence(s), Piece(t, "a")\nAllowed(s, t) <- Said(s, 4, _), End(t)\n')
        self.assertRegex(self.say("--rule", path, "-n", "30", "--temp", "9"), r"\Aaaaaa+\Z")
        path.write_text('Allowed(s, t) <- Sequence(s), Piece(t, "no such piece")\n')
        self.assertEqual((self.json("--rule", path)["text"], self.json("--rule", path)["stop"]), ("", "stuck"))
        for words, text in (("needs a rule Allowed", "let x = 1"), ("needs a rule Allowed", "relation Allowed(a: int)"), ("rule.tl:1", "Allowed(s, t) <- ("), ("does not exist", None)):
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
            self.refused("" if text is None else words, "--rule", path)

    # ---- constraints that are refused
    def test_grammars_that_are_refused(self):
        for words, text in (
            ("nested too deeply", "root ::= " + "(" * 60000 + '"a"' + ")" * 60000), ("left recursive", 'root ::= root "a" | "b"'),
            ("no rule 'root'", 'start ::= "a"'), ("not defined", "root ::= x"), ("more than 100000", 'root ::= "a"{0,1000000}'),
            ("never end", 'root ::= "a" root'), ("nothing before this", "root ::= *"), ("upside down", "root ::= [z-a]"),
            ("no end", 'root ::= "a'), ("expected", "root"), ("no rule 'root'", ""), ("upside down", "root ::= [\\U0010ffff-\\U0010fffe]"),
            ("no character", "root ::= [\\uD800-\\uDFFF]"), ("no character", 'root ::= "\\U00110000"'), ("<[", "root ::= <[1000]>"),
        ):
            if words == "<[":
                words = "token references"
            path = self.folder / "bad.gbnf"
            path.write_text(text)
            self.assertLess(self.refused(words, "--grammar-file", path), 10)
        path.write_bytes(b"root ::= [\xff-\xfe]")
        self.refused("UTF-8", "--grammar-file", path)

    def test_grammars_that_are_large_or_odd_but_right(self):
        chain = "root ::= r0\n" + "".join(f"r{i} ::= r{i + 1}\n" for i in range(100000)) + 'r100000 ::= "end"\n'
        path = self.folder / "chain.gbnf"
        path.write_text(chain)
        self.assertEqual(self.say("--grammar-file", path), "end")
        path.write_text('root ::= ("" | "")* "x" (| |)')
        self.assertEqual(self.say("--grammar-file", path), "x")

    def test_schemas_that_are_refused(self):
        deep = '{"items":' * 3000 + "{}" + "}" * 3000
        for words, text in (
            ("not JSON", "{"), ("must be an object", "3"), ("nothing is allowed", "false"), ("never end", '{"$ref":"#"}'),
            ("does not point into", '{"$ref":"http://example.com/x.json"}'), ("does not point into", '{"$ref":"file:///etc/passwd"}'),
            ("leads nowhere", '{"$ref":"#/$defs/x"}'), ("list of schemas", '{"anyOf":[]}'), ("larger than", '{"type":"array","minItems":3,"maxItems":2}'),
            ("no value is allowed", '{"enum":[]}'), ("not supported", '{"not":{}}'), ("is supported", '{"type":"string","pattern":"(?<=x)y"}'),
            ("not supported", '{"type":"string","pattern":"(a)\\\\1"}'), ("10000", '{"type":"string","pattern":"a{1000000}"}'),
            ("expected", '{"type":"string","pattern":"((((("}'), ("repeat", '{"type":"string","pattern":"^+a"}'), ("not JSON", deep),
            ("not supported", '{"type":"string","format":"regex"}'), ("required", '{"type":"object","required":["a"],"additionalProperties":false}'),
            ("not supported", '{"if":{},"then":{}}'), ("must be", '{"type":"nothing"}'), ("twice", '{"type":"null","type":"null"}'),
        ):
            path = self.folder / "bad.json"
            path.write_text(text)
            words = "duplicate" if words == "twice" else words
            self.assertLess(self.refused(words, "--json-schema-file", path), 10)

    def test_schemas_that_are_large_or_odd_but_right(self):
        path = self.folder / "s.json"
        path.write_text(json.dumps({"enum": [f"value {i}" for i in range(100000)]}))
        self.refused("too long", "--json-schema-file", path)
        path.write_text(json.dumps({"enum": [f"value {i}" for i in range(20000)]}))
        self.assertRegex(json.loads(self.say("--json-schema-file", path, "-n", "30")), r"^value \d+$")
        path.write_text(json.dumps({"type": "object", "properties": {"__proto__": {"type": "boolean"}, "constructor": {"const": 1}}, "required": ["__proto__", "constructor"]}))
        self.assertLessEqual({"__proto__", "constructor"}, set(json.loads(self.say("--json-schema-file", path))))
        path.write_text(json.dumps({"$defs": {"tree": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}}, "required": ["next"]}}, "$ref": "#/$defs/tree"}))
        json.loads(self.say("--json-schema-file", path, "-n", "60"))

    def test_usage(self):
        self.refused("give one of", "--regex", "a", "--choices", "b", status=2)
        self.refused("bad.gbnf", "--grammar-file", self.folder / "bad.gbnf")
        self.refused("no sampler", "--samplers", "top_q", status=2)
        self.refused("either", "--samplers", "top_k", "--sampling-seq", "k", status=2)
        for bias in ("x+1", "5", "5+x", "5+inf", "99999+1", "-1+1", "5+nan", "99999999999999999999+1", "5+"):
            self.refused("--logit-bias", "--logit-bias", bias, status=2)
        for option in (["--temp", "-1"], ["--temp", "nan"], ["--top-p", "2"], ["--min-p", "2"], ["--top-k", "-1"], ["--top-k", "2147483648"],
                       ["--typical", "0"], ["--repeat-penalty", "0"], ["--repeat-last-n", "-2"], ["--mirostat", "3"], ["--xtc-probability", "1.5"],
                       ["--dry-base", "-1"], ["--n", "0"], ["--max-time", "-1"], ["--logprobs", "3"], ["--json", "--logprobs", "-3"],
                       ["--logprobs", "2147483648"], ["--seed", "1.5"], ["--seed", "a"], ["-n", "-2"]):
            self.tl("generate", "-m", self.model, "-p", "x", *option, status=2)

    # ---- stop strings, limits
    def test_stop_strings_across_tokens(self):
        text = self.say("-n", "60", "--seed", "4", "--temp", "1")
        self.assertEqual(text, self.say("-n", "60", "--seed", "4", "--temp", "1"))
        for begin, size in ((5, 1), (9, 2), (20, 5), (3, 11)):
            stop = text[begin:begin + size]
            cut = self.json("-n", "60", "--seed", "4", "--temp", "1", "--stop", stop, "--stop", "never there at all")
            self.assertEqual(cut["text"], text[:text.index(stop)])
            self.assertEqual((cut["stop"], cut["stop_text"]), ("stop", stop))
        self.assertEqual(self.say("-n", "60", "--seed", "4", "--temp", "1", "--stop", text[40:44], "--stop", text[9:12]), text[:min(text.index(text[40:44]), text.index(text[9:12]))])
        self.assertEqual(self.say("-n", "60", "--seed", "4", "--temp", "1", "--stop", text[-2:] + "and more", "--stop", ""), text)

    def test_max_time(self):
        begin = time.monotonic()
        found = self.json("-n", "-1", "--ignore-eos", "-c", "100000", "--max-time", "0.2")
        self.assertEqual(found["stop"], "time")
        self.assertLess(time.monotonic() - begin, 60)

    def test_ignore_eos(self):
        self.assertEqual(self.json("-n", "200", "--ignore-eos", "--seed", "1", "--temp", "5", "-c", "300")["tokens"], 200)

    # ---- logprobs, completions
    def test_logprobs(self):
        found = self.json("-n", "6", "--logprobs", "4", "--temp", "0", "--ignore-eos")
        self.assertEqual(len(found["logprobs"]), 6)
        for token in found["logprobs"]:
            self.assertEqual(len(token["top"]), 4)
            self.assertEqual(token["id"], token["top"][0]["id"])  # greedy
            chances = [t["logprob"] for t in token["top"]]
            self.assertEqual(chances, sorted(chances, reverse=True))
            self.assertTrue(all(x < 0 for x in chances) and sum(map(math.exp, chances)) < 1)
        every = self.json("-n", "2", "--logprobs", "100", "--seed", "1")["logprobs"]
        self.assertEqual(len(every[0]["top"]), 100)
        self.assertEqual(len({t["id"] for t in every[0]["top"]}), 100)
        self.assertEqual(self.json("-n", "2", "--logprobs", "0")["logprobs"][0]["top"], [])

    def test_completions(self):
        many = self.json("-n", "12", "--n", "5", "--seed", "3", "--temp", "2", "--repeat-penalty", "1.2")["completions"]
        self.assertEqual(len({m["text"] for m in many}), 5)
        self.assertEqual(many[0]["text"], self.json("-n", "12", "--seed", "3", "--temp", "2", "--repeat-penalty", "1.2")["text"])
        again = self.json("-n", "12", "--n", "3", "--seed", "3", "--temp", "2", "--repeat-penalty", "1.2")["completions"]
        self.assertEqual([m["text"] for m in again], [m["text"] for m in many[:3]])
        # side by side or one after the other (as where --context-shift is asked for)
        for more in ([], ["--ignore-eos"], ["--stop", "e"], ["--regex", "(ab|cd){2,9}x"], ["--choices", "yes, of course|no"], ["--parallel", "2", "-b", "3"]):
            args = ["-n", "30", "--n", "5", "--seed", "3", "--temp", "1.5", *more]
            texts = [[{k: c[k] for k in ("text", "stop", "tokens", "prompt_tokens")} for c in self.json(*args, *how)["completions"]] for how in ([], ["--context-shift"])]
            self.assertEqual(*texts, more)
        same = self.json("-n", "9", "--n", "3", "--temp", "0", "--frequency-penalty", "1")["completions"]
        self.assertEqual(len({m["text"] for m in same}), 1)  # the second ones see the prompt too

    # ---- samplers
    def test_logit_bias(self):
        ids = [int(x) for x in self.tl("tokenize", "-m", self.model, "a")[0].split()]
        a = ids[-1]
        self.assertEqual(self.say("-n", "4", "--logit-bias", f"{a}+100"), "aaaa")
        first = self.json("-n", "1", "--temp", "0", "--logprobs", "0", "--ignore-eos")["logprobs"][0]["id"]
        self.assertNotEqual(self.json("-n", "1", "--temp", "0", "--logprobs", "0", "--logit-bias", f"{first}-inf")["logprobs"][0]["id"], first)

    def test_chain_and_threads(self):
        options = ["-n", "30", "--seed", "11", "--temp", "1.5"]
        base = self.say(*options)
        self.assertEqual(base, self.say(*options, "-t", "2"))
        self.assertEqual(base, self.say(*options, "-b", "1"))
        self.assertEqual(base, self.say(*options, "--sampling-seq", "edskypmxt"))
        self.assertEqual(base, self.say(*options, "--samplers", "top_k;top_p;min_p;temperature"))
        self.assertNotEqual(base, self.say(*options, "--samplers", "temperature"))
        self.assertEqual(self.say("-n", "9", "--temp", "0"), self.say("-n", "9", "--sampling-seq", "k", "--top-k", "1"))
        for more in (["--mirostat", "1"], ["--mirostat", "2"], ["--xtc-probability", "1", "--xtc-threshold", "0.01"], ["--dry-multiplier", "2"],
                     ["--typical", "0.3"], ["--top-n-sigma", "1"], ["--dynatemp-range", "1"], ["--sampling-seq", "kpi"]):
            self.assertEqual(self.say(*options, *more), self.say(*options, *more), more)

    def test_dry_stops_loops(self):
        plain = self.say("-n", "80", "--temp", "0", "--ignore-eos")
        dry = self.say("-n", "80", "--temp", "0", "--ignore-eos", "--dry-multiplier", "5", "--dry-sequence-breaker", "none")
        longest = lambda t: max((n for n in range(1, len(t) // 2) for i in range(len(t) - n) if t.find(t[i:i + n], i + 1) >= 0), default=0)
        self.assertLessEqual(longest(dry), longest(plain))

    def test_help_names_every_option(self):
        out = subprocess.run([TL, "generate", "--help"], check=True, stdout=subprocess.PIPE, env=self.env).stdout.decode()
        for name in ("grammar", "grammar-file", "json-schema", "json-schema-file", "regex", "choices", "stop", "max-time", "ignore-eos", "logprobs",
                     "logit-bias", "samplers", "sampling-seq", "dry-multiplier", "xtc-probability", "mirostat", "typical", "top-n-sigma", "dynatemp-range"):
            self.assertIn(f"--{name} ", out)


if __name__ == "__main__":
    main()
