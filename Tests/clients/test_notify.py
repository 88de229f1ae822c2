"""Notifications of approvals: a signed webhook, verified by the example, and a program that reads JSON."""
import http.client
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gate import DEADLINE, plain_environment, rules, until

RECEIVER = Path(__file__).parents[2] / "Examples/approvals-webhook/receiver.py"


class Receiver:
    """The example, as an operator would start it."""

    def __init__(self, secret_file):
        self.process = subprocess.Popen([sys.executable, RECEIVER, "0", secret_file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=plain_environment())
        self.port = int(re.search(r"listening on (\d+)", self.process.stderr.readline()).group(1))

    def heard(self):
        return json.loads(self.process.stdout.readline())

    def post(self, body, **fields):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        connection.request("POST", "/hook", body, {name.replace("_", "-"): value for name, value in fields.items()})
        return connection.getresponse().status

    def close(self):
        self.process.terminate()
        self.process.wait(DEADLINE)
        self.process.stdout.close()
        self.process.stderr.close()


class Proud(socketserver.ThreadingTCPServer):
    """Fails at first, and keeps what it was sent."""
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *statuses):
        super().__init__(("127.0.0.1", 0), None)
        self.statuses, self.taken = list(statuses), []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def finish_request(self, request, client_address):
        file = request.makefile("rb")
        fields = {}
        file.readline()
        while (line := file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        body = file.read(int(fields["content-length"]))
        self.taken.append((fields, body))
        status = self.statuses.pop(0) if self.statuses else 204
        request.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "hook-secret"
    path.write_text("a secret of the operator's\n")
    return path


def approvals(*notifiers):
    return rules("allowed.test:443") + "approvals: {wait_seconds: 0, notify: [" + ", ".join(notifiers) + "]}"


def test_a_webhook_is_signed_as_the_example_verifies(gate, secret):
    receiver = Receiver(secret)
    try:
        one = gate(approvals(f'{{webhook: "http://127.0.0.1:{receiver.port}/hook", secret_file: "{secret}"}}'))
        one.connect("evil\u0041.test:443")
        said = receiver.heard()
        assert (said["event"], said["verdict"], said["host"], said["port"], said["client"], said["reason"]) == (
            "approval", "asked", "evila.test", 443, "default", "not_allowed"), said
        assert "path" not in said and "a secret" not in json.dumps(said)
        one.logged(event="approval", id=said["id"], verdict="asked")
        # Of anybody else it takes nothing.
        assert receiver.post(b"{}") == 401
        assert receiver.post(b"{}", X_Sluice_Timestamp="1700000000", X_Sluice_Signature="v1=00") == 401
    finally:
        receiver.close()


def test_a_receiver_that_fails_is_asked_again_with_the_same_delivery(gate, secret):
    server = Proud(503)
    one = gate(approvals(f'{{webhook: "http://127.0.0.1:{server.server_address[1]}/", secret_file: "{secret}"}}'))
    one.connect("a.test:443")
    until("it came twice", lambda: len(server.taken) == 2)
    (first, body), (second, again) = server.taken
    assert first["x-sluice-delivery"] == second["x-sluice-delivery"] and body == again
    server.shutdown()
    server.server_close()


def test_a_program_reads_what_is_asked_and_holds_up_nobody(gate, tmp_path):
    script = tmp_path / "tell"
    script.write_text(f"#!/bin/sh\ncat > {tmp_path}/told.new && mv {tmp_path}/told.new {tmp_path}/told\n")
    script.chmod(0o755)
    one = gate(approvals(f'{{command: ["{script}", "--loud; rm -rf /"]}}'))
    one.connect("b.test:443")
    said = json.loads(until("the program was run", lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text()))
    assert said["host"] == "b.test" and said["verdict"] == "asked", said
