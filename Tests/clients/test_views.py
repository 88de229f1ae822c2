"""The output of `sluice log`, `learn`, `diff`, `test` and `top`, for handwritten logs and for logs of a gate."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from datetime import datetime, timezone

import pytest

from gate import answer, echo, get, local, occurrences, plain_environment, until

HOSTILE = ["\x1b[2J\x1b]0;title\x07", "\u202egro.elpmaxe\u202c", "<script>alert(1)</script>", "\x9b31m", "\r\n\t\x00", "x" * 65536]
PRINTABLE = set(range(0x20, 0x7F)) | {0x0A}


def sluice(*arguments, stdin="", status=None, env=None):
    got = subprocess.run([os.environ["SLUICE"], *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=100,
                         env=env or plain_environment())
    if status is not None:
        assert got.returncode == status, got
    return got


def line(event, number=0, **fields):
    at = datetime.fromtimestamp(1_700_000_000 + number, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return json.dumps({"v": 1, "time": at, "seq": number, "event": event, "id": f"{number:x}", "client": "agent", **fields})


def write(path, lines):
    path.write_text("".join(one + "\n" for one in lines))
    return path


def some(tmp_path):
    return write(tmp_path / "log", [
        line("policy", 0),
        line("closed", 1, via="connect", host="api.example.com", port=443, bytes_up=5, bytes_down=2048, duration_ms=20),
        line("denied", 2, via="connect", host="evil.example", port=443, reason="not_allowed"),
        line("denied", 3, client="other", via="dns", host="evil.example", reason="not_allowed"),
        line("limited", 4, via="http", host="api.example.com", port=80, reason="rate_limited", tokens=0, capacity=60, per_minute=60),
    ])


class OnTerminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments, rows=30, columns=120, env=None):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.seen = b""
        self.process = subprocess.Popen([os.environ["SLUICE"], *map(str, arguments)], stdin=slave, stdout=slave,
                                        stderr=subprocess.PIPE, env=env or plain_environment() | {"TERM": "xterm"})

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536)
        return self.seen

    def screen(self):
        """The lines of the last whole frame."""
        frames = self.read().split(b"\x1b[H")
        whole = [frame for frame in frames[1:] if frame.rstrip(b"\x1b[?1049lh25m0").endswith(b"\x1b[J") or b"\x1b[J" in frame]
        if not whole:
            return []
        text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", whole[-1].split(b"\x1b[J")[0])
        return text.decode("ascii").replace("\r", "").split("\n")

    def shows(self, text):
        try:
            return until(f"the screen shows {text}", lambda: any(text in one for one in self.screen()) and self.screen())
        except AssertionError:
            raise AssertionError(f"no {text} in {self.screen()}") from None

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self, status=0):
        def ended():
            self.read()
            return self.process.poll() is not None
        until("it ends", ended)
        self.read()
        errors = self.process.stderr.read()
        assert self.process.returncode == status, errors
        after = termios.tcgetattr(self.slave)
        os.close(self.slave)
        os.close(self.master)
        assert after == self.before, "the terminal is not what it was"
        return errors


# log


def test_log_passes_json_through_where_there_is_no_terminal(tmp_path):
    log = some(tmp_path)
    assert sluice("log", "--log", log, status=0).stdout == log.read_text()


@pytest.mark.parametrize("options, numbers", [
    (["--client", "agent", "--event", "denied"], [2]), (["--event", "denied", "--event", "limited"], [2, 3, 4]),
    (["--host", "evil.example"], [2, 3]), (["--host", "*.example.com"], [1, 4]), (["--host", "api.example.com:80"], [4]),
    (["--reason", "rate_limited"], [4]), (["--id", "2"], [2]), (["--since", "2023-11-14T22:13:23Z"], [3, 4]),
    (["--since", "1h", "--event", "closed"], []), (["--host", "nobody.example"], []),
])
def test_log_filters(options, numbers, tmp_path):
    got = sluice("log", "--log", some(tmp_path), *options, status=0 if numbers else 1)
    assert [json.loads(one)["seq"] for one in got.stdout.splitlines()] == numbers


def test_log_in_columns(tmp_path):
    got = sluice("log", "--log", some(tmp_path), "--human", status=0).stdout.splitlines()
    assert len(got) == 5
    assert re.match(r"2023-11-14 22:13:22\.000  denied      agent       connect  evil\.example:443 +not_allowed", got[2]), got[2]
    assert "up=5B down=2.0KiB took=20ms" in got[1] and "tokens=0/60 per_minute=60" in got[4]


def test_report_mode_is_told_in_full(tmp_path):
    log = write(tmp_path / "log", [line("denied", 1, via="connect", host="a.example", port=443, reason="authority_mismatch", would_deny=True)])
    assert "  would deny  agent       connect  a.example:443 " in sluice("log", "--log", log, "--human", status=0).stdout


@pytest.mark.parametrize("columns", [70, 80, 100, 130, 200])
def test_lines_fit_the_window(columns, tmp_path):
    long = write(tmp_path / "log", [line("closed", n, via="connect", host=f"{'h' * 40}.example", port=443, bytes_up=5, bytes_down=5, duration_ms=3,
                                         detail="d" * 300, address="192.0.2.1") for n in range(3)])
    for env in ({}, {"NO_COLOR": "1"}):
        one = OnTerminal("log", "--log", long, columns=columns, env=plain_environment() | {"TERM": "xterm"} | env)
        one.end()
        lines = re.sub(rb"\x1b\[[0-9;]*m", b"", one.seen).decode().replace("\r", "").splitlines()
        assert len(lines) == 3 and {len(text) for text in lines} == {columns}, lines
        assert all("example:443" in text and "closed" in text for text in lines) and ("2023-11-14" in lines[0]) == (columns >= 130)


@pytest.mark.parametrize("options, wrong", [
    (["--since", "soon"], "--since soon: write 90s"), (["--host", "a b"], "--host a b: "), (["--json", "--human"], "exclude each other"),
    (["--log", "/nowhere/log"], "/nowhere/log: open: "), (["--policy", "/nowhere/policy"], "cannot be read"),
])
def test_log_says_error_with_status_2(options, wrong, tmp_path):
    more = [] if options[0] in ("--log", "--policy") else ["--log", some(tmp_path)]
    assert wrong in sluice("log", *more, *options, status=2).stderr


@pytest.mark.parametrize("option, word, known", [("--event", "deny", "denied"), ("--reason", "denied", "not_allowed")])
def test_log_says_that_a_word_is_none_of_the_log(option, word, known, tmp_path):
    got = sluice("log", "--log", some(tmp_path), option, word, status=1).stderr
    assert f"{option} {word}: this version has no such {option[2:]}; known: " in got and known in got


def test_log_finds_the_file(tmp_path):
    home = plain_environment() | {"HOME": str(tmp_path)}
    home.pop("XDG_STATE_HOME", None)
    assert "give --log FILE" in sluice("log", env=home, status=2).stderr
    folder = tmp_path / ".local/state/sluice"
    folder.mkdir(parents=True)
    some(tmp_path).rename(folder / "sandbox.jsonl")
    assert len(sluice("log", env=home, status=0).stdout.splitlines()) == 5
    policy = tmp_path / "policy.yaml"
    policy.write_text(f'network_policy: {{default: deny}}\nlog: {{file: "{folder}/sandbox.jsonl"}}\n')
    assert len(sluice("log", "--policy", policy, status=0).stdout.splitlines()) == 5
    policy.write_text("network_policy: {default: deny}\n")
    for command in (["log", "--policy"], ["top", "--once", "--policy"], ["dashboard", "--once", "--json", "--policy"], ["learn", "--diff"]):
        assert "evil.example" in sluice(*command, policy, env=home, status=0).stdout, command
    (tmp_path / "empty").mkdir()
    got = sluice("log", "--policy", policy, env=home | {"HOME": f"{tmp_path}/empty"}, status=2)
    assert "empty/.local/state/sluice/sandbox.jsonl, where `sluice run` writes; give --log FILE" in got.stderr
    assert len(sluice("log", "--log", "-", stdin=(folder / "sandbox.jsonl").read_text(), status=0).stdout.splitlines()) == 5


def test_broken_lines_are_counted_and_skipped(tmp_path):
    log = some(tmp_path)
    log.write_bytes(b'nonsense\n{"event":"den\n' + b"\xff\xfe\n" + b"[" * 100_000 + b"\n" + log.read_bytes() + b'{"event":"torn')
    got = sluice("log", "--log", log, status=0)
    assert len(got.stdout.splitlines()) == 5 and "5 broken lines skipped" in got.stderr


def hostile(tmp_path):
    lines = [line("denied", number, via="connect", host=text, port=443, reason="not_allowed", more=text, sni=text) for number, text in enumerate(HOSTILE)]
    lines += [line("denied", 9, client=text, via="connect", host="a.example", port=443, reason=text, rule=text) for text in HOSTILE]
    log = tmp_path / "hostile"
    with open(log, "w") as file:
        for one in lines:
            file.write(one + "\n")
            # As somebody else than the gate would write it: nothing escaped that need not be.
            file.write(json.dumps(json.loads(one), ensure_ascii=False) + "\n")
    return log


@pytest.mark.parametrize("command", [["log", "--human"], ["learn"], ["learn", "--with-warned", "--wildcards"], ["top"], ["dashboard", "--once", "--json"]])
def test_a_hostile_log_shows_harmlessly(command, tmp_path):
    got = subprocess.run([os.environ["SLUICE"], *command, "--log", hostile(tmp_path)], capture_output=True, timeout=100)
    assert got.returncode in (0, 1), got.stderr
    assert got.stdout and set(got.stdout) <= PRINTABLE, set(got.stdout) - PRINTABLE


@pytest.mark.parametrize("form", ["--json", "--human"])
def test_a_hostile_log_shows_harmlessly_on_a_terminal(form, tmp_path):
    one = OnTerminal("log", "--log", hostile(tmp_path), form, env=plain_environment() | {"NO_COLOR": "1"})
    one.end()
    assert len(one.seen) > 1000 and set(one.seen) <= PRINTABLE | {0x0D}, set(one.seen) - PRINTABLE
    if form == "--json":
        assert [json.loads(text)["host"] for text in one.seen.decode().splitlines()][:4] == [HOSTILE[0]] * 2 + [HOSTILE[1]] * 2


def test_colours_on_a_terminal_only(tmp_path):
    log = some(tmp_path)
    one = OnTerminal("log", "--log", log)
    one.end()
    assert b"\x1b[31mdenied" in one.seen
    plain = OnTerminal("log", "--log", log, env=plain_environment() | {"NO_COLOR": "1"})
    plain.end()
    assert b"denied" in plain.seen and b"\x1b" not in plain.seen
    assert "\x1b" not in sluice("log", "--log", log, "--human", status=0).stdout


@pytest.fixture
def follower(tmp_path):
    """`sluice log --follow` into a file."""
    started = []

    def start(log):
        out = open(tmp_path / "out", "wb")
        one = subprocess.Popen([os.environ["SLUICE"], "log", "--follow", "--log", log], stdout=out, stderr=subprocess.PIPE)
        started.append(one)
        held = f"/proc/{one.pid}/fd"
        until("it has the log open", lambda: any(os.readlink(f"{held}/{fd}") == str(log) for fd in os.listdir(held)))
        return tmp_path / "out"

    yield start
    for one in started:
        one.terminate()
        one.wait()


def test_follow_across_rotations(tmp_path, follower):
    log = tmp_path / "log"
    log.write_text("")
    out = follower(log)
    numbers = iter(range(10_000))

    def grow(file, count):
        for _ in range(count):
            file.write((line("denied", next(numbers)) + "\n").encode())
        file.flush()

    def count():
        return len(out.read_bytes().splitlines())

    file = open(log, "ab")
    for rotation in range(10):
        grow(file, 100)
        log.rename(tmp_path / f"old{rotation}")
        # The writes of a gate between the rename and SIGHUP.
        grow(file, 50)
        file = open(log, "ab")
        grow(file, 50)
        until("all of it is there", lambda: count() == 200 * (rotation + 1))
    # Cut in place, and shorter than what was read of it.
    os.truncate(log, 0)
    grow(file, 10)
    until("what came behind the cut", lambda: count() == 2010)
    grow(file, 100)
    until("and what came after", lambda: count() == 2110)
    assert [json.loads(one)["seq"] for one in out.read_text().splitlines()] == list(range(2110))


@pytest.mark.figures
def test_follow_5000_lines_a_second_without_lag(tmp_path, follower):
    log = tmp_path / "log"
    log.write_text("")
    out = follower(log)
    batch, seconds = 250, 3
    text = "".join(line("denied", number, host="a.example", port=443, reason="not_allowed") + "\n" for number in range(batch)).encode()
    started = time.monotonic()
    with open(log, "ab") as file:
        for turn in range(20 * seconds):
            file.write(text)
            file.flush()
            time.sleep(max(0, started + (turn + 1) / 20 - time.monotonic()))
    written = time.monotonic()
    until("the last line", lambda: out.stat().st_size >= len(text) * 20 * seconds)
    assert time.monotonic() - written < 1.0
    assert out.read_bytes() == text * 20 * seconds


# learn


def test_learn_says_what_it_saw(tmp_path):
    got = sluice("learn", "--log", some(tmp_path), status=0)
    policy = tmp_path / "learned.yaml"
    policy.write_text(got.stdout)
    assert sluice("check", "--policy", policy, "api.example.com:443", "evil.example:443", status=0)
    assert sluice("check", "--policy", policy, "api.example.com:8080", status=1)
    assert "# seen 1 time from agent; 1 refused\n    - evil.example:443" in got.stdout
    # Nothing is new; the limit that refused a request is named.
    shown = sluice("learn", "--log", some(tmp_path), "--diff", policy, status=0).stdout
    assert "allow: []" in shown and "api.example.com:80: limited 1 time for agent by the burst of" in shown
    assert sluice("learn", "--log", some(tmp_path), "--client", "nobody", status=1)
    assert "--headroom takes" in sluice("learn", "--log", some(tmp_path), "--headroom", "1", status=2).stderr


def ask(one, target):
    with one.dial() as sock:
        sock.sendall(get(target))
        return answer(sock).split(b"\r\n")[0]


def test_a_learned_policy_allows_the_run_and_nothing_else(gate, upstream, web, hello, tmp_path):
    """A run in report mode, the policy out of its log, and the same run and others under enforce."""
    plain, tunnel, other = web(hello), upstream(echo), upstream(echo)

    def run(one):
        answers = [ask(one, f"plain.test:{plain.port}") for _ in range(5)]
        for host in ("tunnel.test", "second.test"):
            sock, head = one.connect(f"{host}:{tunnel.port}")
            with sock:
                answers.append(head.split(b"\r\n")[0])
                if head.startswith(b"HTTP/1.1 200"):
                    sock.sendall(b"ping")
                    assert sock.recv(4) == b"ping"
        return answers

    report = gate("network_policy: {mode: report, allow: []}")
    assert all(b" 200" in one for one in run(report))
    until("each has its line", lambda: len([x for x in report.lines() if x["event"] == "closed"]) == 7)
    assert {x.get("would_deny") for x in report.lines() if x["event"] == "denied"} == {True}
    # Everything here is on loopback, which a policy is warned of.
    careful = sluice("learn", "--log", report.log, status=0)
    assert careful.stdout.count("WARNING: it was at 127.0.0.1, which is loopback") == 3 and "allow: []" in careful.stdout
    learned = sluice("learn", "--log", report.log, "--with-warned", status=0).stdout
    enforce = gate(learned)
    before = other.connections, tunnel.connections
    assert all(b" 200" in one for one in run(enforce)), learned
    assert tunnel.connections == before[1] + 2
    for target in (f"third.test:{tunnel.port}", f"plain.test:{tunnel.port}", f"tunnel.test:{other.port}", f"127.0.0.1:{tunnel.port}", "tunnel.test:443"):
        sock, head = enforce.connect(target)
        sock.close()
        assert head.startswith(b"HTTP/1.1 403 Denied by egress policy: not_allowed"), (target, head)
    assert (other.connections, tunnel.connections) == (before[0], before[1] + 2)


def test_learn_from_refusals(gate, upstream):
    server = upstream(echo)
    one = gate(f"network_policy: {{allow: [{local('old.test', server.port)}]}}")
    for target in (f"new.test:{server.port}", f"old.test:{server.port}"):
        one.connect(target)[0].close()
    until("both lines", lambda: occurrences([x for x in one.lines() if x["event"] in ("denied", "closed")]) == 2)
    got = sluice("learn", "--diff", one.policy_file, status=0).stdout
    assert f"- new.test:{server.port}" in got and "old.test" not in got


# diff, test


def test_diff(tmp_path):
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text('network_policy:\n  allow: [a.example:443, b.example:443]\n  rate_limits: [{host: "*", requests_per_minute: 60}]\n')
    new.write_text('network_policy:\n  allow: [b.example:443, "*.c.example:443"]\n  rate_limits: [{host: "*", requests_per_minute: 600}]\n')
    assert sluice("diff", old, old, status=0).stdout == ""
    got = sluice("diff", old, new, status=1).stdout.splitlines()
    assert got == [
        f"lets out  client default  *.c.example:443  protocol: tls, requests_per_minute: 600, burst: 600  ({new}:2:26)",
        f"shuts     client default  a.example:443  not_allowed  ({old}:2:11)",
        f"changes   client default  b.example:443  requests_per_minute: 60 -> 600, burst: 60 -> 600  ({new}:2:11)",
    ]
    parsed = [json.loads(one) for one in sluice("diff", old, new, "--json", status=1).stdout.splitlines()]
    assert [(one["kind"], one["target"]) for one in parsed] == [("lets_out", "*.c.example:443"), ("shuts", "a.example:443"), ("changes", "b.example:443")]
    assert sluice("diff", old, tmp_path / "missing", status=2)


def test_cases(tmp_path):
    policy, cases = tmp_path / "policy.yaml", tmp_path / "cases.yaml"
    policy.write_text("""network_policy:
  allow: [a.example:443, {host: "db.example:5432", addresses: [10.0.0.0/8]}]
  deny: ["bad.example:443"]
