"""The DNS responder: answers, refusals, and that a refused name causes no packet to any server."""
import concurrent.futures
import itertools
import json
import ipaddress
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from dnswire import (A, AAAA, ANY, FILTERED, FORMERR, HTTPS, MX, NOERROR, NOTIMP, NULL, NXDOMAIN, PTR, REFUSED, SERVFAIL,
                     SRV, SVCB, TCP, TXT, UDP, encoded, framed, parse, query)
from gate import DNS, MORE, echo, expanded, local, rules, until

POLICY = rules("allowed.test:443", '"*.wild.test:[80, 443]"', more='  deny:\n    - "bad.wild.test:*"\n    - "half.wild.test:80"\n')
NETWORK4, NETWORK6 = ipaddress.ip_network("198.18.0.0/15"), ipaddress.ip_network("fd73:6c75:6963::/64")
REAL = "\ndns: {answers: real, ttl: 30}"


def dns_lines(one):
    return expanded(line for line in one.lines() if line.get("via") == "dns")


def await_lines(one, count):
    until(f"{count} lines", lambda: len(dns_lines(one)) >= count)
    return dns_lines(one)


def clients(one):
    """A question over UDP, and over TCP."""
    return UDP(one.dns_port), TCP(one.dns_port)


# Refusals

@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_name_leaves_one_line_and_no_query(workers, gate, names):
    one = gate(POLICY, workers=workers, flags=DNS)
    asked = 0
    for client in clients(one):
        for kind in (A, AAAA, TXT, HTTPS, ANY):
            for name in ("refused.test", "wild.test", "bad.wild.test", "Allowed.test.evil.example"):
                reply = client.ask(name, kind)
                assert reply.code == NXDOMAIN and not reply.answers
                reason = "denied_by_rule" if name == "bad.wild.test" else "not_allowed"
                assert reply.error == (FILTERED, f"egress policy: {reason}")
                asked += 1
    lines = await_lines(one, asked)
    # Each question left its line, and no second one comes: the line of the last question is the last.
    UDP(one.dns_port).ask("last.test")
    lines = await_lines(one, asked + 1)
    assert len(lines) == asked + 1 and lines[-1]["host"] == "last.test"
    assert names.asked == []
    for line in lines:
        assert line["event"] == "denied" and line["client"] == "default" and line["policy"]
        assert "port" not in line and "id" not in line and "bytes_up" not in line
    denied = one.logged(host="bad.wild.test")
    assert denied["reason"] == "denied_by_rule" and denied["rule"].split("policy.yaml:")[1].startswith("6:")
    assert one.logged(host="allowed.test.evil.example")["reason"] == "not_allowed"


def test_an_expired_rule_answers_no_more(gate):
    one = gate(rules("{host: gone.test:443, expires: 2020-01-01T00:00:00Z}"), flags=DNS)
    assert UDP(one.dns_port).ask("gone.test").error == (FILTERED, "egress policy: expired")
    assert one.logged(host="gone.test", reason="expired")["rule"].split("policy.yaml:")[1].startswith("3:")


@pytest.mark.parametrize("name", ["", "a b.test", "1.2.3.4", "-a.test", "\x00\xff\".test", "a..b" + "c" * 50, "x\n{}.test"])
def test_what_is_no_host_name_is_refused_and_cannot_break_the_log(name, gate, names):
    one = gate(rules('"*:443"'), flags=DNS)
    for client in clients(one):
        client_reply = client.ask(name)
        assert client_reply.code == (NXDOMAIN if name != "a..b" + "c" * 50 else NOERROR)
    if "a..b" not in name:
        lines = await_lines(one, 2)
        assert [line["reason"] for line in lines] == ["not_allowed"] * 2 and "host" not in lines[0]
    assert names.asked == []


def test_a_dot_within_a_label_is_no_separator(gate):
    one = gate(POLICY, flags=DNS)
    message = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x0callowed.test\0" + struct.pack("!HH", A, 1)
    assert parse(UDP(one.dns_port).exchange(message)).code == NXDOMAIN


# Synthetic answers

@pytest.mark.parametrize("workers", [1, 2])
def test_one_synthetic_address_a_name_and_family_and_nobody_is_asked(workers, gate, names):
    one = gate(POLICY, workers=workers, flags=DNS)
    seen = {}
    for round in range(3):
        for name in ("allowed.test", "a.wild.test", "b.a.wild.test", "half.wild.test"):
            # New sockets reach each of the workers.
            for client in clients(one):
                for kind, network in ((A, NETWORK4), (AAAA, NETWORK6)):
                    reply = client.ask(name, kind)
                    assert reply.code == NOERROR and [ttl for _, ttl, _ in reply.answers] == [60]
                    (address,) = reply.addresses
                    assert ipaddress.ip_address(address) in network
                    assert seen.setdefault((name, kind), address) == address
                client.close()
    assert len(set(seen.values())) == 8
    assert names.asked == [] and dns_lines(one) == []


