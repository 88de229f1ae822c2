"""Three network namespaces: a client whose only route is the gate, the gate, and the internet as the gate sees it.
They are made and removed here; what runs in them is started by `ip netns exec`, so this process never leaves its own."""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from gate import DEADLINE, MORE, Logged, plain_environment, until

ALLOWED, ALLOWED6 = "93.184.216.34", "2606:2800:220:1::34"
ATTACKER, ATTACKER6 = "93.184.216.66", "2606:2800:220:1::66"
NAMESERVER = "93.184.216.53"
GATE, GATE6 = "10.77.0.1", "fd77::1"
PORT = 3129

# Packet rules that send the client's connections to the gate, one set for each kernel feature.
IPTABLES = f"""
iptables -t nat -A PREROUTING -i g0 -p tcp ! -d {GATE} -j REDIRECT --to-ports {PORT}
ip6tables -t nat -A PREROUTING -i g0 -p tcp ! -d {GATE6} -j REDIRECT --to-ports {PORT}
"""
TPROXY = f"""
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100
ip -6 rule add fwmark 1 lookup 100
ip -6 route add local default dev lo table 100
nft -f - <<END
table inet gate {{
chain pre {{
  type filter hook prerouting priority mangle;
  iifname "g0" ip daddr {GATE} accept
  iifname "g0" ip6 daddr {GATE6} accept
  iifname "g0" meta nfproto ipv4 meta l4proto tcp tproxy ip to :{PORT} meta mark set 1 accept
  iifname "g0" meta nfproto ipv6 meta l4proto tcp tproxy ip6 to :{PORT} meta mark set 1 accept
}}
}}
END
"""


