"""Every kind of refusal: no packet goes to the upstream, and no question to a name server that the verdict did not allow."""
import itertools
import re
import socket
from pathlib import Path

import pytest

from gate import answer, basic, client_hello, echo, get, local, password_file, read_question, rules, until, with_ech

DENIALS = Path(__file__).parents[2] / "docs/denials.md"
# Reasons of the closed set that are no refusal before a byte goes out.
NOT_HERE = {
    "connect_failed": "the upstream was asked, and did not answer",
    "method_refused": "of inspected targets", "path_refused": "of inspected targets", "upstream_untrusted": "of inspected targets",
    "content_refused": "of inspected targets", "secret_refused": "of inspected targets",
    "credential_failed": "of inspected targets", "authority_mismatch": "of inspected targets",
    "not_approved": "of approvals",
}
DENIED = "  deny: ['*.denied.test:*']\n"
KINDS = {}


def refused(reason, lookups=()):
    """A way to be refused: it answers what the client heard. `lookups` are the names that its verdicts allowed."""

    def keep(way):
        KINDS[f"{reason}: {way.__name__.replace('_', ' ')}"] = (reason, set(lookups), way)
        return way

    return keep


class Scene:
    """An upstream at `port` that no packet may reach, one at `other` that is allowed, and a gate in front of both."""

    def __init__(self, request):
        self.fixture = request.getfixturevalue
        self.port = self.fixture("upstream")(echo).port
        self.other = self.fixture("web")(self.fixture("hello")).port
        self.names = self.fixture("names")
        self.packets = self.fixture("packets")(self.port, self.names.port)
        self.gate = self.expected_opens = self.held = None

    def start(self, policy, **options):
        self.gate = self.fixture("gate")(policy, **options)

    def allow(self, host="allowed.test", limits="", **options):
        """Both upstreams under one rule, so in one bucket."""
        rule = f"{{host: '{host}', ports: [{self.port}, {self.other}], addresses: [127.0.0.0/8]}}"
        self.start(rules(rule, more=limits), **options)

    def connect(self, host, **options):
        sock, got = self.gate.connect(f"{host}:{self.port}", **options)
        sock.close()
        return got

    def hold(self, host):
        """A tunnel to the other upstream."""
        self.held, got = self.gate.connect(f"{host}:{self.other}")
        assert got.startswith(b"HTTP/1.1 200 "), got

    def is_read(self):
        """Waits until the gate has read all that was sent to it: it has answered what came later."""
        assert b"denied_by_rule" in self.connect("later.denied.test")

    def end(self):
        if self.held:
            self.held.close()
        self.gate.stop()


@pytest.fixture
def scene(request):
    return Scene(request)


# MARK: not allowed


@refused("not_allowed")
def a_connect(scene):
    scene.allow()
    return scene.connect("refused.test")


@refused("not_allowed")
def a_plain_request(scene):
    scene.allow()
    return scene.gate.ask(get(f"refused.test:{scene.port}"))


@refused("not_allowed")
def another_port_of_an_allowed_name(scene):
    scene.start(rules(local("allowed.test", scene.other)))
    return scene.connect("allowed.test")


@refused("not_allowed")
def the_address_of_an_allowed_name(scene):
    scene.allow()
    return scene.connect("127.0.0.1")


@refused("not_allowed")
def an_ipv6_address(scene):
    scene.allow()
    return scene.connect("[::1]")


@refused("not_allowed")
def a_name_under_no_wildcard(scene):
    scene.allow("*.wild.test")
    return scene.connect("wild.test")


@refused("not_allowed", lookups=["allowed.test"])
def a_second_request_on_a_kept_connection(scene):
    scene.allow()
    with scene.gate.dial() as sock:
        sock.sendall(get(f"allowed.test:{scene.other}"))
        assert b"hello from allowed.test" in answer(sock)
        sock.sendall(get(f"refused.test:{scene.port}"))
        return answer(sock)


@refused("not_allowed", lookups=["allowed.test"])
def a_second_request_in_one_segment(scene):
    scene.allow()
    with scene.gate.dial() as sock:
        sock.sendall(get(f"allowed.test:{scene.other}") + get(f"refused.test:{scene.port}"))
        got = b""
        while b"not_allowed" not in got.partition(b"hello from allowed.test")[2]:
            got += sock.recv(65536) or pytest.fail(f"an end after {got}")
        return got


@refused("not_allowed")
def a_client_that_lacks_the_rule(scene):
    rule = local("allowed.test", scene.port)
    scene.start(rules(rule), more="clients: [{name: near, source: [127.0.0.2], network_policy: {default: deny}}]")
    return scene.connect("allowed.test", source="127.0.0.2")


