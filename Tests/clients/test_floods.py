"""HTTP/2 peers that flood a gate are cut, clients and upstreams alike; other clients are not affected, and normal clients are never cut."""
import os
import shutil
import subprocess
import threading
import time

import h2.config
import h2.connection
import pytest
from hyperframe.frame import (DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame, SettingsFrame,
                              WindowUpdateFrame)

import rpc
from fronts import Fronts
from gate import DEADLINE, local, plain_environment, rules, until
from http2 import Raw, Server
from inspection import Inspecting

# Requests, or frames, of one attack: more than any bound, and as many as one connection is given at once.
MANY = 3000


@pytest.fixture
def fronts(gate, tmp_path):
    return Fronts(gate, tmp_path)


@pytest.fixture
def inspecting(gate, tmp_path, certificates):
    return Inspecting(gate, tmp_path, certificates)


@pytest.fixture
def serving(certificates):
    started = []

    def start(answer=None):
        server = Server(certificates.server(), answer)
        started.append(server)
        return server

    yield start
    for one in started:
        one.close()


class Listener:
    """An attacker of a TLS listener, whose requests are plain HTTP."""
    def __init__(self, fronts, upstream):
        self.heads = []

        def talk(stream):
            self.heads.append(stream.recv(65536))
            stream.recv(1)

        self.fronts, self.site = fronts, upstream(talk)
        self.gate = fronts.gate(rules(local("raw.test", self.site.port)))

    def connect(self):
        return self.fronts.raw(self.gate)

    def head(self, http, stream, more=(), ends=True):
        return http.ask(stream, [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"),
                                 (b":authority", f"raw.test:{self.site.port}".encode())] + list(more), ends)

    @property
    def reached(self):
        return len(self.heads)


class Tunnel:
    """An attacker inside an inspected tunnel, whose requests go on in HTTP/2."""
    def __init__(self, inspecting, site):
        self.inspecting, self.site, self.reached = inspecting, site, 0
        self.gate = inspecting.gate(inspecting.rule("allowed.test", site.port))
        self.target = f"allowed.test:{site.port}"

    def connect(self):
        return Raw(self.inspecting.tunnel(self.gate, self.target, ("h2",)), self.target)

    def head(self, http, stream, more=(), ends=True):
        return http.head(stream, list(more), ends, method=b"POST")


class Silent:
    """An HTTP/2 upstream that answers nothing, and counts what reaches it."""
    def __init__(self, context):
        import socket
        context.set_alpn_protocols(["h2"])
        self.context, self.heads, self.frames = context, [], []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            with self.context.wrap_socket(sock, server_side=True) as tls:
                tls.settimeout(DEADLINE)
                tls.sendall(SettingsFrame(0).serialize())
                data = tls.recv(65536)[24:]
                while True:
                    while len(data) >= 9:
                        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
                        if len(data) < 9 + length:
                            break
                        data = data[9 + length:]
                        if isinstance(frame, HeadersFrame):
                            self.heads.append(frame.stream_id)
                        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                            tls.sendall(SettingsFrame(0, flags=["ACK"]).serialize())
                    if not (more := tls.recv(65536)):
                        return
                    data += more
        except OSError:
            pass


@pytest.fixture(params=["listener", "tunnel"])
def attack(request, fronts, upstream, inspecting, certificates):
    if request.param == "listener":
        yield Listener(fronts, upstream)
        return
    silent = Silent(certificates.server())
    tunnel = Tunnel(inspecting, silent)
    type(tunnel).reached = property(lambda self: len(self.site.heads), lambda self, value: None)
    yield tunnel
    silent.socket.close()


def press(http, pieces):
    try:
        http.send(*pieces)
    except OSError:
        pass


def cut(http):
    """The gate has enough: GOAWAY, or no more than the end."""
    while (frame := http.read()) is not None:
        if isinstance(frame, GoAwayFrame) and frame.error_code:
            return


