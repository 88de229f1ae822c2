"""Buckets, clients, half-close, reload, rotation and the end of a gate."""
import concurrent.futures
import os
import resource
import select
import signal
import socket
import subprocess
import time

import pytest

from gate import answer, basic, echo, get, local, occurrences, password_file, read, rules, until


@pytest.mark.parametrize("workers", [1, 2])
def test_500_connects_against_a_bucket_of_60(workers, gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("*.wild.test", server.port), more='  rate_limits: [{host: "*", requests_per_minute: 60}]\n'), workers=workers)
    spellings = ["a.wild.test", "A.Wild.Test", "a.wild.test.", "b.c.wild.test"]

    def ask(number):
        sock, got = one.connect(f"{spellings[number % 4]}:{server.port}")
        sock.close()
        return got

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(ask, range(500)))
    admitted = [got for got in answers if got.startswith(b"HTTP/1.1 200 ")]
    limited = [got for got in answers if got.startswith(b"HTTP/1.1 429 ")]
    assert len(admitted) + len(limited) == 500
    # One token comes back each second.
    assert 60 <= len(admitted) <= 60 + int(time.monotonic() - started)
    assert all(b"\r\nRetry-After: " in got for got in limited)
    until("a line for each refusal", lambda: occurrences([x for x in one.lines() if x["event"] == "limited"]) == len(limited))
    assert one.logged(event="limited")["capacity"] == 60


def with_clients(port, limits):
    """The same rule for the file's own client and for a named one, as a policy and its clients."""
    network = f"{{allow: [{local('allowed.test', port)}], rate_limits: [{limits}]}}"
    return f"network_policy: {network}", f"clients: [{{name: near, source: [127.0.0.2], network_policy: {network}}}]"


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"], ids=["default", "near"])
@pytest.mark.parametrize("workers", [1, 2])
def test_requests_that_were_used_up_stay_so_over_a_reload(workers, source, gate, upstream):
    server = upstream(echo)
    policy, clients = with_clients(server.port, '{host: "*", requests_per_minute: 6, burst: 20}')
    one = gate(policy, more=clients, workers=workers)

    def ask(_):
        sock, got = one.connect(f"allowed.test:{server.port}", source=source)
        sock.close()
        return got.startswith(b"HTTP/1.1 200 ")

    started, answers = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers += pool.map(ask, range(40))
        assert answers.count(True) >= 20
        for text in (policy, policy, f"# another file\n{policy}"):
            one.write(text)
            one.reload()
            answers += pool.map(ask, range(40))
    hashes = [line["policy"] for line in one.lines() if line["event"] == "policy"]
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]

    def refused_by_the_last():
        answers.append(ask(0))
        return occurrences([line for line in one.lines() if line["event"] == "limited" and line["policy"] == hashes[3]]) > 40

    until("the last policy refuses", refused_by_the_last)
    # One token comes back every ten seconds.
    assert answers.count(True) <= 20 + (time.monotonic() - started) / 10


def test_tunnels_that_are_open_count_on_over_a_reload(gate, upstream):
    server = upstream(echo)
    policy, clients = with_clients(server.port, '{host: "*", concurrent: 2}')
    one = gate(policy, more=clients, workers=2)
    target = f"allowed.test:{server.port}"
    held = [one.connect(target)[0] for _ in range(2)]
    one.reload()
    for _ in range(20):
        assert one.connect(target)[1].startswith(b"HTTP/1.1 429 ")
    held.pop().close()
    until("one place is free", lambda: one.connect(target)[1].startswith(b"HTTP/1.1 200 "))


def test_bytes_that_were_used_up_stay_so_over_a_reload(gate, upstream):
    server = upstream(echo)
    policy, clients = with_clients(server.port, '{host: "*", upload_bytes_per_minute: 60KiB}')
    one = gate(policy, more=clients, workers=2)
    started = time.monotonic()
    sock, _ = one.connect(f"allowed.test:{server.port}")
    sock.sendall(bytes(50 * 1024))
    got = 0
    while got < 50 * 1024:
        got += len(sock.recv(65536))
    one.reload()
    sock, _ = one.connect(f"allowed.test:{server.port}")
    # 10 KiB are left, and 1 KiB comes back each second; a bucket of its own would take all of it.
    sock.sendall(bytes(50 * 1024))
    went = one.logged(event="limited")["bytes_up"]
    assert went <= (10 + time.monotonic() - started) * 1024


