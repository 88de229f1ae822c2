"""Inspected targets in HTTP/1.1: the gate terminates the TLS, judges each request, and presents a certificate only for a verified upstream."""
import json
import os
import random
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler

import pytest
import requests

from gate import DEADLINE, local, rules, until
from inspection import Inspecting, everything, request


@pytest.fixture
def inspecting(gate, tmp_path, certificates):
    return Inspecting(gate, tmp_path, certificates)


@pytest.fixture
def site(inspecting, web, hello, certificates):
    server = web(hello, certificates.server())
    server.gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    server.target = f"allowed.test:{server.port}"
    server.url = f"https://{server.target}/"
    return server


def fetch(site, inspecting, path="", method="GET", **more):
    headers = {"Connection": "close"} | more.pop("headers", {})
    return requests.request(method, site.url + path, proxies={"https": site.gate.url}, verify=str(inspecting.ca),
                            timeout=DEADLINE, headers=headers, **more)


def test_a_request_inside_a_tunnel_is_answered_by_its_upstream(site, inspecting):
    said = fetch(site, inspecting)
    assert said.text == f"hello from {site.target}"
    assert said.headers["Via"] == "1.1 sluice"
    line = site.gate.logged(event="closed", host="allowed.test", port=site.port)
    assert line["inspected"] is True and line["bytes_down"] > 0 and line["bytes_up"] > 0


def test_the_ca_is_made_at_the_first_use_and_its_key_is_its_owners_alone(site, inspecting):
    key = inspecting.folder / "ca.key"
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    assert b"PRIVATE KEY" not in inspecting.ca.read_bytes()
    before = key.read_bytes()
    inspecting.gate(inspecting.rule("allowed.test", site.port))
    assert key.read_bytes() == before


def test_what_the_client_is_shown_is_for_its_name_alone_and_short_lived(site, inspecting):
    with inspecting.tunnel(site.gate, site.target) as tls:
        shown = tls.getpeercert()
    assert [value for kind, value in shown["subjectAltName"]] == ["allowed.test"]
    days = (ssl.cert_time_to_seconds(shown["notAfter"]) - ssl.cert_time_to_seconds(shown["notBefore"])) / 86400
    assert days < 8


# Judged requests

RULE = ', methods: [GET, POST], paths: ["/public/**", "/"]'


@pytest.fixture
def narrow(inspecting, web, hello, certificates):
    class Handler(hello):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

    server = web(Handler, certificates.server())
    server.gate = inspecting.gate(inspecting.rule("allowed.test", server.port, RULE))
    server.target = f"allowed.test:{server.port}"
    server.url = f"https://{server.target}/"
    server.seen = []
    return server


@pytest.mark.parametrize("method, path, reason", [
    ("DELETE", "", "method_refused"), ("get", "", "method_refused"), ("GET", "private/key", "path_refused"),
    ("GET", "public/../private/key", "path_refused"), ("GET", "public/%2e%2e/private", "path_refused"),
    ("GET", "public/%252e%252e/private", "path_refused"), ("GET", "public%2f..%2fprivate", "path_refused"),
    ("GET", "public//../../private", "path_refused"), ("OPTIONS", "*", "method_refused"),
])
def test_a_method_or_path_that_the_rule_does_not_name_is_refused_inside_the_tunnel(narrow, inspecting, method, path, reason):
    target = path if path == "*" else "/" + path
    said = inspecting.ask(narrow.gate, narrow.target, request(narrow.target, method, target))
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 403 Denied by egress policy: {reason}".encode()), said
    assert f"x-sluice-reason: {reason}".encode() in head.lower()
    assert json.loads(body)["reason"] == reason
    line = narrow.gate.logged(event="denied", reason=reason, host="allowed.test")
    assert line["id"].endswith("-1") and line["rule"].startswith(str(narrow.gate.policy_file))
    assert (line["method"], line["status"]) == (method, 403) and line["path"].startswith(target[:1])
    assert not narrow.seen


