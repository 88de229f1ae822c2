"""An agent's day in one sandbox, at a real terminal: install, clone, edit, test, commit, push, a server on a published
port, a second shell, Ctrl-Z, a window that changes its size, and the end."""
import fcntl
import os
import socket
import struct
import subprocess
import termios
import urllib.request

import pytest

from gate import DEADLINE
from test_run import Terminal
from upstreams import bare_repository, git_backend, index_with_a_wheel

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

TEST = """
import thing, unittest
class Test(unittest.TestCase):
    def test(self):
        self.assertEqual(thing.value, 1)
"""


def test_an_agents_day(user_place, web, tmp_path):
    place = user_place
    index_with_a_wheel(tmp_path)
    bare_repository(tmp_path)
    site = web(git_backend(tmp_path))
    place.write(f"network_policy: {{allow: [{{host: 'allowed.test:{site.port}', addresses: [127.0.0.0/8]}}]}}\n"
                "process_limits: {memory.max: max, pids.max: 500}")
    # A tool of the user's, from the home.
    tool = place.home / ".local/bin/tool"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho tool of $USER\n")
    tool.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    home = f"/home/agent/.local/bin:{tool.parent}"
    terminal = Terminal(place, *place.arguments(
        "bash", "--norc", "--noprofile", options=("--limits", "best-effort", "--read-only", tool.parent, "--env", "PS1=inner> ", "--env", f"PATH={home}:/usr/bin:/bin",
                                                  "--publish", f"{port}:8000")))

    def step(line, expected):
        terminal.say(line + "\n")
        found = terminal.hear(expected)
        terminal.hear("inner> ")
        return found

    terminal.hear("inner> ")
    url = f"http://allowed.test:{site.port}"
    step("tool", r"tool of agent\r\n")
    step(f"python3 -m venv ~/venv && ~/venv/bin/pip install -q --disable-pip-version-check --index-url {url}/simple/ --trusted-host allowed.test thing; echo st''atus $?", r"status 0\r\n")
    step(f"git clone -q {url}/repo.git 2>/dev/null; cd repo && echo clo''ned", r"cloned\r\n")
    (place.workspace / "repo/test_thing.py").write_text(TEST)
    step("~/venv/bin/python -m unittest 2>&1 | tail -1", r"OK\r\n")
    step("git config --global user.name agent; git config --global user.email agent@git.test; git add . && git commit -qm 'A test' && git push -q origin HEAD:main; echo st''atus $?", r"status 0\r\n")
    assert subprocess.run(["git", "-C", tmp_path / "repo.git", "log", "--format=%s", "main"], capture_output=True, text=True).stdout == "A test\n"
    # A server that the host's browser reaches.
    terminal.say("python3 -m http.server 8000 --bind 127.0.0.1 > ~/served 2>&1 & until curl -so /dev/null 127.0.0.1:8000; do :; done; echo ser''ved\n")
    terminal.hear(r"served\r\n")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/test_thing.py", timeout=DEADLINE) as answer:
        assert answer.read().decode() == TEST
    # A second shell, in the window beside.
    second = Terminal(place, *place.prefix, place.sluice, "exec", "sandbox", "--", "bash", "--norc", "--noprofile")
    second.hear("inner> ")
    second.say("curl -s 127.0.0.1:8000/test_thing.py | head -2 | tail -1; git --no-pager -C repo log --format=%s; exit 4\n")
    second.hear(r"import thing, unittest\r\nA test\r\n")
    assert second.end() == 4
    # Job control, and a window that grows.
    terminal.say("sh -c 'echo wait''ing; exec cat'\n")
    terminal.hear(r"waiting\r\n")
    terminal.say("typed\n")
    terminal.hear(r"typed\r\ntyped\r\n")
    terminal.say("\x1a")
    terminal.hear(r"\+ +Stopped +sh")
    terminal.hear("inner> ")
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 150, 0, 0))
    step("stty size", r"50 150\r\n")
    terminal.say("fg\n")
    terminal.hear(r"exec cat'\r\n")
    terminal.say("\x04")
    terminal.hear("inner> ")
    step(f"curl -s http://refused.test/ | head -c 60; echo", r"not_allowed|refused\.test")
    terminal.say("exit 3\n")
    keep = os.dup(terminal.fd)
    assert terminal.end() == 3
    assert termios.tcgetattr(keep)[3] & termios.ECHO and place.running() == []
    os.close(keep)
    assert os.stat(place.workspace / "repo/.git").st_uid == os.stat(place.workspace).st_uid
    place.logged(event="closed", client="sandbox", host="allowed.test", port=site.port)
    place.logged(event="closed", client="sandbox", via="published", port=8000)
    place.logged(event="denied", client="sandbox", host="refused.test", reason="not_allowed")
