#!/usr/bin/env python3
"""What the content checks cost inside a gate: `Benchmarks/content_gate.py --sluice BINARY`.

One client asks an upstream of this program for 100 KiB, over and over on one inspected tunnel (TLS, HTTP/1.1, loopback). CPU of the
whole gate a request, its page threads with it, and the time from request to answer, each beside a rule without checks."""
import argparse
import os
import socket
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from content import answers

NAME = "site.test"
RULES = {
    "none": "none", "log": "{flag_instructions: log}", "annotate": "{flag_instructions: annotate}", "block": "{flag_instructions: block}",
    "limit": "{max_response_bytes: 1MiB}", "strip": "{strip_html: true}",
    "strip, annotate": "{strip_html: true, flag_instructions: annotate}", "secrets": "{secrets: block}",
}


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder / "key",
                    "-out", folder / "cert", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-days", "2"],
                   check=True, capture_output=True)


def read_message(stream):
    head = b""
    while b"\r\n\r\n" not in head:
        more = stream.recv(65536)
        if not more:
            return None
        head += more
    head, _, body = head.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = fields.get(b"content-length")
    while (len(body) < int(length)) if length else not body.endswith(b"0\r\n\r\n") and fields.get(b"transfer-encoding"):
        body += stream.recv(65536)
    return head, body


class Upstream:
    def __init__(self, folder, bodies):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "cert", folder / "key")
        self.bodies = bodies
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            sock, _ = self.socket.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with self.context.wrap_socket(sock, server_side=True) as tls:
            while message := read_message(tls):
                kind = message[0].split(b" ")[1].decode()[1:]
                text, type = self.bodies[kind]
                tls.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {type}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)


def cpu_ms(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sluice", default="sluice")
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate(folder)
        types = {"prose": "text/plain", "json": "application/json", "page": "text/html"}
        bodies = {kind: (text if isinstance(text, bytes) else text.encode(), types[kind.lower()]) for kind, text in answers(100 << 10).items()}
        upstream = Upstream(folder, {kind.lower(): value for kind, value in bodies.items()})
        print(f"{'rule':16} {'answer':6}  CPU ms a request   added   answered in ms (median, 99 %)")
        base = {}
        for rule, content in RULES.items():
            for kind in bodies:
                base[rule, kind] = run(options, folder, upstream, content, kind.lower(), base.get(("none", kind)), rule)


def run(options, folder, upstream, content, kind, base, rule):
    policy = folder / "policy.yaml"
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 {NAME}\n")
    policy.write_text(f"""network_policy:
  allow: [{{host: "{NAME}:{upstream.port}", addresses: [127.0.0.0/8], tls: {{roots: {folder}/cert}}, inspect: true, content: {content}}}]
tls: {{ca: {folder}/ca}}
listen: {{connect: "127.0.0.1:0"}}
log: {{file: {folder}/log}}
""")
    with open(folder / "messages", "w+") as messages:
        gate = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh", options.sluice, "serve", "--policy",
             policy, "--workers", "1"], stderr=messages)
        try:
            return measure(options, folder, gate, kind, base, rule, upstream.port)
        finally:
            gate.terminate()
            gate.wait()


def address(folder):
    due = time.monotonic() + 10
    while time.monotonic() < due:
        for word in (folder / "messages").read_text().split():
            host, _, port = word.strip(",;").rpartition(":")
            if host == "127.0.0.1" and port.isdigit():
                return host, int(port)
        time.sleep(0.01)
    raise SystemExit((folder / "messages").read_text())


def measure(options, folder, gate, kind, base, rule, port):
    sock = socket.create_connection(address(folder))
    sock.sendall(f"CONNECT {NAME}:{port} HTTP/1.1\r\nHost: {NAME}:{port}\r\n\r\n".encode())
    assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    context = ssl.create_default_context(cafile=folder / "ca/ca.pem")
    with context.wrap_socket(sock, server_hostname=NAME) as tls:
        times = []
        for number in range(options.requests + 20):
            if number == 20:
                began = cpu_ms(gate.pid)
            at = time.monotonic()
            tls.sendall(f"GET /{kind} HTTP/1.1\r\nHost: {NAME}:{port}\r\n\r\n".encode())
            head, _ = read_message(tls)
            assert head.startswith(b"HTTP/1.1 200"), head
            times.append((time.monotonic() - at) * 1000)
    cost = (cpu_ms(gate.pid) - began) / options.requests
    times = sorted(times[20:])
    added = f"{cost - base:+.2f}" if base is not None else ""
    print(f"{rule:16} {kind:6}  {cost:16.2f}  {added:>6}   {statistics.median(times):.2f}, {times[len(times) * 99 // 100]:.2f}", flush=True)
    return cost


if __name__ == "__main__":
    main()
