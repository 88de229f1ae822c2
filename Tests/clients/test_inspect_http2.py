"""Inspected targets in HTTP/2: streams are judged one by one, bodies and trailers pass as they are, and no peer may flood."""
import json
import os
import random
import subprocess
import threading

import grpc
import httpx
import pytest
from hyperframe.frame import (ContinuationFrame, DataFrame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame,
                              SettingsFrame, WindowUpdateFrame)

import rpc
from gate import DEADLINE, plain_environment, until
from http2 import Raw, Server
from inspection import Inspecting
from test_websocket_frames import frame as ws_frame

RULE = ', methods: [GET, POST], paths: ["/public/**", "/"]'


@pytest.fixture
def inspecting(gate, tmp_path, certificates):
    return Inspecting(gate, tmp_path, certificates)


@pytest.fixture
def serving(inspecting, certificates):
    """Starts an HTTP/2 upstream and a gate in front of it."""
    started = []

    def start(rule="", answer=None, limits="", more="", **options):
        server = Server(certificates.server(), answer, **options)
        started.append(server)
        server.gate = inspecting.gate(inspecting.rule("allowed.test", server.port, rule), limits=limits, more=more)
        server.target = f"allowed.test:{server.port}"
        server.url = f"https://{server.target}"
        return server

    yield start
    for one in started:
        one.close()


@pytest.fixture
def raw(inspecting):
    def start(site, settings={}):
        tls = inspecting.tunnel(site.gate, site.target, ("h2", "http/1.1"))
        assert tls.selected_alpn_protocol() == "h2"
        return Raw(tls, site.target, settings)
    return start


def client(site, inspecting, **more):
    return httpx.Client(http2=True, proxy=site.gate.url, verify=inspecting.trust(), timeout=DEADLINE, trust_env=False, **more)


def test_both_sides_speak_what_the_upstream_chose(serving, inspecting, web, hello, certificates):
    site = serving()
    with client(site, inspecting) as http:
        assert http.get(site.url).http_version == "HTTP/2"
    old = web(hello, certificates.server())
    gate = inspecting.gate(inspecting.rule("allowed.test", old.port))
    with httpx.Client(http2=True, proxy=gate.url, verify=inspecting.trust(), timeout=DEADLINE, trust_env=False) as http:
        assert http.get(f"https://allowed.test:{old.port}/").http_version == "HTTP/1.1"


def test_bodies_and_trailers_pass_byte_for_byte(serving, raw):
    site = serving()
    http = raw(site)
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print("seed", seed)
    choose = random.Random(seed)
    for stream in range(1, 41, 2):
        body = choose.randbytes(choose.choice([0, 1, 100, 16384, 16385, 60000]))
        pieces, at = [], 0
        while at < len(body):
            size = min(len(body) - at, choose.choice([1, 7, 1000, 16384]))
            if len(pieces) > 200:
                size = min(len(body) - at, 16384)
            pieces.append(DataFrame(stream, data=body[at:at + size]).serialize())
            at += size
        head = http.head(stream, [], ends=False, method=b"POST")
        trailer = HeadersFrame(stream, data=http.encoder.encode([(b"x-end", b"yes")]), flags=["END_HEADERS", "END_STREAM"])
        http.send(head, *pieces, trailer.serialize())
        got, trailers = b"", None
        while trailers is None:
            frame = http.read()
            assert frame is not None, (stream, len(body), len(got))
            if frame.stream_id == stream and isinstance(frame, DataFrame):
                got += frame.data
                if frame.flow_controlled_length:
                    http.send(WindowUpdateFrame(0, window_increment=frame.flow_controlled_length).serialize())
            elif frame.stream_id == stream and isinstance(frame, HeadersFrame) and "END_STREAM" in frame.flags:
                trailers = frame.fields
        assert got == body and trailers[b"x-trailer"] == str(len(body)).encode()
        assert site.seen[-1][b"trailer:x-end"] == b"yes"


def test_each_stream_is_judged_on_its_own(serving, raw):
    site = serving(RULE)
    http = raw(site)
    http.send(http.head(1, [], path=b"/public/a"), http.head(3, [], path=b"/private"), http.head(5, [], method=b"DELETE"),
              http.head(7, [], authority="refused.test"), http.head(9, [], path=b"/public/../private"),
              http.head(11, [], path=b"/private/../public/b"))
    answers = {}
    while len(answers) < 6:
        frame = http.read()
        if isinstance(frame, HeadersFrame) and b":status" in frame.fields:
            answers[frame.stream_id] = (int(frame.fields[b":status"]), frame.fields.get(b"x-sluice-reason"))
    assert answers == {1: (200, None), 3: (403, b"path_refused"), 5: (403, b"method_refused"), 7: (403, b"authority_mismatch"),
                       9: (403, b"path_refused"), 11: (200, None)}
    assert sorted(head[b":path"] for head in site.seen) == [b"/public/a", b"/public/b"]
    # The second path that is refused within the second shares the line of the first.
    until("a line for each", lambda: {line["id"].rpartition("-")[2] for line in site.gate.lines() if line["event"] == "denied"} == {"2", "3", "4"})


