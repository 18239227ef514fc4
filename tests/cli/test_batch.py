"""`tl generate --prompts`: what a line says does not depend on the lines beside it, and nothing is lost when the process is killed."""
import json
import random
import signal
import subprocess
import time

from common import TL, ModelCase, main


def lines(n):
    out = []
    for i in range(n):
        line = {"id": f"line {i}", "max_tokens": 1 + i * 7 % 23, "seed": i}
        text = "hello there, " * (i % 5) + f"number {i}"
        if i % 4 == 3:
            line["messages"] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        else:
            line["prompt"] = text
        if i % 3 == 0:
            line["temperature"] = 0
        if i % 3 == 1:
            line |= {"top_k": 5, "temperature": 1.5, "repeat_penalty": 1.1}
        if i % 6 == 2:
            line["stop"] = ["e", "th"]
        if i % 7 == 5:
            line["ignore_eos"] = True
        out.append(line)
    return out


class Batch(ModelCase):
    def file(self, rows, name="prompts.jsonl"):
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def batch(self, rows, *more, status=0, name="prompts.jsonl"):
        out, err = self.tl("generate", "-m", self.model, "--prompts", self.file(rows, name), *more, status=status)
        return out.decode(), err.decode()

    def test_company_changes_nothing(self):
        rows = lines(64)
        many = [json.loads(x) for x in self.batch(rows, "--parallel", 8)[0].splitlines()]
        self.assertEqual([r["index"] for r in many], list(range(64)))
        self.assertEqual([r["id"] for r in many], [r["id"] for r in rows])
        alone = [json.loads(x) for x in self.batch(rows, "--parallel", 1, "-b", 3, "-t", 1)[0].splitlines()]
        self.assertEqual(many, alone)
        self.assertTrue({"length", "stop"} <= {r["stop"] for r in many}, {r["stop"] for r in many})
        for row, r in list(zip(rows, many))[:16]:  # and what the command says of one prompt
            if "prompt" not in row or "stop" in row:
                continue
            args = ["-n", row["max_tokens"], "-s", row["seed"], "--temp", row.get("temperature", 0.8), "--top-k", row.get("top_k", 40), "--repeat-penalty", row.get("repeat_penalty", 1)]
            args += ["--ignore-eos"] if row.get("ignore_eos") else []
            one = json.loads(self.tl("generate", "-m", self.model, "-p", row["prompt"], "--json", *args)[0])
            self.assertEqual({k: one[k] for k in ("text", "stop", "tokens", "prompt_tokens")}, {k: r[k] for k in ("text", "stop", "tokens", "prompt_tokens")})

    def test_stop_strings(self):
        rows = [{"prompt": "hello", "temperature": 0, "max_tokens": 40, "ignore_eos": True}]
        whole = json.loads(self.batch(rows)[0])["text"]
        for at in (1, len(whole) // 2, len(whole) - 3):
            found = json.loads(self.batch([rows[0] | {"stop": ["never there", whole[at:at + 3]]}])[0])
            self.assertEqual((found["text"], found["stop"]), (whole[:whole.index(whole[at:at + 3])], "stop"))

    def test_wrong_lines(self):
        for row, says in (({}, "prompt"), ({"prompt": "a", "messages": []}, "messages"), ({"prompt": 3}, "text is wanted"), ({"prompt": "a", "tempreature": 1}, 'did you mean "temperature"'),
                          ({"prompt": "a", "top_p": 2}, "from 0 to 1"), ({"prompt": "a", "seed": 1.5}, "whole number"), ({"prompt": "a", "stop": [""]}, "empty"),
                          ({"messages": [{"role": "user"}]}, "content"), ([1], "a line is")):
            _, err = self.batch([{"prompt": "x", "max_tokens": 1}, row], status=1)
            self.assertIn(":2:", err)
            self.assertIn(says, err)
        (self.folder / "bad.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n')
        self.assertIn(b"bad.jsonl:2: no JSON", self.tl("generate", "-m", self.model, "--prompts", self.folder / "bad.jsonl", status=1)[1])
        self.tl("generate", "-m", self.model, "--prompts", "x", "-p", "y", status=2)
        self.tl("generate", "-m", self.model, "-p", "y", "--out", "z", status=2)
        self.tl("generate", "-m", self.model, "--prompts", "/no/such/file", status=1)
        for more in (["--n", "2"], ["--json", "--logprobs", "1"], ["--draft", "x"], ["--context-shift"]):
            self.tl("generate", "-m", self.model, "--prompts", "x", *more, status=2)

    def test_constraints(self):
        """Each line its own; shared texts; the same bytes as alone, in any company and however the step is cut."""
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "legs": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["name", "legs"], "additionalProperties": False}
        kinds = [({"json_schema": schema}, ["-j", json.dumps(schema)]), ({"regex": "(ab|cd){2,9}x"}, ["--regex", "(ab|cd){2,9}x"]),
                 ({"choices": ["yes, of course", "no"]}, ["--choices", "yes, of course|no"]), ({"grammar": 'root ::= "hello there, " [a-c]+ "."'}, ["--grammar", 'root ::= "hello there, " [a-c]+ "."']), ({}, [])]
        rows = [{"prompt": f"text {i}", "max_tokens": 5 + i % 30, "seed": i, "temperature": (0, 0.8, 2)[i % 3], "ignore_eos": i % 4 == 1} | kinds[i % 5][0] for i in range(40)]
        many = [json.loads(x) for x in self.batch(rows, "--parallel", 8)[0].splitlines()]
        for more in (["--parallel", 1], ["--parallel", 5, "-b", 3, "-t", 1]):
            self.assertEqual([json.loads(x) for x in self.batch(rows, *more)[0].splitlines()], many, more)
        for i, (row, r) in enumerate(zip(rows, many)):
            args = ["-n", row["max_tokens"], "-s", i, "--temp", row["temperature"], *kinds[i % 5][1], *(["--ignore-eos"] if row["ignore_eos"] else [])]
            one = json.loads(self.tl("generate", "-m", self.model, "-p", row["prompt"], "--json", *args)[0])
            keys = ["text", "stop", "tokens"] + (["completed_bytes"] if i % 5 < 4 else [])
            self.assertEqual({k: one[k] for k in keys}, {k: r[k] for k in keys}, row)
            if i % 5 == 0:
                self.assertEqual(set(json.loads(r["text"])), {"name", "legs"})
            elif i % 5 == 1:
                self.assertRegex(r["text"], "^(ab|cd){2,9}x$")
            elif i % 5 == 2:
                self.assertIn(r["text"], ["yes, of course", "no"])
        for r in (json.loads(x) for x in self.batch([{"prompt": "a", "max_tokens": 9}] * 3, "--regex", "[0-9]{3}")[0].splitlines()):  # of all lines
            self.assertRegex(r["text"], "^[0-9]{3}$")
        for bad, says in (({"regex": "("}, ":2:"), ({"grammar": "x"}, ":2:"), ({"json_schema": {"not": {}}}, "'not'"), ({"json_schema": 3}, "a schema"), ({"choices": []}, "list of texts"),
                          ({"regex": "a", "choices": ["b"]}, "another constraint")):
            _, err = self.batch([{"prompt": "x", "max_tokens": 1}, {"prompt": "y"} | bad], status=1)
            self.assertIn(says, err)

    def test_common_prompt(self):
        rows = [{"prompt": "the same beginning of all texts, which is long enough. " * 3 + str(i), "max_tokens": 6, "seed": i} for i in range(12)]
        want = [json.loads(self.batch([row])[0])["text"] for row in rows]
        self.assertEqual([json.loads(x)["text"] for x in self.batch(rows)[0].splitlines()], want)

    def test_max_time(self):
        start = time.monotonic()
        out = [json.loads(x) for x in self.batch([{"prompt": "a", "max_tokens": 100000, "ignore_eos": True}] * 2, "--max-time", "0.3", "-c", "200000")[0].splitlines()]
        self.assertEqual({r["stop"] for r in out}, {"time"})
        self.assertLess(time.monotonic() - start, 20)

    def test_a_line_that_cannot_be_done(self):
        rows = [{"prompt": "word " * 100, "max_tokens": 4}, {"prompt": "a", "max_tokens": 4, "ignore_eos": True}]  # unseeded: an end token may come first
        out = [json.loads(x) for x in self.batch(rows, "-c", 64, status=1)[0].splitlines()]
        self.assertIn("-c", out[0]["error"])
        self.assertEqual(out[1]["tokens"], 4)

    def test_out_is_kept(self):
        rows, out = lines(6), self.folder / "out.jsonl"
        self.batch(rows, "--out", out)
        first = out.read_text()
        self.assertFalse((self.folder / "out.jsonl.part").exists())
        self.assertIn("6 of 6 lines were done", self.batch(rows, "--out", out)[1])
        self.assertEqual(out.read_text(), first)
        rows.append({"prompt": "one more", "max_tokens": 3, "seed": 1})  # only what is new is computed
        self.assertIn("6 of 7 lines were done", self.batch(rows, "--out", out)[1])
        self.assertTrue(out.read_text().startswith(first))
        rows[0]["seed"] = 999
        _, err = self.batch(rows, "--out", out, status=1)
        self.assertIn("--overwrite", err)
        self.batch(rows, "--out", out, "--overwrite")
        self.assertEqual(len(out.read_text().splitlines()), 7)

    def test_killed(self):
        rows, path, out = lines(24), self.folder / "p.jsonl", self.folder / "o.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.batch(rows, "--out", self.folder / "want.jsonl")
        want = (self.folder / "want.jsonl").read_text()
        command = [TL, "generate", "-m", self.model, "--prompts", path, "--out", out, "--parallel", "4", "-t", "1"]
        start = time.monotonic()
        subprocess.run(command, env=self.env, stderr=subprocess.DEVNULL, check=True)
        whole = time.monotonic() - start
        self.assertEqual(out.read_text(), want)
        out.unlink()
        dice, kills, seen = random.Random(1), 0, 0
        for _ in range(KILLS * 3):
            process = subprocess.Popen(command, env=self.env, stderr=subprocess.DEVNULL)
            try:
                process.wait(dice.uniform(0, whole * 1.1))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
            if process.wait() == 0:
                self.assertEqual(out.read_text(), want)
                out.unlink()
                seen = 0
            part = self.folder / "o.jsonl.part"
            there = (out if out.exists() else part).read_text().splitlines() if out.exists() or part.exists() else []
            good = [x for x in there if x.endswith("}")]
            self.assertGreaterEqual(len(good), seen, "a finished line was lost")
            self.assertTrue(set(good) <= set(want.splitlines()))
            self.assertEqual(len(set(good)), len(good), "a line was done twice")
            seen = len(good)
            if kills >= KILLS:
                break
        subprocess.run(command, env=self.env, stderr=subprocess.DEVNULL, check=True)
        self.assertEqual(out.read_text(), want)
        self.assertFalse((self.folder / "o.jsonl.part").exists())

    def test_interrupted(self):
        rows = [{"prompt": "a", "max_tokens": 200, "ignore_eos": True, "seed": 1} for _ in range(200)]
        out = self.folder / "o.jsonl"
        process = subprocess.Popen([TL, "generate", "-m", self.model, "--prompts", self.file(rows), "--out", out, "-t", "1"], env=self.env, stderr=subprocess.PIPE)
        part = self.folder / "o.jsonl.part"
        while process.poll() is None and not (part.exists() and part.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1].decode()
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("the same command goes on", err)


if __name__ == "__main__":
    import os

    KILLS = int(os.environ.get("TL_TEST_KILLS", "12"))  # 100 by hand; few here, for the suite must be quick
    main()
