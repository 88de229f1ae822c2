"""Ways out of a sandbox: closed in `sluice run`, and open without it, so that each probe can fail."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from escape_table import COLUMNS, markdown

ROOT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent / "support"
DOCUMENT = ROOT / "docs/sandbox.md"
# How much of a processor a process gets without a sandbox is a figure.
pytestmark = pytest.mark.figures

# Probes that fail in every column on some machines: the machine lacks the disk, protocol or file, or refuses all users.
MAY_HOLD_WITHOUT = {"a_name_that_no_rule_allows", "a_disk", "rare_protocols", "typing_into_a_terminal", "io_uring", "cgroup_files",
                    "the_root_of_process_1", "the_environment_of_process_1"}
# Settings of the kernel give some of these to users, or not.
BY_MACHINE = MAY_HOLD_WITHOUT | {"bpf", "userfaultfd", "perf_events", "a_user_namespace", "a_user_namespace_by_clone", "tracing", "clone3"}

if os.geteuid() != 0:
    pytest.skip("network namespaces, and another user to start sandboxes as, take root", allow_module_level=True)


@pytest.fixture(scope="module")
def found():
    got = subprocess.run([sys.executable, SUPPORT / "escape_table.py", "--json"], capture_output=True, text=True, timeout=110)
    assert got.returncode == 0, got.stderr
    return json.loads(got.stdout)


@pytest.mark.parametrize("column", ["sluice run", "sluice run as root", "sluice exec"])
def test_every_way_out_is_held(found, column):
    held = found[column]
    # Of all that the script has: none is left out on the way.
    assert list(held) == re.findall(r"^@probe\ndef (\w+)", (SUPPORT / "escapes.py").read_text(), re.M)
    assert f"{len(held)} ways out" in (ROOT / "README.md").read_text()
    # rlimits know no share of the processor; Tests/cgroups tries it where a cgroup can be had.
    by_cgroup = {"the_processor_without_end"} if found["limits"] == "best effort" or column == "sluice exec" else set()
    assert {name: text for name, text in held.items() if not text.startswith("HELD") and name not in by_cgroup} == {}


def test_every_way_out_is_open_without_a_sandbox(found):
    bare = found["no sandbox"]
    assert set(bare) == set(found["sluice run"])
    assert {name for name, text in bare.items() if text.startswith("HELD")} <= MAY_HOLD_WITHOUT, bare


def test_the_table_of_the_document_is_what_is_found(found):
    def rows(text):
        return {cells[0].replace(" ", "_"): cells[1:] for line in text.splitlines() if line.startswith("| ")
                if len(cells := [cell.strip() for cell in line.strip("| ").split("|")]) == 1 + len(COLUMNS) and cells[0] not in ("a way out", "---")}

    section = DOCUMENT.read_text().split("## Escape tests")[1].split("\n## ")[0]
    written, now = rows(section), rows(markdown(found))
    assert list(written) == list(now)
    if found["limits"] == "cgroup":
        now["the_processor_without_end"][0] = "BROKEN"
    for name in now:
        shown = slice(0, 1) if name in BY_MACHINE else slice(None)
        assert written[name][shown] == now[name][shown], name