def test_a_refusal_says_why_in_a_body(serving, raw):
    site = serving(RULE)
    http = raw(site)
    http.send(http.head(1, [], path=b"/private"))
    status, fields, body = http.answer(1)
    assert status == 403 and json.loads(body)["reason"] == "path_refused"
    assert fields[b"proxy-status"].startswith(b"sluice; error=http_request_denied")


def test_streams_are_counted_and_not_tunnels(serving, inspecting):
    site = serving(limits="  rate_limits: [{host: allowed.test, requests_per_minute: 1, burst: 3}]\n")
    with client(site, inspecting) as http:
        answers = [http.get(site.url) for _ in range(5)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    site.gate.logged(event="limited", reason="rate_limited")


def test_a_client_that_gives_a_stream_up_stops_the_upstream(serving, raw):
    site = serving(answer=lambda server, served, stream, fields, body: served.say(stream, [(b":status", b"200")], b"x" * 5_000_000))
    http = raw(site)
    http.send(http.head(1, []))
    http.until(DataFrame, 1)
    http.send(RstStreamFrame(1, error_code=8).serialize())
    assert until("the upstream hears it", lambda: site.resets) == [8]


def test_an_upstream_that_resets_a_stream_is_heard(serving, raw):
    def answer(server, served, stream, fields, body):
        served.h2.reset_stream(stream, 7)
    http = raw(serving(answer=answer))
    http.send(http.head(1, []))
    assert http.until(RstStreamFrame, 1).error_code == 7


def test_an_upstream_that_leaves_ends_the_tunnel_behind_its_last_answer(serving, raw):
    def answer(server, served, stream, fields, body):
        served.say(stream, [(b":status", b"200")], b"last")
        served.h2.close_connection()
    site = serving(answer=answer)
    http = raw(site)
    http.send(http.head(1, []))
    assert http.answer(1)[2] == b"last"
    http.until(GoAwayFrame)
    assert http.read() is None
    site.gate.logged(event="closed", inspected=True)


def test_an_upstream_that_breaks_off_is_answered_for_with_a_502(serving, raw):
    def answer(server, served, stream, fields, body):
        served.tls.close()
    site = serving(answer=answer)
    http = raw(site)
    http.send(http.head(1, []))
    assert http.answer(1)[0] == 502
    site.gate.logged(event="failed", reason="connect_failed")


@pytest.mark.figures
def test_a_reader_that_stands_still_stops_the_upstream_and_not_the_others(serving, raw):
    """The memory of a stream is its window: what the client does not take, the upstream does not send."""
    sent = []

    def answer(server, served, stream, fields, body):
        served.say(stream, [(b":status", b"200")], b"x" * (50_000_000 if fields[b":path"] == b"/slow" else 10_000))
        sent.append((served, stream))

    site = serving(answer=answer)
    http = raw(site)
    http.send(WindowUpdateFrame(0, window_increment=1 << 20).serialize(), http.head(1, [], path=b"/slow"))
    until("the upstream sends", lambda: sent)
    before = site.gate.resident_kib()
    http.send(http.head(3, [], path=b"/quick"))
    assert http.answer(3)[0] == 200
    served, stream = sent[0]
    until("the upstream waits", lambda: served.h2.local_flow_control_window(stream) == 0)
    assert len(served.waiting[stream][0]) > 49_000_000
    assert site.gate.resident_kib() - before < 4_000


def websocket(http, stream, path, ends=False):
    return HeadersFrame(stream, flags=["END_HEADERS"], data=http.encoder.encode(
        [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":path", path),
         (b":authority", http.authority.encode()), (b"sec-websocket-version", b"13")])).serialize()


