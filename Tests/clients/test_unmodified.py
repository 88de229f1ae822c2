"""Programs with no proxy settings, in a namespace whose only route and only name server are the gate."""
import subprocess

import pytest

from gate import occurrences, until
from programs import JAVA, NODE
from upstreams import index_with_a_wheel, repository
from world import ALLOWED, ATTACKER, GATE, IPTABLES, TPROXY, World

POLICY = """network_policy:
  allow:
    - "allowed.test:[22, 25, 80, 443, 6379]"
    - "four.test:443"
"""
# With musl's resolver, which asks for A and AAAA at once and takes no answer for an error as glibc's does.
MUSL = r"""
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **arguments) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int failed = count > 1 ? getaddrinfo(arguments[1], "80", &hints, &found) : EAI_NONAME;
  if (failed) return fprintf(stderr, "%s\n", gai_strerror(failed)), 1;
  for (; found; found = found->ai_next) {
    int fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0) continue;
    char text[4096];
    int length = snprintf(text, sizeof text, "GET /hello HTTP/1.0\r\nHost: %s\r\n\r\n", arguments[1]);
    if (write(fd, text, length) != length) return 1;
    for (ssize_t got; (got = read(fd, text, sizeof text)) > 0;) fwrite(text, 1, got, stdout);
    return 0;
  }
  return 1;
}
"""
# As Go's own resolver and dialler go about it: A and AAAA at once with EDNS, then IPv6 first and IPv4 300 ms later.
GO_STYLE = """
import concurrent.futures, socket, ssl, struct, sys
host, path = sys.argv[1:3]
def ask(kind):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        name = b"".join(bytes([len(one)]) + one.encode() for one in host.split(".")) + b"\\0"
        sock.sendto(struct.pack("!HHHHHH", kind, 0x120, 1, 0, 0, 1) + name + struct.pack("!HH", kind, 1)
                    + b"\\0" + struct.pack("!HHIH", 41, 1232, 0, 0), (sys.argv[4], 53))
        reply = sock.recv(4096)
    assert reply[:2] == struct.pack("!H", kind) and reply[3] & 15 in (0, 3)
    at, found = 12 + len(name) + 4, []
    for _ in range(struct.unpack("!H", reply[6:8])[0]):
        size = struct.unpack("!H", reply[at + 10:at + 12])[0]
        found.append(reply[at + 12:at + 12 + size])
        at += 12 + size
    return found
with concurrent.futures.ThreadPoolExecutor() as pool:
    four, six = pool.map(ask, (1, 28))
addresses = [(socket.AF_INET6, one) for one in six] + [(socket.AF_INET, one) for one in four]
if not addresses:
    sys.exit("no such host")
def dial(family, packed, wait):
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(wait)
    sock.connect((socket.inet_ntop(family, packed), 443))
    sock.settimeout(20)
    return sock
for family, packed in addresses:
    try:
        sock = dial(family, packed, 0.3 if family == socket.AF_INET6 else 20)
        break
    except OSError:
        continue
with ssl.create_default_context(cafile=sys.argv[3]).wrap_socket(sock, server_hostname=host) as stream:
    stream.sendall(f"GET {path} HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    data = b""
    while more := stream.recv(65536):
        data += more
sys.stdout.write(data.partition(b"\\r\\n\\r\\n")[2].decode())
"""


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("content")
    (folder / "hello").write_text("hello from upstream\n")
    index_with_a_wheel(folder)
    repository(folder)
    return folder


@pytest.fixture(scope="module", params=["iptables REDIRECT", "nftables TPROXY"])
def world(request, tmp_path_factory, certificates, content):
    world = World(tmp_path_factory.mktemp("world"))
    try:
        world.serve_internet(certificates, content)
        world.serve_redis_and_ssh()
        world.start_gate(POLICY, dns=True)
        world.shell(world.gate, {"iptables REDIRECT": IPTABLES, "nftables TPROXY": TPROXY}[request.param])
        world.ca = certificates.ca
        yield world
    finally:
        world.close()
    assert "Fatal error" not in world.errors.read_text()


