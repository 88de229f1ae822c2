"""Clients of a TLS listener that never read their response: they hold a connection for a bounded time, and count until then."""
import os
import socket
import ssl

import pytest
from hyperframe.frame import RstStreamFrame

from admin import Admin
from fronts import Fronts, RawProxy
from gate import DEADLINE, get, local, rules, until

PLACES = 6


@pytest.fixture
def fronts(gate, tmp_path):
    return Fronts(gate, tmp_path)


@pytest.fixture
def site(fronts, upstream, tmp_path):
    """A gate with few places, and an upstream that says more than any kernel keeps."""
    def talk(stream):
        stream.recv(65536)
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n" + b"x" * 100_000)

    site = upstream(talk)
    site.gate = fronts.gate(rules(local("raw.test", site.port)), listen=f", admin: {tmp_path}/admin.sock",
                            more=f"timeouts: {{idle: 2, head: 2, keep_alive: 2}}\nlimits: {{connections: {PLACES}}}\n")
    site.admin = Admin(site.gate, f"{tmp_path}/admin.sock")
    return site


def narrow(fronts, gate, protocols):
    """A connection of which little fits into the kernels."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(DEADLINE)
    sock.connect(("127.0.0.1", gate.port))
    context = ssl.create_default_context(cafile=str(fronts.identity.certificate))
    context.set_alpn_protocols(protocols)
    return context.wrap_socket(sock, server_hostname="localhost")


def sockets(gate):
    """TCP connections of its TLS listener, as the kernel has them."""
    with open(f"/proc/{gate.process.pid}/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[1].endswith(f":{gate.port:04X}") and row[3] != "0A" and row[9] != "0" for row in rows)


def all_sockets(gate):
    """Its descriptors that are sockets: pairs too, but no pipe that a loop keeps for the next stream."""
    folder = f"/proc/{gate.process.pid}/fd"
    links = []
    for name in os.listdir(folder):
        try:
            links.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            pass
    return sum(link.startswith("socket:") for link in links)


def counted_until_gone(site, before):
    """For as long as a connection has a descriptor, `status` counts it; and it has none for ever."""
    def gone():
        # Socket and count come and go in one turn of the loop, and are looked at one after the other.
        until("each connection that is held is counted", lambda: site.admin.status()["connections"] >= sockets(site.gate))
        return sockets(site.gate) == 0

    until("they are let go", gone)
    until("no socket is left behind", lambda: all_sockets(site.gate) <= before)
    assert site.admin.status()["connections"] == 0


@pytest.mark.parametrize("says_end", [True, False])
def test_pipelined_requests_whose_answers_nobody_takes(fronts, site, says_end):
    before = all_sockets(site.gate)
    clients = [narrow(fronts, site.gate, ["http/1.1"]) for _ in range(PLACES)]
    for tls in clients:
        tls.settimeout(0.3)
        try:
            tls.sendall(get("refused.test") * 5800)
            if says_end:
                tls.unwrap()
        except (TimeoutError, OSError):
            pass
    counted_until_gone(site, before)


def test_streams_whose_connection_is_not_read(fronts, site):
    before = all_sockets(site.gate)
    tls = narrow(fronts, site.gate, ["h2"])
    http = RawProxy(tls, "", {4: 1 << 20})
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", f"raw.test:{site.port}".encode())]
    for stream in range(1, 2 * PLACES, 2):
        http.send(http.ask(stream, fields))
    until("all are asked", lambda: site.connections == PLACES - 1)
    counted_until_gone(site, before)


def test_a_connection_that_is_told_to_go_and_does_not_hear_it(fronts, site):
    """Refusals for as long as it is read; then nothing that it asks is waited for."""
    before = all_sockets(site.gate)
    tls = narrow(fronts, site.gate, ["h2"])
    http = RawProxy(tls, "", {})
    tls.settimeout(0.5)
    try:
        for stream in range(1, 40_001, 2):
            http.send(http.connect(stream, "refused.test:443", ends=True))
    except (TimeoutError, OSError):
        pass
    counted_until_gone(site, before)


def test_streams_with_shut_windows_are_reset_and_no_other(fronts, site):
    before = all_sockets(site.gate)
    http = fronts.raw(site.gate, {4: 0})
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", f"raw.test:{site.port}".encode())]
    http.send(http.ask(1, fields), http.connect(3, "refused.test:443", ends=True))
    assert {http.until(RstStreamFrame).stream_id for _ in range(2)} == {1, 3}
    until("their places are free", lambda: site.admin.status()["connections"] == 1)
    http.send(http.connect(5, f"raw.test:{site.port}"))
    assert http.answer_head(5) == 200
    http.tls.close()
    until("no socket is left behind", lambda: all_sockets(site.gate) <= before)
