"""DNS messages as the tests write and read them (RFC 1035, RFC 6891, RFC 8914), with a client for UDP and one for TCP."""
import random
import socket
import struct
from dataclasses import dataclass, field

A, PTR, MX, TXT, AAAA, SRV, NULL, SVCB, HTTPS, ANY = 1, 12, 15, 16, 28, 33, 10, 64, 65, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
FILTERED = 17


def encoded(name):
    labels = [label for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in labels) + b"\0"


def query(name, kind=A, number=None, edns=True, flags=0x0100):
    number = random.randrange(65536) if number is None else number
    option = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0) if edns else b""
    return struct.pack("!HHHHHH", number, flags, 1, 0, 0, len(option) and 1) + encoded(name) + struct.pack("!HH", kind, 1) + option


@dataclass
class Reply:
    number: int
    code: int
    is_truncated: bool
    question: bytes
    answers: list = field(default_factory=list)
    has_edns: bool = False
    error: tuple = None  # code and text of RFC 8914
    size: int = 0

    @property
    def addresses(self):
        return [text for kind, ttl, text in self.answers if kind in (A, AAAA)]


def name_at(message, at):
    labels, end = [], None
    while message[at]:
        if message[at] >= 0xC0:
            end = end or at + 2
            at = struct.unpack("!H", message[at:at + 2])[0] & 0x3FFF
            continue
        labels.append(message[at + 1:at + 1 + message[at]].decode("latin-1"))
        at += 1 + message[at]
    return ".".join(labels), end or at + 1


def parse(message):
    number, flags, questions, answers, authorities, additional = struct.unpack("!HHHHHH", message[:12])
    assert flags & 0x8000, "a reply says that it is one"
    reply = Reply(number, flags & 15, bool(flags & 0x0200), b"", size=len(message))
    at = 12
    for _ in range(questions):
        _, end = name_at(message, at)
        reply.question = message[at:end]
        at = end + 4
    for index in range(answers + authorities + additional):
        _, at = name_at(message, at)
        kind, _, ttl, length = struct.unpack("!HHIH", message[at:at + 10])
        data = message[at + 10:at + 10 + length]
        if kind == 41:
            reply.has_edns = True
            while data:
                code, size = struct.unpack("!HH", data[:4])
                if code == 15:
                    reply.error = struct.unpack("!H", data[4:6])[0], data[6:4 + size].decode()
                data = data[4 + size:]
        elif index < answers:
            text = {A: lambda: socket.inet_ntoa(data), AAAA: lambda: socket.inet_ntop(socket.AF_INET6, data),
                    PTR: lambda: name_at(message, at + 10)[0]}.get(kind, lambda: data)()
            reply.answers.append((kind, ttl, text))
        at += 10 + length
    assert at == len(message), "nothing follows the last record"
    return reply


class UDP:
    def __init__(self, port, host="127.0.0.1", source=None, timeout=10):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        if source:
            self.socket.bind((source, 0))
        # A connected socket hears only who it asked.
        self.socket.connect((host, port))
        self.socket.settimeout(timeout)

    def exchange(self, message):
        self.socket.send(message)
        return self.socket.recv(65536)

    def ask(self, name, kind=A, **more):
        sent = query(name, kind, **more)
        reply = parse(self.exchange(sent))
        assert reply.number == struct.unpack("!H", sent[:2])[0] and reply.question == encoded(name)
        return reply

    def close(self):
        self.socket.close()


class TCP:
    def __init__(self, port, host="127.0.0.1", timeout=20):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, *messages):
        self.socket.sendall(b"".join(framed(message) for message in messages))

    def receive(self):
        (length,) = struct.unpack("!H", self.exactly(2))
        return self.exactly(length)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError(f"{len(data)} of {count} bytes")
            data += more
        return data

    def ask(self, name, kind=A, **more):
        self.send(query(name, kind, **more))
        return parse(self.receive())

    def close(self):
        self.socket.close()


def framed(message):
    return struct.pack("!H", len(message)) + message
