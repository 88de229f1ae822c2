"""The CONNECT listener over TLS: what holds for a plain listener holds inside, in HTTP/1.1 and, stream by stream, in HTTP/2."""
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pycurl
import pytest
from hyperframe.frame import (ContinuationFrame, DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame,
                              WindowUpdateFrame)

from fronts import Fronts, Identity
from gate import DEADLINE, answer, basic, echo, expanded, get, local, occurrences, password_file, plain_environment, rules, until
from http2 import Server
from inspection import Inspecting

# Of TLS, HTTP/1.1 and HTTP/2 as libcurl counts the kinds of proxies.
HTTPS, HTTPS2 = 2, 3
# Bytes that a session sends to its client, here the front; log lines count them as for a plain listener.
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture
def fronts(gate, tmp_path):
    return Fronts(gate, tmp_path)


def through(gate, fronts, url, kind, ca=None, **options):
    """Status, body, and how often the proxy was connected to, as libcurl sees it."""
    body, curl = [], pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.PROXY, gate.url)
    curl.setopt(pycurl.PROXYTYPE, kind)
    curl.setopt(pycurl.PROXY_CAINFO, str(fronts.identity.certificate))
    curl.setopt(pycurl.CAINFO, str(ca or "/dev/null"))
    curl.setopt(pycurl.TIMEOUT, DEADLINE)
    curl.setopt(pycurl.WRITEFUNCTION, body.append)
    for name, value in options.items():
        curl.setopt(getattr(pycurl, name), value)
    try:
        curl.perform()
        return curl.getinfo(pycurl.RESPONSE_CODE), b"".join(body)
    except pycurl.error as error:
        return error.args[0], curl.getinfo(pycurl.HTTP_CONNECTCODE)
    finally:
        curl.close()


# The clients that people have

@pytest.mark.parametrize("kind", [HTTPS, HTTPS2])
def test_libcurl_tunnels_and_asks_in_both_protocols(fronts, web, hello, certificates, kind):
    plain, secure = web(hello), web(hello, certificates.server())
    gate = fronts.gate(rules(local("allowed.test", plain.port), local("allowed.test", secure.port)))
    assert through(gate, fronts, f"https://allowed.test:{secure.port}/", kind, certificates.ca) == (200, f"hello from allowed.test:{secure.port}".encode())
    assert through(gate, fronts, f"http://allowed.test:{plain.port}/", kind) == (200, f"hello from allowed.test:{plain.port}".encode())
    assert gate.logged(event="closed", port=secure.port)["via"] == "connect"
    assert gate.logged(event="closed", port=plain.port)["via"] == "http"
    # libcurl's own numbers for what failed are below 100.
    assert through(gate, fronts, f"https://refused.test:{secure.port}/", kind, certificates.ca)[0] < 100
    gate.logged(event="denied", host="refused.test", reason="not_allowed")


def test_curl(fronts, web, hello, certificates):
    secure = web(hello, certificates.server())
    gate = fronts.gate(rules(local("allowed.test", secure.port)))
    said = subprocess.run(["curl", "-sS", "--proxy", gate.url, "--proxy-cacert", fronts.identity.certificate, "--cacert", certificates.ca,
                           f"https://allowed.test:{secure.port}/"], env=plain_environment(), capture_output=True, text=True, timeout=60)
    assert said.stdout == f"hello from allowed.test:{secure.port}", said


NODE = """
const http2 = require('http2'), tls = require('tls'), https = require('https'), fs = require('fs');
const [gate, target, gateCA, ca] = [process.argv[2], process.argv[3], fs.readFileSync(process.argv[4]), fs.readFileSync(process.argv[5])];
const session = http2.connect(gate, {ca: gateCA});
let left = 20;
for (let n = 0; n < 20; n++) {
  const stream = session.request({':method': 'CONNECT', ':authority': target});
  stream.on('response', head => {
    if (head[':status'] !== 200) process.exit(1);
    const socket = tls.connect({socket: stream, servername: target.split(':')[0], ca}, () => {
      https.get({host: target.split(':')[0], createConnection: () => socket, path: '/' + n}, answer => {
        answer.resume().on('end', () => { if (--left === 0) { console.log('twenty'); session.close(); process.exit(0); } });
      });
    });
  });
}
"""


