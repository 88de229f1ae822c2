"""The same conversation asked straight and through the gate: what each side hears is the same, chunk for chunk.
SEED replays one."""
import os
import random
import re
import socket
import ssl
import threading

import pytest

from fronts import Fronts
from gate import DEADLINE, local, rules
from inspection import Inspecting

EXCHANGES = 60


def chunks(choose, body):
    """The body in chunks of any size, with an extension here and there, and trailers or none; and what goes on of it: extensions
    are dropped (RFC 9112 section 7.1.1)."""
    data, kept, at = b"", b"", 0
    while at < len(body):
        piece = body[at:at + choose.choice([1, 2, 15, 16, 17, 255, 4096, 16384, 40_000])]
        if len(data) > 30_000:
            piece = body[at:at + 16384]
        extension = choose.choice([b"", b"", b";x", b";name=\"a b\""])
        size = choose.choice([b"%x", b"%X", b"0%x"]) % len(piece)
        data += size + extension + b"\r\n" + piece + b"\r\n"
        kept += size + b"\r\n" + piece + b"\r\n"
        at += len(piece)
    end = b"0\r\n" + choose.choice([b"", b"X-End: yes\r\n", b"A: 1\r\nB: \r\n"]) + b"\r\n"
    return data + end, kept + end


def message(choose, first, is_answer):
    """A message as one side says it, and its framing and body alone."""
    body = choose.randbytes(choose.choice([0, 1, 2, 1000, 16383, 16384, 16385, 100_001]))
    framed, kept = chunks(choose, body) if choose.random() < 0.6 else (body, body)
    framing = b"Transfer-Encoding: chunked\r\n" if framed is not body else b"Content-Length: %d\r\n" % len(body)
    interim = choose.choice([b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]) if is_answer else b""
    return interim + first + framing + b"X-Mine: a, b\r\n\r\n" + framed, framed, body, kept


def conversation(seed, host):
    """Pairs of a request and its answer: text, framed body, body."""
    choose = random.Random(seed)
    pairs = []
    for n in range(EXCHANGES):
        ask = message(choose, b"POST /%d?q=%%20 HTTP/1.1\r\nHost: %s\r\n" % (n, host), False)
        pairs.append((ask, message(choose, b"HTTP/1.1 200 Fine\r\n", True)))
    return pairs


class Reader:
    """Reads messages off a stream, and keeps their bodies as they were framed."""

    def __init__(self, stream):
        self.stream, self.data = stream, b""

    def more(self):
        piece = self.stream.recv(65536)
        if not piece:
            raise EOFError(f"the connection ended behind {self.data[-200:]!r}")
        self.data += piece

    def take(self, count):
        while len(self.data) < count:
            self.more()
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def line(self):
        while b"\r\n" not in self.data:
            self.more()
        return self.take(self.data.index(b"\r\n") + 2)

    def message(self):
        head = self.line()
        while (line := self.line()) != b"\r\n":
            head += line
        if b" 103 " in head.split(b"\r\n")[0]:
            return self.message()
        if length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
            return head, self.take(int(length.group(1)))
        body = b""
        while True:
            size = self.line()
            body += size
            count = int(size.split(b";")[0], 16)
            if count == 0:
                break
            body += self.take(count + 2)
        while True:
            line = self.line()
            body += line
            if line == b"\r\n":
                return head, body


def serving(pairs, heard):
    """An upstream that answers each request with what stands behind it, in pieces."""
    def talk(stream):
        reader = Reader(stream)
        choose = random.Random(len(pairs))
        while True:
            try:
                head, body = reader.message()
            except (EOFError, OSError):
                return
            number = int(re.search(rb"/(\d+)\?", head).group(1))
            heard[number] = body
            say(stream, pairs[number][1][0], choose)
    return talk


def say(stream, data, choose):
    while data:
        count = choose.choice([1, 100, 5000, 1 << 20]) if len(data) < 50_000 else 1 << 20
        stream.sendall(data[:count])
        data = data[count:]


def held(stream, pairs, seed):
    """All requests asked on one connection, some before the answer to the last one; the framed bodies of the answers."""
    choose, reader, answers = random.Random(seed + 1), Reader(stream), []
    stream.settimeout(DEADLINE)
    at = 0
    while at < len(pairs):
        count = min(choose.choice([1, 1, 2, 3]), len(pairs) - at)
        asking = threading.Thread(target=say, args=(stream, b"".join(ask[0] for ask, _ in pairs[at:at + count]), choose))
        asking.start()
        answers += [reader.message()[1] for _ in range(count)]
        asking.join()
        at += count
    return answers