def test_concurrent_tunnels_are_bounded(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port), more='  rate_limits: [{host: "*", concurrent: 2}]\n'))
    target = f"allowed.test:{server.port}"
    first, second = one.connect(target), one.connect(target)
    assert one.connect(target)[1].startswith(b"HTTP/1.1 429 ")
    first[0].close()
    until("the place is free again", lambda: one.connect(target)[1].startswith(b"HTTP/1.1 200 "))
    second[0].close()


@pytest.mark.parametrize("on_limit", ["refuse", "pace"])
def test_a_tunnel_that_sends_all_it_may_is_not_cut(on_limit, gate, upstream):
    server = upstream(echo)
    limit = f'  rate_limits: [{{host: "*", upload_bytes_per_minute: 1024, download_bytes_per_minute: 1024, on_limit: {on_limit}}}]\n'
    one = gate(rules(local("allowed.test", server.port), more=limit))
    sock, _ = one.connect(f"allowed.test:{server.port}")
    for part in (b"a" * 1000, b"b" * 24):
        sock.sendall(part)
        assert read(sock, len(part)) == part
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b""
    line = one.logged(event="closed")
    assert line["bytes_up"] == 1024 and "reason" not in line


def test_upload_is_paced(gate, upstream):
    server = upstream(echo)
    limit = '  rate_limits: [{host: "*", upload_bytes_per_minute: 60KiB, on_limit: pace}]\n'
    one = gate(rules(local("allowed.test", server.port), more=limit))
    sock, _ = one.connect(f"allowed.test:{server.port}")
    sock.sendall(b"x" * 64 * 1024)
    started, got = time.monotonic(), 0
    while got < 64 * 1024:
        got += len(sock.recv(65536))
    # 4 KiB above the bucket, at 1 KiB a second.
    assert 3 < time.monotonic() - started < 15


@pytest.mark.parametrize("on_limit", ["pace", "refuse"])
def test_the_body_of_a_plain_request_is_limited(on_limit, gate, upstream):
    def count(stream):
        stream.settimeout(20)
        head, _, body = stream.recv(65536).partition(b"\r\n\r\n")
        while len(body) < 20_000 and (more := stream.recv(65536)):
            body += more
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = upstream(count)
    limit = f'  rate_limits: [{{host: "*", upload_bytes_per_minute: 18000, on_limit: {on_limit}}}]\n'
    one = gate(rules(local("allowed.test", server.port), more=limit))
    target = f"allowed.test:{server.port}"
    started = time.monotonic()
    got = one.ask(f"POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\nContent-Length: 20000\r\n\r\n".encode() + b"x" * 20_000)
    if on_limit == "pace":
        # 2,000 bytes above the bucket, at 300 a second.
        assert got.startswith(b"HTTP/1.1 200 ") and time.monotonic() - started > 4
    else:
        assert b" 200 " not in got
        one.logged(event="limited", reason="rate_limited")


def test_a_tunnel_has_a_lifetime(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port), more='  rate_limits: [{host: "*", tunnel_lifetime_seconds: 1}]\n'))
    sock, _ = one.connect(f"allowed.test:{server.port}")
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass
    assert 900 <= one.logged(host="allowed.test")["duration_ms"] < 5000


def test_clients_by_source_and_by_user(gate, upstream, tmp_path):
    server = upstream(echo)
    passwords = password_file(tmp_path, "agent", "secret")
    rule = local("allowed.test", server.port)
    more = (f"clients:\n  - {{name: near, source: [127.0.0.2], network_policy: {{allow: [{rule}]}}}}\n"
            f"  - {{name: agent, proxy_user: agent, source: [127.0.0.3], password_file: {passwords}, network_policy: {{allow: [{rule}]}}}}\n")
    one = gate("network_policy: {default: deny}", more=more)
    target = f"allowed.test:{server.port}"
    assert one.connect(target)[1].startswith(b"HTTP/1.1 403 ")
    assert one.connect(target, source="127.0.0.2")[1].startswith(b"HTTP/1.1 200 ")
    got = one.connect(target, source="127.0.0.3")[1]
    assert got.startswith(b"HTTP/1.1 407 ") and b"\r\nProxy-Authenticate: Basic " in got
    assert one.connect(target, source="127.0.0.3", more=basic("agent", "wrong"))[1].startswith(b"HTTP/1.1 407 ")
    sock, got = one.connect(target, source="127.0.0.3", more=basic("agent", "secret"))
    assert got.startswith(b"HTTP/1.1 200 ")
    sock.close()
    one.logged(client="agent", event="closed")