EMPTY = DataFrame(1).serialize()
FRAMES = {
    "ping": PingFrame(0, opaque_data=b"12345678").serialize(),
    "settings": SettingsFrame(0, settings={4: 65535}).serialize(),
    "priority": PriorityFrame(1, depends_on=3, stream_weight=1).serialize(),
    "window": WindowUpdateFrame(0, window_increment=1).serialize(),
    "stream window": WindowUpdateFrame(1, window_increment=1).serialize(),
    "empty data": EMPTY,
    "ping acknowledged": PingFrame(0, opaque_data=b"12345678", flags=["ACK"]).serialize(),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_flood_of_frames_ends_the_connection(attack, kind):
    http = attack.connect()
    press(http, [attack.head(http, 1, ends=False)])
    press(http, [FRAMES[kind] * 20_000])
    cut(http)
    attack.gate.logged(event="denied", reason="bad_request")


RESETS = {
    # The first answer of nobody: the client gives each request up.
    "reset": lambda attack, http, stream: attack.head(http, stream, ends=False) + RstStreamFrame(stream, error_code=8).serialize(),
    "a byte, then reset": lambda attack, http, stream: attack.head(http, stream, ends=False) + DataFrame(stream, data=b"x").serialize()
    + RstStreamFrame(stream, error_code=8).serialize(),
    # The gate resets, as the client makes it do.
    "malformed": lambda attack, http, stream: attack.head(http, stream, [(b"x", b"a\r\nb")]),
    "window too large": lambda attack, http, stream: attack.head(http, stream, ends=False)
    + WindowUpdateFrame(stream, window_increment=(1 << 31) - 1).serialize(),
    "longer than it said": lambda attack, http, stream: attack.head(http, stream, [(b"content-length", b"1")], ends=False)
    + DataFrame(stream, data=b"xx").serialize(),
    "depends on itself": lambda attack, http, stream: attack.head(http, stream, ends=False)
    + PriorityFrame(stream, depends_on=stream, stream_weight=1).serialize(),
}


@pytest.mark.parametrize("kind", RESETS)
def test_requests_that_are_given_up_reach_no_upstream_for_long(attack, kind):
    http = attack.connect()
    press(http, [RESETS[kind](attack, http, stream) for stream in range(1, 2 * MANY, 2)])
    cut(http)
    attack.gate.logged(event="denied", reason="bad_request")
    assert attack.reached < 400


def test_a_client_beside_attackers_is_served_at_once(attack):
    """Connection after connection, of all kinds; each ends, and nothing stays behind."""
    # Twenty seconds of the attacks is what a person would try; the suite does less of the same.
    seconds = float(os.environ.get("SLUICE_ATTACK_SECONDS", "2"))
    before, memory = attack.gate.descriptors(), attack.gate.resident_kib()
    ends_at, waits = time.monotonic() + seconds, []

    def attacker(kinds):
        while time.monotonic() < ends_at:
            for kind in kinds:
                try:
                    http = attack.connect()
                    press(http, [attack.head(http, 1, ends=False)])
                    if kind in FRAMES:
                        press(http, [FRAMES[kind] * 20_000])
                    else:
                        press(http, [RESETS[kind](attack, http, stream) for stream in range(3, 1000, 2)])
                    http.tls.close()
                except (OSError, AssertionError):
                    pass

    threads = [threading.Thread(target=attacker, args=(kinds,)) for kinds in (list(FRAMES), list(RESETS))]
    for thread in threads:
        thread.start()
    while time.monotonic() < ends_at:
        began = time.monotonic()
        http = attack.connect()
        waits.append(time.monotonic() - began)
        http.tls.close()
    for thread in threads:
        thread.join()
    waits.sort()
    print(f"{len(waits)} connections of the second client: median {waits[len(waits) // 2] * 1000:.0f} ms, longest {waits[-1] * 1000:.0f} ms")
    # A pipe or two stays with the loop for the next stream.
    until("descriptors are as before", lambda: attack.gate.descriptors() <= before + 4)
    print(f"memory: {memory} KiB before, {attack.gate.resident_kib()} KiB after")
    assert attack.gate.resident_kib() - memory < 40_000


# Clients that only work

def test_abandoned_requests_at_a_steady_pace_are_no_flood(attack):
    """More than a whole life was once allowed, no faster than credit comes back."""
    http, began = attack.connect(), time.monotonic()
    for batch in range(6):
        until("a second has passed", lambda: time.monotonic() >= began + batch)
        streams = range(100 * batch + 1, 100 * batch + 101, 2)
        http.send(*[attack.head(http, stream) + RstStreamFrame(stream, error_code=8).serialize() for stream in streams])
        http.send(PingFrame(0, opaque_data=b"are you?").serialize())
        assert "ACK" in http.until(PingFrame).flags


@pytest.mark.parametrize("piece", [100, 16384])
def test_a_client_that_pings_for_all_that_comes_is_served_to_the_end(serving, inspecting, piece):
    """A PING for each piece that comes, as libraries measure their bandwidth; thousands of them."""
    pieces = 5000 if piece == 100 else 2500
    site = serving(lambda server, connection, stream, fields, body: served_in_pieces(connection, stream, piece, pieces))
    gate = inspecting.gate(inspecting.rule("allowed.test", site.port))
    http = Raw(inspecting.tunnel(gate, f"allowed.test:{site.port}", ("h2",)), f"allowed.test:{site.port}")
    http.send(http.head(1, [], ends=True))
    got = pings = 0
    while (frame := http.read()) is not None:
        assert not isinstance(frame, (GoAwayFrame, RstStreamFrame)), f"cut after {got} bytes and {pings} pings: {frame}"
        if isinstance(frame, DataFrame):
            got, pings = got + len(frame.data), pings + 1
            answer = PingFrame(0, opaque_data=b"measure!").serialize()
            if frame.data:
                answer += b"".join(WindowUpdateFrame(stream, window_increment=len(frame.data)).serialize() for stream in (0, 1))
            http.send(answer)
            if "END_STREAM" in frame.flags:
                break
    assert got == piece * pieces
    print(f"{got} bytes, {pings} pings")


def served_in_pieces(connection, stream, piece, count):
    """In a thread's own time: each goes out as far as the client's window is open."""
    connection.h2.send_headers(stream, [(b":status", b"200")])
    sent = 0
    while sent < count:
        while connection.h2.local_flow_control_window(stream) < piece:
            connection.flush()
            for event in connection.h2.receive_data(connection.tls.recv(65536)):
                pass
        connection.h2.send_data(stream, b"x" * piece, end_stream=sent + 1 == count)
        sent += 1
        connection.flush()


# Upstreams

UPSTREAM = {
    "ping": PingFrame(0, opaque_data=b"12345678").serialize(),
    "settings": SettingsFrame(0, settings={4: 65535}).serialize(),
    "window": WindowUpdateFrame(0, window_increment=1).serialize(),
    "empty data": None,
}


@pytest.mark.parametrize("kind", UPSTREAM)
def test_an_upstream_that_floods_is_left_and_its_client_told(serving, inspecting, kind):
    def answer(server, connection, stream, fields, body):
        connection.h2.send_headers(stream, [(b":status", b"200")])
        connection.flush()
        try:
            connection.tls.sendall((UPSTREAM[kind] or DataFrame(stream).serialize()) * 20_000)
        except OSError:
            pass

    site = serving(answer)
    gate = inspecting.gate(inspecting.rule("allowed.test", site.port))
    http = Raw(inspecting.tunnel(gate, f"allowed.test:{site.port}", ("h2",)), f"allowed.test:{site.port}")
    http.send(http.head(1, []))
    assert http.until(RstStreamFrame, 1).error_code
    gate.logged(event="failed", reason="connect_failed")


# gRPC as Go has it

@pytest.fixture(scope="session")
def go_client(tmp_path_factory):
    if not shutil.which("go") or not os.path.isdir("/usr/share/gocode/src/google.golang.org/grpc"):
        pytest.skip("golang-go and golang-google-grpc-dev are not installed")
    folder = tmp_path_factory.mktemp("go")
    source = os.path.join(os.path.dirname(__file__), "grpc-client", "main.go")
    # Out of Debian's packages alone: nothing is asked of the network.
    subprocess.run(["go", "build", "-o", folder / "client", source], check=True, timeout=110,
                   env=plain_environment() | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache"), "GOPROXY": "off"})
    return folder / "client"


@pytest.mark.parametrize("way", ["inspected", "through TLS"])
def test_a_go_client_of_grpc_receives_ten_thousand_messages(go_client, inspecting, fronts, certificates, way):
    greeter = rpc.greeter(certificates)
    target = f"allowed.test:{greeter.port}"
    if way == "inspected":
        gate, more = inspecting.gate(inspecting.rule("allowed.test", greeter.port)), []
    else:
        gate = fronts.gate(rules(inspecting.rule("allowed.test", greeter.port)), more=f'tls: {{ca: "{inspecting.folder}"}}\n')
        more = [fronts.identity.certificate]
    said = subprocess.run([str(one) for one in [go_client, f"127.0.0.1:{gate.port}", inspecting.ca, target, "10000", *more]], capture_output=True, text=True, timeout=100,
                          env=plain_environment())
    greeter.stop(None)
    assert said.stdout.strip() == "10000 EOF", said
