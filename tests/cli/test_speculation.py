"""Guessing tokens ahead changes no byte of a reply, whatever the guesses are worth."""
import json
import re

from common import ModelCase, main

TEXT = "the cat sat on the mat, the cat sat on the hat, the cat sat on the"


class Speculation(ModelCase):
    def say(self, *args, prompt=TEXT):
        out = json.loads(self.tl("generate", "-m", self.model, "-p", prompt, "--json", *args)[0])
        return {k: out[k] for k in ("text", "tokens", "stop", "prompt_tokens")}

    def test_same_bytes(self):
        cases = [[], ["--ignore-eos"], ["-c", "90"], ["-b", "4"], ["-n", "1"], ["-n", "2"], ["--stop", "e", "--ignore-eos"], ["--repeat-penalty", "1.3"], ["--mirostat", "2"],
                 ["--regex", "(ab|cd)*"], ["-t", "1"], ["--cache-type", "f32"]]
        for case in cases:
            for temperature in ("0", "0.8", "0.3"):
                args = ["-n", "60", *case, "--temp", temperature, "-s", "5"]
                plain = self.say(*args, "--spec", "off")
                for how in ("ngram", "auto", "tree"):
                    self.assertEqual(self.say(*args, "--spec", how), plain, (args, how))
                self.assertEqual(self.say(*args, "--draft", self.model), plain, args)
                self.assertEqual(self.say(*args, "--draft", self.model, "--spec", "tree"), plain, args)

    def test_branches_come_true(self):
        """A second branch has what the first choice of the small model (here the model itself) misses."""
        right = {"ngram": 0, "tree": 0}
        for how in right:
            for seed in range(6):
                args = ["generate", "-m", self.model, "-p", TEXT, "-n", "100", "--temp", "1", "-s", seed, "--top-k", "3", "--ignore-eos", "--draft", self.model, "-v", "--spec", how]
                out, err = self.tl(*args)
                self.assertEqual(out, self.tl(*args[:-1], "off")[0])
                right[how] += int(re.search(rb"\[(\d+) of \d+ guessed", err)[1])
        self.assertGreater(right["tree"], right["ngram"])

    def test_guesses_come_true(self):
        err = self.tl("generate", "-m", self.model, "-p", TEXT, "-n", "100", "--temp", "0", "--ignore-eos", "--spec", "ngram", "-v")[1].decode()
        self.assertRegex(err, r"\[\d+ of \d+ guessed tokens came true\]")  # a random model soon repeats itself
        err = self.tl("generate", "-m", self.model, "-p", TEXT, "-n", "60", "--temp", "0", "--ignore-eos", "--spec", "ngram", "--draft", self.model, "-v")[1].decode()
        right, guessed = [int(x) for x in err[err.rindex("[") + 1:].split(" guessed")[0].split(" of ")]
        self.assertEqual(right, guessed)  # the model guesses what itself will say

    def test_logprobs(self):
        args = ["generate", "-m", self.model, "-p", TEXT, "-n", "40", "--temp", "0.5", "-s", "1", "--ignore-eos", "--json", "--logprobs", "2"]
        plain, fast = (json.loads(self.tl(*args, "--spec", how)[0]) for how in ("off", "ngram"))
        self.assertEqual(plain["logprobs"], fast["logprobs"])

    def test_wrong(self):
        import tiny

        other = str(self.folder / "other.gguf")
        tiny.write(other, special=("<|a|>", *tiny.SPECIAL))
        self.assertIn(b"vocabulary", self.tl("generate", "-m", self.model, "-p", "a", "--draft", other, status=1)[1])
        tiny.write(other, special=("<|a|>", *tiny.SPECIAL[1:]))
        self.assertIn(b"token 0 of its vocabulary", self.tl("generate", "-m", self.model, "-p", "a", "--draft", other, status=1)[1])
        self.tl("generate", "-m", self.model, "-p", "a", "--spec", "maybe", status=2)


class Shift(ModelCase):
    def test_context_shift(self):
        args = ["generate", "-m", self.model, "-p", TEXT, "-n", "200", "--ignore-eos", "-c", "80", "-s", "2", "--json"]
        self.assertEqual(json.loads(self.tl(*args)[0])["stop"], "context")
        texts = []
        for how in ("off", "ngram"):
            out, err = self.tl(*args, "--context-shift", "--keep", "4", "--spec", how)
            found = json.loads(out)
            self.assertEqual((found["stop"], found["tokens"]), ("length", 200))
            self.assertIn(b"are forgotten", err)
            texts.append(found["text"])
        self.assertEqual(*texts)


class Beams(ModelCase):
    def beams(self, *args, status=0):
        return json.loads(self.tl("generate", "-m", self.model, "-p", TEXT, "--json", "--ignore-eos", *args, status=status)[0])["beams"]

    def test_beams(self):
        greedy = self.say = json.loads(self.tl("generate", "-m", self.model, "-p", TEXT, "-n", "12", "--temp", "0", "--ignore-eos", "--json", "--logprobs", "0")[0])
        least = sum(t["logprob"] for t in greedy["logprobs"])
        best = self.beams("-n", "12", "--beams", "6", "--n-best", "6")
        self.assertEqual(len(best), 6)
        self.assertGreaterEqual(best[0]["log_probability"], least - 1e-4)
        self.assertEqual([b["score"] for b in best], sorted((b["score"] for b in best), reverse=True))
        self.assertEqual(self.beams("-n", "12", "--beams", "6", "-t", "1"), best[:1])
        long = self.beams("-n", "12", "--beams", "4", "--length-penalty", "1")
        self.assertAlmostEqual(long[0]["score"], long[0]["log_probability"] / 12, places=4)

    def test_constrained(self):
        for b in self.beams("-n", "8", "--beams", "4", "--n-best", "4", "--regex", "[ab]{1,20}"):
            self.assertRegex(b["text"], "^[ab]+$")

    def test_wrong(self):
        self.tl("generate", "-m", self.model, "-p", "a", "--beams", "0", status=2)
        self.tl("generate", "-m", self.model, "-p", "a", "--beams", "4", "--beam-groups", "3", status=2)
        self.tl("generate", "-m", self.model, "-p", "a", "--beams", "4", "--n", "2", status=2)


if __name__ == "__main__":
    main()
