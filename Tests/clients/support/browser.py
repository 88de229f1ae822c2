"""A headless Chromium, driven over its debugging port: pages opened, keys pressed, scripts asked, errors kept."""
import base64
import itertools
import json
import subprocess
import tempfile
import urllib.request

import websocket

from gate import DEADLINE, plain_environment, until

KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35}


class Browser:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
             "--no-proxy-server", f"--user-data-dir={self.folder.name}", "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=plain_environment())
        place = f"{self.folder.name}/DevToolsActivePort"
        self.port = int(until("chromium listens", lambda: self.read(place)).split()[0])

    @staticmethod
    def read(path):
        try:
            return open(path).read()
        except FileNotFoundError:
            return ""

    def page(self, url="about:blank", **looks):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new?about:blank", method="PUT")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=DEADLINE) as answer:
            page = Page(json.load(answer)["webSocketDebuggerUrl"])
        page.look(**looks)
        page.open(url)
        return page

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


class Page:
    def __init__(self, address):
        self.socket = websocket.create_connection(address, timeout=DEADLINE, suppress_origin=True)
        self.numbers = itertools.count(1)
        # Problems of the page: errors, console messages, loads blocked by its policy.
        self.complaints, self.dialogs = [], []
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self.note(message)

    def note(self, message):
        kind, more = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(more["exceptionDetails"])
        elif kind == "Runtime.consoleAPICalled":
            self.complaints.append([one.get("value") for one in more["args"]])
        elif kind == "Log.entryAdded" and more["entry"]["level"] in ("warning", "error"):
            self.complaints.append(more["entry"])
        elif kind == "Audits.issueAdded" and more["issue"]["code"] == "ContentSecurityPolicyIssue":
            self.complaints.append(more["issue"])
        elif kind == "Page.javascriptDialogOpening":
            self.dialogs.append(more)

    def look(self, width=1440, height=1000, dark=False, reduced=True, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"}])

    def open(self, url):
        self.call("Page.navigate", url=str(url))
        until(f"{url} is there", lambda: self.ask("document.readyState") == "complete")

    def ask(self, script):
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def waits_for(self, script):
        try:
            return until(script, lambda: self.ask(script))
        except AssertionError:
            raise AssertionError(f"never: {script}; the page says {self.ask('document.body.innerText')[:3000]}") from None

    def press(self, key, times=1):
        for _ in range(times):
            text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
            code = KEYS.get(key, ord(key.upper()[0]))
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **({"text": text} if text and kind == "keyDown" else {}))

    def picture(self, whole=True):
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                        **({"clip": self.whole() | {"scale": 1}} if whole else {}))
        return base64.b64decode(got["data"])

    def whole(self):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}

    def close(self):
        self.socket.close()
