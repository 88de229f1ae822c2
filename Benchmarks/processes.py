"""Starts and ends the processes of the benchmark, and reads what they cost: CPU time and user-space memory.
It relies on Linux /proc and CPU clocks of other processes; only processes started here are ever ended.
"""
import argparse
import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

WAIT = 15.0  # seconds: the longest any start or stop may take
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Trouble(Exception):
    """What makes a run worthless: a proxy that does not start, a run that cannot be read."""


def sluice_binary(text: str) -> str:
    """The value of --sluice, absolute: a bare name is a file of this folder, and is not searched for in PATH."""
    path = Path(text).resolve()
    if not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"no program at {path}; run `make release`, or give --sluice FILE")
    return str(path)


def start(command: list, core: int, folder: Path, name: str, **more) -> subprocess.Popen:
    log = open(folder / f"{name}.output", "ab")
    with log:
        return subprocess.Popen([str(word) for word in command], cwd=folder, start_new_session=True,
                                stderr=log, stdin=more.pop("stdin", subprocess.DEVNULL),
                                stdout=more.pop("stdout", log), env={**os.environ, "PATH": SEARCH},
                                preexec_fn=lambda: os.sched_setaffinity(0, {core}), **more)


def stop(process: subprocess.Popen) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        os.killpg(process.pid, number)  # the session made by start(): nothing else is in it, and it is not reaped yet
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


def line_from(process: subprocess.Popen, seconds: float) -> str:
    if not select.select([process.stdout], [], [], seconds)[0]:
        raise Trouble(f"{process.args[0]} said nothing for {seconds:.0f} s")
    return process.stdout.readline().decode()


def tree(pid: int) -> list:
    """The process and all below it."""
    children: dict = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_seconds(pids: list) -> float:
    """CPU time in nanosecond steps, threads that are gone included: clock_getcpuclockid(3) of each process."""
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids) / 1e9


def settled_cpu(pids: list) -> float:
    """CPU time once the proxy has come to rest: it may still be closing what the load has left."""
    last, until = cpu_seconds(pids), time.monotonic() + 2
    while time.monotonic() < until:
        time.sleep(0.03)
        now = cpu_seconds(pids)
        if now - last < 0.0003:
            return now
        last = now
    return last


def anonymous_bytes(pids: list) -> int:
    """User-space memory that only these processes cause: heap, stacks, anonymous maps."""
    total = 0
    for pid in pids:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        total += int(fields.get("Pss_Anon", fields["Anonymous"]).split()[0]) * 1024
    return total


def free_ports(count: int) -> list:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
