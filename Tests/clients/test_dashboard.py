"""`sluice dashboard`: its responses, its page in a browser, and that its figures equal the gate's."""
import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import random
import re
import socket
import subprocess
import threading
import time

import pytest

import sample_log
from browser import Browser
from gate import DEADLINE, echo, local, plain_environment, until
from test_views import HOSTILE, gates, line, now, sluice, some, write

PAGE_SIZES = [(360, 740), (820, 1100), (1440, 900)]


class Dashboard:
    def __init__(self, *arguments, env=None):
        self.process = subprocess.Popen([os.environ["SLUICE"], "dashboard", "--listen", "127.0.0.1:0", *map(str, arguments)],
                                        stderr=subprocess.PIPE, text=True, env=env or plain_environment())
        self.said = ""
        while "the dashboard of" not in self.said:
            said = self.process.stderr.readline()
            assert said, self.said
            self.said += said
        self.url = re.search(r"http://\S+/", self.said).group(0)
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def ask(self, path="/", method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        got = connection.getresponse()
        got.body = got.read() if "/events" not in path else b""
        connection.close()
        return got

    def figures(self, query=""):
        return json.loads(self.ask(f"/figures{query}").body)

    def raw(self, data):
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as sock:
            sock.settimeout(DEADLINE)
            sock.sendall(data)
            return sock.makefile("rb").read()

    def listen(self, query=""):
        """A stream of events, behind its head."""
        sock = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        sock.settimeout(DEADLINE)
        sock.sendall(f"GET /events{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return sock, sock.makefile("rb")

    def resident_kib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read()).group(1))


def events(file):
    """What a stream says, as (event, data)."""
    name = None
    for text in file:
        text = text.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text[7:]
        elif text.startswith("data: ") and name:
            yield name, json.loads(text[6:])


@pytest.fixture
def dashboard():
    started = []

    def start(*arguments, **more):
        started.append(Dashboard(*arguments, **more))
        return started[-1]

    yield start
    for one in started:
        assert one.process.poll() is None, one.process.stderr.read()
        one.process.terminate()
        one.process.wait(DEADLINE)
        one.process.stderr.close()


@pytest.fixture(scope="module")
def browser():
    one = Browser()
    yield one
    one.close()


@pytest.fixture
def page(browser):
    """Opens pages, and holds them to no complaint: no error, nothing on the console, nothing that the policy blocked."""
    opened = []

    def start(url, **looks):
        opened.append(browser.page(url, **looks))
        return opened[-1]

    yield start
    for one in opened:
        one.ask("1")
        assert one.complaints == [] and one.dialogs == []
        one.close()


# Responses


def test_figures_of_a_log(tmp_path, dashboard):
    one = dashboard("--log", some(tmp_path))
    got = until("it is read", lambda: (lambda figures: figures if figures["log"]["lines"] == 5 else None)(one.figures()))
    assert got["log"] == {"path": str(tmp_path / "log"), "state": "following", "lines": 5, "broken": 0}
    assert got["totals"]["denied"] == {"all": 2, "not_allowed": 2} and got["totals"]["limited"] == {"all": 1, "rate_limited": 1}
    assert (got["totals"]["bytes_up"], got["totals"]["bytes_down"]) == (5, 2048) and got["clients"] == ["agent", "other"]
    assert {one["target"]: one["yaml"] for one in got["refused"]["shown"]}["evil.example:443"].startswith("allow:\n  - evil.example:443\n")
    assert one.figures("?client=other")["totals"]["lines"] == 1
    assert one.figures("?span=all")["timeline"]["step_ms"] == 1000


def test_gates_have_figures_of_their_own(tmp_path, dashboard, page):
    folder = gates(tmp_path)
    one = dashboard("--log", folder)
    until("all is read", lambda: one.figures()["log"]["lines"] == 15)
    assert one.figures("?gate=gate-2")["totals"]["bytes_up"] == 12 and one.figures("?gate=nobody")["totals"]["lines"] == 0
    shown = page(one.url)
    until("the gates are a choice", lambda: shown.ask("[...document.querySelector('#gate').options].map((one) => one.value).join()") == ",gate-0,gate-1,gate-2")
    assert shown.ask("document.getElementById('gate-choice').hidden") is False
    shown.ask("(() => { const it = document.getElementById('gate'); it.value = 'gate-2'; it.dispatchEvent(new Event('change')); return 1 })()")
    until("one gate's row is left", lambda: shown.ask("[...document.querySelectorAll('#rows tbody .who .under')].map((one) => one.textContent).join()") == "gate-2")
    assert "gate=gate-2" in shown.ask("location.hash")


