"""Ten gates and a real Redis, minute by minute: `make fleet`. FLEET_SOAK is the length of the soak in seconds.

Each test prints its figures. Loads move between the gates every second. Every second gate lives in a time namespace of its
own, whose clocks are five seconds ahead, where the kernel has those."""
import os
import signal
import subprocess
import time

from gate import until
from stores import Load, free_port, policy, serve, shared, sharing

GATES = 10
SOAK = int(os.environ.get("FLEET_SOAK", "120"))
AHEAD = ["unshare", "--time", "--boottime", "5", "--monotonic", "5"]


def has_time_namespaces():
    return subprocess.run([*AHEAD, "true"], capture_output=True).returncode == 0


def fleet(gate, text, section, count=GATES):
    ahead = has_time_namespaces()
    gates = [gate(text, more=section, flags=("--gate-name", f"gate{number}"),
                  command=[*AHEAD, os.environ["SLUICE"]] if ahead and number % 2 else None) for number in range(count)]
    for one in gates:
        until("the gate has joined the group", lambda: shared(one, "shared"))
    print(f"\n{count} gates, every second one {'five seconds ahead' if ahead else 'on the same clock'}")
    return gates


def minutes(loads, limits, names, events):
    """Runs a minute for each event, which is called ten seconds into it, and tells each minute's sum."""
    time.sleep(75)
    worst = 0.0
    for name, event in events:
        began = time.monotonic()
        time.sleep(10)
        event()
        time.sleep(max(0, began + 60 - time.monotonic()))
        sums = [load.count(began, began + 60) for load in loads]
        shares = [abs(got - limit) / max(limit, 20) for got, limit in zip(sums, limits)]
        worst = max([worst, *shares])
        print(f"{name:24}", *[f"{label} {got} ({100 * (got - limit) / limit:+.1f} %)" for label, got, limit in zip(names, sums, limits)])
    return worst


LIMITS = [10, 60, 600, 6000]


def test_each_minute_is_the_limits(gate, redis, upstream):
    store, server = redis(), upstream(serve)
    text = policy(server, *[f"requests_per_minute: {limit}" for limit in LIMITS])
    gates = fleet(gate, text, sharing(f"redis://127.0.0.1:{store.port}"))
    loads = [Load(gates[:-1], f"h{index}.test:{server.port}") for index in range(len(LIMITS))]

    def kill():
        gates[-1].process.kill()
        gates[-1].process.wait()
        gates[-1].stop = lambda: None

    def stop():
        store.signal(signal.SIGSTOP)
        time.sleep(10)
        store.signal(signal.SIGCONT)

    def empty():
        store.stop()
        store.start()

    events = [("nothing", lambda: None), ("a gate killed", kill), ("Redis stopped for 10 s", stop), ("Redis back empty", empty)]
    worst = minutes(loads, LIMITS, LIMITS, events)
    for load in loads:
        load.end()
    assert worst <= 0.05, worst


def test_sentinels_name_another_master(gate, redis, upstream, tmp_path):
    first, server = redis(), upstream(serve)
    second = redis("--replicaof", f"127.0.0.1 {first.port}")
    until("the replica follows", lambda: "master_link_status:up" in second.ask("INFO", "replication"))
    (tmp_path / "sentinel.conf").write_text(
        f"sentinel monitor limits 127.0.0.1 {first.port} 1\nsentinel down-after-milliseconds limits 1000\nsentinel failover-timeout limits 5000\n")
    sentinel = redis(program="redis-sentinel", configuration=tmp_path / "sentinel.conf")
    until("the sentinel knows the replica", lambda: second.ask("PING") and str(second.port) in sentinel.ask("SENTINEL", "replicas", "limits"))
    section = sharing(f'{{sentinels: ["redis://127.0.0.1:{sentinel.port}"], master: limits}}')
    gates = fleet(gate, policy(server, "requests_per_minute: 600"), section, count=4)
    load = Load(gates, f"h0.test:{server.port}")
    worst = minutes([load], [600], [600], [("nothing", lambda: None), ("a failover", first.stop)])
    assert "role:master" in second.ask("INFO", "replication")
    until("all gates are back", lambda: all(shared(one, "shared") for one in gates))
    load.end()
    assert worst <= 0.05, worst


def test_a_cluster_moves_slots(gate, redis, upstream):
    server = upstream(serve)
    nodes = [redis("--cluster-enabled", "yes", "--cluster-node-timeout", "2000") for _ in range(3)]
    places = [f"127.0.0.1:{node.port}" for node in nodes]
    made = subprocess.run(["redis-cli", "--cluster", "create", *places, "--cluster-yes"], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout
    until("the cluster stands", lambda: all("cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in nodes))
    section = sharing("{cluster: [" + ", ".join(f'"redis://{place}"' for place in places) + "]}")
    gates = fleet(gate, policy(server, *["requests_per_minute: 600"] * 4), section, count=4)
    loads = [Load(gates, f"h{index}.test:{server.port}") for index in range(4)]

    def move():
        ids = [node.ask("CLUSTER", "MYID") for node in nodes]
        for source, sink in ((0, 1), (1, 2), (2, 0)):
            done = subprocess.run(
                ["redis-cli", "--cluster", "reshard", places[0], "--cluster-from", ids[source], "--cluster-to", ids[sink],
                 "--cluster-slots", "5000", "--cluster-yes"], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-500:]

    worst = minutes(loads, [600] * 4, "abcd", [("nothing", lambda: None), ("slots move", move)])
    for load in loads:
        load.end()
    assert worst <= 0.05, worst
    assert not any(shared(one, "lost") for one in gates)


def test_nothing_grows_while_redis_flaps(gate, redis, upstream):
    store, server = redis(), upstream(serve)
    gates = fleet(gate, policy(server, "requests_per_minute: 600", "requests_per_minute: 60000"), sharing(f"redis://127.0.0.1:{store.port}"))
    loads = [Load(gates, f"h{index}.test:{server.port}") for index in range(2)]
    time.sleep(15)
    before = [(one.descriptors(), one.resident_kib()) for one in gates]
    began = time.monotonic()
    while time.monotonic() - began < SOAK:
        time.sleep(20)
        store.signal(signal.SIGSTOP)
        time.sleep(10)
        store.signal(signal.SIGCONT)
    time.sleep(5)
    after = [(one.descriptors(), one.resident_kib()) for one in gates]
    keys = store.ask("DBSIZE")
    print("descriptors and KiB before", before, "after", after, "keys", keys)
    for load in loads:
        load.end()
    until("all gates are back", lambda: all(shared(one, "shared") for one in gates))
    assert int(keys) <= 3
    for (fds, kib), (later_fds, later_kib) in zip(before, after):
        assert later_fds <= fds + 4 and later_kib <= kib * 1.2 + 4096
