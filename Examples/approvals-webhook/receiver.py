"""Receives notifications of Sluice's approvals: `receiver.py PORT SECRET_FILE`. What is not signed with the secret, or is old, is turned away."""
import hashlib
import hmac
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = open(sys.argv[2], "rb").read().rstrip(b"\r\n")


def is_genuine(fields, body):
    stamp = fields.get("X-Sluice-Timestamp", "")
    wanted = "v1=" + hmac.new(SECRET, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    is_fresh = stamp.isascii() and stamp.isdigit() and abs(time.time() - int(stamp)) < 300
    return is_fresh and hmac.compare_digest(wanted, fields.get("X-Sluice-Signature", ""))


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        genuine = is_genuine(self.headers, body)
        self.send_response(204 if genuine else 401)
        self.end_headers()
        if genuine:
            # JSON of one line: "verdict": "asked", "id", "client", "host", "port". Answer with `sluice approve ID`.
            print(body.decode(), flush=True)

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(f"listening on {server.server_port}", file=sys.stderr, flush=True)
server.serve_forever()
