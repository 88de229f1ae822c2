#!/usr/bin/env python3
"""Time and memory of the views of a log: a million lines, and again with a new host on each of them."""
import argparse
import contextlib
import json
import os
import random
import re
import subprocess
import tempfile
import time
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

from processes import sluice_binary

VIEWS = (["log", "--human"], ["log", "--event", "limited"], ["learn"], ["top", "--once"], ["dashboard", "--once"])


def write(path, lines, hosts):
    chance = random.Random(1)
    with open(path, "w") as file:
        for number in range(lines):
            at = datetime.fromtimestamp(1_795_614_882 + number / 500, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            one = {"v": 1, "time": at, "seq": number + 1}
            rest = {"id": f"{number:x}", "client": f"client{number % 8}", "via": "connect", "host": f"host{chance.randrange(hosts)}.example.com",
                    "port": 443, "rule": f"agent.yaml:{number % 40}", "policy": "00ff00ff00ff00ff"}
            kind = chance.random()
            if kind < 0.7:
                one |= {"event": "closed"} | rest | {"address": "93.184.216.34", "bytes_up": 517, "bytes_down": 20480, "duration_ms": 1500, "inspected": False}
            elif kind < 0.9:
                one |= {"event": "denied"} | rest | {"reason": "not_allowed", "bytes_up": 0, "bytes_down": 0, "duration_ms": 1, "inspected": False}
            else:
                one |= {"event": "limited"} | rest | {"reason": "rate_limited", "tokens": 0, "capacity": 60, "per_minute": 60}
            file.write(json.dumps(one, separators=(",", ":")) + "\n")


def measure(command):
    with open(os.devnull, "wb") as nothing:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=nothing, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1), command
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@contextlib.contextmanager
def follower(sluice, log, out):
    """`sluice log --follow`; how many bytes it has written."""
    with open(out, "wb") as nothing:
        process = subprocess.Popen([sluice, "log", "--follow", "--log", log], stdout=nothing)
    yield process, lambda: os.path.getsize(out)
    process.terminate()
    process.wait()


@contextlib.contextmanager
def dashboard(sluice, log):
    """`sluice dashboard`; how many lines its figures are of."""
    process = subprocess.Popen([sluice, "dashboard", "--log", log, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    url = re.search(r"http://\S+", process.stderr.readline()).group(0)
    open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def lines():
        with open_url(f"{url}figures?span=all") as answer:
            return json.load(answer)["log"]["lines"]

    yield process, lines
    process.terminate()
    process.wait()
    process.stderr.close()


def resident_mib(process):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{process.pid}/status").read()).group(1)) / 1024


def follow(log, batch, unit, begin, rate, seconds=5):
    """How long after a line was written it is there, at worst, while the log is rotated each second."""
    file = open(log, "ab", buffering=0)
    with begin as (process, seen):
        file.write(batch)
        while seen() < unit:
            time.sleep(0.01)
        written, worst, started = unit, 0.0, time.monotonic()
        for turn in range(20 * seconds):
            if turn % 20 == 10:
                os.rename(log, f"{log}.{turn}")
                file = open(log, "ab", buffering=0)
            at = time.monotonic()
            file.write(batch)
            written += unit
            if turn % 5 == 4:
                while seen() < written:
                    time.sleep(0.002)
                worst = max(worst, time.monotonic() - at)
            time.sleep(max(0, started + (turn + 1) / 20 - time.monotonic()))
        took = time.monotonic() - started
        assert seen() == written, "a line was lost or came twice"
    return rate * seconds / took, worst


def load(sluice, log, lines):
    """Until the page has all of a log, and how long it was without an answer at worst meanwhile."""
    started, worst = time.monotonic(), 0.0
    with dashboard(sluice, log) as (process, seen):
        while True:
            at = time.monotonic()
            count = seen()
            worst = max(worst, time.monotonic() - at)
            if count == lines:
                return time.monotonic() - started, worst, resident_mib(process)
            time.sleep(0.25)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sluice", type=sluice_binary, default=str(Path(__file__).parents[1] / "sluice"))
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=20_000, help="lines a second that are followed")
    parser.add_argument("--seconds", type=int, default=5, help="how long they are followed, with a rotation each second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, hosts in (("200 hosts", 200), ("a host a line", 1 << 40)):
            log = os.path.join(folder, "log")
            write(log, options.lines, hosts)
            print(f"{options.lines} lines, {os.path.getsize(log) >> 20} MiB, {name}")
            for view in VIEWS:
                wall, cpu, memory = measure([options.sluice, *view, "--log", log])
                print(f"  {' '.join(view):24} {wall:6.2f} s  {cpu:6.2f} s of CPU  {memory:6.0f} MiB")
            took, silent, memory = load(options.sluice, log, options.lines)
            print(f"  dashboard, served        {took:6.2f} s until it has all; an answer took {silent * 1000:.0f} ms at most meanwhile; {memory:.0f} MiB")
        rate, text = options.rate, os.path.join(folder, "text")
        write(text, rate // 20, 200)
        with open(text, "rb") as file:
            batch = file.read()
        for name, unit, begin in (("log", len(batch), lambda log: follower(options.sluice, log, os.path.join(folder, "out"))),
                                  ("dashboard", rate // 20, lambda log: dashboard(options.sluice, log))):
            log = os.path.join(folder, f"followed-{name}")
            open(log, "wb").close()
            got, worst = follow(log, batch, unit, begin(log), rate, options.seconds)
            print(f"{name} followed over {options.seconds} rotations: {got:.0f} lines a second, the latest one there {worst * 1000:.0f} ms after it was written")


if __name__ == "__main__":
    main()
