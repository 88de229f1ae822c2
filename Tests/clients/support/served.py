"""A gate that runs by itself, and sandboxes of `sluice run --gate` that it serves: both of the same user."""
import json
import os
import signal
import subprocess

from gate import DEADLINE, until
from sandbox import UID, Place


class Served(Place):
    def __init__(self, who, names):
        super().__init__(who, names)
        self.socket, self.errors = self.state / "admin.sock", self.folder / "errors"
        self.gate = None

    def write(self, policy):
        self.policy.write_text(f'{policy}\nresolver: {{servers: ["127.0.0.1:{self.names.port}"]}}\n'
                               f'listen: {{admin: {self.state}/admin.sock}}\nlog: {{file: {self.log}}}\ntimeouts: {{drain: 1}}\n')

    def serve(self, *more):
        with open(self.errors, "wb") as errors:
            self.gate = subprocess.Popen([*self.prefix, self.sluice, "serve", "--policy", self.policy, *more], stderr=errors, env=self.environment())
        until("the gate listens", lambda: "(admin)" in self.errors.read_text() or self.gate.poll())
        assert self.gate.poll() is None, self.errors.read_text()

    def arguments(self, *command, options=(), best=("--limits", "best-effort")):
        return [*self.prefix, self.sluice, "run", "--gate", self.socket, *best, *options, "--", *command]

    def start(self, *command, options=(), **more):
        return super().start(*command, options=options, **more)

    def ask(self, *arguments):
        got = subprocess.run([*self.prefix, self.sluice, *arguments, "--socket", self.socket, "--json"], capture_output=True, text=True, timeout=DEADLINE)
        return [json.loads(line) for line in got.stdout.splitlines()]

    def sandboxes(self):
        return self.ask("status")[0]["sandboxes"]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.gate.pid}/fd"))

    def end_gate(self):
        if self.gate and self.gate.poll() is None:
            self.gate.send_signal(signal.SIGTERM)
            assert self.gate.wait(DEADLINE) == 0, self.errors.read_text()
        assert "Fatal error" not in self.errors.read_text()


__all__ = ["Served", "UID"]
