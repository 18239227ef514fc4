#!/usr/bin/env python3
"""Checks JSON Schema constraints with the jsonschema package (pip install jsonschema).

usage: check_schema.py SAMPLE [SUITE]

SAMPLE is the built program text_grammar_sample; SUITE a folder of the JSON Schema Test Suite (tests/draft2020-12). Without
SUITE: the schemas of schemas.json beside this script. Of each schema that the engine supports, random texts of its grammar
must validate, and no instance that is invalid may fit the grammar. Where `texts` are given they must fit.
"""
import glob
import json
import os
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("the Python packages of tests/requirements.txt are not installed")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))


def groups(folder):
    if folder is None:
        with open(os.path.join(HERE, "schemas.json"), encoding="utf-8") as f:
            for g in json.load(f):
                yield g["description"], g["schema"], [(t["data"], t["valid"]) for t in g["tests"]], True
        return
    for path in sorted(glob.glob(os.path.join(folder, "*.json")) + glob.glob(os.path.join(folder, "optional/format/*.json"))):
        with open(path, encoding="utf-8") as f:
            for g in json.load(f):
                name = os.path.basename(path) + ": " + g["description"]
                yield name, g["schema"], [(t["data"], t["valid"]) for t in g["tests"]], False


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    child = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    count = dict(schemas=0, refused=0, samples=0, valid=0, fitting=0, invalid=0)
    bad = 0
    for name, schema, tests, all_fit in groups(sys.argv[2] if len(sys.argv) > 2 else None):
        texts = [json.dumps(data, ensure_ascii=False) for data, _ in tests]
        child.stdin.write(json.dumps({"schema": schema, "texts": texts, "samples": 40, "seed": 1}) + "\n")
        child.stdin.flush()
        got = json.loads(child.stdout.readline())
        count["schemas"] += 1
        if "error" in got:
            count["refused"] += 1
            internal = got["code"] not in (3, 4, 7) or got["error"].startswith("grammar, line")
            if all_fit or internal or "-v" in sys.argv:
                print(f"{name}: {got['error']}")
            bad += all_fit or internal
            continue
        validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        for text in got["samples"]:
            count["samples"] += 1
            try:
                errors = [e.message for e in validator.iter_errors(json.loads(text))]
            except ValueError as e:
                errors = [str(e)]
            if errors:
                bad += 1
                print(f"{name}: {text[:200]!r} does not validate: {errors[0][:200]}")
        for (data, valid), text, fits in zip(tests, texts, got["match"]):
            count["valid" if valid else "invalid"] += 1
            count["fitting"] += valid and fits
            if fits and not valid or all_fit and valid and not fits:
                bad += 1
                print(f"{name}: {text[:200]} is {'valid' if valid else 'invalid'} but {'fits' if fits else 'does not fit'}")
    child.stdin.close()
    print(", ".join(f"{v} {k}" for k, v in count.items()))
    sys.exit(1 if bad or not count["samples"] else 0)


if __name__ == "__main__":
    main()