clients:
  - {name: builder, source: [10.0.0.1], network_policy: {allow: [b.example:443]}}
""")
    cases.write_text("""- {target: a.example:443, expect: allow}
- {target: bad.example:443, expect: denied_by_rule}
- {target: a.example:443, client: builder, expect: not_allowed}
- {target: db.example:5432, address: 10.1.2.3, expect: allow}
- {target: db.example:5432, address: 192.0.2.1, expect: address_refused}
""")
    assert sluice("test", policy, cases, status=0).stdout == "5 cases, 0 failed\n"
    cases.write_text(cases.read_text() + "- {target: b.example:443, expect: allow}\n- {target: a.example:443, expect: not_allowed}\n")
    got = sluice("test", policy, cases, status=1).stdout.splitlines()
    assert got == [f"{cases}:6:3: b.example:443: expected allow, got not_allowed",
                   f"{cases}:7:3: a.example:443: expected not_allowed, got allow by {policy}:2:11", "7 cases, 2 failed"]
    parsed = [json.loads(one) for one in sluice("test", policy, cases, "--json", status=1).stdout.splitlines()]
    assert [one["holds"] for one in parsed] == [True] * 5 + [False] * 2
    cases.write_text("- {target: a.example:443, client: nobody, expect: allow}\n- {target: a.example, expect: allow}\n")
    assert f"{cases}:2:" in sluice("test", policy, cases, status=2).stderr
    cases.write_text("- {target: a.example:443, client: nobody, expect: allow}\n")
    assert "no such client; the policy has builder" in sluice("test", policy, cases, status=2).stderr


# top


def test_top_once_where_there_is_no_terminal(tmp_path):
    got = sluice("top", "--log", some(tmp_path), status=0).stdout
    assert re.search(r"^agent +api\.example\.com +\S+ +2(/60)? ", got, re.MULTILINE), got
    assert "Refusals by reason: not_allowed 2, rate_limited 1" in got and "evil.example:443" in got
    assert "the log has no line for a beginning" in got


def now(event, number, **fields):
    at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return json.dumps(json.loads(line(event, number, **fields)) | {"time": at})


@pytest.mark.parametrize("way", ["q", "\x03", signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGSEGV])
def test_top_is_live_and_gives_the_terminal_back(way, tmp_path):
    log = some(tmp_path)
    one = OnTerminal("top", "--log", log)
    one.shows("api.example.com")
    assert termios.tcgetattr(one.slave) != one.before
    with open(log, "a") as file:
        file.write(now("denied", 5, host="fresh.example", port=443, reason="denied_by_rule") + "\n")
    one.shows("fresh.example")
    log.rename(tmp_path / "old")
    write(log, [now("closed", 6, host="rotated.example", port=443, bytes_up=1, bytes_down=1)])
    screen = one.shows("rotated.example")
    assert len(screen) == 30 and all(len(text) <= 120 for text in screen)
    if isinstance(way, str):
        one.type(way)
        one.end()
    else:
        one.process.send_signal(way)
        one.end(status=-way)
    assert one.seen.rstrip().endswith(b"\x1b[?1049l")


def test_top_sorts_filters_pauses_and_resizes(tmp_path):
    log = some(tmp_path)
    one = OnTerminal("top", "--log", log)
    assert one.shows("sort: requests")[4].startswith("agent       api.example.com")
    one.type("ss")
    one.shows("sort: up")
    one.type("/evil")
    one.shows("filter: evil_")
    one.type("\r")
    screen = one.shows("filter: evil")
    assert not any("api.example.com" in text for text in screen[4:20])
    one.type("\x1b")
    one.type("p")
    one.shows("PAUSED")
    with open(log, "a") as file:
        file.write(now("denied", 5, host="fresh.example", port=443, reason="expired") + "\n")
    one.type("s")
    assert not any("fresh.example" in text for text in one.shows("sort: down"))
    one.type("p")
    one.shows("fresh.example")
    one.resize(12, 60)
    until("it fits the smaller window", lambda: len(one.screen()) == 12 and all(len(text) <= 60 for text in one.screen()))
    one.type("q")
    one.end()


def test_a_hostile_log_in_top_on_a_terminal(tmp_path):
    one = OnTerminal("top", "--log", hostile(tmp_path))
    one.shows("Latest refusals:")
    one.type("q")
    one.end()
    rest = re.sub(rb"\x1b(\[H|\[K|\[J|\[7m|\[0m|\[\?1049[hl]|\[\?25[hl])", b"", one.seen)
    assert set(rest) <= PRINTABLE | {0x0D}, set(rest) - PRINTABLE


@pytest.mark.figures
@pytest.mark.parametrize("command", [["log", "--human"], ["learn"], ["top"], ["dashboard", "--once"]])
def test_memory_of_a_large_log(command, tmp_path):
    """Every host is another one, as a log is at its worst."""
    log = tmp_path / "large"
    with open(log, "w") as file:
        for number in range(100_000):
            file.write(line("denied", number // 100, via="connect", host=f"h{number}.example", port=443, reason="not_allowed") + "\n")
    script = 'import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)'
    got = subprocess.run(["python3", "-c", script, os.environ["SLUICE"], *command, "--log", log], capture_output=True, text=True, check=True)
    assert int(got.stdout) < 200 * 1024


# Many logs


def gates(tmp_path, count=3):
    """A log of each gate, whose lines alternate in time; gate-1 has gone on under another rule."""
    folder = tmp_path / "gates"
    folder.mkdir()
    for gate in range(count):
        write(folder / f"gate-{gate}.jsonl", [
            line("closed", number * count + gate, gate=f"gate-{gate}", via="connect", host="api.example.com", port=443, bytes_up=gate + 1, bytes_down=0,
                 rule=f"p.yaml:{3 + gate}:9") for number in range(4)] + [
            line("limited", 90 + gate, gate=f"gate-{gate}", via="connect", host="api.example.com", port=443, rule=f"p.yaml:{3 + gate}:9", reason="rate_limited",
                 tokens=10 * gate, capacity=60, per_minute=1)])
    return folder


def test_views_take_many_logs_and_tell_gates_apart(tmp_path):
    folder = gates(tmp_path)
    files = sorted(folder.iterdir())
    for logs in (["--log", folder], ["--log", *files], [option for file in files for option in ("--log", file)]):
        got = [json.loads(one)["seq"] for one in sluice("log", *logs, status=0).stdout.splitlines()]
        assert got == [*range(12), 90, 91, 92], logs
        assert len(sluice("log", *logs, "--gate", "gate-1", "--event", "closed", status=0).stdout.splitlines()) == 4
        columns = sluice("log", *logs, "--human", status=0).stdout.splitlines()
        assert re.match(r"\S+ \S+  closed      gate-1        agent ", columns[1]), columns[1]
        table = sluice("top", "--once", *logs, status=0).stdout
        assert re.search(r"^GATE +CLIENT +HOST", table, re.M)
        rows = re.findall(r"^(gate-\d) +agent +api.example.com .*~(\d+)/60", table, re.M)
        assert sorted(rows) == [("gate-0", "0"), ("gate-1", "10"), ("gate-2", "20")], table
        assert "api.example.com:443" in sluice("learn", *logs, status=0).stdout
        got = json.loads(sluice("dashboard", "--once", "--json", *logs, status=0).stdout)
        assert got["gates"] == ["gate-0", "gate-1", "gate-2"] and got["totals"]["lines"] == 15
        assert sorted(row["gate"] for row in got["rows"]["shown"]) == got["gates"]
        assert {one["gate"]: one["tokens"] for one in got["buckets"]["shown"]} == {"gate-0": 0, "gate-1": 10, "gate-2": 20}
        for number, gate in enumerate(got["gates"]):
            alone = json.loads(sluice("dashboard", "--once", "--json", "--gate", gate, *logs, status=0).stdout)
            assert (alone["totals"]["lines"], alone["totals"]["bytes_up"]) == (5, 4 * (number + 1)), alone["totals"]
            assert alone["gate"] == gate and alone["gates"] == got["gates"]
    alone = sluice("top", "--once", "--log", files[0], status=0).stdout
    assert re.search(r"^CLIENT +HOST", alone, re.M) and "GATE" not in alone


def test_top_and_log_follow_a_folder(tmp_path):
    folder = gates(tmp_path)
    top = OnTerminal("top", "--log", folder)
    top.shows("gate-2")
    write(folder / "gate-3.jsonl", [line("denied", 95, gate="gate-3", via="connect", host="new.example", port=443, reason="not_allowed")])
    top.shows("new.example")
    top.type("/gate-3\r")
    until("only that gate", lambda: [one for one in top.screen() if "new.example" in one] and not [one for one in top.screen() if one.startswith("gate-1 ")])
    top.type("q")
    top.end()


def test_views_say_what_a_folder_lacks(tmp_path):
    (tmp_path / "log.gz").write_text("")
    for command in (["log"], ["top", "--once"], ["learn"], ["dashboard", "--once"]):
        assert f"{tmp_path} holds no log: give a folder with files that end in .jsonl or .log" in sluice(*command, "--log", tmp_path, status=2).stderr, command
        assert "nowhere: open" in sluice(*command, "--log", tmp_path, "/nowhere", status=2).stderr
