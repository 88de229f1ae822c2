"""The internet of a World: HTTPS, HTTP, an echo and a server that speaks first, on every address; and a name server.
Arguments: certificate, key, folder to serve, file of names that were asked, file of connections that were accepted."""
import socket
import socketserver
import ssl
import struct
import sys
import threading

from upstreams import git_backend

NAMES = {  # name: A, AAAA
    b"allowed.test": (["93.184.216.34"], ["2606:2800:220:1::34"]),
    b"four.test": (["93.184.216.34"], []),
    b"six.test": ([], ["2606:2800:220:1::34"]),
    b"refused.test": (["93.184.216.66"], ["2606:2800:220:1::66"]),
    # Those of the examples; who is not allowed there is the attacker.
    b"api.model.example": (["93.184.216.34"], []),
    # Those of the README.
    b"example.com": (["93.184.216.34"], []),
    b"example.org": (["93.184.216.66"], []),
    b"git.example": (["93.184.216.34"], []),
    b"index.example": (["93.184.216.34"], []),
    b"paste.example": (["93.184.216.66"], []),
    b"telemetry.example": (["93.184.216.66"], []),
}
# A name that is at a good address the first time it is asked for, and then at one of these.
REBOUND = {b"loop.test": "127.0.0.1", b"meta.test": "169.254.169.254", b"mapped.test": "::ffff:10.0.0.1",
           b"nat.test": "64:ff9b::a00:1"}
cert, key, folder, asked, accepted = sys.argv[1:]
lock, seen = threading.Lock(), {}


def note(path, text):
    with lock, open(path, "a") as file:
        file.write(text + "\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 1024

    def __init__(self, port, handler, family, context=None):
        self.address_family, self.context = family, context
        super().__init__(("::" if family == socket.AF_INET6 else "0.0.0.0", port), handler, bind_and_activate=False)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.server_bind()
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        address = request.getsockname()
        note(accepted, f"{address[0]}:{address[1]}")
        try:
            stream = self.context.wrap_socket(request, server_side=True) if self.context else request
            self.RequestHandlerClass(stream, client_address, self)
        except (OSError, ssl.SSLError):
            pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class SpeaksFirst(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 hello\r\n")
        Echo.handle(self)


def addresses(name, count):
    if name in REBOUND:
        flip = REBOUND[name]
        if count == 0:
            return ["93.184.216.34"], []
        return ([], [flip]) if ":" in flip else ([flip], [])
    return NAMES.get(name, ([], []))


def serve_names(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 53))
    while True:
        query, peer = sock.recvfrom(4096)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]])
            at += 1 + query[at]
        name, (kind,) = b".".join(labels).lower(), struct.unpack("!H", query[at + 1:at + 3])
        note(asked, name.decode("latin-1"))
        count = seen.get((name, kind), 0)
        seen[name, kind] = count + 1
        four, six = addresses(name, count)
        chosen = {1: [socket.inet_aton(one) for one in four], 28: [socket.inet_pton(socket.AF_INET6, one) for one in six]}.get(kind, [])
        # No TTL: each connection asks anew.
        answer = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(one)) + one for one in chosen)
        known = name in NAMES or name in REBOUND
        sock.sendto(query[:2] + struct.pack("!HHHHH", 0x8180 | (0 if known else 3), 1, len(chosen), 0, 0) + query[12:at + 5] + answer, peer)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
files = git_backend(folder)
for family in (socket.AF_INET, socket.AF_INET6):
    Server(443, files, family, context)
    Server(80, files, family)
    Server(7, Echo, family)
    Server(25, SpeaksFirst, family)
threading.Thread(target=serve_names, args=("93.184.216.53",), daemon=True).start()
print("serving", flush=True)
threading.Event().wait()
