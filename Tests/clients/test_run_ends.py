"""A run leaves nothing behind, however it ends and however many run at once."""
import concurrent.futures
import ctypes
import glob
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from gate import DEADLINE, until
from sandbox import UID

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

RUNS = 100
RENAME_EXCHANGE = 2


def temporary_files():
    """The user's, where all users have theirs."""
    found = set()
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
        for entry in os.scandir(folder):
            try:
                if entry.stat(follow_symlinks=False).st_uid == UID:
                    found.add(entry.path)
            except FileNotFoundError:
                continue
    return found


def namespaces_that_live():
    """Of all processes, and those that an open descriptor or a mount keeps alive without one."""
    found = set()
    for link in glob.glob("/proc/[0-9]*/ns/*") + glob.glob("/proc/[0-9]*/fd/*"):
        try:
            found.add(os.readlink(link))
        except OSError:
            continue
    return found | {line.split()[3] for line in open("/proc/self/mountinfo") if " nsfs " in line}


def cgroups():
    return {folder for folder, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(folder).startswith("sluice-")}


def listening():
    """Sockets of the user's: they would be those of a gate or of a sandbox that is still there."""
    return [line for table in ("tcp", "tcp6", "udp", "udp6") for line in open(f"/proc/net/{table}") if line.split()[7] == str(UID)]


def test_a_hundred_at_once_end_with_their_status_and_leave_nothing(place):
    before = cgroups()
    barrier = place.workspace / "go"
    script = "ls -l /proc/self/ns | sed -n 's/.*-> //p' > ns$1; until [ -e go ]; do sleep 0.1; done; exit $1"

    def one(number):
        return place.start("bash", "-c", script, "bash", str(number), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    with concurrent.futures.ThreadPoolExecutor(RUNS) as pool:
        runs = list(pool.map(one, range(1, RUNS + 1)))
        try:
            # All of them are there at the same time before the first may end.
            until("all have told", lambda: sum(path.stat().st_size > 100 for path in place.workspace.glob("ns*")) == RUNS
                  or any(one.poll() is not None for one in runs))
            mine = set()
            for path in place.workspace.glob("ns*"):
                mine |= set(path.read_text().split()) - {os.readlink(one) for one in Path("/proc/self/ns").iterdir()}
            alive = namespaces_that_live()
        finally:
            barrier.touch()
            errors = list(pool.map(lambda run: run.communicate(timeout=DEADLINE * 3)[1], runs))
    assert [one.returncode for one in runs] == list(range(1, RUNS + 1)), {one.returncode: text for one, text in zip(runs, errors)}
    # Their own: mounts, processes, network, users, host name, IPC, cgroups. No two share one.
    assert len(mine) == RUNS * 7 and mine <= alive
    place.leaves_nothing()
    assert not mine & namespaces_that_live()
    assert not listening()
    assert not temporary_files()
    assert cgroups() == before


LEFT = ("bash", "-c", "touch started; setsid sleep 1000 & sleep 1000")


def test_a_kill_at_any_moment_leaves_nothing(place):
    started = time.monotonic()
    assert place.run("true").returncode == 0
    launch = time.monotonic() - started
    seed = random.randrange(1 << 30)
    print("seed", seed, "a launch takes", launch)
    dice = random.Random(seed)
    for _ in range(40):
        process = place.start(*LEFT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0, 1.5 * launch))
        # The pid is that of setpriv, which becomes sluice by exec.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    place.leaves_nothing()


class Traced:
    """A process that stands still at each of its system calls. One thread has to do all of this."""

    TRACEME, CONT, KILL, SYSCALL, SETOPTIONS, EXITKILL = 0, 7, 8, 24, 0x4200, 0x100000
    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, place, *command):
        arguments = [str(one) for one in place.arguments(*command)]
        environment = place.environment()
        self.pid = os.fork()
        if self.pid == 0:
            os.chdir(place.workspace)
            null = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            self.libc.ptrace(self.TRACEME, 0, None, None)
            os.execvpe(shutil.which(arguments[0]), arguments, environment)
        assert os.WIFSTOPPED(os.waitpid(self.pid, 0)[1])
        self.ask(self.SETOPTIONS, self.EXITKILL)

    def ask(self, request, data=0):
        assert self.libc.ptrace(request, self.pid, None, ctypes.c_void_p(data)) == 0, os.strerror(ctypes.get_errno())

    def step(self):
        """To where a system call begins or ends; whether it is still there."""
        number = 0
        while True:
            self.ask(self.SYSCALL, number)
            status = os.waitpid(self.pid, 0)[1]
            if not os.WIFSTOPPED(status):
                return False
            number = os.WSTOPSIG(status)
            if number == signal.SIGTRAP:
                return True

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        while os.WIFSTOPPED(os.waitpid(self.pid, 0)[1]):
            pass


def test_a_kill_at_any_system_call_of_the_launch_leaves_nothing(place):
    """Of the main thread, which launches; no clock is in it."""
    mark = place.workspace / "started"
    whole, steps = Traced(place, *LEFT), 0
    while not mark.exists():
        assert whole.step()
        steps += 1
    whole.kill()
    place.leaves_nothing()
    seed = random.randrange(1 << 30)
    print("seed", seed, "steps", steps)
    for count in sorted(random.Random(seed).sample(range(1, steps), 40)):
        process = Traced(place, *LEFT)
        for _ in range(count):
            assert process.step()
        process.kill()
        place.leaves_nothing()


def test_links_that_change_while_a_sandbox_is_made_lead_nowhere(user_place):
    """An agent that runs already, in the same workspace: what the launch protects there is now a folder and now a link out."""
    place = user_place
    outside = place.folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for one in (outside, outside / "secret"):
        os.chown(one, UID, UID)
    git = place.workspace / ".git"
    (git / "hooks").mkdir(parents=True)
    (git / "hooks" / "mine").write_text("mine")
    os.symlink(outside, git / "link")
    for one in (git, git / "hooks", git / "hooks" / "mine"):
        os.chown(one, UID, UID)
    is_over, swaps = threading.Event(), 0

    def swap():
        nonlocal swaps
        names = [ctypes.c_char_p(os.fsencode(git / name)) for name in ("link", "hooks")]
        while not is_over.is_set():
            swaps += Traced.libc.renameat2(-100, names[0], -100, names[1], RENAME_EXCHANGE) == 0

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        ends = [place.shell("cat .git/hooks/secret; touch .git/hooks/new .git/hooks/secret .git/hooks/mine && echo written") for _ in range(40)]
    finally:
        is_over.set()
        racer.join()
    assert swaps > 1000 and all(one.stdout == "" for one in ends), ends
    assert sorted(os.listdir(outside)) == ["secret"] and (outside / "secret").read_text() == "secret"
    # The file is made or not, and both happen; the step that met a link reports it.
    print({status: [one.returncode for one in ends].count(status) for status in (1, 125)})
    assert {one.returncode for one in ends} == {1, 125}, ends
    assert all("pin" in one.stderr or "hooks" in one.stderr for one in ends if one.returncode == 125), ends