def test_node(fronts, web, hello, certificates, tmp_path):
    secure = web(hello, certificates.server())
    gate = fronts.gate(rules(local("allowed.test", secure.port)))
    (tmp_path / "client.js").write_text(NODE)
    said = subprocess.run(["node", tmp_path / "client.js", gate.url, f"allowed.test:{secure.port}", fronts.identity.certificate, certificates.ca],
                          env=plain_environment(), capture_output=True, text=True, timeout=60)
    assert said.stdout == "twenty\n", said
    assert secure.connections == 20


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
def test_chromium(fronts, web, hello, certificates, tmp_path):
    """It asks in HTTP/2, all its tunnels in one connection, and its loopback rule is turned off."""
    plain, secure = web(hello), web(hello, certificates.server())
    gate = fronts.gate(rules(local("allowed.test", plain.port), local("allowed.test", secure.port)))
    for url in (f"https://allowed.test:{secure.port}/", f"http://allowed.test:{plain.port}/"):
        said = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--ignore-certificate-errors",
             f"--user-data-dir={tmp_path}/chromium", f"--proxy-server={gate.url}", "--proxy-bypass-list=<-loopback>", "--dump-dom", url],
            env=plain_environment() | {"HOME": str(tmp_path)}, capture_output=True, text=True, timeout=100)
        assert "hello from allowed.test" in said.stdout, said
    gate.logged(event="closed", port=plain.port)


# The same as on a plain listener

REFUSED = [b"CONNECT refused.test:443 HTTP/1.1\r\nHost: refused.test:443\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
           b"CONNECT 127.1:443 HTTP/1.1\r\nHost: 127.1:443\r\n\r\n", b"GET http://refused.test/ HTTP/1.1\r\nHost: refused.test\r\n\r\n",
           b"CONNECT nx.test:443 HTTP/1.1\r\nHost: nx.test:443\r\n\r\n", b"CONNECT slow.test:443 HTTP/1.1\r\nHost: slow.test:443\r\n\r\n" * 2]


def test_refusals_and_lines_are_those_of_a_plain_listener(gate, fronts):
    """The same bytes, asked in the clear and in TLS: answers and lines are alike but for numbers, times and clients' ports."""
    policy = rules('"nx.test:443"', '{host: "slow.test:443", addresses: [127.0.0.0/8]}')
    plain, secure = gate(policy), fronts.gate(policy)

    def lines(one):
        kept = ("event", "reason", "host", "port", "via", "client", "address", "inspected", "bytes_up", "bytes_down")
        return [{key: line[key] for key in kept if key in line} for line in expanded(one.lines()) if line["event"] != "policy"]

    for request in REFUSED:
        expected = plain.ask(request)
        with fronts.dial(secure) as tls:
            tls.sendall(request)
            assert answer(tls) == expected, request
    until("all lines are there", lambda: len(lines(secure)) == len(lines(plain)) == len(REFUSED))
    assert lines(secure) == lines(plain)


@pytest.fixture
def counting(upstream):
    """An upstream that answers when its client has said all, with how much that was."""
    def talk(stream):
        count = 0
        while data := stream.recv(65536):
            count += len(data)
        stream.sendall(f"all heard: {count}".encode())
    return upstream(talk)


def tcp(site, host="raw.test", more=""):
    return local(host, site.port, f", protocol: tcp{more}")


def test_a_tunnel_of_http1_half_closes(fronts, counting):
    gate = fronts.gate(rules(tcp(counting)))
    # In memory: a socket of Python's, once it said that it has no more to say, hears no more.
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=str(fronts.identity.certificate)).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with gate.dial() as sock:
        def step(do):
            while True:
                try:
                    return do()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))

        step(tls.do_handshake)
        tls.write(f"CONNECT raw.test:{counting.port} HTTP/1.1\r\nHost: raw.test:{counting.port}\r\n\r\n".encode())
        assert step(lambda: tls.read(65536)).startswith(b"HTTP/1.1 200")
        tls.write(b"x" * 300_000)
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        assert step(lambda: tls.read(65536)) == b"all heard: 300000"


# HTTP/2: each stream is a request of its own

def test_streams_carry_bytes_and_half_close(fronts, counting):
    gate = fronts.gate(rules(tcp(counting)))
    http = fronts.http2(gate)
    streams = [http.connect(f"raw.test:{counting.port}") for _ in range(5)]
    for n, stream in enumerate(streams):
        assert http.status(stream) == 200
        http.send(stream, b"y" * (100_000 * n + 1), ends=True)
    assert [http.whole(stream)[1] for stream in streams] == [f"all heard: {100_000 * n + 1}".encode() for n in range(5)]
    until("five lines", lambda: len([line for line in gate.lines() if line["event"] == "closed"]) == 5)
    assert sorted(line["bytes_up"] for line in gate.lines() if line["event"] == "closed") == [100_000 * n + 1 for n in range(5)]
    assert len({line["id"].split("-")[0] for line in gate.lines() if line["event"] == "closed"}) == 5


def test_an_upstream_that_ends_first_still_hears(fronts, upstream):
    heard = []

    def talk(stream):
        stream.sendall(b"goodbye")
        stream.shutdown(socket.SHUT_WR)
        while data := stream.recv(65536):
            heard.append(data)

    site = upstream(talk)
    gate = fronts.gate(rules(tcp(site)))
    http = fronts.http2(gate)
    stream = http.connect(f"raw.test:{site.port}")
    assert http.whole(stream)[1] == b"goodbye"
    http.send(stream, b"and you", ends=True)
    until("it is heard", lambda: b"".join(heard) == b"and you")
    gate.logged(event="closed", bytes_up=7, bytes_down=7)


