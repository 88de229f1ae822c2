"""Metrics: equal to status and log, harmless, out of clients' reach; and a real Prometheus with the examples' alerts and dashboard."""
import itertools
import collections
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from admin import Admin
from dnswire import UDP
from gate import DEADLINE, DNS, Gate, answer, echo, expanded, get, local, occurrences, plain_environment, read, rules, until
from metrics import EXAMPLE, ROOT, Metrics, documented, promtool
from served import Served

TCP = ("--listen-metrics", "127.0.0.1:0")


def metrics(one):
    got = one.run("metrics")
    assert got.returncode == 0, got
    return Metrics(got.stdout)


def port_of(gate):
    return int(re.search(r":(\d+) \(metrics\)", gate.errors.read_text()).group(1))


def ask(one, target):
    with one.dial() as sock:
        sock.sendall(get(target))
        return answer(sock).split(b"\r\n")[0]


def socks(one, host, port):
    sock = one.dial()
    sock.sendall(b"\x05\x01\x00")
    assert read(sock, 2) == b"\x05\x00"
    sock.sendall(bytes([5, 1, 0, 3, len(host)]) + host + port.to_bytes(2, "big"))
    return sock, read(sock, 10)[1]


def mixed_load(one, tunnel, plain, rounds):
    """Each kind of client, let out, refused and limited."""
    dns = UDP(one.dns_port)
    for number in range(rounds):
        sock, head = one.connect(f"tunnel.test:{tunnel.port}")
        assert b" 200 " in head
        sock.sendall(b"x" * 100)
        assert read(sock, 100)
        sock.close()
        sock, code = socks(one, b"tunnel.test", tunnel.port)
        assert code == 0
        sock.close()
        assert b" 200" in ask(one, f"plain.test:{plain.port}")
        assert b" 403 " in ask(one, f"refused{number}.test:80")
        assert b" 403 " in one.connect(f"refused{number}.test:443")[1]
        sock, code = socks(one, b"refused.test", 443)
        assert code == 2
        sock.close()
        assert b" 400 " in one.ask(b"nonsense\r\n\r\n")
        assert b" 502 " in ask(one, "nx.test:1")
        dns.ask("refused.test")
        dns.ask("plain.test")
    for _ in range(3):
        ask(one, "limited.test:1")
    dns.close()


def policy(tunnel, plain):
    limit = '  rate_limits: [{host: "limited.test:1", requests_per_minute: 2, concurrent: 7, upload_bytes_per_minute: 1MiB}]\n'
    return rules(local("tunnel.test", tunnel.port), local("plain.test", plain.port), local("nx.test", 1), local("limited.test", 1), more=limit)