def test_the_name_of_a_synthetic_address_is_told(gate, names):
    one = gate(POLICY, flags=DNS)
    client = UDP(one.dns_port)
    for kind in (A, AAAA):
        (address,) = client.ask("a.wild.test", kind).addresses
        reply = client.ask(ipaddress.ip_address(address).reverse_pointer, PTR)
        assert [(kind, text) for kind, _, text in reply.answers] == [(PTR, "a.wild.test")]
    assert client.ask("allowed.test", PTR).code == NOERROR
    for address in ("198.18.9.9", "127.0.0.1", "93.184.216.34", "fd73:6c75:6963::99", "::1"):
        reply = client.ask(ipaddress.ip_address(address).reverse_pointer, PTR)
        assert reply.code == NXDOMAIN and reply.error[0] == FILTERED
    assert len(await_lines(one, 5)) == 5 and names.asked == []


def test_a_client_learns_no_name_that_it_may_not_ask_for(gate):
    more = "clients:\n  - {name: other, source: [127.0.0.2], network_policy: {allow: [\"other.test:443\"]}}\n"
    one = gate(POLICY, more=more, flags=DNS)
    mine, other = UDP(one.dns_port), UDP(one.dns_port, source="127.0.0.2")
    (address,) = mine.ask("allowed.test").addresses
    assert other.ask("allowed.test").code == NXDOMAIN
    assert other.ask(ipaddress.ip_address(address).reverse_pointer, PTR).code == NXDOMAIN
    assert other.ask("other.test").addresses and mine.ask("other.test").code == NXDOMAIN
    assert one.logged(host="allowed.test")["client"] == "other"
    assert one.logged(host="other.test")["client"] == "default"


def test_a_client_that_needs_a_password_gets_what_the_fallback_allows(gate, tmp_path):
    hashed = subprocess.run(["openssl", "passwd", "-6", "secret"], check=True, capture_output=True, text=True).stdout
    (tmp_path / "passwords").write_text(f"agent:{hashed}")
    more = (f"clients:\n  - {{name: agent, proxy_user: agent, password_file: {tmp_path}/passwords, "
            "network_policy: {allow: [\"secret.test:443\"]}}\n")
    one = gate(POLICY, more=more, flags=DNS)
    client = UDP(one.dns_port)
    assert client.ask("secret.test").code == NXDOMAIN and client.ask("allowed.test").addresses


@pytest.mark.parametrize("kind", [HTTPS, SVCB, TXT, ANY, MX, SRV, NULL, 252, 48, 65280])
@pytest.mark.parametrize("answers", ["synthetic", "real"])
def test_other_types_have_no_data(kind, answers, gate, names):
    one = gate(POLICY, more=f"\ndns: {{answers: {answers}}}", flags=DNS)
    for client in clients(one):
        reply = client.ask("allowed.test", kind)
        assert reply.code == NOERROR and not reply.answers and not reply.error
    assert names.asked == []


def test_the_case_of_the_question_is_kept(gate):
    one = gate(POLICY, flags=DNS)
    (address,) = UDP(one.dns_port).ask("allowed.test").addresses
    for _ in range(20):
        name = "".join(random.choice((letter.upper(), letter)) for letter in "allowed.test")
        # `ask` compares the question byte for byte.
        assert UDP(one.dns_port).ask(name).addresses == [address]


def test_edns_is_answered_to_those_who_speak_it(gate):
    one = gate(POLICY, flags=DNS)
    client = UDP(one.dns_port)
    for name in ("allowed.test", "refused.test"):
        with_edns, without = client.ask(name), client.ask(name, edns=False)
        assert with_edns.has_edns and not without.has_edns and not without.error
        assert with_edns.code == without.code
    version1 = query("allowed.test")[:-6] + b"\0\1\0\0\0\0"
    reply = client.exchange(version1)
    assert len(reply) == 23 and reply[3] & 15 == 0 and reply[17] == 1, "BADVERS, in an OPT record of its own"


@pytest.mark.parametrize("listen, served", [("127.0.0.1:0", A), ("[::1]:0", AAAA)])
def test_a_family_that_no_transparent_listener_serves_has_no_data(listen, served, gate):
    one = gate(POLICY, flags=(*DNS, "--listen-transparent", listen))
    client = UDP(one.dns_port)
    for kind in (A, AAAA):
        reply = client.ask("allowed.test", kind)
        assert reply.code == NOERROR and bool(reply.addresses) == (kind == served)


