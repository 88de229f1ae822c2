"""Gates that share limits, each in a network namespace of its own, around one bridge on which their Redis, their upstream and
their loads are. All namespaces are made here, and are gone with it."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gate import plain_environment, until
from stores import Redis, cluster_words, join_cluster

HUB, WEB, SINK = "10.99.0.1", 8080, 8081
AHEAD_S = 5
# The clock that a gate counts by, and nothing else of it: the wall's clock, which no limit goes by, has no namespace.
AHEAD = ["unshare", "--time", "--boottime", str(AHEAD_S), "--monotonic", str(AHEAD_S)]


class Ground:
    """The namespaces, and who runs in them."""

    made = 0

    def __init__(self, folder, gates):
        Ground.made += 1
        folder.mkdir()
        self.folder, self.processes = folder, []
        self.name = f"sluice{os.getpid()}f{Ground.made}"
        self.gates = [f"{self.name}-{number}" for number in range(gates)]
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def build(self):
        def ip(*words):
            subprocess.run(["ip", *map(str, words)], check=True, capture_output=True)

        for name in (self.name, *self.gates):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self.name, "link", "add", "hub", "type", "bridge")
        ip("-n", self.name, "address", "add", f"{HUB}/16", "dev", "hub")
        ip("-n", self.name, "link", "set", "hub", "up")
        for number in range(1, 20):
            ip("-n", self.name, "address", "add", f"10.99.1.{number}/16", "dev", "hub")
        for number, name in enumerate(self.gates):
            ip("-n", self.name, "link", "add", f"g{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", self.name, "link", "set", f"g{number}", "master", "hub", "up")
            ip("-n", name, "address", "add", f"{self.address(number)}/16", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    @staticmethod
    def address(number):
        return f"10.99.0.{number + 10}"

    def within(self, name, *words):
        return ["ip", "netns", "exec", name, *map(str, words)]

    def run(self, *words):
        done = subprocess.run(self.within(self.name, *words), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (words, done.stdout[-800:], done.stderr)
        return done.stdout.strip()

    def start(self, name, words, **more):
        process = subprocess.Popen(self.within(name, *words), stdin=subprocess.DEVNULL, env=plain_environment(), **more)
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        for name in (self.name, *self.gates):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Store(Redis):
    """A Redis on the bridge."""

    def __init__(self, ground, name, *more, **options):
        self.ground = ground
        super().__init__(ground.folder / name, "--protected-mode", "no", *more, address=HUB, prefix=ground.within(ground.name), **options)

    def accepts(self):
        assert self.process.poll() is None, (self.folder / "said").read_text()
        return "PONG" in self.ask("PING")

    def start(self):
        super().start()
        self.ground.processes.append(self.process)


class Load:
    """One process of fleet_load.py, and the seconds that it told of."""

    def __init__(self, ground, name, **wish):
        self.path = ground.folder / f"load-{name}"
        script = Path(__file__).parent / "fleet_load.py"
        with open(self.path, "wb") as out:
            self.process = ground.start(ground.name, [sys.executable, script, json.dumps(wish)], stdout=out, stderr=subprocess.STDOUT)

    def seconds(self, began=0.0, ended=float("inf")):
        """Those that ended within this time."""
        assert self.process.poll() is None, self.path.read_text()[-2000:]
        told = [json.loads(line) for line in self.path.read_text().rpartition("\n")[0].splitlines()]
        return [one for one in told if "at" in one and began < one["at"] <= ended]

    def count(self, began, ended):
        """Granted in this time; a second that lies in it in part counts in part."""
        total = 0.0
        for one in self.seconds():
            inside = min(one["at"], ended) - max(one["at"] - 1, began)
            total += one["count"] * max(0.0, min(1.0, inside))
        return total


class Member:
    """A gate of the fleet."""

    def __init__(self, ground, number, policy, section, is_ahead=False):
        self.folder = ground.folder / f"gate{number}"
        self.folder.mkdir()
        self.place, self.admin = (ground.address(number), 3128), self.folder / "admin.sock"
        self.log, self.errors, policy_file = self.folder / "log", self.folder / "said", self.folder / "policy.yaml"
        policy_file.write_text(f'{policy}\n{section}\nlog: {{file: "{self.log}"}}\ntimeouts: {{drain: 1}}\n')
        command = [*(AHEAD if is_ahead else []), os.environ["SLUICE"], "serve", "--policy", policy_file, "--workers", "1", "--gate-name",
                   f"gate{number}", "--listen-connect", ":".join(map(str, self.place)), "--listen-admin", self.admin]
        with open(self.errors, "wb") as errors:
            self.process = ground.start(ground.gates[number], command, stderr=errors, stdout=subprocess.DEVNULL)
        until("the gate listens", self.listens)
        if is_ahead:
            offsets = Path(f"/proc/{self.process.pid}/timens_offsets").read_text().split()
            assert offsets[:2] == ["monotonic", str(AHEAD_S)], offsets

    def listens(self):
        assert self.process.poll() is None, self.errors.read_text()
        return "listening on" in self.errors.read_text()

    def shared(self):
        """What `status` says of shared limits."""
        done = subprocess.run([os.environ["SLUICE"], "status", "--json", "--socket", self.admin], capture_output=True, text=True, timeout=30)
        return json.loads(done.stdout.splitlines()[0])["shared_limits"] if done.returncode == 0 else {}

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        return next(int(line.split()[1]) for line in open(f"/proc/{self.process.pid}/status") if line.startswith("VmRSS"))

    def kill(self):
        self.process.kill()
        self.process.wait()


def cluster(ground, count):
    """Nodes of a cluster with all slots."""
    nodes = [Store(ground, f"node{number}", *cluster_words()) for number in range(count)]
    join_cluster(nodes)
    return nodes


def wait_until(moment):
    time.sleep(max(0, moment - time.monotonic()))