def test_metrics_equal_status_and_log(admin, upstream, web, hello):
    tunnel, plain = upstream(echo), web(hello)
    one = admin(policy(tunnel, plain), workers=2, flags=DNS)
    # Both families have an answer, and so it is kept.
    one.gate.names.addresses["plain.test"] = ["127.0.0.1", "::1"]
    mixed_load(one.gate, tunnel, plain, 20)
    until("nothing is open", lambda: one.status()["open"] == 0 and one.status()["connections"] == 0)
    status, got = one.status(), metrics(one)
    total = sum(status[event]["all"] for event in ("denied", "limited", "failed", "revoked", "closed"))
    until("all refusals are in the log", lambda: occurrences(line for line in one.gate.lines() if line["event"] != "policy") == total)
    got, lines = metrics(one), one.gate.lines()
    for event in ("denied", "limited", "failed", "revoked", "closed"):
        reasons = status[event]
        assert got.by("sluice_outcomes_by_via_total", "event").get(event, 0) == reasons.pop("all")
        assert {reason: count for reason, count in got.by("sluice_outcomes_total", "reason", event=event).items() if reason} == reasons
    mine = expanded(line for line in lines if line["event"] != "policy")
    assert {dict(pairs)["event"] + "/" + dict(pairs)["reason"]: value for pairs, value in got.all("sluice_outcomes_total").items() if value} \
        == collections.Counter(f"{line['event']}/{line.get('reason', '')}" for line in mine)
    assert {dict(pairs)["event"] + "/" + dict(pairs)["via"]: value for pairs, value in got.all("sluice_outcomes_by_via_total").items() if value} \
        == collections.Counter(f"{line['event']}/{line.get('via', 'none')}" for line in mine)
    for name, label in (("tunnels", "sluice_tunnels_total"), ("requests", "sluice_requests_total"), ("queries", "sluice_queries_total"),
                        ("open", "sluice_open"), ("connections", "sluice_connections"), ("connections_max", "sluice_connections_max"),
                        ("workers", "sluice_workers"), ("would_deny", "sluice_would_deny_total")):
        assert got.sum(label) == status[name], name
    assert got.by("sluice_tunnels_total", "kind") == {"connect": 20, "socks": 20}
    assert got.by("sluice_bytes_total", "direction") == {"up": status["bytes_up"], "down": status["bytes_down"]}
    assert status["bytes_up"] == sum(line["bytes_up"] for line in lines if "bytes_up" in line)
    # Each step of what was let out; an upstream that does not stand has no `connect`.
    opened = status["tunnels"] + status["requests"]
    assert got.sum("sluice_step_seconds_count", step="open") == got.sum("sluice_step_seconds_count", step="connect") == opened
    assert got.sum("sluice_step_seconds_count", step="read") == opened + 20 + 2
    assert got.sum("sluice_step_seconds_bucket", step="open", le="+Inf") == opened
    whole = got.sum("sluice_step_seconds_sum", step="open")
    assert 0 < got.sum("sluice_step_seconds_sum", step="connect") <= whole < DEADLINE
    looked_up = got.by("sluice_resolver_lookups_total", "source")
    assert looked_up["cache"] > 0 and looked_up["servers"] >= 3 and got.sum("sluice_resolver_lookups") == 0
    answers = got.by("sluice_resolver_answers_total", "result")
    assert answers["found"] >= 2 and answers["absent"] >= 3 and sum(answers.values()) == got.sum("sluice_resolver_questions_total")
    assert got.sum("sluice_log_lines_total") == len(lines)
    assert got.by("sluice_limit_left", "limit") == {"concurrent": 7, "upload_bytes": 1 << 20} and got.sum("sluice_limit_capacity", limit="requests") == 2
    assert got.sum("sluice_policy_info", hash=status["policy"]["hash"], file=str(one.gate.policy_file)) == 1
    assert {dict(pairs)["loop"] for pairs in got.all("sluice_loop_busy_seconds_total")} == {"0", "1"}
    assert got.sum("sluice_loop_busy_seconds_total") > 0 < got.sum("sluice_loop_idle_seconds_total")
    assert abs(got.sum("process_resident_memory_bytes") / 1024 - one.gate.resident_kib()) < 16384
    # While it is asked, the admin socket has one more.
    assert 0 <= got.sum("process_open_fds") - one.gate.descriptors() <= 2
    assert time.time() - 600 < got.sum("process_start_time_seconds") <= time.time()


def test_the_document_names_what_the_output_has(admin, upstream, web, hello):
    tunnel, plain = upstream(echo), web(hello)
    one = admin(policy(tunnel, plain), workers=2, flags=DNS)
    mixed_load(one.gate, tunnel, plain, 1)
    got, table = metrics(one), documented()
    assert {name: kind for name, (kind, _) in table.items()} == got.types
    # A gate that shares no limits has none of the figures of sharing.
    unshared = {name for name in table if name.startswith("sluice_shared_limits_")}
    assert set(got.labels) == set(table) - unshared, "each family has a sample"
    for name in set(table) - unshared:
        assert got.labels[name] == {table[name][1]}, name
    checked = promtool("check", "metrics", stdin=got.text)
    assert checked.returncode == 0 and not checked.stdout + checked.stderr, checked


