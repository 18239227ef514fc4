"""Runs the walk-through of docs/debugging.md, which damages a model file itself, and compares what is printed with the page.

usage: debugging.py TL PAGE [--write]

A block ```python is run as a script. In a block ```console each line that begins with "$ " is a command, with `tl` as the
program under test; the lines below it are what it prints, on stdout and stderr, in that order. A line "..." stands for any
lines, and "..." within a line for any part of it. All happens in one new folder. With --write the outputs are replaced by what was printed, as far as they do not fit.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.M | re.S)


def fits(want, found):
    """Whether the lines `found` are the lines `want`."""
    pattern = "".join("(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + "\n" for line in want)
    return re.fullmatch(pattern, "".join(line + "\n" for line in found)) is not None


class Story:
    def __init__(self, tl, page, folder):
        self.tl, self.page, self.folder, self.failures, self.commands = tl, page, folder, [], 0
        root = pathlib.Path(__file__).resolve().parents[2]
        self.env = dict(os.environ, NO_COLOR="1", PYTHONPATH=str(root / "tests" / "cli"), XDG_CACHE_HOME=str(folder / "cache"), XDG_CONFIG_HOME=str(folder / "config"), TL=tl)

    def run(self, words, **more):
        return subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, errors="replace", timeout=120, **more)

    def python(self, code):
        done = self.run([sys.executable, "-c", code])
        if done.returncode == 77:
            sys.exit(77)
        if done.returncode:
            self.failures.append(f"the script fails:\n{done.stderr}")

    def console(self, text):
        out, lines = [], text.splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("$ ")] + [len(lines)]
        for at, end in zip(starts, starts[1:]):
            words = shlex.split(lines[at][2:])
            done = self.run([self.tl, *words[1:]] if words[0] == "tl" else words)
            found, want = (done.stdout + done.stderr).splitlines(), lines[at + 1:end]
            self.commands += 1
            if not fits(want, found):
                self.failures.append(f"{lines[at]}\nprints:\n" + "\n".join(found))
                want = found
            out += [lines[at], *want]
        return "".join(line + "\n" for line in out)

    def block(self, match):
        kind, text = match.groups()
        if kind == "python":
            self.python(text)
            return match.group(0)
        return f"```console\n{self.console(text)}```"


def main():
    tl, page = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        story = Story(tl, page, pathlib.Path(folder))
        new = BLOCK.sub(story.block, text)
    if "--write" in sys.argv:
        page.write_text(new, encoding="utf-8")
    for failure in story.failures:
        print(failure, "\n")
    print(f"{page.name}: {story.commands} commands, {len(story.failures)} differ")
    sys.exit(1 if story.failures or not story.commands else 0)


if __name__ == "__main__":
    main()
