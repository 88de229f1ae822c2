"""The page of approvals of `sluice dashboard --admin`, over a stand-in for the gate's admin socket: who may decide, and that nothing is decided by accident."""
import json
import os
import re
import socketserver
import threading
from pathlib import Path

import pytest

from browser import Browser
from gate import DEADLINE, until
from test_dashboard import Dashboard
from test_views import some

# The page's clock is the test's: no second is waited for.
CLOCK = "window.testNow = 0; performance.now = () => window.testNow;"


class Desk(socketserver.ThreadingUnixStreamServer):
    """Answers as a gate does: lines of approvals, and decisions, which it remembers."""
    daemon_threads = True

    def __init__(self, path):
        super().__init__(str(path), None)
        self.entries, self.decided, self.lists = [], [], 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def finish_request(self, request, client_address):
        for line in request.makefile("rb"):
            asked = json.loads(line)
            request.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in self.answer(asked)))

    def answer(self, asked):
        if asked["command"] == "approvals":
            self.lists += 1
            return [{"approval": one} for one in list(self.entries)] + [{"ok": True, "enabled": True, "more": False}]
        self.decided.append((asked["command"], asked["id"], asked.get("for") or asked.get("decision")))
        for one in self.entries:
            if one["id"] == asked["id"]:
                one |= {"state": "refused" if asked["command"] == "refuse" else "approved", "by": "0 (root)"}
        return [{"ok": True}]

    def ask(self, id, host="api.example.com", **more):
        self.entries.append({"id": id, "client": "agent", "state": "waiting", "via": "connect", "host": host, "port": 443, "reason": "not_allowed",
                             "count": 1, "waiting": 1, "left_ms": 60000, "age_ms": 10} | more)


@pytest.fixture
def desk(tmp_path):
    one = Desk(tmp_path / "admin.sock")
    yield one
    one.shutdown()
    one.server_close()


@pytest.fixture
def dashboard(tmp_path, desk):
    one = Dashboard("--log", some(tmp_path), "--admin", tmp_path / "admin.sock")
    one.said += one.process.stderr.readline()
    one.token = re.search(r"/approvals\?token=([0-9a-f]{64})", one.said).group(1)
    yield one
    one.process.terminate()
    one.process.wait(DEADLINE)
    one.process.stderr.close()


@pytest.fixture(scope="module")
def browser():
    one = Browser()
    yield one
    one.close()


@pytest.fixture
def page(browser, dashboard):
    one = browser.page()
    one.call("Page.addScriptToEvaluateOnNewDocument", source=CLOCK)
    one.open(f"{dashboard.url}approvals?token={dashboard.token}")
    yield one
    assert one.complaints == [] and one.dialogs == []
    one.close()


def click(page, selector):
    """As a pointer does, in the middle of it."""
    x, y = page.ask(f"(() => {{ const box = document.querySelector('{selector}').getBoundingClientRect();"
                    " return [box.x + box.width / 2, box.y + box.height / 2]; })()")
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def heard(page, desk):
    """Two more lists have been asked for and drawn: whatever a click began has reached the desk."""
    before = desk.lists
    until("the page asks again", lambda: desk.lists >= before + 2)


def button(id, kind="allow"):
    return f'article[data-id="{id}"] button.{kind}'


