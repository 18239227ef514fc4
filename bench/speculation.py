#!/usr/bin/env python3
"""Guessing ahead without a draft model (`--spec auto`) beside none (`--spec off`), in alternating pairs, on texts of several kinds.

usage: speculation.py [-m MODEL] [--tl build/tl] [-n 180] [--temp 0] [--pairs 5] [KIND ...]

Prints, for each kind, the median of the ratios of tokens a second, the smallest and the largest. The texts of the two are
compared byte by byte: a difference ends the run with status 1.
"""
import argparse
import json
import statistics
import subprocess
import sys

TEXT = """The Harbor Museum opened it's doors in 1923, when a group of local merchants and fishermen decided that the history of the port should
 be kept for later generations. The first building was a small wooden house near the north pier, with only two rooms and a single lamp. In the
 first year fewer than three hundred visitors came, most of them school children from the town. Ten years later the museum moved to the old
 customs house, a large brick building with a tower from which one can see the whole bay. The collection grew quickly: ship models, charts,
 letters, tools, and the complete workshop of a sailmaker. During the war the most valuable pieces were hidden in a cellar outside the town, and
 not a single one was lost. Today the museum has more than forty rooms and is visited by over one hundred thousand people every year.""".replace("\n", "")

KINDS = {
    "edit": f'Original text:\n{TEXT}\n\nThe same text with "it\'s" corrected to "its":\nThe Harbor Museum opened its doors in 1923, when a group of',
    "story": "Once upon a time, in a small village by the sea, there lived an old clockmaker who",
    "code": 'def quicksort(items):\n    """Sorts a list."""\n',
    "list": "Ten facts about the planet Mars:\n1. ",
    "question": "Q: Why is the sky blue?\nA:",
    "json": '{"users": [{"name": "Anna", "age": 31}, {"name":',
    "poem": "A poem about autumn rain:\n\n",
    "letter": "Dear Professor Smith,\n\nI am writing to ask",
    "c": "#include <stdio.h>\n\nint main(void) {",
    "essay": "The industrial revolution changed how people worked, because",
    "chat": "My favourite film is one that nobody knows. It begins with",
}


def generate(args, prompt, how):
    command = [args.tl, "generate", "-m", args.model, "-p", prompt, "-n", str(args.n), "--temp", args.temp, "-s", "7", "--ignore-eos", "--json", "--spec", how]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout)
    return said["tokens_per_second"], said["text"]


def measure(args, kind):
    ratios = []
    for i in range(args.pairs):
        got = {how: generate(args, KINDS[kind], how) for how in (("auto", "off") if i % 2 else ("off", "auto"))}
        if got["auto"][1] != got["off"][1]:
            sys.exit(f"speculation.py: {kind}: guessing changed the text")
        ratios.append(got["auto"][0] / got["off"][0])
    print(f"{kind:10} {statistics.median(ratios):6.3f} ({min(ratios):.2f} to {max(ratios):.2f})   off: {got['off'][0]:.0f} tokens/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--tl", default="build/tl")
    parser.add_argument("-n", type=int, default=180)
    parser.add_argument("--temp", default="0")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    args = parser.parse_args()
    for kind in args.kinds or KINDS:
        if kind not in KINDS:
            parser.error(f"{kind}: there are {', '.join(KINDS)}")
        measure(args, kind)


if __name__ == "__main__":
    main()