def test_half_close_is_carried_both_ways(gate, upstream):
    def answer_at_the_end(stream):
        data = b""
        while more := stream.recv(65536):
            data += more
        stream.sendall(b"got %d" % len(data))

    server = upstream(answer_at_the_end)
    one = gate(rules(local("allowed.test", server.port)))
    sock, _ = one.connect(f"allowed.test:{server.port}")
    sock.sendall(b"x" * 1_000_000)
    sock.shutdown(socket.SHUT_WR)
    got = b""
    while more := sock.recv(100):
        got += more
    assert got == b"got 1000000"
    assert one.logged(event="closed")["bytes_up"] == 1_000_000


def test_a_reload_cuts_what_it_refuses_and_a_bad_file_changes_nothing(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)))
    target = f"allowed.test:{server.port}"
    sock, _ = one.connect(target)
    one.write("network_policy: {alow: []}")
    one.signal(signal.SIGHUP)
    until("the problem is told", lambda: "did you mean `allow`?" in one.errors.read_text())
    sock.sendall(b"still here")
    assert sock.recv(100) == b"still here"
    assert one.connect(target)[1].startswith(b"HTTP/1.1 200 ")
    one.write("network_policy: {default: deny}")
    one.signal(signal.SIGHUP)
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass
    one.logged(event="revoked", host="allowed.test")
    assert one.connect(target)[1].startswith(b"HTTP/1.1 403 ")


def test_a_reload_leaves_no_question_behind(gate, upstream, names):
    server = upstream(echo)
    one = gate(rules(local("slow.test", server.port)))
    one.connect(f"refused.test:{server.port}")
    before, names.is_silent = one.descriptors(), True
    target = f"slow.test:{server.port}"
    for round in range(5):
        with one.dial() as sock:
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            until("a name server is asked", lambda: len(names.asked) >= 2 * (round + 1))
            one.reload()
            assert b"resolve_failed" in answer(sock)
    one.leaves_none(before)


def test_rotation_loses_no_line(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)), workers=2)
    old = one.folder / "log.1"
    for round in range(4):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(one.connect, f"refused.test:{server.port}") for _ in range(50)]
            if round == 1:
                os.rename(one.log, old)
                one.signal(signal.SIGHUP)
            assert all(one_of.result()[1].startswith(b"HTTP/1.1 403 ") for one_of in asked)
    until("a new log", one.log.exists)
    until("all lines", lambda: occurrences([x for x in one.lines() + one.lines(old) if x["event"] == "denied"]) == 200)
    numbers = sorted(line["seq"] for line in one.lines() + one.lines(old))
    assert numbers == list(range(1, len(numbers) + 1))


def test_sigterm_lets_a_tunnel_finish_and_then_cuts(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)), more="timeouts: {drain: 2}")
    stays, _ = one.connect(f"allowed.test:{server.port}")
    ends, _ = one.connect(f"allowed.test:{server.port}")
    one.signal(signal.SIGTERM)

    def is_refused():
        try:
            one.dial().close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False  # It stood in the queue of the listener as that closed.
    until("the listener is closed while tunnels live on", is_refused)
    ends.sendall(b"late")
    assert ends.recv(10) == b"late"
    ends.close()
    assert one.process.wait(20) == 0
    reasons = [line.get("reason") for line in one.lines() if line.get("host") == "allowed.test"]
    assert sorted(map(str, reasons)) == ["None", "shutdown"]
    stays.close()


def test_a_gate_that_drains_accepts_no_more(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)), more="timeouts: {drain: 15}")
    stays, _ = one.connect(f"allowed.test:{server.port}")
    one.drain()
    assert one.process.poll() is None
    stays.sendall(b"still here")
    assert stays.recv(100) == b"still here"
    stays.close()
    assert one.process.wait(10) == 0