class World(Logged):
    made = 0

    def __init__(self, folder):
        World.made += 1
        self.folder, self.processes = folder, []
        self.client, self.gate, self.internet = (f"sluice{os.getpid()}-{World.made}{end}" for end in "cgi")
        self.asked, self.accepted = folder / "asked", folder / "accepted"
        self.gate_ns = None
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def build(self):
        for name in (self.client, self.gate, self.internet):
            subprocess.run(["ip", "netns", "add", name], check=True)
            self.run(name, "ip", "link", "set", "lo", "up")
        self.join(self.client, "c0", "10.77.0.2/24", "fd77::2/64", self.gate, "g0", f"{GATE}/24", f"{GATE6}/64")
        self.join(self.internet, "i0", f"{ALLOWED}/24", f"{ALLOWED6}/64", self.gate, "g1", "93.184.216.1/24", "2606:2800:220:1::1/64")
        for address in (f"{ATTACKER}/24", f"{NAMESERVER}/24", f"{ATTACKER6}/64"):
            self.run(self.internet, "ip", "address", "add", address, "dev", "i0", *(["nodad"] if ":" in address else []))
        self.run(self.client, "ip", "route", "add", "default", "via", GATE)
        self.run(self.client, "ip", "-6", "route", "add", "default", "via", GATE6)
        # Counts every packet to the attacker's addresses, whatever it is.
        self.shell(self.internet, f"""nft -f - <<END
table inet count {{
  counter attacker {{ }}
  chain in {{
    type filter hook prerouting priority raw;
    ip daddr {ATTACKER} counter name attacker
    ip6 daddr {ATTACKER6} counter name attacker
  }}
}}
END""")

    def join(self, one, one_end, *rest):
        one4, one6, other, other_end, other4, other6 = rest
        self.run(one, "ip", "link", "add", one_end, "type", "veth", "peer", "name", other_end, "netns", other)
        for name, end, addresses in ((one, one_end, (one4, one6)), (other, other_end, (other4, other6))):
            self.run(name, "ip", "link", "set", end, "up")
            for address in addresses:
                self.run(name, "ip", "address", "add", address, "dev", end, *(["nodad"] if ":" in address else []))

    # Processes in the world

    def within(self, name, command):
        return ["ip", "netns", "exec", name, *map(str, command)]

    def run(self, name, *command, check=True, **more):
        return subprocess.run(self.within(name, command), check=check, capture_output=True, text=True, timeout=100, **more)

    def as_client(self, *command, **more):
        """A program in the client's namespace that asks the gate for names, as every program there does."""
        resolv, hosts = self.folder / "resolv.conf", self.folder / "hosts"
        resolv.write_text(f"nameserver {GATE}\n")
        hosts.write_text("127.0.0.1 localhost\n")
        script = 'mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
        return self.run(self.client, "unshare", "--mount", "sh", "-ec", script, "client", resolv, hosts, *command, check=False,
                        env=plain_environment(), **more)

    def shell(self, name, text):
        done = self.run(name, "sh", "-ec", text, check=False)
        assert done.returncode == 0, done.stderr

    def start(self, name, *command, output):
        with open(output, "wb") as file:
            process = subprocess.Popen(self.within(name, command), stdout=file, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
        self.processes.append(process)
        return process

    def serve_internet(self, certificates, content):
        """HTTPS, HTTP, echo and DNS on all addresses of the internet: see internet.py."""
        for path in (self.asked, self.accepted):
            path.touch()
        said = self.folder / "internet"
        process = self.start(self.internet, sys.executable, Path(__file__).parent / "internet.py", certificates.cert,
                             certificates.key, content, self.asked, self.accepted, output=said)
        self.await_text(process, said, "serving")

    def serve_redis_and_ssh(self):
        for kind in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / kind], check=True)
        public = [(self.folder / f"{kind}.pub").read_text() for kind in ("host", "user")]
        (self.folder / "known").write_text(f"allowed.test {public[0]}")
        (self.folder / "authorized").write_text(public[1])
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (self.folder / "sshd").write_text(
            f"ListenAddress {ALLOWED}\nHostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/authorized\nStrictModes no\n"
            f"UsePAM no\nPermitRootLogin yes\nPidFile none\n")
        said = {name: self.folder / f"{name}-said" for name in ("sshd", "redis")}
        ssh = self.start(self.internet, "/usr/sbin/sshd", "-D", "-e", "-f", self.folder / "sshd", output=said["sshd"])
        redis = self.start(self.internet, "redis-server", "--bind", ALLOWED, "--protected-mode", "no", "--save", "", "--dir",
                           self.folder, output=said["redis"])
        self.await_text(ssh, said["sshd"], "listening")
        self.await_text(redis, said["redis"], "Ready to accept")

    def start_gate(self, policy, more="", workers=2, dns=False):
        self.log, self.errors, self.policy = self.folder / "log", self.folder / "stderr", self.folder / "policy.yaml"
        listen = f'transparent: ["0.0.0.0:{PORT}", "[::]:{PORT}"]' + (f", dns: [{GATE}:53]" if dns else "")
        self.tail = (f'listen: {{{listen}}}\nlog: {{file: "{self.log}"}}\ntimeouts: {{drain: 1}}\n'
                     f'resolver: {{servers: ["{NAMESERVER}"]}}\n{more}\n')
        self.write(policy)
        self.sluice = self.start(self.gate, os.environ["SLUICE"], "serve", "--policy", self.policy, "--workers", workers, *MORE,
                                 output=self.errors)
        self.await_text(self.sluice, self.errors, "listening on")

    def write(self, policy):
        self.policy.write_text(f"{policy}\n{self.tail}")

    def await_text(self, process, path, text):
        def said():
            assert process.poll() is None, path.read_text()
            return text in path.read_text()
        until(f"{path.name} says {text}", said)

    # Recorded traffic

    def packets_to_attacker(self):
        text = self.run(self.internet, "nft", "list", "counter", "inet", "count", "attacker").stdout
        return int(re.search(r"packets (\d+)", text).group(1))

    def names_asked(self):
        return [line.lower() for line in self.asked.read_text().split()]

    def connections(self):
        """Of the internet: the local address and port of each that it accepted."""
        return self.accepted.read_text().split()

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(DEADLINE)
        for name in (self.client, self.gate, self.internet):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
