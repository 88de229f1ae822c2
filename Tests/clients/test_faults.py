"""Each system call of the way of a tunnel fails once with each errno that it can give (strace injects it)."""
import os
import shutil
import subprocess

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


def descriptors(one):
    return len(os.listdir(f"/proc/{one.process.pid}/fd"))


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
    before = descriptors(one)
    trace = one.folder / "strace"
    errors = open(one.folder / "attached", "wb")
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(one.process.pid), "-o", trace, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"],
        stderr=errors)
    try:
        until("strace is attached", lambda: "attached" in (one.folder / "attached").read_text())
        try_tunnel(one, target)
        assert one.process.poll() is None, "the gate died"
    finally:
        tracer.terminate()
        tracer.wait(20)
        errors.close()
    until("a tunnel works again", lambda: try_tunnel(one, target))
    # strace keeps a failed close from happening at all; Linux would have closed the descriptor.
    # It counts for each thread.
    lost = trace.read_text().count("(INJECTED)") if call == "close" else 0
    try:
        until("no descriptor is left behind", lambda: descriptors(one) <= before + lost)
    except AssertionError:
        left = subprocess.run(["ls", "-l", f"/proc/{one.process.pid}/fd"], capture_output=True, text=True).stdout
        raise AssertionError(f"{before} descriptors before, now {left}\n{trace.read_text()[:2000]}") from None
    lines = [x for x in one.lines() if x["event"] != "policy"]
    assert len({x["id"] for x in lines}) == len(lines), "one line a connection"
