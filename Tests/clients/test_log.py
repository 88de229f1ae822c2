"""The gate's log: each line names its gate, repeats share a line, and a disk that hangs or is full stops no loop and tears no line."""
import json
import os
import socket
import subprocess
import threading

import pytest

from dnswire import NXDOMAIN, UDP
from gate import DNS, Gate, echo, get, local, read, rules, until
from served import Served


@pytest.mark.parametrize("flags, name", [((), socket.gethostname()), (("--gate-name", 'edge "1"'), 'edge "1"')])
def test_each_line_names_its_gate(flags, name, gate):
    one = gate("network_policy: {default: deny}", flags=flags)
    one.ask(get("refused.test:80"))
    one.logged(event="denied")
    assert [(line["event"], line["gate"]) for line in one.lines()] == [("policy", name), ("denied", name)]


def test_a_bad_gate_name_is_told(tmp_path):
    for name in ["", "a\nb", "x" * 256]:
        got = subprocess.run([os.environ["SLUICE"], "serve", "--gate-name", name], capture_output=True, text=True, timeout=20)
        assert got.returncode == 64 and "--gate-name" in got.stderr, got


def test_refusals_that_repeat_share_a_line_a_second(gate):
    one = gate("network_policy: {default: deny}", flags=DNS)
    client, count = UDP(one.dns_port), 2000
    for _ in range(count):
        assert client.ask("again.test").code == NXDOMAIN
    assert client.ask("other.test").code == NXDOMAIN
    client.close()
    one.stop()
    lines = [line for line in one.lines() if line.get("host") == "again.test"]
    assert sum(1 + line.get("repeated", 0) for line in lines) == count
    assert all(line["reason"] == "not_allowed" and line["client"] == "default" and line["via"] == "dns" for line in lines)
    # The first one at once; from then on one for each second that it took, by the lines' own times.
    assert "repeated" not in lines[0] and len({line["time"][:19] for line in lines}) >= len(lines) - 2
    assert one.logged(host="other.test")["seq"] > 0
    assert [line["seq"] for line in one.lines()] == list(range(1, len(one.lines()) + 1))


def test_bytes_are_payload_and_a_refusal_has_none(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)))
    sock, got = one.connect(f"allowed.test:{server.port}")
    assert got.startswith(b"HTTP/1.1 200 ")
    sock.sendall(b"12345")
    assert read(sock, 5) == b"12345"
    sock.close()
    line = one.logged(event="closed")
    assert (line["bytes_up"], line["bytes_down"], line["inspected"]) == (5, 5, False)
    one.connect("refused.test:443")[0].close()
    line = one.logged(event="denied")
    assert not {"bytes_up", "bytes_down", "inspected", "address"} & set(line) and "duration_ms" in line
    one.connect("allowed.test:443\0")[0].close()
    assert "inspected" not in one.logged(reason="bad_request")


class Unread(Gate):
    """A gate whose standard output, its log, is a blocking socket: a write of it does not come back while nobody reads."""

    def __init__(self, folder, names, policy, **more):
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        self.reader, self.received = ours, b""
        super().__init__(folder, names, policy, stdout=theirs, **more)
        theirs.close()

    def write(self, policy):
        super().write(policy)
        self.policy_file.write_text(self.policy_file.read_text().replace(f'file: "{self.log}", ', ""))

    def read_on(self):
        def take():
            while data := self.reader.recv(65536):
                self.received += data
        threading.Thread(target=take, daemon=True).start()

    def lines(self, path=None):
        return [json.loads(line) for line in self.received.rpartition(b"\n")[0].splitlines()]


@pytest.fixture
def unread(tmp_path, names):
    started = []

    def start(policy, **more):
        started.append(Unread(tmp_path, names, policy, **more))
        return started[-1]

    yield start
    for one in started:
        one.read_on()
        one.stop()


