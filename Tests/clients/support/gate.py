"""A gate, its upstreams and its DNS, all on loopback. A test says what the policy is, and asks what was logged."""
import base64
import json
import os
import re
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time

DEADLINE = 20
DNS = ("--listen-dns", "127.0.0.1:0")
# A sanitizer's runtime makes system calls that a gate never does: under one it is tested without its confinement.
MORE = os.environ.get("SLUICE_MORE", "").split()


def until(what, ask):
    """Polls `ask` until it answers something true."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"timed out: {what}")


def read_question(query):
    """Name, type and bytes of a DNS message's question."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    return ".".join(labels), struct.unpack("!H", query[at + 1 : at + 3])[0], query[12 : at + 5]


class Names:
    """Answers A 127.0.0.1 for every name under .test, or what `addresses` says of it, SERVFAIL for those in `failing`,
    NXDOMAIN for the rest, and remembers what was asked. `records` holds the data of other types. While `is_silent`, it is a server that says nothing."""

    def __init__(self):
        self.asked, self.addresses, self.failing, self.is_silent = [], {}, set(), False
        self.records = {}
        self.socket, self.tcp = until("a port is free for UDP and TCP", self.bind)
        self.port = self.socket.getsockname()[1]
        for serve in (self.serve, self.serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    @staticmethod
    def bind():
        """The kernel chooses a port that is free for one of them."""
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()
            return None

    def serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            reply = self.answer(query)
            if reply and len(reply) > 512:
                # TC: whoever wants it all asks over TCP.
                reply = query[:2] + b"\x83\x80\0\1\0\0\0\0\0\0" + read_question(query)[2]
            try:
                if reply:
                    self.socket.sendto(reply, peer)
            except OSError:
                return

    def serve_tcp(self):
        while True:
            try:
                stream, _ = self.tcp.accept()
            except OSError:
                return
            with stream:
                reply = self.answer(read(stream, int.from_bytes(read(stream, 2), "big")))
                if reply:
                    stream.sendall(len(reply).to_bytes(2, "big") + reply)

    def answer(self, query):
        """None from a server that says nothing."""
        name, kind, question = read_question(query)
        self.asked.append(name)
        if self.is_silent:
            return None
        fails = name.lower() in self.failing
        known = name.lower().endswith(".test") and not name.lower().startswith("nx.") and not fails
        here = self.addresses.get(name.lower(), ["127.0.0.1"]) if known else []
        packed = [socket.inet_pton(socket.AF_INET6 if kind == 28 else socket.AF_INET, one)
                  for one in here if kind == (28 if ":" in one else 1)]
        packed += self.records.get((name.lower(), kind), []) if known else []
        answer = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(one)) + one for one in packed)
        flags = 0x8180 | (0 if known else 2 if fails else 3)
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(packed), 0, 0) + question + answer

    def close(self):
        self.socket.close()
        self.tcp.shutdown(socket.SHUT_RDWR)
        self.tcp.close()


class Upstream(socketserver.ThreadingTCPServer):
    """Serves each connection with `talk(stream)`, and counts connections and the bytes that came in."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, talk, context=None, address="127.0.0.1"):
        super().__init__((address, 0), None)
        self.talk, self.context, self.connections = talk, context, 0
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def finish_request(self, request, client_address):
        self.connections += 1
        try:
            stream = self.context.wrap_socket(request, server_side=True) if self.context else request
            with stream:
                self.talk(stream)
        except (OSError, ssl.SSLError):
            pass

    def handle_error(self, request, client_address):
        pass


class Logged:
    """Whatever has a gate's log, in `self.log`."""

    def lines(self, path=None):
        """All whole lines; what stands behind the last one may wait for its disk."""
        whole = (path or self.log).read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def logged(self, **fields):
        """The line with these fields, waited for."""
        def find():
            return [line for line in self.lines() if all(line.get(key) == value for key, value in fields.items())]
        try:
            return until(f"a line with {fields}", find)[0]
        except AssertionError:
            raise AssertionError(f"no line with {fields} in {self.lines()}") from None


