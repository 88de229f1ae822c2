"""Stands in for the internet of an example: one HTTPS server for every name, with a file, a package index and a git
repository that takes pushes; and a name server. Prints their ports. Arguments: folder to serve, certificate, key."""
import os
import ssl
import subprocess
import sys
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import names

folder, certificate, key = Path(sys.argv[1]), sys.argv[2], sys.argv[3]


def fill():
    """`hello`, a package `thing` below simple/, and repo.git with one commit."""
    wheel = folder / "simple/thing/thing-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    (folder / "hello").write_text("hello from the model\n")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing.py", "value = 1\n")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: example\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    bare, work = folder / "repo.git", folder / "work"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@git.example", "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]
    for command in (["init", "-q", "--bare", bare], ["-C", bare, "config", "http.receivepack", "true"], ["init", "-q", work],
                    ["-C", work, "commit", "-q", "--allow-empty", "-m", "one"], ["-C", work, "push", "-q", bare, "HEAD:main"]):
        subprocess.run([*git, *command], check=True, stdout=subprocess.DEVNULL)


class Site(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments):
        super().__init__(*arguments, directory=str(folder))

    def do_GET(self):
        if self.path.startswith("/repo.git/"):
            return self.ask_git(b"")
        super().do_GET()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/repo.git/"):
            return self.ask_git(body)
        self.send_error(404)

    def ask_git(self, body):
        """As a web server asks git-http-backend(1)."""
        path, _, query = self.path.partition("?")
        given = {"GIT_PROJECT_ROOT": str(folder), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
                 "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                 "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "REMOTE_USER": "agent", "REMOTE_ADDR": "127.0.0.1",
                 "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        said = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env=os.environ | given).stdout
        head, _, answer = said.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((value for name, value in fields if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    def finish_request(self, request, address):
        try:
            super().finish_request(context.wrap_socket(request, server_side=True), address)
        except OSError:
            # A client that leaves during its handshake.
            pass


fill()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = Server(("127.0.0.1", 0), Site)
sock = names.bind()
threading.Thread(target=server.serve_forever, daemon=True).start()
print("serving", server.server_port, sock.getsockname()[1], flush=True)
names.serve(sock)
