"""Sessions on disk: they bring back the same bytes, and what is broken or foreign is refused."""
import json
import os
import pathlib
import random
import signal
import subprocess
import time

from common import TL, ModelCase, main

TEXT = "hello there, the cat sat on the mat and "


class Session(ModelCase):
    def say(self, *args, status=0, model=None):
        out, err = self.tl("generate", "-m", model or self.model, "-n", "20", "-s", "3", "--json", "--ignore-eos", *args, status=status)
        return (json.loads(out)["text"] if status == 0 else ""), err.decode()

    def test_same_bytes(self):
        file = self.folder / "s.tls"
        for more in ([], ["--repeat-penalty", "1.4"], ["--temp", "0"], ["--cache-type", "f32"]):
            file.unlink(missing_ok=True)
            first = self.say("-p", TEXT, "--session", file, *more)[0]
            self.assertEqual(first, self.say("-p", TEXT, *more)[0])
            for prompt in (TEXT + first, TEXT, TEXT + "more", "other"):
                self.assertEqual(self.say("-p", prompt, "--session", file, *more)[0], self.say("-p", prompt, *more)[0])

    def test_refused(self):
        file, bad = self.folder / "s.tls", self.folder / "bad.tls"
        self.say("-p", TEXT, "--session", file)
        whole = file.read_bytes()
        dice = random.Random(1)

        def refused(data, *args, says="", model=None):
            bad.write_bytes(data)
            start = time.monotonic()
            err = self.say("-p", TEXT, "--session", bad, *args, status=1, model=model)[1]
            self.assertIn(says, err)
            self.assertLess(time.monotonic() - start, 5)
            self.assertEqual(bad.read_bytes(), data)  # it is left alone

        for n in (0, 1, 7, 8, 20, 47, 48, 60, 200, len(whole) // 2, len(whole) - 1):
            refused(whole[:n])
        refused(whole + b"x", says="cut or damaged")
        for _ in range(40):
            at = dice.randrange(len(whole))
            refused(whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1:])
        for at in (24, 32, 40):  # counts and sizes
            for value in (-1, 2**63 - 1, 2**31, 2**40, 0):
                data = value.to_bytes(8, "little", signed=True)
                if data != whole[at:at + 8]:
                    refused(whole[:at] + data + whole[at + 8:])
        refused(b"TLSESS9\0" + whole[8:], says="version")
        refused(b"GGUF" + whole, says="no session file")
        refused(whole, "--cache-type", "f32", says="--cache-type")
        import tiny

        other = str(self.folder / "other.gguf")
        tiny.write(other, edit=lambda w: w.tensors[-1]["output.weight"].tensor.__imul__(1.5))
        refused(whole, model=other, says="another model")
        tiny.write(other, edit=lambda w: w.tensors[-1]["blk.1.ffn_up.weight"].tensor.__setitem__((77, 13), 0.5))  # one value somewhere
        refused(whole, model=other, says="another model")
        program = self.folder / "llama.tl"
        program.write_text((pathlib.Path(__file__).parents[2] / "models/llama.tl").read_text() + "\n// changed\n")
        refused(whole, "--program", program, says="another model, program")
        refused(whole, "-c", "16", says="-c")
        os.mkfifo(self.folder / "pipe")
        self.say("-p", TEXT, "--session", self.folder, status=1)

    def test_chat(self):
        file, args = self.folder / "c.tls", ["--temp", "0", "-n", "8"]
        talk = ["hello", "what?", "and then?"]
        whole = self.tl("chat", "-m", self.model, *args, text="\n".join(talk) + "\n")[0]
        parts = b"".join(self.tl("chat", "-m", self.model, "--session", file, *args, text=line + "\n")[0] for line in talk)
        self.assertEqual(parts, whole)
        saved = self.folder / "x.tls"
        self.tl("chat", "-m", self.model, *args, text=f"{talk[0]}\n{talk[1]}\n/save {saved}\n")
        out, err = self.tl("chat", "-m", self.model, *args, text=f"/load {saved}\n{talk[2]}\n")
        self.assertTrue(whole.endswith(out) and out)
        self.assertIn(b"4 messages from", err)
        self.tl("chat", "-m", self.model, *args, text=f"{talk[0]}\n{talk[1]}\n/save {self.folder}/x.json\n")
        self.assertEqual(self.tl("chat", "-m", self.model, *args, text=f"/load {self.folder}/x.json\n{talk[2]}\n")[0], out)
        self.tl("chat", "-m", self.model, text="/load /no/such/file\n", status=1)

    def test_killed(self):
        file, dice = self.folder / "s.tls", random.Random(2)
        command = [TL, "generate", "-m", self.model, "-n", "120", "--ignore-eos", "--temp", "0", "-t", "1", "--session", file]
        start = time.monotonic()
        subprocess.run([*command, "-p", "a"], env=self.env, stdout=subprocess.DEVNULL, check=True)
        whole = time.monotonic() - start
        for i in range(KILLS):
            before = file.read_bytes()
            process = subprocess.Popen([*command, "-p", f"text {i} "], env=self.env, stdout=subprocess.DEVNULL)
            time.sleep(whole * dice.uniform(0.5, 1.1))
            process.send_signal(signal.SIGKILL)
            process.wait()
            if file.read_bytes() != before:  # the new one, whole: the next run would refuse another
                self.assertGreater(len(file.read_bytes()), 1000)
        subprocess.run([*command, "-p", "b"], env=self.env, stdout=subprocess.DEVNULL, check=True)
        self.tl("generate", "-m", self.model, "-p", "b", "-n", "1", "--session", file)

    def test_killed_while_saving(self):
        file, beside, dice = self.folder / "s.tls", self.folder / "s.tls.new", random.Random(3)
        text, inside = "".join(dice.choice("abcdefgh ") for _ in range(3000)), 0
        command = [TL, "generate", "-m", self.model, "-n", "1", "--ignore-eos", "--temp", "0", "-c", "4000", "--cache-type", "f32", "--session", file]
        quiet = {"env": self.env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*command, "-p", text], check=True, **quiet)
        length = None  # seconds that a save takes
        for i in range(10 * KILLS):
            before = file.read_bytes()
            process = subprocess.Popen([*command, "-p", f"{i} {text}"], **quiet)
            while not beside.exists() and process.poll() is None:
                pass
            start = time.monotonic()
            if length is None:
                while beside.exists():
                    pass
                length = time.monotonic() - start
                self.assertEqual(process.wait(), 0)
                continue
            wait = length * dice.uniform(0, 1)
            while time.monotonic() - start < wait and process.poll() is None:
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
            inside += beside.exists()
            self.assertTrue(beside.exists() or file.read_bytes() != before)
            subprocess.run([*command, "-p", f"{i} {text}"], check=True, **quiet)  # refuses what is not whole
            self.assertFalse(beside.exists(), "the next save uses up what a killed one left")
            if inside >= KILLS:
                break
        self.assertGreaterEqual(inside, KILLS)


if __name__ == "__main__":
    KILLS = int(os.environ.get("TL_TEST_KILLS", "12"))  # 100 by hand
    main()