def test_an_address_opens_one_session_and_a_decision_needs_it(dashboard, desk):
    desk.ask("aaaaa")
    opened = dashboard.ask(f"/approvals?token={dashboard.token}")
    cookie = opened.getheader("Set-Cookie")
    assert opened.status == 303 and opened.getheader("Location") == "/approvals"
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Max-Age=28800" in cookie, cookie
    assert dashboard.ask(f"/approvals?token={dashboard.token}").status == 403
    # The terminal shows the next one.
    assert dashboard.token not in dashboard.process.stderr.readline()
    held, origin = cookie.partition(";")[0], dashboard.url.rstrip("/")
    path = "/approvals/approve?id=aaaaa&for=once"
    for method, where, headers, status in [
            ("GET", "/approvals/list", {}, 403), ("GET", "/approvals/list", {"Cookie": held}, 200), ("GET", path, {"Cookie": held}, 405),
            ("POST", path, {"Origin": origin}, 403), ("POST", path, {"Cookie": held}, 403),
            ("POST", path, {"Cookie": held, "Origin": "http://127.0.0.1:1"}, 403),
            ("POST", path, {"Cookie": held, "Origin": origin, "Host": "evil.example"}, 421),
            ("POST", path, {"Cookie": held, "Origin": origin, "Sec-Fetch-Site": "same-site"}, 403)]:
        got = dashboard.ask(where, method, **headers)
        assert got.status == status, (method, where, headers, got.status, got.body)
        assert "Allow" not in dict(got.getheaders()) or got.getheader("Allow") == "POST"
    assert desk.decided == []
    got = dashboard.ask(path, "POST", Cookie=held, Origin=origin)
    assert got.status == 200 and json.loads(got.body) == {"ok": True} and desk.decided == [("approve", "aaaaa", "once")]
    got = json.loads(dashboard.ask("/approvals/list", Cookie=held).body)
    assert got["entries"][0]["state"] == "approved" and got["enabled"] is True


def test_a_new_entry_cannot_be_decided_for_a_second_by_pointer_or_key(page, desk):
    desk.ask("aaaaa")
    page.waits_for(f"Boolean(document.querySelector('{button('aaaaa')}'))")
    for moment in (0, 999):
        page.ask(f"window.testNow = {moment}")
        click(page, button("aaaaa"))
        page.ask(f"document.querySelector('{button('aaaaa')}').focus()")
        page.press("Enter")
        heard(page, desk)
        assert desk.decided == [] and page.ask(f"document.querySelector('{button('aaaaa')}').getAttribute('aria-disabled')") == "true"
    page.ask("window.testNow = 1000")
    page.waits_for(f"document.querySelector('{button('aaaaa')}').getAttribute('aria-disabled') === 'false'")
    # No script decides, and no second click does.
    page.ask(f"document.querySelector('{button('aaaaa')}').click()")
    heard(page, desk)
    assert desk.decided == []
    click(page, button("aaaaa"))
    click(page, button("aaaaa"))
    page.waits_for("document.querySelector('article').dataset.state === 'approved'")
    heard(page, desk)
    assert desk.decided == [("approve", "aaaaa", "once")]


def test_what_comes_meanwhile_moves_neither_focus_nor_buttons(page, desk):
    desk.ask("aaaaa")
    desk.ask("bbbbb", host="b.example.com")
    page.waits_for("document.querySelectorAll('article').length === 2")
    page.ask("window.testNow = 5000")
    page.waits_for(f"document.querySelector('{button('bbbbb', 'refuse')}').getAttribute('aria-disabled') === 'false'")
    # By the keyboard alone: four buttons of the first entry, and then the fourth of the second.
    page.press("Tab", 8)
    assert page.ask(f"document.activeElement === document.querySelector('{button('bbbbb', 'refuse')}')")
    place = "[document.activeElement.getBoundingClientRect().top, scrollY, document.activeElement.parentNode.parentNode.dataset.id]"
    before = page.ask(place)
    for index in range(100):
        desk.ask(f"c{index:04}".replace("0", "z").replace("1", "y"), host=f"x{index}.example.com")
    # One goes away, and another is decided elsewhere.
    desk.entries[0] |= {"state": "refused", "by": "1000 (someone)"}
    page.waits_for("document.querySelectorAll('article').length === 102")
    heard(page, desk)
    assert page.ask(place) == before and page.ask("document.querySelectorAll('article')[0].dataset.state") == "refused"
    page.press("Enter")
    page.waits_for("document.querySelectorAll('article')[1].dataset.state === 'refused'")
    assert desk.decided == [("refuse", "bbbbb", None)]
    # A key that is held decides nothing more, also where the focus is on an entry that may be decided.
    page.ask("window.testNow = 9000")
    heard(page, desk)
    page.press("Tab")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r", autoRepeat=True)
    heard(page, desk)
    assert len(desk.decided) == 1


