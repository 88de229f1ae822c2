"""Each system call on the path of a tunnel fails once with each of its errno values (injected by strace)."""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from gate import echo, local, rules, until

FAULTS = {
    "accept4": ["EMFILE", "ENFILE", "ECONNABORTED", "ENOBUFS", "ENOMEM", "EPERM", "EINTR"],
    "socket": ["EMFILE", "ENFILE", "ENOBUFS", "EAFNOSUPPORT"],
    "connect": ["ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "ETIMEDOUT", "EADDRNOTAVAIL", "EACCES"],
    "getpeername": ["ENOTCONN", "ENOBUFS"],
    "recvfrom": ["ECONNRESET", "ETIMEDOUT", "EINTR", "ENOMEM"],
    "sendto": ["EPIPE", "ECONNRESET", "EAGAIN", "EINTR", "ENOBUFS"],
    "splice": ["EINVAL", "ECONNRESET", "EPIPE", "ENOMEM", "EAGAIN"],
    "pipe2": ["EMFILE", "ENFILE"],
    "setsockopt": ["EINVAL", "ENOBUFS"],
    "epoll_ctl": ["ENOSPC", "ENOMEM"],
    "epoll_wait": ["EINTR"],
    "epoll_pwait": ["EINTR"],
    "shutdown": ["ENOTCONN"],
    "close": ["EINTR", "EIO"],
    "write": ["EINTR", "ENOSPC", "EIO"],
}


def traceable():
    if not shutil.which("strace"):
        return "strace is not installed"
    if subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True).returncode:
        return "this machine forbids ptrace"
    return None


@pytest.fixture(scope="session", autouse=True)
def strace():
    if why := traceable():
        pytest.skip(why)


def injected(one, fault):
    """Lets calls of the gate fail meanwhile; gives the file that they are written to."""
    return traced(one, fault.split(":")[0], "-e", f"inject={fault}")


@contextlib.contextmanager
def traced(one, calls, *more):
    """Gives the file that these calls of the gate are written to meanwhile."""
    trace, attached = one.folder / "strace", one.folder / "attached"
    with open(attached, "wb") as errors:
        tracer = subprocess.Popen(["strace", "-f", "-p", str(one.process.pid), "-o", trace, "-e", f"trace={calls}", *more], stderr=errors)
        try:
            until("strace is attached", lambda: "attached" in attached.read_text())
            yield trace
        finally:
            tracer.terminate()
            tracer.wait(20)


def try_tunnel(one, target):
    """A tunnel that streams: whether all came back."""
    try:
        sock, got = one.connect(target)
        if not got.startswith(b"HTTP/1.1 200 "):
            sock.close()
            return False
        data = os.urandom(300_000)
        sock.sendall(data)
        echoed = b""
        while len(echoed) < len(data) and (more := sock.recv(65536)):
            echoed += more
        sock.close()
        return echoed == data
    except OSError:
        return False


@pytest.mark.parametrize("call,error", [(call, error) for call, errors in FAULTS.items() for error in errors])
@pytest.mark.parametrize("when", [1, 3])
def test_a_failed_call_harms_one_connection_at_most(call, error, when, gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port, ", protocol: tcp")), more="timeouts: {head: 5, connect: 5, drain: 1}")
    target = f"allowed.test:{server.port}"
    assert try_tunnel(one, target)
    until("its line", lambda: len([x for x in one.lines() if x["event"] == "closed"]) == 1)
    before = one.descriptors()
    with injected(one, f"{call}:error={error}:when={when}") as trace:
        try_tunnel(one, target)
        assert one.process.poll() is None, "the gate died"

        def lost():
            # strace keeps a failed close from happening at all; Linux would have closed the descriptor.
            # strace counts per thread.
            return trace.read_text().count("(INJECTED)") if call == "close" else 0

        # A call that strace let fail, and left before it ended, is in no trace.
        until("the tunnel's descriptors are closed", lambda: one.descriptors() <= before + lost())
    until("a tunnel works again", lambda: try_tunnel(one, target))
    one.leaves_none(before + lost())
    lines = [x for x in one.lines() if x["event"] != "policy"]
    assert len({x["id"] for x in lines}) == len(lines), "one line a connection"


def test_a_machine_without_ipv6_reaches_names_that_have_it(gate, upstream, names):
    """Where IPv6 is switched off connect(2) says EADDRNOTAVAIL, which of IPv4 means that no port is left."""
    server = upstream(echo)
    names.addresses["both.test"] = ["::1", "127.0.0.1"]
    one = gate(rules(f'{{host: "both.test:{server.port}", addresses: ["127.0.0.0/8", "::1"]}}'))
    # The first one is that of the question.
    with injected(one, "connect:error=EADDRNOTAVAIL:when=2") as trace:
        sock, got = one.connect(f"both.test:{server.port}")
        sock.close()
    assert "::1" in trace.read_text() and trace.read_text().count("(INJECTED)") == 1
    assert got.startswith(b"HTTP/1.1 200 "), got


