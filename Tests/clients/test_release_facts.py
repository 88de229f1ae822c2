"""The facts of a release: version, libraries, SBOM. `make release-check` tests the static binary."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLUICE = os.environ["SLUICE"]


def run(*command, **more):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, **more)


def test_version_prints_what_is_linked():
    version = (ROOT / "VERSION").read_text().strip()
    told = json.loads(run(SLUICE, "version", "--json").stdout)
    assert told["version"] == version == run(SLUICE, "--version").stdout.strip()
    for library in ("openssl", "nghttp2", "c-ares", "libyaml", "zlib", "brotli", "zstd", "libxcrypt"):
        assert re.fullmatch(r"\d+(\.\d+)+", told["libraries"][library]), told
    text = run(SLUICE, "version").stdout
    assert text.startswith(f"sluice {version}, ") and f"\n  openssl {told['libraries']['openssl']}\n" in text


def test_the_sbom_lists_every_row_of_the_licences_and_is_the_same_twice():
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    one, other = (run(sys.executable, ROOT / "Packaging/release/sbom.py", SLUICE, env=environment) for _ in range(2))
    assert one.returncode == 0, one.stderr
    assert one.stdout == other.stdout
    bom = json.loads(one.stdout)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
    assert bom["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert bom["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    table = (ROOT / "docs/licences.md").read_text().split("## Data")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert [one["name"] for one in bom["components"]] == [row[1] for row in rows] and len(rows) >= 15
    assert [one["licenses"][0]["expression"] for one in bom["components"]] == [row[3] for row in rows]
    for one in bom["components"]:
        assert one.get("version") or one["name"].startswith(("Swift", "swift")), one
