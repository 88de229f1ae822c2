"""`sluice.internal`: a client asks the gate itself, over each listener, and learns only about itself."""
import json
import os
import struct
import subprocess

import anthropic
import openai
import pytest

from gate import DNS, basic, get, local, password_file, read, rules
from inspection import Inspecting
from sandbox import Place

HOST = "sluice.internal"


@pytest.fixture
def inspecting(gate, tmp_path, certificates):
    return Inspecting(gate, tmp_path, certificates)


def request(path, method="GET", fields="", body=b"", absolute=True):
    target = f"http://{HOST}{path}" if absolute else path
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{length}{fields}\r\n".encode() + body


def split(data):
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body


def ask(gate, path, source=None, **more):
    status, head, body = split(gate.ask(request(path, **more), source))
    return status, json.loads(body) if b"application/json" in head.encode() and body else body.decode()


POLICY = rules(
    local("allowed.test", 80), '{host: "api.test:443", methods: [GET], paths: ["/v1/**"]}', '"*.wild.test:443"', '"stopped.test:80"',
    more='  deny: ["stopped.test:80", "bad.wild.test:443"]\n'
         '  rate_limits: [{host: "allowed.test:80", requests_per_minute: 5, concurrent: 3, upload_bytes_per_minute: 1MiB}]\n')


def test_the_policy_page_says_what_this_client_may_reach_and_what_is_left(gate, upstream):
    one = gate(POLICY)
    status, policy = ask(one, "/policy")
    rules_by_host = {rule["host"]: rule for rule in policy["allow"]}
    assert status == 200 and policy["client"] == "default" and policy["mode"] == "enforce" and policy["default"] == "deny", policy
    assert set(rules_by_host) == {"allowed.test", "api.test", "*.wild.test"}, policy
    assert rules_by_host["api.test"]["methods"] == ["GET"] and rules_by_host["api.test"]["paths"] == ["/v1/**"]
    assert rules_by_host["*.wild.test"]["except"] == ["bad.wild.test:443"]
    limits = rules_by_host["allowed.test"]["limits"]
    assert limits["requests_per_minute"] == limits["requests_left"] == 5 and limits["concurrent_left"] == 3, limits
    assert limits["upload_bytes_left"] == 1 << 20
    one.ask(get("allowed.test"))
    assert {rule["host"]: rule for rule in ask(one, "/policy")[1]["allow"]}["allowed.test"]["limits"]["requests_left"] == 4
    status, text = ask(one, "/policy", fields="Accept: text/plain\r\n")
    assert "allowed.test:80" in text and "GET /v1/**" in text and "stopped.test" not in text, text
    # No place of a rule, no address, no credential.
    assert "policy.yaml" not in json.dumps(policy) and "127.0.0.0" not in json.dumps(policy)


def test_the_gate_answers_by_each_way_and_nothing_goes_out(gate, names):
    one = gate(rules(local("allowed.test", 80)), flags=DNS)
    with one.dial() as sock:
        # On one connection, with HEAD between.
        sock.sendall(request("/policy") + request("/policy", method="HEAD") + request("/refusals", fields="Connection: close\r\n"))
        heads = b"".join(iter(lambda: sock.recv(65536), b"")).count(b"HTTP/1.1 200 OK\r\n")
        assert heads == 3
    sock, reply = one.connect(f"{HOST}:80")
    with sock:
        assert b" 200 " in reply.split(b"\r\n")[0]
        sock.sendall(request("/policy", absolute=False))
        assert split(b"".join(iter(lambda: sock.recv(65536), b"")))[0] == 200
    sock, _ = one.connect(f"{HOST}:80")
    with sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n")
        assert split(b"".join(iter(lambda: sock.recv(65536), b"")))[0] == 400
    with one.dial() as sock:
        sock.sendall(b"\x05\x01\x00" + bytes([5, 1, 0, 3, len(HOST)]) + HOST.encode() + struct.pack("!H", 80))
        assert read(sock, 12)[3] == 0
        sock.sendall(request("/policy", absolute=False))
        assert split(b"".join(iter(lambda: sock.recv(65536), b"")))[0] == 200
    status, head, body = split(one.connect(f"{HOST}:443")[1])
    assert status == 403 and "without TLS" in json.loads(body)["message"] and "policy_line" not in json.loads(body)
    assert not [name for name in names.asked if HOST in name]
    one.stop()
    # Of all that, the log has what was refused: TLS, and a request inside for another host.
    assert [(line["event"], line["host"], line["port"], line["reason"]) for line in one.lines() if "host" in line] == [
        ("denied", "allowed.test", 80, "bad_request"), ("denied", HOST, 443, "not_allowed")]


