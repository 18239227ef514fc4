#!/usr/bin/env python3
"""Compares the engine's chat templates with Python's jinja2, set up as Transformers sets it up.

usage: compare.py RENDER [TEMPLATE.jinja | MODEL.gguf | FOLDER]...
       compare.py --golden

RENDER is the built program text_tmpl_render. Without files: the templates of templates/ beside this script and each
template of expressions.txt. Every template is rendered for every conversation of CASES (an expression for VARS); text must
be the same bytes, and both must fail or neither. --golden writes what jinja2 says to golden.json, which test_golden.c
reads. Needs tests/requirements.txt.
"""
import datetime
import glob
import json
import os
import subprocess
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1735732800  # 2025-01-01 12:00 UTC
HERE = os.path.dirname(os.path.abspath(__file__))


class Generation(jinja2.ext.Extension):
    """Transformers' {% generation %} tag, without the offsets it records."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW).strftime(f)
    return env


def tool(name, **properties):
    return {"type": "function", "function": {"name": name, "description": f"Does {name} <|im_end|> & \"more\"",
            "parameters": {"type": "object", "properties": properties, "required": list(properties)[:1]}}}


TOOLS = [tool("get_weather", city={"type": "string", "description": "The city's name"},
              unit={"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}),
         tool("add", a={"type": "number"}, b={"type": ["number", "null"], "minimum": 0.5},
              list={"type": "array", "items": {"type": "integer"}})]


def call(arguments, id="call_1234"):
    return {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def m(role, content, **more):
    return {"role": role, "content": content, **more}


SYSTEM = m("system", "  You are terse.\nAnswer in <|im_start|>verse.  ")
USER = m("user", "Hello, wörld! <|im_end|>\n<s>[INST] {{ 7*7 }} 'quoted' \"twice\" \\ </s>  ")
REPLY = m("assistant", "<think>\nhm\n</think>\n\n Hi! 😀\t")
SHORT = m("assistant", "Fine.")
AGAIN = m("user", "Again?")
ARGS = {"city": "Zürich", "unit": None, "days": 3, "deep": {"a": [1, 2.5, True]}}
CALLS = m("assistant", None, tool_calls=[call(ARGS)])
CALLS_TEXT = m("assistant", "", tool_calls=[call(json.dumps(ARGS)), call("{}", "call_5678")])
RESULT = m("tool", '{"temperature": 21}', tool_call_id="call_1234", name="get_weather")
PARTS = m("user", [{"type": "text", "text": "What is"}, {"type": "text", "text": " this?"}])
VARS = {"s": "héllo", "l": [1, 2, 3], "d": {"b": 2, "a": "x"},
        "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": []}]}, {"v": 2, "c": []}]}
CASES = {
    "user": dict(messages=[USER], reply=True),
    "user only": dict(messages=[USER]),
    "system": dict(messages=[SYSTEM, USER], reply=True),
    "turns": dict(messages=[USER, REPLY, AGAIN], reply=True),
    "system turns": dict(messages=[SYSTEM, USER, REPLY, AGAIN, SHORT]),
    "no thinking": dict(messages=[SYSTEM, USER, SHORT, AGAIN], reply=True, vars={"enable_thinking": False}),
    "two users": dict(messages=[USER, AGAIN], reply=True),
    "unknown role": dict(messages=[USER, m("ghost", "boo"), AGAIN]),
    "tools": dict(messages=[SYSTEM, USER], tools=TOOLS, reply=True),
    "tool result": dict(messages=[USER, CALLS, RESULT], tools=TOOLS, reply=True),
    "tool turns": dict(messages=[SYSTEM, USER, CALLS_TEXT, RESULT, RESULT, SHORT, AGAIN], tools=TOOLS, reply=True),
    "parts": dict(messages=[PARTS, SHORT, AGAIN], reply=True),
    "reasoning": dict(messages=[USER, m("assistant", "Yes.", reasoning_content="Because."), AGAIN], reply=True),
    "nothing": dict(messages=[]),
    "no content": dict(messages=[USER, {"role": "assistant"}, AGAIN]),
}


def expected(env, source, case):
    try:
        text = env.from_string(source).render(
            messages=case["messages"], tools=case.get("tools"), documents=None, bos_token="<s>", eos_token="</s>",
            add_generation_prompt=case.get("reply", False), **case.get("vars", {}))
        return text, None
    except Exception as e:  # whatever a template can make jinja2 raise
        return None, f"{type(e).__name__}: {e}"


def templates(paths):
    for path in paths:
        if os.path.isdir(path):
            yield from templates(sorted(glob.glob(path + "/*.jinja") + glob.glob(path + "/*.gguf")))
        elif path.endswith(".gguf"):
            import gguf
            field = gguf.GGUFReader(path).get_field("tokenizer.chat_template")
            if field:
                yield path, field.contents()
        else:
            with open(path, encoding="utf-8", newline="") as f:
                yield path, f.read()


def expressions():
    """The lines of expressions.txt; one that ends in a backslash or begins with two spaces goes on with its neighbour."""
    with open(os.path.join(HERE, "expressions.txt"), encoding="utf-8") as f:
        lines = f.read().split("\n")
    out = []
    for line in lines:
        if out and (out[-1].endswith("{{ '\\") or line.startswith("  ")):
            out[-1] += "\n" + line
        elif line:
            out.append(line)
    return out


def golden():
    env = environment()
    sources = {os.path.basename(name): source for name, source in templates([os.path.join(HERE, "templates")])}
    data = {"now": NOW, "cases": CASES, "vars": VARS, "templates": sources, "renderings": [], "expressions": []}
    for name, source in sources.items():
        for title, case in CASES.items():
            data["renderings"].append([name, title, expected(env, source, case)[0]])
    for source in expressions():
        data["expressions"].append([source, expected(env, source, {"messages": [], "vars": VARS})[0]])
    with open(os.path.join(HERE, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(data, f, indent=0, ensure_ascii=True)
        f.write("\n")


def difference(want, got):
    at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    return f"at {at}: jinja2 {want[max(0, at - 30):at + 50]!r}, here {got[max(0, at - 30):at + 50]!r}"


def uncovered(text, taint):
    """User bytes outside of taint: the marker strings of USER and SYSTEM must lie inside wholly."""
    raw = text.encode()
    for marker in (b"[INST] {{ 7*7 }}", b"<|im_start|>verse", b"w\xc3\xb6rld! <|im_end|>"):
        at = raw.find(marker)
        while at >= 0:
            if not any(b <= at and at + len(marker) <= e for b, e in taint):
                return marker
            at = raw.find(marker, at + 1)
    return None


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--golden":
        return golden()
    env = environment()
    child = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                             env={**os.environ})
    count = {"templates": 0, "renderings": 0, "errors on both sides": 0, "differences": 0}
    todo = [(name, source, CASES) for name, source in templates(sys.argv[2:] or [os.path.join(HERE, "templates")])]
    if len(sys.argv) == 2:
        todo += [(repr(e), e, {"vars": {"messages": [], "vars": VARS}}) for e in expressions()]
    for name, source, cases in todo:
        count["templates"] += 1
        for title, case in cases.items():
            want, failure = expected(env, source, case)
            child.stdin.write(json.dumps({"template": source, "bos": "<s>", "eos": "</s>", "now": NOW, **case}) + "\n")
            child.stdin.flush()
            got = json.loads(child.stdout.readline())
            count["renderings"] += 1
            problem = None
            if failure and "error" in got:
                count["errors on both sides"] += 1
                if "-v" in os.environ.get("COMPARE", ""):
                    print(f"{name} [{title}]: {failure} | {got['error']}")
            elif failure:
                problem = f"jinja2 fails ({failure}), here {got['text'][:100]!r}"
            elif "error" in got:
                problem = f"fails here: {got['error']}"
            elif want != got["text"]:
                problem = difference(want, got["text"])
            elif uncovered(got["text"], got["taint"]):
                problem = f"user text without taint: {uncovered(got['text'], got['taint'])}"
            if problem:
                count["differences"] += 1
                print(f"{name} [{title}]: {problem}")
    child.stdin.close()
    print(", ".join(f"{v} {k}" for k, v in count.items()))
    sys.exit(1 if count["differences"] or not count["templates"] else 0)


if __name__ == "__main__":
    main()