class TLS:
    """A client's TLS on any stream, which two threads may use at once, one for each direction."""

    def __init__(self, outer, context):
        self.outer, self.lock = outer, threading.Lock()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="allowed.test")
        while not self.has_shaken():
            self.incoming.write(outer.recv(65536))

    def has_shaken(self):
        try:
            self.tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False
        finally:
            self.outer.sendall(self.outgoing.read())

    def settimeout(self, seconds):
        self.outer.settimeout(seconds)

    def sendall(self, data):
        with self.lock:
            self.tls.write(data)
            data = self.outgoing.read()
        self.outer.sendall(data)

    def recv(self, count):
        while True:
            with self.lock:
                try:
                    return self.tls.read(count)
                except ssl.SSLWantReadError:
                    pass
            if not (data := self.outer.recv(65536)):
                return b""
            with self.lock:
                self.incoming.write(data)

    def close(self):
        self.outer.close()


@pytest.fixture
def seed():
    chosen = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print("seed", chosen)
    return chosen


@pytest.mark.parametrize("way", ["CONNECT", "plain HTTP", "a listener over TLS"])
def test_a_conversation_is_the_same_straight_and_through_the_gate(way, seed, gate, tmp_path, upstream, certificates):
    pairs, straight, through = [], {}, {}
    context = certificates.server() if way != "plain HTTP" else None
    heard = [straight]
    site = upstream(lambda stream: serving(pairs, heard[0])(stream), context)
    target = f"allowed.test:{site.port}"
    pairs += conversation(seed, target.encode())
    with socket.create_connection(("127.0.0.1", site.port)) as sock:
        expected = held(TLS(sock, certificates.client()) if context else sock, pairs, seed)
    assert expected == [answer[1] for _, answer in pairs] and straight == {n: ask[1] for n, (ask, _) in enumerate(pairs)}
    heard[0] = through
    if way == "plain HTTP":
        one = gate(rules(local("allowed.test", site.port)))
        pairs[:] = [((ask[0].replace(b"POST ", b"POST http://" + target.encode(), 1), *ask[1:]), answer) for ask, answer in pairs]
        stream = one.dial()
    else:
        inspecting = Inspecting(gate, tmp_path, certificates)
        rule = inspecting.rule("allowed.test", site.port)
        if way == "CONNECT":
            stream = inspecting.gate(rule).dial()
        else:
            fronts = Fronts(gate, tmp_path)
            one = fronts.gate(rules(rule), more=f'tls: {{ca: "{inspecting.folder}"}}\n')
            anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
            stream = TLS(one.dial(), anyone)
        stream.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert stream.recv(65536).startswith(b"HTTP/1.1 200")
        stream = TLS(stream, inspecting.trust())
    assert held(stream, pairs, seed) == [answer[3] for _, answer in pairs]
    assert through == {n: ask[3] for n, (ask, _) in enumerate(pairs)}
    stream.close()


def test_plain_requests_over_http2_have_the_bodies_that_they_have_straight(seed, gate, tmp_path, upstream):
    """Framing is HTTP/2's there: bodies are compared without it."""
    pairs, heard = [], {}
    site = upstream(lambda stream: serving(pairs, heard)(stream))
    target = f"allowed.test:{site.port}"
    pairs += conversation(seed, target.encode())
    fronts = Fronts(gate, tmp_path)
    http = fronts.http2(fronts.gate(rules(local("allowed.test", site.port))))
    for number, (ask, answer) in enumerate(pairs):
        length = [(b"content-length", b"%d" % len(ask[2]))] if ask[1] is ask[2] else []
        stream = http.get(f"http://{target}/{number}?q=%20", "POST", length, ends=False)
        http.send(stream, ask[2], ends=True)
        head, body = http.whole(stream)
        assert head[b":status"] == b"200" and body == answer[2]
        assert unframed(heard[number], bool(length)) == ask[2]


def unframed(body, is_sized):
    if is_sized:
        return body
    whole = b""
    while (size := int(body[:body.index(b"\r\n")], 16)) > 0:
        at = body.index(b"\r\n") + 2
        whole += body[at:at + size]
        body = body[at + size + 2:]
    return whole
