"""Targets of the Makefile: each has a help line, expands, and names files that exist; each benchmark starts and finds its binary."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
VERBS = re.findall(r"^([a-z][a-z-]*):[^=\n]*## ", MAKEFILE, re.M)
BENCHMARKS = sorted(set(re.findall(r"Benchmarks/[a-z_]+\.py", MAKEFILE)))


def run(*command, **more):
    # Beside a make that runs these tests, make says where it works, and takes over its flags.
    apart = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=100, env=apart, **more)


def test_help_lists_every_verb():
    phony = set(MAKEFILE.split(".PHONY:")[1].replace("\\\n", " ").split("\n")[0].split())
    assert phony == set(VERBS)
    listed = run("make", "help", cwd=ROOT).stdout
    assert [line.split()[0] for line in listed.splitlines()] == VERBS
    assert all(len(line.split(maxsplit=1)[1]) > 10 for line in listed.splitlines() if not line.split()[0] == "help")


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_expands_and_its_files_exist(verb):
    got = run("make", "--dry-run", verb, cwd=ROOT)
    assert got.returncode == 0, got.stderr
    named = set(re.findall(r"(?<![\w./-])((?:Benchmarks|Packaging|Tests|Examples|\.ci)/[\w./-]*\w)", got.stdout))
    assert [one for one in named if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_benchmark_starts_and_says_what_it_lacks(benchmark, tmp_path):
    assert run(sys.executable, ROOT / benchmark, "--help").returncode == 0
    got = run(sys.executable, ROOT / benchmark, "--sluice", "sluice", cwd=tmp_path)
    assert got.returncode == 2
    assert f"no program at {tmp_path}/sluice; run `make release`, or give --sluice FILE" in got.stderr


def test_the_views_are_measured(tmp_path):
    """By the bare name that the Makefile gives: a file of this folder, and no program of PATH."""
    (tmp_path / "sluice").symlink_to(os.environ["SLUICE"])
    got = run(sys.executable, ROOT / "Benchmarks/views.py", "--sluice", "sluice", "--lines", "2000", "--rate", "2000", "--seconds", "1", cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    assert "2000 lines" in got.stdout and "dashboard followed over 1 rotations" in got.stdout