def test_each_refusal_is_an_answer_on_its_stream(fronts, upstream, names):
    names.failing.add("broken.test")
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site), '"broken.test:443"', '"private.test:443"', "host.test:1") + "  deny: [denied.test:443]\n")
    http = fronts.http2(gate)
    expected = {"refused.test:443": (403, b"not_allowed"), "denied.test:443": (403, b"denied_by_rule"), "broken.test:443": (502, b"resolve_failed"),
                "private.test:443": (403, b"address_refused"), "127.1:443": (400, b"bad_request"), "no-port.test": (400, b"bad_request")}
    for target, (status, reason) in expected.items():
        stream = http.connect(target)
        head, body = http.whole(stream)
        assert (int(head[b":status"]), head[b"x-sluice-reason"]) == (status, reason), target
        assert json.loads(body)["reason"] == reason.decode()
        assert head[b"proxy-status"].startswith(b"sluice; ")
        gate.logged(reason=reason.decode())
    # The connection serves on.
    stream = http.connect(f"raw.test:{site.port}")
    http.send(stream, b"still here")
    assert http.status(stream) == 200 and http.read(stream, 10) == b"still here"


def test_a_limited_stream_hears_when_to_come_back(fronts, upstream):
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site), more="  rate_limits: [{host: raw.test, requests_per_minute: 1, burst: 2}]\n"))
    http = fronts.http2(gate)
    streams = [http.connect(f"raw.test:{site.port}") for _ in range(3)]
    assert [http.status(stream) for stream in streams] == [200, 200, 429]
    assert 1 <= int(http.heads[streams[2]][b"retry-after"]) <= 61
    gate.logged(event="limited", reason="rate_limited")


def test_passwords_are_asked_for_on_each_stream(fronts, upstream, tmp_path):
    site = upstream(echo)
    clients = f"""clients:
  - name: agent
    proxy_user: agent
    password_file: {password_file(tmp_path, "agent", "right")}
    network_policy: {{allow: [{tcp(site)}]}}
"""
    gate = fronts.gate("network_policy: {default: deny}\n" + clients)
    http = fronts.http2(gate)
    stream = http.connect(f"raw.test:{site.port}")
    assert http.status(stream) == 407 and http.heads[stream][b"proxy-authenticate"].startswith(b"Basic")
    said = basic("agent", "right").strip().split(": ")[1].encode()
    stream = http.connect(f"raw.test:{site.port}", [(b"proxy-authorization", said)])
    assert http.status(stream) == 200
    stream = http.connect(f"raw.test:{site.port}", [(b"proxy-authorization", b"Basic " + base64.b64encode(b"agent:wrong"))])
    assert http.status(stream) == 407


def test_an_inspected_target_is_inspected_inside_a_stream(fronts, gate, tmp_path, certificates):
    site = Server(certificates.server())
    inspecting = Inspecting(gate, tmp_path, certificates)
    one = fronts.gate(rules(inspecting.rule("allowed.test", site.port, ', methods: [GET], paths: ["/public/**"]')),
                      more=f'tls: {{ca: "{inspecting.folder}"}}\n')
    for kind in (HTTPS, HTTPS2):
        assert through(one, fronts, f"https://allowed.test:{site.port}/public/a", kind, inspecting.ca)[0] == 200
        status, body = through(one, fronts, f"https://allowed.test:{site.port}/private", kind, inspecting.ca)
        assert status == 403 and json.loads(body)["reason"] == "path_refused"
    assert [head[b":path"] for head in site.seen] == [b"/public/a"] * 2
    assert one.logged(event="closed", inspected=True)["via"] == "connect"
    site.close()


def test_a_refused_target_is_explained_inside_a_stream(fronts, gate, tmp_path, certificates):
    inspecting = Inspecting(gate, tmp_path, certificates)
    one = fronts.gate(rules('"other.test:443"'), more=f'tls: {{ca: "{inspecting.folder}"}}\nexplain_denials: true\n')
    for kind in (HTTPS, HTTPS2):
        status, body = through(one, fronts, "https://refused.test/", kind, inspecting.ca)
        assert status == 403 and json.loads(body)["reason"] == "not_allowed"


def test_a_client_that_resets_its_stream_ends_the_tunnel(fronts, upstream):
    ended = threading.Event()

    def talk(stream):
        stream.sendall(b"hello")
        try:
            while stream.recv(65536):
                pass
        finally:
            ended.set()

    site = upstream(talk)
    gate = fronts.gate(rules(tcp(site)))
    http = fronts.http2(gate)
    stream, other = [http.connect(f"raw.test:{site.port}") for _ in range(2)]
    assert http.read(stream, 5) == http.read(other, 5) == b"hello"
    http.h2.reset_stream(stream, 8)
    http.flush()
    assert ended.wait(DEADLINE)
    gate.logged(event="closed", bytes_down=5)
    assert len([line for line in gate.lines() if line["event"] == "closed"]) == 1