def test_a_full_table_fails_and_says_so_once(gate):
    one = gate(rules('"*.wild.test:443"'), more="\nlimits: {synthetic_names: 16}", flags=DNS)
    client = UDP(one.dns_port)
    known = {client.ask(f"n{number}.wild.test").addresses[0] for number in range(16)}
    assert len(known) == 16
    for number in range(16, 20):
        assert client.ask(f"n{number}.wild.test").code == SERVFAIL
    assert client.ask("n3.wild.test").addresses[0] in known
    assert len(await_lines(one, 4)) == 4 and dns_lines(one)[0]["event"] == "limited" and dns_lines(one)[0]["reason"] == "too_many"
    assert one.errors.read_text().count("synthetic addresses, or one client's share of them, are in use") == 1


def test_report_mode_answers_and_says_what_enforce_would_do(gate):
    one = gate(rules("allowed.test:443", more="  mode: report\n"), flags=DNS)
    client = UDP(one.dns_port)
    assert client.ask("refused.test").addresses and client.ask("allowed.test").addresses
    line = one.logged(host="refused.test")
    assert line["would_deny"] is True and line["event"] == "denied" and line["reason"] == "not_allowed"
    assert len(dns_lines(one)) == 1


# TCP

def test_queries_may_follow_each_other_on_a_connection(gate):
    one = gate(POLICY, flags=DNS)
    client = TCP(one.dns_port)
    # More replies than the socket takes while nobody reads them: 3,000 of them, and none is lost.
    count = 3000
    messages = [query(f"n{number}.wild.test" if number % 2 else "refused.test", number=number) for number in range(count)]
    sender = threading.Thread(target=client.send, args=messages)
    sender.start()
    replies = {}
    for _ in range(count):
        reply = parse(client.receive())
        replies[reply.number] = reply
    sender.join()
    assert len(replies) == count
    assert all(reply.code == (NOERROR if number % 2 else NXDOMAIN) for number, reply in replies.items())
    assert all(reply.question == encoded(f"n{number}.wild.test") for number, reply in replies.items() if number % 2)
    assert len(await_lines(one, count // 2)) == count // 2


def test_a_query_may_come_byte_by_byte_and_the_end_is_carried(gate):
    one = gate(POLICY, flags=DNS)
    client = TCP(one.dns_port)
    for byte in framed(query("allowed.test")) * 2:
        client.socket.sendall(bytes([byte]))
    client.socket.shutdown(socket.SHUT_WR)
    assert parse(client.receive()).addresses == parse(client.receive()).addresses != []
    assert client.socket.recv(1) == b""


def test_a_query_and_the_end_may_come_at_once(gate):
    one = gate(POLICY, flags=DNS)
    client = TCP(one.dns_port)
    assert client.ask("allowed.test").addresses
    one.signal(signal.SIGSTOP)
    client.send(query("allowed.test"), query("refused.test"))
    client.socket.shutdown(socket.SHUT_WR)
    one.signal(signal.SIGCONT)
    started = time.monotonic()
    assert [parse(client.receive()).code for _ in range(2)] == [NOERROR, NXDOMAIN]
    # Not only when the time for the next query is over.
    assert ends(client) and time.monotonic() - started < 5


def ends(client):
    try:
        return client.socket.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("junk", [b"\xff\xff" + b"x" * 100, b"\0\0", b"\0\4abcd", b"GET / HTTP/1.1\r\n\r\n",
                                  framed(b"\0\1\x80\0\0\1\0\0\0\0\0\0")])
def test_what_is_no_query_ends_its_connection(junk, gate):
    one = gate(POLICY, flags=DNS)
    client = TCP(one.dns_port)
    client.socket.sendall(junk)
    assert ends(client)
    assert TCP(one.dns_port).ask("allowed.test").addresses


@pytest.mark.figures
def test_a_slow_client_and_one_that_reads_nothing_are_let_go(gate):
    one = gate(POLICY, more="timeouts: {head: 1, drain: 1}", flags=DNS)
    idle, slow, deaf = (TCP(one.dns_port) for _ in range(3))
    slow.socket.sendall(framed(query("allowed.test"))[:20])
    deaf.socket.setblocking(False)
    sent, started = 0, time.monotonic()
    try:
        while time.monotonic() - started < 15:
            if select.select([], [deaf.socket], [], 0.2)[1]:
                sent += deaf.socket.send(framed(query("refused.test")) * 100)
            elif sent and time.monotonic() - started > 5:
                break
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert ends(idle) and ends(slow)
    assert one.resident_kib() < 100_000
    assert TCP(one.dns_port).ask("allowed.test").addresses


def test_streams_count_as_connections(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)), more="limits: {connections: 3}", flags=DNS)
    streams = [TCP(one.dns_port) for _ in range(3)]
    assert all(stream.ask("allowed.test").addresses for stream in streams)
    assert one.connect(f"allowed.test:{server.port}")[1].startswith(b"HTTP/1.1 429 ")
    assert ends(TCP(one.dns_port))
    one.logged(via="dns", event="limited", reason="too_many")
    streams.pop().close()
    until("the place is free", lambda: one.connect(f"allowed.test:{server.port}")[1].startswith(b"HTTP/1.1 200 "))