@pytest.mark.parametrize("on_failure", ["refuse", "continue"])
def test_a_log_that_hangs_stops_no_loop(on_failure, unread, upstream):
    server = upstream(echo)
    one = unread(rules(local("allowed.test", server.port)), on_failure=on_failure, workers=2, more="limits: {log_buffer_bytes: 64KiB}")
    target = f"allowed.test:{server.port}"
    standing, got = one.connect(target)
    assert got.startswith(b"HTTP/1.1 200 ")
    # More lines than the socket and the buffer hold: each refusal is answered all the same.
    count = 1000
    for number in range(count):
        assert b" 403 " in one.ask(get(f"refused{number}.test")) or on_failure == "refuse", number
    sock, got = one.connect(target)
    sock.close()
    if on_failure == "refuse":
        assert got.startswith(b"HTTP/1.1 503 Service Unavailable: log_unwritable\r\n") and b"\r\nRetry-After: 1\r\n" in got
    else:
        assert got.startswith(b"HTTP/1.1 200 ")
    standing.sendall(b"still")
    assert read(standing, 5) == b"still", "a tunnel that stands goes on"
    until("it says so", lambda: "the log's disk does not answer" in one.errors.read_text())
    one.read_on()
    until("tunnels go again", lambda: b" 200 " in one.connect(target)[1])
    lost = one.logged(event="failed", reason="log_unwritable")["lost"]
    standing.close()
    one.logged(event="closed", bytes_up=5)
    lines = one.lines()
    assert sorted(line["seq"] for line in lines) == list(range(1, len(lines) + 1))
    refused = sum(1 + line.get("repeated", 0) for line in lines if line.get("host", "").startswith("refused"))
    assert lost > 0 and refused < count <= refused + lost, (refused, lost)
    until("it says so", lambda: "the log is written again" in one.errors.read_text())


def test_a_reload_with_a_full_disk_tears_no_line(gate, upstream, small_disk):
    """Each write fills the page that the log has begun, and stops within a line."""
    one = gate("network_policy: {default: deny}", log=small_disk.log)
    small_disk.fill()
    count = 60
    for number in range(count):
        assert one.ask(get(f"refused{number}.test")).startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 503 "))
    until("a line is torn", lambda: not small_disk.log.read_bytes().endswith(b"\n"))
    for _ in range(3):
        one.reload()
    small_disk.free()
    one.ask(get("last.test"))
    one.logged(host="last.test")
    lines = one.lines()
    assert {line["host"] for line in lines if line["event"] == "denied"} == {f"refused{n}.test" for n in range(count)} | {"last.test"}
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["event"] for line in lines].count("policy") == 4


def test_a_gate_that_died_within_a_line_leaves_the_next_one_whole(gate, tmp_path):
    log = tmp_path / "shared"
    log.write_text('{"v":1,"time":"2026-01-01T00:00:00.000Z","se')
    one = gate("network_policy: {default: deny}", log=log)
    one.ask(get("refused.test"))
    until("its lines", lambda: log.read_text().count("\n") >= 3)
    first, *rest = log.read_text().splitlines()
    assert first.endswith('"se') and [json.loads(line)["event"] for line in rest] == ["policy", "denied"]


@pytest.fixture(params=["root", "user"])
def attachable(request, names):
    place = Served(request.param, names)
    yield place
    try:
        place.end_gate()
        place.leaves_nothing()
    finally:
        place.close()


ASKS = "getent hosts mine.test; getent hosts probe.sluice.invalid; true"


def holds_marks(place):
    """The sandbox's own check is marked, and its command, which asks for the same name, is not taken for it."""
    place.logged(event="denied", host="mine.test", client="sandbox")
    until("both of its names", lambda: {"mine.test", "probe.sluice.invalid"} <= {line.get("host") for line in place.lines() if not line.get("probe")})
    checks = [line for line in place.lines() if line.get("probe")]
    assert "probe.sluice.invalid" in {line.get("host") for line in checks} and len(checks) > 1, place.lines()
    assert {line["client"] for line in checks} == {"sandbox"} and "mine.test" not in {line.get("host") for line in checks}


def test_a_sandboxs_own_check_is_marked_and_its_command_is_not(place):
    place.policy.write_text("network_policy: {default: deny}\n")
    got = place.shell(ASKS, options=("--limits", "best-effort"))
    assert got.returncode == 0, got
    holds_marks(place)


def test_a_running_gate_marks_the_check_of_a_sandbox_that_it_serves(attachable):
    attachable.write("network_policy: {default: deny}")
    attachable.serve()
    got = attachable.shell(ASKS)
    assert got.returncode == 0, got
    holds_marks(attachable)
