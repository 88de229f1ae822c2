"""Credentials: the gate adds a key only for its verified host, removes echoes of the key, and sends the key nowhere else."""
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, quote, urlsplit

import botocore.exceptions
import httpx
import pytest
from hyperframe.frame import HeadersFrame

import dumps
from gate import DEADLINE, get, local, rules, until
from http2 import Raw, Server
from inspection import Inspecting, everything, request

SECRET = "sk-live/Gate+Only-7f3a9c1e5b"
PLACEHOLDER = "sk-placeholder-for-the-gate-0123456789"
BEARER = 'header: "Authorization: Bearer ${token}"'


@pytest.fixture
def inspecting(gate, tmp_path, certificates):
    return Inspecting(gate, tmp_path, certificates)


class API(BaseHTTPRequestHandler):
    """Demands a key, and echoes what a test asks for."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        self.respond(self.rfile.read(length))

    def respond(self, body):
        self.server.asked.append((self.path, self.headers, body))
        said = self.server.answer(self)
        status, fields, text = said if isinstance(said, tuple) else (200, {}, said)
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if isinstance(text, bytes):
            if status not in (204, 304):
                self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in text:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

    do_POST = do_PUT = do_GET

    def log_message(self, *arguments):
        pass


def demands(handler):
    """200 with the right key, 401 without."""
    good = handler.headers.get("Authorization") == f"Bearer {SECRET}"
    return (200 if good else 401, {}, b"welcome" if good else b"who are you")


@pytest.fixture
def api(inspecting, web, certificates, tmp_path):
    server = web(API, certificates.server())
    server.asked, server.answer = [], demands
    server.target = f"allowed.test:{server.port}"
    server.secret = tmp_path / "outside" / "secret"
    server.secret.parent.mkdir(exist_ok=True)
    server.secret.write_text(SECRET + "\n")

    def start(credential, *more_rules, credentials="", env=None, **options):
        if env:
            options["command"] = ["env", *(f"{name}={value}" for name, value in env.items()), os.environ["SLUICE"]]
        named = f"credentials:\n  key: {{{credential}}}\n{credentials}"
        server.gate = inspecting.gate(
            inspecting.rule("allowed.test", server.port, ", credential: key"), *more_rules, more=named, **options)
        return server.gate

    server.start_gate = start
    server.file = f'file: "{server.secret}"'
    return server


def ask(api, inspecting, **more):
    said = inspecting.ask(api.gate, api.target, request(api.target, **more))
    head, _, body = said.partition(b"\r\n\r\n")
    return head, body


def test_a_key_that_the_client_does_not_have_is_put_in(api, inspecting):
    gate = api.start_gate(f"{api.file}, {BEARER}")
    head, body = ask(api, inspecting)
    assert head.startswith(b"HTTP/1.1 200") and body == b"welcome"
    line = gate.logged(event="credential")
    assert (line["credential"], line["place"], line["host"], line["client"]) == ("key", "header authorization", "allowed.test", "default")
    assert line["rule"].startswith(str(gate.policy_file))
    everything_said = json.dumps(gate.lines()) + gate.errors.read_text()
    assert SECRET not in everything_said and "Gate+Only" not in everything_said


def test_what_the_client_sends_in_its_place_is_dropped(api, inspecting):
    api.start_gate(f"{api.file}, {BEARER}")
    head, _ = ask(api, inspecting, more="Authorization: Bearer stolen\r\nauthorization: Basic c3RvbGVu\r\nRange: bytes=0-3\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    sent = api.asked[0][1]
    assert sent["Authorization"] == f"Bearer {SECRET}" and sent["Accept-Encoding"] == "identity" and "Range" not in sent


@pytest.mark.parametrize("place, expected", [
    ("basic: {user: x-access-token}", lambda path, sent: sent["Authorization"] == "Basic " + base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()),
    ("query: key", lambda path, sent: parse_qs(urlsplit(path).query)["key"] == [SECRET] and "Authorization" not in sent),
    ('header: "x-api-key: ${token}"', lambda path, sent: sent["x-api-key"] == SECRET),
])
def test_each_place_gets_it(api, inspecting, place, expected):
    api.answer = lambda handler: b"x"
    api.start_gate(f"{api.file}, {place}")
    ask(api, inspecting, path="/a?b=c&key=theirs" if "query" in place else "/a")
    path, sent, _ = api.asked[0]
    assert expected(path, sent), (path, sent)


# Placeholders

def test_a_placeholder_becomes_the_key(api, inspecting):
    api.start_gate(f"{api.file}, {BEARER}, placeholder: {PLACEHOLDER}")
    head, body = ask(api, inspecting, more=f"Authorization: Bearer {PLACEHOLDER}\r\n")
    assert body == b"welcome"
    head, _ = ask(api, inspecting)
    assert head.startswith(b"HTTP/1.1 401"), "who sends no placeholder gets no key"


def test_another_key_in_its_place_is_refused(api, inspecting):
    gate = api.start_gate(f"{api.file}, {BEARER}, placeholder: {PLACEHOLDER}")
    head, body = ask(api, inspecting, more="Authorization: Bearer sk-of-somebody-else\r\n")
    assert head.startswith(b"HTTP/1.1 403 Denied by egress policy: secret_refused"), head
    assert not api.asked
    gate.logged(event="flagged", reason="secret_refused")


def test_a_placeholder_that_is_not_where_the_policy_puts_the_key_is_told_of(api, inspecting):
    """Else the upstream says that the key is wrong, and nobody knows why."""
    gate = api.start_gate(f'{api.file}, header: "x-api-key: ${{token}}", placeholder: {PLACEHOLDER}')
    head, body = ask(api, inspecting, more=f"Authorization: Bearer {PLACEHOLDER}\r\n")
    assert head.startswith(b"HTTP/1.1 403 Denied by egress policy: secret_refused"), head
    assert "not where its value goes (header x-api-key)" in json.loads(body)["message"]
    assert not api.asked
    gate.logged(event="flagged", reason="secret_refused")


def strays(target):
    pair = base64.b64encode(f"me:{PLACEHOLDER}".encode()).decode()
    yield request(target, more=f"Authorization: Bearer {PLACEHOLDER}\r\n")
    yield request(target, more=f"Authorization: Basic {pair}\r\n")
    yield request(target, path=f"/?k={PLACEHOLDER}")
    yield request(target, path=f"/%73{PLACEHOLDER[1:]}")
    yield request(target, more=f"Cookie: a=b; k={PLACEHOLDER}\r\n")


def test_a_placeholder_for_another_host_is_refused(api, inspecting, web, certificates):
    other = web(API, certificates.server())
    other.asked, other.answer = [], lambda handler: b"x"
    gate = api.start_gate(
        f"{api.file}, {BEARER}, placeholder: {PLACEHOLDER}", inspecting.rule("git.test", other.port))
    target = f"git.test:{other.port}"
    count = 0
    for text in strays(target):
        said = inspecting.ask(gate, target, text)
        assert said.startswith(b"HTTP/1.1 403 Denied by egress policy: secret_refused"), said
        count += 1
    assert inspecting.ask(gate, target, request(target)).startswith(b"HTTP/1.1 200")
    until("a line for each", lambda: len([line for line in gate.lines() if line["event"] == "flagged"]) == count)
    assert len(other.asked) == 1


def test_a_placeholder_in_plain_http_is_refused(api, inspecting, web):
    plain = web(API)
    plain.asked, plain.answer = [], lambda handler: b"x"
    gate = api.start_gate(f"{api.file}, {BEARER}, placeholder: {PLACEHOLDER}", local("plain.test", plain.port))
    host = f"plain.test:{plain.port}"
    for text in strays(host):
        text = text.replace(b" /", f" http://{host}/".encode(), 1)
        assert gate.ask(text).startswith(b"HTTP/1.1 403 Denied by egress policy: secret_refused")
    assert gate.ask(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()).startswith(b"HTTP/1.1 200")
    assert len(plain.asked) == 1
    gate.logged(event="flagged", reason="secret_refused", host="plain.test")


# Echoes

def encodings():
    plain = SECRET.encode()
    yield "plain", plain
    for front in (b"", b"a", b"ab"):
        yield f"base64 {len(front)}", base64.b64encode(front + plain)
        yield f"base64url {len(front)}", base64.urlsafe_b64encode(front + plain)
    yield "percent", quote(SECRET, safe="").encode()
    yield "percent, lower", quote(SECRET, safe="").lower().replace("sk-live", "sk-live").encode()
    yield "json", json.dumps(SECRET)[1:-1].replace("/", "\\/").encode()
    yield "json, unicode", "".join(f"\\u{ord(c):04x}" for c in SECRET).encode()
    yield "hex", plain.hex().encode()


LETTERS = {name: text for name, text in encodings() if name != "percent, lower"}


@pytest.mark.parametrize("name", LETTERS)
@pytest.mark.parametrize("way", ["whole", "split", "header"])
def test_an_echo_is_taken_out_of_the_answer(api, inspecting, name, way):
    echo = LETTERS[name]
    text = b"{\"headers\": \"" + echo + b"\", \"end\": true}"
    if way == "whole":
        api.answer = lambda handler: text
    elif way == "split":
        api.answer = lambda handler: (200, {}, [text[at:at + 1] for at in range(len(text))])
    else:
        api.answer = lambda handler: (302, {"Location": "https://evil.test/?k=" + echo.decode()}, b"")
    gate = api.start_gate(f"{api.file}, {BEARER}")
    head, body = ask(api, inspecting)
    everything_said = head + body
    assert echo not in everything_said and echo[4:-4] not in everything_said
    if way == "whole":
        assert body.startswith(b"{\"headers\": \"") and body.endswith(b"\", \"end\": true}") and len(body) == len(text)
    assert gate.logged(event="credential", scrubbed=True)["credential"] == "key"


def test_an_event_of_a_stream_is_not_held_back(api, inspecting):
    gone_on = threading.Event()

    def events(handler):
        yield b"data: {\"delta\": \"sk-l\"}\n\n"
        assert gone_on.wait(DEADLINE), "the first event did not arrive before the second was made"
        yield b"data: [DONE]\n\n"

    api.answer = lambda handler: (200, {"Content-Type": "text/event-stream"}, events(handler))
    api.start_gate(f"{api.file}, {BEARER}")
    with inspecting.tunnel(api.gate, api.target) as tls:
        tls.sendall(request(api.target))
        said = b""
        while b"delta" not in said:
            said += tls.recv(65536)
        gone_on.set()
        assert b"[DONE]" in everything(tls)


def test_a_compressed_answer_that_cannot_be_searched_is_refused(api, inspecting):
    api.answer = lambda handler: (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")
    gate = api.start_gate(f"{api.file}, {BEARER}")
    head, body = ask(api, inspecting)
    assert b"content_refused" in head and b"gzip" not in head
    gate.logged(reason="content_refused")


# Sources

def command(tmp_path, text):
    program = tmp_path / "outside" / "program"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\n" + text)
    program.chmod(0o755)
    return f'command: ["{program}", arg]'


def test_a_program_prints_it_and_sees_no_other(api, inspecting, tmp_path):
    seen = tmp_path / "outside" / "seen"
    source = command(tmp_path, f'env > "{seen}"; echo "$1" >> "{seen}"; printf \'{{"token": "%s", "expires_in": 60}}\' "{SECRET}"\n')
    gate = api.start_gate(
        f"{source}, {BEARER}", credentials=f"  other: {{env: OTHER_KEY, query: k}}\n", env={"OTHER_KEY": "never-to-be-seen"})
    assert ask(api, inspecting)[1] == b"welcome"
    assert "never-to-be-seen" not in seen.read_text() and seen.read_text().endswith("arg\n")
    ask(api, inspecting)
    assert len(api.asked) == 2


@pytest.mark.parametrize("text, says", [
    (f"echo {SECRET}; echo {SECRET} >&2; exit 3", "ended with status 3"), ("sleep 1000", "longer than its `timeout`"),
    ("", "it is empty"), (f"printf '{{\"key\": \"{SECRET}\"}}'", "no `token`"),
])
def test_a_failed_program_lets_nothing_out_and_its_output_is_told_to_nobody(api, inspecting, tmp_path, text, says):
    gate = api.start_gate(f"{command(tmp_path, text)}, timeout: 0.5, {BEARER}")
    head, body = ask(api, inspecting)
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable: credential_failed"), head
    assert b"Credential key could not be read" in body
    assert not api.asked
    gate.logged(event="failed", reason="credential_failed")
    assert says in gate.errors.read_text() and SECRET not in gate.errors.read_text()


@pytest.mark.confined
def test_a_program_that_comes_with_a_reload_is_not_started_by_a_gate_that_has_confined_itself(api, inspecting, tmp_path):
    ran = tmp_path / "ran"
    gate = api.start_gate(f"{command(tmp_path, f'echo {SECRET}')}, {BEARER}")
    assert ask(api, inspecting)[1] == b"welcome"
    other = command(tmp_path, f"touch {ran}; echo {SECRET}").replace("arg", "other")
    gate.policy_file.write_text(gate.policy_file.read_text().replace(command(tmp_path, f"touch {ran}; echo {SECRET}"), other))
    gate.reload()
    head, _ = ask(api, inspecting)
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable: credential_failed"), head
    assert "starts no program that its policy did not name then; restart it" in gate.errors.read_text()
    assert not ran.exists()


def test_a_variable_of_the_gate_is_a_source(api, inspecting):
    api.start_gate(f"env: THE_KEY, {BEARER}", env={"THE_KEY": SECRET})
    assert ask(api, inspecting)[1] == b"welcome"


class TokenServer(API):
    pass


@pytest.fixture
def tokens(web, certificates, tmp_path):
    server = web(TokenServer, certificates.server())
    server.asked, server.given = [], 0

    def answer(handler):
        form = {name: values[0] for name, values in parse_qs(server.asked[-1][2].decode()).items()}
        user = base64.b64decode(handler.headers.get("Authorization", "Basic ").split()[1]).decode()
        if user != "me:client%2Fsecret%21":
            return 401, {}, json.dumps({"error": "invalid_client", "error_description": "client/secret!"}).encode()
        server.given += 1
        given = {"access_token": f"{SECRET}-{server.given}", "token_type": "Bearer", "expires_in": server.lifetime}
        if "refresh_token" in form:
            given["refresh_token"] = f"next-{server.given}"
        return 200, {}, json.dumps(given).encode()

    server.answer, server.lifetime = answer, 3600
    server.client_secret = tmp_path / "outside" / "client"
    server.client_secret.parent.mkdir(exist_ok=True)
    server.client_secret.write_text("client/secret!")

    def source(more=""):
        return (f'oauth2: {{token_url: "https://refused.test:{server.port}/token", client_id: me, '
                f'client_secret: {{file: "{server.client_secret}"}}, addresses: [127.0.0.0/8], '
                f'tls: {{roots: "{certificates.ca}"}}{more}}}')

    server.source = source
    return server


def test_a_token_endpoint_is_asked_once_for_many_requests(api, inspecting, tokens):
    api.answer = lambda handler: handler.headers["Authorization"].encode()[:3]
    api.start_gate(f'{tokens.source(", scope: read write")}, {BEARER}')
    with ThreadPoolExecutor(8) as pool:
        assert all(head.startswith(b"HTTP/1.1 200") for head, _ in pool.map(lambda _: ask(api, inspecting), range(16)))
    assert tokens.given == 1
    assert {sent["Authorization"] for _, sent, _ in api.asked} == {f"Bearer {SECRET}-1"}
    form = parse_qs(tokens.asked[0][2].decode())
    assert form == {"grant_type": ["client_credentials"], "scope": ["read write"]}


def test_a_refresh_token_is_used_and_its_successor_too(api, inspecting, tokens, tmp_path):
    refresh = tmp_path / "outside" / "refresh"
    refresh.write_text("first\n")
    tokens.lifetime = 0
    api.answer = lambda handler: b"x"
    more = f', refresh_token: {{file: "{refresh}"}}'
    gate = api.start_gate(f"{tokens.source(more)}, {BEARER}")
    until("a second token", lambda: ask(api, inspecting) and tokens.given >= 2)
    sent = [parse_qs(body.decode())["refresh_token"] for _, _, body in tokens.asked]
    assert sent[0] == ["first"] and sent[1] == ["next-1"]


@pytest.mark.parametrize("wrong, says", [
    ("secret", "answered 401 (invalid_client)"), ("address", "list it in `addresses`"), ("roots", "certificate cannot be verified")])
def test_a_token_endpoint_that_fails_lets_nothing_out(api, inspecting, tokens, wrong, says):
    if wrong == "secret":
        tokens.client_secret.write_text("wrong-client-secret")
    source = tokens.source()
    if wrong == "address":
        source = source.replace(", addresses: [127.0.0.0/8]", "")
    if wrong == "roots":
        source = source[:source.index(", tls:")] + "}"
    gate = api.start_gate(f"{source}, {BEARER}")
    head, _ = ask(api, inspecting)
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable: credential_failed"), head
    assert says in gate.errors.read_text(), gate.errors.read_text()
    assert "client/secret" not in gate.errors.read_text() and "wrong-client-secret" not in gate.errors.read_text()
    assert not api.asked


# Rotation

def test_a_rotation_under_load_fails_no_request_and_the_old_key_is_gone(api, inspecting):
    api.answer = lambda handler: (200 if handler.headers["Authorization"] in valid else 401, {}, b"x")
    valid = {f"Bearer {SECRET}", "Bearer rotated-key-0001"}
    gate = api.start_gate(f"{api.file}, {BEARER}")
    stop = threading.Event()
    failures, count = [], [0]

    def load():
        while not stop.is_set():
            head, _ = ask(api, inspecting)
            count[0] += 1
            if not head.startswith(b"HTTP/1.1 200"):
                failures.append(head)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until("requests run", lambda: count[0] > 20)
        new = api.secret.with_name("new")
        new.write_text("rotated-key-0001\n")
        os.replace(new, api.secret)
        until("the new key", lambda: api.asked[-1][1]["Authorization"] == "Bearer rotated-key-0001")
        # Whoever began before the change may still be under way; who begins now has the new one.
        valid.discard(f"Bearer {SECRET}")
        mark = len(api.asked)
        before = count[0]
        until("more requests", lambda: count[0] > before + 40)
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert not failures
    assert {sent["Authorization"] for _, sent, _ in api.asked[mark + 4:]} == {"Bearer rotated-key-0001"}


def test_a_reload_reads_it_again(api, inspecting):
    api.answer = lambda handler: handler.headers["Authorization"].encode()[-1:]
    gate = api.start_gate(f"env: KEY_A, {BEARER}", env={"KEY_A": "first-value-a", "KEY_B": "second-value-b"})
    assert ask(api, inspecting)[1] == b"a"
    gate.policy_file.write_text(gate.policy_file.read_text().replace("KEY_A", "KEY_B"))
    gate.reload()
    until("the other variable", lambda: ask(api, inspecting)[1] == b"b")


# AWS

KEYS = ("GATEKEYID0000001", "gate/secret+access/key0123456789abcdefg")


class AWS(API):
    """Verifies each signature with botocore's own code; says what it made of it."""

    def do_GET(self):
        from botocore.auth import S3SigV4Auth, SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        length = int(self.headers.get("Content-Length", 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(length)
        sent = self.headers["Authorization"]
        scope = sent.split("Credential=")[1].split(",")[0].split("/")
        signed = sent.split("SignedHeaders=")[1].split(",")[0].split(";")
        request = AWSRequest(self.command, f"https://{self.headers['Host']}{self.path}", data=body,
                             headers={name: self.headers[name] for name in signed if name != "host"})
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        auth = (S3SigV4Auth if scope[3] == "s3" else SigV4Auth)(Credentials(*KEYS), scope[3], scope[2])
        expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        good = scope[0] == KEYS[0] and sent.endswith(expected)
        self.server.asked.append((self.path, self.headers, body, good))
        said = b'{"TableNames": ["t"]}' if scope[3] == "dynamodb" else b"" if self.command == "PUT" else b"an object"
        self.send_response(200 if good else 403)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_POST = do_PUT = do_HEAD = do_GET


@pytest.fixture
def aws(inspecting, web, certificates, tmp_path):
    import boto3
    from botocore.config import Config
    server = web(AWS, certificates.server())
    server.asked = []
    secret = tmp_path / "keys"
    secret.write_text(json.dumps({"Version": 1, "AccessKeyId": KEYS[0], "SecretAccessKey": KEYS[1], "Expiration": None}))
    gate = inspecting.gate(
        inspecting.rule("allowed.test", server.port, ", credential: aws"),
        more=f'credentials:\n  aws: {{file: "{secret}", sigv4: {{}}}}\n')

    def client(service):
        return boto3.client(
            service, region_name="eu-central-1", aws_access_key_id="PLACEHOLDERKEY0001", aws_secret_access_key="placeholder",
            endpoint_url=f"https://allowed.test:{server.port}", verify=str(inspecting.ca),
            config=Config(proxies={"https": gate.url}, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}))

    server.client, server.gate, server.secret = client, gate, secret
    return server


def test_boto3_works_with_a_key_that_it_does_not_have(aws):
    s3 = aws.client("s3")
    assert s3.get_object(Bucket="bucket", Key="a b/ü//c")["Body"].read() == b"an object"
    s3.put_object(Bucket="bucket", Key="k", Body=b"x" * 300_000)
    assert aws.client("dynamodb").list_tables()["TableNames"] == ["t"]
    assert [good for *_, good in aws.asked] == [True] * 3
    assert all("PLACEHOLDER" not in str(fields) for _, fields, *_ in aws.asked)
    assert aws.gate.logged(event="credential")["place"] == "sigv4"


@pytest.mark.figures
def test_a_key_that_signs_stands_in_memory_that_is_never_dumped_and_is_gone_once_it_was_rotated(aws):
    """Such a key is sent nowhere, so no copy of it has to be made: not where it was read, nor where it was searched for."""
    s3, pid, rotated = aws.client("s3"), aws.gate.process.pid, "rotated/secret+access/key987654321"
    s3.get_object(Bucket="bucket", Key="k")
    places = dumps.places(pid, KEYS[1].encode())
    assert places and all("dd" in flags for flags in places), places
    new = aws.secret.with_name("new")
    new.write_text(aws.secret.read_text().replace(KEYS[1], rotated))
    os.replace(new, aws.secret)

    def is_signed_by_the_new_one():
        with contextlib.suppress(botocore.exceptions.ClientError):
            s3.get_object(Bucket="bucket", Key="k")
        return not aws.asked[-1][3]

    until("the new key signs", is_signed_by_the_new_one)
    until("the old key is gone", lambda: not dumps.places(pid, KEYS[1].encode()))
    assert dumps.places(pid, rotated.encode())


def test_a_body_that_is_signed_reaches_the_upstream_as_it_was(aws, inspecting):
    target = f"allowed.test:{aws.port}"
    client = ("Authorization: AWS4-HMAC-SHA256 Credential=PLACEHOLDERKEY0001/20200101/eu-central-1/sqs/aws4_request, "
              "SignedHeaders=host;x-amz-date, Signature=00\r\n")
    for body, framing in ((b"hello", "Content-Length: 5\r\n"), (b"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n"),
                          (b"hello", "Content-Length: 5\r\nExpect: 100-continue\r\n")):
        said = inspecting.ask(aws.gate, target, request(target, "POST", "/q?b=1&a=~", more=client + framing, body=body))
        assert b"HTTP/1.1 200" in said, said
        assert aws.asked[-1][2] == b"hello" and aws.asked[-1][3]
    large = request(target, "POST", more=client + "Content-Length: 1048577\r\n", body=b"x")
    assert inspecting.ask(aws.gate, target, large).startswith(b"HTTP/1.1 400 Bad Request: bad_request")
    chunks = client + "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\nContent-Length: 1\r\n"
    said = inspecting.ask(aws.gate, target, request(target, "PUT", more=chunks, body=b"x"))
    assert said.startswith(b"HTTP/1.1 400") and b"each chunk of the body is signed" in said


# HTTP/2

@pytest.fixture
def streams(inspecting, certificates, tmp_path):
    """An HTTP/2 upstream that demands the key and echoes it in a field, the body and a trailer."""
    def answer(server, served, stream, fields, body):
        key = fields.get(b"authorization", b"")
        good = key == f"Bearer {SECRET}".encode()
        served.say(stream, [(b":status", b"200" if good else b"401"), (b"x-echo", key)], b"you sent " + key + b".", [(b"x-trailer", key)])

    server = Server(certificates.server(), answer)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)

    def start(source=f'file: "{secret}"', more=f", placeholder: {PLACEHOLDER}"):
        server.gate = inspecting.gate(
            inspecting.rule("allowed.test", server.port, ", credential: key"),
            more=f"credentials:\n  key: {{{source}, {BEARER}{more}}}\n")
        return httpx.Client(http2=True, proxy=server.gate.url, verify=inspecting.trust(), timeout=DEADLINE, trust_env=False)

    server.start, server.secret = start, secret
    server.url = f"https://allowed.test:{server.port}/"
    yield server
    server.close()