def test_a_drain_closes_dns_at_once(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)), more="timeouts: {drain: 20}", flags=DNS)
    tunnel, _ = one.connect(f"allowed.test:{server.port}")
    stream, datagrams = clients(one)[::-1]
    assert stream.ask("allowed.test").addresses and datagrams.ask("allowed.test").addresses
    one.signal(signal.SIGTERM)
    assert ends(stream)
    # The socket is gone, and the kernel says so.
    with pytest.raises(ConnectionRefusedError):
        for _ in range(50):
            datagrams.exchange(query("allowed.test"))
    tunnel.sendall(b"still")
    assert tunnel.recv(10) == b"still"
    tunnel.close()
    assert one.process.wait(10) == 0


def test_a_drain_answers_what_waits(gate, names):
    one = gate(POLICY, more=REAL, flags=DNS)
    names.is_silent = True
    datagrams, stream = clients(one)
    datagrams.socket.send(query("allowed.test"))
    stream.send(query("allowed.test"))
    until("both wait", lambda: len(names.asked) >= 2)
    # Both are one look-up; that the stream's query has been read is told by the answer to the next.
    assert stream.ask("refused.test").code == NXDOMAIN
    one.signal(signal.SIGTERM)
    assert parse(datagrams.socket.recv(65536)).code == parse(stream.receive()).code == SERVFAIL
    assert ends(stream)


# Malformed

def hostile(message):
    """Messages near a good one: cut short, with counts and lengths that lie, with names that point at themselves."""
    for end in range(len(message)):
        yield message[:end]
    for at in range(4, 12):
        for value in (0, 1, 2, 3, 0x7F, 0xFF):
            yield message[:at] + bytes([value]) + message[at + 1:]
    for at in range(12, len(message)):
        for value in (0, 0x3F, 0x40, 0x80, 0xC0, 0xFF):
            yield message[:at] + bytes([value]) + message[at + 1:]
    for pointer in (0, 12, 13, 0x3FFF):
        yield message[:12] + struct.pack("!H", 0xC000 | pointer) + message[26:]
    yield message + b"\0"
    yield message[:12] + b"\x3f" + b"a" * 63 + b"\0\0\1\0\1"
    yield message[:12] + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1"
    yield message * 30
    for opcode in range(1, 16):
        yield message[:2] + bytes([opcode << 3 | 1]) + message[3:]
    generator = random.Random(1)
    for _ in range(500):
        yield generator.randbytes(generator.randrange(0, 200))


def test_nothing_malformed_ends_it_or_is_answered_at_length(gate, names):
    one = gate(POLICY, flags=DNS)
    client = UDP(one.dns_port, timeout=0.05)
    pid, count = one.process.pid, 0
    for message in hostile(query("allowed.test")):
        client.socket.send(message)
        count += 1
        if count % 50 == 0:
            until("all are taken", lambda: UDP(one.dns_port).ask("allowed.test").addresses)
    # Random bytes that form a query are answered like any query; other bytes get a header or nothing.
    client.socket.setblocking(False)
    try:
        while True:
            assert len(client.socket.recv(65536)) <= 12 + 180
    except BlockingIOError:
        pass
    assert one.process.pid == pid and one.process.poll() is None and names.asked == []
    # One by one where the size has to be told: no reply is three times its question.
    answered = 0
    for message in hostile(query("allowed.test")):
        if not is_malformed(message):
            continue
        single = UDP(one.dns_port, timeout=0.002)
        try:
            reply = single.exchange(message)
            answered += 1
            assert len(reply) <= 3 * len(message) and reply[3] & 15 in (FORMERR, NOTIMP, REFUSED, 0)
        except TimeoutError:
            pass
        single.close()
    assert answered > 100


def is_malformed(message):
    """By the counts and lengths alone; whatever else these messages are, they are well-formed."""
    if len(message) < 12 or message[2] & 0x80:
        return True
    if message[2] >> 3 & 15 or message[2] & 2 or struct.unpack("!HHH", message[4:10]) != (1, 0, 0):
        return True
    at = 12
    while at < len(message) and message[at]:
        if message[at] > 63:
            return True
        at += 1 + message[at]
    at += 5
    for _ in range(struct.unpack("!H", message[10:12])[0]):
        if at + 11 > len(message):
            return True
        at += 11 + struct.unpack("!H", message[at + 9:at + 11])[0] if message[at] == 0 else 10_000
    return at != len(message)