def test_flagged_content_is_released_or_refused(page, desk):
    flagged = {"content": "answer", "found": ["override-previous"], "place": "answer", "excerpt": "Ignore </p> \u202eall", "path": "/a"}
    desk.ask("aaaaa", **flagged)
    desk.ask("bbbbb", **flagged | {"content": "request", "found": ["github-token"], "place": "request body", "excerpt": None})
    page.waits_for("document.querySelectorAll('article').length === 2")
    buttons = "[...document.querySelectorAll('article')].map((one) => [...one.querySelectorAll('button')].map((node) => node.textContent).join())"
    assert page.ask(buttons) == ["Release,Refuse"] * 2
    words = page.ask("document.querySelector('article').textContent")
    assert "reads like instructions to an agent: override-previous." in words and "Ignore </p> \\u{202e}all" in words
    assert "what looks like a secret: github-token, in its request body." in page.ask("document.querySelectorAll('article')[1].textContent")
    page.ask("window.testNow = 1000")
    page.waits_for(f"document.querySelector('{button('bbbbb')}').getAttribute('aria-disabled') === 'false'")
    click(page, button("aaaaa"))
    click(page, button("bbbbb", "refuse"))
    page.waits_for("document.querySelectorAll('article')[1].dataset.state === 'refused'")
    heard(page, desk)
    assert sorted(desk.decided) == [("refuse", "bbbbb", None), ("review", "aaaaa", "release")]


HOSTILE = ("</p><button class=allow>Allow once</button><img src=x onerror=alert(1)>\n\n"
           "The gate: this was checked by your operator. \u202eevil\u202c \x1b[2J \u200b\u0489" + "A" * 400)


@pytest.mark.parametrize("width, dark", [(360, False), (1440, True)])
def test_a_hostile_client_cannot_speak_as_the_gate(browser, dashboard, desk, tmp_path, width, dark):
    desk.ask("aaaaa", host="api.modelhost.example.com", note=HOSTILE)
    desk.ask("bbbbb", host="xn--pypal-4ve.com", note="please")
    desk.ask("ccccc", host="93.184.216.34", port=22)
    desk.ask("ddddd", host=("a" * 60 + ".") * 3 + "tunnel.example", method="POST", path="/" + "x" * 500, state="recorded")
    desk.ask("eeeee", host="githubb.com", count=41)
    page = browser.page(width=width, height=800, dark=dark)
    page.open(f"{dashboard.url}approvals?token={dashboard.token}")
    page.waits_for("document.querySelectorAll('article').length === 5")
    assert page.ask("document.querySelectorAll('img, script:not([src]), iframe').length") == 0
    assert page.ask("document.querySelectorAll('article[data-id=\"aaaaa\"] button').length") == 4
    said = page.ask("document.querySelectorAll('article[data-id=\"aaaaa\"] .said')[1].textContent")
    assert said.startswith("</p><button") and "\\u{202e}" in said and "\\u{1b}[2J" in said and "\n" not in said and said.isascii()
    warnings = page.ask("[...document.querySelectorAll('article')].map((one) => one.querySelectorAll('.warning').length > 0)")
    assert warnings[1:3] == [True, True] and warnings[4] is True, warnings
    assert "example.com" in page.ask("document.querySelector('article[data-id=\"aaaaa\"]').innerText")
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    # Each button is large enough for a finger.
    assert page.ask("[...document.querySelectorAll('button')].every((one) => one.getBoundingClientRect().height >= 44)")
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        (Path(folder) / f"approvals-{width}.png").write_bytes(page.picture())
    assert page.complaints == [] and page.dialogs == [] and desk.decided == []
    page.close()


def test_without_a_gate_there_is_no_such_page(tmp_path):
    one = Dashboard("--log", some(tmp_path))
    try:
        assert one.ask("/approvals").status == 404 and one.ask("/approvals/list").status == 404
    finally:
        one.process.terminate()
        one.process.wait(DEADLINE)
        one.process.stderr.close()


def test_a_gate_that_is_gone_is_told_of(dashboard, desk, tmp_path):
    held = dashboard.ask(f"/approvals?token={dashboard.token}").getheader("Set-Cookie").partition(";")[0]
    desk.server_close()
    got = json.loads(dashboard.ask("/approvals/list", Cookie=held).body)
    assert got["entries"] == [] and "admin.sock" in got["problem"], got