def with_a_user(scene, may):
    passwords = password_file(scene.fixture("tmp_path"), "agent", "secret")
    rule = local("allowed.test", scene.port) if may else local("allowed.test", scene.other)
    scene.start("network_policy: {default: deny}",
                more=f"clients: [{{name: agent, proxy_user: agent, password_file: {passwords}, network_policy: {{allow: [{rule}]}}}}]")


@refused("not_allowed")
def a_user_that_lacks_the_rule(scene):
    with_a_user(scene, may=False)
    return scene.connect("allowed.test", more=basic("agent", "secret"))


def unproven(name, more):
    def way(scene):
        with_a_user(scene, may=True)
        got = scene.connect("allowed.test", more=more)
        assert got.startswith(b"HTTP/1.1 407 ") and b"policy_line" not in got, got
        return got

    way.__name__ = name
    return refused("not_authenticated")(way)


unproven("no_password", "")
unproven("a_wrong_password", basic("agent", "wrong"))
unproven("an_empty_password", basic("agent", ""))
unproven("another_user", basic("other", "secret"))
unproven("another_scheme", "Proxy-Authorization: Bearer c2VjcmV0\r\n")


@refused("not_allowed", lookups=["first.wild.test"])
def a_reload_while_it_is_paced(scene):
    scene.allow("*.wild.test", limits=DENIED + '  rate_limits: [{host: "*", requests_per_minute: 2, burst: 1, on_limit: pace}]\n')
    scene.hold("first.wild.test")
    with scene.gate.dial() as sock:
        target = f"second.wild.test:{scene.port}"
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        scene.is_read()
        scene.gate.write("network_policy: {default: deny}")
        scene.gate.reload()
        return answer(sock)


# MARK: denied, expired, limited


@refused("denied_by_rule")
def deny_wins_over_allow(scene):
    scene.allow(limits=f"  deny: ['allowed.test:{scene.port}']\n")
    return scene.connect("allowed.test")


@refused("denied_by_rule")
def deny_under_default_allow(scene):
    scene.start(f"network_policy: {{default: allow, deny: ['*.test:{scene.port}']}}")
    return scene.connect("allowed.test")


@refused("expired")
def a_rule_of_the_past(scene):
    scene.start(rules(local("old.test", scene.port, ", expires: 2020-01-01T00:00:00Z")))
    return scene.connect("old.test")


def with_one_token(scene):
    scene.allow("*.wild.test", limits='  rate_limits: [{host: "*", requests_per_minute: 1}]\n')
    scene.hold("first.wild.test")


@refused("rate_limited", lookups=["first.wild.test"])
def a_connect_without_a_token(scene):
    with_one_token(scene)
    return scene.connect("second.wild.test")


@refused("rate_limited", lookups=["first.wild.test"])
def a_plain_request_without_a_token(scene):
    with_one_token(scene)
    return scene.gate.ask(get(f"second.wild.test:{scene.port}"))


@refused("too_many", lookups=["first.wild.test"])
def concurrent(scene):
    scene.allow("*.wild.test", limits='  rate_limits: [{host: "*", concurrent: 1}]\n')
    scene.hold("first.wild.test")
    return scene.connect("second.wild.test")


@refused("too_many", lookups=["allowed.test"])
def connections(scene):
    scene.allow(more="limits: {connections: 1}")
    scene.hold("allowed.test")
    return scene.connect("allowed.test")


# MARK: addresses


@refused("address_refused", lookups=["private.test"])
def a_name_that_resolves_to_loopback(scene):
    scene.start(rules(f"'private.test:{scene.port}'"))
    return scene.connect("private.test")


@refused("address_refused")
def a_name_of_etc_hosts_on_loopback(scene):
    scene.start(rules(f"'localhost:{scene.port}'"))
    return scene.connect("localhost")


@refused("address_refused", lookups=["private.test"])
def an_address_outside_of_those_that_the_rule_lists(scene):
    scene.start(rules(f"{{host: 'private.test:{scene.port}', addresses: [10.0.0.0/8, 127.0.0.2/32]}}"))
    return scene.connect("private.test")


@refused("resolve_failed", lookups=["nx.test"])
def a_name_without_an_address(scene):
    scene.start(rules(local("nx.test", scene.port)))
    return scene.connect("nx.test")


def to_the_gate_itself(scene, host):
    scene.start(rules(local(host, "*")))
    scene.port, scene.expected_opens = scene.gate.port, 1
    scene.packets.watch(scene.port)
    return scene.connect(host)


@refused("loop")
def the_address_of_the_gate(scene):
    return to_the_gate_itself(scene, "127.0.0.1")


@refused("loop", lookups=["gate.test"])
def a_name_of_the_gate(scene):
    return to_the_gate_itself(scene, "gate.test")


# MARK: the gate's own state


@refused("timeout")
def a_head_that_never_ends(scene):
    scene.allow(more="timeouts: {head: 1, drain: 1}")
    return scene.gate.ask(f"CONNECT allowed.test:{scene.port} HTTP/1.1\r\nHost: allowed.test\r\n".encode())


