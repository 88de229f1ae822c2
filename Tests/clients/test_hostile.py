"""Hostile text in a policy, in cases or in an answer of the admin socket: no command prints it unescaped."""
import json
import os
import socket
import threading

import pytest

from gate import DEADLINE, Gate, plain_environment, rules, until
from test_views import HOSTILE, PRINTABLE, OnTerminal

PRINTED = PRINTABLE | {0x0D}


def shown(*arguments):
    """What a command writes to its terminal, and its standard error."""
    one = OnTerminal(*arguments, env=plain_environment() | {"NO_COLOR": "1", "TERM": "xterm"})
    errors = []
    reader = threading.Thread(target=lambda: errors.append(one.process.stderr.read()))
    reader.start()

    def has_ended():
        one.read()
        return one.process.poll() is not None
    until(f"{arguments} ends", has_ended)
    one.read()
    reader.join(DEADLINE)
    os.close(one.slave)
    os.close(one.master)
    return one.seen, errors[0]


def is_harmless(text):
    # The mark of a text that was cut.
    return set(text.replace("…".encode(), b"")) <= PRINTED


def quoted(text):
    """As YAML takes it in double quotes; a policy file has no room for NUL."""
    return json.dumps(text.replace("\x00", "\x01"))


def policies(tmp_path):
    """Files whose every text is hostile where a text may stand."""
    found = []
    for number, text in enumerate(HOSTILE):
        text = quoted(text[:1000])
        for form, body in enumerate([
            f"network_policy: {{allow: [{text}]}}",
            f"network_policy: {{allow: [{{host: \"a.example:443\", methods: [{text}], paths: [{text}], protocol: {text}}}]}}",
            f"network_policy: {{allow: [{{host: \"a.example:443\", {text}: 1}}]}}",
            f"{text}: 1\nnetwork_policy: {{mode: {text}}}",
            f"network_policy: {{}}\nclients: [{{name: {text}, source: [{text}], proxy_user: {text}}}]",
            f"network_policy: {{}}\nlisten: {{connect: {text}, admin: {text}, metrics: {text}}}\nlog: {{file: {text}}}\nresolver: {{servers: [{text}]}}",
            f"network_policy: {{allow: [\"a.example:443\"]}}\ncredentials: {{{text}: {{env: {text}, header: {text}}}}}",
        ]):
            path = tmp_path / f"{number}-{form}.yaml"
            path.write_text(body + "\n")
            found.append(path)
    return found


def test_hostile_policies_show_harmlessly(tmp_path):
    good = tmp_path / "good.yaml"
    good.write_text("network_policy: {allow: [a.example:443]}\n")
    cases = tmp_path / "cases.yaml"
    cases.write_text("- {target: a.example:443, expect: allow}\n")
    for policy in policies(tmp_path):
        for arguments in (["check", "--policy", policy], ["check", "--policy", policy, "a.example:443"], ["diff", good, policy], ["test", policy, cases]):
            seen, errors = shown(*arguments)
            assert is_harmless(seen) and is_harmless(errors) and seen + errors, (arguments, policy.read_text()[:200], seen[:300], errors[:300])


def test_hostile_cases_show_harmlessly(tmp_path):
    policy, cases = tmp_path / "policy.yaml", tmp_path / "cases.yaml"
    policy.write_text("network_policy: {allow: [a.example:443]}\n")
    for text in HOSTILE:
        text = quoted(text[:1000])
        for case in (f"{{target: {text}, expect: allow}}", f"{{target: a.example:443, client: {text}, expect: allow}}",
                     f"{{target: a.example:443, expect: {text}}}", f"{{target: a.example:443, address: {text}, expect: allow}}", f"{{{text}: 1}}"):
            cases.write_text(f"- {case}\n")
            seen, errors = shown("test", policy, cases)
            assert is_harmless(seen) and is_harmless(errors) and errors, (case, seen[:300], errors[:300])


def test_a_hostile_file_name_in_metrics_and_status(names, tmp_path):
    folder = tmp_path / "a\x1b[2J\u202eb"
    folder.mkdir()
    path = tmp_path / "admin.sock"
    one = Gate(folder, names, rules("a.test:1", more='  rate_limits: [{host: "*", requests_per_minute: 1}]\n'),
               flags=("--listen-admin", path, "--no-self-sandbox"), log=tmp_path / "log")
    try:
        for command in ("status", "metrics", "reload"):
            seen, errors = shown(command, "--socket", path)
            assert is_harmless(seen) and is_harmless(errors) and len(seen) > 20, (command, set(seen) - PRINTED)
        one.write("network_policy: {alow: []}")
        seen, errors = shown("reload", "--socket", path)
        assert is_harmless(errors) and b"did you mean `allow`?" in errors, errors
    finally:
        one.stop()
    assert is_harmless(one.errors.read_bytes()), one.errors.read_bytes()


class FakeGate:
    """Answers each line with what it was given: who listens on the socket is not who should."""

    def __init__(self, path, lines):
        self.lines = lines
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with peer:
                peer.recv(4096)
                peer.sendall(b"".join(line.encode() + b"\n" for line in self.lines))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("ascii", [True, False])
def test_answers_of_a_hostile_gate_show_harmlessly(text, ascii, tmp_path):
    tunnel = {key: text for key in ("id", "client", "via", "host", "address", "rule", "state")} | {"port": 1, "bytes_up": 1, "bytes_down": 1, "age_ms": 1, "idle_ms": 1}
    answer = {"ok": True, "version": text, "pid": 1, "policy": {"file": text, "hash": text}, "listeners": [{"door": text, "address": text}], "admin": text,
              "metrics": text, "denied": {"all": 3, text: 3}, "failed": {"all": 0}, "revoked": {"all": 0, text: 1}, "log": {"file": text, "writable": True},
              "sandboxes": [text], "shown": 1, "more": True, "changes": [text], "notes": [text], "connections": 1}
    answers = {"status": [answer], "tunnels": [{"tunnel": tunnel}, answer], "metrics": [answer], "reload": [answer], "drain": [answer]}
    refusal = [{"ok": False, "error": text, "problems": [text]}]
    for command in answers:
        for lines in (answers[command], refusal):
            path = tmp_path / "fake.sock"
            path.unlink(missing_ok=True)
            fake = FakeGate(path, [json.dumps(line, ensure_ascii=ascii) for line in lines])
            for more in ((), ("--json",)):
                seen, errors = shown(command, "--socket", path, *more)
                assert is_harmless(seen) and is_harmless(errors), (command, more, set(seen) - PRINTED, set(errors) - PRINTED, seen[:300])
                assert seen + errors, command
            fake.socket.close()