def test_another_class_is_refused_and_a_reply_is_not_answered(gate):
    one = gate(POLICY, flags=DNS)
    client = UDP(one.dns_port, timeout=0.3)
    chaos = query("version.bind", TXT, edns=False)[:-2] + b"\0\3"
    assert client.exchange(chaos)[3] & 15 == REFUSED
    assert one.logged(via="dns", reason="bad_request")
    with pytest.raises(TimeoutError):
        client.exchange(query("allowed.test", flags=0x8180))
    with pytest.raises(TimeoutError):
        client.exchange(b"x" * 5000)


# Floods

@pytest.mark.figures
@pytest.mark.parametrize("under", ["refused.test", "wild.test"])
def test_10000_random_labels_leave_memory_bounded(under, gate, names):
    one = gate(rules('"*.wild.test:443"'), more="limits: {synthetic_names: 1000}", flags=DNS)
    client = UDP(one.dns_port)
    client.ask(f"warm.{under}")
    before = one.resident_kib()
    codes = []
    for number in range(0, 10_000, 50):
        for each in range(50):
            client.socket.send(query(f"{random.randbytes(20).hex()}-{number + each}.{under}"))
        codes += [parse(client.socket.recv(65536)).code for _ in range(50)]
    assert set(codes) == ({NXDOMAIN} if under == "refused.test" else {NOERROR, SERVFAIL})
    assert one.resident_kib() - before < 8_000, "KiB"
    assert UDP(one.dns_port).ask(f"warm.{under}").code == codes[0]
    assert names.asked == []
    await_lines(one, 9_000)


def test_2000_queries_at_once_get_the_right_answers(gate):
    one = gate(POLICY, workers=2, flags=DNS)

    def ask(number):
        name = f"n{number % 100}.wild.test" if number % 4 else "refused.test"
        client = TCP(one.dns_port) if number % 5 == 0 else UDP(one.dns_port)
        reply = client.ask(name, AAAA if number % 3 else A)
        client.close()
        return name, number % 3, reply

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        replies = list(pool.map(ask, range(2000)))
    index = {}
    for name, kind, reply in replies:
        if name == "refused.test":
            assert reply.code == NXDOMAIN
            continue
        (address,) = reply.addresses
        here = int(ipaddress.ip_address(address)) - int((NETWORK6 if kind else NETWORK4).network_address)
        assert index.setdefault(name, here) == here
    assert len(set(index.values())) == len(index) == 75
    assert len(await_lines(one, 500)) == 500


# Real answers

SCREENED = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "::1", "fe80::1", "0.0.0.0"]


@pytest.mark.parametrize("address", SCREENED)
def test_a_real_answer_is_screened(address, gate, names):
    one = gate(POLICY, more=REAL, flags=DNS)
    names.addresses["allowed.test"] = [address]
    for client in clients(one):
        for kind in (A, AAAA):
            reply = client.ask("allowed.test", kind)
            assert not reply.answers
        asked = AAAA if ":" in address else A
        reply = client.ask("allowed.test", asked)
        assert reply.code == NXDOMAIN and reply.error == (FILTERED, "egress policy: address_refused")
    line = one.logged(reason="address_refused")
    assert line["address"] == address and line["host"] == "allowed.test" and line["rule"].split(":")[-2] == "3"


def test_what_is_good_of_a_real_answer_is_handed_out(gate, names):
    one = gate(POLICY, more=REAL, flags=DNS)
    names.addresses["allowed.test"] = ["10.0.0.1", "93.184.216.34", "2606:2800:220:1::34", "::1"]
    names.addresses["four.wild.test"] = ["93.184.216.34"]
    names.addresses["mixed.wild.test"] = ["127.0.0.1", "2606:2800:220:1::34"]
    for client in clients(one):
        reply = client.ask("allowed.test")
        assert reply.addresses == ["93.184.216.34"] and reply.answers[0][1] == 30
        assert client.ask("allowed.test", AAAA).addresses == ["2606:2800:220:1::34"]
        assert client.ask("four.wild.test", AAAA).code == NOERROR
        # NXDOMAIN for A would hide the AAAA.
        assert client.ask("mixed.wild.test").code == NOERROR
        assert client.ask("mixed.wild.test", AAAA).addresses == ["2606:2800:220:1::34"]
        assert client.ask("refused.test").code == NXDOMAIN
        assert client.ask("34.216.184.93.in-addr.arpa", PTR).code == NXDOMAIN
    assert set(name.lower() for name in names.asked) == {"allowed.test", "four.wild.test", "mixed.wild.test"}


