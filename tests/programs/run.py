"""Runs every program of this folder and of examples/paper and compares what it writes.

x.tl with x.out must succeed and print exactly that; with x.err it must fail, and its message must be exactly that. A
program with blocks `test NAME { }` must pass `tl test` as well.
run.py TL [NAME...]; with --write before the names, the files are written instead (look at them before committing).
"""
import os
import pathlib
import re
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
FOLDERS = [HERE, HERE.parent.parent / "examples" / "paper"]


def run(tl, program, scratch):
    env = dict(os.environ, TL_SCRATCH=scratch, NO_COLOR="1")
    return subprocess.run([tl, "run", program.name], cwd=program.parent, env=env, capture_output=True, text=True, timeout=60)


def expected(program):
    for suffix in (".out", ".err"):
        if program.with_suffix(suffix).exists():
            return program.with_suffix(suffix)
    return None


def check(tl, program, scratch, write):
    done = run(tl, program, scratch)
    found = (done.stdout if done.returncode == 0 else done.stderr).replace(f"{program.parent}/", "").replace(scratch, "SCRATCH")
    suffix = ".out" if done.returncode == 0 else ".err"
    if write:
        program.with_suffix(suffix).write_text(found)
        print(f"--- {program.name}{suffix}\n{found}", end="")
        return True
    want = expected(program)
    if want is None:
        print(f"{program.name}: has neither .out nor .err")
        return False
    if done.returncode not in (0, 1) or want.suffix != suffix or want.read_text() != found:
        print(f"{program.name}: exit {done.returncode}; expected of {want.name}:\n{want.read_text()}found:\n{done.stdout}{done.stderr}")
        return False
    if want.suffix == ".out" and re.search(r"^test ", program.read_text(), re.M):
        done = subprocess.run([tl, "test", "-q", program.name], cwd=program.parent, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            print(f"{program.name}: tl test fails:\n{done.stdout}{done.stderr}")
            return False
    return True


def short_programs(tl, scratch):
    """accepted.txt: `==== name`, a program, `----`, what it prints; returns how many there are and how many are wrong."""
    cases = re.split(r"^==== (.*)\n", (HERE / "accepted.txt").read_text(), flags=re.M)[1:]
    bad = 0
    for name, body in zip(cases[::2], cases[1::2]):
        program, want = body.split("----\n", 1)
        path = pathlib.Path(scratch) / "t.tl"
        path.write_text(program)
        done = run(tl, path, scratch)
        if done.returncode or done.stdout != want:
            bad += 1
            print(f"accepted.txt, {name}: exit {done.returncode}, expected\n{want}found\n{done.stdout}{done.stderr}")
    return len(cases) // 2, bad


def main():
    tl = os.path.abspath(sys.argv[1])
    write = "--write" in sys.argv
    names = [a for a in sys.argv[2:] if a != "--write"]
    programs = [p for d in FOLDERS for p in sorted(d.glob("*.tl")) if not p.name.startswith("part_") and (not names or p.stem in names)]
    with tempfile.TemporaryDirectory() as scratch:
        bad = [p.name for p in programs if not check(tl, p, scratch, write)]
        short, wrong = (0, 0) if names else short_programs(tl, scratch)
    if not programs:
        sys.exit("no programs")
    print(f"{len(programs) - len(bad)} of {len(programs)} programs")
    print(f"{short - wrong} of {short} short programs")
    sys.exit(1 if bad or wrong else 0)


main()
