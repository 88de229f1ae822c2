"""Plain HTTP exchanges that follow each other on one connection, and that no exchange disturbs another."""

import socket
import struct
import subprocess
import time

import pytest

from gate import answer, basic, echo, get, local, rules, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
# Of `one`, slow enough for a reload and a second request meanwhile; and of `two`.
SLOW_ONE = "$6$rounds=3000000$salt$UBRqrF.IvyycRBalLVEzSq1mkFPIHgzXnH363G9UiHuXyBIQ3gSS7Od53CnwL/D5V63cjTY1f8JAif0NVSmJ0/"
TWO = "$6$salt$YBMliyNjyO6srA0PUHb40yiODpPny2ei1jipSMG6SJX4zPlOEzoxr4eLVAHiIEQ7IIOJi.Z.dOhYXqqJaE4op1"


def post(target, body):
    head = f"POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_no_byte_of_one_request_reaches_the_upstream_of_the_next(gate, upstream):
    """The first upstream answers before it has been sent all; the rest of that body is nobody else's."""
    heard = []

    def hasty(stream):
        stream.recv(65536)
        stream.sendall(OK)
        stream.settimeout(20)
        while stream.recv(65536):
            pass

    def second(stream):
        data = b""
        while b"\r\n\r\n" not in data:
            data += stream.recv(65536)
        heard.append(data)
        stream.sendall(OK)

    servers = upstream(hasty), upstream(second)
    first, other = (f"{name}.test:{server.port}" for name, server in zip(("first", "other"), servers))
    limit = '{host: "*", requests_per_minute: 60, burst: 1, upload_bytes_per_minute: 1024, on_limit: pace}'
    one = gate(rules(local(*first.split(":")), local(*other.split(":")), more=f"  rate_limits: [{limit}]\n"))
    # The next request to it waits for a token, and so for the time in which the first upstream goes away.
    one.ask(get(other))
    heard.clear()
    with one.dial() as sock:
        sock.sendall(post(first, b"GET /smuggled HTTP/1.1\r\nHost: other.test\r\n\r\n" * 200) + get(other))
        assert answer(sock).startswith(b"HTTP/1.1 200 ")
        until("the second request", lambda: heard)
    assert heard[0].startswith(b"GET / HTTP/1.1\r\n"), heard[0][:200]


def test_interim_answers_are_not_gathered(gate, upstream):
    """An upstream may send any number of them; a client that takes none does not make the gate hold them."""
    stuck = []

    def talk(stream):
        stream.recv(65536)
        stream.settimeout(1)
        try:
            for _ in range(2000):
                stream.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: <" + b"x" * 8000 + b">\r\n\r\n")
            stream.settimeout(20)
            stream.sendall(OK)
        except TimeoutError:
            stuck.append(True)
            stream.recv(1)

    server = upstream(talk)
    one = gate(rules(local("allowed.test", server.port)))
    with one.dial() as sock:
        sock.sendall(get(f"allowed.test:{server.port}"))
        until("the upstream waits", lambda: stuck)


def test_interim_answers_and_the_last_one_come_in_order(gate, upstream):
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: <" + b"x" * 8000 + b">\r\n\r\n"

    def talk(stream):
        stream.recv(65536)
        for _ in range(500):
            stream.sendall(hint)
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend")
        stream.recv(1)

    server = upstream(talk)
    one = gate(rules(local("allowed.test", server.port)))
    with one.dial() as sock:
        sock.sendall(get(f"allowed.test:{server.port}"))
        got = b""
        while not got.endswith(b"\r\n\r\nend"):
            got += sock.recv(65536) or pytest.fail("an end before the answer")
    assert got.count(b" 103 ") == 500 and got.count(b" 200 ") == 1


def test_a_verdict_on_a_password_counts_for_that_password_alone(gate, tmp_path):
    """It is still being worked out when a reload changes the password, and the connection asks once more."""
    passwords = tmp_path / "passwords"
    policy = ('network_policy: {}\nclients: [{name: agent, proxy_user: agent, password_file: "%s", network_policy: {allow: ["allowed.test:80"]}}]'
              % passwords)
    passwords.write_text(f"agent:{SLOW_ONE}\n")
    one = gate(policy)
    request = get("refused.test").replace(b"\r\n\r\n", b"\r\n" + basic("agent", "one").encode() + b"\r\n")
    with one.dial() as sock:
        sock.sendall(request)
        # The request has been read once a response on another connection has arrived.
        one.ask(get("refused.test"))
        passwords.write_text(f"agent:{TWO}\n")
        one.reload()
        assert answer(sock).startswith(b"HTTP/1.1 407 ")
        sock.sendall(request)
        got = answer(sock)
    assert got.startswith(b"HTTP/1.1 407 "), got


def test_a_kept_connection_is_answered_while_its_lines_find_no_room(gate, small_disk):
    """The disk is full, and the policy lets traffic go on: past the buffer lines are lost and counted, and clients hear no less."""
    one = gate(rules('"allowed.test:80"'), log=small_disk.log, on_failure="continue", more="limits: {log_buffer_bytes: 64KiB}")
    small_disk.fill()
    count = 1500
    with one.dial() as sock:
        for number in range(count):
            sock.sendall(get(f"refused{number}.test"))
            assert answer(sock).startswith(b"HTTP/1.1 403 "), number
    # The lines that wait are more than the whole disk had room for.
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk.log.parent], check=True)
    lost = one.logged(event="failed", reason="log_unwritable")
    assert one.ask(get("last.test")).startswith(b"HTTP/1.1 403 ")
    one.logged(event="denied", host="last.test")
    lines = one.lines()
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    written = [line["host"] for line in lines if line["event"] == "denied"]
    assert len(written) + lost["lost"] == count + 1 and lost["lost"] > 500
    # The count stands between the last line that found room and the first one that did so again.
    behind = [line["host"] for line in lines if line["seq"] > lost["seq"]]
    assert behind[-1] == "last.test" and set(behind[:-1]) <= {f"refused{number}.test" for number in range(count - 500, count)}


