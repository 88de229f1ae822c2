"""A credential goes only to its own host: recording upstreams of other hosts never receive it."""
import ssl

import pytest

from dumps import forms
from gate import DEADLINE, Upstream, local
from inspection import Inspecting, everything, request
from test_credentials import BEARER, PLACEHOLDER, SECRET


class Recorder(Upstream):
    """Writes down all that it is sent, as it comes by TCP and inside its TLS; answers one request a connection."""

    def __init__(self, context=None, address="127.0.0.1"):
        self.raw, self.heard = b"", b""
        super().__init__(lambda sock: self.record(sock, context), address=address)

    def record(self, sock, context):
        sock.settimeout(DEADLINE)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True) if context else None
        said = b""
        while b"\r\n\r\n" not in said and (data := sock.recv(65536)):
            self.raw += data
            incoming.write(data)
            said += self.read(tls) if tls else data
            if b"\r\n\r\n" in said:
                reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                tls.write(reply) if tls else outgoing.write(reply)
            sock.sendall(outgoing.read())

    def read(self, tls):
        said = b""
        try:
            while data := tls.read(65536):
                said += data
        except ssl.SSLWantReadError:
            pass
        self.heard += said
        return said

    def holds(self, secret):
        return [name for name, text in forms(secret) if text in self.raw + self.heard]


@pytest.fixture
def recorder():
    started = []

    def start(*arguments, **more):
        started.append(Recorder(*arguments, **more))
        return started[-1]

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.fixture
def inspecting(gate, tmp_path, certificates):
    return Inspecting(gate, tmp_path, certificates)


# The client sends nothing, or a placeholder.
MODES = {"inject": ("", ""), "replace": (f", placeholder: {PLACEHOLDER}", f"Authorization: Bearer {PLACEHOLDER}\r\n")}


@pytest.fixture(params=MODES)
def start(request, inspecting, tmp_path):
    """Starts a gate that puts the key in for `own`; beside it are whatever other rules."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    more, sent = MODES[request.param]

    def start(own, *others):
        return inspecting.gate(own, *others, more=f'credentials:\n  key: {{file: "{secret}", {BEARER}{more}}}\n')

    start.sent, start.mode = sent, request.param
    return start


def own_rule(inspecting, port, addresses="127.0.0.0/8"):
    return inspecting.rule("allowed.test", port, ", credential: key").replace("127.0.0.0/8", addresses)


def test_its_own_host_hears_it(start, inspecting, recorder, certificates):
    """Else the tests below could not fail."""
    own = recorder(certificates.server())
    gate = start(own_rule(inspecting, own.port))
    target = f"allowed.test:{own.port}"
    assert inspecting.ask(gate, target, request(target, more=start.sent)).startswith(b"HTTP/1.1 200")
    assert own.holds(SECRET) == ["plain"]


def test_another_host_never_hears_it(start, inspecting, recorder, certificates):
    own, other, opaque = (recorder(certificates.server()) for _ in range(3))
    plain = recorder()
    gate = start(own_rule(inspecting, own.port), inspecting.rule("git.test", other.port), local("plain.test", plain.port),
                 local("refused.test", opaque.port))
    ours, theirs = f"allowed.test:{own.port}", f"git.test:{other.port}"
    # Another inspected host, asked as itself and as the credential's host; in our host's tunnel, asked as the other.
    for target, named in ((theirs, theirs), (theirs, ours), (ours, theirs)):
        inspecting.ask(gate, target, request(named, more=start.sent))
    # A tunnel to the one that names the other in its TLS.
    for target, named in ((theirs, "allowed.test"), (ours, "git.test")):
        sock, _ = gate.connect(target)
        with sock, pytest.raises((ssl.SSLError, OSError)):
            inspecting.trust().wrap_socket(sock, server_hostname=named).recv(1)
    # Plain HTTP, and a tunnel that the gate does not look into.
    host = f"plain.test:{plain.port}"
    gate.ask(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{start.sent}Connection: close\r\n\r\n".encode())
    with inspecting.tunnel(gate, f"refused.test:{opaque.port}", context=certificates.client()) as tls:
        tls.sendall(request(f"refused.test:{opaque.port}", more=start.sent))
        everything(tls)
    assert opaque.heard and not own.heard
    for one in (own, other, plain, opaque):
        assert not one.holds(SECRET)


def test_over_plain_http_it_never_leaves(start, inspecting, recorder):
    plain = recorder()
    gate = start(local("allowed.test", plain.port, ", credential: key"))
    host = f"allowed.test:{plain.port}"
    gate.ask(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{start.sent}Connection: close\r\n\r\n".encode())
    # The same in a tunnel, where TLS should begin.
    sock, _ = gate.connect(host)
    with sock:
        sock.sendall(request(host, more=start.sent))
        try:
            sock.recv(65536)
        except OSError:
            pass
    assert not plain.holds(SECRET)
    if start.mode == "replace":
        assert plain.raw == b"", "not even the placeholder left"


def test_to_an_address_that_its_rule_does_not_list_it_never_leaves(start, inspecting, recorder, certificates, names):
    elsewhere = recorder(certificates.server(), address="127.0.0.2")
    names.addresses["allowed.test"] = ["127.0.0.2"]
    gate = start(own_rule(inspecting, elsewhere.port, addresses="127.0.0.1/32"))
    _, head = gate.connect(f"allowed.test:{elsewhere.port}")
    assert head.startswith(b"HTTP/1.1 403 Denied by egress policy: address_refused"), head
    assert elsewhere.connections == 0


def test_to_another_server_that_its_name_leads_to_it_never_leaves(start, inspecting, recorder, bad_certificates, names):
    """The address is allowed, as every global one is; who answers there cannot prove the name."""
    elsewhere = recorder(bad_certificates["hostname mismatch"], address="127.0.0.2")
    names.addresses["allowed.test"] = ["127.0.0.2"]
    gate = start(own_rule(inspecting, elsewhere.port))
    target = f"allowed.test:{elsewhere.port}"
    assert inspecting.ask(gate, target, request(target, more=start.sent)).startswith(b"HTTP/1.1 502 Bad Gateway: upstream_untrusted")
    assert elsewhere.connections >= 1 and not elsewhere.heard and not elsewhere.holds(SECRET)


@pytest.mark.parametrize("wrong", ["self-signed certificate", "certificate has expired", "hostname mismatch"])
def test_to_an_upstream_that_does_not_verify_it_never_leaves(start, inspecting, recorder, bad_certificates, wrong):
    bad = recorder(bad_certificates[wrong])
    gate = start(own_rule(inspecting, bad.port))
    target = f"allowed.test:{bad.port}"
    assert inspecting.ask(gate, target, request(target, more=start.sent)).startswith(b"HTTP/1.1 502 Bad Gateway: upstream_untrusted")
    assert bad.connections >= 1 and not bad.heard and not bad.holds(SECRET)
