"""A name server for examples without the internet: every name under .test and .example is this machine."""
import socket
import struct


def bind():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def serve(sock):
    """127.0.0.1 for every name under .test and .example, of the answers that there are (RFC 1035)."""
    while True:
        query, peer = sock.recvfrom(512)
        end = query.index(b"\0", 12)
        name, kind = query[12:end], query[end + 1:end + 3]
        is_known = name.endswith((b"\4test", b"\7example"))
        answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1]) if is_known and kind == b"\0\1" else b""
        flags = 0x8180 if is_known else 0x8183
        sock.sendto(query[:2] + struct.pack("!HHHHH", flags, 1, bool(answer), 0, 0) + query[12:end + 5] + answer, peer)