@refused("shutdown")
def draining(scene):
    scene.allow(limits=DENIED, more="timeouts: {drain: 10}")
    with scene.gate.dial() as sock:
        target = f"allowed.test:{scene.port}"
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\n".encode())
        scene.is_read()
        scene.gate.drain()
        sock.sendall(f"Host: {target}\r\n\r\n".encode())
        return answer(sock)


@refused("log_unwritable")
def a_full_disk(scene):
    disk = scene.fixture("small_disk")
    scene.allow(log=disk.log)
    disk.fill()

    # The page that the log has begun still has room: lines of other refusals use it up, of a name each, as repeats share one.
    names = itertools.count()

    def rather_refused():
        return b"log_unwritable" in scene.gate.ask(get(f"refused{next(names)}.test:{scene.port}"))

    until("the log cannot be written", rather_refused)
    got = scene.connect("allowed.test")
    disk.free()
    return got


# MARK: bad requests

H = "Host: allowed.test:{port}\r\n"
BAD = {
    "bare LF": "GET http://allowed.test:{port}/ HTTP/1.1\nHost: allowed.test:{port}\n\n",
    "obs-fold": "GET http://allowed.test:{port}/ HTTP/1.1\r\n" + H + "X: a\r\n b\r\n\r\n",
    "NUL": "GET http://allowed.test:{port}/ HTTP/1.1\r\n" + H + "X: a\0b\r\n\r\n",
    "two Hosts": "GET http://allowed.test:{port}/ HTTP/1.1\r\n" + H + H + "\r\n",
    "two lengths": "POST http://allowed.test:{port}/ HTTP/1.1\r\n" + H + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks":
        "POST http://allowed.test:{port}/ HTTP/1.1\r\n" + H + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": "POST http://allowed.test:{port}/ HTTP/1.1\r\n" + H + "Transfer-Encoding: gzip\r\n\r\n",
    "space before colon": "GET http://allowed.test:{port}/ HTTP/1.1\r\n" + H + "X : a\r\n\r\n",
    "body on CONNECT": "CONNECT allowed.test:{port} HTTP/1.1\r\n" + H + "Content-Length: 5\r\n\r\nhello",
    "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "origin-form": "GET / HTTP/1.1\r\n" + H + "\r\n",
    "no Host": "GET http://allowed.test:{port}/ HTTP/1.1\r\n\r\n",
    "long head": "GET http://allowed.test:{port}/ HTTP/1.1\r\n" + H + "X: " + "a" * 70000 + "\r\n\r\n",
    "userinfo": "CONNECT a@allowed.test:{port} HTTP/1.1\r\n" + H + "\r\n",
    "127.1": "CONNECT 127.1:{port} HTTP/1.1\r\nHost: 127.1:{port}\r\n\r\n",
    "0x7f.1": "CONNECT 0x7f.1:{port} HTTP/1.1\r\nHost: 0x7f.1:{port}\r\n\r\n",
    "2130706433": "CONNECT 2130706433:{port} HTTP/1.1\r\nHost: 2130706433:{port}\r\n\r\n",
    "port 0": "CONNECT allowed.test:0 HTTP/1.1\r\nHost: allowed.test:0\r\n\r\n",
    "port 65536": "CONNECT allowed.test:65536 HTTP/1.1\r\nHost: allowed.test:65536\r\n\r\n",
}


def bad_request(name, text):
    def way(scene):
        # The address that 127.1 would mean is allowed.
        scene.start(rules(local("allowed.test", scene.port), local("127.0.0.1", scene.port)))
        got = scene.gate.ask(text.format(port=scene.port).encode())
        assert got.startswith(b"HTTP/1.1 431 " if name == "long head" else b"HTTP/1.1 400 "), got
        assert scene.gate.logged(event="denied", reason="bad_request")["detail"]
        return got

    way.__name__ = name
    refused("bad_request")(way)


for bad in BAD.items():
    bad_request(*bad)


