"""`sluice ps`, `exec` and `stop`: a running sandbox is listed, runs further commands, and can be stopped."""
import json
import os
import re
import signal
import subprocess

import pytest

from gate import DEADLINE, until
from test_run import Terminal

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

CONFINEMENT = """
import json, os, resource
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def attempt(path):
    try:
        open(path, "w").close()
        return "written"
    except OSError as error:
        return error.errno
print(json.dumps({
    "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))},
    "status": {name: status[name].split() for name in ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters")},
    "limits": [resource.getrlimit(one) for one in range(16)], "environment": {k: v for k, v in os.environ.items() if k not in ("_", "SHLVL", "TERM", "PWD", "OLDPWD")},
    "folder": os.getcwd(), "mounts": sorted(open("/proc/self/mounts").read().splitlines()), "cgroup": open("/proc/self/cgroup").read(),
    "descriptors": sorted(os.listdir("/proc/self/fd"))[:4], "parent": bool(os.environ.get("SECRET")),
    "writes": [attempt(path) for path in ("/usr/x", "/etc/passwd", "/x", "/proc/sys/kernel/hostname", "ok")],
}))
"""


@pytest.fixture
def first(place):
    """A sandbox whose command waits, and ends with 9 where it is asked to."""
    process = place.start("bash", "-c", "trap 'exit 9' TERM; python3 -c \"$CODE\" > first; echo up; while :; do sleep 0.05; done",
                          options=("--limits", "best-effort", "--env", f"CODE={CONFINEMENT}"), env={"SECRET": "x"})
    assert process.stdout.readline() == "up\n", process.communicate()
    yield process
    process.kill()
    process.communicate()


def test_a_further_command_has_what_the_first_has_and_nothing_more(place, first):
    (record,) = place.running()
    assert record["name"] == "sandbox" and record["pid"] in place.processes() and record["workspace"] == str(place.workspace), record
    assert re.search(r"^sandbox +sandbox-\d+ +\d+ .*bash -c", place.command("ps").stdout, re.M)
    got = place.command("exec", "sandbox", "--", "python3", "-c", CONFINEMENT)
    assert json.loads(got.stdout) == json.loads((place.workspace / "first").read_text()), got
    got = place.command("exec", "sandbox", "--", "curl", "-s", "http://refused.test/")
    assert '"reason":"not_allowed"' in got.stdout, got
    place.logged(event="denied", client="sandbox", host="refused.test", reason="not_allowed")
    assert os.stat(place.state / "sluice").st_mode & 0o777 == 0o700


def test_a_further_commands_streams_status_and_signals(place, first):
    assert place.command("exec", "sandbox", "--", "cat", input="through\n" * 50_000).stdout == "through\n" * 50_000
    for script, status in (("exit 7", 7), ("kill -TERM $$", 143)):
        assert place.command("exec", "sandbox", "--", "bash", "-c", script).returncode == status
    for command, status, says in (("no-such-program", 127, "no such command"), ("/etc", 126, "not a program")):
        got = place.command("exec", "sandbox", "--", command)
        assert got.returncode == status and says in got.stderr, got
    process = subprocess.Popen([*place.prefix, place.sluice, "exec", "sandbox", "--", "bash", "-c", "trap 'echo told; exit 5' USR1; echo up; while :; do sleep 0.05; done"],
                               env=place.environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=DEADLINE)[0] == "told\n" and process.returncode == 5
    # Where who asked is killed, the command is hung up.
    process = subprocess.Popen([*place.prefix, place.sluice, "exec", "sandbox", "--", "bash", "-c", "echo up; exec sleep 1234"], env=place.environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.communicate()
    until("it has ended", lambda: not any("1234" in line for line in place.processes().values()))


def test_a_second_shell_has_a_terminal_of_its_own(place, first):
    terminal = Terminal(place, *place.prefix, place.sluice, "exec", "sandbox", "--", "bash", "--norc", "--noprofile")
    terminal.hear(r"\$ ")
    terminal.say("stty size; tty; echo $TERM\n")
    terminal.hear(r"31 97\r\n/dev/pts/\d+\r\ndumb\r\n")
    terminal.say("sh -c 'echo run''ning; exec sleep 1000'\n")
    terminal.hear(r"running\r\n")
    terminal.say("\x1a")
    terminal.hear(r"\[1\]\+ +Stopped")
    # A shell that has not yet heard of the job's end asks once whether it is to exit.
    terminal.say("kill %1; exit 7\nexit 7\n")
    terminal.hear("exit\r\n")
    assert terminal.end() == 7


def test_who_may_ask_for_a_further_command(place, first):
    (record,) = place.running()
    got = place.command("exec", "other", "--", "true")
    assert got.returncode == 125 and "`sluice ps` lists them" in got.stderr, got
    stranger = subprocess.run([*place.prefix, "unshare", "--user", "--map-current-user", "--pid", "--fork", place.sluice, "exec", "sandbox", "--", "true"],
                              env=place.environment(), capture_output=True, text=True)
    assert stranger.returncode == 125 and "pid namespace" in stranger.stderr, stranger
    # The folder is not visible inside.
    got = place.run("true", options=("--limits", "best-effort", "--read-only", place.state))
    assert got.returncode == 125 and "the folder of this user's sandboxes" in got.stderr, got
    second = place.start("sleep", "1000")
    until("there are two", lambda: len(place.running()) == 2)
    got = place.command("exec", "sandbox", "--", "true")
    assert got.returncode == 125 and f"sandbox-{record['pid']}" in got.stderr, got
    assert place.command("exec", f"sandbox-{record['pid']}", "--", "ls", "first").stdout == "first\n"
    second.kill()
    second.communicate()
    until("its record is gone", lambda: place.running() == [record] and len(os.listdir(place.state / "sluice")) == 2)


def test_a_sandbox_is_stopped(place, first):
    further = subprocess.Popen([*place.prefix, place.sluice, "exec", "sandbox", "--", "bash", "-c", "echo up; sleep 1000"], env=place.environment(),
                               stdout=subprocess.PIPE, text=True)
    assert further.stdout.readline() == "up\n"
    got = place.command("stop", "sandbox")
    assert got.returncode == 0 and first.wait(timeout=DEADLINE) == 9, got
    assert further.wait(timeout=DEADLINE) == 137
    place.leaves_nothing()
    assert place.running() == [] and os.listdir(place.state / "sluice") == []
    deaf = place.start("bash", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    assert deaf.stdout.readline() == "up\n"
    got = place.command("stop", "--grace", "0", "sandbox")
    assert got.returncode == 1 and "was killed" in got.stderr and deaf.wait(timeout=DEADLINE) == -9, got
    place.leaves_nothing()
    assert place.command("stop", "sandbox").returncode == 2
