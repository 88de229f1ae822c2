"""The gate under a service manager: sockets that are handed in (sd_listen_fds(3)), and notices (sd_notify(3))."""
import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from dnswire import NXDOMAIN, TCP, UDP
from gate import DEADLINE, MORE, answer, echo, get, local, rules, until

SLUICE = os.environ["SLUICE"]
# Moves sockets to 3 and on, as a manager leaves them, and says whose they are.
HAND = 'count=$1; shift; for ((i = 0; i < count; i++)); do eval "exec $((3 + i))<&$((900 + i)) $((900 + i))<&-"; done; LISTEN_PID=$$ exec "$@"'


class Handed:
    """Sockets as a manager keeps them: what it starts gets copies."""

    def __init__(self):
        self.held = []

    def add(self, name, kind=socket.SOCK_STREAM, address=("127.0.0.1", 0), family=socket.AF_INET, listens=True, **options):
        sock = socket.socket(family, kind)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, options.get("v6only", 1))
        try:
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        if kind == socket.SOCK_STREAM and listens:
            sock.listen(128)
        self.held.append((name, sock))
        return sock.getsockname()[1] if family != socket.AF_UNIX else address

    def add_dns(self):
        """The kernel chooses a port that is free for TCP; for UDP another program may have it."""
        def pair():
            port = self.add("dns")
            try:
                return self.add("dns", socket.SOCK_DGRAM, ("127.0.0.1", port))
            except OSError:
                self.held.pop()[1].close()
                return None

        return until("a port is free for UDP and TCP", pair)

    @contextlib.contextmanager
    def numbered(self):
        high = []
        for index, (_, sock) in enumerate(self.held):
            high.append(fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 900 + index))
            assert high[-1] == 900 + index
        yield high
        for fd in high:
            os.close(fd)

    def environment(self, more={}):
        return os.environ | {"LISTEN_FDS": str(len(self.held)), "LISTEN_FDNAMES": ":".join(name for name, _ in self.held)} | more

    def command(self):
        return ["bash", "-c", HAND, "hand", str(len(self.held)), SLUICE]

    def start(self, gate, policy, flags=(), env={}, **more):
        with self.numbered() as high:
            return gate(policy, command=self.command(), flags=flags,
                        start={"pass_fds": high, "env": self.environment(env)}, **more)

    def refused(self, *arguments, env={}):
        """What `serve` says when it does not start."""
        with self.numbered() as high:
            got = subprocess.run([*self.command(), "serve", *MORE, *arguments], pass_fds=high, env=self.environment(env),
                                 capture_output=True, text=True, timeout=DEADLINE)
        assert got.returncode == 2, got
        return got.stderr

    def close(self):
        for _, sock in self.held:
            sock.close()


@pytest.fixture
def handed():
    handed = Handed()
    yield handed
    handed.close()


def at(port, what="connect"):
    return (f"--listen-{what}", f"127.0.0.1:{port}")


def ask(port, data):
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
        sock.settimeout(DEADLINE)
        sock.sendall(data)
        return answer(sock)


def open_tunnel(sock, target):
    sock.settimeout(DEADLINE)
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    assert answer(sock).startswith(b"HTTP/1.1 200 ")


# Serving

@pytest.mark.parametrize("workers", [1, 2])
def test_a_handed_socket_is_served(workers, handed, gate, web, hello):
    site = web(hello)
    port = handed.add("connect")
    one = handed.start(gate, rules(local("allowed.test", site.port)), flags=at(port), workers=workers)
    for _ in range(20):
        assert b"hello from allowed.test" in ask(port, get(f"allowed.test:{site.port}"))
        assert ask(port, get("refused.test")).startswith(b"HTTP/1.1 403 ")
    assert f"127.0.0.1:{port} (connect)" in one.errors.read_text()


def test_more_sockets_than_workers(handed, gate):
    ports = [handed.add("connect") for _ in range(3)]
    handed.start(gate, rules("allowed.test:443"), flags=[word for port in ports for word in at(port)], workers=2)
    for port in ports:
        assert ask(port, get("refused.test")).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("workers", [1, 2])
def test_dns_by_handed_sockets(workers, handed, gate):
    port = handed.add_dns()
    handed.start(gate, rules("allowed.test:443"), flags=at(port, "dns"), workers=workers)
    for client in (UDP(port), TCP(port)):
        assert client.ask("refused.test").code == NXDOMAIN
        assert client.ask("allowed.test").addresses


