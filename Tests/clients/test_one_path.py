"""A request is judged in one way, whether it is plain HTTP, inside an inspected tunnel, or a stream of HTTP/2. SEED replays one."""
import os
import random
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from gate import DEADLINE, local, rules, until
from http2 import Server
from inspection import Inspecting

WAYS = ("plain", "http1", "http2")


class Echo(BaseHTTPRequestHandler):
    """Notes each request and how much of its body came, and answers with a few bytes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, len(body)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_DELETE = do_PUT = do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


class Way:
    """One way to a gate whose policy has one rule, for `allowed.test`."""

    def __init__(self, kind, start, web, inspecting, certificates):
        self.kind, self.inspecting = kind, inspecting
        if kind == "http2":
            def answer(server, served, stream, fields, body):
                self.seen.append((fields[b":method"].decode(), fields[b":path"].decode(), len(body)))
                served.say(stream, [(b":status", b"200")], b"" if fields[b":method"] == b"HEAD" else b"ok")
            self.server, self.seen = Server(certificates.server(), answer), []
        else:
            self.server = web(Echo, certificates.server() if kind == "http1" else None)
            self.server.seen = self.seen = []
        self.target = f"allowed.test:{self.server.port}"
        self.client = None

    def rule(self, more=""):
        if self.kind == "plain":
            return local("allowed.test", self.server.port, more)
        return self.inspecting.rule("allowed.test", self.server.port, more)

    def start(self, more="", limits="", **options):
        self.limits = limits
        self.gate = self.inspecting.gate(self.rule(more), limits=limits, **options)
        scheme = "http" if self.kind == "plain" else "https"
        self.url = httpx.URL(f"{scheme}://{self.target}/")
        # A refused body ends its connection, and the client might ask on it before it hears that: none is used again.
        self.client = httpx.Client(proxy=self.gate.url, http2=self.kind == "http2", timeout=DEADLINE,
                                   limits=httpx.Limits(max_keepalive_connections=0),
                                   verify=self.inspecting.trust() if scheme == "https" else True)
        return self

    def reload(self, more, limits=None):
        self.gate.write(rules(self.rule(more), more=self.limits if limits is None else limits))
        self.gate.process.send_signal(signal.SIGHUP)

    def ask(self, method="GET", path="/", body=None, fields=()):
        url = self.url.copy_with(raw_path=path.encode())
        said = self.client.request(method, url, content=body, headers=list(fields))
        return said.status_code, said.headers.get("x-sluice-reason")

    def close(self):
        if self.client:
            self.client.close()
        if self.kind == "http2":
            self.server.close()


@pytest.fixture
def way(gate, tmp_path, web, certificates):
    made = []

    def make(kind):
        folder = tmp_path / kind
        folder.mkdir()
        made.append(Way(kind, gate, web, Inspecting(gate, folder, certificates), certificates))
        return made[-1]

    yield make
    for one in made:
        one.close()


def lines(gate):
    """What the log says of requests, without what tells the ways apart; repeats within a second share a line."""
    return sorted((line["event"], line["reason"]) for line in gate.lines()
                  if line["event"] in ("denied", "limited", "failed", "flagged") or line.get("reason")
                  for _ in range(1 + line.get("repeated", 0)))


def questions(seed):
    choose = random.Random(seed)
    for _ in range(60):
        method = choose.choice(["GET", "GET", "POST", "DELETE", "PUT", "HEAD"])
        path = choose.choice(["/public/a", "/public/../private", "/private", "/public/%2e%2e/x", "/public//a", "/public/x%2Fy",
                              "/private/../public/b", "/public/a?q=1", "/public/%41?_method=DELETE", "/", "/public/a;b=/../../x"])
        fields = choose.choice([(), (), (), (("X-HTTP-Method-Override", "DELETE"),)])
        yield method, path, b"x" * choose.choice([0, 1, 100, 20_000]) if method in ("POST", "PUT") else None, fields


def test_the_same_requests_get_the_same_verdicts_and_lines(way):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")
    heard = {}
    for kind in WAYS:
        one = way(kind).start(', methods: [GET, HEAD, POST], paths: ["/public/**"]')
        answers = [one.ask(*question) for question in questions(seed)]
        refused = sum(status != 200 for status, _ in answers)
        until("a line for each refusal", lambda: len(lines(one.gate)) >= refused)
        heard[kind] = answers, lines(one.gate), [(method, path, count) for method, path, count in one.seen]
    assert heard["plain"] == heard["http1"]
    assert heard["plain"] == heard["http2"]
    assert {reason for _, reason in heard["plain"][0]} == {None, "method_refused", "path_refused"}


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("paths, shown", [("", "/items/*/comments"), ("none", None), ("full", "/items/42/comments")])
def test_a_line_has_method_status_and_path_but_no_query(kind, paths, shown, way):
    one = way(kind).start(", methods: [GET]")
    if paths:
        one.gate.on_failure = f"refuse, paths: {paths}"
        one.gate.write(rules(one.rule(", methods: [GET]")))
        one.gate.reload()
    assert one.ask("DELETE", "/items/42/comments?key=a-secret") == (403, "method_refused")
    line = one.gate.logged(event="denied")
    assert (line["method"], line["status"], line.get("path")) == ("DELETE", 403, shown)
    assert "a-secret" not in one.gate.log.read_text()


@pytest.mark.parametrize("kind", WAYS)
def test_a_line_of_report_mode_has_method_and_path(kind, way):
    one = way(kind).start(", methods: [GET]")
    one.gate.write(rules(one.rule(", methods: [GET]")).replace("network_policy:", "network_policy:\n  mode: report"))
    one.gate.reload()
    assert one.ask("DELETE", "/items/42")[0] == 200
    line = one.gate.logged(event="denied", would_deny=True)
    assert (line["method"], line["path"]) == ("DELETE", "/items/*") and "status" not in line


@pytest.mark.parametrize("kind", WAYS)
def test_a_rate_gives_up_at_the_same_request(kind, way):
    one = way(kind).start(limits='  rate_limits: [{host: "*", requests_per_minute: 1, burst: 3}]\n')
    assert [one.ask() for _ in range(5)] == [(200, None)] * 3 + [(429, "rate_limited")] * 2
    assert len(one.seen) == 3


@pytest.mark.parametrize("kind", WAYS)
def test_a_wait_of_a_whole_minute_is_not_refused(kind, way):
    """One request a minute: the second waits for 60 seconds, which is the longest wait there is."""
    one = way(kind).start(limits='  rate_limits: [{host: "*", requests_per_minute: 1, on_limit: pace}]\n')
    assert one.ask() == (200, None)
    with pytest.raises(httpx.TimeoutException):
        one.client.request("GET", one.url, timeout=0.5)


@pytest.mark.parametrize("kind", WAYS)
def test_a_request_that_waits_is_judged_when_it_leaves(kind, way):
    """A POST waits for its token while a reload takes POST away."""
    limits = '  rate_limits: [{host: "*", requests_per_minute: 30, burst: 1, on_limit: pace}]\n'
    one = way(kind).start(", methods: [GET, POST]", limits)
    assert one.ask("GET") == (200, None)
    heard = []
    waiting = threading.Thread(target=lambda: heard.append(one.ask("POST", body=b"late")))
    waiting.start()
    # The request is at the gate when its connection is, and waits for two seconds from then on.
    until("the request waits", lambda: one.client._transport is not None)
    one.reload(", methods: [GET]")
    waiting.join(DEADLINE)
    assert heard == [(403, "method_refused")]
    assert [method for method, _, _ in one.seen] == ["GET"]


@pytest.mark.parametrize("kind", WAYS)
def test_bytes_that_come_with_a_head_are_charged(kind, way):
    """Ten bodies of 10,000 bytes against 2,000 a minute: the first is not passed on whole."""
    one = way(kind).start(limits='  rate_limits: [{host: "*", upload_bytes_per_minute: 2000}]\n')
    with pytest.raises(httpx.HTTPError):
        for _ in range(10):
            one.ask("POST", body=b"x" * 10_000)
    assert sum(count for _, _, count in one.seen) <= 2000
    line = one.gate.logged(event="limited", reason="rate_limited")
    assert line.get("bytes_up", 0) <= 2000


def at_once(kind, one):
    """A stream to the upstream on which head and body can be said in one piece."""
    if kind == "http1":
        return one.inspecting.tunnel(one.gate, one.target)
    return one.gate.dial()


@pytest.mark.parametrize("kind", ("plain", "http1"))
def test_a_body_in_the_segment_of_its_head_is_charged(kind, way):
    one = way(kind).start(limits='  rate_limits: [{host: "*", upload_bytes_per_minute: 2000}]\n')
    place = f"http://{one.target}/" if kind == "plain" else "/"
    with at_once(kind, one) as stream:
        try:
            for _ in range(50):
                stream.sendall(f"POST {place} HTTP/1.1\r\nHost: {one.target}\r\nContent-Length: 10000\r\n\r\n".encode() + b"x" * 10_000)
            while stream.recv(65536):
                pass
        except OSError:
            pass
    one.gate.logged(event="limited", reason="rate_limited")
    assert sum(count for _, _, count in one.seen) <= 2000


def test_an_answer_in_the_segment_of_its_head_is_charged(gate, upstream):
    def talk(stream):
        while stream.recv(65536):
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000)
    server = upstream(talk)
    one = gate(rules(local("allowed.test", server.port), more='  rate_limits: [{host: "*", download_bytes_per_minute: 2000}]\n'))
    with one.dial() as sock:
        heard = b""
        try:
            for _ in range(20):
                sock.sendall(f"GET http://allowed.test:{server.port}/ HTTP/1.1\r\nHost: allowed.test:{server.port}\r\n\r\n".encode())
                while len(heard) % 9000 != 0 or not heard:
                    piece = sock.recv(65536)
                    if not piece:
                        raise OSError
                    heard += piece
        except OSError:
            pass
    assert len(heard) <= 2000
    one.logged(event="limited", reason="rate_limited")


@pytest.mark.parametrize("kind", ("plain", "http1"))
def test_a_websocket_ends_when_a_reload_refuses_its_path(kind, gate, upstream, tmp_path, certificates):
    def talk(stream):
        stream.recv(65536)
        stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
        while stream.recv(65536):
            pass
    inspecting = Inspecting(gate, tmp_path, certificates)
    server = upstream(talk, certificates.server() if kind == "http1" else None)
    rule = inspecting.rule if kind == "http1" else local
    one = inspecting.gate(rule("allowed.test", server.port, ', paths: ["/chat"]'))
    target = f"allowed.test:{server.port}"
    place = f"http://{target}/chat" if kind == "plain" else "/chat"
    stream = one.dial() if kind == "plain" else inspecting.tunnel(one, target)
    with stream:
        stream.sendall(f"GET {place} HTTP/1.1\r\nHost: {target}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        heard = b""
        while not heard.endswith(b"hello"):
            heard += stream.recv(65536)
        one.write(rules(rule("allowed.test", server.port, ', paths: ["/other"]')))
        one.process.send_signal(signal.SIGHUP)
        with pytest.raises(OSError):
            if not stream.recv(1):
                raise OSError
    one.logged(event="revoked", reason="path_refused")


def test_a_checked_exchange_keeps_its_connection(gate, web):
    server = web(Echo)
    server.seen = []
    one = gate(rules(local("allowed.test", server.port, ", content: {flag_instructions: log}")))
    with one.dial() as sock, sock.makefile("rb") as answers:
        for n in range(3):
            sock.sendall(f"GET http://allowed.test:{server.port}/{n} HTTP/1.1\r\nHost: allowed.test:{server.port}\r\n\r\n".encode())
            assert answers.readline().startswith(b"HTTP/1.1 200 ")
            while answers.readline() != b"\r\n":
                pass
            assert answers.read(2) == b"ok"
    assert [path for _, path, _ in server.seen] == ["/0", "/1", "/2"]
    until("a line for each", lambda: len([line for line in one.lines() if line["event"] == "closed"]) == 3)
