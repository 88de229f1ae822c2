"""The admin socket: state and control of a running gate, and access to the socket."""
import concurrent.futures
import json
import os
import re
import socket
import subprocess
import time

import pytest

from admin import Admin
from gate import DEADLINE, Gate, echo, expanded, get, local, occurrences, plain_environment, rules, until

NOBODY = 61943


def test_status_counts_what_the_log_says(admin, upstream):
    server = upstream(echo)
    one = admin(rules(local("allowed.test", server.port), local("nx.test", 1)), workers=2)
    tunnels = [one.gate.connect(f"allowed.test:{server.port}")[0] for _ in range(6)]
    for sock in tunnels:
        sock.sendall(b"x" * 1000)
        assert sock.recv(1000)
    for _ in range(5):
        assert b" 403 " in one.gate.connect("refused.test:443")[1]
    assert b" 400 " in one.gate.ask(b"nonsense\r\n\r\n")
    assert b" 502 " in one.gate.connect("nx.test:1")[1]
    for sock in tunnels[:4]:
        sock.close()
    until("four have ended", lambda: len([line for line in one.gate.lines() if line["event"] == "closed"]) == 4)
    status = until("it counts them", lambda: (lambda got: got if got["open"] == 2 and got["bytes_up"] == 6000 else None)(one.status()))
    assert status["ok"] and status["version"] and status["pid"] == one.gate.process.pid and status["workers"] == 2
    assert status["policy"]["file"] == str(one.gate.policy_file) and status["policy"]["hash"] == one.gate.lines()[0]["policy"]
    assert status["listeners"] == [{"door": "connect", "address": f"127.0.0.1:{one.gate.port}", "tls": False}]
    assert status["tunnels"] == 6 and status["bytes_up"] == 6000 and status["bytes_down"] == 6000
    assert status["log"] == {"file": str(one.gate.log), "writable": True, "waiting_bytes": 0}
    until("all refusals are in the log", lambda: occurrences(one.gate.lines()) == 1 + 4 + 6 + status["limited"]["all"] + status["failed"]["all"])
    lines = expanded(one.gate.lines())
    for event in ("denied", "limited", "failed", "revoked", "closed"):
        mine = [line for line in lines if line["event"] == event]
        assert status[event].pop("all") == len(mine)
        reasons = [line["reason"] for line in mine if "reason" in line]
        assert status[event] == {reason: reasons.count(reason) for reason in reasons}, event
    text = one.run("status")
    assert text.returncode == 0 and re.search(r"^refused +6: not_allowed 5, bad_request 1$", text.stdout, re.M), text
    for sock in tunnels[4:]:
        sock.close()


def test_a_tunnel_is_listed_and_cut_by_its_number(admin, upstream):
    server = upstream(echo)
    one = admin(rules(local("allowed.test", server.port)), workers=2)
    target = f"allowed.test:{server.port}"
    first, second = one.gate.connect(target)[0], one.gate.connect(target)[0]
    first.sendall(b"hello")
    assert first.recv(5) == b"hello"
    listed = until("both are there", lambda: len(one.tunnels()) == 2 and one.tunnels())
    got = next(tunnel for tunnel in listed if tunnel["bytes_up"] == 5)
    assert got["bytes_down"] >= 5 and got["client"] == "default" and got["host"] == "allowed.test" and got["port"] == server.port
    assert got["address"] == "127.0.0.1" and got["rule"] == f"{one.gate.policy_file}:3:7" and got["state"] == "open" and got["via"] == "connect"
    assert 0 <= got["idle_ms"] <= got["age_ms"] < 60_000
    assert len(one.tunnels("--limit", "1")) == 1 and one.json("tunnels", "--limit", "1")[-1]["more"]
    table = one.run("tunnels").stdout.splitlines()
    assert len(table) == 3 and table[0].split() == ["ID", "CLIENT", "TARGET", "ADDRESS", "UP", "DOWN", "AGE", "IDLE", "STATE", "RULE"]
    assert one.json("close", got["id"])[0] == {"ok": True}
    with pytest.raises(ConnectionResetError):
        first.recv(1)
    line = one.gate.logged(event="revoked", id=got["id"])
    assert line["reason"] == "shutdown" and line["bytes_up"] == 5
    # A tunnel that ended, one that never existed, and a text that is not an id.
    assert one.run("close", got["id"]).returncode == 1
    assert "no such tunnel" in one.run("close", "ffff").stderr
    assert one.run("close", "x y").returncode == 64
    second.sendall(b"still")
    assert second.recv(5) == b"still"
    second.close()


