"""A gate with two workers under honest and hostile clients on every listener, while its policy is reloaded, its log is
rotated, and the log's disk fills and empties. `make soak`; SOAK_SECONDS says for how long (default: half an hour). No
line is lost or broken, no answer is wrong, descriptors and memory stay flat, and a gate at rest uses no processor."""
import json
import os
import random
import re
import signal
import socket
import ssl
import statistics
import struct
import threading
import time

import pytest

import dnswire
from conftest import Hello, mounted_disk
from fronts import Identity
from gate import DEADLINE, answer, echo, get, local, read, rules, until
from inspection import Inspecting, everything, request

SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
RELOAD, ROTATE, DISK, SAMPLE = 2, 10, 7, 1
MAY_FAIL = (b"log_unwritable", b"too_many", b"rate_limited", b"shutdown")


@pytest.fixture
def disk(tmp_path):
    with mounted_disk(tmp_path, "16m") as disk:
        yield disk


class Soak:
    """Runs each of its tasks again and again, each on a thread of its own, until the time is over."""

    def __init__(self):
        self.ends = time.monotonic() + SECONDS
        self.problems, self.done, self.threads = [], {}, []

    def again(self, task, pause=0.02):
        def work():
            chance = random.Random(task.__name__)
            while time.monotonic() < self.ends and len(self.problems) < 20:
                try:
                    task(chance)
                    self.done[task.__name__] = self.done.get(task.__name__, 0) + 1
                except (ConnectionError, TimeoutError, ssl.SSLError) as problem:
                    # While the disk is full a tunnel is refused before its TLS begins; nothing else ends one.
                    ended = f"{task.__name__}: {type(problem).__name__}"
                    self.done[ended] = self.done.get(ended, 0) + 1
                except Exception as problem:
                    self.problems.append(f"{task.__name__}: {problem!r}")
                time.sleep(pause)

        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def join(self):
        for thread in self.threads:
            thread.join(DEADLINE * 3)
            assert not thread.is_alive(), "a client still waits for its answer"


def refused_for_now(head):
    return any(reason in head for reason in MAY_FAIL)


