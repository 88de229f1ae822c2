"""What stands in namespaces for the tests of `sluice redirect`: a gate that says where its clients wanted to go, plain
servers, and a probe that tries one thing and says what came of it. A program of its own, since tests never enter a
namespace themselves."""
import errno
import json
import os
import socket
import struct
import sys
import threading
import time

SO_ORIGINAL_DST = 80
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
SWALLOWED = []
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def family_of(address):
    return FAMILIES[6 if ":" in address else 4]


def listener(kind, address, port, is_transparent=False):
    sock = socket.socket(family_of(address), kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if is_transparent:
        level, option = (socket.SOL_IP, IP_TRANSPARENT) if sock.family == socket.AF_INET else (socket.IPPROTO_IPV6, IPV6_TRANSPARENT)
        sock.setsockopt(level, option, 1)
    sock.bind((address, port))
    return sock


def original(stream, is_transparent):
    if is_transparent:
        return stream.getsockname()[:2]
    if stream.family == socket.AF_INET:
        port, address = struct.unpack("!2xH4s8x", stream.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
    else:
        port, address = struct.unpack("!2xH4x16s4x", stream.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28))
    return socket.inet_ntop(stream.family, address), port


def swallow(stream, count):
    """Reads slowly to the end, so that the sender is gone before its last bytes are on their way."""
    time.sleep(0.1)
    while data := stream.recv(65536):
        count += len(data)
    SWALLOWED.append(count)


def serve_tcp(address, port, answer, is_transparent=False):
    sock = listener(socket.SOCK_STREAM, address, port, is_transparent)
    sock.listen(64)

    def serve():
        while True:
            stream, _ = sock.accept()
            threading.Thread(target=talk, args=(stream,), daemon=True).start()

    def talk(stream):
        with stream:
            try:
                stream.sendall(json.dumps(answer(stream)).encode() + b"\n")
                data = stream.recv(4096)
                if data[:1] == b"s":
                    swallow(stream, len(data))
                elif data[:1] == b"t":
                    data = json.dumps(SWALLOWED).encode()
                while data:
                    stream.sendall(data)
                    data = stream.recv(4096)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()


def serve_udp(address, port, answer):
    sock = listener(socket.SOCK_DGRAM, address, port)

    def serve():
        while True:
            query, peer = sock.recvfrom(4096)
            sock.sendto(answer + query, peer)

    threading.Thread(target=serve, daemon=True).start()


def gate(transparent, *addresses):
    is_transparent = transparent == "tproxy"
    for address in addresses:
        serve_tcp(address, 3129, lambda stream: original(stream, is_transparent), is_transparent)
        serve_tcp(address, 3153, lambda stream: "dns")
        serve_udp(address, 3153, b"dns:")


def server(word, port, *addresses):
    for address in addresses:
        serve_tcp(address, int(port), lambda stream: word)
        serve_udp(address, int(port), word.encode() + b":")


def tcp(address, port):
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    sock.settimeout(2)
    sock.connect((address, port))
    got = json.loads(sock.makefile().readline())
    sock.sendall(b"x" * 20000)
    sock.shutdown(socket.SHUT_WR)
    count = 0
    while data := sock.recv(65536):
        count += len(data)
    assert count == 20000, count
    return got


def udp(address, port):
    """Not connected, so that an answer from any address is taken, and told."""
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.settimeout(2)
    sock.sendto(b"question", (address, port))
    answer, peer = sock.recvfrom(4096)
    return [answer.decode(), *peer[:2]]


def quic(address, port):
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.settimeout(2)
    sock.connect((address, port))
    sock.send(b"hello")
    return sock.recv(4096).decode()


def ping(address, _):
    v6 = ":" in address
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    sock.settimeout(2)
    sock.connect((address, 0))
    sock.send(bytes([128 if v6 else 8, 0]) + bytes(6))
    return len(sock.recv(4096))


def leave(address, port):
    """Closes with bytes still to be sent: they go out of a socket that has no owner any more."""
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    sock.settimeout(2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sock.connect((address, port))
    sock.makefile().readline()
    sock.setblocking(False)
    return sock.send(b"s" * (1 << 20))


def tally(address, port):
    """How many bytes came of each of those that left."""
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    sock.settimeout(2)
    sock.connect((address, port))
    sock.makefile().readline()
    sock.sendall(b"t")
    return json.loads(sock.recv(4096))


def hold(address, port):
    """A connection that stands before rules are set, and is used after."""
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    sock.settimeout(2)
    sock.connect((address, port))
    sock.makefile().readline()
    print("standing", flush=True)
    sys.stdin.readline()
    return lambda: (sock.sendall(b"secret"), sock.recv(100).decode())[1]


def probe(what, address, port, uid="0", cgroup=""):
    if cgroup:
        with open(f"/sys/fs/cgroup/{cgroup}/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    started = time.monotonic()
    try:
        got = globals()[what](address, int(port))
        if callable(got):
            started = time.monotonic()
            got = got()
        result = {"got": got}
    except OSError as error:
        result = {"error": errno.errorcode.get(error.errno, "timeout")}
    print(json.dumps(result | {"ms": (time.monotonic() - started) * 1000}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "probe":
        probe(*sys.argv[2:])
    else:
        if sys.argv[1] == "as":
            uid, cgroup = sys.argv[2:4]
            if cgroup:
                with open(f"/sys/fs/cgroup/{cgroup}/cgroup.procs", "w") as procs:
                    procs.write(str(os.getpid()))
            os.setuid(int(uid))
            del sys.argv[1:4]
        {"gate": gate, "server": server}[sys.argv[1]](*sys.argv[2:])
        print("ready", flush=True)
        threading.Event().wait()