@pytest.mark.parametrize("count, fits", [(17, True), (60, True), (200, False)])
def test_all_addresses_of_a_name_are_told(count, fits, gate, names):
    one = gate(POLICY, more=REAL, flags=DNS)
    names.addresses["many.wild.test"] = [f"93.184.{number // 250}.{number % 250 + 1}" for number in range(count)]
    reply = UDP(one.dns_port).ask("many.wild.test")
    assert reply.is_truncated != fits
    if fits:
        assert sorted(reply.addresses) == sorted(names.addresses["many.wild.test"])
    reply = TCP(one.dns_port).ask("many.wild.test")
    assert sorted(reply.addresses) == sorted(names.addresses["many.wild.test"]) and not reply.is_truncated


SERVICE = struct.pack("!HHH", 1, 2, 389) + encoded("ldap.wild.test")


@pytest.mark.parametrize("answers", ["synthetic", "real"])
def test_records_are_told_where_a_rule_says_so(answers, gate, names):
    policy = rules('{host: "*.wild.test:443", dns: {types: [SRV, TXT]}}', '{host: "one.test:443", dns: {types: TXT}}',
                   "allowed.test:443", more='  deny:\n    - "bad.wild.test:*"\n')
    one = gate(policy, more=f"\ndns: {{answers: {answers}}}", flags=DNS)
    texts = [b"\x05hello", b"\x03two\x05parts"]
    # The second name of a compressed record points to the question.
    names.records = {("_ldap._tcp.wild.test", SRV): [SERVICE, struct.pack("!HHH", 3, 4, 636) + b"\x01b\xc0\x17"],
                     ("one.test", TXT): texts, ("one.test", SRV): [SERVICE], ("allowed.test", TXT): texts,
                     ("bad.wild.test", TXT): texts, ("broken.wild.test", TXT): [b"\x09short"],
                     ("big.wild.test", TXT): [b"\xff" + bytes([65 + number]) * 255 for number in range(10)]}
    for client in clients(one):
        got = client.ask("_ldap._tcp.wild.test", SRV)
        expected = struct.pack("!HHH", 3, 4, 636) + encoded("b.wild.test")
        assert [text for _, _, text in got.answers] == [SERVICE, expected] and {kind for kind, _, _ in got.answers} == {SRV}
        assert [text for _, _, text in client.ask("one.test", TXT).answers] == texts
        for name, kind in (("one.test", SRV), ("allowed.test", TXT), ("one.test", MX), ("broken.wild.test", TXT), ("none.wild.test", SRV)):
            reply = client.ask(name, kind)
            assert reply.code == NOERROR and not reply.answers, (name, kind)
        assert client.ask("bad.wild.test", TXT).code == NXDOMAIN
        assert client.ask("nx.wild.test", TXT).code == NXDOMAIN
    assert ("allowed.test" in names.asked, "bad.wild.test" in names.asked) == (False, False)
    assert UDP(one.dns_port).ask("big.wild.test", TXT).is_truncated
    assert len(TCP(one.dns_port).ask("big.wild.test", TXT).answers) == 10


def test_addresses_of_a_rule_hold_for_real_answers(gate, names):
    policy = rules('{host: "allowed.test:443", addresses: [10.1.0.0/16]}', '{host: "*.test:5432", addresses: [10.2.0.0/16]}')
    one = gate(policy, more=REAL, flags=DNS)
    names.addresses["allowed.test"] = ["10.1.0.1", "10.2.0.1", "10.3.0.1", "93.184.216.34"]
    assert UDP(one.dns_port).ask("allowed.test").addresses == ["10.1.0.1", "10.2.0.1"]


def test_a_name_that_cannot_be_resolved_fails(gate, names):
    one = gate(POLICY, more=REAL, flags=DNS)
    for client in clients(one):
        assert client.ask("nx.wild.test").code == NXDOMAIN
    assert one.logged(host="nx.wild.test")["reason"] == "resolve_failed"
    names.failing = {"broken.wild.test"}
    assert UDP(one.dns_port).ask("broken.wild.test").code == SERVFAIL
    assert one.logged(host="broken.wild.test")["reason"] == "resolve_failed"
    # A name that is there, and has other records alone.
    names.addresses["text.wild.test"] = []
    assert UDP(one.dns_port).ask("text.wild.test").code == NOERROR


