"""Ten gates and their Redis, minute by minute: `make fleet`. Each gate has a network namespace of its own, and the load moves
between them every second. A table of all minutes is at the end. FLEET_SOAK=1200 is the soak of so many seconds instead."""
import os
import shutil
import signal
import subprocess
import time

import pytest

from fleets import AHEAD, SINK, WEB, Ground, HUB, Load, Member, Store, cluster, wait_until
from gate import until
from stores import sharing

GATES = 10
SOAK = int(os.environ.get("FLEET_SOAK", "0"))
MIB = 1 << 20
# Of each its text in the policy, what a minute grants, and the load. `spread`: all gates are always asked, since a short burst cannot
# make up later for what no gate was asked for while each had its share alone.
LIMITS = {
    "10": ("requests_per_minute: 10", 10, {"spread": False}),
    "60": ("requests_per_minute: 60", 60, {"spread": False}),
    "600": ("requests_per_minute: 600", 600, {"spread": False}),
    "60,000": ("requests_per_minute: 60000", 60_000, {"spread": False}),
    "600, burst 20": ("requests_per_minute: 600, burst: 20", 600, {"spread": True}),
    "concurrent 40": ("concurrent: 40", 40, None),
    "up 6 MiB": ("upload_bytes_per_minute: 6MiB, on_limit: pace", 6 * MIB, None),
}
rows = []
figures_only = pytest.mark.skipif(SOAK > 0, reason="FLEET_SOAK asks for the soak alone")