def command_of(client, world, host, folder):
    url, ca = f"https://{host}/hello", world.ca
    if client == "java":
        script, store = folder / "Client.java", folder / f"store-{host}"
        script.write_text(JAVA)
        subprocess.run(["keytool", "-importcert", "-noprompt", "-file", ca, "-keystore", store, "-storepass", "changeit"], check=True,
                       capture_output=True)
        return ["java", f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit", script, url]
    if client == "musl http":
        (folder / "client.c").write_text(MUSL)
        subprocess.run(["musl-gcc", "-static", "-o", folder / "client", folder / "client.c"], check=True)
        return [folder / "client", host]
    if client == "node":
        (folder / "client.js").write_text(NODE)
        return ["env", f"NODE_EXTRA_CA_CERTS={ca}", "node", folder / "client.js", url]
    if client == "go-style":
        return ["python3", "-c", GO_STYLE, host, "/hello", ca, GATE]
    return {
        "curl": ["curl", "-sS", "--max-time", "20", "--cacert", ca, url],
        "curl -6": ["curl", "-6", "-sS", "--max-time", "20", "--cacert", ca, url],
        "curl http": ["curl", "-sS", "-f", "--max-time", "20", f"http://{host}/hello"],
        "wget": ["wget", "-q", "-O", "-", "--tries=1", f"--ca-certificate={ca}", url],
        "git": ["sh", "-c", f"git -c http.sslCAInfo={ca} clone -q https://{host}/repo.git {folder}/clone-{host} && echo 'hello from upstream'"],
        "pip": ["sh", "-c", f"python3 -m pip --isolated download -q --no-deps --disable-pip-version-check --retries 0 --cert {ca} -d {folder}/pip-{host} "
                            f"--index-url https://{host}/simple/ thing && echo 'hello from upstream'"],
        "python": ["python3", "-c", "import sys, urllib.request, ssl; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=20, "
                                    "context=ssl.create_default_context(cafile=sys.argv[2])).read().decode())", url, ca],
    }[client]


@pytest.mark.parametrize("client", ["curl", "curl -6", "curl http", "wget", "git", "pip", "python", "node", "java", "go-style", "musl http"])
def test_a_program_reaches_what_is_allowed_and_nothing_else(world, client, tmp_path):
    before = world.packets_to_attacker()
    got = world.as_client(*command_of(client, world, "allowed.test", tmp_path))
    assert got.stdout.endswith("hello from upstream\n"), got.stderr
    world.logged(event="closed", via="address", host="allowed.test", port=80 if "http" in client else 443)
    refused = world.as_client(*command_of(client, world, "refused.test", tmp_path))
    assert refused.returncode != 0 and "hello from upstream" not in refused.stdout
    world.logged(event="denied", via="dns", host="refused.test", reason="not_allowed")
    assert world.packets_to_attacker() == before
    assert "refused.test" not in world.names_asked()


def test_openssl_reaches_a_name_by_its_made_up_address(world):
    got = world.as_client("openssl", "s_client", "-connect", "allowed.test:443", "-CAfile", world.ca, "-verify_return_error", "-verify_hostname",
                          "allowed.test", input="GET /hello HTTP/1.0\r\nHost: allowed.test\r\n\r\n")
    assert "Verification: OK" in got.stdout, got.stdout + got.stderr
    # Another name in the hello than the one that the address stands for.
    other = world.as_client("openssl", "s_client", "-connect", "allowed.test:443", "-servername", "four.test", input="")
    assert "alert number 112" in other.stderr or "unrecognized name" in other.stderr, other.stderr
    world.logged(event="denied", reason="sni_mismatch", host="allowed.test", sni="four.test")


def test_redis_and_ssh_reach_a_name_without_tls_and_without_settings(world):
    got = world.as_client("redis-cli", "-h", "allowed.test", "set", "key", "value")
    assert got.stdout.strip() == "OK", got.stderr
    assert world.as_client("redis-cli", "-h", "allowed.test", "get", "key").stdout.strip() == "value"
    world.logged(event="closed", via="address", host="allowed.test", port=6379)
    # A server that speaks first.
    got = world.as_client("ssh", "-F", "none", "-i", world.folder / "user", "-o", f"UserKnownHostsFile={world.folder}/known", "-o",
                          "BatchMode=yes", "root@allowed.test", "echo", "from inside")
    assert got.stdout == "from inside\n", got.stderr
    world.logged(event="closed", via="address", host="allowed.test", port=22)


def test_a_port_that_no_rule_names_is_refused_and_told(world):
    before = world.connections()
    got = world.as_client("curl", "-sS", "--max-time", "10", "http://allowed.test:8080/")
    assert '"reason":"not_allowed"' in got.stdout and '"target":"allowed.test:8080"' in got.stdout, got
    world.logged(event="denied", via="address", reason="not_allowed", host="allowed.test", port=8080)
    assert world.connections() == before


def test_a_look_up_alone_asks_nobody(world):
    asked = len(world.names_asked())
    got = world.as_client("getent", "ahostsv4", "four.test")
    assert got.stdout.startswith("198.18."), got
    assert len(world.names_asked()) == asked
    assert world.as_client("curl", "-sk", "https://four.test/hello").stdout == "hello from upstream\n"
    assert "four.test" in world.names_asked()[asked:]


def test_a_raw_address_is_no_way_out(world):
    before = world.packets_to_attacker(), len(world.connections())
    for arguments in (["-k", f"https://{ATTACKER}/hello"], [f"http://{ATTACKER}/hello"], [f"http://{ALLOWED}/hello"]):
        got = world.as_client("curl", "-sS", "--max-time", "10", *arguments)
        assert "hello from upstream" not in got.stdout
    until("the refusals", lambda: occurrences([line for line in world.lines() if line["event"] == "denied" and line.get("host") in (ATTACKER, ALLOWED)]) >= 3)
    assert (world.packets_to_attacker(), len(world.connections())) == before
