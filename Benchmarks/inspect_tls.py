#!/usr/bin/env python3
"""Measures inspected TLS: Sluice beside nginx as a reverse proxy that terminates TLS, squid with ssl_bump, and mitmproxy.
It relies on root, h2load and nginx: everything runs in a network and mount namespace that is gone with it. The client of all
is h2load, and their upstream a second nginx; nginx as a proxy and squid speak HTTP/1.1 to it, the others what the client speaks.
"""
import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import SEARCH, WAIT, Trouble, settled_cpu, sluice_binary, start, stop, tree
from sni import INSIDE, NAME, await_port, isolate, must, redirect

HERE = Path(__file__).resolve().parent
AXES = {  # h2load's arguments; what is counted; how many
    "h1 keep-alive": (["--h1", "-c", "32", "-m", "1"], "request", 20000),
    "h2": (["-c", "32", "-m", "10"], "request", 40000),
    "h2, 16 KiB": (["-c", "32", "-m", "10"], "request", 20000),
    "new session": (["--h1", "-m", "1"], "session", 2000),
}


def certificates(folder):
    must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{folder}/key",
         "-out", f"{folder}/cert", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-days", "2")


def settings(folder, name, workers, body):
    (folder / f"{name}.conf").write_text(f"""user root; daemon off; worker_processes {workers}; pid {folder}/{name}.pid; error_log {folder}/{name}.errors;
worker_rlimit_nofile 20000;
events {{ worker_connections 8000; }}
http {{
  keepalive_requests 1000000; ssl_certificate {folder.parent}/cert; ssl_certificate_key {folder.parent}/key; ssl_protocols TLSv1.2 TLSv1.3;
  http2_max_requests 1000000;
  {body}
}}
""")
    return ["nginx", "-e", folder / f"{name}.errors", "-c", folder / f"{name}.conf"]


def upstream(folder):
    return settings(folder, "upstream", 1, f"""access_log off;
  server {{ listen 127.0.0.1:443 ssl http2 backlog=4096; server_name {NAME};
    location /small {{ return 200 "hello, this is the upstream\\n"; }}
    location /large {{ root {folder.parent}; }} }}""")


def nginx(options, folder, port):
    return settings(folder, "nginx", 1, f"""access_log {folder}/log combined buffer=64k flush=1s; proxy_buffering off;
  upstream site {{ server 127.0.0.1:443; keepalive 64; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port} ssl http2 backlog=4096; server_name {NAME};
    location / {{ limit_except GET {{ deny all; }} proxy_pass https://site; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host {NAME};
      proxy_ssl_server_name on; proxy_ssl_name {NAME}; proxy_ssl_verify on; proxy_ssl_trusted_certificate {folder.parent}/cert; }} }}""")


def sluice(options, folder, port):
    (folder / "policy.yaml").write_text(f"""network_policy:
  allow: [{{host: "{NAME}:443", addresses: [127.0.0.0/8], methods: [GET], paths: ["/small", "/large"], tls: {{roots: {folder.parent}/cert}}}}]
tls: {{ca: {folder}/ca}}
listen: {{transparent: "127.0.0.1:{port}"}}
log: {{file: {folder}/log}}
limits: {{connections: 20000}}
""")
    return [options.sluice, "serve", "--policy", folder / "policy.yaml", "--workers", "1"]


def squid(options, folder, port):
    """As a transparent proxy: it makes certificates too, and connects to where the client went, past the redirection."""
    database = folder / "certificates"
    must("/usr/lib/squid/security_file_certgen", "-c", "-s", str(database), "-M", "4MB")
    (folder.parent / "both").write_text((folder.parent / "key").read_text() + (folder.parent / "cert").read_text())
    for path in [folder.parent, folder, database, *database.rglob("*")]:
        shutil.chown(path, SQUID_USER)
    (folder / "squid.conf").write_text(f"""http_port 127.0.0.1:{port + 100}
https_port 127.0.0.1:{port} intercept ssl-bump tls-cert={folder.parent}/both generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program /usr/lib/squid/security_file_certgen -s {database} -M 4MB
sslcrtd_children 1
ssl_bump bump all
tls_outgoing_options cafile={folder.parent}/cert
acl small urlpath_regex ^/(small|large)$
acl get method GET
acl connect method CONNECT
http_access allow connect
http_access allow get small
http_access deny all
cache deny all
pid_filename {folder}/squid.pid
access_log stdio:{folder}/log
cache_log {folder}/cache.log
coredump_dir {folder}
cache_effective_user {SQUID_USER}
hosts_file /etc/hosts
pinger_enable off
max_filedescriptors 20000
shutdown_lifetime 0 seconds
""")
    return [PROGRAMS["squid"], "-N", "-f", folder / "squid.conf"]


def mitmproxy(options, folder, port):
    return [PROGRAMS["mitmproxy"], "-q", "--mode", f"reverse:https://{NAME}:443@{port}", "--listen-host", "127.0.0.1", "--set",
            f"confdir={folder}", "--set", f"ssl_verify_upstream_trusted_ca={folder.parent}/cert", "--set", "flow_detail=0"]


