"""The stamp of results and tl replay: the same bytes from the same things, and what differs where they are not."""
import hashlib
import json
import pathlib
import signal
import subprocess

import numpy as np
import tiny
from common import TL, ModelCase, main

ROOT = pathlib.Path(__file__).parents[2]


class Replay(ModelCase):
    def result(self, *args, **more):
        out = self.tl(*args, "--json", **more)[0]
        path = self.folder / "r.json"
        path.write_bytes(out)
        return path, json.loads(out)

    def replay(self, path, *args, status=0):
        return json.loads(self.tl("replay", path, "--json", *args, status=status)[0])

    def test_stamp(self):
        _, r = self.result("generate", "-m", self.model, "-p", "hello", "-n", "4", "--seed", "9", "-t", "1", "--isa", "ref")
        s = r["stamp"]
        self.assertEqual((s["command"], s["isa"], s["threads"], s["seed"]), ("generate", "ref", 1, 9))
        data = pathlib.Path(self.model).read_bytes()
        self.assertEqual(s["model"], {"path": self.model, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        texts = [(ROOT / f).read_bytes() + b"\0" for f in ("std/nn.tl", "models/llama.tl")]
        self.assertEqual(s["program"], {"file": "models/llama.tl", "sha256": hashlib.sha256(b"".join(texts)).hexdigest()})
        self.assertEqual(s["prompt_ids"], [262])
        self.assertIn("temperature", s["samplers"])
        self.assertTrue(s["build"])

    def test_same(self):
        for args in (("generate", "-m", self.model, "-p", "hello", "-n", "12"), ("generate", self.model, "--chat", "-p", "hi", "-n", "8", "-t", "1"),
                     ("score", "-m", self.model, "--text", "hello hello the"), ("score", "-m", self.model, "--ids", "5,6,7", "-t", "2"),
                     ("sample-trace", "-m", self.model, "-p", "hello", "-n", "3")):
            with self.subTest(args=args):
                path, r = self.result(*args)
                done = self.replay(path)
                self.assertEqual((done["same"], done["result"], done["made_by"]), (True, [], []))
                self.assertEqual(done["now"]["stamp"]["prompt_ids"], r["stamp"]["prompt_ids"])
        self.assertEqual(self.tl("replay", path)[0], b"made by: the same\nresult: the same\n")

    def test_conversation(self):
        log = self.folder / "log.json"
        lines = "hello\nthe \\\nhello\n/set temp 1.2\n/system be kind\nagain\n"
        said = self.tl("chat", "-m", self.model, "-n", "8", "--log", log, text=lines)[0]
        r = json.loads(log.read_text())
        self.assertEqual([m["role"] for m in r["messages"]], ["system"] + ["user", "assistant"] * 3)
        self.assertEqual((r["messages"][3]["content"], r["stamp"]["interrupted"], r["stamp"]["stdin"]), ("the \nhello", 0, lines))
        self.assertEqual("".join(m["content"] + "\n" for m in r["messages"] if m["role"] == "assistant"), said.decode())
        log_bytes = log.read_bytes()
        self.assertTrue(self.replay(log)["same"])
        self.assertEqual(log.read_bytes(), log_bytes)
        path, r = self.result("chat", "-m", self.model, "-n", "8", "--seed", "4", text="hello\n")
        self.assertEqual(r["stamp"]["seed"], 4)
        self.assertTrue(self.replay(path)["same"])
        self.assertEqual(self.tl("chat", "-m", self.model, "--json", "--log", log, status=2)[0], b"")
        self.tl("chat", "-m", self.model, "--log", self.folder / "no" / "such", text="hello\n", status=1)

    def test_interrupted_conversation(self):
        """A reply that Ctrl-C stopped is made again up to there."""
        log, model = self.folder / "log.json", str(self.folder / "long.gguf")
        tiny.write(model, edit=lambda w: w.kv_data[0]["llama.context_length"].__setattr__("value", 60000))
        p = subprocess.Popen([TL, "chat", "-m", model, "-c", "50000", "--ignore-eos", "--log", str(log)], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdin.write(b"hello\n")
        p.stdin.flush()
        p.stdout.read(20)  # it is under way
        p.send_signal(signal.SIGINT)
        said = p.communicate(b"/set n 5\nthe hello\n", timeout=60)
        self.assertEqual(p.returncode, 0, said)
        r = json.loads(log.read_text())
        self.assertEqual((len(r["messages"]), r["stamp"]["interrupted"]), (4, 1))
        self.assertTrue(r["stamp"]["stdin"].startswith("/set n "), r["stamp"]["stdin"])
        done = self.replay(log)
        self.assertEqual((done["same"], done["result"]), (True, []))

    def test_conversation_goes_on(self):
        session, log = self.folder / "s.tls", self.folder / "log.json"
        call = ("chat", "-m", self.model, "-n", "8", "--session", session, "--log", log, "--repeat-penalty", "1.3")
        for text, n in (("hello\n", 2), ("the hello\n", 4)):
            self.tl(*call, text=text)
            before = session.read_bytes()
            r = json.loads(log.read_text())
            self.assertEqual(len(r["messages"]), n)
            self.assertEqual(len(r["stamp"].get("conversation", [])), n - 2)
            done = self.replay(log)
            self.assertEqual((done["same"], [d["at"] for d in done["result"]]), (True, []))
            self.assertEqual(session.read_bytes(), before)
        r["stamp"]["stdin"] += f"/save {self.folder}/other.json\n"
        log.write_text(json.dumps(r))
        self.assertIn(b"/save", self.tl("replay", log, status=1)[1])

    def test_session(self):
        session = self.folder / "s.tls"
        for prompt in ("hello", "hello the hello"):
            path, r = self.result("generate", "-m", self.model, "-p", prompt, "-n", "8", "--session", session)
            before = session.read_bytes()
            done = self.replay(path)
            self.assertEqual((done["same"], done["made_by"]), (True, []))
            self.assertEqual(session.read_bytes(), before)

    def test_adapter(self):
        import test_lora
        adapter = test_lora.adapter(str(self.folder / "a.gguf"), test_lora.pairs(1))
        path, r = self.result("generate", "-m", self.model, "-p", "hello", "-n", "8", "--lora", adapter + ":0.5", "--temp", "0")
        data = pathlib.Path(adapter).read_bytes()
        self.assertEqual(r["stamp"]["adapters"], [{"path": adapter, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}])
        self.assertTrue(self.replay(path)["same"])
        test_lora.adapter(adapter, test_lora.pairs(2))
        done = self.replay(path, status=1)
        self.assertEqual([d["at"] for d in done["made_by"]], ["adapters[0].sha256"])
        self.assertNotEqual(done["result"], [])

    def test_perplexity(self):
        text = self.folder / "t.txt"
        text.write_text("hello the hello, and then the other hello. " * 3)
        path, r = self.result("perplexity", "-m", self.model, "-f", text, "-w", "16")
        self.assertTrue(self.replay(path)["same"])
        path, r = self.result("perplexity", "-m", self.model, "-f", "-", "-w", "16", text=text.read_text())
        self.assertTrue(self.replay(path)["same"])

    def test_stdin_and_folder(self):
        path, r = self.result("generate", "-m", self.model, "-n", "5", text="the hello\n")
        self.assertEqual(r["stamp"]["stdin"], "the hello\n")
        self.assertTrue(self.replay(path)["same"])

    def test_changed_model_is_named(self):
        copy = self.folder / "m.gguf"
        tiny.write(copy)
        path, r = self.result("score", "-m", copy, "--text", "hello the")

        def edit(w):
            w.tensors[0]["blk.1.attn_v.weight"].tensor[:] *= np.float32(1.01)
        tiny.write(copy, edit=edit)
        done = self.replay(path, status=1)
        self.assertEqual([d["at"] for d in done["made_by"]], ["model.sha256"])
        self.assertIn("logprobs[1]", [d["at"] for d in done["result"]])
        out = self.tl("replay", path, status=1)[0].decode()
        self.assertIn("made by: model.sha256 differs", out)

    def test_changed_program_is_named(self):
        program = self.folder / "p.tl"
        text = (ROOT / "models" / "llama.tl").read_text()
        program.write_text(text)
        path, r = self.result("generate", "-m", self.model, "--program", program, "-p", "hello the", "-n", "20", "--temp", "0", "--ignore-eos")
        self.assertEqual(r["stamp"]["program"]["file"], str(program))
        program.write_text(text.replace("silu(", "relu("))
        done = self.replay(path, status=1)
        self.assertEqual([d["at"] for d in done["made_by"]], ["program.sha256"])
        text = [d for d in done["result"] if d["at"] == "text"][0]
        was, now = text["was"].encode(), text["is"].encode()
        self.assertEqual(was[:text["byte"]], now[:text["byte"]])
        self.assertNotEqual(was[text["byte"]:][:1], now[text["byte"]:][:1])
        program.unlink()
        self.tl("replay", path, status=1)

    def test_another_model(self):
        path, r = self.result("score", "--ids", "5,6,7", "-m", self.model)
        other = self.folder / "other.gguf"
        tiny.write(other, edit=lambda w: w.tensors[0].pop("output.weight"))
        self.assertFalse(self.replay(path, "-m", other, status=1)["same"])

    def test_files_are_not_written(self):
        npy = self.folder / "l.npy"
        path, r = self.result("score", "-m", self.model, "--ids", "5,6,7", "--logits", npy)
        npy.unlink()
        self.assertTrue(self.replay(path)["same"])
        self.assertFalse(npy.exists())
        for arguments in (["--log", str(npy), "--ids", "5"], [f"--l={npy}", "--ids", "5"]):
            r["stamp"]["arguments"] = ["-m", self.model, "--json", *arguments]
            path.write_text(json.dumps(r))
            self.tl("replay", path, status=1)
            self.assertFalse(npy.exists())

    def test_wrong_files(self):
        path = self.folder / "x.json"
        stamp = {"command": "run", "arguments": ["x.tl"]}
        for text, word in (("{", b"line 1"), ("[]", b"stamp"), ("{}", b"stamp"), (json.dumps({"stamp": 5}), b"stamp"), (json.dumps({"stamp": stamp}), b"no command"),
                           (json.dumps({"stamp": {"command": "generate"}}), b"no command"), (json.dumps({"stamp": {"command": "score", "arguments": [1]}}), b"no texts"),
                           (json.dumps({"stamp": {"command": "generate", "arguments": ["--out", "f"]}}), b"wrote files"), ("[" * 100000, b"line 1")):
            with self.subTest(text=text[:60]):
                path.write_text(text)
                self.assertIn(word, self.tl("replay", path, status=1)[1])
        self.tl("replay", status=2)
        self.tl("replay", self.folder / "nothing.json", status=1)


if __name__ == "__main__":
    main()
