#!/usr/bin/env python3
"""Measures Sluice's DNS responder beside dnsmasq and unbound, all of them answering from what they know themselves.
It relies on Linux /proc, gcc and the standard library; a round starts every server anew, pinned to a core of its own.
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import SEARCH, WAIT, Trouble, anonymous_bytes, free_ports, settled_cpu, sluice_binary, start, stop, tree

HERE = Path(__file__).resolve().parent
OUT = HERE / ".out"
NAMES = 1000
ALLOWED, REFUSED = "bench.example", "refused.example"

# Axis: suffix of the names, the code that is expected, questions under way, their number, and of a quick run.
AXES = {"one": (ALLOWED, 0, 1, 40_000, 10_000), "busy": (ALLOWED, 0, 64, 400_000, 100_000),
        "refused": (REFUSED, 3, 64, 400_000, 100_000)}
METRICS = (("rate", "queries/s", 0), ("p50_us", "p50 us", 0), ("p99_us", "p99 us", 0), ("cpu_us", "CPU us a query", 2))


# MARK: the servers, each with one thread and its own data

def sluice(program: str, folder: Path, port: int) -> list:
    (folder / "policy.yaml").write_text(f"""network_policy:
  allow:
    - "*.{ALLOWED}:443"
log: {{file: {folder}/sluice.log}}
""")
    return [program, "serve", "--policy", folder / "policy.yaml", "--workers", 1, "--listen-connect", "127.0.0.1:0",
            "--listen-dns", f"127.0.0.1:{port}"]


def dnsmasq(program: str, folder: Path, port: int) -> list:
    (folder / "hosts").write_text("".join(f"198.18.{n >> 8}.{n & 255} n{n}.{ALLOWED}\n" for n in range(NAMES)))
    return [program, "--keep-in-foreground", "--conf-file=/dev/null", f"--port={port}", "--listen-address=127.0.0.1",
            "--bind-interfaces", "--no-resolv", "--no-hosts", f"--addn-hosts={folder}/hosts", f"--local=/{REFUSED}/",
            "--local-ttl=60", "--user=", "--pid-file="]


def unbound(program: str, folder: Path, port: int) -> list:
    data = "".join(f'  local-data: "n{n}.{ALLOWED}. 60 A 198.18.{n >> 8}.{n & 255}"\n' for n in range(NAMES))
    (folder / "unbound.conf").write_text(f"""server:
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  verbosity: 0
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  local-zone: "{ALLOWED}." static
  local-zone: "{REFUSED}." always_nxdomain
{data}remote-control:
  control-enable: no
