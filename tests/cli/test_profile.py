"""tl profile: text, JSON, the trace and the flame graph's page. What they say is checked, times are not."""
import html.parser
import json
import pathlib
import re

from common import ModelCase, main

ROOT = pathlib.Path(__file__).parents[2]


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.scripts, self.links = [], []

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.scripts.append("")
        self.links += [v for k, v in attributes if k in ("src", "href")]

    def handle_data(self, data):
        if self.scripts and self.lasttag == "script":
            self.scripts[-1] += data


class Profile(ModelCase):
    def program(self):
        return (ROOT / "models" / "llama.tl").read_text().splitlines()

    def check_line(self, file, line, text):
        self.assertEqual(file, "models/llama.tl")
        self.assertIn(text.strip(), self.program()[line - 1])

    def test_json(self):
        found = json.loads(self.tl("profile", "-m", self.model, "-n", "8", "-p", "16", "--json")[0])
        self.assertAlmostEqual(sum(r["share"] for r in found["decode"]), 1, places=6)
        for rows in (found["decode"], found["prompt"]):
            for row in rows:
                self.check_line(row["file"], row["line"], row["text"])
        read = sum(r["bytes"] for r in found["decode"])
        matrices = 2 * 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64) + 4 * 265 * 64  # float32
        self.assertGreater(read, matrices)
        self.assertLess(read, 1.1 * matrices)

    def test_trace(self):
        path = self.folder / "t.json"
        self.tl("profile", "-m", self.model, "-n", "2", "-t", "2", "--trace", path, "--trace-steps", "3")
        trace = json.loads(path.read_text())
        events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
        self.assertEqual([e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"], ["thread 0", "thread 1"])
        self.assertTrue({e["tid"] for e in events} <= {0, 1})
        for e in events:
            file, line = e["args"]["line"].rsplit(":", 1)
            self.check_line(file, int(line), e["args"]["text"])
            self.assertGreaterEqual(e["ts"], 0)
            self.assertGreaterEqual(e["dur"], 0)
        for thread in (0, 1):  # one thing after the other
            mine = [e for e in events if e["tid"] == thread]
            for a, b in zip(mine, mine[1:]):
                self.assertLessEqual(a["ts"] + a["dur"], b["ts"] + 1e-2)
        linear = [e for e in events if e["args"]["kernel"] == "LINEAR"]
        self.assertEqual({e["args"].get("layer") for e in linear}, {0, 1, None})
        # every step reads every matrix once, however the work was cut
        matrices = 2 * 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64) + 4 * 265 * 64
        self.assertAlmostEqual(sum(e["args"]["bytes"] for e in linear) / 3, matrices, delta=1)
        self.assertGreaterEqual(len({e["args"]["line"] for e in linear}), 8)

    def test_html(self):
        path = self.folder / "f.html"
        self.tl("profile", "-m", self.model, "-n", "2", "--html", path)
        page = Page()
        page.feed(path.read_text())
        self.assertEqual(page.links, [])  # nothing is fetched from anywhere
        self.assertNotRegex(path.read_text(), "https?://")
        self.assertEqual(len(page.scripts), 2)
        data = json.loads(page.scripts[0])
        self.assertEqual({k["layer"] for k in data["kernels"]}, {-1, 0, 1})
        for k in data["kernels"]:
            self.check_line(k["file"], k["line"], k["text"])
        self.assertTrue(any("<-" in k["text"] or "<" in k["text"] for k in data["kernels"]) or "\\u003c" not in page.scripts[0])
        shares = {(r["file"], r["line"]): r["share"] for r in data["lines"]}
        whole = sum(k["seconds"] for k in data["kernels"])
        for place, share in shares.items():
            mine = sum(k["seconds"] for k in data["kernels"] if (k["file"], k["line"]) == place)
            self.assertAlmostEqual(mine / whole, share, places=6)

    def test_wrong_calls(self):
        self.tl("profile", "-m", self.model, "-n", "0", status=2)
        err = self.tl("profile", "-m", self.model, "-n", "1", "--html", self.folder / "no" / "f.html", status=1)[1]
        self.assertIn(b"No such file", err)
        self.assertEqual(list(self.folder.glob("*.new")), [])
        self.assertIsNone(re.search("Sanitizer", err.decode()))


if __name__ == "__main__":
    main()