def test_an_upstream_that_resets_its_connection_is_heard_as_that(fronts, upstream):
    def talk(stream):
        stream.recv(5)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        stream.close()

    site = upstream(talk)
    gate = fronts.gate(rules(tcp(site)))
    http = fronts.http2(gate)
    stream = http.connect(f"raw.test:{site.port}")
    http.send(stream, b"hello")
    # RFC 9113 section 7: CONNECT_ERROR.
    assert http.until(lambda: http.resets.get(stream)) == 10


def test_a_client_that_goes_away_ends_all_its_tunnels(fronts, upstream):
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site)))
    before = gate.descriptors()
    http = fronts.http2(gate)
    for _ in range(20):
        assert http.status(http.connect(f"raw.test:{site.port}")) == 200
    http.tls.close()
    until("twenty lines", lambda: len([line for line in gate.lines() if line["event"] == "closed"]) == 20)
    gate.leaves_none(before)


def test_many_streams_one_behind_the_other_leave_nothing(fronts, upstream):
    """Sessions end before their streams have been read to the end, and others take their place."""
    def talk(stream):
        stream.recv(1)
        stream.sendall(b"x" * 300_000)

    site = upstream(talk)
    gate = fronts.gate(rules(tcp(site)))
    http = fronts.http2(gate)
    for turn in range(20):
        if turn == 1:
            # A loop keeps the pipes that it has borrowed once.
            until("all lines are there", lambda: len([line for line in gate.lines() if line["event"] == "closed"]) == 5)
            before = gate.descriptors()
        streams = [http.connect(f"raw.test:{site.port}") for _ in range(5)]
        for stream in streams:
            http.send(stream, b"?", ends=True)
        assert all(http.whole(stream)[1] == b"x" * 300_000 for stream in streams)
    until("a hundred lines", lambda: len([line for line in gate.lines() if line["event"] == "closed"]) == 100)
    gate.leaves_none(before + 10)
    http.tls.close()
    gate.leaves_none(before + 9)


def test_a_reload_cuts_the_stream_that_is_refused_now_and_no_other(fronts, upstream):
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site), tcp(site, "other.test")))
    http = fronts.http2(gate)
    stream, other = http.connect(f"raw.test:{site.port}"), http.connect(f"other.test:{site.port}")
    assert http.status(stream) == http.status(other) == 200
    gate.write(rules(tcp(site, "other.test")))
    gate.reload()
    assert http.until(lambda: http.resets.get(stream)) == 10
    gate.logged(event="revoked", host="raw.test")
    http.send(other, b"still here")
    assert http.read(other, 10) == b"still here"
    assert http.status(http.connect(f"raw.test:{site.port}")) == 403


def test_a_drain_lets_streams_finish(fronts, upstream):
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site)), more="timeouts: {drain: 10}\n")
    http, idle = fronts.raw(gate), fronts.raw(gate)
    http.send(http.connect(1, f"raw.test:{site.port}"))
    assert http.until(HeadersFrame, 1).fields[b":status"] == b"200"
    idle.until(SettingsFrame)
    gate.drain()
    assert http.until(GoAwayFrame).error_code == idle.until(GoAwayFrame).error_code == 0
    assert idle.read() is None
    http.send(DataFrame(1, data=b"still here").serialize())
    assert http.until(DataFrame, 1).data == b"still here"
    http.send(DataFrame(1, data=b"", flags=["END_STREAM"]).serialize())
    assert http.answer(1)[1:] == ({}, b"")
    assert gate.process.wait(DEADLINE) == 0


# Slow ends

@pytest.mark.figures
def test_a_reader_that_stands_still_stops_its_upstream_and_no_other(fronts, upstream):
    sent = []

    def talk(stream):
        kind = stream.recv(1)
        count = 0
        stream.settimeout(2)
        try:
            while kind == b"s" and count < 64 << 20:
                count += stream.send(b"x" * 65536)
        except TimeoutError:
            pass
        sent.append(count)
        stream.sendall(b"quick")

    site = upstream(talk)
    gate = fronts.gate(rules(tcp(site)))
    http = fronts.raw(gate, {4: 65535})
    http.send(http.connect(1, f"raw.test:{site.port}"), DataFrame(1, data=b"s").serialize())
    http.until(DataFrame, 1)
    before = gate.resident_kib()
    assert until("the upstream waits", lambda: sent)[0] < 16 << 20
    http.send(WindowUpdateFrame(0, window_increment=1 << 20).serialize(), http.connect(3, f"raw.test:{site.port}"), DataFrame(3, data=b"q").serialize())
    while (frame := http.until(DataFrame)).stream_id != 3:
        pass
    assert frame.data == b"quick"
    assert gate.resident_kib() - before < 4_000


