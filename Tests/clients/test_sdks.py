"""The Python SDKs of OpenAI and Anthropic in `sluice run`, with placeholder keys: they work, and no process inside holds a key."""
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from dumps import found
from gate import DEADLINE
from http2 import Server
from sandbox import Place

sys.path.append(str(Path(__file__).parents[2] / "Examples/mock-api"))
import api as mock  # noqa: E402

if os.geteuid() != 0:
    pytest.skip("other users and the memory of their processes take root", allow_module_level=True)

KEYS = {"openai": "sk-proj-The+Gate/Has-This-4f1d9c", "anthropic": "sk-ant-api03-And~This_Too-83be57"}
PLACEHOLDERS = {"openai": "sk-proj-placeholder-0123456789abcdef", "anthropic": "sk-ant-api03-placeholder-0123456789"}

AGENT = """
import json, os, sys
import anthropic, openai
versions = []
note = {"response": [lambda response: versions.append(response.http_version)]}

def client(sdk):
    return sdk.DefaultHttpxClient(http2=sys.argv[1] == "h2", event_hooks=note)

def gather(pieces):
    whole = ""
    for piece in pieces:
        if piece and not whole: print("first", flush=True)
        whole += piece or ""
    return whole

asked = {"model": "mock", "messages": [{"role": "user", "content": "Who holds the key?"}]}
said = []
with openai.OpenAI(http_client=client(openai), max_retries=0) as one:
    said.append(one.chat.completions.create(**asked).choices[0].message.content)
    said.append(gather(chunk.choices[0].delta.content for chunk in one.chat.completions.create(**asked, stream=True)))
with anthropic.Anthropic(http_client=client(anthropic), max_retries=0) as two:
    said.append(two.messages.create(**asked, max_tokens=9).content[0].text)
    with two.messages.stream(**asked, max_tokens=9) as stream:
        said.append(gather(stream.text_stream))
print(json.dumps({"said": said, "versions": versions, "keys": [os.environ["OPENAI_API_KEY"], os.environ["ANTHROPIC_API_KEY"]]}), flush=True)
sys.stdin.readline()
"""


class Site:
    """The mock API of Examples/mock-api for both names, in one version of HTTP. A stream goes on behind its first text only when it is let."""

    def __init__(self, web, certificates, version):
        self.asked, self.go = [], threading.Semaphore(0)
        context = certificates.server()
        if version == "h2":
            self.server = Server(context, self.answer_stream)
        else:
            site = self

            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_POST(self):
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                    status, kind, pieces = site.answer(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for piece in pieces:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                        self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")

                def log_message(self, *arguments):
                    pass

            self.server = web(Handler, context)

    def answer(self, method, path, fields, body):
        self.asked.append((path, fields))
        status, kind, pieces = mock.answer(KEYS, method, path, fields, body)
        return status, kind, self.held(pieces) if kind == "text/event-stream" else pieces

    def held(self, pieces):
        for piece in pieces:
            yield piece
            if b'"The"' in piece:
                assert self.go.acquire(timeout=DEADLINE), "the client did not see the first text before the next one was sent"

    def answer_stream(self, server, served, stream, fields, body):
        fields = {name.decode(): value.decode() for name, value in fields.items()}
        status, kind, pieces = self.answer(fields[":method"], fields[":path"], fields, body)
        served.stream(stream, [(":status", str(status)), ("content-type", kind)], pieces)


@pytest.fixture(params=["root", "user"])
def place(request, names, packages):
    place = Place(request.param, names)
    place.packages = packages
    try:
        yield place
        place.leaves_nothing()
    finally:
        place.close()


@pytest.fixture(params=["http/1.1", "h2"])
def site(request, web, certificates):
    site = Site(web, certificates, request.param)
    site.version = request.param
    yield site
    if request.param == "h2":
        site.server.close()


def write_policy(place, site, certificates, *, holds_keys):
    roots = place.folder / "roots.pem"
    roots.write_bytes(certificates.ca.read_bytes())
    credentials, allowed = "", ""
    for name in KEYS:
        secret = place.home / name
        secret.write_text(KEYS[name])
        secret.chmod(0o644)
        credentials += (f'  {name}: {{file: "{secret}", header: "Authorization: Bearer ${{token}}", placeholder: {PLACEHOLDERS[name]}, '
                        f"environment: {name.upper()}_API_KEY}}\n")
        allowed += (f'    - {{host: "{name}.wild.test:{site.server.port}", addresses: [127.0.0.0/8], tls: {{roots: "{roots}"}}, '
                    f'{f"credential: {name}" if holds_keys else "inspect: true"}}}\n')
    place.write((f"credentials:\n{credentials}" if holds_keys else "") + f"network_policy:\n  allow:\n{allowed}")


def start_agent(place, site, *options):
    urls = [f"--env={name.upper()}_BASE_URL=https://{name}.wild.test:{site.server.port}{path}"
            for name, path in (("openai", "/v1"), ("anthropic", ""))]
    return place.start("/usr/bin/python3", "-c", AGENT, site.version, stdin=subprocess.PIPE,
                       options=("--limits", "best-effort", "--read-only", place.packages, f"--env=PYTHONPATH={place.packages}", *urls, *options))


def converse(process, site):
    """What the agent says, which waits then. Each of its two streams is let go on once it has shown the first text."""
    for _ in range(2):
        line = process.stdout.readline()
        assert line == "first\n", (line, process.kill(), process.communicate())
        site.go.release()
    line = process.stdout.readline()
    assert line, process.communicate()
    return json.loads(line)


def test_the_sdks_work_with_placeholders_and_no_process_holds_a_key(place, site, certificates):
    write_policy(place, site, certificates, holds_keys=True)
    process = start_agent(place, site)
    said = converse(process, site)
    held = {secret for _, secret, _ in found(place, *KEYS.values(), *PLACEHOLDERS.values())}
    process.communicate("\n", timeout=DEADLINE)
    assert held == set(PLACEHOLDERS.values())
    assert said["said"] == ["The gate holds the key."] * 4 and said["keys"] == list(PLACEHOLDERS.values())
    assert set(said["versions"]) == {"HTTP/2" if site.version == "h2" else "HTTP/1.1"}
    assert [fields["authorization"] for _, fields in site.asked] == [f"Bearer {key}" for key in KEYS.values() for _ in range(2)]
    assert not any(placeholder in str(site.asked) for placeholder in PLACEHOLDERS.values())
    lines = [line for line in place.lines() if line["event"] == "credential"]
    assert [(line["credential"], line["host"]) for line in lines] == [(name, f"{name}.wild.test") for name in KEYS for _ in range(2)]
    assert not any(key in place.log.read_text() for key in KEYS.values())


def test_a_key_in_the_environment_of_the_command_would_be_found(place, site, certificates):
    """The same agent and the same search, with the keys inside as it is done without a gate that holds them."""
    write_policy(place, site, certificates, holds_keys=False)
    process = start_agent(place, site, *(f"--env={name.upper()}_API_KEY={key}" for name, key in KEYS.items()))
    said = converse(process, site)
    held = found(place, *KEYS.values())
    process.communicate("\n", timeout=DEADLINE)
    assert {(secret, name) for _, secret, name in held} >= {(key, "plain") for key in KEYS.values()}
    assert said["said"] == ["The gate holds the key."] * 4
