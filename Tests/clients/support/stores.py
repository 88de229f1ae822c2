"""Real Redis servers on loopback, and gates that share limits through them."""
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from gate import answer, get, local, until


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class Redis:
    """One server; `more` are words of its command line. It keeps nothing on disk."""

    def __init__(self, folder, *more, port=None, tls=False, program="redis-server", configuration=None, address="127.0.0.1", prefix=()):
        self.folder, self.more, self.tls, self.program, self.configuration = Path(folder), more, tls, program, configuration
        self.address, self.prefix = address, list(prefix)
        self.folder.mkdir(exist_ok=True)
        self.port = port or free_port()
        self.start()

    def start(self):
        ports = ["--port", "0", "--tls-port", str(self.port)] if self.tls else ["--port", str(self.port)]
        words = [self.program] + ([self.configuration] if self.configuration else [])
        with open(self.folder / "said", "wb") as said:
            self.process = subprocess.Popen(
                [*self.prefix, *words, *ports, "--bind", self.address, "--save", "", "--dir", self.folder, *self.more], stdout=said, stderr=said)
        until("Redis accepts", self.accepts)

    def accepts(self):
        assert self.process.poll() is None, (self.folder / "said").read_text()
        try:
            socket.create_connection((self.address, self.port), 1).close()
            return True
        except OSError:
            return False

    def signal(self, number):
        os.kill(self.process.pid, number)

    def stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def ask(self, *words):
        tls = ["--tls", "--insecure"] if self.tls else []
        done = subprocess.run([*self.prefix, "redis-cli", *tls, "-h", self.address, "-p", str(self.port), *map(str, words)],
                              capture_output=True, text=True, timeout=20)
        return done.stdout.strip()


def cluster_words():
    """Each node has its bus on a port of its own: the usual one, 10,000 above, need not be free, nor be one at all."""
    return ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(free_port())]


def join_cluster(nodes):
    """All slots, in ranges of the same size."""
    step = 16384 // len(nodes) + 1
    for number, node in enumerate(nodes):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        said = node.ask("CLUSTER", "ADDSLOTSRANGE", number * step, min((number + 1) * step, 16384) - 1)
        assert said == "OK", said
    for node in nodes[1:]:
        said = node.ask("CLUSTER", "MEET", node.address, nodes[0].port, nodes[0].more[nodes[0].more.index("--cluster-port") + 1])
        assert said == "OK", said
    until("the cluster stands", lambda: all("cluster_state:ok" in node.ask("CLUSTER", "INFO")
                                            and f"cluster_known_nodes:{len(nodes)}" in node.ask("CLUSTER", "INFO") for node in nodes))


def sharing(redis, more=""):
    """The section of a policy."""
    return f"shared_limits: {{redis: {redis}, group: test{more}}}"


def policy(upstream, *limits):
    """A rule with a limit of its own for each text, the hosts h0.test, h1.test …"""
    allow = "".join(f"    - {local(f'h{index}.test', upstream.port, ', protocol: tcp')}\n" for index in range(len(limits)))
    rates = "".join(f'    - {{host: "h{index}.test:{upstream.port}", {limit}}}\n' for index, limit in enumerate(limits))
    return f"network_policy:\n  allow:\n{allow}  rate_limits:\n{rates}"


class Asker:
    """One client of one gate: a connection that is kept for as long as it is answered."""

    def __init__(self, gate, target):
        self.gate, self.request, self.sock = gate, get(target), None

    def ask(self):
        """True when it was let out, False when it was limited."""
        for _ in range(2):
            try:
                self.sock = self.sock or self.gate.dial()
                self.sock.sendall(self.request)
                said = answer(self.sock)
            except OSError:
                said = b""
            if said:
                break
            self.close()
        status = said[9:12]
        if b"keep-alive" not in said.lower() and b"onnection: close" in said:
            self.close()
        assert status in (b"200", b"429"), said
        return status == b"200"

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


class Load(threading.Thread):
    """Asks one target for all that it can get, now through one gate, now through another; `granted` holds the moments."""

    def __init__(self, gates, target, turn=1.0):
        super().__init__(daemon=True)
        self.askers, self.turn = [Asker(gate, target) for gate in gates], turn
        self.granted, self.problem, self.is_over, self.began = [], None, False, time.monotonic()
        self.start()

    def run(self):
        try:
            while not self.is_over:
                now = time.monotonic()
                asker = self.askers[int((now - self.began) / self.turn) % len(self.askers)]
                if asker.ask():
                    self.granted.append(time.monotonic())
                else:
                    # A refused client that asks at once takes the processor from those who are let out.
                    time.sleep(0.002)
        except Exception as problem:  # noqa: BLE001
            self.problem = problem

    def count(self, first, last):
        return sum(first <= moment < last for moment in self.granted)

    def end(self):
        self.is_over = True
        self.join(20)
        for asker in self.askers:
            asker.close()
        if self.problem:
            raise self.problem


def serve(stream):
    """Small answers on a kept connection."""
    stream.settimeout(60)
    data = b""
    while more := stream.recv(65536):
        data += more
        while b"\r\n\r\n" in data:
            data = data.split(b"\r\n\r\n", 1)[1]
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def shared(gate, text):
    """The last line of the log about the group, once it has this state."""
    lines = [line for line in gate.lines() if line["event"] == "limits"]
    return lines[-1] if lines and lines[-1]["state"] == text else None