def test_what_was_judged_is_what_the_upstream_sees(narrow, inspecting):
    said = inspecting.ask(narrow.gate, narrow.target, request(narrow.target, "GET", "/private/../public/%7euser/./a?q=/../x"))
    assert said.startswith(b"HTTP/1.1 200"), said
    assert narrow.seen[0][0] == "GET /public/~user/a?q=/../x HTTP/1.1"


def test_a_refusal_keeps_the_tunnel_where_the_next_request_can_be_told_from_it(narrow, inspecting):
    with inspecting.tunnel(narrow.gate, narrow.target) as tls:
        tls.sendall(request(narrow.target, "DELETE", close=False) + request(narrow.target, "GET"))
        said = everything(tls)
    assert said.startswith(b"HTTP/1.1 403") and b"HTTP/1.1 200" in said
    narrow.gate.logged(event="closed")
    assert [line["reason"] for line in narrow.gate.lines() if line["event"] == "denied"] == ["method_refused"]


def test_a_refusal_has_the_form_of_its_own_request(narrow, inspecting):
    with inspecting.tunnel(narrow.gate, narrow.target) as tls:
        s3 = request(narrow.target, "GET", close=False).replace(b"\r\n\r\n", b"\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\r\n")
        tls.sendall(s3 + request(narrow.target, "DELETE"))
        said = everything(tls)
    assert b"HTTP/1.1 200" in said and b"Content-Type: application/json" in said.split(b"HTTP/1.1 403", 1)[1], said


@pytest.mark.parametrize("host", ["refused.test", "allowed.test:1", "allowed.test.evil.test", "127.0.0.1"])
def test_an_authority_that_is_not_the_tunnels_is_refused(narrow, inspecting, host):
    said = inspecting.ask(narrow.gate, narrow.target, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 403 Denied by egress policy: authority_mismatch"), said
    narrow.gate.logged(event="denied", reason="authority_mismatch")
    assert not narrow.seen


SMUGGLED = b"GET /private HTTP/1.1\r\nHost: allowed.test\r\n\r\n"


@pytest.mark.parametrize("fields, body", [
    ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nG"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"5c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n" + SMUGGLED),
    ("Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), ("Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    ("Content-Length: 0\r\nContent-Length: 44\r\n", SMUGGLED), ("Content-Length: +4\r\n", b"abcd"),
    ("X: a\n b\r\n", b""), ("X: a\rY: b\r\n", b""), (" folded\r\n", b""),
])
def test_a_request_that_can_be_read_in_two_ways_is_refused(narrow, inspecting, fields, body):
    ask = f"POST /public/a HTTP/1.1\r\nHost: {narrow.target}\r\n{fields}\r\n".encode() + body
    said = inspecting.ask(narrow.gate, narrow.target, ask)
    assert said.startswith(b"HTTP/1.1 400 Bad Request: bad_request"), said
    assert said.count(b"HTTP/1.1 ") == 1
    narrow.gate.logged(event="denied", reason="bad_request")
    assert not narrow.seen


def test_a_head_above_the_limit_is_refused(narrow, inspecting):
    said = inspecting.ask(narrow.gate, narrow.target, request(narrow.target, more="X: " + "a" * 70000 + "\r\n"))
    assert said.startswith(b"HTTP/1.1 431 ") and b"limits.head_bytes" in said, said[:200]
    assert not narrow.seen


def test_requests_are_counted_and_not_tunnels(inspecting, web, hello, certificates):
    server = web(hello, certificates.server())
    limits = f"  rate_limits: [{{host: allowed.test, requests_per_minute: 1, burst: 3}}]\n"
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port), limits=limits)
    target = f"allowed.test:{server.port}"
    with inspecting.tunnel(gate, target) as tls:
        tls.sendall(request(target, close=False) * 3 + request(target))
        said = everything(tls)
    assert said.count(b"HTTP/1.1 200") == 3
    assert said.count(b"HTTP/1.1 429 Too Many Requests: rate_limited") == 1
    assert int(re.search(rb"Retry-After: (\d+)", said).group(1)) in range(1, 61)
    line = gate.logged(event="limited", reason="rate_limited")
    assert (line["tokens"], line["capacity"], line["per_minute"]) == (0, 3, 1)


# Whom the gate trusts