def test_wrong_requests_are_told_what_is_right(gate):
    one = gate(rules(local("allowed.test", 80)))
    for more, expected, words in [
            (dict(path="/nothing"), 404, "/policy"), (dict(path="/policy", method="PUT"), 405, "GET, HEAD"),
            (dict(path="/requests"), 405, "POST"), (dict(path="/requests/abcde"), 404, "approvals"),
            (dict(path="/requests", method="POST", body=b'{"target": "api.test:443"}'), 404, "approvals"),
            (dict(path="/requests", method="POST", body=b"x" * 5000), 413, "Content-Length"),
            (dict(path="/requests", method="POST", fields="Transfer-Encoding: chunked\r\n"), 413, "Content-Length"),
            (dict(path="/policy", fields="Origin: http://other.example\r\n"), 403, "another site")]:
        status, body = ask(one, **more)
        assert status == expected and words in body["message"], (more, status, body)
    # A body may come in pieces.
    whole = request("/requests", method="POST", body=b'{"target": "no port"}')
    with one.dial() as sock:
        for at in range(0, len(whole), 7):
            sock.sendall(whole[at:at + 7])
        assert sock.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_client_hears_of_its_own_refusals_and_of_no_other(gate, tmp_path):
    passwords = password_file(tmp_path, "agent", "secret")
    one = gate(f"""clients:
  - {{name: left, source: [127.0.0.2/32], network_policy: {{allow: ["left.test:443"]}}}}
  - {{name: agent, proxy_user: agent, password_file: {passwords}, source: [127.0.0.4/32], network_policy: {{allow: ["agent.test:443"]}}}}
network_policy: {{allow: ["other.test:443"]}}""", flags=DNS, workers=2)
    for source, target in [("127.0.0.2", "a.left.test:443"), ("127.0.0.3", "a.right.test:443"), ("127.0.0.5", "a.other.test:443")]:
        assert b" 403 " in one.connect(target, source)[1]
    for source, host in [("127.0.0.2", "a.left.test"), ("127.0.0.3", "a.right.test"), ("127.0.0.5", "a.other.test")]:
        status, body = ask(one, "/refusals", source)
        assert [(each["host"], each["port"], each["reason"], each["state"]) for each in body["refusals"]] == [
            (host, 443, "not_allowed", "refused")], body
        line = one.logged(event="denied", host=host)
        assert body["refusals"][0]["id"] == line["id"]
    assert ask(one, "/policy", "127.0.0.2")[1]["allow"][0]["host"] == "left.test"
    # A client that must say a password is told nothing without it.
    assert ask(one, "/policy", "127.0.0.4")[0] == 407
    assert ask(one, "/policy", "127.0.0.4", fields=basic("agent", "secret"))[1]["allow"][0]["host"] == "agent.test"
    sock, _ = one.connect(f"{HOST}:80", "127.0.0.4", more=basic("agent", "secret"))
    with sock:
        sock.sendall(request("/policy", absolute=False) * 2)
        reply = b"".join(iter(lambda: sock.recv(65536), b""))
        assert reply.count(b"HTTP/1.1 200 OK") == 1 and b'"agent.test"' in reply, reply


def test_questions_are_limited(gate):
    one = gate(rules(local("allowed.test", 80)))
    with one.dial() as sock:
        sock.sendall(request("/refusals") * 300 + request("/refusals", fields="Connection: close\r\n"))
        reply = b"".join(iter(lambda: sock.recv(65536), b""))
    assert reply.count(b"HTTP/1.1 429 ") > 200 and b"Retry-After: 1\r\n" in reply and reply.count(b"HTTP/1.1 200 ") >= 60


def test_no_rule_names_the_gate(gate, tmp_path):
    for text in ['allow: ["sluice.internal:80"]', 'allow: ["*:80"]\n  deny: ["Sluice.Internal.:80"]']:
        policy = tmp_path / "policy.yaml"
        policy.write_text(f"network_policy:\n  {text}\n")
        got = subprocess.run([os.environ["SLUICE"], "check", policy], capture_output=True, text=True)
        assert got.returncode == 2 and "sluice.internal is the gate itself" in got.stderr + got.stdout, got
    # Nor does a wildcard take it over.
    one = gate('network_policy: {default: allow, allow: ["*.internal:80"], deny: ["*.internal:*"]}')
    assert ask(one, "/policy")[0] == 200