def test_every_answer_holds_the_browser(tmp_path, dashboard):
    one = dashboard("--log", some(tmp_path))
    for path, status, kind in [("/", 200, "text/html; charset=utf-8"), ("/page.css", 200, "text/css; charset=utf-8"), ("/figures", 200, "application/json"),
                               ("/page.js", 200, "text/javascript; charset=utf-8"), ("/icon.svg", 200, "image/svg+xml"), ("/no", 404, "text/plain; charset=utf-8")]:
        for method in ("GET", "HEAD"):
            got = one.ask(path, method)
            assert (got.status, got.headers["Content-Type"]) == (status, kind), path
            policy = got.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert got.headers["X-Content-Type-Options"] == "nosniff" and got.headers["Cache-Control"] == "no-store"
            assert got.headers["Referrer-Policy"] == "no-referrer" and got.headers["X-Frame-Options"] == "DENY"
            assert (got.body == b"") == (method == "HEAD")
            assert got.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("method, path, headers, status", [
    ("GET", "/", {"Host": "attacker.example"}, 421), ("GET", "/figures", {"Host": "attacker.example:9797"}, 421),
    ("GET", "/figures", {"Host": "localhost:1"}, 200), ("GET", "/figures", {"Host": "10.0.0.1"}, 421), ("POST", "/figures", {}, 405),
    ("PUT", "/", {}, 405), ("GET", "/figures", {"Sec_Fetch_Site": "cross-site"}, 403), ("GET", "/figures?client=%1b", {}, 400),
    ("GET", "/" + "a" * 9000, {}, 431), ("GET", "/../etc/passwd", {}, 404),
])
def test_refuses(method, path, headers, status, tmp_path, dashboard):
    assert dashboard("--log", some(tmp_path)).ask(path, method, **headers).status == status