@refused("bad_request")
def an_end_inside_the_head(scene):
    scene.allow()
    with scene.gate.dial() as sock:
        sock.sendall(f"CONNECT allowed.test:{scene.port} HTTP/1.1\r\nHost: allowed.test:{scene.port}\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        return answer(sock)


# MARK: the promise


@pytest.mark.parametrize("kind", KINDS)
def test_no_packet_goes_out_before_the_verdict(kind, scene):
    reason, lookups, way = KINDS[kind]
    got = way(scene)
    assert f"X-Sluice-Reason: {reason}\r\n".encode() in got, got
    scene.gate.logged(reason=reason)
    # Nothing can follow once the gate has ended.
    scene.end()
    if scene.expected_opens is None:
        assert scene.packets.sent(socket.IPPROTO_TCP, scene.port) == []
    else:
        opens = [one for one in scene.packets.sent(socket.IPPROTO_TCP, scene.port) if one.opens]
        assert len(opens) == scene.expected_opens, "the client's own connection alone"
    asked = [one.payload for port in [scene.names.port] for one in scene.packets.sent(socket.IPPROTO_UDP, port)]
    assert {read_question(query)[0].lower() for query in asked} == lookups
    assert scene.packets.sent(socket.IPPROTO_TCP, scene.names.port) == []


def test_an_allowed_tunnel_is_seen_by_the_count(scene):
    scene.allow()
    sock, got = scene.gate.connect(f"allowed.test:{scene.port}")
    assert got.startswith(b"HTTP/1.1 200 ")
    sock.sendall(b"ping")
    assert sock.recv(10) == b"ping"
    sock.close()
    scene.end()
    packets = scene.packets.sent(socket.IPPROTO_TCP, scene.port)
    assert [one.opens for one in packets].count(True) == 1 and packets[0].opens
    assert b"".join(one.payload for one in packets) == b"ping"
    assert {read_question(one.payload)[0] for one in scene.packets.sent(socket.IPPROTO_UDP, scene.names.port)} == {"allowed.test"}


# MARK: tunnels that lie: the TCP connection may stand, no byte goes out on it

HELLO = client_hello("allowed.test")
LIES = {
    "another name": ("tls", client_hello("other.test"), "sni_mismatch"),
    "another name, auto": ("auto", client_hello("other.test"), "sni_mismatch"),
    "no name": ("tls", client_hello(None), "no_sni"),
    "no name, auto": ("auto", client_hello(None), "no_sni"),
    "ech": ("tls, ech: refuse", with_ech(HELLO), "ech_refused"),
    "ech, auto": ("auto, ech: refuse", with_ech(HELLO), "ech_refused"),
    "ssh": ("tls", b"SSH-2.0-OpenSSH\r\n", "not_tls"),
    "an alert first, auto": ("auto", b"\x15\3\1\0\2\1\x5a" + client_hello("other.test"), "not_tls"),
    "change_cipher_spec first, auto": ("auto", b"\x14\3\3\0\1\1" + client_hello("other.test"), "not_tls"),
    "an empty record first, auto": ("auto", b"\x16\3\1\0\0" + client_hello("other.test"), "bad_request"),
    "a record of another version, auto": ("auto", b"\x16\2\0" + client_hello("other.test")[3:], "not_tls"),
    "the hello of SSL 2, auto": ("auto", bytes.fromhex("802e0100020015000000104c0cf3d4"), "not_tls"),
    "http": ("tls", b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n", "not_tls"),
    "broken hello": ("tls", HELLO[:9] + b"\2\0" + HELLO[11:], "bad_request"),
    "half a hello": ("tls", HELLO[:40], "timeout"),
    "half a hello, auto": ("auto", HELLO[:40], "timeout"),
}


def behind_the_200(one, target, opening):
    sock, got = one.connect(target)
    assert got.startswith(b"HTTP/1.1 200 ")
    sock.sendall(opening)
    while sock.recv(4096):
        pass


def in_single_bytes(one, target, opening):
    sock, _ = one.connect(target)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for index in range(len(opening)):
            sock.sendall(opening[index : index + 1])
        while sock.recv(4096):
            pass
    except (ConnectionResetError, BrokenPipeError):
        pass


def in_one_segment_with_the_connect(one, target, opening):
    with one.dial() as sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode() + opening)
        while sock.recv(4096):
            pass


WAYS = [behind_the_200, in_single_bytes, in_one_segment_with_the_connect]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
@pytest.mark.parametrize("lie", LIES)
def test_a_tunnel_that_lies_is_cut_before_a_byte_goes_out(lie, way, scene):
    protocol, opening, reason = LIES[lie]
    scene.start(rules(local("allowed.test", scene.port, f", protocol: {protocol}")), more="timeouts: {hello: 1, drain: 1}")
    way(scene.gate, f"allowed.test:{scene.port}", opening)
    assert scene.gate.logged(reason=reason)["event"] == "denied"
    scene.end()
    packets = scene.packets.sent(socket.IPPROTO_TCP, scene.port)
    assert packets[0].opens
    assert [one.payload for one in packets if one.payload] == []


def test_every_reason_that_can_refuse_has_its_kind():
    known = set()
    for row in re.findall(r"^\| (`[^|]*) \|", DENIALS.read_text(), re.MULTILINE):
        known |= set(re.findall(r"`(\w+)`", row))
    tried = {reason for reason, _, _ in KINDS.values()} | {reason for _, _, reason in LIES.values()}
    assert len(known) == 26 and tried | set(NOT_HERE) == known and not tried & set(NOT_HERE)