PROXIES = {"sluice": sluice, "nginx": nginx, "squid": squid, "mitmproxy": mitmproxy}
SQUID_USER = "proxy"
PROGRAMS = {"nginx": shutil.which("nginx", path=SEARCH), "squid": shutil.which("squid", path=SEARCH),
            "mitmproxy": next(map(str, (HERE.parent / ".venv/bench/bin").glob("mitmdump")), None)}
WITHOUT_H2 = {"squid"}
# The share of the counts that a slow one is given.
SHARE = {"mitmproxy": 0.05, "squid": 0.5}


def load(core, folder, axis, address, count):
    arguments, kind, _ = AXES[axis]
    many = ["-c", count, "-r", min(200, count)] if kind == "session" else []
    path = "large" if "KiB" in axis else "small"
    process = start(["h2load", *arguments, *many, "-n", count, f"--connect-to={address}:443", f"https://{NAME}/{path}"], core, folder,
                    "h2load", stdout=subprocess.PIPE)
    try:
        text = process.communicate(timeout=120)[0].decode()
    finally:
        stop(process)
    good = re.search(r"(\d+) succeeded", text)
    if not good or int(good.group(1)) != count or f"{count} 2xx" not in text:
        raise Trouble(f"{axis}, {address}: {text}")
    return float(re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", text).group(1))


def measure(options, folder):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Trouble("two cores are needed: one for the proxy, one for the load")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    isolate(folder)
    certificates(folder)
    (folder / "large").write_bytes(b"x" * 16384)
    names = [name for name in options.proxies.split(",") if name == "sluice" or PROGRAMS[name]]
    ports = {name: 8440 + index for index, name in enumerate(PROXIES)}
    for index, name in enumerate(PROXIES):
        address = f"198.51.100.{10 + index}"
        if name == "squid":
            must("iptables", "-t", "nat", "-A", "OUTPUT", "-d", address, "-p", "tcp", "--dport", "443", "-m", "owner", "--uid-owner",
                 SQUID_USER, "-j", "DNAT", "--to-destination", "127.0.0.1:443")
        redirect(address, ports[name])
    samples = {}
    for number in range(options.rounds):
        place = folder / str(number)
        place.mkdir()
        running = {"upstream": start(upstream(folder / str(number)), cores[0], place, "upstream")}
        try:
            for name in names:
                own = folder / f"{number}-{name}"
                own.mkdir()
                running[name] = start(PROXIES[name](options, own, ports[name]), cores[1], own, name)
                await_port(running[name], ports[name], name)
            for axis in AXES:
                for name in names[number % len(names):] + names[:number % len(names)]:
                    if name in WITHOUT_H2 and axis.startswith("h2"):
                        continue
                    count = max(64, int(AXES[axis][2] * options.scale * SHARE.get(name, 1)))
                    address = f"198.51.100.{10 + list(PROXIES).index(name)}"
                    print(f"round {number + 1} of {options.rounds}: {axis}, {name}", file=sys.stderr, flush=True)
                    load(cores[0], folder, axis, address, 64)
                    pids = tree(running[name].pid)
                    before = settled_cpu(pids)
                    rate = load(cores[0], folder, axis, address, count)
                    cpu = (settled_cpu(pids) - before) * 1e6 / count
                    samples.setdefault(axis, {}).setdefault(name, []).append((cpu, rate))
        finally:
            for process in running.values():
                stop(process)
    return names, samples


def table(names, samples):
    rows = [["", *names]]
    for axis, by_name in samples.items():
        for index, title in ((0, f"CPU us a {AXES[axis][1]}"), (1, f"{AXES[axis][1]}s/s")):
            middles = {name: statistics.median(one[index] for one in taken) for name, taken in by_name.items()}
            base = middles.get("nginx", 0)
            rows.append([f"{axis}: {title}"] + [
                (f"{middles[name]:,.1f}" + (f" {middles[name] / base:6.2f}x" if base else "")) if name in middles else "-"
                for name in names])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(text.rjust(width) if i else text.ljust(width)
                               for i, (text, width) in enumerate(zip(row, widths))) for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sluice", type=sluice_binary, default=str(HERE.parent / "sluice"), help="its binary")
    parser.add_argument("--proxies", default=",".join(PROXIES), help="only these, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1, help="of the counts; 0.1 for a quick look")
    options = parser.parse_args()
    options.sluice = str(Path(options.sluice).resolve())
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sluice-inspect-", dir=shared if os.access(shared, os.W_OK) else None) as place:
        try:
            names, samples = measure(options, Path(place))
        except (Trouble, subprocess.SubprocessError) as problem:
            print(f"inspect_tls.py: {problem}", file=sys.stderr)
            return 2
    print(f"medians of {options.rounds} round(s); Nx: that many times nginx")
    print(table(names, samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
