#!/usr/bin/env python3
"""Measures the time from the start of `sluice run` to its command's first instruction, beside unshare(1) and bubblewrap.
It relies on root, to start all of them as a user without rights; the command is a small program that tells the time.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import sluice_binary

UID = 60000 + os.getpid() % 5000
BAR_MS = 30
STAMP = r"""
#include <stdio.h>
#include <time.h>
int main(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec) < 0;
}
"""


class Place:
    """A folder that the user may reach, with the binary, the command, a policy and a workspace."""

    def __init__(self, sluice):
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-launch-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        shutil.copy(sluice, self.folder / "sluice")
        self.work, self.state = self.folder / "work", self.folder / "state"
        for one in (self.work, self.state):
            one.mkdir()
            os.chown(one, UID, UID)
        (self.work / "stamp.c").write_text(STAMP)
        subprocess.run(["gcc", "-O2", "-static", "-o", self.work / "stamp", self.work / "stamp.c"], check=True)
        self.policy = self.folder / "policy.yaml"
        self.policy.write_text("network_policy:\n  allow: [api.example:443, index.example:443, db.example:5432]\n"
                               "resolver: {servers: [127.0.0.1]}\n")
        self.environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.state)}

    def popen(self, *command, **more):
        return subprocess.Popen([str(one) for one in command], cwd=self.work, env=self.environment, user=UID, group=UID, extra_groups=[],
                                stdin=subprocess.DEVNULL, text=True, **more)

    def launch_ms(self, command):
        """One launch, in milliseconds."""
        started = time.monotonic_ns()
        process = self.popen(*command, self.work / "stamp", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, errors = process.communicate(timeout=60)
        if process.returncode != 0 or not out:
            raise SystemExit(f"launch.py: {' '.join(str(one) for one in command)}: {process.returncode}, {errors}")
        return (int(out) - started) / 1e6

    def close(self):
        shutil.rmtree(self.folder)


def contenders(place):
    run = [place.folder / "sluice", "run", "--policy", place.policy, "--log", place.state / "log"]
    plain = place.popen(*run, "--", "true", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limits = [] if plain.wait() == 0 else ["--limits", "best-effort"]
    print(f"limits: {'cgroup' if not limits else 'best effort'}", file=sys.stderr)
    found = {
        "unshare": ["unshare", "--user", "--map-current-user", "--mount", "--net", "--pid", "--fork", "--ipc", "--uts", "--cgroup", "--"],
        "sluice run": [*run, *limits, "--"],
        "sluice run --no-probe": [*run, *limits, "--no-probe", "--"],
    }
    if shutil.which("bwrap"):
        found["bubblewrap"] = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--dev", "/dev", "--proc",
                               "/proc", "--tmpfs", "/tmp", "--bind", place.work, place.work, "--chdir", place.work, "--"]
    return found


def measure(place, rounds):
    """Medians by name. Each round goes round all of them, and the order turns, so that what else the machine does hits all alike."""
    commands = contenders(place)
    names, samples = list(commands), {name: [] for name in commands}
    for number in range(rounds + 2):
        for name in names:
            taken = place.launch_ms(commands[name])
            # The first two warm up.
            if number >= 2:
                samples[name].append(taken)
        names = names[1:] + names[:1]
    return samples


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sluice", type=sluice_binary, default=str(Path(__file__).parents[1] / "sluice"))
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("launch.py: starting as another user needs root")
    place = Place(Path(chosen.sluice))
    try:
        samples = measure(place, chosen.rounds)
    finally:
        place.close()
    bare = statistics.median(samples["unshare"])
    medians = {name: statistics.median(times) for name, times in samples.items()}
    if chosen.json:
        print(json.dumps({name: {"median_ms": medians[name], "least_ms": min(times)} for name, times in samples.items()}))
    else:
        print(f"{'ms to the first instruction':28}{'median':>8}{'p10':>8}{'p90':>8}{'beyond unshare':>16}")
        for name, times in samples.items():
            tenths = statistics.quantiles(times, n=10)
            print(f"{name:28}{medians[name]:8.1f}{tenths[0]:8.1f}{tenths[-1]:8.1f}{medians[name] - bare:16.1f}")
    return 0 if medians["sluice run"] - bare <= BAR_MS else 1


if __name__ == "__main__":
    sys.exit(main())
