"""Refusals of the gate: their text, and that no packet goes to an upstream or a DNS server."""
import json
import socket

import pytest

from gate import answer, client_hello, echo, get, local, occurrences, rules, until

@pytest.mark.parametrize("target,reason", [
    ("other.test:{port}", "not_allowed"), ("allowed.test:1", "not_allowed"), ("denied.wild.test:{port}", "denied_by_rule"),
    ("old.test:{port}", "expired"), ("wild.test:{port}", "not_allowed"), ("127.0.0.1:{port}", "not_allowed"),
    ("[::1]:{port}", "not_allowed")])
def test_a_refusal_is_heard_and_asks_for_nothing(target, reason, gate, upstream, names):
    server = upstream(echo)
    port = server.port
    one = gate(rules(
        local("allowed.test", port), local("*.wild.test", port), local("old.test", port, ", expires: 2020-01-01T00:00:00Z"),
        more=f"  deny: [denied.wild.test:{port}]\n"))
    sock, got = one.connect(target.format(port=port))
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 403 Denied by egress policy: {reason}\r\n".encode()), got
    assert f"X-Sluice-Reason: {reason}".encode() in head and b"\r\nProxy-Status: " in head
    told = json.loads(body)
    assert told["reason"] == reason and told["target"] == target.format(port=port)
    assert sock.recv(1) == b""
    assert server.connections == 0 and names.asked == []
    line = one.logged(event="denied", reason=reason)
    assert line["seq"] == 2 and line["port"] == int(told["target"].rsplit(":", 1)[1])


def test_faults_of_the_upstream_are_502(gate, upstream, names):
    server = upstream(echo)
    free = server.port
    server.shutdown()
    server.server_close()
    one = gate(rules(local("allowed.test", free), local("nx.test", free), f'"private.test:{free}"'))
    assert one.connect(f"allowed.test:{free}")[1].startswith(b"HTTP/1.1 502 ")
    one.logged(event="failed", reason="connect_failed", address="127.0.0.1")
    assert one.connect(f"nx.test:{free}")[1].startswith(b"HTTP/1.1 502 ")
    one.logged(event="failed", reason="resolve_failed")
    assert one.connect(f"private.test:{free}")[1].startswith(b"HTTP/1.1 403 ")
    one.logged(event="denied", reason="address_refused", address="127.0.0.1")


def test_report_mode_lets_out_and_says_what_it_would_refuse(gate, web, hello):
    site = web(hello)
    one = gate(f"network_policy:\n  mode: report\n  allow:\n    - {local('other.test', '*')}\n")
    target = f"other.test:{site.port}"
    assert b" 200 " in one.ask(get(target))
    refused = f"unlisted.test:{site.port}"
    one.ask(get(refused))
    assert one.logged(host="unlisted.test", would_deny=True)["reason"] == "not_allowed"


def test_a_hello_in_single_bytes_is_allowed(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port, ", protocol: tls")))
    sock, head = one.connect(f"allowed.test:{server.port}")
    hello = client_hello("allowed.test")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for index in range(len(hello)):
        sock.sendall(hello[index : index + 1])
    got = b""
    while len(got) < len(hello):
        got += sock.recv(65536)
    assert got == hello


def test_bytes_behind_a_connect_wait_for_the_verdict(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)))
    with one.dial() as sock:
        target = f"allowed.test:{server.port}"
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly".encode())
        got = answer(sock)
        while not got.endswith(b"early"):
            more = sock.recv(100)
            assert more, got
            got += more
    assert one.ask(f"CONNECT no.test:{server.port} HTTP/1.1\r\nHost: no.test:{server.port}\r\n\r\nearly".encode()).startswith(b"HTTP/1.1 403")
    assert server.connections == 1


def test_each_request_on_a_connection_is_judged_again(gate, web, hello):
    site = web(hello)
    one = gate(rules(local("allowed.test", site.port), local("also.test", site.port)))
    with one.dial() as sock:
        for host, status in (("allowed.test", 200), ("refused.test", 403), ("also.test", 200), ("allowed.test", 200)):
            target = f"{host}:{site.port}"
            sock.sendall(f"GET http://{target}/x HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic eDp5\r\nConnection: X-Nominated\r\n"
                         "X-Nominated: hop\r\nUpgrade: h2c\r\nX-Kept: yes\r\n\r\n".encode())
            got = answer(sock)
            assert got.startswith(f"HTTP/1.1 {status} ".encode()), got
            if status == 200:
                assert got.endswith(f"hello from {target}".encode())
                assert b"X-Hop" not in got
    assert [line for line, _ in site.seen] == ["GET /x HTTP/1.1"] * 3
    for _, fields in site.seen:
        lower = {key.lower(): value for key, value in fields.items()}
        assert lower["x-kept"] == "yes"
        assert not {"proxy-authorization", "x-nominated", "upgrade"} & set(lower)
    until("one line a request", lambda: occurrences([x for x in one.lines() if x["event"] in ("closed", "denied")]) == 4)