""")
    return [program, "-d", "-p", "-c", folder / "unbound.conf"]


SERVERS = {"sluice": sluice, "dnsmasq": dnsmasq, "unbound": unbound}


# MARK: one sample

class Bench:
    def __init__(self, folder: Path, quick: bool):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Trouble("two cores are needed: one for the server, one for the load")
        self.load_core, self.server_core = cores[0], cores[1]
        self.folder, self.quick, self.serial = folder, quick, 0

    @contextlib.contextmanager
    def server(self, name: str, program: str):
        self.serial += 1
        folder = self.folder / f"{self.serial}-{name}"
        folder.mkdir(mode=0o755)
        (port,) = free_ports(1)
        process = start(SERVERS[name](program, folder, port), self.server_core, folder, name)
        try:
            self.await_answer(name, process, folder, port)
            self.load(name, port, "busy", 20_000)  # warm
            yield process, port
        finally:
            stop(process)

    @staticmethod
    def await_answer(name: str, process: subprocess.Popen, folder: Path, port: int) -> None:
        question = struct.pack("!HHHHHH", 1, 0x100, 1, 0, 0, 0) + b"\2n0\5bench\7example\0\0\1\0\1"
        until = time.monotonic() + WAIT
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.1)
            client.connect(("127.0.0.1", port))
            while time.monotonic() < until and process.poll() is None:
                with contextlib.suppress(OSError):
                    client.send(question)
                    if client.recv(512)[7] == 1:
                        return
                time.sleep(0.02)
        said = (folder / f"{name}.output").read_text(errors="replace")[-800:]
        raise Trouble(f"{name} does not answer (exit status {process.poll()}): {said}")

    def load(self, name: str, port: int, axis: str, count: int) -> dict:
        suffix, code, window, _, _ = AXES[axis]
        process = start([OUT / "dnsload", "--port", port, "--suffix", suffix, "--names", NAMES, "--rcode", code,
                         "--window", window, "--count", count, "--seconds", 60], self.load_core, self.folder, "load",
                        stdout=subprocess.PIPE)
        try:
            result = json.loads(process.communicate(timeout=60 + WAIT)[0])
        finally:
            stop(process)
        if result["failed"] or not result["in_time"]:
            raise Trouble(f"{axis} on {name}: {result}")
        return result

    def sample(self, name: str, process: subprocess.Popen, port: int, axis: str) -> dict:
        pids = tree(process.pid)
        before = settled_cpu(pids)
        result = self.load(name, port, axis, AXES[axis][4 if self.quick else 3])
        return result | {"cpu_us": (settled_cpu(pids) - before) * 1e6 / result["ok"]}


# MARK: all rounds, and what is printed

def measure(bench: Bench, programs: dict, rounds: int) -> tuple:
    samples: dict = {}
    memory: dict = {}
    names = list(programs)
    for number in range(rounds):
        with contextlib.ExitStack() as stack:
            order = names[number % len(names):] + names[:number % len(names)]
            running = {name: stack.enter_context(bench.server(name, programs[name])) for name in order}
            for axis in AXES:
                print(f"round {number + 1} of {rounds}: {axis}", file=sys.stderr, flush=True)
                for name in order:
                    for key, value in bench.sample(name, *running[name], axis).items():
                        samples.setdefault((axis, name), {}).setdefault(key, []).append(value)
            for name in order:
                memory.setdefault(name, []).append(anonymous_bytes(tree(running[name][0].pid)))
    return samples, memory


def table(samples: dict, memory: dict, names: list) -> str:
    rows = [["", *names]]
    for axis in AXES:
        for key, title, digits in METRICS:
            values = [statistics.median(samples[axis, name][key]) for name in names]
            rows.append([f"{axis}: {title}"] + [f"{value:,.{digits}f}" for value in values])
    rows.append(["memory: MB"] + [f"{statistics.median(memory[name]) / 1e6:.1f}" for name in names])
    widths = [max(len(row[i]) for row in rows) for i in range(len(names) + 1)]
    pad = [str.ljust] + [str.rjust] * len(names)
    return "\n".join("  ".join(put(text, width) for put, text, width in zip(pad, row, widths)) for row in rows)


def run(options: argparse.Namespace) -> int:
    OUT.mkdir(exist_ok=True)
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", OUT / "dnsload", HERE / "dnsload/dnsload.c"], check=True)
    programs = {}
    for name in SERVERS:
        program = shutil.which(options.sluice if name == "sluice" else name, path=SEARCH)
        if program:
            programs[name] = str(Path(program).resolve())
        else:
            print(f"{name} is not installed: skipped", file=sys.stderr)
    if os.getloadavg()[0] > 0.5:
        print(f"note: the machine is busy (load average {os.getloadavg()[0]:.1f}): rates say little", file=sys.stderr)
    shared = Path("/dev/shm")
    parent = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=parent) as place:
        os.chmod(place, 0o755)
        samples, memory = measure(Bench(Path(place), options.quick), programs, options.rounds)
    print(f"medians of {options.rounds} round(s), one thread each; only sluice writes a line for each refusal")
    print(table(samples, memory, list(programs)))
    if options.json:
        plain = {f"{axis} {name}": values for (axis, name), values in samples.items()}
        Path(options.json).write_text(json.dumps({"samples": plain, "memory": memory}, indent=1) + "\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sluice", type=sluice_binary, default=str(HERE.parent / "sluice"), help="its binary")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small samples")
    parser.add_argument("--json", metavar="FILE", help="write all samples there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(options)
    except (Trouble, subprocess.SubprocessError, OSError) as problem:
        print(f"dns.py: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