@pytest.mark.figures
def test_an_upstream_that_does_not_read_stops_its_client_alone(fronts, upstream):
    held = threading.Event()

    def talk(stream):
        if stream.recv(1) == b"s":
            held.wait(DEADLINE)
        else:
            echo(stream)

    site = upstream(talk)
    gate = fronts.gate(rules(tcp(site)))
    http = fronts.http2(gate)
    slow, quick = http.connect(f"raw.test:{site.port}"), http.connect(f"raw.test:{site.port}")
    assert http.status(slow) == http.status(quick) == 200
    http.send(slow, b"s")
    before, sent = gate.resident_kib(), 0
    http.tls.settimeout(0.5)
    try:
        while sent < 64 << 20:
            room = min(http.h2.local_flow_control_window(slow), 16384)
            if room == 0:
                http.turn()
                continue
            http.h2.send_data(slow, b"x" * room)
            sent += room
            http.flush()
    except TimeoutError:
        pass
    assert sent < 16 << 20
    http.send(quick, b"q" + b"z" * 100_000)
    assert http.read(quick, 100_000) == b"z" * 100_000
    assert gate.resident_kib() - before < 4_000
    held.set()


@pytest.mark.figures
def test_two_thousand_clients_that_never_speak_cost_little_and_are_let_go(fronts):
    gate = fronts.gate(rules('"a.test:443"'), more="timeouts: {head: 3, drain: 1}\nlimits: {connections: 3000}\n")
    before, descriptors = gate.resident_kib(), gate.descriptors()
    waiting = [gate.dial() for _ in range(2000)]
    # Half of them have begun a handshake, and go no further.
    for sock in waiting[::2]:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    until("all are there", lambda: gate.descriptors() >= descriptors + 2000)
    assert gate.resident_kib() - before < 100_000
    with fronts.dial(gate) as tls:
        tls.sendall(b"GET http://refused.test/ HTTP/1.1\r\nHost: refused.test\r\n\r\n")
        assert answer(tls).startswith(b"HTTP/1.1 403")
    gate.leaves_none(descriptors)
    until("their lines", lambda: occurrences([line for line in gate.lines() if line.get("reason") == "timeout"]) == 2000)
    for sock in waiting:
        sock.close()


def test_connections_and_streams_count_under_the_limit(fronts, upstream):
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site)), more="limits: {connections: 4}\n")
    http = fronts.http2(gate)
    streams = [http.connect(f"raw.test:{site.port}") for _ in range(4)]
    assert [http.status(stream) for stream in streams] == [200, 200, 200, 429]
    assert http.heads[streams[3]][b"x-sluice-reason"] == b"too_many"
    with pytest.raises((ConnectionError, ssl.SSLError)):
        fronts.dial(gate)
    until("two lines", lambda: occurrences([line for line in gate.lines() if line.get("reason") == "too_many"]) == 2)
    http.tls.close()
    until("there is room again", lambda: len([line for line in gate.lines() if line["event"] == "closed"]) == 3)
    with fronts.dial(gate) as tls:
        tls.sendall(get("refused.test"))
        assert answer(tls).startswith(b"HTTP/1.1 403")


def test_a_connection_that_asks_nothing_is_told_to_go(fronts):
    gate = fronts.gate(rules('"a.test:443"'), more="timeouts: {head: 1, keep_alive: 1, drain: 1}\n")
    http = fronts.http2(gate)
    with pytest.raises(AssertionError, match="the connection ended"):
        http.until(lambda: False)
    assert http.hasLeft


# Malformed requests

def test_plain_http_hears_that_the_listener_speaks_tls(fronts):
    gate = fronts.gate(rules('"a.test:443"'))
    said = gate.ask(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400") and b"speaks TLS" in said
    gate.logged(event="denied", reason="bad_request")


@pytest.mark.parametrize("first", [b"\x05\x01\x00", b"\x16\x03\x01\x00\x05hello", b"\x16" * 300, b"\x00" * 100])
def test_noise_is_cut_and_written_down(fronts, first):
    gate = fronts.gate(rules('"a.test:443"'))
    with gate.dial() as sock:
        sock.sendall(first)
        sock.shutdown(socket.SHUT_WR)
        try:
            while sock.recv(4096):
                pass
        except ConnectionError:
            pass
    gate.logged(event="denied", reason="bad_request")


def test_old_tls_and_strange_protocols_are_refused(fronts):
    gate = fronts.gate(rules('"a.test:443"'))
    for version, protocols in ((ssl.TLSVersion.TLSv1_1, []), (ssl.TLSVersion.TLSv1_3, ["h3"])):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        if protocols:
            context.set_alpn_protocols(protocols)
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(gate.dial())


def test_a_renewed_certificate_is_shown_from_its_reload_on(fronts, upstream, tmp_path):
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site)))
    http = fronts.http2(gate)
    stream = http.connect(f"raw.test:{site.port}")
    assert http.status(stream) == 200
    old = fronts.identity.certificate.read_bytes()
    Identity(tmp_path, "gate")
    assert fronts.identity.certificate.read_bytes() != old
    with pytest.raises(ssl.SSLError):
        fronts.dial(gate)
    gate.reload()

    def is_new():
        try:
            fronts.dial(gate).close()
            return True
        except ssl.SSLError:
            return False

    until("its workers have it", is_new)
    http.send(stream, b"still here")
    assert http.read(stream, 10) == b"still here"
    # A certificate that does not match its key changes nothing.
    Identity(tmp_path, "other")
    fronts.identity.key.write_bytes((tmp_path / "other.key").read_bytes())
    gate.signal(signal.SIGHUP)
    until("it says so", lambda: "is not the key of the first certificate" in gate.errors.read_text())
    fronts.dial(gate).close()