def test_a_websocket_passes_where_the_upstream_takes_it(serving, raw):
    """RFC 8441: offered when the upstream has offered it, and judged as the GET that it would be in HTTP/1.1."""
    site = serving(RULE, takes_websockets=True)
    http = raw(site)
    # Of two SETTINGS: the gate's own, and what it heard of the upstream.
    while http.until(SettingsFrame).settings.get(8) != 1:
        pass
    http.send(websocket(http, 1, b"/public/chat"), DataFrame(1, data=b"frame").serialize())
    assert http.until(HeadersFrame, 1).fields[b":status"] == b"200"
    assert http.until(DataFrame, 1).data == b"frame"
    assert site.seen[0][b":path"] == b"/public/chat" and site.seen[0][b":protocol"] == b"websocket"
    http.send(websocket(http, 3, b"/private/chat"))
    assert http.answer(3)[0] == 403
    http.send(DataFrame(1, data=b"last", flags=["END_STREAM"]).serialize())
    assert http.answer(1)[2] == b"last"
    site.gate.logged(event="denied", reason="path_refused")
    assert len(site.seen) == 1


def test_a_websocket_that_the_upstream_did_not_offer_goes_nowhere(serving, raw):
    site = serving()
    http = raw(site)
    http.send(http.head(1, []))
    assert http.answer(1)[0] == 200
    http.send(websocket(http, 3, b"/"))
    assert http.answer(3)[0] in (None, 431)
    assert len(site.seen) == 1


def test_checks_of_content_see_websockets_and_trailers(serving, raw):
    token = b"ghp_0123456789abcdefghijABCDEFGHIJ012345"
    site = serving(", content: {secrets: block}", takes_websockets=True)
    http = raw(site)
    while http.until(SettingsFrame).settings.get(8) != 1:
        pass
    http.send(websocket(http, 1, b"/chat"))
    assert http.until(HeadersFrame, 1).fields[b":status"] == b"200"
    said = ws_frame(b"fine", mask=b"abcd")
    http.send(DataFrame(1, data=said[:4]).serialize(), DataFrame(1, data=said[4:]).serialize())
    assert http.until(DataFrame, 1).data == said
    http.send(DataFrame(1, data=ws_frame(b"a key: " + token, mask=b"wxyz")).serialize())
    assert http.answer(1)[0] is None
    site.gate.logged(event="flagged", finding="secret", what="github-token", place="request message")

    def trailers(stream, value):
        return HeadersFrame(stream, flags=["END_HEADERS", "END_STREAM"], data=http.encoder.encode([(b"x-note", value)])).serialize()

    for stream, value, status in ((3, b"fine", 200), (5, token, 403)):
        http.send(http.head(stream, [], ends=False, method=b"POST"), DataFrame(stream, data=b"x").serialize(), trailers(stream, value))
        assert http.answer(stream)[0] == status
    site.gate.logged(event="flagged", finding="secret", what="github-token", place="request trailers")
    assert len(site.seen) == 2


# Attacks

def test_a_client_that_takes_nothing_is_idle_whatever_it_says(serving, raw):
    """It has windows without end, and asks again and again whether the gate is there."""
    def answer(server, served, stream, fields, body):
        served.say(stream, [(b":status", b"200")], bytes(32 << 20))

    site = serving(answer=answer, more="timeouts: {idle: 1, drain: 1}")
    http = raw(site, settings={4: (1 << 31) - 1})
    http.send(WindowUpdateFrame(0, window_increment=1 << 30).serialize(), http.head(1, []))

    def ping():
        try:
            http.send(PingFrame(0, opaque_data=b"are you?").serialize())
        except OSError:
            pass
        return [line for line in site.gate.lines() if line["event"] == "closed"]

    [line] = until("it is cut", ping)
    assert line["reason"] == "timeout"


def test_a_value_with_a_line_break_goes_nowhere(serving, raw):
    site = serving()
    for value in (b"a\r\nX: y", b"a\nb", b"a\x00b"):
        http = raw(site)
        http.send(http.head(1, [(b"x-a", value)]))
        assert http.answer(1)[0] in (None, 400)
    assert not site.seen


@pytest.mark.parametrize("fields", [
    [(b"transfer-encoding", b"chunked")], [(b"connection", b"close")], [(b"content-length", b"5"), (b"content-length", b"6")],
    [(b"Upper", b"x")], [(b":path", b"/other")], [(b"host", b"refused.test")], [(b"te", b"gzip")],
    [(b"host", b"allowed.test"), (b"host", b"refused.test")], [(b"content-length", b"5")],
])
def test_a_head_that_can_be_read_in_two_ways_goes_nowhere(serving, raw, fields):
    site = serving()
    http = raw(site)
    http.send(http.head(1, fields))
    assert http.answer(1)[0] in (None, 400, 403)
    assert not site.seen


def test_a_body_that_is_longer_than_it_said_goes_nowhere(serving, raw):
    site = serving()
    http = raw(site)
    smuggled = b"GET /private HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
    http.send(http.head(1, [(b"content-length", b"0")], ends=False, method=b"POST"),
              DataFrame(1, data=smuggled, flags=["END_STREAM"]).serialize())
    assert http.answer(1)[0] is None
    assert not site.seen


