"""The proxies that are compared, each with a minimal fair configuration: one worker, allowlist and log on, caches off.
It relies on the caller for free ports and a folder of its own a start; no configuration of the system is read.
"""
import grp
import os
import pwd
import resource
from dataclasses import dataclass, field
from pathlib import Path

TUNNELS = {"open", "pingpong", "pingpong-busy", "bulk-up", "bulk-down", "idle", "half-close"}
HTTP = {"http", "http-new"}


@dataclass
class Site:
    """One proxy with an upstream of its own, for one round."""
    folder: Path
    upstream: int
    ports: list
    pids: list = field(default_factory=list)
    process: object = None  # subprocess.Popen once it is started

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


@dataclass(frozen=True)
class Proxy:
    name: str
    program: str
    version: tuple
    command: object               # (program, site) -> the command line
    axes: frozenset
    direct: frozenset = frozenset()  # axes where it is spoken to without CONNECT or an absolute form
    second: frozenset = frozenset()  # axes on its second port


def sluice_command(program: str, site: Site) -> list:
    policy = site.write("policy.yaml", f"""network_policy:
  default: deny
  allow:
    - {{host: "127.0.0.1:{site.upstream}", protocol: tcp, addresses: [127.0.0.0/8]}}
log: {{file: {site.folder}/sluice.log}}
limits: {{connections: 20000}}
""")
    return [program, "serve", "--policy", policy, "--workers", "1", "--listen-connect", f"127.0.0.1:{site.ports[0]}"]


def squid_command(program: str, site: Site) -> list:
    user = ""
    if os.geteuid() == 0:  # it will not serve as root
        owner = pwd.getpwnam("proxy")
        os.chown(site.folder, owner.pw_uid, owner.pw_gid)
        user = f"cache_effective_user {owner.pw_name}\ncache_effective_group {grp.getgrgid(owner.pw_gid).gr_name}\n"
    config = site.write("squid.conf", f"""{user}http_port 127.0.0.1:{site.ports[0]}
visible_hostname bench
acl target dstdomain -n 127.0.0.1
acl target_port port {site.upstream}
http_access allow target target_port
http_access deny all
cache deny all
cache_mem 8 MB
access_log stdio:{site.folder}/access.log
buffered_logs on
cache_log {site.folder}/cache.log
cache_store_log none
netdb_filename none
logfile_rotate 0
pid_filename {site.folder}/squid.pid
coredump_dir {site.folder}
hosts_file none
pinger_enable off
max_filedescriptors {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
shutdown_lifetime 0 seconds
workers 1
""")
    return [program, "-N", "-f", config]


def tinyproxy_command(program: str, site: Site) -> list:
    allowed = site.write("allowed", "^127\\.0\\.0\\.1$\n")
    config = site.write("tinyproxy.conf", f"""Port {site.ports[0]}
Listen 127.0.0.1
Timeout 600
LogFile "{site.folder}/access.log"
LogLevel Connect
MaxClients 20000
ConnectPort {site.upstream}
Filter "{allowed}"
FilterExtended On
FilterDefaultDeny Yes
""")
    return [program, "-d", "-c", config]


def haproxy_command(program: str, site: Site) -> list:
    most = min(9000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 2 // 5)
    config = site.write("haproxy.cfg", f"""global
  nbthread 1
  maxconn {most}
  maxpipes 256
  log stderr format raw local0
defaults
  log global
  maxconn {most}
  option splice-auto
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend tcp_in
  mode tcp
  option tcplog
  bind 127.0.0.1:{site.ports[0]}
  default_backend tcp_out
backend tcp_out
  mode tcp
  server upstream 127.0.0.1:{site.upstream}
frontend http_in
  mode http
  option httplog
  bind 127.0.0.1:{site.ports[1]}
  http-request deny unless {{ req.hdr(host) 127.0.0.1:{site.upstream} }}
  default_backend http_out
backend http_out
  mode http
  server upstream 127.0.0.1:{site.upstream}
""")
    return [program, "-db", "-f", config]


def proxies(sluice: str, yardstick: str) -> list:
    everything = frozenset(TUNNELS | HTTP | {"refused"})
    return [
        Proxy("yardstick", yardstick, (), lambda program, site: [program, "--port", site.ports[0]],
              frozenset(TUNNELS | {"refused"})),
        Proxy("sluice", sluice, ("--version",), sluice_command, everything),
        Proxy("squid", "squid", ("-v",), squid_command, everything),
        Proxy("tinyproxy", "tinyproxy", ("-v",), tinyproxy_command, everything),
        Proxy("haproxy", "haproxy", ("-v",), haproxy_command, everything,
              direct=frozenset(TUNNELS | HTTP), second=frozenset(HTTP | {"refused"})),
    ]
