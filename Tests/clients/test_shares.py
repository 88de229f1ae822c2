"""One client against the others: each client has a share of every shared resource, and a closed connection holds nothing."""
import socket
import struct
import threading
import time

import pytest

from dnswire import NXDOMAIN, TCP, UDP, parse, query
from gate import DNS, Names, answer, expanded, local, rules, until

CLIENTS = """clients:
  - {name: one, source: [127.0.0.2], network_policy: {allow: ["*.slow.test:443"]}}
  - {name: two, source: [127.0.0.3], network_policy: {allow: ["*.slow.test:443"]}}
  - {name: three, source: [127.0.0.4], network_policy: {allow: ["*.slow.test:443"]}}
"""
ONE, TWO, THREE = "127.0.0.2", "127.0.0.3", "127.0.0.4"


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def request(target):
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


@pytest.mark.parametrize("limit", ["", '  rate_limits:\n    - {host: "*", requests_per_minute: 1, on_limit: pace}\n'])
def test_a_reset_right_behind_a_request_is_heard(limit, admin, names):
    names.is_silent = True
    one = admin(rules('"*.slow.test:443"', more=limit), more="limits: {connections: 400}")
    before = one.gate.descriptors()
    began = time.monotonic()
    for number in range(300):
        sock = one.gate.dial()
        sock.sendall(request(f"n{number}.slow.test:443"))
        reset(sock)
    until("no place is held", lambda: one.status()["connections"] == 0)
    # A look-up of one of them would take 14 s to fail.
    assert time.monotonic() - began < 6
    one.gate.leaves_none(before)
    assert {line["event"] for line in one.gate.lines() if line["event"] != "policy"} <= {"closed", "limited"}


class Flood(threading.Thread):
    """A client that asks for new names and resets each connection at once, 1,000 a second as far as the machine can."""

    def __init__(self, gate, source=None):
        super().__init__(daemon=True)
        self.gate, self.source, self.count, self.is_over = gate, source, 0, False
        self.start()

    def run(self):
        began = time.monotonic()
        while not self.is_over:
            wait = began + self.count / 1000 - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                sock = self.gate.dial(self.source)
                sock.sendall(request(f"n{self.count}-{self.source}.slow.test:443"))
                reset(sock)
            except OSError:
                pass
            self.count += 1

    def end(self):
        self.is_over = True
        self.join()


@pytest.mark.figures
@pytest.mark.parametrize("more, source", [(CLIENTS, ONE), ("", None)])
def test_look_ups_that_never_answer_hold_up_nobody(more, source, admin, names):
    one = admin(rules('"*.slow.test:443"'), more=more)
    names.is_silent = True
    before, kib = one.gate.descriptors(), one.gate.resident_kib()
    flood, slowest = Flood(one.gate, source), 0
    end = time.monotonic() + 20
    while time.monotonic() < end:
        began = time.monotonic()
        assert one.gate.ask(request("refused.test:443"), TWO).startswith(b"HTTP/1.1 403 ")
        slowest = max(slowest, time.monotonic() - began)
        assert slowest < 0.5, f"after {flood.count} requests"
    flood.end()
    print(f"{flood.count} requests, slowest answer {slowest:.3f} s, "
          f"memory {kib} -> {one.gate.resident_kib()} KiB")
    until("no place is held", lambda: one.status()["connections"] == 0)
    one.gate.leaves_none(before)
    assert one.gate.resident_kib() < kib + 40_000


def test_one_client_has_its_share_of_connections(gate, names):
    one = gate(rules('"*.slow.test:443"'), more=CLIENTS + "limits: {connections: 200}\n")
    idle = [one.dial(ONE) for _ in range(200)]
    # Those beyond its share have been told.
    until("the first client is refused", lambda: len([line for line in expanded(one.lines()) if line["event"] == "limited"]) >= 100)
    assert {line["client"] for line in one.lines() if line["event"] == "limited"} == {"one"}
    more = [one.dial(TWO) for _ in range(200)]
    assert one.ask(request("refused.test:443"), THREE).startswith(b"HTTP/1.1 403 ")
    assert one.ask(request("refused.test:443"), "127.0.0.5").startswith(b"HTTP/1.1 403 ")
    for sock in idle + more:
        sock.close()


def test_one_address_of_an_only_client_has_its_share_of_connections(gate, names):
    one = gate(rules('"*.slow.test:443"'), more="limits: {connections: 200}")
    idle = [one.dial(ONE) for _ in range(200)]
    until("the first address is refused", lambda: len([line for line in expanded(one.lines()) if line["event"] == "limited"]) >= 50)
    assert one.ask(request("refused.test:443"), TWO).startswith(b"HTTP/1.1 403 ")
    for sock in idle:
        sock.close()
    until("all have gone", lambda: one.ask(request("refused.test:443"), ONE).startswith(b"HTTP/1.1 403 "))