def test_redirected_connections_by_a_handed_socket(handed, gate):
    port = handed.add("transparent")
    one = handed.start(gate, rules("allowed.test:443"), flags=at(port, "transparent"))
    assert ask(port, b"GET / HTTP/1.1\r\nHost: refused.test\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    one.logged(event="denied", via="address", reason="loop")


def test_an_admin_socket_that_is_handed_in_stays(handed, gate, tmp_path):
    path = str(tmp_path / "admin.sock")
    handed.add("admin", address=path, family=socket.AF_UNIX)
    one = handed.start(gate, rules("allowed.test:443"), flags=("--listen-admin", path))
    got = subprocess.run([SLUICE, "status", "--socket", path], capture_output=True, text=True)
    assert got.returncode == 0 and f"{path} (admin)" in got.stdout, got
    assert subprocess.run([SLUICE, "drain", "--socket", path], capture_output=True).returncode == 0
    until("it ended", lambda: one.process.poll() is not None)
    assert os.path.exists(path)


def test_programs_that_the_gate_starts_get_none_of_them(handed, gate, tmp_path):
    path = str(tmp_path / "admin.sock")
    port = handed.add("connect")
    names_port = handed.add_dns()
    handed.add("admin", address=path, family=socket.AF_UNIX)
    one = handed.start(gate, rules("allowed.test:443"), flags=[*at(port), *at(names_port, "dns"), "--listen-admin", path])
    until("all are taken", lambda: "(admin)" in one.errors.read_text())
    for fd in range(3, 7):
        assert os.readlink(f"/proc/{one.process.pid}/fd/{fd}").startswith("socket:")
        flags = int(re.search(r"flags:\s+(\d+)", open(f"/proc/{one.process.pid}/fdinfo/{fd}").read()).group(1), 8)
        assert flags & os.O_CLOEXEC and flags & os.O_NONBLOCK, fd


def test_ipv6(handed, gate):
    port = handed.add("connect", address=("::1", 0), family=socket.AF_INET6)
    handed.start(gate, rules("allowed.test:443"), flags=("--listen-connect", f"[::1]:{port}"))
    with socket.create_connection(("::1", port), DEADLINE) as sock:
        sock.sendall(get("refused.test"))
        assert answer(sock).startswith(b"HTTP/1.1 403 ")


def test_systemd_starts_it_at_the_first_connection(gate, web, hello):
    """With systemd's own program for that. The gate is there once somebody asks."""
    site = web(hello)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["systemd-socket-activate", "--listen", f"127.0.0.1:{port}", "--fdname=connect", SLUICE]
    done = threading.Event()

    def knock():
        while not done.wait(0.05):
            with contextlib.suppress(OSError):
                return answers.append(ask(port, get(f"allowed.test:{site.port}")))

    answers = []
    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        one = gate(rules(local("allowed.test", site.port)), command=command, flags=at(port))
        knocking.join(DEADLINE)
    finally:
        done.set()
    assert len(answers) == 1 and b"hello from allowed.test" in answers[0]
    assert f"127.0.0.1:{port} (connect)" in one.errors.read_text()


def test_without_a_manager_the_variables_are_another_process(gate):
    one = gate(rules("allowed.test:443"), start={"env": os.environ | {"LISTEN_PID": "1", "LISTEN_FDS": "7"}})
    assert one.ask(get("refused.test")).startswith(b"HTTP/1.1 403 ")


# A restart

def test_a_restart_drops_no_connection(handed, gate, web, hello, upstream):
    site, quiet = web(hello), upstream(echo)
    port = handed.add("connect")
    policy = rules(local("allowed.test", site.port), local("quiet.test", quiet.port))
    old = handed.start(gate, policy, flags=at(port), more="timeouts: {drain: 60}")
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as tunnel:
        open_tunnel(tunnel, f"quiet.test:{quiet.port}")
        old.drain()
        waiting = []
        for _ in range(50):
            sock = socket.create_connection(("127.0.0.1", port), DEADLINE)
            sock.settimeout(DEADLINE)
            sock.sendall(get(f"allowed.test:{site.port}"))
            waiting.append(sock)
        tunnel.sendall(b"still here")
        assert tunnel.recv(100) == b"still here"
    assert old.process.wait(DEADLINE) == 0
    assert site.connections == 0
    handed.start(gate, policy, flags=at(port))
    for sock in waiting:
        assert b"hello from allowed.test" in answer(sock)
        sock.close()


def test_a_gate_that_drains_leaves_the_sockets_alone(handed, gate, upstream):
    """What comes by them is the next one's: it neither takes it nor wakes up for it."""
    server = upstream(echo)
    port = handed.add("connect")
    names_port = handed.add_dns()
    one = handed.start(gate, rules(local("allowed.test", server.port)), flags=[*at(port), *at(names_port, "dns")],
                       more="timeouts: {drain: 60}")
    tunnel = socket.create_connection(("127.0.0.1", port), DEADLINE)
    open_tunnel(tunnel, f"allowed.test:{server.port}")
    one.drain()

    def ticks():
        fields = open(f"/proc/{one.process.pid}/stat").read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, socket.create_connection(("127.0.0.1", port)) as waiting:
        asking.sendto(b"x" * 40, ("127.0.0.1", names_port))
        waiting.sendall(get("refused.test"))
        before, start = ticks(), time.monotonic()
        until("a second has gone", lambda: time.monotonic() - start > 1)
        # Of a hundred: a loop that were woken again and again would take them all.
        assert ticks() - before < 30
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.recv(1)
    tunnel.close()


# Mistakes

@pytest.mark.parametrize("socket_of, flags, said", [
    (dict(name="web"), (), "is named `web`; name it after the key of `listen`"),
    (dict(name=""), (), "socket 3 has no name; name it after"),
    (dict(name="connect", kind=socket.SOCK_DGRAM), (), "socket 3 (connect) is not of the kind that `connect` takes; give the socket unit ListenStream=ADDRESS:PORT"),
    (dict(name="connect", listens=False), (), "is not of the kind that `connect` takes"),
    (dict(name="connect"), (), "which is not among the gate's listeners; write `listen: {connect: 127.0.0.1:"),
    (dict(name="transparent"), (), "write `listen: {transparent: 127.0.0.1:"),
    (dict(name="dns"), ("dns",), "came alone; it takes datagrams and streams: add ListenDatagram=127.0.0.1:"),
    (dict(name="dns", kind=socket.SOCK_DGRAM), ("dns",), "add ListenStream=127.0.0.1:"),
    (dict(name="admin"), (), "is no unix socket that listens"),
    (dict(name="connect", family=socket.AF_INET6, address=("::", 0), v6only=0), ("six",), "set BindIPv6Only=ipv6-only"),
])
def test_a_mistake_is_told(socket_of, flags, said, handed):
    port = handed.add(**socket_of)
    arguments = {(): (), ("dns",): at(port, "dns"), ("six",): ("--listen-connect", f"[::]:{port}")}[flags]
    text = handed.refused(*arguments)
    assert "a socket that was handed in cannot be used" in text and said in text, text


def test_an_admin_socket_elsewhere(handed, tmp_path):
    path = str(tmp_path / "other.sock")
    handed.add("admin", address=path, family=socket.AF_UNIX)
    assert f"listens at {path}, and the gate has no admin socket; write `listen: {{admin: {path}}}`" in handed.refused()
    assert "and the gate's admin socket is /run/x.sock" in handed.refused("--listen-admin", "/run/x.sock")


@pytest.mark.parametrize("more, said", [
    ({"LISTEN_FDS": "many"}, "LISTEN_FDS is a number of sockets up to 1024, not `many`"),
    ({"LISTEN_FDNAMES": "connect:dns"}, "LISTEN_FDS says 1 sockets, and LISTEN_FDNAMES has 2 names"),
])
def test_variables_that_make_no_sense(more, said, handed):
    handed.add("connect")
    assert said in handed.refused(env=more)


# Notices

@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_manager_is_told_when_it_is_ready_and_when_it_ends(kind, gate, tmp_path):
    name = str(tmp_path / "notify") if kind == "path" else f"@sluice-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(DEADLINE)
        manager.bind(name.replace("@", "\0"))
        one = gate(rules("allowed.test:443"), start={"env": os.environ | {"NOTIFY_SOCKET": name}})
        ready = manager.recv(4096).decode().splitlines()
        assert ready[0] == "READY=1" and ready[1].startswith("STATUS=policy ") and ready[1].endswith(" is in force")
        one.write(rules("allowed.test:444"))
        one.reload()
        assert manager.recv(4096).decode().startswith("STATUS=policy ")
        one.signal(signal.SIGTERM)
        assert manager.recv(4096).decode().startswith("STOPPING=1\n")


def test_a_manager_that_is_not_there(gate, tmp_path):
    one = gate(rules("allowed.test:443"), start={"env": os.environ | {"NOTIFY_SOCKET": str(tmp_path / "none")}})
    assert "warning: the service manager cannot be told how things stand" in one.errors.read_text()
    assert one.ask(get("refused.test")).startswith(b"HTTP/1.1 403 ")