def test_a_step_is_timed_from_its_own_beginning(admin, upstream):
    """A head that comes slowly, a name server that is slow, and two requests of one connection."""
    def slow(stream):
        stream.settimeout(DEADLINE / 2)
        while data := stream.recv(65536):
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * data.count(b"\r\n\r\n"))
    server = upstream(slow)
    one = admin(rules(local("a.test", server.port)))
    sock = one.gate.dial()
    request = get(f"a.test:{server.port}")
    sock.sendall(request[:10])
    time.sleep(0.4)
    one.gate.names.is_silent = True
    sock.sendall(request[10:])
    until("it is asked", lambda: one.gate.names.asked)
    time.sleep(0.4)
    one.gate.names.is_silent = False
    assert b" 200 OK" in answer(sock)
    time.sleep(0.3)
    # A pause between requests is nobody's time.
    sock.sendall(request)
    assert b" 200 OK" in answer(sock)
    sock.close()
    got = metrics(one)
    counts = {step: got.sum("sluice_step_seconds_count", step=step) for step in ("read", "resolve", "connect", "open")}
    assert counts == {"read": 2, "resolve": 1, "connect": 1, "open": 2}
    sums = {step: got.sum("sluice_step_seconds_sum", step=step) for step in counts}
    assert 0.39 < sums["read"] < 1 and 0.39 < sums["resolve"] < DEADLINE and sums["connect"] < 0.3
    assert abs(sums["open"] - sums["read"] - sums["resolve"] - sums["connect"]) < 0.2, sums
    assert got.sum("sluice_step_seconds_bucket", step="read", le="0.262144") == 1


