"""SOCKS 5 on the CONNECT port, and PROXY headers in front of it: real clients, and what must be refused."""
import re
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from dnswire import UDP
from gate import DEADLINE, answer, echo, local, occurrences, read, rules, until

PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def greet(gate, source=None):
    sock = gate.dial(source)
    sock.sendall(b"\x05\x01\x00")
    assert read(sock, 2) == b"\x05\x00"
    return sock


def request(host, port, command=1):
    return bytes([5, command, 0, 3, len(host)]) + host + struct.pack("!H", port)


def curl(gate, url, *more):
    return subprocess.run(["curl", "-sS", "--max-time", "20", *map(str, more), url], capture_output=True, text=True,
                          timeout=60, env=gate.environment() | {"ALL_PROXY": "", "HTTPS_PROXY": "", "https_proxy": ""})


def test_curl_reaches_an_allowed_name_and_no_other(gate, web, hello, certificates, names):
    server = web(hello, certificates.server())
    one = gate(rules(local("allowed.test", server.port)))
    proxy = ["--socks5-hostname", f"127.0.0.1:{one.port}", "--cacert", certificates.ca]
    assert curl(one, f"https://allowed.test:{server.port}/", *proxy).stdout.startswith("hello from allowed.test")
    before = server.connections
    refused = curl(one, f"https://refused.test:{server.port}/", *proxy)
    # curl names the reply code: 2 is "not allowed by the ruleset".
    assert refused.returncode == 97 and "(2)" in refused.stderr, refused.stderr
    one.logged(event="denied", reason="not_allowed", host="refused.test", via="connect")
    assert server.connections == before and "refused.test" not in names.asked


def test_an_address_that_the_client_resolved_is_not_dialled(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)))
    with greet(one) as sock:
        sock.sendall(bytes([5, 1, 0, 1, 127, 0, 0, 1]) + struct.pack("!H", server.port))
        assert read(sock, 10)[1] == 2
    one.logged(event="denied", reason="not_allowed", host="127.0.0.1")
    assert server.connections == 0


@pytest.mark.parametrize("sent, code, reason", [
    (request(b"allowed.test\x00.evil.test", 443), 2, "bad_request"), (request(b"127.1", 443), 2, "bad_request"),
    (request("straße.test".encode(), 443), 2, "bad_request"), (request(b"", 443), 2, "bad_request"),
    (request(b"allowed.test", 443, command=2), 7, "bad_request"), (request(b"allowed.test", 443, command=3), 7, "bad_request"),
    (b"\x05\x01\x00\x05abcd", 8, "bad_request")])
def test_what_is_not_a_connect_to_a_name_is_refused(gate, names, sent, code, reason):
    one = gate(rules(local("allowed.test", 443)))
    with greet(one) as sock:
        sock.sendall(sent)
        assert read(sock, 10) == bytes([5, code, 0, 1]) + bytes(6)
        assert sock.recv(1) == b""
    one.logged(event="denied", reason=reason)
    assert names.asked == []


def test_a_request_in_single_bytes_is_read_and_early_bytes_are_kept(gate, upstream):
    server = upstream(echo)
    one = gate(rules(local("allowed.test", server.port)))
    with one.dial() as sock:
        for byte in b"\x05\x02\x00\x02" + request(b"allowed.test", server.port) + b"early":
            sock.sendall(bytes([byte]))
        assert read(sock, 12) == b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)
        assert read(sock, 5) == b"early"
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    assert one.logged(event="closed", host="allowed.test")["bytes_up"] == 5