@pytest.mark.parametrize("wrong", ["self-signed certificate", "certificate has expired", "hostname mismatch"])
def test_an_upstream_that_does_not_verify_is_answered_for_with_a_502_and_gets_no_request(
        inspecting, web, hello, bad_certificates, wrong):
    server = web(hello, bad_certificates[wrong])
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    target = f"allowed.test:{server.port}"
    said = inspecting.ask(gate, target, request(target))
    assert said.startswith(b"HTTP/1.1 502 Bad Gateway: upstream_untrusted"), said
    assert wrong in json.loads(said.partition(b"\r\n\r\n")[2])["message"]
    line = gate.logged(event="failed", reason="upstream_untrusted")
    assert line["host"] == "allowed.test"
    assert not hasattr(server, "seen")


def test_an_upstream_that_speaks_no_tls_is_answered_for_with_a_502(inspecting, upstream):
    server = upstream(lambda stream: stream.sendall(b"SSH-2.0-none\r\n"))
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    target = f"allowed.test:{server.port}"
    said = inspecting.ask(gate, target, request(target))
    assert said.startswith(b"HTTP/1.1 502 Bad Gateway: connect_failed"), said
    gate.logged(event="failed", reason="connect_failed")


def test_an_upstream_below_tls_1_2_is_refused(inspecting, web, hello, certificates):
    context = certificates.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = web(hello, context)
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    target = f"allowed.test:{server.port}"
    assert inspecting.ask(gate, target, request(target)).startswith(b"HTTP/1.1 502"), "TLS 1.1 was spoken"
    assert not hasattr(server, "seen")


def test_a_client_that_does_not_trust_the_ca_ends_the_tunnel_before_a_request(site, inspecting):
    sock, _ = site.gate.connect(site.target)
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(sock, server_hostname="allowed.test")
    sock.close()
    site.gate.logged(event="closed", host="allowed.test")
    assert not hasattr(site, "seen")


def test_a_client_certificate_of_the_rule_is_shown_to_the_upstream(inspecting, web, hello, certificates):
    context = certificates.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca)
    server = web(hello, context)
    both = f"certificate: {{certificate: \"{certificates.cert}\", key: \"{certificates.key}\"}}".replace("certificate: {", "client_certificate: {")
    rule = local("allowed.test", server.port, f', tls: {{roots: "{certificates.ca}", {both}}}')
    gate = inspecting.gate(rule)
    target = f"allowed.test:{server.port}"
    assert inspecting.ask(gate, target, request(target)).startswith(b"HTTP/1.1 200")


class Identities:
    """Certificates of a client, behind an issuer of its own; and servers' of all kinds."""
    def __init__(self, folder, certificates):
        self.folder, self.ca_key = folder, certificates.ca.with_name("ca.key")
        self.certificates = certificates
        self.issue("between", certificates.ca, self.ca_key, "basicConstraints=critical,CA:TRUE\n")
        self.issue("client", folder / "between.pem", folder / "between.key", "basicConstraints=CA:FALSE\n")
        self.chain = folder / "chain.pem"
        self.chain.write_text((folder / "client.pem").read_text() + (folder / "between.pem").read_text())

    def issue(self, name, issuer, issuer_key, extensions):
        key, request, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "request", "pem"))
        (self.folder / "extensions").write_text(extensions)
        for command in (["req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}"],
                        ["x509", "-req", "-in", request, "-CA", issuer, "-CAkey", issuer_key, "-CAcreateserial", "-out", certificate, "-days", "2",
                         "-extfile", self.folder / "extensions"]):
            subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
        return certificate, key

    def rule(self, port, certificate=None, key=None):
        shown = f', client_certificate: {{certificate: "{certificate}", key: "{key}"}}' if certificate else ""
        return local("allowed.test", port, f', tls: {{roots: "{self.certificates.ca}"{shown}}}, inspect: true')


@pytest.fixture
def identities(tmp_path, certificates):
    return Identities(tmp_path, certificates)


def wanting(certificates, version=None):
    """A server's context that wants a client certificate of its CA."""
    context = certificates.server(version)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca)
    return context


