"""Ctrl-C inside one long equation: `tl run` stops at the first, and `tl repl` goes on with what it knew."""
import os
import pathlib
import pty
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TL = sys.argv.pop(1)
# Each runs for minutes: a matrix product in rows, tiles of other orders.
LONG = {"rows": "let a = zeros(20000, 2000)\nprint(1)\nC[i, k] = a[i, j] * a[k, j]\nD[i, k] = C[i, j] * C[k, j]\nE[i, k] = D[i, j] * C[j, k]\nprint(E[0, 0])\n",
        "tiles": "let a = zeros(60, 60, 60, 60)\nprint(1)\nC[i, k, m, n] = a[j, i, p, k] * a[p, m, j, n]\nprint(C[0, 0, 0, 0])\n"}


class Interrupt(unittest.TestCase):
    def test_run(self):
        for name, text in LONG.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / "t.tl"
                file.write_text(text)
                process = subprocess.Popen([TL, "run", "-t", "2", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                time.sleep(1)
                self.assertIsNone(process.poll(), "the equation is too short for this test")
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=40)
                self.assertEqual(process.returncode, 1, err)
                self.assertIn(b"stopped", err)
                self.assertNotIn(b"internal", err)
                self.assertEqual(out, b"1\n")

    def test_repl(self):
        master, slave = pty.openpty()
        process = subprocess.Popen([TL, "repl"], stdin=slave, stdout=slave, stderr=slave, env=dict(os.environ, TERM="dumb", NO_COLOR="1"), start_new_session=True)
        os.close(slave)
        seen = b""

        def wait_for(text, seconds=40):
            nonlocal seen
            os.set_blocking(master, False)
            end = time.time() + seconds
            while text not in seen and time.time() < end:
                try:
                    seen += os.read(master, 4096)
                except BlockingIOError:
                    time.sleep(0.02)
                except OSError:
                    break
            self.assertIn(text, seen)
            seen = b""

        for line, answer in (("let a = zeros(60, 60, 60, 60)", None), ("print(1234 * 2)", b"2468")):
            os.write(master, line.encode() + b"\n")
            if answer:
                wait_for(answer)
        os.write(master, b"C[i, k, m, n] = a[j, i, p, k] * a[p, m, j, n]\n")
        os.write(master, b"print(C[0, 0, 0, 0])\n")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        wait_for(b"stopped")
        os.write(master, b"print(sum(a[0, 0, 0]) + 4321)\n")
        wait_for(b"4321.0")
        process.kill()
        process.wait()
        os.close(master)


if __name__ == "__main__":
    unittest.main()
