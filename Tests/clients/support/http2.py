"""HTTP/2 on both ends of a gate: a server whose answers a test writes, and a client that can say what no library would."""
import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
from hyperframe.frame import DataFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame

from gate import DEADLINE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Server:
    """Calls `answer(server, connection, stream, fields, body)` for each whole request. Without one it echoes the body,
    with a trailer that says how long it was."""

    def __init__(self, context, answer=None, takes_websockets=False):
        context.set_alpn_protocols(["h2"])
        self.takes_websockets = takes_websockets
        self.context, self.answer, self.seen, self.resets, self.connections = context, answer or echo, [], [], 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            with self.context.wrap_socket(sock, server_side=True) as tls:
                tls.settimeout(DEADLINE)
                Served(self, tls).run()
        except (OSError, ssl.SSLError, h2.exceptions.ProtocolError):
            pass

    def close(self):
        self.socket.close()


class Served:
    def __init__(self, server, tls):
        self.server, self.tls = server, tls
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.heads, self.bodies, self.waiting, self.echoing = {}, {}, {}, set()

    def run(self):
        if self.server.takes_websockets:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        self.h2.initiate_connection()
        self.tls.sendall(self.h2.data_to_send())
        while data := self.tls.recv(65536):
            for event in self.h2.receive_data(data):
                self.handle(event)
            self.flush()

    def handle(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.heads[event.stream_id], self.bodies[event.stream_id] = event.headers, b""
            if (b":protocol", b"websocket") in event.headers:
                self.server.seen.append(dict(event.headers))
                self.h2.send_headers(event.stream_id, [(b":status", b"200")])
                self.echoing.add(event.stream_id)
        elif isinstance(event, h2.events.DataReceived) and event.stream_id in self.echoing:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.h2.send_data(event.stream_id, event.data, end_stream=event.stream_ended is not None)
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self.echoing:
            pass
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.heads[event.stream_id] += [(b"trailer:" + name, value) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            fields, body = self.heads.pop(event.stream_id), self.bodies.pop(event.stream_id)
            self.server.seen.append(dict(fields))
            self.server.answer(self.server, self, event.stream_id, dict(fields), body)
        elif isinstance(event, h2.events.StreamReset):
            self.server.resets.append(int(event.error_code))
            self.waiting.pop(event.stream_id, None)

    def say(self, stream, fields, body=b"", trailers=None):
        self.h2.send_headers(stream, fields, end_stream=not body and not trailers)
        if body or trailers:
            self.waiting[stream] = (body, trailers)
        self.flush()

    def stream(self, stream, fields, pieces):
        """Each piece goes out before the next one is made; they fit into the window."""
        self.h2.send_headers(stream, fields)
        for piece in pieces:
            self.h2.send_data(stream, piece)
            self.flush()
        self.h2.end_stream(stream)
        self.flush()

    def flush(self):
        for stream, (body, trailers) in list(self.waiting.items()):
            while body and (room := min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)) > 0:
                self.h2.send_data(stream, body[:room], end_stream=len(body) <= room and not trailers)
                body = body[room:]
            self.waiting[stream] = (body, trailers)
            if not body:
                del self.waiting[stream]
                if trailers:
                    self.h2.send_headers(stream, trailers, end_stream=True)
        if data := self.h2.data_to_send():
            self.tls.sendall(data)


def echo(server, served, stream, fields, body):
    served.say(stream, [(b":status", b"200"), (b"x-path", fields[b":path"]), (b"x-length", str(len(body)).encode())], body,
               [(b"x-trailer", str(len(body)).encode())])


class Raw:
    """A client that writes frames as it is told, and reads what comes."""

    def __init__(self, tls, authority, settings={}):
        self.tls, self.authority, self.encoder, self.decoder = tls, authority, hpack.Encoder(), hpack.Decoder()
        self.data, self.frames = b"", []
        self.send(PREFACE, SettingsFrame(0, settings=settings).serialize())

    def send(self, *pieces):
        self.tls.sendall(b"".join(pieces))

    def head(self, stream, fields, ends=True, path=b"/", method=b"GET", authority=None):
        whole = [(b":method", method), (b":scheme", b"https"), (b":path", path),
                 (b":authority", (authority or self.authority).encode())] + list(fields)
        frame = HeadersFrame(stream, data=self.encoder.encode(whole), flags=["END_HEADERS"] + (["END_STREAM"] if ends else []))
        return frame.serialize()

    def read(self):
        """The next frame; None at the end."""
        while True:
            if len(self.data) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.data[:9]))
                if len(self.data) >= 9 + length:
                    frame.parse_body(memoryview(self.data[9:9 + length]))
                    self.data = self.data[9 + length:]
                    if isinstance(frame, HeadersFrame):
                        frame.fields = dict(self.decoder.decode(frame.data, raw=True))
                    return frame
            try:
                more = self.tls.recv(65536)
            except (ConnectionResetError, ssl.SSLError):
                return None
            if not more:
                return None
            self.data += more

    def until(self, kind, stream=None):
        """The next frame of that kind."""
        while (frame := self.read()) is not None:
            if isinstance(frame, kind) and (stream is None or frame.stream_id == stream):
                return frame
        raise AssertionError(f"the connection ended without {kind.__name__}")

    def answer(self, stream):
        """Status, fields and body of a stream; status None for one that was reset."""
        head, body = None, b""
        while (frame := self.read()) is not None:
            if frame.stream_id != stream:
                continue
            if isinstance(frame, RstStreamFrame):
                return None, {}, frame.error_code
            if isinstance(frame, HeadersFrame):
                head = head or frame.fields
            elif isinstance(frame, DataFrame):
                body += frame.data
            if "END_STREAM" in frame.flags:
                break
        return (int(head[b":status"]), head, body) if head else (None, {}, body)
