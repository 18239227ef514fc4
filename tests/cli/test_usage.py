"""Calls that are wrong, and help: exit status 2 and a hint on stderr, or 0 and the help on stdout."""
import unittest

from common import Case, main

COMMANDS = ["chat", "generate", "models", "pull", "inspect", "run", "repl", "check", "test", "explain", "fmt", "lsp", "tokenize", "detokenize",
            "score", "bench"]

# (arguments, what stderr has in it)
WRONG = [
    ([], "usage: tl COMMAND"),
    (["chta"], "did you mean `tl chat`"),
    (["program.tl"], "did you mean `tl run program.tl`"),
    (["zzzzzzzz"], "there is no command"),
    (["help", "nothing"], "there is no command"),
    (["pull", "--froce"], "did you mean --force"),
    (["pull", "-x"], "there is no option -x"),
    (["pull", "--quiet=1"], "--quiet takes no value"),
    (["models", "extra"], "one argument too many"),
    (["generate", "-p"], "-p needs a value"),
    (["generate", "--prompt"], "--prompt needs a value"),
    (["generate", "-p", "x", "-f", "y"], "either -p TEXT or -f FILE"),
    (["generate", "-p", "x", "-n", "-2"], "--n-predict"),
    (["generate", "-p", "x", "-n", "1.5"], "not a whole number"),
    (["generate", "-p", "x", "-n", "99999999999999999999"], "not a whole number"),
    (["generate", "-p", "x", "--temp", "warm"], "not a number"),
    (["generate", "-p", "x", "--temp", "nan"], "not a number"),
    (["generate", "-p", "x", "--top-p", "1.5"], "between"),
    (["generate", "-p", "x", "--top-p", "-0.5"], "between"),
    (["generate", "-p", "x", "--min-p", "-0.1"], "between"),
    (["generate", "-p", "x", "-t", "5000"], "between"),
    (["generate", "--p", "x"], "the beginning of several options"),
    (["generate", "-m", "a", "b", "-p", "x"], "one argument too many"),
    (["score"], "give one of"),
    (["score", "--text", "x", "--ids", "1"], "give one of"),
    (["score", "--ids", "1,two"], "--ids"),
    (["score", "--ids", "-1"], "--ids"),
    (["tokenize", "a", "b"], "one argument too many"),
    (["tokenize", "a", "-f", "b"], "either TEXT or -f FILE"),
    (["detokenize", "1,x"], "whole numbers"),
    (["detokenize", "[1,2"], "whole numbers"),
    (["run"], "something is missing"),
    (["run", "x.tl", "--dump", "everything"], "ast, ir or plan"),
    (["bench", "-r", "0"], "between"),
]


class Usage(Case):
    def test_wrong_calls(self):
        for arguments, hint in WRONG:
            with self.subTest(arguments=arguments):
                out, err = self.tl(*arguments, status=2)
                self.assertEqual(out, b"")
                self.assertIn(hint, err.decode())

    def test_help_of_all(self):
        out, err = self.tl("--help")
        self.assertEqual(err, b"")
        for name in COMMANDS:
            self.assertIn(f"\n  {name} ", out.decode())
        self.assertEqual(self.tl("help")[0], out)
        self.assertEqual(self.tl("-h")[0], out)

    def test_help_of_each(self):
        for name in COMMANDS:
            with self.subTest(command=name):
                out, err = self.tl(name, "--help")
                self.assertTrue(out.decode().startswith(f"usage: tl {name}"), out)
                self.assertEqual(err, b"")
                self.assertEqual(self.tl("help", name)[0], out)
                self.assertEqual(self.tl(name, "-h")[0], out)
                self.assertLessEqual(max(map(len, out.decode().splitlines())), 120)

    def test_version(self):
        self.assertRegex(self.tl("--version")[0].decode(), r"^tl \d+\.\d+\.\d+\n$")

    def test_a_full_disk_is_a_failure(self):
        import subprocess

        from common import TL

        with open("/dev/full", "w") as full:
            done = subprocess.run([TL, "--help"], stdout=full, stderr=subprocess.PIPE, env=self.env)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot be written", done.stderr)

    def test_models_that_are_not_there(self):
        for command in (["generate", "-p", "x"], ["chat"], ["score", "--text", "x"], ["tokenize", "x"], ["inspect"], ["bench"]):
            with self.subTest(command=command):
                self.assertIn(b"tl pull smollm2", self.tl(*command, status=1)[1])
                self.assertIn(b"neither a file nor a known model", self.tl(*command, "-m", "nobody", status=1)[1])
                self.assertIn(b"No such file", self.tl(*command, "-m", "/no/where.gguf", status=1)[1])

    def test_files_that_are_not_there(self):
        self.assertIn(b"No such file", self.tl("run", "/no/where.tl", status=1)[1])
        self.assertIn(b"No such file", self.tl("score", "-f", "/no/where.txt", status=1)[1])
        self.assertIn(b"No such file", self.tl("generate", "-f", "/no/where.txt", status=1)[1])


if __name__ == "__main__":
    main()