def test_a_client_certificate_is_shown_with_its_chain(identities, inspecting, web, hello, certificates):
    server = web(hello, wanting(certificates))
    gate = inspecting.gate(identities.rule(server.port, identities.chain, identities.folder / "client.key"))
    target = f"allowed.test:{server.port}"
    assert inspecting.ask(gate, target, request(target)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown, says", [(False, "the rule has none: write tls: {client_certificate"), (True, "refuses the client certificate of the rule")])
def test_an_upstream_that_wants_another_client_certificate_is_a_502_that_says_so(identities, inspecting, web, hello, certificates, version, shown, says):
    server = web(hello, wanting(certificates, version))
    stranger = identities.folder / "stranger.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", identities.folder / "stranger.key", "-out", stranger,
                    "-subj", "/CN=stranger"], check=True, capture_output=True)
    gate = inspecting.gate(identities.rule(server.port, *([stranger, identities.folder / "stranger.key"] if shown else [])))
    target = f"allowed.test:{server.port}"
    said = inspecting.ask(gate, target, request(target))
    assert said.startswith(b"HTTP/1.1 502") and says.encode() in said, said
    gate.logged(event="failed", reason="connect_failed")


def test_a_server_certificate_without_an_alternative_name_is_not_taken(identities, inspecting, web, hello, certificates):
    """RFC 9525: a common name is no name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*identities.issue("allowed.test", certificates.ca, identities.ca_key, "basicConstraints=CA:FALSE\n"))
    server = web(hello, context)
    gate = inspecting.gate(identities.rule(server.port))
    target = f"allowed.test:{server.port}"
    said = inspecting.ask(gate, target, request(target))
    assert said.startswith(b"HTTP/1.1 502 Bad Gateway: upstream_untrusted"), said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_to_an_upstream_is_resumed_for_the_same_client_and_rule_and_for_no_other(identities, inspecting, web, hello, certificates, version):
    reused = []

    class Handler(hello):
        def do_GET(self):
            reused.append(self.connection.session_reused)
            super().do_GET()

    server = web(Handler, certificates.server(version))
    gate = inspecting.gate(identities.rule(server.port))
    target = f"allowed.test:{server.port}"
    for _ in range(4):
        assert inspecting.ask(gate, target, request(target)).startswith(b"HTTP/1.1 200")
    assert reused == [False, True, True, True]
    # Another policy has other rules, whatever they say.
    gate.reload()
    assert inspecting.ask(gate, target, request(target)).startswith(b"HTTP/1.1 200")
    assert reused[4] is False


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/public/a", b"200"), ("DELETE", "/public/a", b"403"), ("GET", "/public/../private", b"403")])
def test_a_plain_http_request_is_held_to_methods_and_paths_too(inspecting, web, hello, method, path, status):
    server = web(hello)
    target = f"allowed.test:{server.port}"
    one = inspecting.gate(local("allowed.test", server.port, RULE))
    said = one.ask(f"{method} http://{target}{path} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 " + status), said
    if status == b"403":
        assert not hasattr(server, "seen")
        assert one.logged(event="denied")["reason"] in ("method_refused", "path_refused")


# Forwarded requests

class Echo(BaseHTTPRequestHandler):
    """Sends back what it got, chunked as it came or with its length, with a trailer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline() != b"\r\n":
                pass
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        if len(body) % 2:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), 5000):
                piece = body[at:at + 5000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\nX-Trailer: %d\r\n\r\n" % len(body))

    def log_message(self, *arguments):
        pass


def read_answer(file):
    """Body and trailer of one answer."""
    assert file.readline().startswith(b"HTTP/1.1 200"), "no 200"
    fields = {}
    while (line := file.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    if b"content-length" in fields:
        return file.read(int(fields[b"content-length"])), None
    body = b""
    while size := int(file.readline(), 16):
        body += file.read(size)
        file.readline()
    trailer = file.readline()
    assert file.readline() == b"\r\n"
    return body, trailer


def test_bodies_and_trailers_pass_byte_for_byte_on_one_connection(inspecting, web, certificates):
    server = web(Echo, certificates.server())
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    target = f"allowed.test:{server.port}"
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print("seed", seed)
    choose = random.Random(seed)
    with inspecting.tunnel(gate, target) as tls, tls.makefile("rb") as file:
        for _ in range(40):
            body = choose.randbytes(choose.choice([0, 1, 2, 1000, 16384, 16385, 200_001, 200_002]))
            if choose.random() < 0.5:
                data = request(target, "POST", more=f"Content-Length: {len(body)}\r\n", close=False) + body
            else:
                data, at = request(target, "POST", more="Transfer-Encoding: chunked\r\n", close=False), 0
                while at < len(body):
                    piece = body[at:at + choose.choice([1, 100, 16384, 70_000]) if len(body) < 5000 else at + 16384]
                    data += b"%x\r\n%s\r\n" % (len(piece), piece)
                    at += len(piece)
                data += b"0\r\nX-End: yes\r\n\r\n"
            cut = choose.randrange(len(data) + 1)
            tls.sendall(data[:cut])
            tls.sendall(data[cut:])
            got, trailer = read_answer(file)
            assert got == body
            assert trailer == (None if len(body) % 2 else b"X-Trailer: %d\r\n" % len(body))


def test_what_an_upstream_says_bit_by_bit_is_heard_at_once(inspecting, upstream, certificates):
    """Server-sent events: each one before the next is sent."""
    heard = threading.Event()

    def talk(stream):
        stream.recv(65536)
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(5):
            stream.sendall(b"data: %d\n\n" % number)
            assert heard.wait(DEADLINE)
            heard.clear()
        stream.unwrap()

    server = upstream(talk, certificates.server())
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    target = f"allowed.test:{server.port}"
    with inspecting.tunnel(gate, target) as tls, tls.makefile("rb") as file:
        tls.sendall(request(target))
        while file.readline() != b"\r\n":
            pass
        for number in range(5):
            assert file.readline() == b"data: %d\n" % number and file.readline() == b"\n"
            heard.set()
        assert file.read() == b""


def test_a_body_that_was_cut_short_does_not_look_whole(inspecting, upstream, certificates):
    """Until the end of the connection, and the end comes without a close_notify: anyone could have cut it."""
    def talk(stream):
        stream.recv(65536)
        stream.sendall(b"HTTP/1.1 200 OK\r\n\r\npart")
        os.close(stream.detach())

    server = upstream(talk, certificates.server())
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    target = f"allowed.test:{server.port}"
    with inspecting.tunnel(gate, target) as tls:
        tls.sendall(request(target))
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            while tls.recv(65536):
                pass
    gate.logged(event="failed", reason="connect_failed")


def test_a_websocket_passes_both_ways(inspecting, upstream, certificates):
    def talk(stream):
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += stream.recv(65536)
        assert b"Upgrade: websocket" in asked
        stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := stream.recv(65536):
            stream.sendall(data[::-1])

    server = upstream(talk, certificates.server())
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    target = f"allowed.test:{server.port}"
    with inspecting.tunnel(gate, target) as tls:
        tls.sendall(request(target, more="Connection: Upgrade\r\nUpgrade: websocket\r\n", close=False))
        assert tls.recv(65536).startswith(b"HTTP/1.1 101")
        for word in (b"abc", b"\x00\xff" * 3):
            tls.sendall(word)
            assert tls.recv(65536) == word[::-1]


def test_a_reload_holds_the_next_request_to_the_new_rule(narrow, inspecting, certificates):
    with inspecting.tunnel(narrow.gate, narrow.target) as tls:
        tls.sendall(request(narrow.target, path="/public/a", close=False))
        assert tls.recv(65536).startswith(b"HTTP/1.1 200")
        narrow.gate.write(rules(inspecting.rule("allowed.test", narrow.port, ', paths: ["/other"]')))
        narrow.gate.reload()
        tls.sendall(request(narrow.target, path="/public/a"))
        assert b"403 Denied by egress policy: path_refused" in everything(tls)


def test_a_reload_that_looks_inside_cuts_what_stands_opaque(inspecting, web, hello, certificates):
    server = web(hello, certificates.server())
    other = inspecting.rule("other.test", server.port)
    gate = inspecting.gate(local("allowed.test", server.port, ", protocol: tls"), other)
    sock, _ = gate.connect(f"allowed.test:{server.port}")
    with certificates.client().wrap_socket(sock, server_hostname="allowed.test") as tls:
        gate.write(rules(inspecting.rule("allowed.test", server.port), other))
        gate.reload()
        try:
            assert tls.recv(1) == b""
        except ConnectionResetError:
            pass
    gate.logged(event="revoked", reason="not_allowed")


def test_a_policy_whose_roots_are_none_never_starts_nor_replaces(inspecting, web, hello, certificates):
    server = web(hello, certificates.server())
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port))
    # Where the gate has read from at its start: it may open nothing else by now.
    roots = certificates.ca.with_name("none.pem")
    roots.write_text("-----BEGIN CERTIFICATE-----\nnone\n")
    gate.write(rules(local("allowed.test", server.port, f', tls: {{roots: "{roots}"}}')))
    gate.signal(signal.SIGHUP)
    until("it says so", lambda: "the policy was not replaced" in gate.errors.read_text())
    assert f"{roots}: no certificate in PEM form" in gate.errors.read_text()
    target = f"allowed.test:{server.port}"
    assert inspecting.ask(gate, target, request(target)).startswith(b"HTTP/1.1 200")


