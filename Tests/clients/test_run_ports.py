"""Ways into a sandbox and to its host: published ports, services of the host by policy, system calls that an option allows."""
import json
import os
import shutil
import socket
import subprocess
import urllib.request

import pytest

from gate import DEADLINE, until

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

BEST = ("--limits", "best-effort")
SERVER = """
import socket
server = socket.create_server(("127.0.0.1", 3000))
print("up", flush=True)
while True:
    one, _ = server.accept()
    text = b""
    while got := one.recv(65536):
        text += got
    one.sendall(b"heard %d" % len(text) + b"x" * 100_000)
    one.close()
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


# MARK: published ports

def test_a_published_port_is_reached_on_the_hosts_loopback_and_logged(place):
    port = free_port()
    process = place.start("python3", "-c", SERVER, options=(*BEST, "--publish", f"{port}:3000"))
    assert process.stdout.readline() == "up\n", process.communicate()
    # A half-closed connection goes on the other way.
    for size in (5, 3_000_000):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as one:
            one.sendall(b"y" * size)
            one.shutdown(socket.SHUT_WR)
            heard = b"".join(iter(lambda: one.recv(65536), b""))
        assert heard == b"heard %d" % size + b"x" * 100_000
        place.logged(event="closed", client="sandbox", via="published", port=3000, bytes_down=size, bytes_up=len(heard))
    # Of the host's loopback alone, and of one sandbox at a time.
    listening = subprocess.run(["ss", "-Hltn", f"sport = {port}"], capture_output=True, text=True).stdout
    assert f"127.0.0.1:{port}" in listening and len(listening.splitlines()) == 1, listening
    got = place.run("true", options=(*BEST, "--publish", str(port)))
    assert got.returncode == 125 and f"port {port} of 127.0.0.1 cannot be had" in got.stderr, got
    process.terminate()
    process.communicate()
    until("it is free again", lambda: subprocess.run(["ss", "-Hltn", f"sport = {port}"], capture_output=True, text=True).stdout == "")


def test_a_published_port_without_a_server_is_reset(user_place):
    place, port = user_place, free_port()
    process = place.start("bash", "-c", "echo up; sleep 1000", options=(*BEST, "--publish", f"[::1]:{port}"))
    assert process.stdout.readline() == "up\n", process.communicate()
    # The reset may be there before connect(2) returns.
    with pytest.raises(ConnectionResetError), socket.create_connection(("::1", port), DEADLINE) as one:
        one.recv(1)
    process.terminate()
    process.communicate()
    for wrong in ("0.0.0.0:80", "192.0.2.1:80", "x", "0", "1:2:3", "80:", "::1:80", "[::]:80"):
        assert place.run("true", options=(*BEST, "--publish", wrong)).returncode == 64, wrong


# MARK: services of the host

def test_a_service_of_the_host_is_reached_by_a_rule_for_it_alone(place, web, hello):
    server, other = web(hello), web(hello)
    place.write(f"network_policy: {{allow: ['host.internal:{server.port}', '*.internal:{other.port}']}}")
    got = place.shell("; ".join(f"curl -sS --max-time 10 {more} http://host.internal:{one.port}/; echo" for one in (server, other) for more in ("", "--noproxy '*'")))
    lines = [line for line in got.stdout.splitlines() if line]
    assert lines[:2] == [f"hello from host.internal:{server.port}"] * 2, got
    assert all(json.loads(line)["reason"] == "address_refused" for line in lines[2:]) and len(lines) == 4 and other.connections == 0, got
    place.logged(event="closed", client="sandbox", host="host.internal", port=server.port)
    place.logged(event="denied", client="sandbox", host="host.internal", port=other.port, reason="address_refused")
    assert "host.internal" not in place.names.asked
    # The loopback inside is the sandbox's own, and the policy says so.
    place.write(f"network_policy: {{allow: ['localhost:{server.port}']}}")
    got = place.shell(f"curl -sS --max-time 10 http://localhost:{server.port}/")
    assert got.returncode == 7 and "in a sandbox of `sluice run` the sandbox itself" in got.stderr and "host.internal:PORT" in got.stderr, got


def test_a_policy_that_is_watched_is_read_again(user_place, web, hello):
    place, server = user_place, web(hello)
    place.write("network_policy: {default: deny}")
    process = place.start("bash", "-c", f"while :; do curl -s -o /dev/null -w '%{{http_code}}\\n' http://allowed.test:{server.port}/; sleep 0.1; done",
                          options=(*BEST, "--watch"))
    assert process.stdout.readline() == "403\n", process.communicate()
    place.write(f"network_policy: {{allow: [{{host: 'allowed.test:{server.port}', addresses: [127.0.0.0/8]}}]}}")
    while (code := process.stdout.readline()) == "403\n":
        pass
    assert code == "200\n"
    place.write("network_policy: {alow: []}")
    process.terminate()
    assert place.run("true", options=(*BEST, "--watch", "--gate", "x")).returncode == 64
    process.communicate()


# MARK: what an option gives back

def test_debuggers_work_where_they_are_allowed(user_place):
    place = user_place
    strace = ("strace", "-f", "-e", "trace=execve", "sh", "-c", "true; /bin/true")
    assert place.run(*strace).returncode != 0
    got = place.run(*strace, options=(*BEST, "--allow", "ptrace"))
    assert got.returncode == 0 and got.stderr.count("execve(") >= 2 and "--allow ptrace: processes in the sandbox" in got.stderr, got
    if shutil.which("gdb"):
        got = place.run("gdb", "--batch", "-ex", "run", "-ex", "bt", "--args", "sh", "-c", "kill -SEGV $$", options=(*BEST, "--allow", "ptrace"))
        assert "SIGSEGV" in got.stdout and "address space randomization" not in got.stderr, got
    # Process 1 is none of the command's.
    got = place.shell("strace -p 1; cat /proc/1/environ; grep Seccomp: /proc/self/status", options=(*BEST, "--allow", "ptrace"))
    assert "Operation not permitted" in got.stderr and got.stdout.split() == ["Seccomp:", "2"], got


def test_namespaces_of_ones_own_where_they_are_allowed(user_place):
    place, userns = user_place, (*BEST, "--allow", "userns")
    assert place.run("unshare", "--user", "--map-root-user", "id", "-u").returncode != 0
    script = """
import os, socket
print(os.getuid())
for attempt in (lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW), lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12),
                lambda: open("/usr/x", "w"), lambda: open("/etc/passwd", "w"), lambda: open("/proc/sys/kernel/core_pattern", "w"), lambda: open("/proc/1/environ").read()):
    try:
        print("BROKEN", attempt())
    except OSError as error:
        print("held")
print(os.system("mount -t tmpfs x /mnt 2>/dev/null") != 0, os.system("umount /tmp 2>/dev/null") != 0)
"""
    got = place.run("unshare", "--user", "--map-root-user", "--net", "--pid", "--mount", "--propagation", "unchanged", "--fork", "python3", "-c", script, options=userns)
    assert got.stdout.split() == ["0"] + ["held"] * 7 + ["True", "True"] and "--allow userns:" in got.stderr, got
