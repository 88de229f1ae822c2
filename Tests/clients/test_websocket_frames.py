"""A WebSocket inside an inspected tunnel: keys of the gate do not come back in its frames or its 101, and secrets do not leave."""
import os
import struct
import threading

import pytest

from gate import DEADLINE, Upstream, until
from inspection import Inspecting, everything
from test_credentials import BEARER, SECRET

OWN = "ghp_" + "9sKd83hQwLm27ZxVb40TnRyEu56FaPcGjX1o"


def frame(payload, opcode=1, is_final=True, mask=None):
    head = bytes([opcode | (0x80 if is_final else 0)])
    length, bit = len(payload), 0x80 if mask else 0
    head += bytes([bit | length]) if length < 126 else bytes([bit | 126]) + struct.pack("!H", length)
    if mask:
        payload = mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return head + payload


class Chat(Upstream):
    """Says what a test has it say behind its 101, and writes down what it hears."""

    def __init__(self, context, says, fields=""):
        self.heard, self.head, self.says, self.fields, self.over = b"", b"", says, fields, threading.Event()
        super().__init__(self.chat, context)

    def chat(self, tls):
        tls.settimeout(DEADLINE)
        while b"\r\n\r\n" not in self.head:
            self.head += tls.recv(65536)
        tls.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + f"Sec-WebSocket-Accept: x\r\n{self.fields}\r\n".encode())
        try:
            for piece in self.says:
                tls.sendall(piece)
            while data := tls.recv(65536):
                self.heard += data
        finally:
            self.over.set()


@pytest.fixture
def inspecting(gate, tmp_path, certificates):
    return Inspecting(gate, tmp_path, certificates)


@pytest.fixture
def chat(inspecting, certificates, tmp_path):
    started = []

    def start(says, rule=", credential: key", fields=""):
        site = Chat(certificates.server(), says, fields)
        started.append(site)
        secret = tmp_path / "key"
        secret.write_text(SECRET)
        site.gate = inspecting.gate(inspecting.rule("allowed.test", site.port, rule), more=f'credentials:\n  key: {{file: "{secret}", {BEARER}}}\n')
        site.target = f"allowed.test:{site.port}"
        return site

    yield start
    for site in started:
        site.shutdown()
        site.server_close()


def open_it(inspecting, site):
    tls = inspecting.tunnel(site.gate, site.target)
    tls.settimeout(DEADLINE)
    tls.sendall(f"GET /chat HTTP/1.1\r\nHost: {site.target}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode())
    return tls


def hear(tls, count):
    said = b""
    while b"\r\n\r\n" not in said or len(said.partition(b"\r\n\r\n")[2]) < count:
        data = tls.recv(65536)
        if not data:
            break
        said += data
    head, _, frames = said.partition(b"\r\n\r\n")
    return head, frames


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_no_key_comes_back_in_frames(inspecting, chat, step):
    key, long = SECRET.encode(), b"x" * 300
    said = (frame(b"you sent " + key + b".") + frame(b"split " + key[:9], is_final=False) + frame(b"ping", opcode=9) + frame(key[9:] + b" over", opcode=0)
            + frame(long + key) + frame(b"bye " + key, opcode=8))
    stars = b"*" * len(key)
    expected = (frame(b"you sent " + stars + b".") + frame(b"split " + stars[:9], is_final=False) + frame(b"ping", opcode=9)
                + frame(stars[9:] + b" over", opcode=0) + frame(long + stars) + frame(b"bye " + stars, opcode=8))
    site = chat([said[at:at + step] for at in range(0, len(said), step)], fields=f"X-{SECRET.replace('/', '-').replace('+', '-')}: a\r\nX-Key: {SECRET}\r\n")
    with open_it(inspecting, site) as tls:
        head, frames = hear(tls, len(expected))
    assert frames == expected
    assert head.startswith(b"HTTP/1.1 101") and SECRET.encode() not in head and b"x-key: " + stars in head.lower()
    assert b"permessage-deflate" not in site.head
    assert site.gate.logged(event="credential", scrubbed=True)["credential"] == "key"


def test_frames_that_cannot_be_searched_end_it(inspecting, chat):
    site = chat([frame(b"a"), frame(b"compressed", opcode=0x41)])
    with open_it(inspecting, site) as tls:
        said = everything(tls)
    assert said.endswith(frame(b"a")) and b"compressed" not in said
    site.gate.logged(reason="content_refused")


@pytest.mark.parametrize("frames", [
    [frame(f"my key is {OWN}, keep it".encode(), mask=b"\1\2\3\4")],
    [frame(f"my key is {OWN[:20]}".encode(), mask=b"\1\2\3\4", is_final=False), frame(f"{OWN[20:]} ".encode(), opcode=0, mask=b"abcd")],
])
def test_no_secret_leaves_in_frames(inspecting, chat, frames):
    site = chat([], rule=", content: {secrets: block}")
    with open_it(inspecting, site) as tls:
        hear(tls, 0)
        hello = frame(b"hello", mask=os.urandom(4))
        tls.sendall(hello)
        until("it leaves", lambda: site.heard == hello)
        tls.sendall(b"".join(frames))
        everything(tls)
    assert site.over.wait(DEADLINE)
    assert site.heard == hello
    site.gate.logged(event="flagged", reason="secret_refused")


def test_what_holds_no_secret_passes_as_it_is(inspecting, chat):
    site = chat([frame(b"welcome")], rule=", content: {secrets: block}")
    sent = frame(b"a" * 60_000, mask=b"wxyz") + frame(b"", opcode=9, mask=b"abcd") + frame(b"b", is_final=False, mask=b"1234") + frame(b"c", opcode=0, mask=b"1234")
    with open_it(inspecting, site) as tls:
        assert hear(tls, 9)[1] == frame(b"welcome")
        tls.sendall(sent)
        until("all of it", lambda: len(site.heard) >= len(sent))
    assert site.heard == sent


def test_control_frames_wait_for_no_message(inspecting, chat):
    """A peer that asks whether anyone is there is answered, whatever of a message is still to come."""
    site = chat([], rule=", content: {secrets: block}")
    part, pong, rest = (frame(b"a", is_final=False, mask=b"1234"), frame(b"x", opcode=10, mask=b"5678"), frame(b"b", opcode=0, mask=b"abcd"))
    with open_it(inspecting, site) as tls:
        hear(tls, 0)
        tls.sendall(part + pong)
        until("the pong", lambda: site.heard == pong)
        tls.sendall(rest)
        until("all of it", lambda: site.heard == pong + part + rest)


def test_to_log_alters_no_upgrade(inspecting, chat):
    site = chat([], rule=", content: {secrets: log}")
    said = frame(b"compressed", opcode=0x41, mask=b"1234")
    with open_it(inspecting, site) as tls:
        hear(tls, 0)
        tls.sendall(said)
        until("all of it", lambda: site.heard == said)
    assert b"permessage-deflate" in site.head
    site.gate.logged(event="flagged", finding="unchecked", place="request message")
