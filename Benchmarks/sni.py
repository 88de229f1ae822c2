#!/usr/bin/env python3
"""Measures redirected TLS: Sluice's transparent listener beside nginx ssl_preread, HAProxy req.ssl_sni and sniproxy.
It relies on root: everything runs in a network and mount namespace that is gone with it, each proxy behind its own REDIRECT.
"""
import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import SEARCH, WAIT, Trouble, line_from, settled_cpu, sluice_binary, start, stop, tree
from run import HERE, OUT, compile_programs

NAME, INSIDE = "bench.test", "SLUICE_BENCH_INSIDE"
HELLOS = (517, 1800)  # a classic hello, and one with a post-quantum key share


def sluice(program, folder, port):
    (folder / "policy.yaml").write_text(f"""network_policy:
  allow: [{{host: "{NAME}:443", addresses: [127.0.0.0/8]}}]
listen: {{transparent: "127.0.0.1:{port}"}}
log: {{file: {folder}/log}}
limits: {{connections: 20000}}
""")
    return [program, "serve", "--policy", folder / "policy.yaml", "--workers", "1"]


def nginx(program, folder, port):
    (folder / "nginx.conf").write_text(f"""load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root; daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 20000; }}
stream {{
  log_format line '$time_iso8601 $remote_addr $ssl_preread_server_name $status $bytes_sent $bytes_received $session_time';
  access_log {folder}/log line buffer=64k flush=1s;
  map $ssl_preread_server_name $upstream {{ {NAME} 127.0.0.1:443; default 127.0.0.1:9; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; ssl_preread on; proxy_pass $upstream; proxy_half_close on; }}
}}
""")
    return [program, "-e", folder / "errors", "-c", folder / "nginx.conf"]


def haproxy(program, folder, port):
    (folder / "haproxy.cfg").write_text(f"""global
  nbthread 1
  maxconn 4000
  maxpipes 256
  log stderr format raw local0
defaults
  mode tcp
  log global
  option tcplog
  option splice-auto
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend in
  bind 127.0.0.1:{port}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req.ssl_sni {NAME} }}
  tcp-request content reject
  default_backend out
backend out
  server upstream 127.0.0.1:443
""")
    return [program, "-db", "-f", folder / "haproxy.cfg"]


def sniproxy(program, folder, port):
    (folder / "sniproxy.conf").write_text(f"""user root
pidfile {folder}/pid
error_log {{ filename {folder}/errors }}
listener 127.0.0.1:{port} {{
  proto tls
  access_log {{ filename {folder}/log }}
}}
table {{
  {NAME} 127.0.0.1:443
}}
""")
    return [program, "-f", "-n", "20000", "-c", folder / "sniproxy.conf"]


PROXIES = {"sluice": sluice, "nginx": nginx, "haproxy": haproxy, "sniproxy": sniproxy}


def must(*command):
    subprocess.run(command, check=True, env={**os.environ, "PATH": SEARCH})


def isolate(folder):
    must("ip", "link", "set", "lo", "up")
    must("ip", "address", "add", "198.51.100.1/24", "dev", "lo")
    # The upstream has one port: pairs of ports that wait in TIME_WAIT would run out.
    must("sysctl", "-q", "-w", "net.ipv4.tcp_max_tw_buckets=500", "net.ipv4.ip_local_port_range=1024 65535")
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
    must("mount", "--bind", str(hosts), "/etc/hosts")


def redirect(address, port):
    must("iptables", "-t", "nat", "-A", "OUTPUT", "-d", address, "-p", "tcp", "--dport", "443", "-j", "REDIRECT",
         "--to-ports", str(port))


def load(core, folder, address, hello, count):
    process = start([OUT / "load", "sni", "--proxy", 443, "--upstream", 443, "--address", address, "--target", NAME,
                     "--hello", hello, "--connections", 32, "--count", count, "--seconds", 30], core, folder, "load",
                    stdout=subprocess.PIPE)
    try:
        result = json.loads(process.communicate(timeout=30 + WAIT)[0])
    finally:
        stop(process)
    if result["failed"] or result["wrong_bytes"] or result["ok"] != count:
        raise Trouble(f"{address}: {result['ok']} good, {result['failed']} failed, {result['wrong_bytes']} wrong bytes")
    return result


def measure(options, folder):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Trouble("two cores are needed: one for the proxy, one for the load")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    isolate(folder)
    programs = {"sluice": options.sluice} | {name: shutil.which(name, path=SEARCH) for name in list(PROXIES)[1:]}
    names = [name for name in options.proxies.split(",") if programs.get(name)]
    addresses = {name: f"198.51.100.{10 + index}" for index, name in enumerate(PROXIES)}
    for index, name in enumerate(PROXIES):
        redirect(addresses[name], 8440 + index)
    samples = {}
    for number in range(options.rounds):
        order = names[number % len(names):] + names[:number % len(names)]
        upstream = start([OUT / "load", "serve", "--port", 443], cores[0], folder, "upstream", stdout=subprocess.PIPE)
        running = {}
        try:
            line_from(upstream, WAIT)
            for name in order:
                place = folder / f"{number}-{name}"
                place.mkdir()
                port = 8440 + list(PROXIES).index(name)
                running[name] = start(PROXIES[name](programs[name], place, port), cores[1], place, name)
            for name in order:
                await_port(running[name], 8440 + list(PROXIES).index(name), name)
                load(cores[0], folder, addresses[name], HELLOS[0], 300)
            for hello in HELLOS:
                print(f"round {number + 1} of {options.rounds}: hello of {hello} bytes", file=sys.stderr, flush=True)
                for name in order:
                    pids = tree(running[name].pid)
                    before = settled_cpu(pids)
                    result = load(cores[0], folder, addresses[name], hello, options.count)
                    result["cpu_us"] = (settled_cpu(pids) - before) * 1e6 / options.count
                    samples.setdefault(hello, {}).setdefault(name, []).append(result)
        finally:
            for process in [*running.values(), upstream]:
                stop(process)
    return names, samples


def await_port(process, port, name):
    until = time.monotonic() + WAIT
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Trouble(f"{name} does not listen")


def table(names, samples):
    keys = {"rate": "tunnels/s", "p50_us": "p50 us", "p99_us": "p99 us", "cpu_us": "CPU us a tunnel"}
    rows = [["", *names]]
    for hello, by_name in samples.items():
        for key, title in keys.items():
            middles = {name: statistics.median(one[key] for one in by_name[name]) for name in names}
            base = middles.get("nginx", 0)
            rows.append([f"sni, {hello} bytes: {title}"] +
                        [f"{middles[name]:,.1f}" + (f" {middles[name] / base:6.2f}x" if base else "") for name in names])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(text.rjust(width) if i else text.ljust(width)
                               for i, (text, width) in enumerate(zip(row, widths))) for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sluice", type=sluice_binary, default=str(HERE.parent / "sluice"), help="its binary")
    parser.add_argument("--proxies", default=",".join(PROXIES), help="only these, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=8000, help="tunnels a sample")
    options = parser.parse_args()
    options.sluice = str(Path(options.sluice).resolve())
    if INSIDE not in os.environ:
        compile_programs()
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sluice-sni-", dir=shared if os.access(shared, os.W_OK) else None) as place:
        try:
            names, samples = measure(options, Path(place))
        except (Trouble, subprocess.SubprocessError) as problem:
            print(f"sni.py: {problem}", file=sys.stderr)
            return 2
    print(f"medians of {options.rounds} round(s); Nx: that many times nginx")
    print(table(names, samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