def test_few_descriptors_pause_the_gate_and_it_recovers(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)))
    resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    waiting = [one.dial() for _ in range(60)]

    def ticks():
        fields = open(f"/proc/{one.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    with pytest.raises(subprocess.TimeoutExpired):
        one.process.wait(1)
    assert ticks() - before < 30, "a gate without descriptors spins"
    for sock in waiting:
        sock.close()
    until("it serves again", lambda: one.connect(f"allowed.test:{server.port}")[1].startswith(b"HTTP/1.1 200 "))


def memory(one, field):
    """Bytes, as /proc says."""
    line = next(x for x in open(f"/proc/{one.process.pid}/status") if x.startswith(field))
    return int(line.split()[1]) * 1024


class Trickle:
    """Many clients that never end their head: each sends a byte in every round, until it is answered."""

    def __init__(self, one, count, opening):
        self.began, self.rounds, self.answers, self.poll = time.monotonic(), 0, [], select.poll()
        self.clients = {sock.fileno(): sock for sock in (one.dial() for _ in range(count))}
        for fd, sock in self.clients.items():
            self.poll.register(fd, select.POLLIN)
            sock.sendall(opening)

    def round(self):
        for fd, _ in self.poll.poll(0):
            self.poll.unregister(fd)
            with self.clients.pop(fd) as sock:
                self.answers.append((time.monotonic() - self.began, sock.recv(4096)))
        for sock in self.clients.values():
            sock.sendall(b"x")
        self.rounds += 1


@pytest.mark.figures
def test_2000_slow_clients_do_not_keep_a_healthy_one_and_end_at_their_deadline(gate, web, hello):
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    site, count, head_seconds, head_bytes = web(hello), 2000, 6, 4096
    one = gate(rules(local("allowed.test", site.port)),
               more=f"limits: {{head_bytes: {head_bytes}}}\ntimeouts: {{head: {head_seconds}, drain: 1}}")
    target = f"allowed.test:{site.port}"

    def healthy():
        started = time.monotonic()
        assert b"hello from allowed.test" in one.ask(get(target))
        return time.monotonic() - started

    healthy()
    before = memory(one, "VmRSS")
    # Three quarters of the head that is allowed, so that the bound on memory is reached for.
    slow = Trickle(one, count, f"GET http://{target}/".encode() + b"x" * (head_bytes * 3 // 4))
    waits = []
    while slow.clients:
        slow.round()
        # The gate has the bytes of all the others before it.
        waits.append(healthy())
    grown = memory(one, "VmHWM") - before
    assert len(waits) > 20 and max(waits) < 1, f"{len(waits)} rounds, {max(waits)} s at most"
    # An array that grows may hold twice its bytes; the rest is the session itself.
    assert grown <= count * (2 * head_bytes + 2048)
    assert len(slow.answers) == count and all(got.startswith(b"HTTP/1.1 408 ") for _, got in slow.answers)
    times = [seconds for seconds, _ in slow.answers]
    assert head_seconds - 0.1 < min(times) and max(times) < head_seconds + 3
    until("a line for each", lambda: occurrences([line for line in one.lines() if line.get("reason") == "timeout"]) == count)


@pytest.mark.parametrize("on_failure", ["refuse", "continue"])
def test_a_full_disk_loses_no_line_and_no_egress_goes_unrecorded(on_failure, gate, upstream, small_disk):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)), log=small_disk.log, on_failure=on_failure)
    target = f"allowed.test:{server.port}"
    small_disk.fill()
    # The page that the log has begun still has room.
    for _ in range(40):
        one.connect(f"refused.test:{server.port}")[0].close()

    def status():
        sock, got = one.connect(target)
        sock.close()
        return got.split(b" ")[1]

    if on_failure == "refuse":
        until("a tunnel is refused", lambda: status() == b"503")
        assert b"log_unwritable" in one.connect(target)[1]
    else:
        assert status() == b"200"
    small_disk.free()
    until("tunnels go again", lambda: status() == b"200")
    last = until("lines go on", lambda: one.lines())[-1]["seq"]
    one.connect(f"refused.test:{server.port}")[0].close()
    until("the newest line", lambda: one.lines()[-1]["seq"] > last)
    numbers = sorted(line["seq"] for line in one.lines())
    assert numbers == list(range(1, len(numbers) + 1))
