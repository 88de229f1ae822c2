"""Pages of docs/use-with: each policy is valid, and each command of `sluice` has the options that it is given."""
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs/use-with"
PAGES = sorted(FOLDER.glob("*.md"))
SLUICE = os.environ["SLUICE"]


def blocks(page):
    """Indented blocks of a page, without their indent."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page.read_text(), re.M)
    return ["".join(line[4:] if line.startswith("    ") else line for line in block.splitlines(True)).strip("\n") for block in found]


def commands(page):
    """Command lines with `sluice` in them: in blocks, in `run:` of a workflow, and between backticks."""
    text = page.read_text()
    lines = [line.strip().removeprefix("run: ") for block in blocks(page) for line in block.splitlines()]
    lines += re.findall(r"`(sluice [^`]*)`", text.replace("\n", " "))
    for line in lines:
        for part in re.split(r" \| | \|\| | && ", line):
            if part.startswith("sluice "):
                yield part


def test_all_pages_are_listed():
    index = (FOLDER / "README.md").read_text()
    assert len(PAGES) == 9
    for page in PAGES:
        assert page.name == "README.md" or f"({page.name})" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_policies_are_valid(page, tmp_path):
    policies = [block for block in blocks(page) if re.search(r"^network_policy:", block, re.M)]
    assert policies or page.name == "README.md"
    for policy in policies:
        path = tmp_path / "policy.yaml"
        path.write_text(policy + "\n")
        got = subprocess.run([SLUICE, "check", "--policy", path], capture_output=True, text=True, timeout=60)
        # A container's address is not known before it runs: the pages say who reaches 0.0.0.0 there.
        doubts = [line for line in got.stderr.splitlines() if "warning" in line and "accepts from every network" not in line]
        assert got.returncode == 0 and not doubts, got.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_the_options_that_they_are_given(page):
    for line in commands(page):
        words = shlex.split(line.split(" > ")[0])
        words = words[:words.index("--")] if "--" in words else words
        told = subprocess.run([SLUICE, "help", words[1]], capture_output=True, text=True, timeout=60)
        assert told.returncode == 0 and f"sluice {words[1]}" in told.stdout, line
        for word in words[2:]:
            if word.startswith("--"):
                assert re.search(rf"{re.escape(word)}\b", told.stdout), f"{page.name}: {line}: {word}"


def test_every_page_has_a_command():
    assert sum(1 for page in PAGES for _ in commands(page)) >= 18