def test_http2_streams_get_the_key_and_lose_its_echoes(streams):
    with streams.start() as http:
        for _ in range(3):
            said = http.get(streams.url, headers={"Authorization": f"Bearer {PLACEHOLDER}"})
            assert (said.http_version, said.status_code) == ("HTTP/2", 200)
            assert said.text == "you sent Bearer " + "*" * len(SECRET) + "."
            assert said.headers["x-echo"] == "Bearer " + "*" * len(SECRET)
        assert http.get(streams.url).status_code == 401
        assert http.get(streams.url, headers={"Authorization": "Bearer another-key-of-mine"}).status_code == 403
    assert len(streams.seen) == 4
    streams.gate.logged(event="flagged", reason="secret_refused")
    assert SECRET not in streams.gate.log.read_text()


def test_http2_trailers_are_scrubbed_and_many_streams_wait_for_one_value(streams, inspecting, tmp_path):
    source = command(tmp_path, f'echo x >> "{tmp_path}/runs"; echo {SECRET}\n')
    streams.start(source, more="").close()
    target = f"allowed.test:{streams.port}"
    tls = inspecting.tunnel(streams.gate, target, ("h2",))
    raw = Raw(tls, target)
    raw.send(*[raw.head(stream, []) for stream in range(1, 21, 2)])
    heads = []
    while len(heads) < 20:
        frame = raw.read()
        assert frame is not None, heads
        if isinstance(frame, HeadersFrame):
            heads.append(frame.fields)
    stars = b"Bearer " + b"*" * len(SECRET)
    assert [fields[b"x-echo"] for fields in heads if b"x-echo" in fields] == [stars] * 10
    assert [fields[b"x-trailer"] for fields in heads if b"x-trailer" in fields] == [stars] * 10
    assert (tmp_path / "runs").read_text() == "x\n"


