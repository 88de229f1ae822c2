"""Each client once through the gate and once refused: over TLS to a local server with a CA of its own."""
import base64
import hashlib
import os
import shutil
import ssl
import subprocess
import sys

import pytest
import requests
import websocket

from gate import local, rules
from programs import JAVA
from upstreams import bare_repository, files, git_backend, index_with_a_wheel

NODE = """
const http = require('http'), https = require('https'), tls = require('tls'), fs = require('fs');
const proxy = new URL(process.argv[2]), url = new URL(process.argv[3]), ca = fs.readFileSync(process.argv[4]);
const target = url.hostname + ':' + url.port;
http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target, headers: {host: target}})
  .on('connect', (res, socket) => {
    if (res.statusCode !== 200) { console.error(res.statusCode, res.statusMessage); process.exit(1); }
    https.get(url, {createConnection: () => tls.connect({socket, servername: url.hostname, ca})}, answer => {
      answer.setEncoding('utf8'); answer.on('data', text => process.stdout.write(text)); answer.on('end', () => process.exit(0));
    });
  }).on('error', e => { console.error(e.message); process.exit(1); }).end();
"""


@pytest.fixture
def site(gate, web, hello, certificates):
    server = web(hello, certificates.server())
    server.gate = gate(rules(local("allowed.test", server.port, ", protocol: tls")))
    return server


def run(gate, *command, **more):
    environment = gate.environment() | more.pop("environment", {})
    return subprocess.run([str(one) for one in command], env=environment, capture_output=True, text=True, timeout=100, **more)


def was_refused(site, names, before):
    line = site.gate.logged(event="denied", reason="not_allowed", host="refused.test", port=site.port)
    assert line["via"] == "connect"
    assert site.connections == before
    assert "refused.test" not in [name.lower() for name in names.asked]


def command_of(client, site, certificates, tmp_path):
    ca = certificates.ca
    if client == "curl":
        return lambda url: run(site.gate, "curl", "-sS", "--cacert", ca, url)
    if client == "wget":
        return lambda url: run(site.gate, "wget", "-q", "-O", "-", "--tries=1", f"--ca-certificate={ca}", url)
    if client == "node":
        script = tmp_path / "client.js"
        script.write_text(NODE)
        return lambda url: run(site.gate, "node", script, site.gate.url, url, ca)
    script, store = tmp_path / "Client.java", tmp_path / "store"
    script.write_text(JAVA)
    subprocess.run(["keytool", "-importcert", "-noprompt", "-file", str(ca), "-keystore", str(store), "-storepass", "changeit"],
                   check=True, capture_output=True)
    return lambda url: run(site.gate, "java", f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit", script, url)


@pytest.mark.parametrize("client", ["curl", "wget", "node", "java"])
def test_a_command_reaches_what_is_allowed_and_nothing_else(client, site, names, certificates, tmp_path):
    if not shutil.which(client):
        pytest.skip(f"{client} is not installed")
    fetch = command_of(client, site, certificates, tmp_path)
    got = fetch(f"https://allowed.test:{site.port}/")
    assert f"hello from allowed.test:{site.port}" in got.stdout, got.stderr
    before = site.connections
    got = fetch(f"https://refused.test:{site.port}/")
    assert got.returncode != 0 and "hello" not in got.stdout
    was_refused(site, names, before)


def test_python_requests(site, names, certificates):
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"https": site.gate.url, "http": site.gate.url}
    session.verify = str(certificates.ca)
    assert session.get(f"https://allowed.test:{site.port}/", timeout=20).text.startswith("hello")
    before = site.connections
    with pytest.raises(requests.exceptions.ProxyError):
        session.get(f"https://refused.test:{site.port}/", timeout=20)
    was_refused(site, names, before)


