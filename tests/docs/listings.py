"""Runs the listings of manual pages and compares what they print with the page.

usage: listings.py TL PAGE... [--write]

A block ```tl is a program, a block ```tl more goes on with the program before it. A block ```text right behind one is what
its lines print: results if it succeeds, the message if it fails (a message has the line numbers of the whole program). A
listing without such a block prints nothing. Programs must also be well formatted and, unless they fail, pass `tl check`.
With --write the text blocks are replaced by what was printed; look at them before committing.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^```tl( more)?\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)


def call(tl, command, program):
    env = dict(os.environ, NO_COLOR="1")
    line = [tl, *command, program.name]
    return subprocess.run(line, cwd=program.parent, env=env, capture_output=True, text=True, timeout=60)


class Page:
    """What came before the next block: the program so far and what it printed."""

    def __init__(self, tl, path, folder):
        self.tl, self.path, self.program = tl, path, folder / "listing.tl"
        self.source, self.printed, self.failures, self.count = "", "", [], 0
        self.text = path.read_text(encoding="utf-8")

    def listing(self, match):
        more, code, want = match.group(1), match.group(2), match.group(3) or ""
        line = self.text.count("\n", 0, match.start()) + 1
        before = self.printed if more else ""
        source = self.source + code if more else code
        self.program.write_text(source, encoding="utf-8")
        done = call(self.tl, ["run"], self.program)
        found = done.stdout if done.returncode == 0 else done.stderr
        problems = []
        if done.returncode == 0:
            if not found.startswith(before):
                problems.append(f"prints other lines than before:\n{found}")
            found = found[len(before):]
            self.source, self.printed = source, before + found
            checked = call(self.tl, ["check"], self.program)
            if checked.returncode != 0 or "warning" in checked.stdout + checked.stderr.replace("0 warnings", ""):
                problems.append(f"tl check:\n{checked.stdout}{checked.stderr}")
        elif done.returncode != 1 or "error:" not in want:
            problems.append(f"exit status {done.returncode}")
        if call(self.tl, ["fmt", "--check"], self.program).returncode != 0:
            problems.append("tl fmt would change it")
        if found != want:
            problems.append(f"found:\n{found}")
        self.failures += [f"{self.path.name}:{line}: {p}" for p in problems]
        self.count += 1
        shown = f"\n```text\n{found}```\n" if found else ""
        return f"```tl{more or ''}\n{code}```\n{shown}"


def main():
    tl = os.path.abspath(sys.argv[1])
    bad = 0
    for name in [a for a in sys.argv[2:] if a != "--write"]:
        with tempfile.TemporaryDirectory() as folder:
            page = Page(tl, pathlib.Path(name), pathlib.Path(folder))
            written = BLOCK.sub(page.listing, page.text)
        if "--write" in sys.argv:
            page.path.write_text(written, encoding="utf-8")
        print("\n".join(page.failures + [f"{page.path.name}: {page.count} listings, {len(page.failures)} problems"]))
        bad += len(page.failures) or page.count == 0
    sys.exit(1 if bad else 0)


main()
