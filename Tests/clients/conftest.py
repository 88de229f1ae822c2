import contextlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
from admin import Admin  # noqa: E402
from gate import Gate, Names, Upstream  # noqa: E402
from packets import Packets  # noqa: E402
from sandbox import Place  # noqa: E402
from stores import Redis  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "figures: holds times or memory of the gate, which a sanitizer changes")
    config.addinivalue_line("markers", "confined: of a gate that confines itself, which one with a sanitizer in it cannot")


@pytest.fixture
def names():
    names = Names()
    yield names
    names.close()


@pytest.fixture
def gate(tmp_path, names):
    started = []

    def start(policy, **options):
        folder = tmp_path / f"gate{len(started)}"
        folder.mkdir()
        started.append(Gate(folder, names, policy, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def admin(gate, tmp_path):
    def make(policy, **more):
        path = tmp_path / "admin.sock"
        return Admin(gate(policy, flags=("--listen-admin", path, *more.pop("flags", ())), **more), path)
    return make


@pytest.fixture
def upstream():
    started = []

    def start(talk, context=None):
        started.append(Upstream(talk, context))
        return started[-1]

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


class Certificates:
    """A CA of its own, and a server certificate for names under .test."""

    def __init__(self, folder):
        self.ca, self.key, self.cert = folder / "ca.pem", folder / "key.pem", folder / "cert.pem"
        ca_key, request, extensions = folder / "ca.key", folder / "request", folder / "extensions"
        extensions.write_text("subjectAltName=DNS:allowed.test,DNS:refused.test,DNS:git.test,DNS:*.wild.test,DNS:*.opaque.test,DNS:*.inspected.test,"
                              "DNS:api.model.example,DNS:git.example,DNS:index.example,DNS:example.com\n")

        def openssl(*arguments):
            subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", ca_key, "-out", self.ca, "-subj", "/CN=test CA",
                "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", request, "-subj", "/CN=allowed.test")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-out", self.cert,
                "-days", "2", "-extfile", extensions)

    def server(self, version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def client(self):
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def bad_certificates(tmp_path_factory, certificates):
    """Server contexts that no client should take for allowed.test, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("bad")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def context(name, certificate, key):
        found[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found[name].load_cert_chain(certificate, key)

    found = {}
    (folder / "key").touch()
    key, ca_key = folder / "key", certificates.ca.with_name("ca.key")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", folder / "self", "-subj", "/CN=allowed.test",
            "-days", "2", "-addext", "subjectAltName=DNS:allowed.test")
    context("self-signed certificate", folder / "self", key)
    for name, days, alternative in (("certificate has expired", "-1", "allowed.test"), ("hostname mismatch", "2", "other.test")):
        openssl("req", "-new", "-key", key, "-out", folder / "request", "-subj", "/CN=allowed.test")
        (folder / "extensions").write_text(f"subjectAltName=DNS:{alternative}\n")
        openssl("x509", "-req", "-in", folder / "request", "-CA", certificates.ca, "-CAkey", ca_key, "-CAcreateserial",
                "-out", folder / "cert", "-days", days, "-extfile", folder / "extensions")
        context(name, folder / "cert", key)
    return found


@pytest.fixture
def web():
    """Starts an HTTP(S) server out of a handler class; it counts connections."""
    started = []

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1024
        connections = 0

        def process_request(self, request, client_address):
            self.connections += 1
            super().process_request(request, client_address)

        def handle_error(self, request, client_address):
            pass

    def start(handler, context=None):
        server = Server(("127.0.0.1", 0), handler)
        server.port = server.server_address[1]
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


class Hello(BaseHTTPRequestHandler):
    """Answers every GET with one text, and says what it was asked with."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen = getattr(self.server, "seen", []) + [(self.requestline, dict(self.headers))]
        body = b"hello from " + self.headers["Host"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "X-Hop")
        self.send_header("X-Hop", "secret")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hello():
    return Hello


@pytest.fixture
def packets():
    """Starts a count of packets to ports."""
    started = []

    def start(*ports):
        try:
            started.append(Packets(*ports))
        except PermissionError:
            pytest.skip("counting packets needs root")
        return started[-1]

    yield start
    for one in started:
        one.close()


class SmallDisk:
    """A file system for the log, small enough to be filled."""

    def __init__(self, folder):
        self.log, self.filler = folder / "log", folder / "filler"

    def fill(self):
        with open(self.filler, "ab", buffering=0) as full:
            try:
                while True:
                    full.write(b"x" * 512)
            except OSError:
                pass

    def free(self):
        self.filler.unlink()


@contextlib.contextmanager
def mounted_disk(folder, size):
    place = folder / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small_disk(tmp_path):
    with mounted_disk(tmp_path, "64k") as disk:
        yield disk


@pytest.fixture
def redis(tmp_path):
    """Starts servers, each with a folder of its own."""
    started = []

    def start(*more, **options):
        started.append(Redis(tmp_path / f"redis{len(started)}", *more, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def packages():
    """The tests' own Python packages, where each user may read them: for programs in a sandbox."""
    here = Path(pytest.__file__).parents[1]
    if all(folder.stat().st_mode & 0o001 for folder in here.parents):
        yield here
        return
    folder = Path(tempfile.mkdtemp(prefix="sluice-packages-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield Path(shutil.copytree(here, folder / "packages", symlinks=True))
    shutil.rmtree(folder)


def started_by(*who):
    """A place for `sluice run`, in which nothing is left of it."""
    @pytest.fixture(params=who)
    def place(request, names):
        place = Place(request.param, names)
        yield place
        try:
            place.leaves_nothing()
        finally:
            place.close()
    return place


place, user_place, root_place = started_by("root", "user"), started_by("user"), started_by("root")
