"""A hundred thousand requests by the clients that people have, through inspected tunnels: each answer is the right one, none
is missing. `make volume`; VOLUME=0.1 is a tenth of it. The upstream is Node's, which echoes a body and says its length."""
import os
import re
import socket
import subprocess
import threading
import time

import httpx
import pytest

from gate import DEADLINE, plain_environment
from inspection import Inspecting

SCALE = float(os.environ.get("VOLUME", "1"))
TOTAL = {}

ECHO = """
const http2 = require('http2'), fs = require('fs');
const [key, cert] = [fs.readFileSync(process.argv[2]), fs.readFileSync(process.argv[3])];
const server = http2.createSecureServer({key, cert, allowHTTP1: true, settings: {maxConcurrentStreams: 1000}}, (request, answer) => {
  const pieces = [];
  request.on('data', piece => pieces.push(piece));
  request.on('end', () => {
    const body = request.method === 'POST' ? Buffer.concat(pieces) : Buffer.from('answer to ' + request.url);
    answer.writeHead(200, {'x-length': body.length, 'content-type': 'text/plain'});
    answer.end(body);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


def many(count):
    return max(10, int(count * SCALE))


def run(*command, **more):
    said = subprocess.run([str(one) for one in command], env=plain_environment() | more, capture_output=True, text=True, timeout=1000)
    assert said.returncode == 0, said
    return said.stdout


class Way:
    """A port behind which a CONNECT through the gate has been made already, for clients that know of no proxy."""

    def __init__(self, gate, target):
        self.gate, self.target = gate, target
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            tunnel, head = self.gate.connect(self.target)
            assert head.startswith(b"HTTP/1.1 200")
            tunnel.settimeout(None)
            for one in (client, tunnel):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for one, other in ((client, tunnel), (tunnel, client)):
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    @staticmethod
    def carry(source, sink):
        try:
            while data := source.recv(1 << 18):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def site(gate, tmp_path, certificates):
    (tmp_path / "echo.js").write_text(ECHO)
    server = subprocess.Popen(["node", tmp_path / "echo.js", certificates.key, certificates.cert], stdout=subprocess.PIPE)
    port = int(server.stdout.readline())
    inspecting = Inspecting(gate, tmp_path, certificates)
    rule = inspecting.rule("allowed.test", port, ', methods: [GET, POST], paths: ["/**"]')
    inspecting.site = inspecting.gate(rule)
    inspecting.target, inspecting.url = f"allowed.test:{port}", f"https://allowed.test:{port}"
    inspecting.way = Way(inspecting.site, inspecting.target)
    began = time.monotonic()
    yield inspecting
    seconds = time.monotonic() - began
    server.kill()
    server.wait()
    inspecting.way.socket.close()
    others = [line for line in inspecting.site.lines() if line["event"] not in ("policy", "closed")]
    assert not others, str(others[0])
    print(f"{sum(TOTAL.values())} requests so far, {seconds:.1f} s here")


def done(who, count):
    TOTAL[who] = count


@pytest.mark.parametrize("protocol", ["h2", "h1"])
def test_h2load(site, protocol, tmp_path):
    count = many(30_000 if protocol == "h2" else 20_000)
    for method, data in (("GET", b"answer to /get"), ("POST", os.urandom(3000))):
        (tmp_path / "body").write_bytes(data)
        said = run("h2load", *(["--h1"] if protocol == "h1" else ["-m", "10"]), "-c", "8", "-n", count // 2,
                   f"--connect-to=127.0.0.1:{site.way.port}", *(["-d", tmp_path / "body"] if method == "POST" else []), f"{site.url}/get")
        found = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed", said)
        assert [int(one) for one in found.groups()] == [count // 2, count // 2, 0], said
        assert re.search(rf"status codes: {count // 2} 2xx, 0 3xx, 0 4xx, 0 5xx", said), said
        assert re.search(rf"\((\d+)\) data", said).group(1) == str(count // 2 * len(data)), said
    done(f"h2load {protocol}", count)


def test_nghttp(site):
    count = many(2_000)
    said = run("nghttp", "-n", "-s", "-m", count, "-H", f":authority: {site.target}", f"https://127.0.0.1:{site.way.port}/get")
    assert len(re.findall(r" 200 +14 /get$", said, re.M)) == count, said[-2000:]
    done("nghttp", count)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(site, tmp_path, version):
    count = many(5_000)
    folder = tmp_path / "answers"
    folder.mkdir()
    said = run("curl", "-sS", version, "--parallel", "--parallel-max", "20", "--cacert", site.ca, "-x", site.site.url, "-o", f"{folder}/#1",
               "-w", "%{http_code} %{http_version}\\n", f"{site.url}/[1-{count}]")
    assert said.count(f"200 {version.removeprefix('--http')}\n") == count
    assert all((folder / str(n)).read_text() == f"answer to /{n}" for n in range(1, count + 1))
    done(f"curl {version}", count)


NODE = """
const http = require('http'), http2 = require('http2'), tls = require('tls'), fs = require('fs');
const [proxy, target, ca, count] = [new URL(process.argv[2]), process.argv[3], fs.readFileSync(process.argv[4]), Number(process.argv[5])];
http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target, headers: {host: target}})
  .on('connect', (res, socket) => {
    const session = http2.connect('https://' + target, {createConnection: () =>
      tls.connect({socket, servername: target.split(':')[0], ca, ALPNProtocols: ['h2']})});
    let [next, left] = [0, count];
    const ask = () => {
      if (next === count) return;
      const n = next++, body = String(n).repeat(n % 300), stream = session.request({':path': '/' + n, ':method': 'POST'});
      let got = '';
      stream.setEncoding('utf8');
      stream.on('response', head => { if (head[':status'] !== 200 || Number(head['x-length']) !== body.length) process.exit(2); });
      stream.on('data', text => got += text);
      stream.on('end', () => { if (got !== body) process.exit(1); if (--left === 0) { console.log(count); session.close(); } ask(); });
      stream.end(body);
    };
    for (let n = 0; n < 50; n++) ask();
  }).end();