def test_a_head_above_the_limit_is_refused(serving, raw):
    site = serving()
    http = raw(site)
    encoded = http.encoder.encode([(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"),
                                   (b":authority", site.target.encode())] + [(f"x-{n}".encode(), b"v" * 1000) for n in range(80)])
    pieces = [encoded[at:at + 16000] for at in range(0, len(encoded), 16000)]
    http.send(HeadersFrame(1, data=pieces[0], flags=["END_STREAM"]).serialize(),
              *[ContinuationFrame(1, data=piece).serialize() for piece in pieces[1:-1]],
              ContinuationFrame(1, data=pieces[-1], flags=["END_HEADERS"]).serialize())
    assert http.answer(1)[0] in (None, 431)
    assert not site.seen


def test_a_compressed_bomb_is_refused(serving, raw):
    """One long field in the table, named a thousand times by a byte each."""
    site = serving()
    http = raw(site)
    http.send(http.head(1, [(b"x-bomb", b"b" * 3900)]))
    assert http.answer(1)[0] == 200
    block = http.encoder.encode([(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"),
                                 (b":authority", site.target.encode())] + [(b"x-bomb", b"b" * 3900)] * 5000)
    assert len(block) < 16000
    before = site.gate.resident_kib()
    http.send(HeadersFrame(3, data=block, flags=["END_HEADERS", "END_STREAM"]).serialize())
    assert http.answer(3)[0] in (None, 431)
    assert len(site.seen) == 1
    assert site.gate.resident_kib() - before < 8_000


def ends_calm(http, site):
    """The gate says that it has enough, and goes."""
    while (frame := http.read()) is not None:
        if isinstance(frame, GoAwayFrame) and frame.error_code:
            break
    site.gate.logged(event="denied", reason="bad_request")
    site.gate.logged(event="closed", inspected=True)


def flood(http, *pieces):
    """Sends until it is cut off."""
    try:
        for _ in range(100):
            http.send(*pieces)
    except OSError:
        pass


@pytest.mark.parametrize("kind", ["ping", "settings", "priority", "empty data"])
def test_a_flood_of_frames_that_carry_nothing_ends_the_session(serving, raw, kind):
    site = serving()
    http = raw(site)
    http.send(http.head(1, [], ends=False, method=b"POST"))
    frame = {"ping": PingFrame(0, opaque_data=b"12345678"), "settings": SettingsFrame(0, settings={4: 65535}),
             "priority": PriorityFrame(3, depends_on=1, stream_weight=1), "empty data": DataFrame(1)}[kind].serialize()
    flood(http, frame * 50)
    ends_calm(http, site)


def test_a_rapid_reset_ends_the_session(serving, raw):
    site = serving()
    http = raw(site)
    pieces = [http.head(stream, []) + RstStreamFrame(stream, error_code=8).serialize() for stream in range(1, 2001, 2)]
    try:
        http.send(*pieces)
    except OSError:
        pass
    ends_calm(http, site)
    assert len(site.seen) < 1000


@pytest.mark.parametrize("when", ["at the head", "behind the end"])
def test_resets_of_streams_that_were_answered_are_no_flood(serving, raw, when):
    """curl resets a stream when it has all that it wants of it."""
    site = serving()
    http = raw(site)
    for stream in range(1, 1001, 2):
        http.send(http.head(stream, []))
        if when == "at the head":
            http.until(HeadersFrame, stream)
        else:
            assert http.answer(stream)[0] == 200
        http.send(RstStreamFrame(stream, error_code=8).serialize())
    http.send(http.head(1001, []))
    assert http.answer(1001)[0] == 200
    assert not [line for line in site.gate.lines() if line["event"] == "denied"]


def test_a_continuation_flood_ends_the_session(serving, raw):
    site = serving()
    http = raw(site)
    block = http.encoder.encode([(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/")])
    http.send(HeadersFrame(1, data=block, flags=["END_STREAM"]).serialize())
    flood(http, ContinuationFrame(1, data=b"").serialize() * 20)
    while http.read() is not None:
        pass
    site.gate.logged(event="denied", reason="bad_request")
    assert not site.seen


def test_more_streams_than_were_granted_are_refused(serving, raw):
    held = threading.Event()
    site = serving(answer=lambda *_: None)
    http = raw(site)
    http.send(*[http.head(stream, []) for stream in range(1, 401, 2)])
    assert http.until(RstStreamFrame).error_code == 7
    assert until("the others arrive", lambda: len(site.seen) == 100)


# Real clients

def run(*command, **more):
    return subprocess.run([str(one) for one in command], env=plain_environment() | more, capture_output=True, text=True, timeout=100)


def test_curl(serving, inspecting):
    site = serving()
    said = run("curl", "-sS", "--http2", "--cacert", inspecting.ca, "-x", site.gate.url, "-d", "a=b", "-w", "%{http_version}", site.url)
    assert said.stdout == "a=b2", said


NODE = """
const http = require('http'), http2 = require('http2'), tls = require('tls'), fs = require('fs');
const [proxy, target, ca] = [new URL(process.argv[2]), process.argv[3], fs.readFileSync(process.argv[4])];
http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target, headers: {host: target}})
  .on('connect', (res, socket) => {
    const session = http2.connect('https://' + target, {createConnection: () =>
      tls.connect({socket, servername: target.split(':')[0], ca, ALPNProtocols: ['h2']})});
    let left = 50;
    for (let n = 0; n < 50; n++) {
      const body = 'n'.repeat(n * 1000), stream = session.request({':path': '/' + n, ':method': 'POST'});
      let got = '';
      stream.setEncoding('utf8');
      stream.on('data', text => got += text);
      stream.on('trailers', t => { if (t['x-trailer'] != body.length) process.exit(2); });
      stream.on('end', () => { if (got !== body) process.exit(1); if (--left === 0) { console.log('fifty'); session.close(); } });
      stream.end(body);
    }
  }).end();
"""


def test_node(serving, inspecting, tmp_path):
    site = serving()
    (tmp_path / "client.js").write_text(NODE)
    said = run("node", tmp_path / "client.js", site.gate.url, site.target, inspecting.ca)
    assert said.stdout.strip() == "fifty", said


JAVA = """
import java.net.*; import java.net.http.*; import java.util.*; import java.util.concurrent.*;
public class Client2 {
  public static void main(String[] a) throws Exception {
    URI proxy = URI.create(a[0]);
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_2)
      .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort()))).build();
    List<CompletableFuture<HttpResponse<String>>> all = new ArrayList<>();
    for (int n = 0; n < 20; n++) all.add(client.sendAsync(HttpRequest.newBuilder(URI.create(a[1] + "/" + n))
      .POST(HttpRequest.BodyPublishers.ofString("j".repeat(n * 1000))).build(), HttpResponse.BodyHandlers.ofString()));
    int right = 0;
    for (int n = 0; n < 20; n++) { HttpResponse<String> one = all.get(n).get();
      if (one.version() == HttpClient.Version.HTTP_2 && one.body().equals("j".repeat(n * 1000))) right++; }
    System.out.println(right);
  }
}
"""


def test_java(serving, inspecting, tmp_path):
    site = serving()
    store = tmp_path / "store"
    subprocess.run(["keytool", "-importcert", "-noprompt", "-file", inspecting.ca, "-keystore", store, "-storepass", "changeit"],
                   check=True, capture_output=True)
    (tmp_path / "Client2.java").write_text(JAVA)
    said = run("java", f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit",
               tmp_path / "Client2.java", site.gate.url, site.url)
    assert said.stdout.strip() == "20", said


def identity(data):
    return data


@pytest.fixture
def greeter(certificates):
    server = rpc.greeter(certificates)
    yield server
    server.stop(None)


def test_grpc(greeter, inspecting, monkeypatch):
    rule = inspecting.rule("allowed.test", greeter.port, ', paths: ["/s/unary", "/s/stream", "/s/both", "/s/fails"]')
    gate = inspecting.gate(rule)
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, gate.url)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("no_grpc_proxy", "")
    with grpc.secure_channel(f"allowed.test:{greeter.port}", grpc.ssl_channel_credentials(inspecting.ca.read_bytes())) as channel:
        kinds = {"request_serializer": identity, "response_deserializer": identity}
        assert channel.unary_unary("/s/unary", **kinds)(b"you", timeout=DEADLINE) == b"hello you"
        assert list(channel.unary_stream("/s/stream", **kinds)(b"1000", timeout=DEADLINE)) == [b"%d" % n for n in range(1000)]
        assert list(channel.stream_stream("/s/both", **kinds)(iter([b"a", b"b"]), timeout=DEADLINE)) == [b"got a", b"got b"]
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/s/fails", **kinds)(b"", timeout=DEADLINE)
        assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and failed.value.details() == "no more"
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/s/other", **kinds)(b"", timeout=DEADLINE)
        assert failed.value.code() == grpc.StatusCode.PERMISSION_DENIED
    gate.logged(event="denied", reason="path_refused")