class Gate(Logged):
    def __init__(self, folder, names, policy, workers=1, more="", log=None, on_failure="refuse", command=None, flags=(),
                 listens=("--listen-connect", "127.0.0.1:0"), start={}, stdout=subprocess.DEVNULL):
        self.folder, self.names, self.workers = folder, names, workers
        self.log, self.errors, self.policy_file = log or folder / "log", folder / "stderr", folder / "policy.yaml"
        self.more = more if "timeouts" in more else more + "\ntimeouts: {drain: 1}"
        self.on_failure = on_failure
        self.write(policy)
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [*(command or [os.environ["SLUICE"]]), "serve", "--policy", self.policy_file, "--workers", str(workers),
                 *listens, *MORE, *flags], stderr=errors, stdout=stdout, **start)
        found = until("the gate listens", self.listening)
        self.port = int(found.group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def listening(self):
        assert self.process.poll() is None, self.errors.read_text()
        return re.search(r"listening on 127\.0\.0\.1:(\d+)", self.errors.read_text())

    @property
    def dns_port(self):
        """Of `flags=DNS`, or of another address: the first of them."""
        return int(re.search(r":(\d+) \(dns\)", self.errors.read_text()).group(1))

    def resident_kib(self):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def write(self, policy):
        self.policy_file.write_text(
            f'{policy}\nlog: {{file: "{self.log}", on_failure: {self.on_failure}}}\nresolver: {{servers: ["127.0.0.1:{self.names.port}"]}}\n{self.more}\n')

    def environment(self):
        return plain_environment() | {"HTTPS_PROXY": self.url, "https_proxy": self.url, "HTTP_PROXY": self.url, "http_proxy": self.url,
                       "NO_PROXY": "", "no_proxy": ""}

    def dial(self, source=None):
        sock = socket.create_connection(("127.0.0.1", self.port), DEADLINE, (source, 0) if source else None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(DEADLINE)
        return sock

    def ask(self, data, source=None):
        """What comes back until the gate closes, or until a whole head and its body are there."""
        with self.dial(source) as sock:
            sock.sendall(data)
            return answer(sock)

    def connect(self, target, source=None, more=""):
        """A socket behind a CONNECT, and the head of the answer."""
        sock = self.dial(source)
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n".encode())
        return sock, answer(sock)

    def descriptors(self):
        """How many it has open. It listens before its workers have begun: their loops are waited for."""
        folder = f"/proc/{self.process.pid}/fd"

        def kinds():
            for name in os.listdir(folder):
                try:
                    yield os.readlink(f"{folder}/{name}")
                except FileNotFoundError:
                    pass

        until("each worker has its loop", lambda: list(kinds()).count("anon_inode:[eventpoll]") > self.workers)
        return len(os.listdir(folder))

    def leaves_none(self, before):
        """Waits until it has no more descriptors than before."""
        try:
            until("no descriptor is left behind", lambda: self.descriptors() <= before)
        except AssertionError:
            left = subprocess.run(["ls", "-l", f"/proc/{self.process.pid}/fd"], capture_output=True, text=True).stdout
            raise AssertionError(f"{before} descriptors before, now {left}") from None

    def signal(self, number):
        os.kill(self.process.pid, number)

    def reload(self):
        """SIGHUP, until the file is in force."""
        before = self.errors.read_text().count(" is in force")
        self.signal(signal.SIGHUP)
        until("the new policy", lambda: self.errors.read_text().count(" is in force") > before)

    def drain(self):
        """SIGTERM, until the gate accepts no more."""
        self.signal(signal.SIGTERM)
        until("the gate drains", self.is_deaf)

    def is_deaf(self):
        try:
            self.dial().close()
        except ConnectionError:
            return True

    def stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert status == 0, self.errors.read_text()
        assert "Fatal error" not in self.errors.read_text()


def expanded(lines):
    """One line for each event: refusals that repeat within a second share one."""
    return [line for line in lines for _ in range(1 + line.get("repeated", 0))]


def occurrences(lines):
    """How many events the lines stand for: refusals that repeat within a second share one."""
    return len(expanded(lines))


def plain_environment():
    """This process's, without what tells programs of proxies and certificates."""
    return {k: v for k, v in os.environ.items()
            if "proxy" not in k.lower() and "CERT" not in k and "CA_BUNDLE" not in k and not k.startswith(("PIP_", "GIT_"))}


def read(sock, count):
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def echo(stream):
    """What an upstream says: all that it hears. It gives up well before those who wait for its end do."""
    stream.settimeout(DEADLINE / 2)
    while data := stream.recv(65536):
        stream.sendall(data)


def answer(sock):
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        if found:
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if not length or len(body) >= int(length.group(1)):
                return data
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


def rules(*texts, more=""):
    lines = "".join(f"    - {text}\n" for text in texts)
    return f"network_policy:\n  allow:\n{lines}{more}"


def local(host, port, more=""):
    """A rule for a name that resolves to loopback."""
    return f'{{host: "{host}:{port}", addresses: [127.0.0.0/8]{more}}}'


def get(target):
    """A plain request for a target."""
    return f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


def password_file(folder, user, password):
    hashed = subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True, text=True).stdout
    (folder / "passwords").write_text(f"{user}:{hashed}")
    return folder / "passwords"


def basic(user, password):
    return "Proxy-Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() + "\r\n"


def client_hello(name):
    """What a client would send first, without sending it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    if name is None:
        context.verify_mode = ssl.CERT_NONE
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def with_ech(hello):
    """The same ClientHello (in one record) with an encrypted_client_hello extension at its end."""
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    added = struct.pack("!HH", 0xFE0D, 8) + bytes(8)
    extensions = hello[at + 2 :] + added
    body = hello[9:at] + struct.pack("!H", len(extensions)) + extensions
    return hello[:3] + struct.pack("!H", len(body) + 4) + hello[5:6] + len(body).to_bytes(3, "big") + body