def frames(stream):
    """The server's side of RFC 6455: the handshake, then one masked text frame echoed."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += stream.recv(4096)
    key = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")][0]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    frame = stream.recv(4096)
    mask, data = frame[2:6], frame[6 : 6 + (frame[1] & 127)]
    text = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    stream.sendall(bytes([0x81, len(text)]) + text)


def test_a_websocket_over_tls(gate, upstream, names, certificates):
    server = upstream(frames, certificates.server())
    server.gate = gate(rules(local("allowed.test", server.port)))
    options = {"http_proxy_host": "127.0.0.1", "http_proxy_port": server.gate.port, "proxy_type": "http", "timeout": 20,
               "sslopt": {"ca_certs": str(certificates.ca)}}
    sock = websocket.create_connection(f"wss://allowed.test:{server.port}/", **options)
    sock.send("through the gate")
    assert sock.recv() == "through the gate"
    sock.shutdown()
    before = server.connections
    with pytest.raises(websocket.WebSocketException):
        websocket.create_connection(f"wss://refused.test:{server.port}/", **options)
    was_refused(server, names, before)


def test_a_websocket_over_plain_http(gate, upstream):
    server = upstream(frames)
    one = gate(rules(local("allowed.test", server.port)))
    with one.dial() as sock:
        target = f"allowed.test:{server.port}"
        sock.sendall(f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
        sock.sendall(bytes([0x81, 0x84, 0, 0, 0, 0]) + b"ping")
        assert sock.recv(100) == b"\x81\x04ping"


def test_pip(gate, web, names, certificates, tmp_path):
    wheel = index_with_a_wheel(tmp_path / "site")
    site = web(files(tmp_path / "site"), certificates.server())
    site.gate = gate(rules(local("allowed.test", site.port)))

    def download(host):
        return run(site.gate, sys.executable, "-m", "pip", "--isolated", "download", "--no-deps", "--no-cache-dir", "--retries", "0",
                   "--disable-pip-version-check", "--proxy", site.gate.url, "--cert", certificates.ca, "-d", tmp_path / host,
                   "-v", "-i", f"https://{host}:{site.port}/simple", "thing")

    got = download("allowed.test")
    assert got.returncode == 0, got.stdout + got.stderr
    assert (tmp_path / "allowed.test" / wheel.name).read_bytes() == wheel.read_bytes()
    before = site.connections
    assert download("refused.test").returncode != 0
    was_refused(site, names, before)


def test_git_clones_and_pushes(gate, web, names, certificates, tmp_path):
    bare_repository(tmp_path)
    site = web(git_backend(tmp_path), certificates.server())
    site.gate = gate(rules(local("git.test", site.port)))
    identity = {f"GIT_{who}_{what}": "tester@git.test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    identity |= {"GIT_SSL_CAINFO": str(certificates.ca), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": os.devnull}

    def git(*arguments):
        return run(site.gate, "git", *arguments, environment=identity)

    url = f"https://git.test:{site.port}/repo.git"
    assert git("clone", "-q", url, tmp_path / "one").returncode == 0
    (tmp_path / "one" / "file").write_bytes(os.urandom(300_000))
    for step in (["add", "file"], ["commit", "-q", "-m", "a file"], ["push", "-q", "origin", "HEAD:main"]):
        got = git("-C", tmp_path / "one", *step)
        assert got.returncode == 0, got.stdout + got.stderr
    assert git("clone", "-q", url, tmp_path / "two").returncode == 0
    assert (tmp_path / "two" / "file").read_bytes() == (tmp_path / "one" / "file").read_bytes()
    before = site.connections
    got = git("clone", "-q", f"https://refused.test:{site.port}/repo.git", tmp_path / "three")
    assert got.returncode != 0 and "403" in got.stderr
    was_refused(site, names, before)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_tls_is_end_to_end(version, gate, web, hello, certificates):
    site = web(hello, certificates.server(version))
    one = gate(rules(local("allowed.test", site.port, ", protocol: tls")))
    sock, head = one.connect(f"allowed.test:{site.port}")
    assert head.startswith(b"HTTP/1.1 200 ")
    with certificates.client().wrap_socket(sock, server_hostname="allowed.test") as tls:
        assert tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        assert ssl.DER_cert_to_PEM_cert(tls.getpeercert(True)).strip() in certificates.cert.read_text()