def test_a_gate_in_use_stays_as_it_is(gate, upstream, web, certificates, tmp_path, disk):
    inspecting, identity = Inspecting(gate, tmp_path, certificates), Identity(tmp_path)
    tunnel, plain, secure = upstream(echo), web(Hello), web(Hello, certificates.server())
    lines = [local("echo.test", tunnel.port, ", protocol: tcp"), local("plain.test", plain.port),
             inspecting.rule("allowed.test", secure.port)]
    extra = local("extra.test", plain.port)
    more = (f'tls: {{ca: "{inspecting.folder}"}}\nlimits: {{connections: 2000}}\n'
            f'listen: {{connect: ["127.0.0.1:0", {{address: "127.0.0.2:0", tls: {{certificate: {identity.certificate}, '
            f'key: {identity.key}}}}}], dns: "127.0.0.1:0"}}\n')
    one = gate(rules(*lines), workers=2, more=more, log=disk.log, listens=())
    secure_port = int(re.search(r"127\.0\.0\.2:(\d+)", one.errors.read_text()).group(1))
    soak, seen, broken = Soak(), [], []

    def held():
        """All but pipes: some of these are kept for the next stream."""
        folder = f"/proc/{one.process.pid}/fd"
        kinds = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
        return sum(not kind.startswith("pipe:") for kind in kinds)

    one.descriptors()
    before = held()

    # Honest clients.

    def connect(chance):
        with one.connect(f"echo.test:{tunnel.port}")[0] as sock:
            data = chance.randbytes(chance.randrange(1, 60_000))
            sock.sendall(data)
            got = read(sock, len(data))
            assert got == data or len(got) == 0, "other bytes came back"

    def exchange(chance):
        target = f"plain.test:{plain.port}"
        said = one.ask(get(target))
        assert said.endswith(b"hello from " + target.encode()) or refused_for_now(said), said

    def socks(chance):
        with one.dial() as sock:
            sock.sendall(b"\5\1\0")
            assert read(sock, 2) == b"\5\0"
            sock.sendall(b"\5\1\0\3\x09echo.test" + struct.pack("!H", tunnel.port))
            reply = read(sock, 10)
            if reply[1:2] == b"\0":
                sock.sendall(b"hello")
                assert read(sock, 5) == b"hello"

    def inspected(chance):
        target = f"allowed.test:{secure.port}"
        sock, head = one.connect(target)
        with sock:
            if not head.startswith(b"HTTP/1.1 200"):
                assert refused_for_now(head), head
                return
            with inspecting.trust().wrap_socket(sock, server_hostname="allowed.test") as tls:
                tls.sendall(request(target))
                said = everything(tls)
                assert said.endswith(b"hello from " + target.encode()) or refused_for_now(said), said

    def through_tls(chance):
        with socket.create_connection(("127.0.0.2", secure_port), DEADLINE) as sock:
            trust = ssl.create_default_context(cafile=str(identity.certificate))
            with trust.wrap_socket(sock, server_hostname="localhost") as tls:
                tls.sendall(f"CONNECT echo.test:{tunnel.port} HTTP/1.1\r\nHost: echo.test\r\n\r\n".encode())
                head = answer(tls)
                if head.startswith(b"HTTP/1.1 200"):
                    tls.sendall(b"hello")
                    assert read(tls, 5) == b"hello"
                else:
                    assert refused_for_now(head), head

    def toggled(chance):
        said = one.ask(get(f"extra.test:{plain.port}"))
        # A reload that takes the rule away cuts what is under way.
        assert not said or b" 200 " in said[:20] or b"not_allowed" in said or refused_for_now(said), said

    def names(chance):
        asked = dnswire.UDP(one.dns_port)
        try:
            assert asked.ask("plain.test").code in (0, 2, 5)
            assert asked.ask(f"n{chance.randrange(1 << 40)}.refused.test").code in (3, 2, 5)
        finally:
            asked.close()

    # Hostile ones.

    def refused(chance):
        said = one.ask(get(f"h{chance.randrange(1 << 30)}.refused.test:80"))
        assert b"not_allowed" in said or refused_for_now(said), said

    def half(chance):
        with one.dial() as sock:
            sock.sendall(b"CONNECT echo.test:" + b"9" * chance.randrange(4))

    def reset(chance):
        sock = one.dial()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(f"CONNECT echo.test:{tunnel.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode()[: chance.randrange(1, 60)])
        sock.close()

    def garbage(chance):
        with one.dial() as sock:
            sock.sendall(chance.randbytes(chance.randrange(1, 4000)))
            answer(sock)

    def unread(chance):
        with one.dial() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.sendall(get("refused.test:80") * 200)

    for task in (connect, exchange, socks, inspected, through_tls, toggled, names, refused, half, reset, garbage, unread):
        soak.again(task)

    # The operator, and the disk.

    samples, turns = [], {"reload": 0, "rotate": 0, "disk": 0}

    def gather(path):
        for line in path.read_bytes().splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                broken.append(line)
                continue
            seen.append(fields["seq"])
            if fields.get("lost"):
                broken.append(line)

    started = time.monotonic()
    is_full = False
    while time.monotonic() < soak.ends and len(soak.problems) < 20:
        time.sleep(SAMPLE)
        now = time.monotonic() - started
        samples.append((now, one.resident_kib(), len(os.listdir(f"/proc/{one.process.pid}/fd"))))
        if now >= (turns["disk"] + 1) * DISK:
            turns["disk"] += 1
            disk.free() if is_full else disk.fill()
            is_full = not is_full
        if now >= (turns["rotate"] + 1) * ROTATE and not is_full:
            turns["rotate"] += 1
            old = disk.log.with_name(f"log.{turns['rotate']}")
            disk.log.rename(old)
            one.signal(signal.SIGHUP)
            until("a new log", disk.log.exists)
            size = -1
            while size != old.stat().st_size:
                size = old.stat().st_size
                time.sleep(0.1)
            gather(old)
            old.unlink()
        elif now >= (turns["reload"] + 1) * RELOAD:
            turns["reload"] += 1
            one.write(rules(*lines, *([extra] if turns["reload"] % 2 else [])))
            one.signal(signal.SIGHUP)
    if is_full:
        disk.free()
    soak.join()
    assert not soak.problems, soak.problems
    until("no descriptor is left behind", lambda: held() <= before)

    def ticks():
        fields = open(f"/proc/{one.process.pid}/stat").read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    at_rest = ticks()
    time.sleep(5)
    spent = ticks() - at_rest
    one.stop()
    gather(disk.log)
    print({"seconds": SECONDS, "done": soak.done, "lines": len(seen), "turns": turns, "ticks at rest": spent,
           "MiB": [round(kib / 1024, 1) for _, kib, _ in samples[:: max(1, len(samples) // 12)]]})
    assert not broken, broken[:3]
    assert sorted(seen) == list(range(min(seen), min(seen) + len(seen))), "a line is missing, or stands twice"
    assert spent <= 5, f"{spent} ticks in 5 s at rest"
    half = len(samples) // 2
    early, late = (statistics.median(kib for _, kib, _ in part) for part in (samples[half // 2 : half], samples[half + half // 2 :]))
    assert late < early * 1.1 + 4096, f"{early} KiB became {late} KiB"