def test_an_operator_sees_that_a_listener_speaks_tls(fronts, upstream, tmp_path):
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site)), listen=f", admin: {tmp_path}/admin.sock")
    http = fronts.http2(gate)
    stream = http.connect(f"raw.test:{site.port}")
    assert http.status(stream) == 200

    def ask(*arguments):
        return subprocess.run([os.environ["SLUICE"], *arguments, "--socket", f"{tmp_path}/admin.sock"], capture_output=True, text=True, timeout=DEADLINE)

    assert f"127.0.0.1:{gate.port} (connect over TLS)" in ask("status").stdout
    assert f"raw.test:{site.port}" in ask("tunnels").stdout
    tunnel = json.loads(ask("tunnels", "--json").stdout.splitlines()[0])["tunnel"]
    assert ask("close", tunnel["id"]).returncode == 0
    assert http.until(lambda: http.resets.get(stream)) == 10
    gate.logged(event="revoked", reason="shutdown")


def test_a_gate_does_not_start_with_a_key_of_another_certificate(fronts, tmp_path):
    Identity(tmp_path, "other")
    fronts.identity.key.write_bytes((tmp_path / "other.key").read_bytes())
    with pytest.raises(AssertionError, match="cannot speak TLS on 127.0.0.1:0: .*gate.key is not the key of the first certificate in"):
        fronts.gate(rules('"a.test:443"'))


def proxy_header(source):
    addresses = socket.inet_aton(source) + socket.inet_aton("192.0.2.1") + b"\x12\x34\x01\xbb"
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(addresses).to_bytes(2, "big") + addresses


def test_a_proxy_header_in_front_of_tls_says_whose_connection_it_is(fronts, upstream):
    site = upstream(echo)
    clients = f"clients:\n  - name: builder\n    source: [10.1.0.0/16]\n    network_policy: {{allow: [{tcp(site)}]}}\n"
    gate = fronts.gate("network_policy: {default: deny}\n" + clients, listen=", proxy_protocol: 127.0.0.1")
    http = fronts.raw(gate, first=proxy_header("10.1.2.3"))
    http.send(http.connect(1, f"raw.test:{site.port}"))
    assert http.until(HeadersFrame, 1).fields[b":status"] == b"200"
    other = fronts.raw(gate, first=proxy_header("10.2.2.3"))
    other.send(other.connect(1, f"raw.test:{site.port}"))
    assert other.until(HeadersFrame, 1).fields[b":status"] == b"403"
    gate.logged(event="denied", client="default")
    http.tls.close()
    gate.logged(event="closed", client="builder")
    with pytest.raises((ConnectionError, ssl.SSLError)):
        fronts.dial(gate)
    gate.logged(event="denied", reason="bad_request")


# Plain HTTP over HTTP/2

def recorded(text):
    """An upstream that says what it is told to, and remembers the requests."""
    seen = []

    def talk(stream):
        data = b""
        while b"\r\n\r\n" not in data:
            data += stream.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            while not body.endswith(b"0\r\n\r\n"):
                body += stream.recv(65536)
        elif length := re.search(rb"(?i)content-length: (\d+)", head):
            while len(body) < int(length.group(1)):
                body += stream.recv(65536)
        seen.append((head, body))
        stream.sendall(text)

    talk.seen = seen
    return talk


@pytest.mark.parametrize("text, body", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: 1\r\n\r\n", b"hello"),
    (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
])
def test_plain_requests_are_asked_in_http1_and_answered_in_http2(fronts, upstream, text, body):
    talk = recorded(text)
    site = upstream(talk)
    gate = fronts.gate(rules(local("plain.test", site.port)))
    http = fronts.http2(gate)
    url = f"http://plain.test:{site.port}/a?b=c"
    first = http.get(url, more=[(b"x-mine", b"yes"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"te", b"trailers")])
    head, got = http.whole(first)
    assert got == body and int(head[b":status"]) in (200, 204)
    assert not {b"transfer-encoding", b"connection"} & set(head)
    second = http.get(url, "POST", ends=False)
    http.send(second, b"p" * 50_000)
    http.send(second, b"q" * 10, ends=True)
    assert http.whole(second)[1] == body
    third = http.get(url, "POST", [(b"content-length", b"4")], ends=False)
    http.send(third, b"four", ends=True)
    assert http.whole(third)[1] == body
    (one, _), (_, chunks), (sized, four) = talk.seen
    assert one.startswith(b"GET /a?b=c HTTP/1.1\r\n") and b"\r\nx-mine: yes" in one and b"\r\ncookie: a=1; b=2" in one
    assert b"\r\nte:" not in one.lower() and b"p" * 100 in chunks and b"q" * 10 in chunks
    assert b"content-length: 4" in sized.lower() and four == b"four"
    until("three lines", lambda: len([line for line in gate.lines() if line["event"] == "closed"]) == 3)
    assert {line["via"] for line in gate.lines() if line["event"] == "closed"} == {"http"}


