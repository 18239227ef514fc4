"""What the tests of the program share: calling it, and a model small enough to be made on the spot."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

TL = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "build/tl"
SKIP = 77


def environment(folder, **more):
    """An environment whose caches and settings are in `folder`, so that the user's are neither seen nor touched."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CACHE_HOME": f"{folder}/cache", "XDG_CONFIG_HOME": f"{folder}/config",
            "LC_ALL": "C.UTF-8", **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **more}


class Case(unittest.TestCase):
    """Each test has a folder of its own, self.folder."""

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.temporary.name)
        self.env = environment(self.folder)

    def tearDown(self):
        self.temporary.cleanup()

    def tl(self, *args, text="", status=0, **env):
        """Runs the program; returns its stdout and stderr as bytes. `status`: the exit status that is wanted."""
        text = text if isinstance(text, bytes) else text.encode()
        done = subprocess.run([TL, *map(str, args)], input=text, capture_output=True, env={**self.env, **env}, timeout=120)
        self.assertEqual(done.returncode, status, f"tl {args}: {done.stdout[-500:]!r} {done.stderr[-2000:]!r}")
        return done.stdout, done.stderr


class ModelCase(Case):
    """Cases that share one small model."""

    @classmethod
    def setUpClass(cls):
        import tiny  # needs numpy, which not every test has

        cls.shared = tempfile.TemporaryDirectory()
        cls.model = cls.shared.name + "/tiny.gguf"
        tiny.write(cls.model)

    @classmethod
    def tearDownClass(cls):
        cls.shared.cleanup()


def main():
    unittest.main(module="__main__", verbosity=1)