# The CA's command

def sluice(*arguments):
    return subprocess.run([os.environ["SLUICE"], "ca", *map(str, arguments)], capture_output=True, text=True)


def test_the_ca_is_made_shown_and_exported(tmp_path):
    folder = tmp_path / "a/b"
    assert sluice("show", "--folder", folder).returncode == 2
    made = sluice("init", "--folder", folder, "--permit", "corp.example")
    assert made.returncode == 0 and len(made.stdout.strip().split(":")) == 32, made
    again = sluice("init", "--folder", folder)
    assert again.returncode == 2 and "--force" in again.stderr
    shown = sluice("show", "--folder", folder)
    assert "DNS:corp.example" in shown.stdout and made.stdout.strip() in shown.stdout
    assert sluice("export", "--folder", folder).stdout == (folder / "ca.pem").read_text()
    assert sluice("init", "--folder", folder, "--force").stdout != made.stdout
    assert sluice("init", "--folder", folder, "--permit", "127.1").returncode == 64


@pytest.mark.parametrize("name, good", [
    ("DNS:a.corp.example", True), ("DNS:b.example", False), ("IP:10.0.0.1", False), ("IP:::1", False), ("email:a@corp.example", False),
    ("email:a@b.example", False)])
def test_a_ca_that_permits_names_vouches_for_nothing_else(tmp_path, name, good):
    """As a verifier sees what a thief of its key would sign."""
    folder = tmp_path / "ca"
    assert sluice("init", "--folder", folder, "--permit", "corp.example").returncode == 0
    (tmp_path / "extensions").write_text(f"subjectAltName={name}\n")

    def openssl(*arguments):
        return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)

    assert openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / "request", "-subj", "/O=x").returncode == 0
    assert openssl("x509", "-req", "-in", tmp_path / "request", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial",
                   "-CAserial", tmp_path / "serial", "-out", tmp_path / "leaf", "-extfile", tmp_path / "extensions").returncode == 0
    said = openssl("verify", "-CAfile", folder / "ca.pem", tmp_path / "leaf")
    assert (said.returncode == 0) == good, said


def test_a_body_that_stands_still_ends_its_tunnel_and_holds_up_no_other(inspecting, web, hello, certificates):
    class Handler(hello):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))

    server = web(Handler, certificates.server())
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port), more="timeouts: {idle: 1, drain: 1}")
    target = f"allowed.test:{server.port}"
    slow = [inspecting.tunnel(gate, target) for _ in range(20)]
    for tls in slow:
        tls.sendall(request(target, "POST", more="Content-Length: 1000000\r\n", close=False) + b"a")
    assert inspecting.ask(gate, target, request(target)).startswith(b"HTTP/1.1 200")
    until("all are cut", lambda: len([line for line in gate.lines() if line["event"] == "closed" and line.get("reason") == "timeout"]) == 20)
