#!/usr/bin/env python3
"""Measures Sluice beside a minimal C relay (the yardstick), Squid, tinyproxy and HAProxy; see README.md.
It relies on Linux /proc, gcc and the standard library; a round starts every proxy anew, pinned to a core of its own.
"""
import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from processes import SEARCH, WAIT, Trouble, anonymous_bytes, free_ports, line_from, settled_cpu, sluice_binary, start, stop, tree
from proxies import Proxy, Site, proxies

HERE = Path(__file__).resolve().parent
OUT = HERE / ".out"
REFUSED = "refused.example:443"

# MARK: the axes

@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    digits: int = 1


@dataclass(frozen=True)
class Axis:
    name: str
    mode: str          # of load
    connections: int
    count: int         # of a full run; bytes for bulk
    quick: int
    metrics: tuple
    seconds: int = 30


def each(what: str) -> Metric:
    return Metric("cpu_us", f"CPU us a {what}")


P50, P99 = Metric("p50_us", "p50 us"), Metric("p99_us", "p99 us")
GB, CPU_GB = Metric("gb_s", "GB/s", 2), Metric("cpu_ms_gb", "CPU ms a GB", 0)
AXES = [
    Axis("open", "open", 32, 8000, 2500, (Metric("rate", "tunnels/s", 0), P50, P99, each("tunnel"))),
    Axis("pingpong", "pingpong", 1, 20000, 5000, (P50, P99, each("round trip"))),
    Axis("pingpong-busy", "pingpong", 64, 80000, 25000,
         (Metric("rate", "round trips/s", 0), P50, P99, each("round trip"))),
    Axis("bulk-up", "bulk-up", 4, 1 << 30, 512 << 20, (GB, CPU_GB)),
    Axis("bulk-down", "bulk-down", 4, 1 << 30, 512 << 20, (GB, CPU_GB)),
    Axis("idle", "idle", 4000, 4000, 4000, (Metric("bytes", "bytes a tunnel", 0),)),
    Axis("refused", "refused", 32, 6000, 2000, (Metric("rate", "refusals/s", 0), P50, P99, each("refusal"))),
    Axis("http", "http", 32, 20000, 5000, (Metric("rate", "requests/s", 0), P50, P99, each("request"))),
    Axis("http-new", "http-new", 32, 6000, 2000, (Metric("rate", "requests/s", 0), P50, P99, each("request"))),
    Axis("half-close", "half-close", 4, 20, 20, (Metric("answer", "answer survives"),), seconds=3),
]


# MARK: one sample

