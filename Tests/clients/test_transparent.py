"""The transparent gate between real namespaces: what a client without proxy settings can and cannot reach."""
import datetime
import signal

import pytest

from gate import until
from world import ALLOWED, ALLOWED6, ATTACKER, ATTACKER6, GATE, IPTABLES, PORT, TPROXY, World

POLICY = """network_policy:
  allow:
    - "allowed.test:[80, 443]"
    - "six.test:443"
    - "four.test:443"
    - {host: "loop.test:443"}
    - {host: "meta.test:443"}
    - {host: "mapped.test:443"}
    - {host: "nat.test:443"}"""
WAYS = {"iptables REDIRECT": IPTABLES, "nftables TPROXY": TPROXY}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("content")
    (folder / "hello").write_text("hello from upstream\n")
    return folder


@pytest.fixture(scope="module", params=WAYS)
def world(request, tmp_path_factory, certificates, content):
    world = World(tmp_path_factory.mktemp("world"))
    world.way = request.param
    try:
        world.serve_internet(certificates, content)
        world.start_gate(POLICY)
        world.shell(world.gate, WAYS[request.param])
        world.certificates = certificates
        yield world
    finally:
        world.close()
    assert "Fatal error" not in world.errors.read_text()


def curl(world, url, address, *more):
    host, port = url.split("/")[2], 443 if url.startswith("https") else 80
    to = f"[{address}]" if ":" in address else address
    return world.run(world.client, "curl", "-sS", "--max-time", "20", "--cacert", world.certificates.ca, "--resolve",
                     f"{host}:{port}:{to}", *more, url, check=False)


@pytest.mark.parametrize("address", [ALLOWED, ALLOWED6])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_an_allowed_name_is_reached_and_nothing_else(world, scheme, address):
    got = curl(world, f"{scheme}://allowed.test/hello", address)
    assert got.stdout == "hello from upstream\n", got.stderr
    line = world.logged(event="closed", host="allowed.test", via="tls" if scheme == "https" else "http")
    assert line["port"] == (443 if scheme == "https" else 80) and line["address"] in (ALLOWED, ALLOWED6)
    before = world.packets_to_attacker()
    refused = curl(world, f"{scheme}://refused.test/hello", ATTACKER6 if ":" in address else ATTACKER, "-o", "/dev/stdout", "-w", "%{http_code}")
    if scheme == "https":
        assert refused.returncode == 35 and "alert" in refused.stderr
    else:
        assert refused.stdout.endswith("403") and '"reason":"not_allowed"' in refused.stdout
    world.logged(event="denied", host="refused.test", reason="not_allowed", via="tls" if scheme == "https" else "http")
    assert world.packets_to_attacker() == before
    assert "refused.test" not in world.names_asked()


@pytest.mark.parametrize("address", [ATTACKER, ATTACKER6])
def test_the_address_that_the_client_chose_sees_no_packet(world, address):
    before = world.packets_to_attacker()
    to = f"[{address}]:443" if ":" in address else f"{address}:443"
    got = world.run(world.client, "openssl", "s_client", "-connect", to, "-servername", "allowed.test", "-CAfile",
                    world.certificates.ca, "-verify_return_error", "-verify_hostname", "allowed.test",
                    input="GET /hello HTTP/1.0\r\nHost: allowed.test\r\n\r\n", check=False)
    assert "Verification: OK" in got.stdout, got.stdout + got.stderr
    assert world.packets_to_attacker() == before
    assert curl(world, "https://allowed.test/hello", address).stdout == "hello from upstream\n"
    assert curl(world, "http://allowed.test/hello", address).stdout == "hello from upstream\n"
    assert world.packets_to_attacker() == before


@pytest.mark.parametrize("arguments, reason", [(["-noservername"], "no_sni"), (["-servername", ATTACKER], "no_sni")])
def test_a_hello_without_a_name_is_refused(world, arguments, reason):
    before = world.packets_to_attacker(), len(world.lines())
    got = world.run(world.client, "openssl", "s_client", "-connect", f"{ATTACKER}:443", *arguments, input="", check=False)
    assert "alert unrecognized name" in got.stderr or "alert number 112" in got.stderr, got.stderr
    line = world.logged(event="denied", reason=reason, host=ATTACKER, port=443)
    assert line["via"] == "tls"
    assert world.packets_to_attacker() == before[0]


@pytest.mark.parametrize("name", ["loop.test", "meta.test", "mapped.test", "nat.test"])
def test_a_name_that_turns_to_a_private_address_is_never_connected_to(world, name):
    first = curl(world, f"https://{name}/hello", ALLOWED, "-k")
    assert first.stdout == "hello from upstream\n", first.stderr
    second = curl(world, f"https://{name}/hello", ALLOWED, "-k")
    assert second.returncode != 0
    world.logged(event="denied", host=name, reason="address_refused")


def test_other_protocols_without_a_name_are_refused(world):
    before = world.packets_to_attacker()
    got = world.run(world.client, "sh", "-c", f"printf '\\000\\001\\002' | timeout 5 nc {ATTACKER} 4444", check=False)
    assert got.stdout == ""
    world.logged(event="denied", host=ATTACKER, port=4444, reason="not_tls")
    assert world.packets_to_attacker() == before


def test_a_tunnel_is_cut_by_a_reload_that_drops_its_rule_and_another_is_not(world):
    script = """
import socket, ssl, sys, time
context = ssl.create_default_context(cafile=sys.argv[1])
context.check_hostname = False
stream = context.wrap_socket(socket.create_connection((sys.argv[2], 443), 20), server_hostname=sys.argv[3])
print("open", flush=True)
stream.settimeout(30)
try:
    got = stream.recv(100)
except OSError as error:
    got = error
print("over", repr(got), flush=True)
"""
    outputs = {name: world.folder / f"tunnel-{name}" for name in ("four.test", "allowed.test")}
    for name, output in outputs.items():
        process = world.start(world.client, "python3", "-c", script, world.certificates.ca, ALLOWED, name, output=output)
        world.await_text(process, output, "open")
    world.write(POLICY.replace('    - "four.test:443"\n', ""))
    world.sluice.send_signal(signal.SIGHUP)
    until("the tunnel is cut", lambda: "over" in outputs["four.test"].read_text())
    line = world.logged(event="revoked", host="four.test")
    reloaded = [one for one in world.lines() if one["event"] == "policy"][-1]
    times = [datetime.datetime.fromisoformat(one["time"]) for one in (reloaded, line)]
    assert times[1] - times[0] < datetime.timedelta(seconds=1)
    assert "over" not in outputs["allowed.test"].read_text()
    world.write(POLICY)
    world.sluice.send_signal(signal.SIGHUP)
    until("the policy is back", lambda: len([one for one in world.lines() if one["event"] == "policy"]) >= 3)


def test_the_listener_itself_is_no_target(world):
    before = world.connections()
    got = world.run(world.client, "curl", "-sS", "--max-time", "10", f"http://{GATE}:{PORT}/", check=False)
    assert "loop" in got.stdout
    world.logged(event="denied", reason="loop", port=PORT)
    assert world.connections() == before