def test_look_ups_under_way_are_bounded_and_others_are_served(gate, names):
    one = gate(POLICY, more=REAL, flags=DNS)
    names.addresses["allowed.test"] = ["93.184.216.34"]
    assert UDP(one.dns_port).ask("allowed.test").addresses
    names.is_silent = True
    # The replies come all at once: no socket has room for so many.
    floods = [UDP(one.dns_port) for _ in range(24)]
    for number in range(1200):
        floods[number // 50].socket.send(query(f"n{number}.wild.test", number=number))
        if number < 1000 and number % 50 == 0:
            # A cached name is answered while look-ups wait, although no server has answered for AAAA.
            assert UDP(one.dns_port).ask("allowed.test").addresses
    until("too many look-ups are refused", lambda: [line for line in dns_lines(one) if line["reason"] == "too_many"])
    one.signal(signal.SIGHUP)
    # A reload ends what waits: the new policy may refuse it.
    codes = [parse(flood.socket.recv(65536)).code for flood in floods for _ in range(50)]
    assert set(codes) == {SERVFAIL}
    names.is_silent = False
    assert UDP(one.dns_port).ask("allowed.test").addresses


def test_a_stream_gets_its_late_replies(gate, names):
    one = gate(POLICY, more=REAL, flags=DNS)
    client = TCP(one.dns_port)
    for number in range(200):
        names.addresses[f"n{number}.wild.test"] = [f"93.184.216.{number}"]
    client.send(*[query(f"n{number}.wild.test", number=number) for number in range(200)])
    client.socket.shutdown(socket.SHUT_WR)
    got = {reply.number: reply.addresses for reply in (parse(client.receive()) for _ in range(200))}
    assert got == {number: [f"93.184.216.{number}"] for number in range(200)}
    assert ends(client)


# Reload, log, addresses

def test_a_reload_changes_what_is_answered(gate):
    one = gate(POLICY, flags=DNS)
    client = UDP(one.dns_port)
    assert client.ask("allowed.test").addresses and client.ask("new.test").code == NXDOMAIN
    one.more += "\ndns: {networks: [10.99.0.0/16]}\n"
    one.write(rules("new.test:443"))
    one.signal(signal.SIGHUP)
    until("the policy is in force", lambda: client.ask("new.test").addresses)
    assert client.ask("allowed.test").code == NXDOMAIN
    assert ipaddress.ip_address(client.ask("new.test").addresses[0]) in NETWORK4
    assert "`dns.networks` and `limits.synthetic_names` take effect at the next start" in one.errors.read_text()


def test_nothing_is_answered_that_cannot_be_recorded(gate, small_disk):
    one = gate(POLICY, log=small_disk.log, flags=DNS)
    client = UDP(one.dns_port)
    small_disk.fill()
    names = itertools.count()

    def fails():
        # A name each: repeats share a line, and the page that the log has begun still has room.
        client.ask(f"refused{next(names)}.test")
        return client.ask("allowed.test").code == SERVFAIL
    until("names fail", fails)
    count = one.log.read_text().count("\n")
    for _ in range(500):
        assert client.ask("refused.test").code == SERVFAIL
    small_disk.free()
    until("names are answered again", lambda: client.ask("allowed.test").addresses)
    client.ask("last.test")
    one.logged(host="last.test")
    numbers = sorted(line["seq"] for line in one.lines())
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) < count + 300


def test_an_answer_leaves_from_the_address_that_was_asked(gate):
    one = gate(POLICY, flags=("--listen-dns", "0.0.0.0:0"))
    for host in ("127.0.0.1", "127.0.0.9", "127.1.2.3"):
        # Connected sockets: an answer from any other address would not be heard.
        assert UDP(one.dns_port, host=host).ask("allowed.test").addresses
        assert TCP(one.dns_port, host=host).ask("allowed.test").addresses


def test_ipv6(gate):
    one = gate(POLICY, flags=("--listen-dns", "[::]:0"))
    assert UDP(one.dns_port, host="::1").ask("allowed.test").addresses
    assert TCP(one.dns_port, host="::1").ask("allowed.test", AAAA).addresses


# Real resolvers

@pytest.mark.skipif(not shutil.which("dig"), reason="dig is not installed")
def test_dig(gate):
    one = gate(POLICY, flags=DNS)

    def dig(*words):
        return subprocess.run(["dig", "@127.0.0.1", "-p", str(one.dns_port), *words], capture_output=True, text=True, timeout=20).stdout
    (address,) = UDP(one.dns_port).ask("allowed.test").addresses
    assert dig("+short", "allowed.test").split() == [address]
    assert dig("+short", "+tcp", "allowed.test").split() == [address]
    assert dig("+short", "-x", address).split() == ["allowed.test."]
    refused = dig("refused.test", "AAAA")
    assert "status: NXDOMAIN" in refused and "EDE: 17 (Filtered)" in refused and "egress policy: not_allowed" in refused
    for kind in ("HTTPS", "TXT", "ANY", "MX"):
        got = dig("allowed.test", kind)
        assert "status: NOERROR" in got and "ANSWER: 0" in got and "SOA" in got
    assert "WARNING" not in dig("+dnssec", "+cookie", "+nsid", "allowed.test")