class Bench:
    def __init__(self, folder: Path, options: argparse.Namespace):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Trouble("two cores are needed: one for the proxy, one for the load")
        self.load_core, self.proxy_core = cores[0], cores[1]
        self.folder, self.quick = folder, options.quick
        self.verify = ["--verify-all"] if options.verify else []
        self.serial = 0

    @contextlib.contextmanager
    def site(self, proxy: Proxy, program: str):
        """A fresh upstream (so that no port pair waits in TIME_WAIT from before) and a fresh proxy, warmed up."""
        with contextlib.ExitStack() as stack:
            self.serial += 1
            folder = self.folder / f"{self.serial}-{proxy.name}"
            folder.mkdir(mode=0o755)
            serve = start([OUT / "load", "serve", *self.verify], self.load_core, folder, "upstream",
                          stdout=subprocess.PIPE)
            stack.callback(stop, serve)
            site = Site(folder, int(line_from(serve, WAIT).split()[1]), free_ports(2))
            site.process = start(proxy.command(program, site), self.proxy_core, folder, proxy.name)
            stack.callback(stop, site.process)
            self.await_port(proxy, site)
            site.pids = tree(site.process.pid)
            warm = next(axis for axis in AXES if axis.name == "open")
            self.checked(self.load(proxy, site, warm, 300), f"warm-up of {proxy.name}")
            yield site

    def await_port(self, proxy: Proxy, site: Site) -> None:
        until = time.monotonic() + WAIT
        while time.monotonic() < until and site.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", site.ports[0]), 1):
                return
            time.sleep(0.02)
        said = (site.folder / f"{proxy.name}.output").read_text(errors="replace")[-800:]
        raise Trouble(f"{proxy.name} does not listen (exit status {site.process.poll()}): {said}")

    def command(self, proxy: Proxy, site: Site, axis: Axis, count: int) -> list:
        command = [OUT / "load", axis.mode, "--proxy", site.ports[axis.name in proxy.second],
                   "--upstream", site.upstream, "--connections", axis.connections, "--count", count,
                   "--seconds", axis.seconds, *self.verify]
        command += ["--direct"] if axis.name in proxy.direct else []
        return command + (["--target", REFUSED] if axis.name == "refused" else [])

    def load(self, proxy: Proxy, site: Site, axis: Axis, count: int) -> dict:
        process = start(self.command(proxy, site, axis, count), self.load_core, site.folder, "load",
                        stdout=subprocess.PIPE)
        try:
            return json.loads(process.communicate(timeout=axis.seconds + WAIT)[0])
        except (subprocess.TimeoutExpired, json.JSONDecodeError) as problem:
            raise Trouble(f"load {axis.name} on {proxy.name}: {problem}") from problem
        finally:
            stop(process)

    @staticmethod
    def checked(result: dict, what: str) -> dict:
        if result["failed"] or result["wrong_bytes"] or not result["in_time"] or not result["ok"]:
            raise Trouble(f"{what}: {result['ok']} good, {result['failed']} failed, "
                          f"{result['wrong_bytes']} wrong bytes, in time: {result['in_time']}, "
                          f"status {result['status']}")
        return result

    def sample(self, proxy: Proxy, site: Site, axis: Axis) -> dict:
        if axis.name == "idle":
            return self.idle(proxy, site, axis)
        before = settled_cpu(site.pids)
        result = self.load(proxy, site, axis, axis.quick if self.quick else axis.count)
        if site.process.poll() is not None:
            raise Trouble(f"{proxy.name} ended during {axis.name}")
        if axis.name == "half-close":
            if result["wrong_bytes"]:
                self.checked(result, f"half-close on {proxy.name}")
            return {"answer": float(result["ok"] == axis.quick)}
        self.checked(result, f"{axis.name} on {proxy.name}")
        cpu = settled_cpu(site.pids) - before
        if axis.mode.startswith("bulk"):
            gigabytes = result["bytes"] / 1e9
            return {"gb_s": gigabytes / result["seconds"], "cpu_ms_gb": cpu * 1e3 / gigabytes}
        return {key: result[key] for key in ("rate", "p50_us", "p99_us")} | {"cpu_us": cpu * 1e6 / result["ok"]}

    def idle(self, proxy: Proxy, site: Site, axis: Axis) -> dict:
        tunnels = min(axis.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 2 // 5)
        command = self.command(proxy, site, axis, tunnels)
        command[command.index("--connections") + 1] = tunnels
        before = anonymous_bytes(site.pids)
        process = start(command, self.load_core, site.folder, "load", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            word, _, held = line_from(process, axis.seconds + WAIT).partition(" ")
            settled_cpu(site.pids)
            grown = anonymous_bytes(site.pids) - before
            result = json.loads(process.communicate(timeout=WAIT)[0])
            self.checked(result, f"idle on {proxy.name}")
            if word != "holding" or int(held) != tunnels:
                raise Trouble(f"idle on {proxy.name}: {held.strip()} of {tunnels} tunnels stood")
            return {"bytes": grown / tunnels}
        finally:
            stop(process)


# MARK: all rounds, and what is printed

def measure(bench: Bench, chosen: list, axes: list, rounds: int) -> tuple:
    samples: dict = {}
    troubles: list = []

    @contextlib.contextmanager
    def noting():
        """A failure spoils the run's exit status, not the other samples."""
        try:
            yield
        except (Trouble, OSError) as problem:
            troubles.append(f"round {number + 1}: {problem}")
            print(f"  FAILED {troubles[-1]}", file=sys.stderr, flush=True)

    def take(proxy: Proxy, site: Site, axis: Axis) -> None:
        for key, value in bench.sample(proxy, site, axis).items():
            samples.setdefault(axis.name, {}).setdefault(proxy.name, {}).setdefault(key, []).append(value)

    for number in range(rounds):
        order = chosen[number % len(chosen):] + chosen[:number % len(chosen)]  # nobody always follows the same one
        with contextlib.ExitStack() as stack:
            sites = {}
            for proxy, program in order:
                with noting():
                    sites[proxy.name] = stack.enter_context(bench.site(proxy, program))
            for axis in axes:
                print(f"round {number + 1} of {rounds}: {axis.name}", file=sys.stderr, flush=True)
                for proxy, program in order:
                    if axis.name not in proxy.axes or proxy.name not in sites:
                        continue
                    with noting():
                        if axis.name != "idle":
                            take(proxy, sites[proxy.name], axis)
                            continue
                        with bench.site(proxy, program) as fresh:  # a heap that has seen peaks would hide the growth
                            take(proxy, fresh, axis)
    return samples, troubles


def cell(values: list | None, base: list | None, metric: Metric, is_base: bool) -> str:
    if not values:
        return "-"
    if metric.key == "answer":
        return "yes" if min(values) == 1 else "no"
    middle = statistics.median(values)
    text = f"{middle:,.{metric.digits}f}"
    reference = statistics.median(base) if base else 0
    return text if is_base or reference <= 0 else f"{text} {middle / reference:6.2f}x"


def table(samples: dict, axes: list, names: list) -> str:
    rows = [["", *names]]
    for axis in axes:
        got = samples.get(axis.name, {})
        for metric in axis.metrics:
            base = got.get("yardstick", {}).get(metric.key)
            rows.append([f"{axis.name}: {metric.title}"] +
                        [cell(got.get(name, {}).get(metric.key), base, metric, name == "yardstick") for name in names])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    pad = [str.ljust] + [str.rjust] * len(names)
    return "\n".join("  ".join(put(text, width) for put, text, width in zip(pad, row, widths)) for row in rows)


def report(samples: dict, troubles: list, names: list, versions: dict, options: argparse.Namespace) -> dict:
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    medians = {axis: {name: {key: {"median": statistics.median(values), "samples": values}
                             for key, values in keys.items()} for name, keys in got.items()}
               for axis, got in samples.items()}
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "kernel": os.uname().release, "cpu": model,
            "cores": len(os.sched_getaffinity(0)), "load_average": os.getloadavg(), "rounds": options.rounds,
            "quick": options.quick, "proxies": {name: versions[name] for name in names}, "axes": medians,
            "failures": troubles}


# MARK: the command line

def compile_programs() -> None:
    OUT.mkdir(exist_ok=True)
    for name in ("load", "yardstick"):
        sources = sorted((HERE / name).glob("*.c"))
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", OUT / name, *sources]
        subprocess.run(command, check=True, timeout=120)


def version_of(program: str, arguments: tuple) -> str:
    if not arguments:
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=WAIT)
        return next(iter((done.stdout or done.stderr).splitlines()), "")
    return ""