def test_a_reload_says_what_changed_and_what_it_cut(admin, upstream):
    server, other = upstream(echo), upstream(echo)
    limits = '  rate_limits: [{host: "*", concurrent: %d}]\n'
    both = rules(local("a.test", server.port), local("b.test", other.port), more=limits % 9)
    one = admin(both, workers=2)
    kept = one.gate.connect(f"a.test:{server.port}")[0]
    cut = [one.gate.connect(f"b.test:{other.port}")[0] for _ in range(3)]
    until("all stand", lambda: len(one.tunnels()) == 4)
    assert one.json("reload")[0]["changes"] == []
    one.gate.write(rules(local("a.test", server.port), local("c.test", 5), more=limits % 8))
    got = one.json("reload")[0]
    assert got["cut"] == 3 and got["policy"] == one.status()["policy"]["hash"]
    assert got["changes"] == [f"- allow b.test:{other.port}", "+ allow c.test:5", f"~ allow a.test:{server.port}: concurrent 9 -> 8"]
    for sock in cut:
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    kept.sendall(b"x")
    assert kept.recv(1) == b"x"
    # A bad file changes nothing.
    good = got["policy"]
    one.gate.write("network_policy: {alow: []}")
    got = one.run("reload")
    assert got.returncode == 2 and "did you mean `allow`?" in got.stderr and f"{good} stays in force" in got.stderr, got
    answers = one.json("reload", status=2)
    assert answers[0]["ok"] is False and "policy.yaml:1:18" in answers[0]["problems"][0]
    assert one.status()["policy"]["hash"] == good
    kept.sendall(b"y")
    assert kept.recv(1) == b"y"
    kept.close()


def test_reloads_at_once_are_done_one_after_the_other(admin):
    one = admin(rules("a.test:1"), workers=2)
    one.gate.write(rules("b.test:1"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: one.json("reload")[0], range(8)))
    changes = [answers["changes"] for answers in got]
    assert sorted(changes)[-1] == ["- allow a.test:1", "+ allow b.test:1"] and changes.count([]) == 7
    assert len({answers["policy"] for answers in got}) == 1


def test_drain_ends_the_gate_and_takes_the_socket_away(admin, upstream):
    server = upstream(echo)
    one = admin(rules(local("allowed.test", server.port)), more="timeouts: {drain: 20}")
    sock = one.gate.connect(f"allowed.test:{server.port}")[0]
    assert one.json("drain")[0] == {"ok": True, "connections": 1}
    until("it accepts no more", one.gate.is_deaf)
    assert one.json("status", status=1)[0]["draining"]
    assert one.run("drain").returncode == 0
    sock.sendall(b"last")
    assert sock.recv(4) == b"last"
    sock.close()
    assert one.gate.process.wait(DEADLINE) == 0
    assert not one.path.exists()
    got = one.run("status")
    assert got.returncode == 2 and "--listen-admin" in got.stderr


def test_a_dead_gates_socket_is_replaced_and_a_living_ones_is_not(gate, names, tmp_path):
    (tmp_path / "killed").mkdir()
    path = tmp_path / "admin.sock"
    one = Admin(Gate(tmp_path / "killed", names, rules("a.test:1"), flags=("--listen-admin", path)), path)
    second = subprocess.run([os.environ["SLUICE"], "serve", "--policy", one.gate.policy_file, "--listen-connect", "127.0.0.1:0", "--listen-admin", one.path],
                            capture_output=True, text=True, timeout=DEADLINE)
    assert second.returncode == 2 and "another process listens there" in second.stderr, second
    assert one.status()["pid"] == one.gate.process.pid
    one.gate.process.kill()
    one.gate.process.wait()
    assert one.path.exists() and "has ended" in one.run("status").stderr
    again = Admin(gate(rules("a.test:1"), flags=("--listen-admin", one.path)), one.path)
    assert again.status()["pid"] == again.gate.process.pid
    other = tmp_path / "file"
    other.write_text("mine")
    second = subprocess.run([os.environ["SLUICE"], "serve", "--policy", again.gate.policy_file, "--listen-connect", "127.0.0.1:0", "--listen-admin", other],
                            capture_output=True, text=True, timeout=DEADLINE)
    assert second.returncode == 2 and "no socket" in second.stderr and other.read_text() == "mine"