def test_plain_requests_that_are_refused_say_why(fronts, upstream):
    site = upstream(echo)
    gate = fronts.gate(rules(local("plain.test", site.port, ", methods: [GET]")))
    http = fronts.http2(gate)
    for url, method, expected in ((f"http://plain.test:{site.port}/", "DELETE", (403, b"method_refused")),
                                  ("http://refused.test/", "GET", (403, b"not_allowed")), (f"https://plain.test:{site.port}/", "GET", (400, b"bad_request"))):
        head, body = http.whole(http.get(url, method))
        assert (int(head[b":status"]), head[b"x-sluice-reason"]) == expected
        assert json.loads(body)["reason"] == expected[1].decode()
        gate.logged(event="denied", reason=expected[1].decode())
    assert site.connections == 0


@pytest.mark.parametrize("answer,body", [(b"Content-Length: 0\r\n\r\n", b""), (b"Content-Length: 2\r\n\r\nno", b"no")], ids=["empty", "body"])
def test_an_answer_before_the_request_is_whole_is_heard_and_the_rest_unwanted(fronts, upstream, answer, body):
    site = upstream(lambda stream: (stream.recv(65536), stream.sendall(b"HTTP/1.1 413 Too Much\r\n" + answer)))
    http = fronts.http2(fronts.gate(rules(local("allowed.test", site.port))))
    stream = http.get(f"http://allowed.test:{site.port}/", "POST", [(b"content-length", b"5")], ends=False)
    http.until(lambda: stream in http.resets)
    assert http.heads[stream][b":status"] == b"413" and http.data[stream] == body
    assert stream in http.ended and http.resets[stream] == 0  # NO_ERROR