@pytest.mark.parametrize("protocol", ["tcp", "auto"])
@pytest.mark.parametrize("ends", ["client", "upstream"])
def test_a_side_that_cannot_be_told_of_an_end_is_gone(ends, protocol, gate, upstream):
    """The other side has no more to hear of it: the tunnel ends with what was said, and does not wait for ever."""
    ended = []

    def talk(stream):
        stream.settimeout(60)
        stream.sendall(b"said before")
        if ends == "upstream":
            stream.shutdown(socket.SHUT_WR)
        try:
            ended.append(stream.recv(100))
        except ConnectionResetError:
            ended.append(b"")

    server = upstream(talk)
    one = gate(rules(local("allowed.test", server.port, f", protocol: {protocol}")))
    # The worker's own descriptors are there once it has answered.
    one.connect(f"refused.test:{server.port}")
    before = one.descriptors()
    with injected(one, "shutdown:error=ENOTCONN") as trace:
        sock, got = one.connect(f"allowed.test:{server.port}")
        while not got.endswith(b"said before"):
            got += sock.recv(100) or pytest.fail(f"an end after {got}")
        if ends == "client":
            sock.shutdown(socket.SHUT_WR)
        try:
            assert sock.recv(100) == b""
        except ConnectionResetError:
            pass
        until("the upstream has heard the end", lambda: ended == [b""])
        one.logged(event="closed")
        one.leaves_none(before)
    sock.close()
    assert trace.read_text().count("(INJECTED)") == 1
    assert [line["event"] for line in one.lines()] == ["policy", "denied", "closed"]


@pytest.mark.parametrize("protocol", ["tcp", "auto"])
def test_a_server_that_speaks_at_once_is_heard(protocol, gate, upstream):
    """Its first bytes are there by the time that the gate hears of the connection: one event tells of both."""
    def talk(stream):
        stream.settimeout(60)
        stream.sendall(b"220 ready")
        stream.recv(100)

    server = upstream(talk)
    one = gate(rules(local("allowed.test", server.port, f", protocol: {protocol}")))
    with injected(one, "connect:delay_exit=300000") as trace:
        sock, got = one.connect(f"allowed.test:{server.port}")
        while not got.endswith(b"220 ready"):
            got += sock.recv(100) or pytest.fail(f"an end after {got}")
    sock.close()
    assert "(DELAYED)" in trace.read_text()


ASK = """
import socket, sys
stream = socket.socket(fileno=int(sys.argv[1]))
request = b"GET http://refused.test/ HTTP/1.1\\r\\nHost: refused.test\\r\\n\\r\\n" * 20000
while True:
    stream.sendall(request)
"""
LISTEN = """
import socket, sys
stream, room = socket.socket(fileno=int(sys.argv[1])), bytearray(1 << 20)
while stream.recv_into(room):
    pass
"""


def test_one_client_that_never_pauses_holds_up_nobody(gate):
    """Refusals keep the connection, so requests can follow each other faster than they are answered: in one turn of the
    loop only so many are read."""
    one = gate(rules('"allowed.test:80"'))
    trace = one.folder / "reads"
    with one.dial() as stream:
        stream.settimeout(None)
        programs = [
            subprocess.Popen([sys.executable, "-c", program, str(stream.fileno())], pass_fds=[stream.fileno()], stderr=subprocess.DEVNULL)
            for program in (ASK, LISTEN)]
        programs.append(subprocess.Popen(
            ["strace", "-f", "-qq", "-p", str(one.process.pid), "-o", trace, "-e", "trace=recvfrom,epoll_wait,epoll_pwait"]))
        try:
            until("it is read", lambda: trace.exists() and trace.read_text().count("recvfrom(") > 200)
        finally:
            for program in programs:
                program.terminate()
                program.wait()
    turns = re.split(r"epoll_p?wait", trace.read_text())
    assert max(turn.count("recvfrom(") for turn in turns) <= 10


@pytest.mark.parametrize("rule", ["", ", content: {secrets: block}"], ids=["passed on", "checked"])
def test_a_body_does_not_wait_until_its_head_is_acknowledged(gate, upstream, rule):
    """A small segment behind another would: TCP_NODELAY is set between the two at the latest."""
    def talk(stream):
        data = b""
        while b"hello" not in data and (more := stream.recv(65536)):
            data += more
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    site = upstream(talk)
    one = gate(rules(local("allowed.test", site.port, rule)))
    with traced(one, "connect,setsockopt,sendto") as trace:
        head = f"POST http://allowed.test:{site.port}/ HTTP/1.1\r\nHost: allowed.test:{site.port}\r\nContent-Length: 5\r\n\r\n"
        with one.dial() as sock:
            sock.sendall(head.encode())
            until("the head is on", lambda: '"POST / ' in trace.read_text())
            sock.sendall(b"hello")
            assert b" 200 " in sock.recv(65536)
    calls = re.search(rf"connect\((\d+), [^\n]*htons\({site.port}\).*?\"hello\"", trace.read_text(), re.S)
    assert calls and f"setsockopt({calls.group(1)}, SOL_TCP, TCP_NODELAY, [1]" in calls.group()