def test_commands_find_the_socket(admin, tmp_path):
    one = admin(rules("a.test:1"))
    unset = {"SLUICE_ADMIN": ""}
    assert one.run("status", "--socket", one.path, env=unset).returncode == 0
    got = one.run("status", env=unset)
    assert got.returncode == 2 and "set SLUICE_ADMIN" in got.stderr
    policy = tmp_path / "named.yaml"
    policy.write_text(f"network_policy: {{}}\nlisten: {{admin: {one.path}}}\n")
    assert one.run("status", "--policy", policy, env=unset).returncode == 0
    policy.write_text("network_policy: {}\n")
    got = one.run("status", "--policy", policy, env=unset)
    assert got.returncode == 2 and "--socket PATH" in got.stderr


# MARK: who may ask, and what they may send

@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_is_refused_also_where_the_file_lets_it(admin):
    one = admin(rules("a.test:1"))
    assert one.path.stat().st_mode & 0o777 == 0o600
    ask = f"import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({str(one.path)!r})\nprint(s.makefile().readline())"
    for parent in one.path.parents:
        if parent.stat().st_uid == 0 and parent.as_posix() != "/" and "pytest" in parent.as_posix():
            parent.chmod(parent.stat().st_mode | 0o011)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3", "-c", ask]
    got = subprocess.run(user, capture_output=True, text=True)
    assert "PermissionError" in got.stderr, got
    one.path.chmod(0o666)
    got = subprocess.run(user, capture_output=True, text=True)
    assert "only root and the user that the gate runs as" in got.stdout, got
    assert not one.status()["draining"]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a pid namespace")
def test_a_process_of_another_pid_namespace_is_refused_whoever_it_is(admin):
    """What a sandbox of the same user is, where it could see the socket."""
    one = admin(rules("a.test:1"))
    got = subprocess.run(["unshare", "--pid", "--fork", os.environ["SLUICE"], "drain", "--socket", one.path], capture_output=True, text=True)
    assert got.returncode == 2 and "pid namespace" in got.stderr, got
    assert not one.status()["draining"]


@pytest.mark.parametrize("sent, says", [
    (b"status\n", "no JSON"), (b"\n", "no JSON"), (b"\xff\xfe\0\n", "no JSON"), (b"[" * 4000 + b"\n", "no JSON"),
    (b'{"command":"stop"}\n', "no such command"), (b'{"command":"status","x":1}\n', "unknown member"),
    (b"x" * 5000, "at most 4096 bytes"), (b"x" * (1 << 20), "at most 4096 bytes"), (b'{"command":"status"}' + b" " * 5000 + b"\n", "at most 4096 bytes"),
    (b'{"command":"detach"}\n', "has no sandbox"), (b'{"command":"attach","name":"a","listeners":["dns"]}\n', "0 descriptors came"),
])
def test_a_bad_request_gets_an_error(sent, says, admin):
    one = admin(rules("a.test:1"))
    got = json.loads(one.raw(sent))
    assert got["ok"] is False and says in got["error"], got
    assert one.status()["ok"]


def test_descriptors_that_are_no_listeners_are_refused_and_closed(admin, tmp_path):
    one = admin(rules("a.test:1"))
    one.status()
    before = one.gate.descriptors()
    with open(os.devnull) as null, socket.socket() as unbound, socket.socket(socket.AF_UNIX) as local_socket:
        local_socket.bind(str(tmp_path / "x"))
        local_socket.listen()
        for line, fds, says in [
            (b'{"command":"attach","name":"a","listeners":["connect"]}\n', [null.fileno()], "is not a listener"),
            (b'{"command":"attach","name":"a","listeners":["connect"]}\n', [unbound.fileno()], "is not a listener"),
            (b'{"command":"attach","name":"a","listeners":["connect"]}\n', [local_socket.fileno()], "is not a listener"),
            (b'{"command":"attach","name":"a","listeners":["connect"]}\n', [null.fileno()] * 2, "2 descriptors came"),
            (b'{"command":"status"}\n', [null.fileno()], "only allowed with attach"), (b"x\n", [null.fileno()] * 64, "no JSON"),
        ]:
            with one.dial() as sock:
                socket.send_fds(sock, [line], fds)
                got = json.loads(sock.makefile().readline())
                assert says in got["error"], got
        # A sandbox that never becomes whole.
        with socket.create_server(("127.0.0.1", 0)) as listener, one.dial() as sock:
            socket.send_fds(sock, [b'{"command":"attach","name":"a","listeners":["connect"],"more":true}\n'], [listener.fileno()])
            assert json.loads(sock.makefile().readline())["ok"]
        with one.dial() as sock:
            for _ in range(8):
                socket.send_fds(sock, [b"x"], [null.fileno()] * 60)
            assert "too many descriptors" in sock.makefile().readline()
    one.gate.leaves_none(before)