@pytest.fixture(scope="session", autouse=True)
def table():
    if os.geteuid() != 0 or not shutil.which("redis-server"):
        pytest.skip("namespaces need root, and a store redis-server")
    began = time.monotonic()
    yield
    if not rows:
        return
    print("\n\nsums of each minute, and how far they are from the limit")
    print(f"{'':34}" + "".join(f"{name:>18}" for name in LIMITS))
    for name, cells in rows:
        print(f"{name:34}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"{time.monotonic() - began:.0f} s in all")


class Fleet:
    """Ten gates with all loads, warmed up: each bucket has been empty."""

    def __init__(self, ground, redis, ahead=False):
        self.ground, hosts = ground, {name: f"10.99.1.{number + 1}" for number, name in enumerate(LIMITS)}
        self.upstream = Load(ground, "upstream", kind="serve", address="0.0.0.0", port=WEB, sink_port=SINK)
        until("the upstream listens", lambda: "is_ready" in self.upstream.path.read_text())
        ports = {name: SINK if name.startswith("up") else WEB for name in LIMITS}
        targets = {name: f"{hosts[name]}:{ports[name]}" for name in LIMITS}
        allow = "".join(f'    - {{host: "{target}", protocol: tcp}}\n' for target in targets.values())
        rates = "".join(f'    - {{host: "{targets[name]}", {text}}}\n' for name, (text, _, _) in LIMITS.items())
        policy = f"network_policy:\n  allow:\n{allow}  rate_limits:\n{rates}"
        self.gates = [Member(ground, number, policy, sharing(redis), is_ahead=ahead and number % 2 == 1) for number in range(GATES)]
        until("all gates are one group", lambda: all(one.shared().get("state") == "shared" for one in self.gates))
        # Before any load: what is left when all loads have ended.
        self.quiet = [one.descriptors() for one in self.gates]
        self.loads, places = {}, [one.place for one in self.gates]
        for name, (_, number, load) in LIMITS.items():
            wish = {"places": places, "target": targets[name]}
            kind = "requests" if load else "slots" if name.startswith("concurrent") else "upload"
            more = {"per_minute": number, **load} if load else {}
            self.loads[name] = Load(ground, name.split()[0] + kind + name[-2:], kind=kind, **wish, **more)
        began = time.monotonic()
        while not self.is_warm():
            assert time.monotonic() - began < 150, "a bucket was never empty: the machine is too slow for 60,000 a minute"
            time.sleep(0.5)
        time.sleep(12)

    def is_warm(self):
        """Each load of requests was refused in each of the last seconds."""
        loads = [self.loads[name] for name, (_, _, load) in LIMITS.items() if load]
        return all(len(load.seconds()) > 5 and all(one["refused"] for one in load.seconds()[-2:]) for load in loads)

    def minute(self, name, event=lambda: None):
        """One minute; the event is called ten seconds into it. True where all sums are within 5 %, or within one request."""
        began = time.monotonic()
        wait_until(began + 10)
        event()
        wait_until(began + 61.5)
        cells, good = [], True
        for limit, (_, number, load) in LIMITS.items():
            if limit.startswith("concurrent"):
                seconds = self.loads[limit].seconds(began, began + 60)
                most, mean = max(one["most"] for one in seconds), sum(one["mean"] for one in seconds) / len(seconds)
                cells.append(f"{most} ({mean:.1f})")
                good = good and most <= number * 1.05
                continue
            source = self.upstream if limit.startswith("up") else self.loads[limit]
            got = source.count(began, began + 60)
            good = good and abs(got - number) <= max(number * 0.05, 1.5)
            text = f"{got / MIB:.2f} MiB" if limit.startswith("up") else f"{got:.0f}"
            cells.append(f"{text} {100 * (got - number) / number:+.1f}%")
        rows.append((name, cells))
        print(f"{name}: {cells}", flush=True)
        return good

    def leaves_nothing_open(self):
        for load in self.loads.values():
            load.process.kill()
            load.process.wait()
        until("the gates have closed all that the loads opened",
              lambda: all(one.descriptors() <= quiet + 2 for one, quiet in zip(self.gates, self.quiet)))

    def back(self):
        until("all gates are back", lambda: all(one.shared().get("state") == "shared" for one in self.gates if one.process.poll() is None))


@pytest.fixture
def ground(tmp_path):
    made = []

    def make():
        made.append(Ground(tmp_path / f"ground{len(made)}", GATES))
        return made[-1]

    yield make
    for one in made:
        one.close()


@figures_only
def test_each_minute_is_the_limits(ground):
    place = ground()
    store = Store(place, "redis")
    fleet = Fleet(place, f"redis://{HUB}:{store.port}")
    assert fleet.minute("ten gates")


@figures_only
def test_clocks_apart_and_a_redis_that_fails(ground):
    if subprocess.run([*AHEAD, "true"], capture_output=True).returncode:
        pytest.skip("this kernel has no time namespaces")
    place = ground()
    store = Store(place, "redis")
    fleet = Fleet(place, f"redis://{HUB}:{store.port}", ahead=True)

    def stop():
        store.signal(signal.SIGSTOP)
        time.sleep(10)
        store.signal(signal.SIGCONT)

    def empty():
        store.stop()
        store.start()

    good = [fleet.minute("clocks 5 s apart"), fleet.minute("one gate killed", fleet.gates[-1].kill),
            fleet.minute("Redis stopped for 10 s", stop), fleet.minute("Redis back, empty", empty)]
    fleet.back()
    assert all(good), good


@figures_only
def test_sentinels_name_another_master(ground):
    place = ground()
    first = Store(place, "first")
    second = Store(place, "second", "--replicaof", f"{HUB} {first.port}")
    until("the replica follows", lambda: "master_link_status:up" in second.ask("INFO", "replication"))
    settings = place.folder / "sentinel.conf"
    settings.write_text(f"sentinel monitor limits {HUB} {first.port} 1\nsentinel down-after-milliseconds limits 1000\n"
                        "sentinel failover-timeout limits 5000\n")
    sentinel = Store(place, "sentinel", program="redis-sentinel", configuration=settings)
    until("the sentinel knows the replica", lambda: str(second.port) in sentinel.ask("SENTINEL", "replicas", "limits"))
    fleet = Fleet(place, f'{{sentinels: ["redis://{HUB}:{sentinel.port}"], master: limits}}')
    good = fleet.minute("failed over by Sentinel", first.stop)
    assert "role:master" in second.ask("INFO", "replication")
    fleet.back()
    assert good


@figures_only
def test_slots_of_a_cluster_move(ground):
    place = ground()
    nodes = cluster(place, 3)
    fleet = Fleet(place, "{cluster: [" + ", ".join(f'"redis://{HUB}:{node.port}"' for node in nodes) + "]}")
    losses = [one.shared()["losses"] for one in fleet.gates]

    def move():
        ids = [node.ask("CLUSTER", "MYID") for node in nodes]
        for source, sink in ((0, 1), (1, 2), (2, 0)):
            place.run("redis-cli", "--cluster", "reshard", f"{HUB}:{nodes[0].port}", "--cluster-from", ids[source], "--cluster-to", ids[sink],
                      "--cluster-slots", "5000", "--cluster-yes")

    good = fleet.minute("cluster, slots move", move)
    moved = sum("errorstat_MOVED" in node.ask("INFO", "errorstats") for node in nodes)
    assert moved, "no gate was sent to another node"
    assert [one.shared()["losses"] for one in fleet.gates] == losses, "a slot that moves is no loss"
    assert good


@pytest.mark.skipif(SOAK == 0, reason="FLEET_SOAK is the length of the soak in seconds")
def test_soak_while_redis_flaps(ground):
    place = ground()
    store = Store(place, "redis")
    fleet = Fleet(place, f"redis://{HUB}:{store.port}")

    def sizes():
        return [one.resident_kib() for one in fleet.gates], int(store.ask("DBSIZE"))

    # The first losses have their own memory: names, messages, connections.
    for _ in range(2):
        flap(store)
    before, keys = sizes()
    print("\nKiB at the beginning", before, "keys", keys, flush=True)
    began = time.monotonic()
    while time.monotonic() - began < SOAK:
        flap(store)
        print(f"{time.monotonic() - began:5.0f} s", sizes(), flush=True)
    fleet.back()
    after, later_keys = sizes()
    assert later_keys <= keys + 1
    assert all(later <= kib * 1.1 + 2048 for kib, later in zip(before, after)), (before, after)
    fleet.leaves_nothing_open()


def flap(store):
    """Thirty seconds, ten of them without an answer."""
    time.sleep(20)
    store.signal(signal.SIGSTOP)
    time.sleep(10)
    store.signal(signal.SIGCONT)