def test_a_user_has_a_password(gate, web, hello, tmp_path):
    server = web(hello)
    hashed = subprocess.run(["openssl", "passwd", "-6", "secret"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "passwords").write_text(f"agent:{hashed}\n")
    one = gate("network_policy: {default: deny}", more=(
        f"clients: [{{name: agent, proxy_user: agent, password_file: {tmp_path}/passwords, "
        f"network_policy: {{allow: [{local('allowed.test', server.port)}]}}}}]\n"))
    url = f"http://allowed.test:{server.port}/"
    assert curl(one, url, "--proxy", f"socks5h://agent:secret@127.0.0.1:{one.port}").stdout.startswith("hello")
    assert one.logged(event="closed", client="agent")["via"] == "connect"
    for user in ("agent:wrong@", "nobody:secret@", ""):
        got = curl(one, url, "--proxy", f"socks5h://{user}127.0.0.1:{one.port}")
        assert got.returncode == 97, got
    until("three refusals", lambda: occurrences([line for line in one.lines() if line["event"] == "denied"]) == 3)
    assert server.connections == 1


def test_ssh_goes_through_nc(gate, tmp_path):
    def key(name):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
        return (tmp_path / f"{name}.pub").read_text()

    host_key = key("host")
    (tmp_path / "authorized").write_text(key("user"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "sshd").write_text(f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
                                   f"StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile {tmp_path}/pid\n")
    (tmp_path / "known").write_text(f"[allowed.test]:{port} {host_key}[refused.test]:{port} {host_key}")
    # The folder that sshd uses before authentication.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", tmp_path / "sshd"], stderr=open(tmp_path / "said", "wb"))
    try:
        until("sshd listens", lambda: "listening" in (tmp_path / "said").read_text())
        one = gate(rules(local("allowed.test", port)))

        def ssh(host):
            return subprocess.run(
                ["ssh", "-F", "none", "-i", tmp_path / "user", "-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "BatchMode=yes",
                 "-o", f"ProxyCommand=nc -X 5 -x 127.0.0.1:{one.port} %h %p", "-p", str(port), f"root@{host}", "echo", "from inside"],
                capture_output=True, text=True, timeout=60)

        got = ssh("allowed.test")
        assert got.stdout == "from inside\n", got.stderr
        assert ssh("refused.test").returncode == 255
        one.logged(event="denied", reason="not_allowed", host="refused.test", port=port)
    finally:
        server.terminate()
        server.wait(DEADLINE)


# PROXY protocol

def header(source, command=0x21, to="10.9.9.9", port=443):
    return PROXY_V2 + bytes([command, 0x11]) + struct.pack("!H", 12) + socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!HH", 4096, port)


def near(port, listen="[127.0.0.1]"):
    return (f"listen: {{connect: 127.0.0.1:1, proxy_protocol: {listen}}}\n"
            f"clients: [{{name: near, source: [10.1.0.0/16], network_policy: {{allow: [{local('allowed.test', port)}]}}}}]\n")


def test_haproxy_says_whose_connection_it_is(gate, upstream, tmp_path):
    server = upstream(echo)
    # The balancer's own clients come from 127.0.0.1: that is what its header says.
    more = near(server.port).replace("10.1.0.0/16", "127.0.0.0/8")
    one = gate("network_policy: {default: deny}", more=more)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "haproxy").write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
        f"listen in\n bind 127.0.0.1:{port}\n server gate 127.0.0.1:{one.port} send-proxy-v2\n")
    balancer = subprocess.Popen(["haproxy", "-db", "-f", tmp_path / "haproxy"], stderr=subprocess.DEVNULL)
    try:
        def dial():
            try:
                return socket.create_connection(("127.0.0.1", port), 1)
            except ConnectionRefusedError:
                return None
        with until("haproxy listens", dial) as sock:
            sock.settimeout(DEADLINE)
            target = f"allowed.test:{server.port}"
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            assert answer(sock).startswith(b"HTTP/1.1 200 ")
        one.logged(event="closed", client="near")
    finally:
        balancer.terminate()
        balancer.wait(DEADLINE)


def test_the_header_names_the_client_whose_rules_count(gate, upstream):
    server = upstream(echo)
    one = gate("network_policy: {default: deny}", more=near(server.port))
    target = f"allowed.test:{server.port}"
    ask = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
    assert one.ask(header("10.1.2.3") + ask).startswith(b"HTTP/1.1 200 ")
    assert one.ask(header("10.2.2.3") + ask).startswith(b"HTTP/1.1 403 ")
    assert one.logged(event="denied", reason="not_allowed")["client"] == "default"
    # LOCAL: the balancer speaks for itself.
    assert one.ask(header("10.1.2.3", command=0x20) + ask).startswith(b"HTTP/1.1 403 ")
    # SOCKS stands behind a header as well.
    with one.dial() as sock:
        sock.sendall(header("10.1.2.3") + b"\x05\x01\x00")
        assert read(sock, 2) == b"\x05\x00"


@pytest.mark.parametrize("sent", [b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", b"PROXY TCP4 10.1.0.1 10.2.0.1 1 2\r\n",
                                  header("10.1.2.3", command=0x2f), b"\x16\x03\x01\x00\x05" + bytes(20)])
def test_a_listed_peer_must_send_a_right_header(gate, sent):
    one = gate("network_policy: {default: deny}", more=near(1))
    assert one.ask(sent).startswith(b"HTTP/1.1 400 ")
    one.logged(event="denied", reason="bad_request")


def test_who_is_not_listed_cannot_say_who_it_is(gate, upstream):
    server = upstream(echo)
    one = gate("network_policy: {default: deny}", more=near(server.port, listen="[10.0.0.0/8]"))
    target = f"allowed.test:{server.port}"
    got = one.ask(header("10.1.2.3") + f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    assert got.startswith(b"HTTP/1.1 400 ")
    assert server.connections == 0


def test_a_made_up_destination_in_a_header_is_known_by_its_name(gate, upstream):
    def greeter(stream):
        stream.sendall(b"220 here\r\n")
        stream.recv(1)

    server = upstream(greeter)
    one = gate(rules(local("allowed.test", server.port)), more="listen: {transparent: 127.0.0.1:1, proxy_protocol: [127.0.0.1]}",
               flags=("--listen-transparent", "127.0.0.1:0", "--listen-dns", "127.0.0.1:0"))
    transparent = int(re.search(r":(\d+) \(transparent\)", one.errors.read_text()).group(1))
    (address,) = UDP(one.dns_port).ask("allowed.test").addresses
    with socket.create_connection(("127.0.0.1", transparent), DEADLINE) as sock:
        # Of a server that speaks first nothing but the address tells the name.
        sock.sendall(header("10.1.2.3", to=address, port=server.port))
        assert read(sock, 10) == b"220 here\r\n"
    line = one.logged(event="closed")
    assert (line["via"], line["host"], line["port"]) == ("address", "allowed.test", server.port)
