"""`make at-scale`: logs of a fleet, in large numbers and with real log stores. 100,000 lines to a collector that is killed
and started again; the queries of docs/at-scale.md in DuckDB and ClickHouse over ten gates' logs; rsyslog and the journal with the examples."""
import http.server
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "Tests/clients/support"))
SLUICE = os.environ.get("SLUICE", "")
LINES = 100_000


def until(what, ask, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if got := ask():
            return got
        time.sleep(0.02)
    raise AssertionError(f"timed out: {what}")


# A collector that decodes with OpenTelemetry's own messages, in a process of its own


def collect(port, seen):
    from google.protobuf import json_format
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            request = json_format.Parse(self.rfile.read(int(self.headers["Content-Length"])), ExportLogsServiceRequest())
            numbers = []
            for group in request.resource_logs:
                gate = {one.key: one.value.string_value for one in group.resource.attributes}["service.instance.id"]
                for record in group.scope_logs[0].log_records:
                    known = {one.key: one.value for one in record.attributes}
                    assert record.time_unix_nano > 10**18 and record.severity_number in (9, 13, 17) and record.body.string_value
                    numbers.append(f"{gate} {known['sluice.seq'].int_value}\n")
            with open(seen, "a") as file:
                file.write("".join(numbers))
                file.flush()
                os.fsync(file.fileno())
            body = json_format.MessageToJson(ExportLogsServiceResponse()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer.allow_reuse_address = True
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def line(gate, number):
    at = (datetime(2026, 12, 1, tzinfo=timezone.utc) + timedelta(milliseconds=number)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return json.dumps({"v": 1, "time": at, "seq": number, "gate": gate, "event": "closed", "id": f"{number:x}", "client": "agent", "via": "connect",
                       "host": "api.example.com", "port": 443, "bytes_up": number, "bytes_down": 7, "duration_ms": 3}, separators=(",", ":")) + "\n"


def test_no_line_is_lost_while_either_side_is_killed(tmp_path):
    """Both logs are rotated on the way; the collector is killed twice, the sender once. Lines may come twice."""
    folder, seen, cursor, port = tmp_path / "gates", tmp_path / "seen", tmp_path / "cursor", free_port()
    folder.mkdir()
    seen.touch()

    def collector():
        return subprocess.Popen([sys.executable, __file__, "collect", str(port), str(seen)])

    def sender():
        return subprocess.Popen([SLUICE, "log", "--log", folder, "--follow", "--otlp", f"http://127.0.0.1:{port}", "--cursor", cursor], stderr=subprocess.DEVNULL)

    def count():
        return seen.read_bytes().count(b"\n")

    files = {gate: open(folder / f"{gate}.jsonl", "a") for gate in ("gate-0", "gate-1")}
    running = [collector(), sender()]
    try:
        for number in range(LINES // 2):
            for gate, file in files.items():
                file.write(line(gate, number))
            if number in (LINES // 10, LINES // 4):
                for gate in files:
                    files[gate].close()
                    (folder / f"{gate}.jsonl").rename(folder / f"{gate}.jsonl.{1 if number > LINES // 10 else 2}")
                    files[gate] = open(folder / f"{gate}.jsonl", "a")
            if number in (LINES // 8, LINES // 3):
                until("some lines have come", lambda before=count(): count() > before or count() >= 2 * number - 5000)
                running[0].kill()
                running[0].wait()
                if number == LINES // 8:
                    running[1].kill()
                    running[1].wait()
                    running[1] = sender()
                running[0] = collector()
        for file in files.values():
            file.close()
        until("all lines have come", lambda: count() >= LINES and len(set(seen.read_text().splitlines())) == LINES, 240)
        resident = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{running[1].pid}/status").read_text()).group(1))
        print(f"{count() - LINES} lines came twice; the sender took {resident // 1024} MiB")
        assert resident < 200 << 10
    finally:
        for one in running:
            one.kill()
            one.wait()


# Queries


EVENTS = [("closed", 70, {"via": "connect", "bytes_down": 9}), ("denied", 15, {"via": "connect", "reason": "not_allowed", "repeated": 2}),
          ("limited", 10, {"via": "http", "reason": "rate_limited", "tokens": 0, "capacity": 60, "per_minute": 60}), ("failed", 5, {"reason": "timeout"})]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Ten gates' logs of three days out of a seed, and the moment that the queries take for now. One line of each gate stands twice."""
    folder, chance, lines = tmp_path_factory.mktemp("gates"), random.Random(18), []
    now = datetime(2026, 12, 3, 15, 30, tzinfo=timezone.utc)
    for gate in range(10):
        own = []
        for number in range(600):
            at = now - timedelta(seconds=chance.uniform(0, 3 * 86400) if chance.random() < 0.7 else chance.uniform(0, 7000))
            event, _, more = chance.choices(EVENTS, [weight for _, weight, _ in EVENTS])[0]
            old = at < now.replace(hour=0, minute=0)
            host = chance.choice(["api.example.com", "cdn.example.com", "git.example.com"] if old or chance.random() < 0.8 else ["new.example", "newer.example"])
            one = {"v": 1, "time": at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z", "seq": number, "gate": f"gate-{gate}", "event": event, "id": f"{number:x}",
                   "client": chance.choice(["coder", "researcher"]), "host": host, "port": 443, "rule": f"p.yaml:{len(host)}:9", **more}
            if event == "closed":
                one["bytes_up"] = chance.randrange(10_000)
            own.append(one | {"a field of a later version": [1]})
        own.append({"v": 1, "time": own[0]["time"], "seq": 600, "gate": f"gate-{gate}", "event": "policy", "policy": "00ff"})
        lines += own
        (folder / f"gate-{gate}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*own, own[0]]))
    return folder, now, lines


def expected(now, lines):
    def at(one):
        return datetime.fromisoformat(one["time"].replace("Z", "+00:00"))

    limits, hosts, bytes_up = {}, {}, {}
    for one in lines:
        if one["event"] == "limited" and at(one) > now - timedelta(hours=1):
            entry = limits.setdefault((one["client"], one["rule"]), [one["host"], one["per_minute"], set(), 0])
            entry[2].add(one["gate"])
            entry[3] += 1 + one.get("repeated", 0)
        if "host" in one:
            first, clients, closed = hosts.get(one["host"], (at(one), set(), 0))
            hosts[one["host"]] = min(first, at(one)), clients | {one["client"]}, closed + (one["event"] == "closed")
        if "bytes_up" in one:
            key = one["client"], one["time"][:10]
            bytes_up[key] = bytes_up.get(key, 0) + one["bytes_up"]
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return ({(*key, entry[0], entry[1], len(entry[2]), entry[3]) for key, entry in limits.items()},
            {(host, len(clients), closed) for host, (first, clients, closed) in hosts.items() if first >= midnight}, {(*key, value) for key, value in bytes_up.items()})


def statements(heading, folder, moments):
    """The indented blocks below a heading of the page, with the paths and the moment of this test."""
    page = (ROOT / "docs/at-scale.md").read_text()
    part = page.split(f"### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    text = "".join(one[4:] + "\n" if one.startswith("    ") else "\n" for one in part.splitlines()).replace("/var/log/gates", str(folder))
    for words, moment in moments:
        assert words in text, words
        text = text.replace(words, moment)
    return [one.strip() for one in text.split(";\n") if one.strip()]


def test_queries_in_duckdb(fleet):
    import duckdb

    folder, now, lines = fleet
    # A line that was sent twice stands twice in files; the second ones are taken away.
    for path in folder.iterdir():
        path.write_text("".join(dict.fromkeys(path.read_text().splitlines(keepends=True))))
    view, *queries = statements("DuckDB", folder, [("now()::TIMESTAMP", f"TIMESTAMP '{now:%Y-%m-%d %H:%M:%S}'"), ("current_date", f"DATE '{now:%Y-%m-%d}'")])
    store = duckdb.connect()
    store.execute(view)
    assert store.execute("SELECT count(*) FROM log WHERE gate IS NOT NULL AND time IS NOT NULL").fetchone() == (len(lines),)
    limits, hosts, bytes_up = (store.execute(query).fetchall() for query in queries)
    wanted = expected(now, lines)
    assert {row[:2] + row[3:6] for row in limits} == {row[:2] + row[3:6] for row in wanted[0]} and len(wanted[0]) > 3
    assert {(host, clients, closed) for host, _, clients, closed in hosts} == wanted[1] and len(wanted[1]) == 2
    assert {(client, str(day), total) for client, day, total in bytes_up} == wanted[2] and len(wanted[2]) > 6


def test_queries_in_clickhouse(fleet):
    from chdb import session

    folder, now, lines = fleet
    create, insert, *queries = statements("ClickHouse", folder, [
        ("now64()", f"toDateTime64('{now:%Y-%m-%d %H:%M:%S}', 3, 'UTC')"), ("now64(3, 'UTC')", f"toDateTime64('{now:%Y-%m-%d %H:%M:%S}', 3, 'UTC')")])
    store = session.Session()
    try:
        store.query("CREATE DATABASE fleet ENGINE = Atomic")
        store.query("USE fleet")
        store.query(create)
        # Twice: the table keeps one of each line.
        for _ in range(2):
            store.query(insert)
        rows = [[json.loads(one) for one in str(store.query(query, "JSONCompactEachRow")).splitlines()] for query in queries]
        assert json.loads(str(store.query("SELECT count() FROM sluice FINAL", "JSONCompactEachRow"))) in ([len(lines)], [str(len(lines))])
    finally:
        store.close()
    limits, hosts, bytes_up = rows
    wanted = expected(now, lines)
    assert {(client, rule, int(rate), int(gates), int(count)) for client, rule, _, rate, gates, count, _ in limits} == {row[:2] + row[3:6] for row in wanted[0]}
    assert {(host, int(clients), int(closed)) for host, _, clients, closed in hosts} == wanted[1]
    assert {(client, day, int(total)) for client, day, total in bytes_up} == wanted[2]


# rsyslog


@pytest.mark.skipif(not shutil.which("rsyslogd"), reason="apt install rsyslog")
def test_rsyslog_ships_lines_as_they_stand(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    first, second = ["".join(line("gate", number) for number in numbers) for numbers in (range(50), range(50, 90))]
    (folder / "gate.jsonl").write_text(first)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        text = (ROOT / "Examples/logs/rsyslog.conf").read_text().replace("/var/log/sluice", str(folder)).replace("collector.corp.example", "127.0.0.1")
        text = text.replace('port="5170"', f'port="{listener.getsockname()[1]}"')
        (tmp_path / "rsyslog.conf").write_text(f'global(workDirectory="{tmp_path}" maxMessageSize="1m")\n{text}')
        process = subprocess.Popen(["rsyslogd", "-n", "-f", tmp_path / "rsyslog.conf", "-i", tmp_path / "pid"], stderr=subprocess.DEVNULL)
        try:
            stream, _ = listener.accept()
            stream.settimeout(60)
            got = b""
            while got.count(b"\n") < 50:
                got += stream.recv(65536)
            (folder / "gate.jsonl").rename(folder / "gate.jsonl.1")
            (folder / "gate.jsonl").write_text(second)
            while got.count(b"\n") < 90:
                got += stream.recv(65536)
            assert got.decode() == first + second
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


# The journal


# A journal of its own, in namespaces that end with the script. The unit's settings are those of systemd-cat: both streams, one name.
JOURNAL = """
mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald 2>/dev/null &
until [ -S /run/systemd/journal/stdout ]; do sleep 0.02; done
systemd-cat -t sluice "$1" serve --policy "$2" --listen-connect "127.0.0.1:$3" &
read -r line
kill $! && wait $!
journalctl --quiet --sync
journalctl --quiet -t sluice -o cat --no-pager
"""


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/lib/systemd/systemd-journald").exists(), reason="root, and apt install systemd")
def test_the_journal_gives_lines_back_as_they_were(tmp_path):
    port = free_port()
    (tmp_path / "policy.yaml").write_text("network_policy: {default: deny}\ntimeouts: {drain: 1}\n")
    process = subprocess.Popen(["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-ec", JOURNAL, "sh", SLUICE,
                                tmp_path / "policy.yaml", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def asked(host):
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
                return b" 403 " in sock.recv(4096)
        except OSError:
            return False

    try:
        for host in ("first.example", "second.example"):
            until("the gate refuses", lambda: asked(host))
        said, _ = process.communicate("\n", timeout=60)
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(one) for one in said.splitlines() if one.startswith("{")]
    assert {one["host"] for one in lines if one["event"] == "denied"} == {"first.example", "second.example"}, said
    assert [one["seq"] for one in lines] == list(range(lines[0]["seq"], lines[0]["seq"] + len(lines))), "none is missing"
    # The gate's messages stand between them, and `sluice log` passes over those.
    assert "listening on" in said
    read = subprocess.run([SLUICE, "log", "--log", "-", "--human"], input=said, capture_output=True, text=True, timeout=30)
    assert read.returncode == 0 and "first.example" in read.stdout and "second.example" in read.stdout, read


def test_the_journals_unit_is_one(tmp_path):
    """The drop-in of Examples/logs, as systemd reads it."""
    for path in (ROOT / "Packaging/systemd").iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/bin/sluice", SLUICE))
    folder = tmp_path / "sluice.service.d"
    folder.mkdir()
    shutil.copy(ROOT / "Examples/logs/journald.conf", folder / "journal.conf")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / "sluice.service"], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    assert "journal.conf" not in done.stderr and "Unknown" not in done.stderr, done.stderr
    (folder / "journal.conf").write_text("[Service]\nLogRateLimitInterval=often\n")
    wrong = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / "sluice.service"], capture_output=True, text=True, timeout=60,
                           env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    assert "journal.conf" in wrong.stderr, "a setting that is no good is told"


if __name__ == "__main__":
    collect(int(sys.argv[2]), sys.argv[3])
