"""Shared by tests of inspected targets: a gate with its own CA, and inspected rules."""
import ssl
import subprocess
import threading

from gate import DEADLINE, local, rules


def inspected(host, port, certificates, more=""):
    """A rule for a local upstream whose requests are judged."""
    return local(host, port, f', tls: {{roots: "{certificates.ca}"}}, inspect: true{more}')


class Inspecting:
    """Starts gates with one CA, and knows what its clients have to trust."""

    def __init__(self, start, folder, certificates):
        self.start_gate, self.folder, self.certificates = start, folder / "authority", certificates
        self.ca = self.folder / "ca.pem"

    def gate(self, *texts, more="", limits="", **options):
        return self.start_gate(rules(*texts, more=limits), more=f'tls: {{ca: "{self.folder}"}}\n{more}', **options)

    def rule(self, host, port, more=""):
        return inspected(host, port, self.certificates, more)

    def trust(self):
        return ssl.create_default_context(cafile=str(self.ca))

    def tunnel(self, gate, target, protocols=("http/1.1",), context=None):
        """A TLS connection inside a CONNECT, as a client has it."""
        sock, head = gate.connect(target)
        assert head.startswith(b"HTTP/1.1 200"), head
        context = context or self.trust()
        if protocols:
            context.set_alpn_protocols(list(protocols))
        # An end without a close_notify is an error, and no end.
        return context.wrap_socket(sock, server_hostname=target.rpartition(":")[0], suppress_ragged_eofs=False)

    def ask(self, gate, target, request):
        """What comes back to raw bytes inside the TLS, until it ends."""
        with self.tunnel(gate, target) as tls:
            tls.sendall(request)
            return everything(tls)


def everything(tls):
    data = b""
    while True:
        try:
            more = tls.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            return data
        if not more:
            return data
        data += more


def request(target, method="GET", path="/", more="", body=b"", close=True):
    host = target.removesuffix(":443")
    end = "Connection: close\r\n" if close else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}{end}\r\n".encode() + body
