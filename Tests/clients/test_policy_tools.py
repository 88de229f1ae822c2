"""Work with a policy file: check, diff, test, include, and stop a target at once."""
import json
import os
import subprocess

import pytest

from gate import echo, local, rules, until

SLUICE = os.environ["SLUICE"]
GITHUB = """network_policy:
  allow:
    - host: api.github.test:443
      requests: [{methods: [GET], paths: ["/repos/acme/**"]}, {methods: [POST], paths: ["/repos/acme/*/issues"]}]
    - plain.test:443
"""


def run(*command):
    return subprocess.run([SLUICE, *map(str, command)], capture_output=True, text=True, timeout=60)


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text(GITHUB)
    return path


def test_check_takes_the_file_as_diff_and_test_do(policy, tmp_path):
    got = run("check", policy)
    assert got.returncode == 0 and f"{policy}: valid" in got.stdout, got
    got = run("check", policy, "plain.test:443", "other.test:443")
    assert got.returncode == 1 and got.stdout.splitlines()[0].startswith(f"allow plain.test:443 rule={policy}:5:7 protocol=tls "), got
    assert run("check", tmp_path / "none.yaml").returncode == 2
    got = run("check", "--policy", policy, policy)
    assert got.returncode == 2 and "two policy files" in got.stderr
    got = run("check", "plain.test")
    assert got.returncode == 2 and "write HOST:PORT, such as api.example.com:443, or a URL" in got.stderr


@pytest.mark.parametrize("url, method, verdict", [
    ("https://api.github.test/repos/acme/x", "GET", ""), ("https://api.github.test:443/repos/acme/x?y#z", "GET", ""),
    ("https://api.github.test/repos/acme/x/issues", "POST", ""), ("https://api.github.test/repos/acme/caf\u00e9", "GET", ""),
    ("https://api.github.test/repos/acme/x%2F..%2F..%2F..%2Fadmin", "GET", "path_refused"),
    ("https://api.github.test/repos/acme/x", "POST", "path_refused"), ("https://api.github.test", "GET", "path_refused"),
    ("https://api.github.test/repos/acme/x?_method=DELETE", "GET", "method_refused"),
    ("https://api.github.test/repos/acme/x", "DELETE", "method_refused"), ("https://plain.test/any//path", "PUT", ""),
    ("https://api.github.test:444/repos/acme/x", "GET", "not_allowed"), ("http://plain.test/", "GET", "not_allowed"),
])
def test_check_gives_the_verdict_on_a_url(policy, url, method, verdict):
    got = run("check", policy, url, "--method", method, "--json")
    line = json.loads(got.stdout)
    assert (got.returncode, line["verdict"], line.get("reason", "")) == (1 if verdict else 0, "refuse" if verdict else "allow", verdict), got
    assert line["target"] == url


def test_test_knows_requests(policy, tmp_path):
    cases = tmp_path / "cases.yaml"
    cases.write_text("""
- {target: api.github.test:443, path: /repos/acme/x, expect: allow}
- {target: api.github.test:443, method: POST, path: /repos/acme/x/issues, expect: allow}
- {target: api.github.test:443, method: POST, path: /repos/acme/x, expect: path_refused}
- {target: api.github.test:443, method: PUT, path: /repos/acme/x, expect: method_refused}
- {target: plain.test:443, method: PUT, path: /x, expect: allow}
""")
    got = run("test", policy, cases)
    assert got.returncode == 0 and "5 cases, 0 failed" in got.stdout, got
    cases.write_text("- {target: api.github.test:443, method: POST, path: /x, expect: allow}\n")
    got = run("test", policy, cases)
    assert got.returncode == 1 and f"expected allow, got path_refused by {policy}:3:7" in got.stdout, got


