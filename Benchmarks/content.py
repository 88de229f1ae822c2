#!/usr/bin/env python3
"""Hit rates of the content checks on Tests/corpus/content, and their cost: `make content-figures`.

The corpus has two parts: `tuned`, which the patterns were written against, and `held-out`, which was written before the first run
and not looked at while the patterns were. A document counts as flagged when `sluice clean` says so."""
import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from processes import sluice_binary

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "Tests/corpus/content"
WORDS = ("the gate lets out what policy names and writes down rest of each request that client made while answer comes back from "
         "server with body of text list of rows numbers dates names of places people things to read before next step is taken").split()


def clean(sluice, data, *flags):
    return subprocess.run([sluice, "clean", *flags], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def detection(sluice, verbose):
    for part in ("tuned", "held-out"):
        for kind in ("hostile", "benign"):
            flagged, missed = 0, []
            files = sorted((CORPUS / kind / part).iterdir())
            for file in files:
                answer = json.loads(clean(sluice, file.read_bytes(), "--json", "--flag-instructions", "log").stdout)
                flagged += answer["flagged"]
                if answer["flagged"] != (kind == "hostile"):
                    missed.append(f"{file.name} ({answer['score']})")
            word = "detected" if kind == "hostile" else "falsely flagged"
            print(f"{part:9} {kind:8} {flagged:3} of {len(files)} {word}, {100 * flagged / len(files):.0f} %")
            if verbose and missed:
                print("          " + ", ".join(missed))


def answers(count):
    """Answers of about `count` bytes: prose, JSON with escapes, a page."""
    random.seed(5)

    def fill(piece):
        text = ""
        while len(text) < count:
            text += piece()
        return text

    def sentence():
        return " ".join(random.choice(WORDS) for _ in range(12)).capitalize() + ". "

    def row():
        return json.dumps({"id": random.randrange(10**9), "name": sentence(), "note": f'a "quoted" word\nand a line', "hash":
                           f"{random.getrandbits(128):032x}", "url": f"https://x.example/{random.randrange(9999)}?q=a&p=1"}) + ",\n"

    def block():
        return f'<div class="c{random.randrange(40)}"><h2>{sentence()}</h2><p>{sentence()}<a href="/p/{random.randrange(999)}">more</a></p></div>\n'

    return {
        "prose": fill(sentence),
        "JSON": "[" + fill(row) + "0]",
        "page": "<!doctype html><html><head><style>.c3{display:none}</style></head><body>" + fill(block) + "</body></html>",
    }


def cpu_ms(command, file, rounds):
    """The least processor time of one run: what else the machine does only ever adds."""
    times = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with open(file, "rb") as source:
            subprocess.run(command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return 1000 * statistics.quantiles(times, n=10)[0]


def instructions(command, file, folder):
    out = folder / "callgrind"
    with open(file, "rb") as source:
        run = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command], stdin=source,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return next(int(line.split()[-1]) for line in run.stderr.splitlines() if "Collected" in line)


def cost(sluice, rounds):
    size = 100 << 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, text in answers(size).items():
            # A text of many answers in one process, less one of a single byte: the start of the program falls out.
            copies = 1 if kind == "page" else 40
            large, empty = folder / "large", folder / "empty"
            large.write_bytes(text.encode()[:size].ljust(size) * copies)
            empty.write_bytes(b"<p>" if kind == "page" else b"x")
            flags = ["--flag-instructions", "log", "--secrets", "log"]
            rows = [("all checks", [sluice, "clean", *flags]), ("none", [sluice, "clean", "--strip-html", "never",
                                                                     "--flag-instructions", "off", "--secrets", "off"])]
            for label, command in rows:
                ms = (cpu_ms(command, large, rounds) - cpu_ms(command, empty, rounds)) / copies
                line = f"{kind:6} 100 KiB, {label:10}: {ms:6.2f} ms of CPU"
                if shutil.which("valgrind"):
                    count = (instructions(command, large, folder) - instructions(command, empty, folder)) / copies
                    line += f", {count / 1e6:6.2f} million instructions"
                print(line, flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sluice", type=sluice_binary, default=str(ROOT / "sluice"))
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--no-cost", action="store_true")
    options.add_argument("--verbose", action="store_true", help="name what was missed and what was falsely flagged")
    options = options.parse_args()
    detection(options.sluice, options.verbose)
    if not options.no_cost:
        cost(options.sluice, options.rounds)
