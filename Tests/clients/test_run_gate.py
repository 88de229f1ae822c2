"""`sluice run --gate`: sandboxes that a running gate serves, as root and as a user without any rights."""
import concurrent.futures
import os
import signal
import subprocess

import pytest

from gate import DEADLINE, echo, local, until
from served import UID, Served

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)


@pytest.fixture(params=["root", "user"])
def place(request, names):
    place = Served(request.param, names)
    yield place
    try:
        place.end_gate()
        place.leaves_nothing()
    finally:
        place.close()


def network(*rules, more=""):
    return f"{{allow: [{', '.join(rules)}]{more}}}"


def curl(port, host="allowed.test"):
    return f"curl -sS -o /dev/null -w '%{{http_code}}' --max-time 10 http://{host}:{port}/"


def wait_inside(place, name="sandbox"):
    """Starts a sandbox that stays, and is there when this returns."""
    process = place.start("sh", "-c", "echo there; exec sleep 1000", options=("--name", name))
    assert process.stdout.readline() == "there\n", process.stderr.read()
    return process


def end(process, status=143):
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == status
    process.stdout.close()
    process.stderr.close()


def test_a_running_gate_serves_a_sandbox_as_its_own_would(place, web, hello):
    server = web(hello)
    place.write(f"network_policy: {network(local('allowed.test', server.port))}")
    place.serve()
    got = place.shell(f"""
curl -sS --max-time 10 http://allowed.test:{server.port}/; echo
curl -sS --max-time 10 --noproxy '*' http://allowed.test:{server.port}/; echo
curl -sS --max-time 10 http://refused.test/; echo
getent hosts refused.test; echo $?
exit 7""")
    lines = [line for line in got.stdout.split("\n") if line]
    assert got.returncode == 7 and lines[0] == lines[1] == f"hello from allowed.test:{server.port}", got
    assert '"reason":"not_allowed"' in lines[2] and "refused.test" in lines[3] and lines[4] == "0", got
    place.logged(event="closed", client="sandbox", via="address", host="allowed.test", port=server.port)
    place.logged(event="denied", client="sandbox", via="dns", host="refused.test")
    # The probe asked this gate too.
    place.logged(event="denied", client="sandbox", via="connect", host="probe.sluice.invalid")
    assert place.sandboxes() == []


def test_two_sandboxes_have_rules_and_buckets_of_their_own(place, web, hello):
    server = web(hello)
    limit = ', rate_limits: [{host: "*", requests_per_minute: 2}]'
    place.write(f"network_policy: {network(local('allowed.test', server.port), more=limit)}\n"
                f"clients: [{{name: other, network_policy: {network(local('other.test', server.port))}}}]")
    place.serve("--workers", "2")
    stay = wait_inside(place, "stay")
    assert place.sandboxes() == ["stay"]
    ask = f"for i in 1 2 3; do {curl(server.port)}; echo; done; {curl(server.port, 'other.test')}"
    assert place.shell(ask, options=("--name", "a")).stdout.split() == ["200", "200", "429", "403"]
    assert place.shell(ask, options=("--name", "b")).stdout.split() == ["200", "200", "429", "403"]
    assert place.shell(ask, options=("--name", "other")).stdout.split() == ["403", "403", "403", "200"]
    assert place.logged(event="limited", client="a")["capacity"] == place.logged(event="limited", client="b")["capacity"] == 2
    # The same name twice at the same time, and one after the other.
    got = place.run("true", options=("--name", "stay"))
    assert got.returncode == 125 and "a sandbox named stay is there already; give another --name" in got.stderr, got
    end(stay)
    assert place.run("true", options=("--name", "stay")).returncode == 0


