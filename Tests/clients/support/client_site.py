"""What the clients of client_programs.py fetch: one HTTPS server for all that speak HTTP, and servers for gRPC, PostgreSQL and SSH."""
import base64
import hashlib
import json
import shutil
import socket
import subprocess
import threading
from pathlib import Path

from gate import DEADLINE, Upstream, read, until
from rpc import greeter
from upstreams import git_backend, index_with_a_wheel, repository

HELLO = "hello from upstream"


def fill(root):
    """A folder as an index of pip, a registry of npm and of cargo, a repository of Maven, apt and git, and a bucket."""
    index_with_a_wheel(root)
    repository(root, f"{HELLO}\n")
    (root / "hello").write_text(f"{HELLO}\n")
    texts = {
        "npm/thing": json.dumps({"name": "thing", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
            "name": "thing", "version": "1.0.0", "description": HELLO, "dist": {"tarball": "https://registry.test/thing.tgz"}}}}),
        "maven/test/parent/1/parent-1.pom": "<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>parent</artifactId>"
                                            "<version>1</version><packaging>pom</packaging></project>",
        "cargo/config.json": json.dumps({"dl": "https://registry.test"}),
        "cargo/th/in/thing": json.dumps({"name": "thing", "vers": "1.0.0", "deps": [], "cksum": "0" * 64, "features": {}, "yanked": False}) + "\n",
        "apt/Packages": f"Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nFilename: thing.deb\nSize: 1\nSHA256: {'0' * 64}\nDescription: {HELLO}\n",
        "bucket/hello": HELLO,
        "page.html": f"<p>{HELLO}</p>",
    }
    text = texts["apt/Packages"].encode()
    texts["apt/Release"] = f"Suite: here\nSHA256:\n {hashlib.sha256(text).hexdigest()} {len(text)} Packages\n"
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def handler(root):
    """The folder by HTTP, with a model's API at POST and a WebSocket that says hello."""
    class Site(git_backend(root)):
        def do_GET(self):
            if self.path != "/socket":
                return super().do_GET()
            accept = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
            self.wfile.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
            self.wfile.write(bytes([0x81, len(HELLO)]) + HELLO.encode())
            # The client's own end, then ours: a close frame has two bytes of status.
            self.rfile.read(8)
            self.wfile.write(b"\x88\x02\x03\xe8")
            self.close_connection = True

        def do_POST(self):
            if not self.path.startswith("/v1/"):
                return super().do_POST()
            self.rfile.read(int(self.headers["Content-Length"]))
            said = {"id": "1", "object": "chat.completion", "created": 1, "model": "mock", "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": HELLO}}]}
            if self.path == "/v1/messages":
                said = {"id": "1", "type": "message", "role": "assistant", "model": "mock", "stop_reason": "end_turn", "stop_sequence": None,
                        "content": [{"type": "text", "text": HELLO}], "usage": {"input_tokens": 1, "output_tokens": 1}}
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Site


def postgres(stream):
    """As much of PostgreSQL's protocol (version 3) as one query without TLS takes."""
    def message(kind, body):
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    while True:
        body = read(stream, int.from_bytes(read(stream, 4), "big") - 4)
        if body[:4] == (196608).to_bytes(4, "big"):
            break
        # TLS or GSSAPI: no.
        stream.sendall(b"N")
    ready = message(b"Z", b"I")
    stream.sendall(message(b"R", bytes(4)) + ready)
    while (kind := read(stream, 1)) == b"Q":
        read(stream, int.from_bytes(read(stream, 4), "big") - 4)
        text = HELLO.encode()
        column = b"said\0" + bytes(6) + (25).to_bytes(4, "big") + b"\xff\xff" + b"\xff" * 4 + b"\0\0"
        stream.sendall(message(b"T", b"\0\1" + column) + message(b"D", b"\0\1" + len(text).to_bytes(4, "big") + text) + message(b"C", b"SELECT 1\0") + ready)


class Site:
    """`ports`: where each kind of server listens."""

    def __init__(self, folder, files, web, certificates):
        root = folder / "site"
        root.mkdir()
        fill(root)
        self.grpc = greeter(certificates)
        self.postgres = Upstream(postgres)
        self.ssh = None
        self.ports = {"https": web(handler(root), certificates.server()).port, "grpc": self.grpc.port, "postgres": self.postgres.port}
        if Path("/usr/sbin/sshd").exists():
            self.ports["ssh"] = self.start_ssh(folder, files)

    def start_ssh(self, folder, files):
        """One that takes the key of `files`."""
        for path in (folder / "host", files / "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        (files / "user").chmod(0o644)
        shutil.copy(files / "user.pub", folder / "authorized")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # sshd enters this empty folder before it has authenticated the client.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (folder / "sshd").write_text(f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
                                     "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n")
        said = folder / "sshd-said"
        self.ssh = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd"], stderr=open(said, "wb"))
        until("sshd listens", lambda: "listening" in said.read_text() or self.ssh.poll() is not None)
        return port

    def close(self):
        self.grpc.stop(0)
        self.postgres.shutdown()
        self.postgres.server_close()
        if self.ssh:
            self.ssh.terminate()
            self.ssh.wait(DEADLINE)