def test_sdks_show_the_words_of_a_refusal(inspecting, upstream, certificates):
    """Of an inspected target, and of one that no rule allows, where the client trusts the gate's CA."""
    heard = []
    server = upstream(lambda stream: heard.append(stream.recv(1)), certificates.server())
    limits = '  rate_limits: [{host: "allowed.test:%d", requests_per_minute: 1}]\n' % server.port
    one = inspecting.gate(inspecting.rule("allowed.test", server.port, ', methods: [GET]'), limits=limits, more="explain_denials: true")
    asked = {"model": "any", "messages": [{"role": "user", "content": "?"}]}
    for host, reason, words in [(f"allowed.test:{server.port}", "method_refused", "refuses this method"), ("refused.test", "not_allowed", "No rule")]:
        http = openai.DefaultHttpxClient(proxy=one.url, verify=inspecting.trust())
        with openai.OpenAI(base_url=f"https://{host}/v1", api_key="k", http_client=http, max_retries=0) as client:
            with pytest.raises(openai.PermissionDeniedError) as said:
                client.chat.completions.create(**asked)
        assert words in said.value.body["message"] and said.value.code == reason and "http://sluice.internal/" in str(said.value), said.value
        http = anthropic.DefaultHttpxClient(proxy=one.url, verify=inspecting.trust())
        with anthropic.Anthropic(base_url=f"https://{host}", api_key="k", http_client=http, max_retries=0) as client:
            with pytest.raises(anthropic.PermissionDeniedError) as said:
                client.messages.create(**asked, max_tokens=9)
        error = said.value.body["error"]
        assert words in error["message"] and error["type"] == "permission_error" and said.value.body["type"] == "error", said.value.body
        assert said.value.body["reason"] == reason
    # The connection stands before the request is judged; no byte of one goes out.
    assert not any(heard)


@pytest.mark.skipif(os.geteuid() != 0, reason="`sluice run` as another user takes root")
@pytest.mark.parametrize("kind", ["root", "user"])
def test_inside_a_sandbox_the_gate_is_asked_with_and_without_a_proxy(kind, names):
    place = Place(kind, names)
    try:
        place.write('network_policy: {allow: ["allowed.test:443"]}\ndns: {refused: nxdomain}')
        got = place.shell(f"""
curl -sS --max-time 10 http://refused.test/ > /dev/null
for more in '' '--noproxy *'; do
  curl -sS --max-time 10 $more http://{HOST}/policy; curl -sS --max-time 10 $more http://{HOST}/refusals
done
getent hosts {HOST} > /dev/null && echo resolved
curl -sS --max-time 10 --noproxy '*' -H 'Accept: text/plain' http://{HOST}/ > guide
cmp guide /etc/sluice/README.md || diff guide /etc/sluice/README.md | head -5
touch /etc/sluice/README.md 2> /dev/null || echo unwritable; head -1 /etc/sluice/README.md""")
        lines = got.stdout.splitlines()
        pages = [json.loads(line) for line in lines if line.startswith("{")]
        assert len(pages) == 4 and pages[0] == pages[2] and pages[0]["allow"][0]["host"] == "allowed.test", got
        for page in (pages[1], pages[3]):
            assert [each["host"] for each in page["refusals"]] == ["refused.test"], page
        assert "resolved" in lines and "unwritable" in lines and lines[-1].startswith("# For agents"), got
        assert not [line for line in place.lines() if line.get("host") == HOST]
        assert HOST not in place.names.asked
        place.leaves_nothing()
    finally:
        place.close()


def test_a_client_asks_a_person_and_hears_what_became_of_it(admin):
    one = admin(rules(local("allowed.test", 80), more='  deny: ["stopped.test:80"]\n'), more="approvals: {wait_seconds: 0}\n")
    gate = one.gate
    post = dict(method="POST", body=b'{"target": "Wanted.test:443", "reason": "fetch the schema"}')
    status, asked = ask(gate, "/requests", **post)
    assert (status, asked["state"], asked["target"]) == (202, "recorded", "wanted.test:443"), asked
    # Asked again, it is the same request.
    assert ask(gate, "/requests", **post)[1]["id"] == asked["id"]
    assert ask(gate, f"/requests/{asked['id']}")[1]["state"] == "recorded"
    assert gate.names.asked == [] and ask(gate, "/policy")[1]["approvals"] == {"wait_seconds": 0, "ask": "POST /requests"}
    entry = [line["approval"] for line in one.json("approvals") if "approval" in line][0]
    assert (entry["note"], entry["via"], entry["host"]) == ("fetch the schema", "sluice.internal", "wanted.test")
    # A refusal of the same target knows of it.
    gate.ask(get("wanted.test:443"))
    refusal = ask(gate, "/refusals")[1]["refusals"][0]
    assert (refusal["request_id"], refusal["state"]) == (asked["id"], "recorded"), refusal
    assert one.run("approve", asked["id"], "--for", "1h").returncode == 0
    status, settled = ask(gate, f"/requests/{asked['id']}")
    assert (status, settled["state"], settled["for"]) == (200, "approved", "3600s"), settled
    assert "uid" not in json.dumps(settled) and "by" not in settled
    for target, expected in (("allowed.test:80", "allowed"), ("stopped.test:80", "refused")):
        assert ask(gate, "/requests", method="POST", body=json.dumps({"target": target}).encode())[1]["state"] == expected
    assert ask(gate, "/requests/zzzzz")[0] == 404
    status, text = ask(gate, f"/requests/{asked['id']}", fields="Accept: text/plain\r\n")
    assert status == 200 and text.strip() == f"{asked['id']}  wanted.test:443  approved", text
