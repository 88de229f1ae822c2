#!/usr/bin/env python3
"""Measures what `shared_limits` costs beside the same gate that counts alone: CPU a CONNECT, latency, Redis operations.
It relies on the load generator of run.py and on redis-server; both gates run on one core and take turns.
"""
import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from processes import Trouble, free_ports, line_from, settled_cpu, sluice_binary, start, stop

HERE = Path(__file__).resolve().parent
BARS = {"cpu": 1.03, "p50_us": 1000, "p99_us": 5000, "operations": 20}


def build_load(folder):
    binary = folder / "load"
    sources = [str(HERE / "load" / name) for name in ("client.c", "common.c", "main.c", "upstream.c")]
    subprocess.run(["gcc", "-O2", "-o", binary, *sources], check=True)
    return binary


class Gate:
    def __init__(self, folder, name, sluice, core, limits, redis, port):
        self.name, self.port, self.admin = name, free_ports(1)[0], folder / f"{name}.sock"
        rules = "".join(f'    - {{host: "{host}:{port}", addresses: [127.0.0.0/8], protocol: tcp}}\n' for host in limits)
        rates = "".join(f'    - {{host: "{host}:{port}", {limit}}}\n' for host, limit in limits.items())
        shared = f"shared_limits: {{redis: \"redis://127.0.0.1:{redis}\", group: bench}}\n" if redis else ""
        (folder / f"{name}.yaml").write_text(
            f"network_policy:\n  allow:\n{rules}  rate_limits:\n{rates}{shared}log: {{file: /dev/null}}\n")
        self.process = start([sluice, "serve", "--policy", folder / f"{name}.yaml", "--workers", "1", "--listen-connect",
                              f"127.0.0.1:{self.port}", "--listen-admin", self.admin], core, folder, name)
        self.sluice = sluice
        wanted = "shared" if redis else None
        until = time.monotonic() + 20
        while not (self.admin.exists() and (wanted is None or (self.shared() or {}).get("state") == wanted)):
            if time.monotonic() > until or self.process.poll() is not None:
                raise Trouble(f"{name} does not start: see {folder}/{name}.output")
            time.sleep(0.05)

    def shared(self):
        done = subprocess.run([self.sluice, "status", "--json", "--socket", self.admin], capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[0])["shared_limits"] if done.returncode == 0 else None


