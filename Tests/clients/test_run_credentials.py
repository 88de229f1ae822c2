"""Credentials in `sluice run`: the command works with a placeholder, and nothing of it ever holds the key."""
import os
import subprocess

import pytest

from dumps import found
from gate import DEADLINE
from sandbox import Place
from test_credentials import API, PLACEHOLDER, SECRET, demands

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)


@pytest.fixture(params=["root", "user"])
def place(request, names, web, certificates):
    place = Place(request.param, names)
    server = web(API, certificates.server())
    server.asked, server.answer = [], demands
    place.server, place.target = server, f"allowed.test:{server.port}"
    place.secret = place.home / "key"
    place.secret.write_text(SECRET)
    place.secret.chmod(0o644)
    roots = place.folder / "roots.pem"
    roots.write_bytes(certificates.ca.read_bytes())
    place.ca = place.state / "ca"

    def policy(source, more=""):
        place.write(
            f'credentials:\n  key: {{{source}, header: "Authorization: Bearer ${{token}}", placeholder: {PLACEHOLDER}, environment: API_KEY}}\n'
            f'network_policy:\n  allow:\n    - {{host: "{place.target}", addresses: [127.0.0.0/8], tls: {{roots: "{roots}"}}, credential: key}}\n'
            f'tls: {{ca: "{place.ca}"}}\n{more}')
        subprocess.run([*place.prefix, place.sluice, "ca", "init", "--folder", place.ca], env=place.environment(), check=True,
                       capture_output=True)
        (place.workspace / "ca.pem").write_bytes((place.ca / "ca.pem").read_bytes())

    place.allow_key = policy
    yield place
    try:
        place.leaves_nothing()
    finally:
        place.close()


CLIENT = """
import os, ssl, sys, urllib.request
key = os.environ["API_KEY"]
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + key})
with urllib.request.urlopen(request, context=ssl.create_default_context(cafile="ca.pem")) as answer:
    print(key, answer.status, answer.read().decode(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("source", ["file", "env"])
def test_a_command_works_with_a_placeholder_and_its_memory_holds_no_key(place, source):
    """Nor does the memory of the sandbox's first process, which began as a copy of the gate's."""
    place.allow_key(f'file: "{place.secret}"' if source == "file" else "env: THE_KEY")
    process = place.start("python3", "-c", CLIENT, f"https://{place.target}/", stdin=subprocess.PIPE,
                          env={"THE_KEY": SECRET} if source == "env" else {})
    said = process.stdout.readline()
    assert said.strip() == f"{PLACEHOLDER} 200 welcome", (said, process.kill(), process.communicate())
    held = {secret for _, secret, _ in found(place, SECRET, PLACEHOLDER)}
    process.communicate("\n", timeout=DEADLINE)
    assert held == {PLACEHOLDER}, "the placeholder is in the client, so a key would have been found too"
    assert place.server.asked[0][1]["Authorization"] == f"Bearer {SECRET}"
    line = place.logged(event="credential")
    assert (line["client"], line["credential"]) == ("sandbox", "key")
    assert SECRET not in place.log.read_text()


def test_a_variable_that_a_key_is_read_from_stays_outside(place):
    place.allow_key("env: THE_KEY")
    done = place.shell("env", env={"THE_KEY": SECRET})
    assert f"API_KEY={PLACEHOLDER}" in done.stdout and SECRET not in done.stdout and "THE_KEY" not in done.stdout
    refused = place.run("true", env={"THE_KEY": SECRET}, options=("--limits", "best-effort", "--env", "THE_KEY"))
    assert refused.returncode == 125 and "--env THE_KEY: a credential of the policy is read from it" in refused.stderr


def test_a_key_that_the_command_could_read_starts_nothing(place):
    inside = place.workspace / "key"
    inside.write_text(SECRET)
    place.allow_key(f'file: "{inside}"')
    refused = place.run("cat", "key")
    assert refused.returncode == 125 and SECRET not in refused.stdout
    assert "credential key is read from" in refused.stderr and "keep it elsewhere" in refused.stderr
