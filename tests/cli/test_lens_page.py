"""The page of `tl lens --html` in headless Chromium: every cell's token and colour are those of numpy's last norm and head applied to
the traced residuals; pointing at a cell lists the next best; nothing is fetched and no error is logged. Exits with 77 without Chromium."""
import colorsys
import html.parser
import json
import re
import shutil
import subprocess
import sys

from common import SKIP, ModelCase, main

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if not BROWSER:
    print("skipped: there is no Chromium (apt install chromium)")
    sys.exit(SKIP)

import gguf
import numpy as np
import tiny

TEXT = "hello the </script><b> hello & \"then\""


class Table(html.parser.HTMLParser):
    """Rows of (text, style) of the page's table, and the text of #tip."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tip, self.open, self.in_tip = [], "", None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.open = ["", attrs.get("style", "")]
            self.rows[-1].append(self.open)
        self.in_tip = attrs.get("id") == "tip"

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.open = None
        self.in_tip = False

    def handle_data(self, data):
        if self.open:
            self.open[0] += data
        if self.in_tip:
            self.tip += data


def shown(text, number):
    return f"#{number}" if text == "" else text.replace(" ", "\u00b7").replace("\n", "\u21b5")


class Page(ModelCase):
    def dom(self, page):
        done = subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={self.folder}/profile",
                               "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom", f"file://{page}"], capture_output=True, timeout=110)
        log = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, 0, log[-2000:])
        self.assertFalse([line for line in log.splitlines() if "CONSOLE" in line], log[-2000:])
        return Table(done.stdout.decode())

    def probabilities(self):
        """[layers + 1, tokens, vocab] by numpy."""
        self.tl("trace", "-m", self.model, "-p", TEXT, "--watch", "X", "--npy", self.folder / "npy")
        w = {t.name: t.data for t in gguf.GGUFReader(self.model).tensors}
        keys, out = ["X"] + [f"blk.{i}.X#2" for i in range(tiny.LAYERS)], []
        for key in keys:
            x = np.load(self.folder / "npy" / f"{key}.npy").astype(np.float64)
            z = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w["output_norm.weight"] @ w["output.weight"].astype(np.float64).T
            p = np.exp(z - z.max(-1, keepdims=True))
            out.append(p / p.sum(-1, keepdims=True))
        return np.array(out)

    def test_cells(self):
        page, probe = self.folder / "lens.html", self.folder / "probe.html"
        self.tl("lens", "-m", self.model, "-p", TEXT, "--html", page, "-k", "4")
        told = json.loads(self.tl("lens", "-m", self.model, "-p", TEXT, "--json", "-k", "4")[0])
        # the same page, with a pointer on its last cell
        probe.write_text(page.read_text() + "<script>[...document.querySelectorAll('td')].pop().onmousemove({clientX: 5, clientY: 5})</script>")
        got, p = self.dom(probe), self.probabilities()
        tokens = {g["id"]: g["token"] for layer in told["layers"] for cell in layer["positions"] for g in cell}
        self.assertEqual([c[0] for c in got.rows[0]], ["layer"] + [shown(t, i) for t, i in zip(told["tokens"], told["ids"])])
        self.assertEqual([row[0][0] for row in got.rows[1:]], ["input"] + [str(i) for i in range(tiny.LAYERS)])
        for row, layer in zip(got.rows[1:], p):
            self.assertEqual(len(row), 1 + len(layer))
            for (text, style), q in zip(row[1:], layer):
                best = int(q.argmax())
                self.assertEqual(text, shown(tokens[best], best))
                rgb = re.search(r"background: rgb\((\d+), (\d+), (\d+)\)", style).groups()
                want = colorsys.hls_to_rgb(215 / 360, (96 - 58 * q[best]) / 100, 0.7)
                self.assertLess(max(abs(int(a) - 255 * b) for a, b in zip(rgb, want)), 1.5, style)
        lines, last = got.tip.splitlines(), p[-1, -1]
        self.assertEqual(len(lines), 4)
        for line, number in zip(lines, np.argsort(-last)):
            self.assertEqual(line, f"{100 * last[number]:5.1f} %  {shown(tokens[int(number)], number)}")


if __name__ == "__main__":
    main()