@pytest.mark.parametrize("name", LETTERS)
def test_an_echo_that_is_split_over_frames_is_taken_out(streams, name):
    echo = LETTERS[name]
    text = b"{\"headers\": \"" + echo + b"\", \"end\": true}"

    def answer(server, served, stream, fields, body):
        served.stream(stream, [(b":status", b"200"), (b"x-echo", echo)], [text[at:at + 1] for at in range(len(text))])

    streams.answer = answer
    with streams.start() as http:
        said = http.get(streams.url, headers={"Authorization": f"Bearer {PLACEHOLDER}"})
    assert said.content.startswith(b"{\"headers\": \"") and said.content.endswith(b"\", \"end\": true}") and len(said.content) == len(text)
    for part in (said.content, said.headers["x-echo"].encode()):
        assert echo not in part and echo[4:-4] not in part
    assert streams.gate.logged(event="credential", scrubbed=True)["credential"] == "key"


def test_a_rotation_under_load_of_streams_fails_no_request_and_the_old_key_is_gone(streams, inspecting):
    rotated, seen, failures = "rotated-key-0002-of-the-gate", [], []
    valid = {f"Bearer {SECRET}".encode(), f"Bearer {rotated}".encode()}

    def answer(server, served, stream, fields, body):
        seen.append(fields[b"authorization"])
        served.say(stream, [(b":status", b"200" if seen[-1] in valid else b"401")], b"x")

    streams.answer = answer
    streams.start().close()

    async def load(http, is_over):
        while not is_over():
            said = await http.get(streams.url, headers={"Authorization": f"Bearer {PLACEHOLDER}"})
            if said.status_code != 200 or said.http_version != "HTTP/2":
                failures.append(said)

    async def many(http, is_over):
        await asyncio.wait_for(asyncio.gather(*(load(http, is_over) for _ in range(8))), DEADLINE)

    async def rotate():
        async with httpx.AsyncClient(http2=True, proxy=streams.gate.url, verify=inspecting.trust(), timeout=DEADLINE, trust_env=False) as http:
            await many(http, lambda: len(seen) > 50)
            new = streams.secret.with_name("new")
            new.write_text(rotated)
            os.replace(new, streams.secret)
            await many(http, lambda: seen[-1] == f"Bearer {rotated}".encode())
            # No stream is under way: who begins now has the new one, and the upstream revokes the old.
            valid.discard(f"Bearer {SECRET}".encode())
            mark = len(seen)
            await many(http, lambda: len(seen) > mark + 100)
        return seen[mark:]

    assert set(asyncio.run(rotate())) == {f"Bearer {rotated}".encode()}
    assert not failures