def test_a_reload_reaches_a_sandbox_that_runs(place, web, hello, upstream):
    server, other = web(hello), upstream(echo)
    limit = ', rate_limits: [{host: "*", requests_per_minute: 3}]'
    place.write(f"network_policy: {network(local('allowed.test', server.port), local('raw.test', other.port), more=limit)}")
    place.serve()
    script = (f"{curl(server.port)}; {curl(server.port)}; exec 3<>/dev/tcp/raw.test/{other.port}; echo a >&3; read word <&3; echo $word; read go; "
              f"read word <&3 || echo cut; {curl(server.port)}; {curl(server.port)}")
    process = place.start("bash", "-c", script, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "200200a\n"
    place.write(f"network_policy: {network(local('allowed.test', server.port), more=limit)}")
    got = place.ask("reload")[0]
    # The file's own rules, and the sandbox's, which are the same: said once.
    assert got["changes"] == [f"- allow raw.test:{other.port}"] and got["cut"] == 1
    out, errors = process.communicate("go\n", timeout=DEADLINE)
    # Used tokens stay used.
    assert out == "cut\n200429", (out, errors)


def test_when_the_gate_is_killed_the_command_ends(place):
    place.serve()
    stubborn = place.start("sh", "-c", "trap '' TERM; echo there; while :; do sleep 1; done", options=("--name", "stubborn"))
    assert stubborn.stdout.readline() == "there\n"
    process = wait_inside(place)
    place.gate.kill()
    place.gate.wait()
    out, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 143 and "has ended, and the sandbox has no network without it: ending the command" in errors, errors
    # A command that ignores SIGTERM is killed.
    out, errors = stubborn.communicate(timeout=DEADLINE)
    assert stubborn.returncode == 137, errors
    place.leaves_nothing()


def test_a_drain_of_the_gate_lets_its_tunnels_finish(place, upstream):
    server = upstream(echo)
    place.write(f"network_policy: {network(local('raw.test', server.port))}")
    place.policy.write_text(place.policy.read_text().replace("drain: 1", "drain: 20"))
    place.serve()
    script = f"exec 3<>/dev/tcp/raw.test/{server.port}; echo a >&3; read word <&3; echo $word; read go; echo b >&3; read word <&3; echo $word"
    process = place.start("bash", "-c", script, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "a\n"
    assert place.ask("drain")[0]["ok"]
    process.stdin.write("go\n")
    process.stdin.close()
    assert process.stdout.read() == "b\n"
    process.wait(DEADLINE)
    assert place.gate.wait(DEADLINE) == 0
    process.stdout.close()
    process.stderr.close()


def test_a_sandbox_that_is_killed_leaves_nothing_at_the_gate(place, upstream):
    server = upstream(echo)
    place.write(f"network_policy: {network(local('raw.test', server.port))}")
    place.serve("--workers", "2")
    place.sandboxes()
    before = place.descriptors()
    for _ in range(3):
        process = place.start("bash", "-c", f"exec 3<>/dev/tcp/raw.test/{server.port}; echo a >&3; read word <&3; echo $word; sleep 1000")
        assert process.stdout.readline() == "a\n"
        assert place.descriptors() > before + 5
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        until("the name is free", lambda: place.sandboxes() == [])
        until("its descriptors are closed", lambda: place.descriptors() <= before)
    assert len([line for line in place.lines() if line.get("host") == "raw.test" and line["event"] == "closed"]) == 3


def test_what_a_command_has_sent_before_it_ended_arrives(place, upstream):
    got = []

    def swallow(stream):
        count = 0
        while data := stream.recv(65536):
            count += len(data)
        got.append(count)

    server = upstream(swallow)
    place.write(f"network_policy: {network(local('raw.test', server.port))}")
    place.serve()
    assert place.shell(f"exec 3<>/dev/tcp/raw.test/{server.port}; head -c 3000000 /dev/zero >&3").returncode == 0
    assert until("the upstream has all", lambda: got) == [3_000_000]
    assert place.logged(event="closed", host="raw.test")["bytes_up"] == 3_000_000


def test_many_sandboxes_at_once_have_their_own_names(place, web, hello):
    server = web(hello)
    place.write(f"network_policy: {network(local('allowed.test', server.port))}")
    place.serve("--workers", "2")
    place.sandboxes()
    before = place.descriptors()

    def one(number):
        return place.shell(curl(server.port), options=("--name", f"s{number}")).stdout

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert list(pool.map(one, range(12))) == ["200"] * 12
    assert {line["client"] for line in place.lines() if line.get("host") == "allowed.test"} == {f"s{number}" for number in range(12)}
    assert place.sandboxes() == []
    until("no descriptor is left", lambda: place.descriptors() <= before)


def test_every_port_leads_to_the_gate_and_limits_come_from_the_file(place):
    place.write("network_policy: {allow: [a.test:8000]}")
    place.serve()
    mine = place.folder / "mine.yaml"
    mine.write_text("network_policy: {allow: [b.test:7777]}\nprocess_limits: {pids.max: 9}\n")
    plan = place.run("true", options=("--policy", mine, "--print-plan")).stdout
    assert "tcp to every port of every address but the loopback's goes to port" in plan, plan
    assert "7777" not in plan and "limit processes to 9" in plan, plan
    assert f"the socket {place.socket} is out of reach" in plan


def test_what_cannot_be_is_said_and_nothing_is_started(place):
    got = place.run("touch", "started")
    assert got.returncode == 125 and "--listen-admin" in got.stderr, got
    place.serve()
    got = place.run("touch", "started", options=("--log", place.log))
    assert got.returncode == 64 and "the log is the gate's" in got.stderr, got
    # The command has the same uid: it must not see the socket, nor write the gate's own files.
    got = place.run("touch", "started", options=("--read-only", place.state))
    assert got.returncode == 125 and f"the admin socket {place.socket} stands in {place.state}, which the command sees" in got.stderr, got
    (place.workspace / "link").symlink_to(place.socket)
    got = subprocess.run([*place.prefix, place.sluice, "run", "--gate", "link", "--limits", "best-effort", "--read-write", place.state, "--", "true"],
                         cwd=place.workspace, env=place.environment(), capture_output=True, text=True)
    assert got.returncode == 125 and "which the command sees" in got.stderr, got
    assert not (place.workspace / "started").exists()
    place.end_gate()
    os.chown(place.state, UID, UID)
    place.log = place.workspace / "log"
    place.write("network_policy: {}")
    place.serve()
    got = place.run("touch", "started")
    assert got.returncode == 125 and f"{place.log} stands where the command can write it" in got.stderr, got
    assert not (place.workspace / "started").exists()


def test_a_policy_that_names_an_admin_socket_in_the_workspace_is_refused(place):
    policy = place.folder / "shared.yaml"
    policy.write_text(f"network_policy: {{}}\nlisten: {{admin: {place.workspace}/admin.sock}}\n")
    got = subprocess.run([*place.prefix, place.sluice, "run", "--policy", policy, "--log", place.log, "--limits", "best-effort", "--", "true"],
                         cwd=place.workspace, env=place.environment(), capture_output=True, text=True)
    assert got.returncode == 125 and "which the command sees" in got.stderr, got
    place.errors.touch()
