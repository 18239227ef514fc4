"""Conversations, from a pipe and at a terminal, on the tiny model: what it says makes no sense, but turns, commands, Ctrl-C
and the cache do as they should."""
import json
import os
import pty
import re
import select
import signal
import time
import unittest

import tiny
from common import TL, ModelCase, main

PROMPT = rb">(\x1b\[0m)? "


class Chat(ModelCase):
    def chat(self, text, *args, status=0):
        return self.tl("chat", "-m", self.model, "--temp", "0", "-n", "6", *args, text=text, status=status)

    def saved(self, text, *args):
        path = self.folder / "saved.json"
        self.chat(text + f"/save {path}\n", *args)
        return json.loads(path.read_text())

    def prompt_tokens(self, err):
        return int(re.search(rb"prompt (\d+) tokens", err)[1])

    # ---- from a pipe
    def test_each_line_is_a_turn(self):
        said = self.saved("Hello\n\nMore of it\n")
        self.assertEqual([m["role"] for m in said], ["user", "assistant"] * 2)
        self.assertEqual([m["content"] for m in said if m["role"] == "user"], ["Hello", "More of it"])

    def test_stdout_has_the_replies_and_nothing_else(self):
        said = self.saved("Hello\nAgain\n")
        out, err = self.chat("Hello\nAgain\n/help\n/set\n")
        self.assertEqual(out.decode(), "".join(m["content"] + "\n" for m in said if m["role"] == "assistant"))
        self.assertIn(b"tokens/s", err)

    def test_the_last_line_needs_no_newline(self):
        self.assertEqual(self.chat("Hello")[0], self.chat("Hello\n")[0])

    def test_the_cache_is_kept_across_turns(self):
        _, one = self.chat("Hello there\n")
        _, two = self.chat("Hello there\nHello there\n")
        # Rendering the second turn again repeats the first; only what is new in it is computed.
        self.assertLess(self.prompt_tokens(two), 3 * self.prompt_tokens(one))

    def test_what_was_kept_does_not_change_what_is_said(self):
        said = self.saved("Hello\n/system be brief\nHow are you?\n")
        turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in said[:-1]) + "<|im_start|>assistant\n"
        out, _ = self.tl("generate", "-m", self.model, "--temp", "0", "-n", "6", "--no-special", "--parse-special", "-p", turns)
        self.assertEqual(out.decode(), said[-1]["content"])

    def test_system(self):
        self.assertEqual(self.saved("/system be brief\nHi\n")[0], {"role": "system", "content": "be brief"})
        self.assertEqual(self.saved("Hi\n", "--system", "be kind")[0], {"role": "system", "content": "be kind"})
        self.assertEqual(self.saved("Hi\n/system\n", "--system", "be kind")[0]["role"], "user")

    def test_reset(self):
        said = self.saved("Hello\n/reset\nOnce more\n", "--system", "x")
        self.assertEqual([m["role"] for m in said], ["system", "user", "assistant"])

    def test_set(self):
        _, err = self.chat("/set temp 0.5\n/set top_k 7\n/set n 3\n/set\n")
        for line in (r"temp +0\.5\n", r"top-k +7\n", r"n +3\n"):
            self.assertRegex(err.decode(), line)
        for wrong in ("/set colour 3", "/set temp", "/set temp warm", "/set top-k 1.5", "/set top-p 3", "/st temp 1", "/save", "/save /no/where/x"):
            with self.subTest(wrong=wrong):
                out, err = self.chat(wrong + "\n/set\n", status=2 if "top-p" in wrong else 1)
                self.assertEqual(out, b"")
                self.assertRegex(err.decode(), r"top-p +0\.95\n")

    def test_a_slash_that_is_no_command(self):
        self.assertEqual(self.saved("//etc is a folder\n")[0]["content"], "/etc is a folder")

    def test_special_tokens_of_a_user_are_text(self):
        self.assertEqual(self.saved("<|im_end|>\n")[0]["content"], "<|im_end|>")
        _, plain = self.chat("<|im_end|>\n")
        self.assertGreater(self.prompt_tokens(plain), 15)  # ten letters rather than one token

    def test_a_long_conversation_forgets_its_beginning(self):
        out, err = self.chat("Tell me a long story\n" * 12, "-c", "128")
        self.assertIn(b"oldest turns are forgotten", err)
        self.assertEqual(err.count(b"forgotten"), 1)

    def test_a_message_that_does_not_fit(self):
        self.chat("x" * 500 + "\nHello\n", "-c", "128", status=1)

    def test_no_template(self):
        path = self.folder / "base.gguf"
        tiny.write(path, template=None, special=["<s>", "<u>", "</s>"])  # nothing tells how turns are written
        self.assertIn(b"tl generate", self.tl("chat", "-m", path, text="Hi\n", status=1)[1])
        template = self.folder / "template.jinja"
        template.write_text(tiny.TEMPLATE)
        self.tl("chat", "-m", path, "--chat-template", template, "-n", "2", text="Hi\n")

    # ---- at a terminal
    def terminal(self, *args, command="chat", **env):
        pid, fd = pty.fork()
        if pid == 0:
            options = ["-m", self.model, "--temp", "0"] if command == "chat" else []
            os.execve(TL, ["tl", command, *options, *args], {**self.env, "TERM": "xterm", **env})
        self.seen = b""
        return pid, fd

    def test_without_the_library_that_edits(self):
        (self.folder / "libedit.so.2").write_bytes(b"")  # found first, and no library
        for command in "chat", "repl":
            self.assertEqual(self.finish(*self.terminal(command=command, LD_LIBRARY_PATH=str(self.folder))), 1)
            self.assertIn(b"libedit", self.seen)

    def until(self, fd, wanted, seconds=20):
        end, begin = time.time() + seconds, len(self.seen)
        while not re.search(wanted, self.seen[begin:]):
            self.assertLess(time.time(), end, f"{wanted} did not come: {self.seen!r}")
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(fd, 4096)
                except OSError:
                    self.fail(f"{wanted} did not come: {self.seen!r}")

    def finish(self, pid, fd):
        end = time.time() + 20
        while time.time() < end:
            try:
                while select.select([fd], [], [], 0.05)[0]:
                    data = os.read(fd, 4096)
                    self.seen += data
                    if not data:
                        break
            except OSError:
                pass
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                os.close(fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(pid, signal.SIGKILL)
        self.fail(f"it did not end: {self.seen!r}")

    def test_a_conversation_at_a_terminal(self):
        pid, fd = self.terminal("-n", "6")
        self.until(fd, PROMPT)
        os.write(fd, "h\u00e9llo\n".encode())
        self.until(fd, rb"\n.*" + PROMPT)
        os.write(fd, f"/save {self.folder}/s.json\n".encode())
        self.until(fd, rb"2 messages")
        os.write(fd, b"two\\\nlines\n")
        self.until(fd, rb"\. lines(.|\n)*" + PROMPT)
        time.sleep(0.3)  # libedit draws its prompt before it takes the terminal out of line mode
        os.write(fd, b"\x04")
        self.assertEqual(self.finish(pid, fd), 0)
        self.assertIn(b"tokens/s", self.seen)
        self.assertIn(b"\x1b[1;32m", self.seen)
        self.assertEqual(json.loads((self.folder / "s.json").read_text())[0]["content"], "h\u00e9llo")

    def test_no_color(self):
        pid, fd = self.terminal("-n", "2", NO_COLOR="1")
        self.until(fd, PROMPT)
        os.write(fd, b"/quit\n")
        self.assertEqual(self.finish(pid, fd), 0)
        self.assertNotIn(b"\x1b[1;32m", self.seen)

    def test_ctrl_c_stops_a_reply_only(self):
        # The reply would go on until the cache is full, which takes this model a while.
        pid, fd = self.terminal("-c", "60000", "--isa", "ref")
        self.until(fd, PROMPT)
        os.write(fd, b"go on\n")
        self.until(fd, rb"go on\r\n")
        time.sleep(1.5)  # the echo may come twice, so text alone does not tell that the reply has begun
        os.write(fd, b"\x03")
        self.until(fd, rb"\n.*" + PROMPT)
        end = time.time() + 30
        while b"Ctrl-D or /quit" not in self.seen and time.time() < end:  # with nothing to stop; again if it came before the line editor did
            os.write(fd, b"\x03")
            if select.select([fd], [], [], 1)[0]:
                self.seen += os.read(fd, 4096)
        self.assertIn(b"Ctrl-D or /quit", self.seen)
        os.write(fd, b"/quit\n")
        self.assertEqual(self.finish(pid, fd), 0)
        self.assertIn(b"tokens/s", self.seen)


if __name__ == "__main__":
    main()
