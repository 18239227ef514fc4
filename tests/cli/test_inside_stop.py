"""Ctrl-C in tl trace, tl lens and tl diff: a message, exit status 1, and nothing on stdout; a bar on a terminal before that."""
import os
import pty
import signal
import subprocess
import time

from common import TL, ModelCase, main


class Stop(ModelCase):
    CALLS = (("trace", "-m"), ("lens", "-m"), ("diff", "--cpu-a", "ref", "--cpu-b", "ref"))

    def start(self, call, stderr):
        import tiny
        model = self.folder / "long.gguf"
        if not model.exists():
            tiny.write(model, edit=lambda w: w.kv_data[0]["llama.context_length"].__setattr__("value", 60000))
        ids = self.folder / "text"
        ids.write_text("hello " * 20000)
        command = [TL, *call, model, "-f", ids, "-c", "50000", "-t", "1"]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL, env={**self.env, "TERM": "xterm"})

    def test_message(self):
        for call in self.CALLS:
            p = self.start(call, subprocess.PIPE)
            time.sleep(1)
            self.assertIsNone(p.poll(), call)
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=60)
            self.assertEqual((p.returncode, out), (1, b""), (call, err))
            self.assertIn(b"stopped within the first", err)

    def test_bar(self):
        master, slave = pty.openpty()
        p = self.start(self.CALLS[1], slave)
        os.close(slave)
        seen, end = b"", time.monotonic() + 60
        while b"reading" not in seen and time.monotonic() < end:
            seen += os.read(master, 4096)
        p.send_signal(signal.SIGINT)
        while p.poll() is None:
            try:
                seen += os.read(master, 4096)
            except OSError:
                break
        self.assertEqual(p.wait(timeout=60), 1)
        p.stdout.close()
        self.assertIn(b"reading", seen)
        os.close(master)


if __name__ == "__main__":
    main()
