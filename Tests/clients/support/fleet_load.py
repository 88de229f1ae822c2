"""Loads of `make fleet`, each a process of its own in the fleet's network: they move between gates every second.

Each writes a JSON line a second to its standard output: when it was (CLOCK_MONOTONIC, the moment the second ended), and what was
granted in it. `serve` is the upstream: it answers requests on one port and swallows bytes on another."""
import json
import random
import selectors
import socket
import sys
import time

REQUEST = "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Seconds:
    """Counts, told once a second."""

    def __init__(self):
        self.end, self.count = time.monotonic() + 1, 0

    def tell(self, **more):
        now = time.monotonic()
        if now < self.end:
            return False
        print(json.dumps({"at": now, "count": self.count, **more}), flush=True)
        self.end, self.count = self.end + 1, 0
        return True


class Asker:
    """A connection to one gate, kept for as long as it is answered."""

    def __init__(self, place, target):
        self.place, self.request, self.sock = place, REQUEST.format(target).encode(), None

    def ask(self):
        """The status, or None from a gate that is gone."""
        try:
            if not self.sock:
                self.sock = socket.create_connection(self.place, 5)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.sendall(self.request)
            data = b""
            while b"\r\n\r\n" not in data or not self.is_whole(data):
                more = self.sock.recv(65536)
                if not more:
                    break
                data += more
        except OSError:
            data = b""
        if not data or b"onnection: close" in data:
            self.close()
        return int(data[9:12]) if data else None

    @staticmethod
    def is_whole(data):
        head, _, body = data.partition(b"\r\n\r\n")
        length = head.lower().split(b"content-length:")
        return len(length) < 2 or len(body) >= int(length[1].split(b"\r\n")[0])

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


def requests(places, target, per_minute, spread):
    """Asks the hot gate for all that it can get. `spread`: the others are asked too, twice as often as their share."""
    askers, seconds, refused = [Asker(place, target) for place in places], Seconds(), 0
    hot, pause = random.choice(askers), min(0.05, max(0.002, 3 / per_minute))
    share = len(places) * 30 / per_minute
    due = [time.monotonic() + share * random.random() for _ in askers]
    while True:
        status = hot.ask()
        seconds.count += status == 200
        refused += status == 429
        if status != 200:
            # A refused client that asks at once takes the processor from those who are let out.
            time.sleep(pause)
        now = time.monotonic()
        for index, asker in enumerate(askers) if spread else ():
            if asker is not hot and due[index] <= now:
                due[index] = now + share
                seconds.count += asker.ask() == 200
        if seconds.tell(refused=refused):
            hot, refused = random.choice(askers), 0


def tunnel(place, target):
    """A socket behind a CONNECT, or None."""
    sock = None
    try:
        sock = socket.create_connection(place, 5)
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        if sock.recv(65536).startswith(b"HTTP/1.1 200"):
            return sock
    except OSError:
        pass
    if sock:
        sock.close()


def slots(places, target):
    """Holds as many tunnels as it gets, each for some seconds; tells the most and the mean of a second."""
    seconds, open_now, hot = Seconds(), [], random.choice(places)
    most, total, looks = 0, 0, 0
    while True:
        now = time.monotonic()
        for one in [one for one in open_now if one[0] <= now]:
            open_now.remove(one)
            one[1].close()
        if sock := tunnel(hot, target):
            sock.setblocking(False)
            open_now.append((now + random.uniform(3, 9), sock))
        for one in list(open_now):
            try:
                if one[1].recv(1) == b"":
                    raise OSError
            except BlockingIOError:
                pass
            except OSError:
                # The gate has died.
                open_now.remove(one)
                one[1].close()
        most, total, looks = max(most, len(open_now)), total + len(open_now), looks + 1
        if seconds.tell(most=most, mean=total / looks):
            hot, most, total, looks = random.choice(places), 0, 0, 0
        time.sleep(0.01)


def upload(places, target):
    """Sends the hot gate all that it takes, in a tunnel to each. The upstream counts."""
    socks, hot, turn, chunk = {}, random.choice(places), time.monotonic() + 1, bytes(16384)
    while True:
        if time.monotonic() >= turn:
            hot, turn = random.choice(places), turn + 1
        if hot not in socks:
            socks[hot] = tunnel(hot, target)
            if socks[hot]:
                socks[hot].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                socks[hot].setblocking(False)
        try:
            if socks[hot]:
                socks[hot].send(chunk)
                continue
        except BlockingIOError:
            pass
        except OSError:
            socks[hot].close()
        if not socks[hot] or socks[hot].fileno() < 0:
            del socks[hot]
        time.sleep(0.005)


def serve(address, port, sink_port):
    """The upstream of all loads."""
    chosen, seconds = selectors.DefaultSelector(), Seconds()
    for one, kind in ((port, "web"), (sink_port, "sink")):
        listener = socket.create_server((address, one), backlog=1024)
        listener.setblocking(False)
        chosen.register(listener, selectors.EVENT_READ, ("accept", kind))
    print(json.dumps({"is_ready": True}), flush=True)
    while True:
        for key, _ in chosen.select(0.2):
            what, kind = key.data
            if what == "accept":
                sock, _ = key.fileobj.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setblocking(False)
                chosen.register(sock, selectors.EVENT_READ, ("read", kind))
                continue
            try:
                data = key.fileobj.recv(262144)
                if data and kind == "web":
                    key.fileobj.sendall(REPLY * data.count(b"\r\n\r\n"))
            except OSError:
                data = b""
            if not data:
                chosen.unregister(key.fileobj)
                key.fileobj.close()
            elif kind == "sink":
                seconds.count += len(data)
        seconds.tell()


if __name__ == "__main__":
    wish = json.loads(sys.argv[1])
    {"requests": requests, "slots": slots, "upload": upload, "serve": serve}[wish.pop("kind")](
        **{name: [tuple(one) for one in value] if name == "places" else value for name, value in wish.items()})