@pytest.mark.skipif(not shutil.which("kdig"), reason="kdig is not installed")
def test_kdig(gate):
    one = gate(POLICY, flags=DNS)

    def kdig(*words):
        return subprocess.run(["kdig", "@127.0.0.1", "-p", str(one.dns_port), *words], capture_output=True, text=True, timeout=20).stdout
    (address,) = UDP(one.dns_port).ask("allowed.test").addresses
    for way in ("+tcp", "+notcp"):
        assert kdig("+short", way, "allowed.test").split() == [address]
        got = kdig(way, "+edns", "refused.test")
        assert "status: NXDOMAIN" in got and "Filtered" in got
    both = kdig("+tcp", "+keepopen", "allowed.test", "a.wild.test", "refused.test")
    assert both.count("status: NOERROR") == 2 and both.count("status: NXDOMAIN") == 1


SYSTEM = """
set -e
ip link set lo up
{route}
printf 'nameserver {server}\\noptions timeout:5 attempts:1 {options}\\n' > {folder}/resolv.conf
printf 'hosts: dns\\n' > {folder}/nsswitch.conf
mount --bind {folder}/resolv.conf /etc/resolv.conf
mount --bind {folder}/nsswitch.conf /etc/nsswitch.conf
"$SLUICE" serve --policy {folder}/policy.yaml --listen-connect 127.0.0.1:0 --listen-dns {listen} 2> {folder}/errors &
gate=$!
trap 'kill $gate; wait $gate' EXIT
until grep -q 'listening on' {folder}/errors; do sleep 0.02; done
getent ahosts allowed.test
getent ahosts refused.test && exit 9
python3 -c '
import socket
found = socket.getaddrinfo("a.wild.test", 443, type=socket.SOCK_STREAM)
print("python", *sorted(each[4][0] for each in found))
print("reverse", *[socket.gethostbyaddr(each[4][0])[0] for each in found])
try:
    socket.getaddrinfo("refused.test", 443)
except socket.gaierror as problem:
    print("refused", problem.errno == socket.EAI_NONAME)
'
"""


# Port 53 of any address leads to the gate, and the answers seem to come from there.
REDIRECT = """
ip link add out type veth peer name far
ip address add 192.0.2.2/24 dev out
ip link set out up
ip link set far up
nft -f - <<END
table ip sent {
  chain out {
    type nat hook output priority -100
    meta l4proto { tcp, udp } th dport 53 redirect to :3153
  }
}
END
"""


@pytest.mark.parametrize("way", ["direct", "redirected", "redirected to a wildcard"])
@pytest.mark.parametrize("options", ["", "use-vc", "edns0 trust-ad", "single-request"])
def test_the_system_resolver(options, way, tmp_path):
    """getent and Python, in a network and a mount namespace of their own with the gate as their name server."""
    if subprocess.run(["unshare", "-mn", "true"], capture_output=True).returncode:
        pytest.skip("namespaces need root")
    (tmp_path / "policy.yaml").write_text(f"{POLICY}log: {{file: {tmp_path}/log}}\n")
    route, server, listen = {
        "direct": ("", "127.0.0.1", "127.0.0.1:53"),
        "redirected": (REDIRECT, "192.0.2.53", "127.0.0.1:3153"),
        "redirected to a wildcard": (REDIRECT, "192.0.2.53", "0.0.0.0:3153"),
    }[way]
    script = SYSTEM.format(folder=tmp_path, options=options, route=route, server=server, listen=listen)
    got = subprocess.run(["unshare", "-mn", "sh", "-c", script],
                         capture_output=True, text=True, timeout=60)
    said = got.stdout.splitlines()
    assert got.returncode == 0, got.stderr
    assert "198.18.0.1" in got.stdout and "fd73:6c75:6963::1" in got.stdout
    assert "python 198.18.0.2 fd73:6c75:6963::2" in said
    assert "reverse a.wild.test a.wild.test" in said and "refused True" in said
    lines = expanded(map(json.loads, (tmp_path / "log").read_text().splitlines()))
    # Two questions a look-up: A and AAAA.
    assert [line.get("host") for line in lines].count("refused.test") == 4


def test_dns_is_served_where_the_file_says(tmp_path, names):
    errors, policy = tmp_path / "errors", tmp_path / "policy.yaml"
    policy.write_text(f'{POLICY}\nlisten: {{dns: ["127.0.0.1:0", "[::1]:0"]}}\nlog: {{file: {tmp_path}/log}}\n')
    with open(errors, "wb") as file:
        process = subprocess.Popen([os.environ["SLUICE"], "serve", "--policy", policy, *MORE], stderr=file)
    try:
        until("it listens", lambda: "listening on" in errors.read_text())
        assert errors.read_text().count("(dns)") == 2 and "(connect)" not in errors.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
