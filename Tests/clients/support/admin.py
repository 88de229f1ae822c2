"""The commands of an operator, and the bare socket behind them."""
import json
import os
import socket
import subprocess

from gate import DEADLINE, plain_environment


class Admin:
    def __init__(self, gate, path):
        self.gate, self.path = gate, path

    def run(self, *arguments, env={}):
        return subprocess.run([os.environ["SLUICE"], *arguments], capture_output=True, text=True, timeout=60,
                              env=plain_environment() | {"SLUICE_ADMIN": str(self.path)} | env)

    def json(self, *arguments, status=0):
        got = self.run(*arguments, "--json")
        assert got.returncode == status, got
        return [json.loads(line) for line in got.stdout.splitlines()]

    def status(self):
        return self.json("status")[0]

    def tunnels(self, *more):
        return [line["tunnel"] for line in self.json("tunnels", *more) if "tunnel" in line]

    def dial(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE)
        sock.connect(str(self.path))
        return sock

    def raw(self, data):
        """All that comes back to these bytes, until the gate closes or one line is there."""
        with self.dial() as sock:
            try:
                sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return sock.makefile("rb").readline()
