#!/usr/bin/env python3
"""Checks JSON Schema constraints with the jsonschema package (pip install jsonschema).

usage: check_schema.py SAMPLE [SUITE | N] [-v]

SAMPLE is the built program text_grammar_sample. SUITE is a folder of the JSON Schema Test Suite (tests/draft2020-12; the source package
of jsonschema carries it, and tools/setup.sh unpacks it); without: the schemas of schemas.json beside this script; N: so many random
ones of what docs/generation.md calls supported. Of each schema that the engine supports, random texts of its grammar must validate,
and no instance that is invalid may fit the grammar. Those of schemas.json and random ones must be supported, those of the suite be
supported or refused with a message. -v: tell what is refused.
"""
import glob
import json
import os
import random
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


def random_string(dice):
    kind = dice.randrange(5)
    if kind == 0:
        low = dice.randrange(4)
        return {"type": "string", **({"minLength": low} if dice.random() < 0.5 else {}), **({"maxLength": low + dice.randrange(6)} if dice.random() < 0.7 else {})}
    if kind == 1:
        return {"type": "string", "format": dice.choice(["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri"])}
    if kind == 2:
        part = ["[a-f]+", r"\d{2,4}", "(x|yz)?", "[^aeiou]{1,3}", "-", r"\w*", "é+", "(ab){2}"]
        return {"type": "string", "pattern": "^" + "".join(dice.sample(part, dice.randint(1, 3))) + "$"}
    if kind == 3:
        return {"enum": dice.sample(["a", "b c", "\"", "\\", "é\n", "", "猫"], dice.randint(1, 4))}
    return {"type": "string"}


def random_number(dice):
    kind, low, high = dice.choice(["integer", "number"]), dice.randint(-300, 300), dice.randint(0, 1000)
    out = {"type": kind}
    if dice.random() < 0.5:
        out[dice.choice(["minimum", "exclusiveMinimum"])] = low
    if dice.random() < 0.5:
        out[dice.choice(["maximum", "exclusiveMaximum"])] = low + high + 2
    return out


def random_schema(dice, depth=3):
    leaf = [lambda: random_string(dice), lambda: random_number(dice), lambda: {"type": "boolean"}, lambda: {"type": "null"},
            lambda: {"const": dice.choice([1, -2.5, "x", True, None, [1, "a"], {"k": []}])}, lambda: {"type": dice.sample(["string", "null", "integer", "boolean"], 2)},
            lambda: {"enum": dice.sample([1, 2.5, "a", None, True, [], {"a": 1}], 3)}]
    if depth == 0 or dice.random() < 0.25:
        return dice.choice(leaf)()
    kind = dice.randrange(6)
    if kind < 3:
        names = dice.sample(["a", "name", "x y", "é", "\"", "id", "tags"], dice.randint(0, 4))
        out = {"type": "object", "properties": {n: random_schema(dice, depth - 1) for n in names}, "required": [n for n in names if dice.random() < 0.6]}
        if dice.random() < 0.6:
            out["additionalProperties"] = dice.choice([False, False, {"type": "integer"}, True])
        return out
    if kind == 3:
        out = {"type": "array", "items": random_schema(dice, depth - 1)}
        if dice.random() < 0.4:
            out["prefixItems"] = [random_schema(dice, depth - 1) for _ in range(dice.randint(1, 2))]
        low = dice.randrange(3) + len(out.get("prefixItems", []))
        return out | ({"minItems": low} if dice.random() < 0.5 else {}) | ({"maxItems": low + dice.randrange(4)} if dice.random() < 0.5 else {})
    if kind == 4:
        return {"anyOf": [random_schema(dice, depth - 1) for _ in range(dice.randint(1, 3))]}
    return {"oneOf": [random_string(dice) | {"type": "string"} if dice.random() < 0.5 else {"type": "string"}, random_number(dice), {"type": "null"}]}


def random_groups(n):
    for i in range(n):
        dice = random.Random(i)
        schema = random_schema(dice)
        if dice.random() < 0.2:
            schema = {"$defs": {"it": schema}, "type": "object", "properties": {"one": {"$ref": "#/$defs/it"}, "more": {"type": "array", "items": {"$ref": "#/$defs/it"}}},
                      "required": ["one"]}
        yield f"random schema {i} {json.dumps(schema)[:300]}", schema, [], True


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    what = sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] != "-v" else None
    if what and not what.isdigit() and not os.path.isdir(what):
        print(f"{what} is not there: tools/setup.sh test fetches it")
        sys.exit(77)
    child = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    count = dict(schemas=0, refused=0, samples=0, valid=0, fitting=0, invalid=0)
    bad = 0
    for name, schema, tests, all_fit in random_groups(int(what)) if what and what.isdigit() else groups(what):
        texts = [json.dumps(data, ensure_ascii=False) for data, _ in tests]
        child.stdin.write(json.dumps({"schema": schema, "texts": texts, "samples": 40, "seed": count["schemas"]}) + "\n")
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
