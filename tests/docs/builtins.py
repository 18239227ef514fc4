"""The table of builtins in docs/language.md has every builtin that src/eval registers, with its arguments.

usage: builtins.py REPOSITORY [--write]      with --write: replaces the table
"""
import pathlib
import re
import sys

ENTRY = re.compile(r'^    \{"([a-z_0-9]+)", f_\w+, (-?\d+), (-?\d+), "((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\}', re.M)
MAP = re.compile(r'\{"([a-z_]+)", MAP_\w+\}')
# Elementwise functions are registered from one list of names; each is told by its formula. neg is the operator's.
FORMULAS = {
    "abs": "|x|", "exp": "e^x", "log": "the natural logarithm", "sqrt": "the square root", "sin": "the sine of radians",
    "cos": "the cosine of radians", "tanh": "the hyperbolic tangent", "sigmoid": "1 / (1 + e^-x)", "silu": "x sigmoid(x)",
    "swish": "x sigmoid(x)", "gelu": "gelu, by tanh", "gelu_tanh": "gelu, by tanh", "gelu_erf": "gelu, by erf",
    "gelu_quick": "x sigmoid(1.702 x)", "relu": "max(x, 0)", "softplus": "log(1 + e^x)", "step": "1 where x > 0, else 0",
    "floor": "rounded down", "ceil": "rounded up", "round": "the nearest whole number", "sign": "-1, 0 or 1",
    "erf": "the error function", "square": "x^2",
}
HEAD = "| builtin | what it gives |\n| --- | --- |\n"


def plain(text):
    return text.replace('\\"', '"').replace("\\\\", "\\").replace("|", "\\|")


def table(root):
    rows = {}
    for source in sorted((root / "src" / "eval").glob("*.c")):
        text = source.read_text(encoding="utf-8")
        for name, _, _, params, what in ENTRY.findall(text):
            rows[name] = f"| `{name}({plain(params)})` | {plain(what)} |"
        if source.name == "builtins_tensor.c":
            for name in set(MAP.findall(text)) - set(rows) - {"neg"}:
                formula = plain(FORMULAS.get(name, "?"))
                rows[name] = f"| `{name}(x)` | {formula[0].upper() + formula[1:]}, of a number or of each element. |"
    if len(rows) < 100:
        sys.exit(f"only {len(rows)} builtins found in src/eval: have the tables another form now?")
    return HEAD + "".join(rows[k] + "\n" for k in sorted(rows)), len(rows)


def main():
    root = pathlib.Path(sys.argv[1])
    page = root / "docs" / "language.md"
    want, count = table(root)
    if "| ?," in want:
        sys.exit("an elementwise function has no formula in builtins.py")
    text = page.read_text(encoding="utf-8")
    begin = text.find(HEAD)
    if begin < 0:
        sys.exit("docs/language.md has no table of builtins")
    end = text.find("\n\n", begin) + 1
    found = text[begin:end]
    if "--write" in sys.argv:
        page.write_text(text[:begin] + want + text[end:], encoding="utf-8")
    elif found != want:
        for line in sorted(set(want.splitlines()) ^ set(found.splitlines())):
            print(("missing: " if line in want.splitlines() else "not in src/eval: ") + line)
        sys.exit("docs/language.md: run tests/docs/builtins.py . --write")
    print(f"{count} builtins")


main()
