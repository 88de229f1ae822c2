#!/usr/bin/env python3
"""Time and memory of the views of a log: a million lines, and again with a new host on each of them."""
import argparse
import json
import os
import random
import subprocess
import tempfile
import time
from datetime import datetime, timezone

VIEWS = (["log", "--human"], ["log", "--event", "limited"], ["learn"], ["top", "--once"])


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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sluice", default="./sluice")
    parser.add_argument("--lines", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, hosts in (("200 hosts", 200), ("a host a line", 1 << 40)):
            log = os.path.join(folder, "log")
            write(log, options.lines, hosts)
            print(f"{options.lines} lines, {os.path.getsize(log) >> 20} MiB, {name}")
            for view in VIEWS:
                wall, cpu, memory = measure([options.sluice, *view, "--log", log])
                print(f"  {' '.join(view):24} {wall:6.2f} s  {cpu:6.2f} s of CPU  {memory:6.0f} MiB")


if __name__ == "__main__":
    main()