def test_an_answer_that_breaks_off_is_reset(fronts, upstream):
    for text in (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"):
        site = upstream(recorded(text))
        gate = fronts.gate(rules(local("plain.test", site.port)))
        http = fronts.http2(gate)
        stream = http.get(f"http://plain.test:{site.port}/")
        http.whole(stream)
        assert stream in http.resets and stream not in http.ended


def websocket(stream, accept=None):
    """An upstream that takes an upgrade and echoes bytes."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += stream.recv(65536)
    key = re.search(rb"(?i)sec-websocket-key: (\S+)", data).group(1)
    right = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    assert b"GET /chat HTTP/1.1" in data and b"sec-websocket-version: 13" in data.lower()
    stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + (accept or right)
                   + b"\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
    echo(stream)


def upgrade(http, port, named=b"websocket", scheme=b"http"):
    return http.open([(b":method", b"CONNECT"), (b":protocol", named), (b":scheme", scheme), (b":path", b"/chat"),
                      (b":authority", f"plain.test:{port}".encode()), (b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"chat")])


def test_a_websocket_opens_by_extended_connect(fronts, upstream):
    site = upstream(websocket)
    gate = fronts.gate(rules(local("plain.test", site.port)))
    http = fronts.http2(gate)
    # RFC 8441 section 3: SETTINGS_ENABLE_CONNECT_PROTOCOL.
    http.until(lambda: http.settings.get(8) == 1)
    stream = upgrade(http, site.port)
    assert http.status(stream) == 200 and http.heads[stream][b"sec-websocket-protocol"] == b"chat"
    assert b"sec-websocket-accept" not in http.heads[stream]
    http.send(stream, b"frames" * 1000)
    assert http.read(stream, 6000) == b"frames" * 1000
    http.send(stream, b"", ends=True)
    http.until(lambda: stream in http.ended)
    gate.logged(event="closed", via="http", host="plain.test")


def test_what_is_no_websocket_is_not_taken_for_one(fronts, upstream):
    site, liar = upstream(websocket), upstream(lambda stream: websocket(stream, b"bm90IHJlYWQ="))
    gate = fronts.gate(rules(local("plain.test", site.port), local("plain.test", liar.port)))
    http = fronts.http2(gate)
    http.until(lambda: http.settings.get(8) == 1)
    assert http.status(upgrade(http, site.port, b"connect-udp")) == 400
    assert http.status(upgrade(http, site.port, scheme=b"https")) == 400
    assert http.status(upgrade(http, 1)) == 403
    assert site.connections == 0
    assert http.status(upgrade(http, liar.port)) == "reset"


# Attacks

def floods(fronts, upstream):
    site = upstream(echo)
    gate = fronts.gate(rules(tcp(site)))
    return site, gate, fronts.raw(gate)


def ends(http, gate):
    while (frame := http.read()) is not None:
        if isinstance(frame, GoAwayFrame) and frame.error_code:
            break
    gate.logged(event="denied", reason="bad_request")


def press(http, *pieces):
    try:
        for _ in range(100):
            http.send(*pieces)
    except OSError:
        pass


@pytest.mark.parametrize("kind", ["ping", "settings", "empty data"])
def test_a_flood_of_frames_that_carry_nothing_ends_the_connection(fronts, upstream, kind):
    site, gate, http = floods(fronts, upstream)
    http.send(http.connect(1, f"raw.test:{site.port}"))
    frame = {"ping": PingFrame(0, opaque_data=b"12345678"), "settings": SettingsFrame(0, settings={4: 65535}),
             "empty data": DataFrame(1)}[kind].serialize()
    press(http, frame * 50)
    ends(http, gate)


def test_a_rapid_reset_ends_the_connection(fronts, upstream):
    site, gate, http = floods(fronts, upstream)
    before = gate.descriptors()
    pieces = [http.connect(stream, f"raw.test:{site.port}") + RstStreamFrame(stream, error_code=8).serialize() for stream in range(1, 2001, 2)]
    try:
        http.send(*pieces)
    except OSError:
        pass
    ends(http, gate)
    assert site.connections < 1000
    http.tls.close()
    gate.leaves_none(before)


def test_a_continuation_flood_ends_the_connection(fronts, upstream):
    site, gate, http = floods(fronts, upstream)
    http.send(HeadersFrame(1, data=http.encoder.encode([(b":method", b"CONNECT")])).serialize())
    press(http, ContinuationFrame(1, data=b"").serialize() * 20)
    while http.read() is not None:
        pass
    gate.logged(event="denied", reason="bad_request")


def test_more_streams_than_were_granted_are_refused(fronts, upstream):
    site, gate, http = floods(fronts, upstream)
    http.send(*[http.connect(stream, f"raw.test:{site.port}") for stream in range(1, 401, 2)])
    assert http.until(RstStreamFrame).error_code == 7
    assert until("the others arrive", lambda: site.connections == 100)


def test_a_head_above_the_limit_is_refused(fronts, upstream):
    site, gate, http = floods(fronts, upstream)
    encoded = http.encoder.encode([(b":method", b"CONNECT"), (b":authority", f"raw.test:{site.port}".encode())]
                                  + [(f"x-{n}".encode(), b"v" * 1000) for n in range(80)])
    pieces = [encoded[at:at + 16000] for at in range(0, len(encoded), 16000)]
    http.send(HeadersFrame(1, data=pieces[0]).serialize(), *[ContinuationFrame(1, data=piece).serialize() for piece in pieces[1:-1]],
              ContinuationFrame(1, data=pieces[-1], flags=["END_HEADERS"]).serialize())
    assert http.answer(1)[0] == 431
    gate.logged(event="denied", reason="bad_request")
    assert site.connections == 0


@pytest.mark.parametrize("fields", [
    [(b":authority", b"raw.test:{} HTTP/1.1")], [(b":authority", b"raw.test:{}\r\nX: y")], [(b":authority", b"raw.test:{}"), (b"x", b"a\r\nb: c")],
    [(b":authority", b"raw.test:{}"), (b":path", b"/")], [(b":authority", b"raw.test:{}"), (b"host", b"other.test:{}")],
    [(b":authority", b"raw.test:{}"), (b"transfer-encoding", b"chunked")], [(b":authority", b"raw.test:{}"), (b"content-length", b"5")],
    [(b":authority", b"raw.test:{}"), (b"host", b"raw.test:{}"), (b"host", b"raw.test:{}")], [(b":authority", b"")], [],
])
def test_a_connect_that_can_be_read_in_two_ways_goes_nowhere(fronts, upstream, fields):
    site, gate, http = floods(fronts, upstream)
    whole = [(b":method", b"CONNECT")] + [(name, value.replace(b"{}", str(site.port).encode())) for name, value in fields]
    http.send(http.ask(1, whole, ends=False))
    assert http.answer(1)[0] in (None, 400)
    assert site.connections == 0


def test_what_follows_a_refused_connect_is_no_request(fronts, upstream):
    site, gate, http = floods(fronts, upstream)
    smuggled = f"CONNECT raw.test:{site.port} HTTP/1.1\r\nHost: raw.test:{site.port}\r\n\r\n".encode()
    http.send(http.connect(1, "refused.test:443"), DataFrame(1, data=smuggled).serialize())
    assert http.answer(1)[0] == 403
    http.send(http.ask(3, [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"refused.test"), (b":path", b"/"), (b"content-length", b"0")], ends=False),
              DataFrame(3, data=smuggled, flags=["END_STREAM"]).serialize())
    assert http.answer(3)[0] in (None, 403)
    http.send(http.connect(5, "refused.test:443", ends=True))
    assert http.answer(5)[0] == 403
    assert site.connections == 0