def test_one_client_has_its_share_of_look_ups(gate, names):
    one = gate(rules(local("*.slow.test", 443)), more=CLIENTS.replace('"*.slow.test:443"', local("*.slow.test", 443)))
    names.is_silent = True
    waiting = [one.dial(ONE) for _ in range(300)]
    for number, sock in enumerate(waiting):
        sock.sendall(request(f"n{number}.slow.test:443"))
    until("too many look-ups are refused", lambda: [line for line in one.lines() if line.get("reason") == "too_many"])
    # The refused ones say so; the others wait still, and hold up nobody.
    refused = [line for line in one.lines() if line.get("reason") == "too_many"]
    assert {line["client"] for line in refused} == {"one"} and {line["event"] for line in refused} == {"limited"}
    names.is_silent = False
    for source in (TWO, THREE):
        answer = one.ask(request("other.slow.test:443"), source)
        assert answer.startswith(b"HTTP/1.1 502 ") and b"connect_failed" in answer, answer
    for sock in waiting:
        sock.close()


def test_two_of_three_clients_leave_the_third_synthetic_names(gate):
    clients = CLIENTS.replace("*.slow.test:443", "*.wild.test:443")
    one = gate(rules('"*.wild.test:443"'), more=clients + "limits: {synthetic_names: 64}\n", flags=DNS)
    for source in (ONE, TWO):
        asker = UDP(one.dns_port, source=source)
        answered = [bool(asker.ask(f"n{number}.{source}.wild.test").addresses) for number in range(100)]
        assert answered[0] and not answered[-1]
    for source in (THREE, "127.0.0.5"):
        assert UDP(one.dns_port, source=source).ask("third.wild.test").addresses


def test_a_reload_lets_look_ups_go_on(gate, names):
    one = gate(rules(local("*.slow.test", 443)))
    names.is_silent = True
    sock = one.dial()
    sock.sendall(request("name.slow.test:443"))
    until("the name is asked for", lambda: names.asked)
    one.reload()
    names.is_silent = False
    answered = answer(sock)
    assert answered.startswith(b"HTTP/1.1 502 ") and b"connect_failed" in answered, answered


def test_a_reload_with_other_servers_asks_those(gate, names):
    one = gate(rules(local("*.slow.test", 443)))
    names.is_silent = True
    sock = one.dial()
    sock.sendall(request("name.slow.test:443"))
    until("the name is asked for", lambda: names.asked)
    other = Names()
    one.names = other
    one.write(rules(local("*.slow.test", 443)))
    one.reload()
    answered = answer(sock)
    assert answered.startswith(b"HTTP/1.1 502 ") and b"connect_failed" in answered, answered
    assert set(other.asked) == {"name.slow.test"}
    other.close()


def test_a_reload_judges_waiting_questions_anew(gate, names):
    real = "\ndns: {answers: real}"
    one = gate(rules(local("*.slow.test", 443), local("*.wild.test", 443)), more=real, flags=DNS)
    names.is_silent = True
    refused, kept = UDP(one.dns_port), UDP(one.dns_port)
    refused.socket.send(query("name.wild.test"))
    kept.socket.send(query("name.slow.test"))
    until("both are asked for", lambda: len(set(names.asked)) == 2)
    one.write(rules(local("*.slow.test", 443)))
    one.reload()
    assert parse(refused.socket.recv(65536)).code == NXDOMAIN
    names.is_silent = False
    assert parse(kept.socket.recv(65536)).addresses == ["127.0.0.1"]


def test_what_a_broken_stream_asked_for_is_looked_up_no_longer(admin, names):
    one = admin(rules(local("*.slow.test", 443)), more="\ndns: {answers: real}", flags=DNS)
    names.is_silent = True
    before = one.gate.descriptors()
    stream = TCP(one.gate.dns_port)
    stream.send(*[query(f"n{number}.slow.test") for number in range(40)])
    until("the names are asked for", lambda: len(set(names.asked)) == 40)
    began = time.monotonic()
    reset(stream.socket)
    until("no look-up is under way", lambda: "\nsluice_resolver_lookups 0\n" in one.run("metrics").stdout)
    # The look-ups would fail after 14 s, and are answered after 6 s.
    assert time.monotonic() - began < 4
    one.gate.leaves_none(before)
