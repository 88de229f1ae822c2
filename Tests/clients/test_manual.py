"""The man pages: complete, without faults, and generated from the help texts."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLUICE = os.environ["SLUICE"]


@pytest.fixture(scope="module")
def manual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, ROOT / "Packaging/man.py", SLUICE, folder], check=True)
    return folder


def commands(command=None, parents=()):
    if command is None:
        command = json.loads(subprocess.run([SLUICE, "--experimental-dump-help"], capture_output=True, text=True, check=True).stdout)["command"]
    yield "-".join([*parents, command["commandName"]]), command
    for child in command.get("subcommands", []):
        if child["commandName"] != "help" and child.get("shouldDisplay", True):
            yield from commands(child, (*parents, command["commandName"]))


def shown(page):
    got = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=200", page], capture_output=True, text=True, check=True)
    return re.sub(r".\x08", "", got.stdout)


def test_each_command_has_a_page_with_all_its_options(manual):
    found = dict(commands())
    assert len(found) > 15
    assert {path.stem for path in manual.glob("*.1")} == set(found)
    for name, command in found.items():
        text = shown(manual / f"{name}.1")
        assert command["abstract"].rstrip(".") in " ".join(text.split()), name
        for argument in command.get("arguments", []):
            names = [("--" if one["kind"] == "long" else "-") + one["name"] for one in argument.get("names", [])]
            # Options of all commands are in sluice(1).
            if names and (name == "sluice" or not {"--help", "--version"} & set(names)) and argument.get("shouldDisplay", True):
                assert re.search(rf"^ +{re.escape(names[-1])}( |$)|, {re.escape(names[-1])}( |$)", text, re.M), (name, names)
        for child in command.get("subcommands", []):
            assert child["commandName"] == "help" or f"{name}-{child['commandName']}(1)" in text


def test_no_page_has_a_fault(manual):
    pages = sorted(manual.iterdir())
    got = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True)
    assert (got.returncode, got.stdout) == (0, "")
    for page in pages:
        got = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             env=os.environ | {"MANROFFSEQ": "", "MANWIDTH": "80"})
        assert (got.returncode, got.stderr) == (0, ""), page


def test_the_policy_page_has_every_key_of_the_document(manual):
    text = shown(manual / "sluice-policy.5")
    keys = re.findall(r"^\| `([a-z_.]+)`", (ROOT / "docs/policy.md").read_text(), re.M)
    assert len(keys) > 30
    for key in keys:
        assert re.search(rf"^ +{re.escape(key)}\b", text, re.M), key


@pytest.mark.parametrize("name, command", commands())
def test_help_fits_a_terminal(name, command):
    """Longer lines would be broken in the middle of a paragraph that has its own breaks."""
    for line in command.get("discussion", "").split("\n"):
        assert len(line) <= 80, line
