"""Stands in for the internet in Examples/sandbox: a model that answers, a site that must never hear anything, and a name server
for both. Prints their ports; what the site hears is written to the file of the first argument."""
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"text": "Try the door."}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Attacker(Model):
    def do_POST(self):
        with open(sys.argv[1], "a") as heard:
            heard.write(f"{self.requestline}\n")
        super().do_POST()

    do_GET = do_POST


def serve_names(sock):
    """127.0.0.1 for every name under .test, of the answers that there are (RFC 1035)."""
    while True:
        query, peer = sock.recvfrom(512)
        end = query.index(b"\0", 12)
        name, kind = query[12:end], query[end + 1:end + 3]
        is_known = name.endswith(b"\4test")
        answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1]) if is_known and kind == b"\0\1" else b""
        flags = 0x8180 if is_known else 0x8183
        sock.sendto(query[:2] + struct.pack("!HHHHH", flags, 1, bool(answer), 0, 0) + query[12:end + 5] + answer, peer)


names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 0))
servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Model, Attacker)]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("serving", servers[0].server_port, servers[1].server_port, names.getsockname()[1], flush=True)
serve_names(names)