def test_bad_requests_harm_nobody(tmp_path, dashboard):
    one = dashboard("--log", some(tmp_path))
    assert one.raw(b"\x16\x03\x01\x02\x00" + b"x" * 600).startswith(b"HTTP/1.1 400 ")
    assert one.raw(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert one.raw(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + b"GET / HTTP/1.1\r\n" * 1000).startswith(b"HTTP/1.1 200 ")
    # More than it takes at once: those beyond are closed, some before the connect returns, and the ones before are served.
    held = []
    for _ in range(100):
        with contextlib.suppress(ConnectionResetError):
            held.append(socket.create_connection(("127.0.0.1", one.port), DEADLINE))
    for sock in held[:3]:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
    for sock in held:
        sock.close()
    until("it answers again", lambda: one.ask("/figures").status == 200)


def test_streams_are_bounded_and_a_slow_one_is_dropped(tmp_path, dashboard):
    log = tmp_path / "log"
    sample_log.write(log, time.time(), lines=3000)
    one = dashboard("--log", log)
    open_ones = [one.listen("?span=all") for _ in range(16)]
    for sock, file in open_ones:
        assert next(events(file))[0] == "figures"
    assert one.raw(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").startswith(b"HTTP/1.1 503 ")
    before = one.resident_kib()
    # The reader is gone, while the log grows.
    with open(log, "a") as file:
        for number in range(30):
            file.write("".join(now("denied", number, host=f"h{number}.example", port=443, reason="not_allowed") + "\n" for _ in range(10)))
            file.flush()
            time.sleep(0.1)
    assert one.figures()["totals"]["lines"] == 3001 + 300
    assert one.resident_kib() < before + 20_000
    for sock, file in open_ones:
        file.close()
        sock.close()
    until("there is room again", lambda: room(one))


def room(one):
    sock, file = one.listen()
    with sock, file:
        return file.readline().startswith(b"HTTP/1.1 200 ")


def test_an_event_for_each_change_and_a_beat_for_none(tmp_path, dashboard):
    log = some(tmp_path)
    one = dashboard("--log", log)
    sock, file = one.listen("?span=all")
    with sock, file:
        stream = events(file)
        kind, first = next(stream)
        assert kind == "figures" and first["totals"]["lines"] in (0, 5)
        with open(log, "a") as more:
            more.write(now("denied", 7, host="fresh.example", port=443, reason="not_allowed") + "\n")
        for kind, data in stream:
            if kind == "figures" and data["totals"]["lines"] == 6:
                break
        assert data["events"][0]["target"] == "fresh.example:443"
        # Another connection has the whole state at once: nothing was missed.
        again, other = one.listen("?span=all")
        with again, other:
            assert next(events(other))[1]["totals"]["lines"] == 6
        assert any(kind == "beat" for kind, _ in stream)


def test_a_log_that_comes_later_is_rotated_and_goes(tmp_path, dashboard):
    log = tmp_path / "log"
    one = dashboard("--log", log)
    assert "the page waits for it" in one.said
    got = one.figures()["log"]
    assert got["state"] == "waiting" and "No such file" in got["problem"]
    some(tmp_path)
    until("it is there", lambda: one.figures()["log"]["lines"] == 5)
    log.rename(tmp_path / "old")
    until("it is gone", lambda: one.figures()["log"]["state"] == "gone")
    write(log, [now("denied", 9, host="later.example", port=443, reason="not_allowed")])
    got = until("the new one", lambda: (lambda figures: figures if figures["log"]["lines"] == 6 else None)(one.figures()))
    assert got["log"]["state"] == "following" and got["events"][0]["target"] == "later.example:443"


@pytest.mark.parametrize("options, wrong", [
    (["--listen", "somewhere:1"], "--listen takes ADDRESS:PORT"), (["--listen", "0.0.0.0:0"], "can be reached from other machines"),
    (["--json"], "go with --once"), (["--once", "--log", "/nowhere/log"], "/nowhere/log: open"), (["--log", "-"], "a pipe cannot be followed"),
    (["--policy", "/nowhere/policy"], "cannot be read"),
])
def test_says_what_is_wrong(options, wrong, tmp_path):
    more = [] if "--log" in options else ["--log", some(tmp_path)]
    got = sluice("dashboard", *more, *options)
    assert got.returncode in (2, 64) and wrong in got.stderr, got


def test_an_address_in_use(tmp_path, dashboard):
    one = dashboard("--log", some(tmp_path))
    got = sluice("dashboard", "--log", tmp_path / "log", "--listen", f"127.0.0.1:{one.port}", status=2)
    assert "Address already in use" in got.stderr and "give --listen another" in got.stderr


# The report


def test_a_report_is_one_file_that_asks_nobody(tmp_path, page):
    log, report = tmp_path / "log", tmp_path / "report.html"
    sample_log.write(log, 1_795_614_882, lines=2000)
    sluice("dashboard", "--log", log, "--once", "--output", report, status=0)
    text = report.read_bytes()
    scripts = re.findall(rb"<script>(.*?)</script>", text, re.DOTALL)
    styles = re.findall(rb"<style>(.*?)</style>", text, re.DOTALL)
    assert len(scripts) == len(styles) == 1
    for kind, part in [(b"script", scripts[0]), (b"style", styles[0])]:
        assert b"%s-src 'sha256-%s'" % (kind, base64.b64encode(hashlib.sha256(part).digest())) in text
    assert not re.findall(rb"(?:src|href)=(?!\"#main\")", text)
    one = page(f"file://{report}")
    one.waits_for("document.querySelectorAll('#rows tr').length > 3")
    assert "Report" in one.ask("document.getElementById('state').textContent")
    figures = json.loads(sluice("dashboard", "--log", log, "--once", "--json", status=0).stdout)
    shown = one.ask("Object.fromEntries([...document.querySelectorAll('#totals > div')].map((one) => [...one.children].map((part) => part.textContent)))")
    assert shown["Refused"] == f"{figures['totals']['denied']['all']:,}" and shown["Let out"] == f"{figures['totals']['closed']['all']:,}"
    assert not one.ask("document.getElementById('controls').checkVisibility()")
    only = json.loads(sluice("dashboard", "--log", log, "--once", "--json", "--client", "coder", status=0).stdout)
    assert 0 < only["totals"]["lines"] < figures["totals"]["lines"]
    # Without --output it is a result like any other.
    assert sluice("dashboard", "--log", log, "--once", status=0).stdout.startswith("<!doctype html>")


# In a browser


@pytest.fixture
def live(tmp_path, dashboard):
    log, policy = tmp_path / "sluice.jsonl", tmp_path / "agent.yaml"
    sample_log.write(log, time.time(), lines=4000)
    policy.write_text(sample_log.POLICY)
    one = dashboard("--log", log, "--policy", policy)
    one.log = log
    return one


def is_live(page):
    page.waits_for("document.getElementById('state').textContent.includes('Live') && document.querySelectorAll('#events tr').length > 3")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width, height", PAGE_SIZES)
def test_the_page_fits_and_every_part_is_there(width, height, dark, live, page):
    one = page(live.url + "#span=all", width=width, height=height, dark=dark)
    is_live(one)
    assert one.ask("document.documentElement.scrollWidth") <= width
    for part in ("totals", "timeline", "buckets", "refused", "rows", "credentials", "flagged", "limits", "reasons", "events"):
        assert one.ask(f"document.getElementById('{part}').innerText.length > 10"), part
    # Nothing sticks out of what holds it.
    assert one.ask("[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5 && !one.closest('svg')).length") == 0
    assert "allow:\n" in one.ask("document.querySelector('#refused pre').textContent")
    assert contrast(one) == []


CONTRAST = """(() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (node) => { for (let at = node; at; at = at.parentElement) { const rgb = number(getComputedStyle(at).backgroundColor);
    if (rgb.length < 4 || rgb[3] === 1) return rgb; } return [255, 255, 255]; };
  const bad = new Set();
  for (const node of document.querySelectorAll('body *')) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()) || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const [one, other] = [light(number(style.color)), light(ground(node))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) bad.add(`${node.tagName}.${node.className}: ${ratio.toFixed(2)} ${node.textContent.slice(0, 30)}`);
  }
  return [...bad];
})()"""


def contrast(page):
    """Texts below WCAG's AA."""
    return page.ask(CONTRAST)


def test_the_filter_works_by_keyboard(live, page):
    one = page(live.url + "#span=all")
    is_live(one)
    everything = one.ask("document.querySelector('#totals dd').textContent")
    for _ in range(20):
        one.press("Tab")
        if one.ask("document.activeElement.id") == "client":
            break
    assert one.ask("document.activeElement.matches(':focus-visible') && getComputedStyle(document.activeElement).outlineStyle") == "solid"
    # Its second name: the first is all.
    one.press("ArrowDown", 2)
    one.waits_for("document.getElementById('client').value === 'coder'")
    one.waits_for(f"document.querySelector('#totals dd').textContent !== {json.dumps(everything)}")
    # The answer for the first name may come in between.
    one.waits_for("[...document.querySelectorAll('#rows td:first-child')].every((one) => one.textContent === 'coder')")
    assert "client=coder" in one.ask("location.hash") and one.ask("document.activeElement.id") == "client"
    one.press("Tab")
    one.press("ArrowLeft")
    one.waits_for("location.hash === '#client=coder&span=2h'")
    # The timeline is walked through too.
    one.press("Tab", 2)
    one.ask("document.getElementById('timeline').focus()")
    one.press("End")
    one.press("ArrowLeft")
    assert re.search(r"\d\d:\d\d:\d\d to \d\d:\d\d:\d\d: ", one.ask("document.getElementById('readout').textContent"))
    now, last = (int(one.ask(f"document.getElementById('timeline').getAttribute('aria-value{name}')")) for name in ("now", "max"))
    assert now == last - 1 > 10
    # The address alone brings the same view back.
    other = page(live.url + "#client=coder&span=2h")
    other.waits_for("document.getElementById('client').value === 'coder' && document.querySelectorAll('#rows tr').length > 2")


def test_a_live_update_arrives_and_leaves_focus_alone(live, page):
    one = page(live.url)
    is_live(one)
    one.ask("document.querySelector('#refused summary').focus()")
    one.ask("document.querySelector('#refused details').open = true")
    with open(live.log, "a") as file:
        file.write("".join(now("denied", number, host="just-now.example", port=8443, reason="not_allowed") + "\n" for number in range(3000)))
    one.waits_for("document.querySelector('#events td.host').textContent === 'just-now.example:8443'")
    one.waits_for("document.querySelector('#refused .target').textContent === 'just-now.example:8443'")
    assert one.ask("document.activeElement.tagName") == "SUMMARY" and one.ask("document.activeElement.parentNode.open")
    one.ask("document.getElementById('pause').click()")
    one.waits_for("document.getElementById('state').textContent.includes('Paused')")
    with open(live.log, "a") as file:
        file.write(now("denied", 1, host="while-paused.example", port=443, reason="not_allowed") + "\n")
    until("the server has it", lambda: live.figures()["events"][0]["target"] == "while-paused.example:443")
    time.sleep(1.5)
    assert one.ask("document.querySelector('#events td.host').textContent") == "just-now.example:8443"
    one.ask("document.getElementById('pause').click()")
    one.waits_for("document.querySelector('#events td.host').textContent === 'while-paused.example:443'")


def test_a_lost_connection_is_said_and_tried_again(tmp_path, browser):
    log = some(tmp_path)
    first = Dashboard("--log", log)
    page = browser.page(first.url)
    page.waits_for("document.querySelectorAll('#events tr').length > 2")
    first.process.kill()
    first.process.wait()
    page.waits_for("document.getElementById('state').textContent.includes('Connection lost')")
    assert "is lost; it is tried again" in page.ask("document.getElementById('problem').innerText")
    write(log, [line("denied", 1, host="after.example", port=443, reason="not_allowed")])
    second = subprocess.Popen([os.environ["SLUICE"], "dashboard", "--log", log, "--listen", f"127.0.0.1:{first.port}"], stderr=subprocess.DEVNULL)
    try:
        page.waits_for("document.getElementById('state').textContent.includes('Live')")
        page.waits_for("document.querySelector('#events td.host').textContent === 'after.example:443'")
        assert page.ask("document.getElementById('problem').hidden")
    finally:
        second.terminate()
        second.wait()
        page.close()


def test_empty_and_missing_logs_say_what_to_do(tmp_path, dashboard, page):
    one = dashboard("--log", tmp_path / "log")
    view = page(one.url, width=360)
    view.waits_for("document.getElementById('state').textContent.includes('Waiting for a log')")
    assert "this page looks again" in view.ask("document.getElementById('problem').innerText")
    assert "--policy FILE" in view.ask("document.getElementById('buckets').innerText")
    for part in ("refused", "rows", "credentials", "flagged", "limits", "reasons", "events"):
        assert view.ask(f"document.getElementById('{part}').innerText.endsWith('.')"), part
    assert view.ask("document.documentElement.scrollWidth") <= 360 and contrast(view) == []


MORE_HOSTILE = ["<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "</script><script>alert(1)</script>", "<!--", "javascript:alert(1)",
                "{{7*7}}", "__proto__", "constructor", "' onmouseover='alert(1)", "&lt;b&gt;", "\u2066\u202e\u2069", "\x00\x1b[31m"]


def hostile(tmp_path):
    log = tmp_path / "hostile.jsonl"
    number = 0
    with open(log, "w") as file:
        for text in HOSTILE + MORE_HOSTILE:
            for event, more in [("denied", {"reason": text}), ("limited", {"reason": text, "tokens": 1, "capacity": 2, "per_minute": 3}), ("closed", {"bytes_up": 1}),
                                ("credential", {"credential": text, "place": text}), ("flagged", {"finding": text, text: text}), ("limited", {"limit": text}),
                                ("policy", {"policy": text}), (text or "x", {}), ("denied", {"reason": "not_allowed", "would_deny": True})]:
                for client, host in [(text, text), ("agent", text), (text, "a.example")]:
                    number += 1
                    one = json.loads(now(event, number, client=client, host=host, port=443, rule=text, via=text, sni=text)) | more
                    file.write(json.dumps(one, ensure_ascii=number % 2 == 0) + "\n")
    return log


@pytest.mark.parametrize("way", ["live", "report"])
def test_a_hostile_log_is_harmless_in_a_browser(way, tmp_path, dashboard, page):
    log = hostile(tmp_path)
    if way == "live":
        one = page(dashboard("--log", log).url)
        is_live(one)
    else:
        sluice("dashboard", "--log", log, "--once", "--output", tmp_path / "report.html")
        one = page(f"file://{tmp_path}/report.html")
        one.waits_for("document.querySelectorAll('#events tr').length > 3")
    for _ in range(3):
        one.ask("document.querySelectorAll('button.all[aria-expanded=false]').forEach((one) => one.click())")
    # The page holds the elements that its script makes, and no other; no handler, no address.
    names = set(one.ask("[...new Set([...document.querySelectorAll('*')].map((one) => one.localName))]"))
    assert not names & {"img", "iframe", "object", "embed", "form", "b", "base", "video", "template", "foreignobject"}, names
    assert one.ask("document.querySelectorAll('script').length") == (1 if way == "live" else 2)
    assert one.ask("[...document.querySelectorAll('*')].flatMap((one) => [...one.attributes]).filter((one) => /^on|^style$/.test(one.name)).length") == 0
    assert one.ask("[...document.querySelectorAll('a, link, script, [src], [href]')].map((one) => one.getAttribute('href') || one.getAttribute('src')).filter(Boolean).sort()") == (
        ["#main", "icon.svg", "page.css", "page.js"] if way == "live" else ["#main"])
    text = one.ask("document.body.innerText")
    assert "<script>alert(1)</script>" in text and "\\u{202e}" in text and "\\u{1b}" in text
    # Direction marks and characters that are not letters are shown by their number; the other signs are the page's own.
    assert {char for char in text if not 0x20 <= ord(char) < 0x7F} <= set("\n\t\u00b7\u25cf\u25b2\u25a0\u25cc")
    assert max(map(len, text.split("\n"))) < 20_000 and one.ask("document.documentElement.scrollWidth") <= 1440
    assert one.ask("Object.prototype.polluted === undefined && ({}).all === undefined")


# Against the gate


class Upstream(threading.Thread):
    """Answers each request on each connection with the same five bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                stream, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    @staticmethod
    def serve(stream):
        data = b""
        with stream:
            while more := stream.recv(65536):
                data += more
                count = data.count(b"\r\n\r\n")
                if count:
                    data = data.rpartition(b"\r\n\r\n")[2]
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" * count)


def pump(port, targets):
    """A plain request for each target, a batch at a time, on connections that last as long as the gate keeps them; how
    many answers had which status."""
    statuses, done = {}, 0
    while done < len(targets):
        before = done
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
            sock.settimeout(DEADLINE)
            file = sock.makefile("rb")
            while batch := targets[done : done + 40]:
                sock.sendall("".join(f"GET http://{one}/ HTTP/1.1\r\nHost: {one}\r\n\r\n" for one in batch).encode())
                answered = [status for status in (read_answer(file) for _ in batch) if status]
                for status in answered:
                    statuses[status] = statuses.get(status, 0) + 1
                done += len(answered)
                if len(answered) < len(batch):
                    break
        assert done > before, "a connection without an answer"
    return statuses


def read_answer(file):
    """The status of one answer; None when there is none any more."""
    try:
        first = file.readline()
        if not first:
            return None
        length = 0
        while (field := file.readline()) != b"\r\n":
            name, _, value = field.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        file.read(length)
        return int(first.split()[1])
    except ConnectionResetError:
        return None


def statuses_of(lists):
    sums = {}
    for one in lists:
        for status, number in one.items():
            sums[status] = sums.get(status, 0) + number
    return sums


REPORTED = ("denied", "limited", "failed", "revoked", "closed")


def same_figures(figures, status):
    """The dashboard's and the gate's, one beside the other."""
    totals = figures["totals"]
    mine = {event: totals[event] for event in REPORTED} | {name: totals[name] for name in ("bytes_up", "bytes_down")} | {"would_deny": totals["would_deny"]["all"]}
    return mine, {name: status[name] for name in mine}


@pytest.mark.parametrize("mode", ["enforce", "report"])
@pytest.mark.timeout(240)
def test_figures_equal_the_gates_own_counters(mode, gate, upstream, dashboard, tmp_path):
    """100,000 mixed requests out of one seed; some in report mode."""
    requests = 100_000 if mode == "enforce" else 2000
    web, tunnels, path = Upstream(), upstream(echo), tmp_path / "admin.sock"
    one = gate(f"""network_policy:
  mode: {mode}
  deny: ["denied.test:80"]
  allow:
    - {local("web.test", web.port)}
    - {local("limited.test", web.port)}
    - {local("tunnel.test", tunnels.port)}
    - {local("closed.test", 9)}
    - nx.test:80
    - {{host: "old.test:80", expires: 2020-01-01T00:00:00Z}}
    - inside.test:80
  rate_limits:
    - {{host: "limited.test:{web.port}", requests_per_minute: 60, burst: 25}}
""", workers=2, flags=("--listen-admin", path, "--listen-dns", "127.0.0.1:0"))
    view = dashboard("--log", one.log, "--policy", one.policy_file)

    def status():
        got = sluice("status", "--json", "--socket", path, status=0)
        return json.loads(got.stdout)

    chance = random.Random(6)
    kinds = [(f"web.test:{web.port}", 0.66), ("refused.test:80", 0.12), ("other.test:8080", 0.06), ("denied.test", 0.05), ("old.test", 0.03),
             (f"limited.test:{web.port}", 0.06), ("inside.test", 0.02)]
    special = requests // 50
    targets = chance.choices([target for target, _ in kinds], [share for _, share in kinds], k=requests - special)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = statuses_of(pool.map(lambda number: pump(one.port, targets[number::8]), range(8)))
        assert sum(got.values()) == len(targets), got

        def short(number):
            kind = number % 8
            if kind == 7:
                return one.ask(b"nonsense\r\n\r\n")
            if kind == 6:
                return ask_name(one.dns_port, f"name{number % 50}.test")
            target = [f"tunnel.test:{tunnels.port}", f"tunnel.test:{tunnels.port}", "refused.test:443", "closed.test:9", "nx.test:80", f"tunnel.test:{tunnels.port}"][kind]
            sock, head = one.connect(target)
            with sock:
                if b" 200 " in head.split(b"\r\n")[0] and target.startswith("tunnel.test"):
                    sock.sendall(bytes(chance.randrange(1, 4000)))
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass
        list(pool.map(short, range(special)))
    held = []
    for _ in range(7):
        sock, head = one.connect(f"tunnel.test:{tunnels.port}")
        assert b" 200 " in head.split(b"\r\n")[0]
        held.append(sock)

    def caught_up(open_now):
        counts = until("all but those have ended", lambda: (lambda got: got if got["open"] == open_now and got["log"]["waiting_bytes"] == 0 else None)(status()))
        return counts, until("the dashboard has read it", lambda: (lambda got: got if got["log"]["lines"] == len(one.log.read_bytes().splitlines()) else None)(view.figures()))

    counts, figures = caught_up(7)
    # A tunnel without an end in the log is open.
    assert counts["tunnels"] - figures["totals"]["tunnels"] == 7
    for sock in held:
        sock.close()
    # Repeats of the last second are told in the next one.
    def agreed():
        counts, figures = caught_up(0)
        mine, its = same_figures(figures, counts)
        return (counts, figures) if mine == its else None
    counts, figures = until("each side says the same", agreed)
    assert (figures["totals"]["tunnels"], figures["totals"]["requests"]) == (counts["tunnels"], counts["requests"])
    assert figures["log"]["broken"] == 0 and sum(counts[event]["all"] for event in REPORTED) + counts["tunnels"] + counts["requests"] >= requests
    # The load is mixed: each of these reasons is in it, and each client's figures are the sum of its rows.
    reasons = {reason for event in (*REPORTED, "would_deny") for reason in figures["totals"][event]}
    assert reasons >= {"not_allowed", "denied_by_rule", "expired", "rate_limited", "bad_request", "connect_failed", "resolve_failed"}
    assert sum(row["bytes_down"] for row in figures["rows"]["shown"]) <= figures["totals"]["bytes_down"]
    assert figures["buckets"]["shown"][0]["capacity"] == 25
    report = json.loads(sluice("dashboard", "--log", one.log, "--once", "--json", status=0).stdout)
    assert report["totals"] == figures["totals"]
    web.socket.close()


def ask_name(port, name):
    """One DNS query over UDP, and its answer."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE)
        sock.sendto(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + question, ("127.0.0.1", port))
        return sock.recv(4096)
