"""`sluice redirect`: redirected traffic arrives at the gate with its destination, other traffic fails at once.
A world of three network namespaces, made and removed here: out -- host -- (bridge) -- box. Nothing is set elsewhere."""
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gate import until

if os.geteuid() != 0:
    pytest.skip("packet rules and namespaces are set as root", allow_module_level=True)

STAND_IN = str(Path(__file__).parent / "support/stand_in.py")
AGENT, GATE = "4242", "4343"
AT_ONCE_MS = 200
OUTSIDE = {4: "198.51.100.2", 6: "fd98::2"}
HOST = {4: "10.77.0.1", 6: "fd77::1"}
BOX = {4: "10.77.0.2", 6: "fd77::2"}
FAR = {4: "93.184.216.34", 6: "2606:4700::1111"}
ANY = {4: ["0.0.0.0"], 6: ["::"]}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
REFUSED = {"ECONNREFUSED", "EHOSTUNREACH", "EACCES", "EPERM"}
numbers = itertools.count()


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def must(*command, **options):
    done = run(*command, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class World:
    def __init__(self):
        tag = f"sluice-{os.getpid()}-{next(numbers)}"
        self.names = {name: f"{tag}-{name}" for name in ("out", "host", "box")}
        self.cgroup, self.holder, self.processes = f"{tag}/agent", None, []
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def build(self):
        for name in self.names.values():
            must("ip", "netns", "add", name)
        # Without duplicate address detection, addresses hold from the start.
        for place in self.names:
            must(*self.inside(place), "sysctl", "-q", "-w", "net.ipv6.conf.default.accept_dad=0",
                 "net.ipv6.conf.default.dad_transmits=0", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
                 "net.ipv4.ping_group_range=0 2147483647")
        out, host, box = self.names.values()
        must("ip", "-batch", "-", input=f"""
            link add eth0 netns {out} type veth peer name wan0 netns {host}
            link add eth0 netns {box} type veth peer name veth0 netns {host}
        """)
        self.batch("out", f"address add {OUTSIDE[4]}/24 dev eth0", f"address add {OUTSIDE[6]}/64 dev eth0 nodad",
                   "link set lo up", "link set eth0 up", "route add default via 198.51.100.1", "route add default via fd98::1")
        self.batch("host", "link add br0 type bridge", "link set veth0 master br0", "address add 198.51.100.1/24 dev wan0",
                   "address add fd98::1/64 dev wan0 nodad", "address add 10.77.0.1/24 dev br0", "address add fd77::1/64 dev br0 nodad",
                   "link set lo up", "link set wan0 up", "link set veth0 up", "link set br0 up",
                   f"route add default via {OUTSIDE[4]}", f"route add default via {OUTSIDE[6]}")
        self.batch("box", f"address add {BOX[4]}/24 dev eth0", f"address add {BOX[6]}/64 dev eth0 nodad", "link set lo up",
                   "link set eth0 up", f"route add default via {HOST[4]}", f"route add default via {HOST[6]}")
        self.bridge_filter(0)
        self.start("out", "server", "outside", "8000", *ANY[4], *ANY[6])

    def batch(self, place, *lines):
        must("ip", "-n", self.names[place], "-batch", "-", input="\n".join(
            line if " via fd" not in line else "-6 " + line for line in lines if " via fd" not in line))
        for line in lines:
            if " via fd" in line:
                must("ip", "-n", self.names[place], "-6", *line.split())

    def inside(self, place):
        if not self.holder:
            return ["ip", "netns", "exec", self.names[place]]
        return ["nsenter", f"--net=/run/netns/{self.names[place]}", f"--mount=/proc/{self.holder.pid}/ns/mnt"]

    def bridge_filter(self, value):
        """Whether packet rules see frames inside a bridge; not there without br_netfilter."""
        return run(*self.inside("host"), "sysctl", "-q", "-w", f"net.bridge.bridge-nf-call-iptables={value}",
                   f"net.bridge.bridge-nf-call-ip6tables={value}")

    def start(self, place, *arguments):
        process = subprocess.Popen([*self.inside(place), sys.executable, STAND_IN, *arguments], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout.readline() in ("ready\n", "standing\n")
        return process

    def probe(self, place, what, address, port, uid="0", cgroup=""):
        return json.loads(must(*self.inside(place), sys.executable, STAND_IN, "probe", what, address, str(port), uid, cgroup))

    def sluice(self, *arguments, place="host"):
        return run(*self.inside(place), os.environ["SLUICE"], "redirect", *arguments)

    def mount_cgroups(self):
        """cgroup v2 at /sys/fs/cgroup, where nft looks for it, in a mount namespace of its own."""
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             "mount -t cgroup2 none /sys/fs/cgroup && echo ready && exec cat"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            why = self.holder.communicate()[1].strip()
            self.holder = None
            pytest.skip(f"no cgroup v2 here: {why}; mount says: {run('sh', '-c', 'mount | grep cgroup2').stdout.strip() or 'none'}")
        must(*self.inside("host"), "mkdir", "-p", f"/sys/fs/cgroup/{self.cgroup}")

    def state(self, place="host"):
        """All packet rules and routes of a namespace, without counters."""
        inside = self.inside(place)
        texts = [must(*inside, *command.split()) for command in (
            "nft list ruleset", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all")]
        return re.sub(r"counter packets \d+ bytes \d+", "", "\n".join(texts))

    def close(self):
        for process in self.processes:
            process.kill()
            process.communicate()
        if self.holder:
            for path in (self.cgroup, self.cgroup.split("/")[0]):
                run(*self.inside("host"), "rmdir", f"/sys/fs/cgroup/{path}")
            self.holder.kill()
            self.holder.communicate()
        for name in self.names.values():
            run("ip", "netns", "del", name)


@pytest.fixture
def world():
    world = World()
    yield world
    world.close()


class Redirected:
    """A selector, the place its clients are in, and how they are started so that they are caught."""

    def __init__(self, world, selector, backend="nft", mode="redirect"):
        self.world, self.selector, self.backend, self.mode = world, selector, backend, mode
        self.is_local = selector in ("uid", "cgroup")
        self.families = [4] if mode == "no-ipv6" else [4, 6]
        if selector == "cgroup":
            world.mount_cgroups()
        self.place = "host" if self.is_local else "box"
        self.gate_place = "box" if selector == "namespace" else "host"
        self.rules_place = self.gate_place
        self.uid = AGENT if selector != "cgroup" else "0"
        self.cgroup = world.cgroup if selector == "cgroup" else ""
        self.options = {
            "interface": ["--interface", "br0"], "namespace": ["--namespace", world.names["box"], "--gate-uid", GATE],
            "uid": ["--uid", AGENT], "cgroup": ["--cgroup", world.cgroup, "--gate-uid", GATE],
        }[selector] + {"tproxy": ["--tproxy"], "no-ipv6": ["--no-ipv6"], "redirect": []}[mode] + (
            ["--iptables"] if backend == "iptables" else [])

    def start_gate(self):
        addresses = [*ANY[4], *ANY[6]] if self.selector == "interface" else list(LOOPBACK.values())
        self.world.start(self.gate_place, "gate", self.mode, *addresses)

    def redirect(self, *more):
        done = self.world.sluice(*self.options, *more)
        assert done.returncode == 0, done.stderr
        return done

    def probe(self, what, address, port, **options):
        return self.world.probe(self.place, what, address, port, **{"uid": self.uid, "cgroup": self.cgroup} | options)


ALL = [(selector, backend, mode) for selector in ("interface", "namespace", "uid", "cgroup") for backend in ("nft", "iptables")
       for mode in ("redirect", "tproxy", "no-ipv6")]
SERVED = [one for one in ALL if one[2] != "no-ipv6"]


@pytest.fixture(scope="module")
def redirected(request):
    world = World()
    try:
        one = Redirected(world, *request.param)
        one.start_gate()
        if one.backend == "iptables":
            # As an operator would who only has the printed text.
            must(*world.inside(one.rules_place), "sh", input=world.sluice(*one.options).stdout)
        else:
            one.redirect("--apply")
        yield one
    finally:
        world.close()


def every(combinations):
    return pytest.mark.parametrize("redirected", combinations, indirect=True, ids="-".join)


def is_refused_at_once(result):
    return result.get("error") in REFUSED and result["ms"] < AT_ONCE_MS


@every(ALL)
def test_tcp_arrives_with_its_destination(redirected):
    for family in redirected.families:
        for address, port in ((FAR[family], 443), (FAR[family], 6333), (OUTSIDE[family], 8000), (HOST[family], 22)):
            assert redirected.probe("tcp", address, port).get("got") == [address, port]


@every(ALL)
def test_dns_is_answered_from_the_address_that_was_asked(redirected):
    for family in redirected.families:
        for address in (FAR[family], HOST[family]):
            assert redirected.probe("udp", address, 53).get("got") == ["dns:question", address, 53]
            assert redirected.probe("tcp", address, 53).get("got") == "dns"


@every(ALL)
def test_everything_else_is_refused_at_once(redirected):
    for family in (4, 6):
        for what, address, port in (("quic", FAR[family], 443), ("quic", OUTSIDE[family], 8000), ("ping", OUTSIDE[family], 0),
                                    ("quic", HOST[family], 9999), ("ping", HOST[family], 0)):
            result = redirected.probe(what, address, port)
            assert is_refused_at_once(result), (what, address, result)


@every([one for one in ALL if one[2] == "no-ipv6"])
def test_unserved_ipv6_is_refused_at_once(redirected):
    for what, address, port in (("tcp", FAR[6], 443), ("tcp", OUTSIDE[6], 8000), ("udp", FAR[6], 53), ("quic", FAR[6], 53),
                                ("tcp", FAR[6], 53)):
        result = redirected.probe(what, address, port)
        if what == "udp" and result.get("error") == "timeout":
            continue  # A socket that is not connected hears nothing of a refusal that came from another machine.
        assert is_refused_at_once(result), (what, address, result)


@every(ALL)
def test_answers_to_connections_from_outside_pass(redirected):
    world = redirected.world
    addresses = BOX if redirected.place == "box" else {4: "198.51.100.1", 6: "fd98::1"}
    server = world.start(redirected.place, "as", redirected.uid, redirected.cgroup, "server", "inside", "8022", *ANY[4], *ANY[6])
    try:
        for family in (4, 6):
            assert world.probe("out", "tcp", addresses[family], 8022).get("got") == "inside"
            assert world.probe("out", "udp", addresses[family], 8022).get("got")[0] == "inside:question"
    finally:
        server.kill()


@every(ALL)
def test_what_is_the_gates_own_is_not_caught(redirected):
    """From where the gate runs: for an interface the host, for a namespace and a cgroup its user in there."""
    for family in (4, 6):
        for what in ("tcp", "udp"):
            got = redirected.world.probe(redirected.gate_place, what, OUTSIDE[family], 8000, GATE, redirected.cgroup).get("got")
            assert got == ("outside" if what == "tcp" else ["outside:question", OUTSIDE[family], 8000])


@every(SERVED)
def test_what_a_closed_socket_still_holds_goes_the_same_way(redirected):
    world, sent = redirected.world, {True: [], False: []}
    for family in (4, 6):
        sent[True].append(redirected.probe("leave", FAR[family], 443).get("got"))
        sent[False].append(world.probe(redirected.gate_place, "leave", OUTSIDE[family], 8000, GATE, redirected.cgroup).get("got"))
    assert min(sent[True] + sent[False]) > 100_000
    until("the gate has it all", lambda: redirected.probe("tally", FAR[4], 443)["got"] == sent[True])
    until("the upstream of the gate has it all", lambda: world.probe("out", "tally", OUTSIDE[4], 8000)["got"] == sent[False])


@every([one for one in SERVED if one[0] in ("uid", "cgroup")])
def test_loopback_of_the_machine_is_refused_but_for_the_gate(redirected):
    service = redirected.world.start("host", "server", "service", "9999", *LOOPBACK.values())
    try:
        for address in (*LOOPBACK.values(),):
            assert redirected.world.probe("host", "tcp", address, 9999).get("got") == "service"
            for what in ("tcp", "quic"):
                result = redirected.probe(what, address, 9999)
                assert is_refused_at_once(result), (what, address, result)
            # A stub resolver of the machine is the gate's responder now.
            assert redirected.probe("udp", address, 53).get("got") == ["dns:question", address, 53]
        redirected.redirect("--allow-local", "9999", "--apply")
        assert redirected.probe("tcp", "127.0.0.1", 9999).get("got") == redirected.probe("tcp", "::1", 9999).get("got") == "service"
        redirected.redirect("--apply")
        assert is_refused_at_once(redirected.probe("tcp", "127.0.0.1", 9999))
    finally:
        service.kill()


@every([one for one in SERVED if one[0] == "namespace"])
def test_loopback_of_a_namespace_is_its_own(redirected):
    service = redirected.world.start("box", "server", "service", "9999", *LOOPBACK.values())
    try:
        for address in LOOPBACK.values():
            assert redirected.probe("tcp", address, 9999).get("got") == "service"
            assert redirected.probe("udp", address, 9999).get("got") == ["service:question", address, 9999]
    finally:
        service.kill()


@pytest.mark.parametrize("backend", ["nft", "iptables"])
@pytest.mark.parametrize("selector", ["interface", "namespace", "uid", "cgroup"])
def test_applied_twice_is_applied_once_and_removed_twice_is_removed(world, selector, backend):
    one = Redirected(world, selector, backend)
    before = world.state(one.rules_place)
    assert "nothing to remove" in one.redirect("--remove").stderr
    for more in ([], ["--tproxy"]):
        one.redirect("--apply", *more)
        applied = world.state(one.rules_place)
        one.redirect("--apply", *more)
        assert world.state(one.rules_place) == applied != before
    # Back from TPROXY: only its routes are left for the removal.
    one.redirect("--apply")
    assert "removed: " in one.redirect("--remove").stderr
    after = world.state(one.rules_place)
    assert "sluice" not in after and "511" not in after
    if backend == "nft":
        assert after == before
    assert "nothing to remove" in one.redirect("--remove").stderr


def test_several_selectors_stand_side_by_side(world):
    (interface, user) = (Redirected(world, "interface", mode="tproxy"), Redirected(world, "uid", mode="tproxy"))
    interface.start_gate()
    for one in (interface, user):
        one.redirect("--apply")
    for one in (interface, user):
        assert one.probe("tcp", FAR[4], 443).get("got") == [FAR[4], 443]
    user.redirect("--remove")
    assert interface.probe("tcp", FAR[6], 443).get("got") == [FAR[6], 443]
    assert user.probe("tcp", OUTSIDE[4], 8000).get("got") == "outside"


@pytest.mark.parametrize("mode", ["redirect", "tproxy"])
@pytest.mark.parametrize("selector", ["interface", "namespace", "uid", "cgroup"])
def test_connections_from_before_are_cut(world, selector, mode):
    one = Redirected(world, selector, mode=mode)
    standing = [world.start(one.place, "probe", "hold", OUTSIDE[family], "8000", one.uid, one.cgroup) for family in (4, 6)]
    one.start_gate()
    one.redirect("--apply")
    for process in standing:
        result = json.loads(process.communicate("go\n", timeout=20)[0])
        assert result.get("error") in ("ECONNRESET", "EPIPE", "ECONNREFUSED"), result


@pytest.mark.parametrize("mode", ["redirect", "tproxy"])
@pytest.mark.parametrize("selector", ["interface", "namespace", "uid", "cgroup"])
def test_without_a_gate_nothing_gets_out_and_nothing_hangs(world, selector, mode):
    one = Redirected(world, selector, mode=mode)
    one.redirect("--apply")
    for family in (4, 6):
        for what, port in (("tcp", 8000), ("tcp", 53), ("quic", 53), ("quic", 8000)):
            result = one.probe(what, OUTSIDE[family], port)
            assert is_refused_at_once(result), (what, port, result)


@pytest.mark.parametrize("selector", ["interface", "namespace", "uid"])
def test_marked_packets_without_their_route_do_not_get_out(world, selector):
    one = Redirected(world, selector, mode="tproxy")
    one.start_gate()
    one.redirect("--apply")
    for family in ("-4", "-6"):
        must(*world.inside(one.rules_place), "ip", family, "rule", "del", "priority", "511")
    for family in (4, 6):
        assert "got" not in one.probe("tcp", OUTSIDE[family], 8000)


def test_addresses_of_one_family_leave_the_other_unserved(world):
    one = Redirected(world, "uid")
    one.start_gate()
    one.redirect("--transparent", "127.0.0.1:3129", "--dns", "127.0.0.1:3153", "--apply")
    assert one.probe("tcp", FAR[4], 443).get("got") == [FAR[4], 443]
    assert is_refused_at_once(one.probe("tcp", FAR[6], 443))


def test_dhcp_of_an_interface_is_asked_for(world):
    one = Redirected(world, "interface")
    one.redirect("--apply")
    world.start("host", "server", "dhcp", "67", "0.0.0.0")
    assert is_refused_at_once(one.probe("quic", HOST[4], 67))
    text = world.sluice("--interface", "br0", "--allow-dhcp").stdout
    assert "th sport 68 th dport 67 accept" in text


def test_a_bridge_under_br_netfilter(world):
    done = world.bridge_filter(1)
    if done.returncode != 0:
        pytest.skip(f"no br_netfilter here: {done.stderr.strip()}")
    one = Redirected(world, "interface")
    refused = world.sluice(*one.options, "--tproxy", "--apply")
    assert refused.returncode == 1 and "net.bridge.bridge-nf-call-iptables=0" in refused.stderr
    assert "sluice" not in world.state()
    one.start_gate()
    one.redirect("--apply")
    for family in (4, 6):
        assert one.probe("tcp", FAR[family], 443).get("got") == [FAR[family], 443]
        assert one.probe("udp", FAR[family], 53).get("got") == ["dns:question", FAR[family], 53]


def test_the_gates_own_user_is_refused(world):
    for options in (["--uid", "0"], ["--uid", AGENT, "--gate-uid", AGENT]):
        for action in ([], ["--apply"], ["--iptables"]):
            done = world.sluice(*options, *action)
            assert done.returncode == 64 and "own user" in done.stderr and done.stdout == ""
    assert "sluice" not in world.state()


def test_errors_say_what_to_do(world):
    binary = os.environ["SLUICE"]
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    inside = world.inside("host")
    without = [*inside, "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /usr/sbin && exec "$@"', "sh"]
    cases = [
        ([*inside, *nobody, binary, "redirect", "--uid", AGENT, "--apply"], "run it as root"),
        ([*without, binary, "redirect", "--uid", AGENT, "--apply", "--iptables"], "apt install iptables"),
        ([*inside, binary, "redirect", "--namespace", "sluice-no-such", "--apply"], "ip netns add"),
        ([*inside, binary, "redirect", "--namespace", "/proc/version", "--apply"], "/proc/version must be a network namespace"),
        ([*inside, binary, "redirect", "--cgroup", "no/such", "--apply"], "cgroup"),
    ]
    for command, words in cases:
        done = run(*command)
        assert done.returncode == 1 and words in done.stderr, (command, done.returncode, done.stderr)
    # The rules themselves take no program.
    done = run(*without, binary, "redirect", "--uid", AGENT, "--apply")
    assert done.returncode == 0 and "sluice_uid_4242" in world.state(), done.stderr
    assert run(*without, binary, "redirect", "--uid", AGENT, "--remove").stderr == "sluice: removed: sluice_uid_4242\n"
    assert "nothing to remove" in run(*without, binary, "redirect", "--uid", AGENT, "--remove").stderr and "sluice" not in world.state()
    # Printing takes no rights.
    assert "table inet sluice_uid_4242" in must(*nobody, binary, "redirect", "--uid", AGENT)
    assert "no interface br9" in world.sluice("--interface", "br9", "--apply").stderr