def choose(text: str | None, known: list, what: str) -> list:
    if text is None:
        return known
    names = [name for name in text.split(",") if name]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise Trouble(f"--{what}: no such name: {', '.join(wrong)}; there are {', '.join(known)}")
    return [name for name in known if name in names]


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sluice", type=sluice_binary, default=str(HERE.parent / "sluice"), help="its binary")
    parser.add_argument("--proxies", help="only these, with commas (yardstick,sluice,squid,tinyproxy,haproxy)")
    parser.add_argument("--only", help="only these axes, with commas: " + ",".join(axis.name for axis in AXES))
    parser.add_argument("--rounds", type=int, help="default 5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="small samples, one round: about a minute")
    parser.add_argument("--verify", action="store_true", help="compare every bulk byte, not samples (costs throughput)")
    parser.add_argument("--json", metavar="FILE", help="write all samples and medians there")
    options = parser.parse_args()
    options.rounds = options.rounds if options.rounds is not None else (1 if options.quick else 5)
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    return options


def run(options: argparse.Namespace) -> int:
    every = proxies(options.sluice, str(OUT / "yardstick"))
    names = choose(options.proxies, [proxy.name for proxy in every], "proxies")
    axis_names = choose(options.only, [axis.name for axis in AXES], "only")
    axes = [axis for axis in AXES if axis.name in axis_names]
    compile_programs()
    chosen = []
    for proxy in every:
        if proxy.name not in names:
            continue
        program = shutil.which(proxy.program, path=SEARCH)
        if program:
            chosen.append((proxy, program))
        else:
            print(f"{proxy.name} is not installed: skipped", file=sys.stderr)
    if not chosen:
        raise Trouble("no proxy is left to measure")
    if os.getloadavg()[0] > 0.5:
        print(f"note: the machine is busy (load average {os.getloadavg()[0]:.1f}): rates and latencies say little",
              file=sys.stderr)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    shared = Path("/dev/shm")  # logs go to memory: a disk is no part of the question
    parent = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=parent) as place:
        os.chmod(place, 0o755)
        samples, troubles = measure(Bench(Path(place), options), chosen, axes, options.rounds)
    names = [proxy.name for proxy, _ in chosen]
    print(f"medians of {options.rounds} round(s); Nx: that many times the yardstick")
    print(table(samples, axes, names))
    if "haproxy" in names:
        print("haproxy speaks no CONNECT: its tunnels are bare TCP connections, its HTTP that of a reverse proxy")
    versions = {proxy.name: version_of(program, proxy.version) for proxy, program in chosen}
    if options.json:
        Path(options.json).write_text(json.dumps(report(samples, troubles, names, versions, options), indent=1) + "\n")
    for trouble in troubles:
        print(f"FAILED {trouble}", file=sys.stderr)
    return 1 if troubles else 0


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        return run(options_of())
    except (Trouble, subprocess.SubprocessError) as problem:
        print(f"run.py: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