def test_no_host_of_a_client_becomes_a_label(admin, names, tmp_path):
    hosts = [b'a"}.test', b"a\\.test", b"\xff\xfe.test", b"xn--.test", b"<script>.test", b"evil-one.test", b"x" * 300 + b".test"]
    one = admin(rules("a.test:1"), flags=DNS)
    before = metrics(one)
    for host in hosts:
        one.gate.ask(b"CONNECT " + host + b":443 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        one.gate.ask(b"GET http://" + host + b"/ HTTP/1.1\r\nHost: " + host + b"\r\nX: \x1b[2J\r\n\r\n")
    after = metrics(one)
    assert set(before.samples) >= {one for one in after.samples if one[0] != "sluice_outcomes_total"}
    for word in ("evil", "<script", "xxxx", "\\\\", "\x1b"):
        assert word not in after.text
    assert sum(after.by("sluice_outcomes_total", "reason").values()) >= 2 * len(hosts)


def test_a_file_name_breaks_no_line(names, tmp_path):
    folder = tmp_path / 'a"b\\c\nd="1'
    folder.mkdir()
    path = tmp_path / "admin.sock"
    limit = '  rate_limits: [{host: "*", requests_per_minute: 2}]\n'
    one = Admin(Gate(folder, names, rules("a.test:1", more=limit), flags=("--listen-admin", path, "--no-self-sandbox"), log=tmp_path / "log"), path)
    try:
        got = metrics(one)
        assert got.sum("sluice_policy_info", file=str(one.gate.policy_file)) == 1
        assert got.sum("sluice_limit_left", rule=f"{one.gate.policy_file}:3:7", target="a.test:1") == 2
        assert promtool("check", "metrics", stdin=got.text).returncode == 0
    finally:
        one.gate.stop()


def test_a_reload_is_counted(admin):
    one = admin(rules("a.test:1"))
    first = metrics(one)
    assert [first.sum(name) for name in ("sluice_policy_generation", "sluice_policy_last_reload_successful")] == [1, 1]
    one.gate.write("network_policy: {alow: []}")
    assert one.run("reload").returncode == 2
    failed = metrics(one)
    assert failed.by("sluice_policy_reloads_total", "result") == {"failed": 1}
    assert failed.sum("sluice_policy_last_reload_successful") == 0 and failed.sum("sluice_policy_generation") == 1
    one.gate.write(rules("b.test:1"))
    assert one.run("reload").returncode == 0
    applied = metrics(one)
    assert applied.by("sluice_policy_reloads_total", "result") == {"failed": 1, "applied": 1}
    assert applied.sum("sluice_policy_last_reload_successful") == 1 and applied.sum("sluice_policy_generation") == 2
    assert applied.sum("sluice_policy_loaded_timestamp_seconds") > first.sum("sluice_policy_loaded_timestamp_seconds")
    assert dict(list(applied.all("sluice_policy_info"))[0])["hash"] == one.status()["policy"]["hash"]


def test_a_log_that_waits_is_seen(admin, small_disk):
    one = admin(rules("a.test:1"), log=small_disk.log, on_failure="continue")
    small_disk.fill()
    for number in range(20):
        assert b" 403 " in one.gate.connect(f"refused{number}.test:443")[1]
    waiting = until("lines wait", lambda: (lambda got: got if got.sum("sluice_log_writable") == 0 else None)(metrics(one)))
    # The last page of the file had room for some.
    lines = waiting.sum("sluice_log_waiting_lines")
    assert lines == 20 - occurrences([line for line in one.gate.lines() if line["event"] == "denied"]) > 0
    assert 100 * lines < waiting.sum("sluice_log_waiting_bytes") < 500 * lines
    time.sleep(0.3)
    assert metrics(one).sum("sluice_log_waiting_seconds") >= 0.3
    small_disk.free()
    written = until("they are written", lambda: (lambda got: got if got.sum("sluice_log_writable") == 1 else None)(metrics(one)))
    assert [written.sum(f"sluice_log_waiting_{what}") for what in ("lines", "bytes", "seconds")] == [0, 0, 0]
    assert occurrences([line for line in one.gate.lines() if line["event"] == "denied"]) == 20


def test_a_loop_that_works_is_busy(admin, upstream):
    def pour(stream):
        while True:
            stream.sendall(b"x" * 65536)
    server = upstream(pour)
    one = admin(rules(local("a.test", server.port)))
    sock, _ = one.gate.connect(f"a.test:{server.port}")
    before, began = metrics(one), time.monotonic()
    while time.monotonic() - began < 1:
        assert sock.recv(1 << 20)
    after, spent = metrics(one), time.monotonic() - began
    sock.close()
    busy, idle = (after.sum(f"sluice_loop_{what}_seconds_total") - before.sum(f"sluice_loop_{what}_seconds_total") for what in ("busy", "idle"))
    assert busy > 0.02 and abs(busy + idle - spent) < 0.3, (busy, idle, spent)
    assert after.sum("sluice_bytes_total", direction="down") > before.sum("sluice_bytes_total", direction="down") + 1_000_000


# MARK: over HTTP

def http(sock, data):
    with sock:
        sock.sendall(data)
        got = b""
        while more := sock.recv(65536):
            got += more
    head, _, body = got.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def test_http_serves_the_same_by_tcp_and_by_the_admin_socket(admin):
    one = admin(rules("a.test:1"), flags=TCP)
    port = port_of(one.gate)
    assert one.status()["metrics"] == f"127.0.0.1:{port}" and f"127.0.0.1:{port} (metrics)" in one.run("status").stdout
    tcp = lambda data: http(socket.create_connection(("127.0.0.1", port), DEADLINE), data)
    unix = lambda data: http(one.dial(), data)
    for way in (tcp, unix):
        head, body = way(b"GET /metrics HTTP/1.1\r\nHost: gate\r\nAccept: application/openmetrics-text\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 OK\r\n") and "text/plain; version=0.0.4" in head
        assert f"Content-Length: {len(body)}" in head and Metrics(body).types == metrics(one).types
        assert way(b"GET /other HTTP/1.1\r\nHost: gate\r\n\r\n")[0].startswith("HTTP/1.1 404 ")
        assert way(b"GET /metrics HTTP/9\r\n\r\n")[0].startswith("HTTP/1.1 400 ")
    head, body = tcp(b"HEAD /metrics HTTP/1.1\r\nHost: gate\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ") and not body
    head, _ = tcp(b"POST /metrics HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\n\r\nabc")
    assert head.startswith("HTTP/1.1 405 ") and "Allow: GET, HEAD" in head
    assert tcp(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000)[0].startswith("HTTP/1.1 431 ")
    assert tcp(b"\x16\x03\x01" + bytes(50) + b"\n\n")[0].startswith("HTTP/1.1 400 ")
    got = subprocess.run(["curl", "-sS", "--unix-socket", one.path, "http://gate/metrics"], capture_output=True, text=True, timeout=DEADLINE)
    assert Metrics(got.stdout).sum("sluice_build_info") == 1


def test_many_who_say_nothing_are_bounded(admin, upstream):
    server = upstream(echo)
    one = admin(rules(local("a.test", server.port)), flags=TCP)
    before = one.gate.descriptors()
    dial = lambda: socket.create_connection(("127.0.0.1", port_of(one.gate)), DEADLINE)
    silent = [dial() for _ in range(32)]
    for _ in range(68):
        # The reset may come at any moment.
        with pytest.raises(ConnectionResetError), dial() as sock:
            sock.recv(1)
    assert one.gate.descriptors() <= before + 33
    assert b" 200 " in one.gate.connect(f"a.test:{server.port}")[1] and metrics(one).sum("sluice_metrics_whole") == 1
    # Those that are in are closed after ten seconds, and others find room.
    for sock in silent:
        assert sock.recv(1) == b""
    assert Metrics(http(dial(), b"GET /metrics HTTP/1.1\r\nHost: gate\r\n\r\n")[1]).samples


def test_an_address_that_is_taken_is_said(gate, upstream, names, tmp_path):
    taken = upstream(echo)
    got = subprocess.run([os.environ["SLUICE"], "serve", "--listen-connect", "127.0.0.1:0", "--listen-metrics", f"127.0.0.1:{taken.port}"],
                         capture_output=True, text=True, timeout=DEADLINE)
    assert got.returncode == 2 and "Choose another address with --listen-metrics" in got.stderr, got


# MARK: out of reach

@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_no_client_reaches_the_metrics_through_the_gate(gate, listen, tmp_path):
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    allow = rules(f"127.0.0.1:{port}", local("here.test", port, more=", protocol: tcp"), local("open.test", port))
    one = gate(allow, flags=("--listen-metrics", f"{listen}:{port}"))
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    assert b" 200 " in http(socket.create_connection(("127.0.0.1", port), DEADLINE), request)[0].encode()
    for target in (f"127.0.0.1:{port}", f"here.test:{port}", f"open.test:{port}"):
        sock, head = one.connect(target)
        sock.close()
        assert head.startswith(b"HTTP/1.1 403 Denied by egress policy: loop"), (target, head)
        assert b" 403 Denied by egress policy: loop" in ask(one, target)
    sock, code = socks(one, b"here.test", port)
    sock.close()
    assert code == 2
    until("each has its line", lambda: occurrences([line for line in one.lines() if line.get("reason") == "loop"]) == 7)


def test_what_comes_from_a_clients_network_is_closed_unread(gate):
    one = gate(rules("a.test:1") + "clients: [{name: builder, source: [127.0.0.2]}]", flags=TCP)
    port = port_of(one)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        # The reset may come at any moment.
        with socket.create_connection(("127.0.0.1", port), DEADLINE, ("127.0.0.2", 0)) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: gate\r\n\r\n")
            raise AssertionError(f"it was served: {sock.recv(65536)}")
    assert http(socket.create_connection(("127.0.0.1", port), DEADLINE), b"GET /metrics HTTP/1.1\r\nHost: gate\r\n\r\n")[0].startswith("HTTP/1.1 200")


@pytest.mark.skipif(os.geteuid() != 0, reason="starts `sluice run` as another user, which takes root")
@pytest.mark.parametrize("who", ["root", "user"])
def test_a_sandbox_has_no_way_to_the_metrics(who, names):
    place = Served(who, names)
    try:
        place.write("network_policy: {allow: [{host: \"here.test:1-65535\", addresses: [127.0.0.0/8]}, \"127.0.0.1:1-65535\"]}")
        place.serve(*TCP)
        port = int(re.search(r":(\d+) \(metrics\)", place.errors.read_text()).group(1))
        request = f"curl -sS -o - -w '%{{http_code}}\\n' --max-time 10"
        got = place.shell(f"{request} --noproxy '*' http://127.0.0.1:{port}/metrics; {request} --noproxy '*' http://here.test:{port}/metrics; "
                          f"{request} http://here.test:{port}/metrics; {request} http://127.0.0.1:{port}/metrics")
        assert "sluice_" not in got.stdout + got.stderr and "\n200\n" not in f"\n{got.stdout}", got
        assert place.logged(event="denied", client="sandbox", reason="loop", host="here.test", port=port)
        status = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert Metrics(status).by("sluice_outcomes_total", "reason", event="denied")["loop"] >= 2
        place.end_gate()
        place.leaves_nothing()
    finally:
        place.close()


# MARK: Prometheus

class Prometheus:
    def __init__(self, folder, port):
        """The example's configuration, with this gate's address and a second between scrapes."""
        config = (EXAMPLE / "prometheus.yml").read_text()
        assert config.count("127.0.0.1:9798") == 2 and config.count("15s") == 2 and "alerts.yml" in config
        (folder / "prometheus.yml").write_text(config.replace("127.0.0.1:9798", f"127.0.0.1:{port}").replace("15s", "1s"))
        shutil.copy(EXAMPLE / "alerts.yml", folder)
        self.errors = folder / "errors"
        self.process = subprocess.Popen(["prometheus", "--config.file", folder / "prometheus.yml", "--storage.tsdb.path", folder / "data",
                                         "--web.listen-address", "127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=open(self.errors, "wb"), env=plain_environment())
        self.url = "http://" + until("Prometheus listens", self.listening)
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        until("Prometheus is ready", self.is_ready)

    def is_ready(self):
        try:
            return self.opener.open(f"{self.url}/-/ready", timeout=DEADLINE).status == 200
        except urllib.error.HTTPError:
            return False

    def listening(self):
        assert self.process.poll() is None, self.errors.read_text()
        found = re.search(r'msg="?Listening on"? address=(\S+)', self.errors.read_text())
        return found and found.group(1)

    def ask(self, path, **query):
        with self.opener.open(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=DEADLINE) as got:
            body = json.load(got)
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expression):
        try:
            return self.ask("query", query=expression)["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read()}") from None

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture
def prometheus(tmp_path):
    started = []

    def start(port):
        folder = tmp_path / "prometheus"
        folder.mkdir()
        started.append(Prometheus(folder, port))
        return started[-1]

    yield start
    for one in started:
        one.end()


def dashboard_expressions():
    board = json.loads((EXAMPLE / "dashboard.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def alert_expressions(prometheus):
    for group in prometheus.ask("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule
            yield rule["name"], rule["query"]


def test_prometheus_scrapes_a_gate_and_its_dashboard_finds_figures(admin, prometheus, upstream, web, hello):
    tunnel, plain = upstream(echo), web(hello)
    one = admin(policy(tunnel, plain), workers=2, flags=(*DNS, *TCP))
    server = prometheus(port_of(one.gate))
    until("the gate is up", lambda: server.query('up{job="sluice"} == 1'))
    mixed_load(one.gate, tunnel, plain, 10)
    until("nothing is open", lambda: one.status()["open"] == 0)
    status = one.status()
    refused = lambda: [float(result["value"][1]) for result in server.query('sum(sluice_outcomes_total{event="denied"})')]
    until("it has seen the last refusal", lambda: refused() == [status["denied"]["all"]])
    for query, value in (('sum(sluice_tunnels_total)', status["tunnels"]), ('sluice_tunnels_total{kind="socks"}', 10), ("sluice_requests_total", status["requests"]),
                         ('sluice_outcomes_total{event="limited",reason="rate_limited"}', 1), ('sluice_limit_left{limit="requests"} < bool 1', 1),
                         ('sluice_bytes_total{direction="up"}', status["bytes_up"]), ('sluice_step_seconds_count{step="open"}', status["tunnels"] + status["requests"])):
        assert [float(result["value"][1]) for result in server.query(query)] == [value], query
    # Rates need two scrapes with a change between them, and quantiles rates.
    mixed_load(one.gate, tunnel, plain, 5)
    until("a rate", lambda: [result for result in server.query('sum(rate(sluice_tunnels_total[1m])) > 0')])
    known = set(server.ask("label/__name__/values"))
    expressions = [*dashboard_expressions()]
    assert len(expressions) > 25
    for title, expression in expressions:
        expression = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
        assert "$" not in expression, title
        names = set(re.findall(r"\b(?:sluice|process)_[a-z_]+", expression)) | ({"up"} if expression.startswith("min(up") else set())
        assert names and names <= known, (title, names - known)
        found = server.query(expression)
        # A level that is not reached and a policy that has not changed are no samples.
        assert found or expression.endswith((" > 0.5", "[1m]) > 0")), (title, expression)
    alerts = [*alert_expressions(server)]
    assert len(alerts) == 12
    for name, expression in alerts:
        assert set(re.findall(r"\b(?:sluice|process)_[a-z_]+", expression)) <= known, name


def test_the_examples_hold_what_promtool_asks():
    for arguments in (["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]):
        got = promtool(*arguments)
        assert got.returncode == 0, got
    # Each alert has a case in which it fires.
    alerts = re.findall(r"alert: (\w+)", (EXAMPLE / "alerts.yml").read_text())
    cases = (EXAMPLE / "alerts-test.yml").read_text()
    for alert in alerts:
        assert re.search(rf"alertname: {alert}\n +exp_alerts", cases), alert


def test_a_bad_policy_raises_its_alert(admin, prometheus):
    one = admin(rules("a.test:1"), flags=TCP)
    server = prometheus(port_of(one.gate))
    until("the gate is up", lambda: server.query('up{job="sluice"} == 1'))
    one.gate.write("network_policy: {alow: []}")
    assert one.run("reload").returncode == 2
    firing = until("the alert", lambda: [one for one in server.ask("alerts")["alerts"] if one["labels"]["alertname"] == "SluiceReloadFailed" and one["state"] == "firing"])
    assert "the one before it is in force" in firing[0]["annotations"]["summary"]


def test_readiness_is_told(admin, small_disk, upstream):
    server = upstream(echo)
    one = admin(rules(local("a.test", server.port)), log=small_disk.log, flags=TCP)
    port = port_of(one.gate)

    def ready():
        return http(socket.create_connection(("127.0.0.1", port), DEADLINE), b"GET /ready HTTP/1.1\r\nHost: gate\r\n\r\n")

    head, body = ready()
    assert head.startswith("HTTP/1.1 200 ") and body == "ready\n"
    small_disk.fill()
    names = itertools.count()

    def is_unready():
        one.gate.ask(get(f"refused{next(names)}.test"))
        return ready()[0].startswith("HTTP/1.1 503 ")

    until("the log cannot be written", is_unready)
    small_disk.free()
    until("it can again", lambda: ready()[0].startswith("HTTP/1.1 200 "))