def test_who_says_nothing_is_put_out_and_too_many_are_told(admin):
    one = admin(rules("a.test:1"))
    one.status()
    before = one.gate.descriptors()
    silent = [one.dial() for _ in range(64)]
    until("all have been taken", lambda: one.gate.descriptors() >= before + 64)
    assert b"64 connections are open" in one.raw(b'{"command":"status"}\n')
    # Half of a line does not keep its place either.
    silent[0].sendall(b'{"command":')
    started = time.monotonic()
    assert all(sock.recv(1) == b"" for sock in silent)
    assert time.monotonic() - started < 15
    one.gate.leaves_none(before)
    assert one.status()["ok"]


def test_requests_of_one_connection_are_answered_in_their_order(admin):
    one = admin(rules("a.test:1"), workers=2)
    with one.dial() as sock:
        sock.sendall(b'{"command":"status"}\n{"command":"tunnels"}\nnonsense\n{"command":"close","id":"1"}\n' * 20)
        lines = sock.makefile()
        for _ in range(20):
            assert json.loads(lines.readline())["version"]
            assert json.loads(lines.readline())["shown"] == 0
            assert "no JSON" in json.loads(lines.readline())["error"]
            assert json.loads(lines.readline())["gone"]


def test_a_client_cannot_reach_the_admin_socket_through_the_gate(admin):
    """Neither as a target nor by a request that means the gate itself."""
    one = admin(rules('"*:*"'))
    for request in (get("localhost"), f"GET unix:{one.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n",
                    b'{"command":"drain"}\n\n', f"CONNECT {one.path}:1 HTTP/1.1\r\n\r\n".encode()):
        got = one.gate.ask(request)
        assert not got.startswith(b"HTTP/1.1 2") and b'"ok"' not in got
    assert not one.status()["draining"]


# MARK: while it works

def test_50_status_calls_during_2000_tunnels(admin, upstream):
    server = upstream(echo)
    one = admin(rules(local("allowed.test", server.port)), workers=2)
    target = f"allowed.test:{server.port}"
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        tunnels = [sock for sock, got in pool.map(lambda _: one.gate.connect(target), range(1000)) if got.startswith(b"HTTP/1.1 200")]
        assert len(tunnels) == 1000
        calls = [pool.submit(one.status) for _ in range(50)]
        more = [pool.submit(one.gate.connect, target) for _ in range(1000)]
        figures = [call.result() for call in calls]
        tunnels += [call.result()[0] for call in more]
    assert all(got["whole"] and 1000 <= got["open"] <= 2000 for got in figures)
    status = one.status()
    assert status["open"] == status["tunnels"] == 2000
    listed = one.tunnels("--limit", "10000")
    assert len(listed) == 2000 and len({tunnel["id"] for tunnel in listed}) == 2000
    for sock in tunnels:
        sock.close()
    until("all have ended", lambda: one.status()["open"] == 0)
    assert one.status()["closed"]["all"] == 2000


def test_tunnels_are_served_while_a_large_policy_is_read_again(admin, upstream):
    server = upstream(echo)
    one = admin(rules(local("allowed.test", server.port)))
    sock = one.gate.connect(f"allowed.test:{server.port}")[0]
    one.gate.write(rules(local("allowed.test", server.port), *(f"h{number}.test:443" for number in range(10_000))))
    reload = subprocess.Popen([os.environ["SLUICE"], "reload", "--socket", one.path, "--json"], stdout=subprocess.PIPE)
    trips, slowest = 0, 0
    while reload.poll() is None:
        started = time.monotonic()
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        trips, slowest = trips + 1, max(slowest, time.monotonic() - started)
    got = json.loads(reload.stdout.read())
    assert got["ok"] and len(got["changes"]) == 200 and got["more_changes"] == 9_800
    assert trips > 10 and slowest < 2, (trips, slowest)
    sock.close()
