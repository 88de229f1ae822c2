"""Stands in for the internet in Examples/sandbox: a model that answers, a site that must not get any request, and a name server
for both. Prints their ports; what the site hears is written to the file of the first argument."""
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import names


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


sock = names.bind()
servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Model, Attacker)]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("serving", servers[0].server_port, servers[1].server_port, sock.getsockname()[1], flush=True)
names.serve(sock)