"""


def test_node(site, tmp_path):
    count = many(20_000)
    (tmp_path / "client.js").write_text(NODE)
    assert int(run("node", tmp_path / "client.js", site.site.url, site.target, site.ca, count)) == count
    done("Node", count)


JAVA = """
import java.net.*; import java.net.http.*; import java.util.*; import java.util.concurrent.*; import java.util.concurrent.atomic.*;
public class Volume {
  public static void main(String[] a) throws Exception {
    URI proxy = URI.create(a[0]);
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_2)
      .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort()))).build();
    int count = Integer.parseInt(a[2]);
    Semaphore room = new Semaphore(40);
    AtomicInteger right = new AtomicInteger();
    List<CompletableFuture<Void>> all = new ArrayList<>();
    for (int n = 0; n < count; n++) {
      String body = ("" + n).repeat(n % 300);
      room.acquire();
      all.add(client.sendAsync(HttpRequest.newBuilder(URI.create(a[1] + "/" + n)).POST(HttpRequest.BodyPublishers.ofString(body)).build(),
        HttpResponse.BodyHandlers.ofString()).thenAccept(one -> {
          if (one.statusCode() == 200 && one.version() == HttpClient.Version.HTTP_2 && one.body().equals(body)) right.incrementAndGet(); })
        .whenComplete((one, failed) -> room.release()));
    }
    for (var one : all) one.get();
    System.out.println(right.get());
  }
}
"""


def test_java(site, tmp_path):
    count = many(15_000)
    store = tmp_path / "store"
    run("keytool", "-importcert", "-noprompt", "-file", site.ca, "-keystore", store, "-storepass", "changeit")
    (tmp_path / "Volume.java").write_text(JAVA)
    said = run("java", f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit", tmp_path / "Volume.java",
               site.site.url, site.url, count)
    assert int(said) == count
    done("Java", count)


@pytest.mark.parametrize("http2", [False, True])
def test_httpx(site, http2):
    count = many(4_000)
    wrong = []

    def ask(numbers):
        with httpx.Client(http2=http2, http1=not http2, proxy=site.site.url, verify=site.trust(), timeout=DEADLINE, trust_env=False) as client:
            for n in numbers:
                body = str(n).encode() * (n % 300)
                answer = client.post(f"{site.url}/{n}", content=body)
                if (answer.status_code, answer.content, answer.http_version) != (200, body, "HTTP/2" if http2 else "HTTP/1.1"):
                    wrong.append((n, answer))

    threads = [threading.Thread(target=ask, args=(range(first, count, 4),)) for first in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong
    done(f"httpx {2 if http2 else 1}", count)


def test_it_was_a_hundred_thousand():
    """Last: what the clients above asked, together."""
    print(TOTAL)
    assert sum(TOTAL.values()) >= 100_000 * SCALE