def test_diff_knows_requests(policy, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(GITHUB.replace("[POST]", "[POST, PUT]"))
    got = run("diff", policy, other)
    assert got.returncode == 1 and "requests: GET /repos/acme/**, POST /repos/acme/*/issues -> " in got.stdout, got
    assert run("diff", policy, policy).returncode == 0


@pytest.mark.parametrize("command, says", [
    (["chek"], "did you mean `check`?"), (["dashbord"], "did you mean `dashboard`?"), (["zzz"], "known here: serve, run, ps"),
    (["check", "--polcy", "x"], "Did you mean '--policy'?"), (["run", "--polcy", "x", "--", "true"], "Did you mean '--policy'?"),
])
def test_a_mistyped_command_or_option_gets_the_nearest(command, says):
    got = run(*command)
    assert got.returncode == 64 and says in got.stderr, got


def test_rules_of_one_line_are_told_apart_in_the_log(gate, upstream):
    server = upstream(echo)
    one, other = local("one.test", server.port), local("two.test", server.port)
    running = gate(f"network_policy:\n  allow: [{one}, {other}]\n  deny: [bad.test:1]\n")
    for name in ("one.test", "two.test"):
        running.connect(f"{name}:{server.port}")[0].close()
    running.connect("bad.test:1")
    column = len("  allow: [") + 1
    file = running.policy_file
    assert running.logged(host="one.test", event="closed")["rule"] == f"{file}:2:{column}"
    assert running.logged(host="two.test", event="closed")["rule"] == f"{file}:2:{column + len(one) + 2}"
    assert running.logged(host="bad.test")["rule"] == f"{file}:3:10"


def test_a_rule_of_an_included_file_is_logged_with_its_place(gate, upstream, tmp_path):
    server = upstream(echo)
    team = tmp_path / "team.yaml"
    team.write_text(rules(local("team.test", server.port)))
    running = gate(f"include: [{team}]\nnetwork_policy:\n  deny: [bad.test:1]\n")
    sock, head = running.connect(f"team.test:{server.port}")
    assert b" 200 " in head
    # The included file is read anew with the one that includes it.
    team.write_text("network_policy: {}\n")
    running.reload()
    sock.settimeout(20)
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    line = running.logged(event="revoked", host="team.test")
    assert line["reason"] == "not_allowed"
    team.write_text("network_policy: {alow: []}\n")
    before = running.errors.read_text()
    running.signal(1)
    until("the problem", lambda: f"{team}:1:18: unknown key `alow`" in running.errors.read_text()[len(before):])


def test_a_denied_address_is_not_dialled_and_a_reload_cuts_what_stands(admin, upstream):
    server = upstream(echo)
    allow = rules(local("allowed.test", server.port))
    one = admin(allow)
    target = f"allowed.test:{server.port}"
    sock, head = one.gate.connect(target)
    assert b" 200 " in head
    # The rule is left with nothing: a warning, and the tunnel is cut.
    one.gate.write(allow + '  deny: ["127.0.0.0/8:*"]\n')
    got = one.run("reload")
    assert got.returncode == 0, got
    sock.settimeout(20)
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    line = one.gate.logged(event="revoked")
    assert line["reason"] == "denied_by_rule" and line["rule"].split(":")[-2:] == ["4", "10"] and line["address"] == "127.0.0.1"
    before = server.connections
    sock, head = one.gate.connect(target)
    assert b" 403 " in head and b"denied_by_rule" in head
    line = one.gate.logged(event="denied")
    assert line["address"] == "127.0.0.1" and line["rule"].split(":")[-2:] == ["4", "10"]
    assert server.connections == before
    # And by the name of the target.
    one.gate.write(allow + '  deny: ["allowed.test:*"]\n')
    assert one.run("reload").returncode == 0
    assert "allows nothing" in one.gate.errors.read_text()


def heads(seen):
    def talk(stream):
        data = b""
        while b"\r\n\r\n" not in data:
            data += stream.recv(65536)
        seen.append(data.split(b" ")[1].decode())
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    return talk


@pytest.mark.parametrize("path, sent", [
    ("/@scope%2fx", "/@scope%2Fx"), ("/bucket//key", "/bucket//key"), ("/a/./b/../c", "/a/c"), ("/a;v=1", "/a;v=1"),
    ("/a[1]|x", "/a[1]|x"), ("/%7euser", "/~user"), ("//host/x", "//host/x"), ("/a\\b", "/a\\b"),
])
def test_a_path_goes_out_as_it_came(path, sent, gate, upstream):
    seen = []
    server = upstream(heads(seen))
    running = gate(rules(local("a.test", server.port, ', paths: ["/**"]')))
    got = running.ask(f"GET http://a.test:{server.port}{path} HTTP/1.1\r\nHost: a.test:{server.port}\r\n\r\n".encode())
    assert b" 200 " in got and seen == [sent]


@pytest.mark.parametrize("path", ["/repos/x%2F..%2F..%2Fadmin", "/repos/x\\..\\..\\admin", "/repos/..;/admin", "/repos/%ef%bc%8e%ef%bc%8e/x"])
def test_a_path_with_a_reading_that_is_not_allowed_goes_nowhere(path, gate, upstream):
    server = upstream(heads([]))
    running = gate(rules(local("a.test", server.port, ', paths: ["/repos/*"]')))
    got = running.ask(f"GET http://a.test:{server.port}{path} HTTP/1.1\r\nHost: a.test:{server.port}\r\n\r\n".encode())
    assert b" 403 " in got and b"path_refused" in got and server.connections == 0
