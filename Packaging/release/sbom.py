#!/usr/bin/env python3
"""An SBOM of the static binary as CycloneDX JSON, on standard output: the table of docs/licences.md with versions.

    Packaging/release/sbom.py SLUICE

The same binary on the same system gives the same bytes.
"""
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def epoch():
    """The time of the commit, so that two builds of it agree."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    told = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True).stdout.strip()
    return int(told) if told else 0


def rows():
    """Archives, project, package and licence of each line of the table."""
    text = (ROOT / "docs/licences.md").read_text().split("## Data")[0]
    found = re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) \| (.*?) \| .*? \|$", text, re.MULTILINE)
    if not found:
        sys.exit("sbom.py: docs/licences.md has no table of archives")
    return found


def version_of(package, told):
    """From `sluice version` for parts of the toolchain, from dpkg for libraries of Debian."""
    if package in told:
        return told[package], None
    if not package.startswith("lib") and not package.startswith("zlib"):
        return None, None
    got = subprocess.run(["dpkg-query", "-W", "-f", "${Version} ${Architecture}", package], capture_output=True, text=True)
    if got.returncode:
        sys.exit(f"sbom.py: the package {package} is not installed; run make deps")
    version, architecture = got.stdout.split()
    return version, f"pkg:deb/debian/{package}@{version}?arch={architecture}"


def component(archives, project, package, licence, told):
    version, purl = version_of(package, told)
    one = {"type": "library", "name": project, "licenses": [{"expression": licence}],
           "properties": [{"name": "sluice:archives", "value": re.sub(r"[`…]", "", archives)}]}
    if version:
        one["version"] = version
    if purl:
        one["purl"] = purl
    return one


def main():
    binary = Path(sys.argv[1])
    told = json.loads(subprocess.run([binary.resolve(), "version", "--json"], check=True, capture_output=True, text=True).stdout)
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()
    when = datetime.datetime.fromtimestamp(epoch(), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    sluice = {"type": "application", "name": "sluice", "version": told["version"], "licenses": [{"license": {"id": "Apache-2.0"}}],
              "hashes": [{"alg": "SHA-256", "content": digest}]}
    if told["commit"]:
        sluice["properties"] = [{"name": "sluice:commit", "value": told["commit"]}]
    bom = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
           "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
           "metadata": {"timestamp": when, "component": sluice},
           "components": [component(*row, told["libraries"]) for row in rows()]}
    print(json.dumps(bom, indent=1))


if __name__ == "__main__":
    main()