def connect_us(port, target):
    """How long one CONNECT takes, and whether it was let out."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
    began = time.perf_counter_ns()
    sock.sendall(request)
    answer = sock.recv(4096)
    took = (time.perf_counter_ns() - began) / 1000
    sock.close()
    return took, answer.startswith(b"HTTP/1.1 200")


def latencies(gates, target, count, pause):
    """Of CONNECTs that alternate between two gates."""
    found = {gate.name: [] for gate in gates}
    for number in range(count):
        for gate in gates if number % 2 else reversed(gates):
            took, good = connect_us(gate.port, target)
            if not good:
                raise Trouble(f"{gate.name} refused {target}: the limit is to be above this load")
            found[gate.name].append(took)
        time.sleep(pause)
    return {name: (statistics.median(all_), sorted(all_)[int(len(all_) * 0.99)]) for name, all_ in found.items()}


def accepting():
    """An upstream that takes connections and says nothing."""
    listener = socket.create_server(("0.0.0.0", 0), backlog=1024)

    def run():
        while True:
            sock, _ = listener.accept()
            sock.close()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def measure(options, folder):
    cores = sorted(os.sched_getaffinity(0))
    load_core, gate_core = cores[0], cores[-1]
    load, redis_port = build_load(folder), free_ports(1)[0]
    redis = start(["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", folder], load_core, folder, "redis")
    upstream = start([load, "serve"], load_core, folder, "upstream", stdout=subprocess.PIPE)
    port = int(line_from(upstream, 10).split()[1])
    quiet = accepting()
    running = [redis, upstream]
    try:
        time.sleep(0.3)
        open_limits = {"127.0.0.1": "requests_per_minute: 100000000"}
        pair = [Gate(folder, "alone", options.sluice, gate_core, open_limits, None, port),
                Gate(folder, "shared", options.sluice, gate_core, open_limits, redis_port, port)]
        running += [gate.process for gate in pair]
        ratios, cost = [], {"alone": [], "shared": []}
        for number in range(options.rounds + 1):
            for gate in pair if number % 2 else reversed(pair):
                before = settled_cpu([gate.process.pid])
                done = subprocess.run([str(word) for word in (
                    load, "open", "--proxy", gate.port, "--upstream", port, "--target", f"127.0.0.1:{port}", "--connections", 32, "--count", options.count)],
                    capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {load_core}))
                if done.returncode:
                    raise Trouble(f"load: {done.stdout} {done.stderr}")
                cost[gate.name].append((settled_cpu([gate.process.pid]) - before) * 1e6 / options.count)
            # The first round warms up.
            if number:
                ratios.append(cost["shared"][-1] / cost["alone"][-1])
        ratio = statistics.median(ratios)
        print(f"CPU a CONNECT: alone {statistics.median(cost['alone'][1:]):.1f} us, shared {statistics.median(cost['shared'][1:]):.1f} us; "
              f"paired ratio {ratio:.3f} (quartiles {' '.join(f'{one:.3f}' for one in statistics.quantiles(ratios, n=4))}), bar {BARS['cpu']}")
        for gate in pair:
            stop(gate.process)

        results = {"cpu": ratio}
        limits = {"127.0.0.11": "requests_per_minute: 100", "127.0.0.12": "requests_per_minute: 600", "127.0.0.13": "requests_per_minute: 6000"}
        pair = [Gate(folder, "alone2", options.sluice, gate_core, limits, None, quiet), Gate(folder, "shared2", options.sluice, gate_core, limits, redis_port, quiet)]
        running += [gate.process for gate in pair]
        for rate, host, count, pause in ((100, "127.0.0.11", 80, 0.1), (600, "127.0.0.12", 500, 0.02), (6000, "127.0.0.13", 2000, 0.005), (6000, "127.0.0.13", 12, 3.0)):
            found = latencies(pair, f"{host}:{quiet}", count, pause)
            added = [shared - alone for shared, alone in zip(found["shared2"], found["alone2"])]
            label = f"{rate} a minute, a request each {pause:g} s"
            print(f"{label:40} alone p50 {found['alone2'][0]:.0f} p99 {found['alone2'][1]:.0f} us; shared p50 {found['shared2'][0]:.0f} p99 {found['shared2'][1]:.0f} us; "
                  f"added {added[0]:.0f} and {added[1]:.0f}")
            results["p50_us"] = max(results.get("p50_us", 0), added[0])
            results["p99_us"] = max(results.get("p99_us", 0), added[1])
        for gate in pair:
            stop(gate.process)

        for gates, what in ((1, "one gate"), (4, "four gates, the load moves each second"), (10, "ten gates, the load moves each second"), (10, "ten gates, evenly")):
            fleet = [Gate(folder, f"g{number}", options.sluice, gate_core, {"127.0.0.21": "requests_per_minute: 10000"}, redis_port, quiet) for number in range(gates)]
            running += [gate.process for gate in fleet]
            per, granted = operations(fleet, f"127.0.0.21:{quiet}", options.seconds, "evenly" in what)
            print(f"{what:40} {granted} requests at 10,000 a minute: {per:.1f} operations per 1,000")
            if "evenly" not in what:
                results["operations"] = max(results.get("operations", 0), per)
            for gate in fleet:
                stop(gate.process)
        missed = [name for name, bar in BARS.items() if results[name] > bar]
        print("all bars are held" if not missed else f"MISSED: {', '.join(missed)}")
        return 1 if missed else 0
    finally:
        for process in running:
            stop(process)


def operations(fleet, target, seconds, evenly):
    """10,000 requests a minute, at one gate in each second, or at all of them in turn."""
    def count():
        return sum(gate.shared()["operations"] for gate in fleet)

    step, granted = 60 / 10_000, 0
    before, began = None, time.monotonic()
    number = 0
    while time.monotonic() - began < seconds + 5:
        now = time.monotonic() - began
        if before is None and now >= 5:
            before, granted = count(), 0
        gate = fleet[number % len(fleet)] if evenly else fleet[int(now) * 7 % len(fleet)]
        granted += connect_us(gate.port, target)[1]
        number += 1
        pause = number * step - (time.monotonic() - began)
        if pause > 0:
            time.sleep(pause)
    time.sleep(0.5)
    return (count() - before) * 1000 / max(1, granted), granted


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sluice", type=sluice_binary, default=str(HERE.parent / "sluice"))
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--count", type=int, default=4000)
    options.add_argument("--seconds", type=int, default=30)
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-limits-") as folder:
        try:
            return measure(options, Path(folder))
        except Trouble as trouble:
            print(f"shared_limits.py: {trouble}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
