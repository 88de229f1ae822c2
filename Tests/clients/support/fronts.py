"""A gate whose CONNECT listener speaks TLS, and a client of it that speaks HTTP/2 as it is told."""
import socket
import ssl
import subprocess

import h2.config
import h2.connection
import h2.events
from hyperframe.frame import HeadersFrame

from gate import DEADLINE
from http2 import Raw


class Identity:
    """A certificate of the gate's own for localhost, which its clients are told to trust."""

    def __init__(self, folder, name="gate"):
        self.certificate, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                        self.key, "-out", self.certificate, "-subj", f"/CN={name}", "-days", "2", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)

    def listen(self, more=""):
        return f'listen: {{connect: {{address: "127.0.0.1:0", tls: {{certificate: {self.certificate}, key: {self.key}}}}}{more}}}\n'


class Fronts:
    """Starts gates that speak TLS with their clients."""

    def __init__(self, start, folder):
        self.start, self.identity = start, Identity(folder)

    def gate(self, policy, more="", listen="", **options):
        gate = self.start(policy, more=self.identity.listen(listen) + more, listens=(), **options)
        gate.url = f"https://localhost:{gate.port}"
        return gate

    def dial(self, gate, protocols=(), first=b""):
        """A TLS connection to the gate; `first` goes in front of it."""
        context = ssl.create_default_context(cafile=str(self.identity.certificate))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        sock = gate.dial()
        sock.sendall(first)
        return context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)

    def raw(self, gate, settings={}, first=b""):
        tls = self.dial(gate, ["h2"], first)
        assert tls.selected_alpn_protocol() == "h2"
        return RawProxy(tls, "", settings)

    def http2(self, gate):
        return Streams(self.dial(gate, ["h2", "http/1.1"]))


class RawProxy(Raw):
    """Frames as a client of a proxy writes them."""

    def connect(self, stream, target, fields=(), ends=False):
        whole = [(b":method", b"CONNECT"), (b":authority", target.encode())] + list(fields)
        return HeadersFrame(stream, data=self.encoder.encode(whole),
                            flags=["END_HEADERS"] + (["END_STREAM"] if ends else [])).serialize()

    def ask(self, stream, fields, ends=True):
        return HeadersFrame(stream, data=self.encoder.encode(list(fields)),
                            flags=["END_HEADERS"] + (["END_STREAM"] if ends else [])).serialize()

    def answer_head(self, stream):
        return int(self.until(HeadersFrame, stream).fields[b":status"])


class Streams:
    """A client that keeps to the protocol: windows, and many streams at once."""

    def __init__(self, tls):
        self.tls = tls
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None, validate_outbound_headers=False))
        self.heads, self.data, self.ended, self.resets, self.settings, self.hasLeft = {}, {}, set(), {}, {}, False
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        if data := self.h2.data_to_send():
            self.tls.sendall(data)

    def open(self, fields, ends=False):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=ends)
        self.data[stream] = b""
        self.flush()
        return stream

    def connect(self, target, more=()):
        return self.open([(b":method", b"CONNECT"), (b":authority", target.encode()), *more])

    def get(self, url, method="GET", more=(), ends=True):
        scheme, _, rest = url.partition("://")
        authority, _, path = rest.partition("/")
        return self.open([(b":method", method.encode()), (b":scheme", scheme.encode()), (b":authority", authority.encode()),
                          (b":path", b"/" + path.encode()), *more], ends)

    def send(self, stream, data, ends=False):
        while data or ends:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            if data and room == 0:
                self.turn()
                continue
            self.h2.send_data(stream, data[:room], end_stream=ends and room == len(data))
            data = data[room:]
            self.flush()
            if not data:
                return

    def turn(self):
        """What comes with one read; false at the end."""
        data = self.tls.recv(65536)
        for event in self.h2.receive_data(data):
            stream = getattr(event, "stream_id", 0)
            if isinstance(event, h2.events.ResponseReceived):
                self.heads[stream] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.data[stream] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(stream)
            elif isinstance(event, h2.events.StreamReset):
                self.resets[stream] = int(event.error_code)
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                self.settings |= {int(key): one.new_value for key, one in event.changed_settings.items()}
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.hasLeft = True
        self.flush()
        return bool(data)

    def until(self, ask):
        self.tls.settimeout(DEADLINE)
        while not (answer := ask()):
            if not self.turn():
                raise AssertionError(f"the connection ended: {self.heads} {self.resets}")
        return answer

    def status(self, stream):
        """Of an answer; a reset may follow it, or stand in its place."""
        return self.until(lambda: int(self.heads[stream][b":status"]) if stream in self.heads else stream in self.resets and "reset")

    def read(self, stream, count):
        self.until(lambda: len(self.data[stream]) >= count or stream in self.resets or stream in self.ended)
        data, self.data[stream] = self.data[stream][:count], self.data[stream][count:]
        return data

    def whole(self, stream):
        """Head and body of an answer that goes to its end."""
        self.until(lambda: stream in self.ended or stream in self.resets)
        return self.heads.get(stream), self.data[stream]


__all__ = ["Fronts", "Identity", "RawProxy", "Streams", "socket"]