@pytest.mark.parametrize("size", [2, 100_000])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_an_upstream_sends_unasked_answers_no_request(gate, upstream, size, method):
    """RFC 9112 section 9.2: bytes behind a body would be taken for the next answer on a kept connection."""
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"

    def talk(stream):
        if stream.recv(65536):
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"y" * size + forged)
            stream.recv(65536)

    target = f"allowed.test:{(server := upstream(talk)).port}"
    one = gate(rules(local("allowed.test", server.port)))
    with one.dial() as sock:
        for _ in range(3):
            sock.sendall(get(target) if method == "GET" else post(target, b""))
            got = b""
            while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < size:
                got += sock.recv(65536) or pytest.fail(f"an end after {got[:300]}")
            assert got.endswith(b"\r\n\r\n" + b"y" * size), got[:300]


def test_a_request_behind_a_chunked_body_is_answered(gate, upstream):
    heard = []

    def talk(stream):
        data = b""
        while b"0\r\n\r\n" not in data:
            data += stream.recv(65536)
            heard.append(data)
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        stream.recv(65536)
        stream.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    server = upstream(talk)
    target = f"allowed.test:{server.port}"
    one = gate(rules(local("allowed.test", server.port)))
    with one.dial() as sock:
        sock.sendall(f"POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        until("it is read", lambda: heard)
        sock.sendall(b"1\r\nx\r\n0\r\n\r\n" + get(target))
        got = answer(sock)
        while b" 204 " not in got:
            got += sock.recv(65536) or pytest.fail(f"an end after {got}")
    assert got.startswith(b"HTTP/1.1 200 ")


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_client_that_resets_while_its_name_is_resolved_is_let_go(gate, names):
    names.is_silent = True
    one = gate(rules(local("allowed.test", 443)))
    sock = one.dial()
    sock.sendall(b"CONNECT allowed.test:443 HTTP/1.1\r\nHost: allowed.test:443\r\n\r\n")
    until("the name is asked for", lambda: names.asked)
    reset(sock)
    line = one.logged(host="allowed.test")
    assert line["event"] == "closed" and line["duration_ms"] < 5000


def test_a_client_that_resets_a_download_is_no_fault_of_the_upstream(gate, upstream):
    def stream(peer):
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            peer.sendall(b"x" * 65536)

    server = upstream(stream)
    one = gate(rules(local("allowed.test", server.port)))
    sock = one.dial()
    sock.sendall(get(f"allowed.test:{server.port}"))
    assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
    reset(sock)
    line = one.logged(host="allowed.test")
    assert line["event"] == "closed" and "reason" not in line, line


def test_report_mode_leaves_one_line_of_what_enforce_would_refuse(gate, upstream):
    server = upstream(echo)
    one = gate("network_policy: {mode: report}")
    sock, _ = one.connect(f"any.test:{server.port}")
    sock.sendall(b"\x16\x03\x01\x00\x05hello")
    sock.close()
    one.logged(event="closed", host="any.test")
    assert [line["reason"] for line in one.lines() if line.get("would_deny")] == ["not_allowed"]


def test_a_chunked_answer_behind_a_long_one_comes_whole(gate, upstream):
    """What a connection has streamed by splice(2) does not change how much one read of the next body may bring."""
    long, piece = 1_000_000, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"

    answers = {b"/long": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % long + b"y" * long,
               b"/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + piece * 20 + b"0\r\n\r\n"}

    def talk(stream):
        while asked := stream.recv(65536):
            stream.sendall(answers[asked.split(b" ")[1]])

    site = upstream(talk)
    target = f"long.test:{site.port}"
    one = gate(rules(local("long.test", site.port)))
    with one.dial() as sock:
        for _ in range(5):
            sock.sendall(get(target).replace(b"/ HTTP", b"/long HTTP"))
            assert len(answer(sock).partition(b"\r\n\r\n")[2]) == long
            sock.sendall(get(target).replace(b"/ HTTP", b"/chunks HTTP"))
            data = b""
            while not data.endswith(b"\r\n0\r\n\r\n"):
                data += sock.recv(65536)
            assert data.endswith(piece * 20 + b"0\r\n\r\n")


def test_a_request_right_behind_a_long_body_is_answered(gate, upstream):
    """Both came before the first answer: nothing more is heard of the client that could wake the gate."""
    def talk(stream):
        heard, count = b"", 0
        while data := stream.recv(65536):
            heard += data
            while (at := heard.find(b"\r\n\r\n")) >= 0:
                length = int(heard[:at].lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                if len(heard) < at + 4 + length:
                    break
                heard, count = heard[at + 4 + length:], count + 1
                time.sleep(0.05)
                stream.sendall(OK)

    site = upstream(talk)
    target = f"behind.test:{site.port}"
    one = gate(rules(local("behind.test", site.port)))
    for size in (16_384, 100_000, 1_000_000):
        with one.dial() as sock:
            sock.sendall(post(target, b"x" * size) + post(target, b"y") + post(target, b"z" * size))
            for _ in range(3):
                assert answer(sock).startswith(b"HTTP/1.1 200 ")
