"""`make kube`: the manifests of Examples/kubernetes, held to the schemas of the newest versions; and the sidecar pod for
real, by podman: what its agent reaches with and without proxy settings, that it cannot undo the rules, and that a new
ConfigMap takes effect. As root; all of it in namespaces and a store of its own."""
import http.server
import json
import os
import shutil
import socketserver
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBECTL = Path(sys.executable).parent / "kubectl"
PLACES = ["sidecar", "node", "central"]
SLUICE = os.environ["SLUICE"]


def until(what, ask, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if got := ask():
            return got
        time.sleep(0.05)
    raise AssertionError(f"timed out: {what}")


def run(*command, status=0, **more):
    got = subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=300, **more)
    assert status is None or got.returncode == status, f"{command}: {got.returncode} {got.stdout} {got.stderr}"
    return got


def built(place):
    return list(yaml.safe_load_all(run(KUBECTL, "kustomize", ROOT / "Examples/kubernetes" / place).stdout))


def newest_versions():
    known = sorted({tuple(map(int, one.split(".")[:2])) for one in kubernetes_validate.utils.all_versions()})
    return [f"{major}.{minor}" for major, minor in known[-3:]]


# Manifests


@pytest.mark.parametrize("place", PLACES)
def test_manifests_are_of_the_newest_versions(place):
    documents = built(place)
    assert len(newest_versions()) == 3 and len(documents) > 5
    for version in newest_versions():
        for document in documents:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("place", PLACES)
def test_what_a_manifest_names_is_there(place):
    documents = built(place)
    names = {(one["kind"], one["metadata"]["name"]) for one in documents}
    pods = [one["spec"] if one["kind"] == "Pod" else one["spec"]["template"]["spec"] for one in documents if one["kind"] in ("Pod", "Deployment", "DaemonSet")]
    given = {("Secret", "sluice-tls"), ("Secret", "sluice-clients"), ("Secret", "researcher-proxy")}
    for pod in pods:
        volumes = {one["name"] for one in pod.get("volumes", [])}
        for container in pod.get("initContainers", []) + pod["containers"]:
            assert {one["name"] for one in container.get("volumeMounts", [])} <= volumes
            assert container["securityContext"]["allowPrivilegeEscalation"] is False and container["securityContext"]["capabilities"]["drop"] == ["ALL"]
            added = container["securityContext"]["capabilities"].get("add", [])
            assert added == (["NET_ADMIN"] if container["name"] == "redirect" else []), container["name"]
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in names | given


@pytest.mark.parametrize("place", PLACES)
def test_the_policy_is_one(place, tmp_path):
    """With the files that its secrets would be."""
    policy = next(one for one in built(place) if one["kind"] == "ConfigMap")["data"]["policy.yaml"]
    (tmp_path / "password").write_text("a password\n")
    hashed = run("openssl", "passwd", "-6", "-stdin", input="p").stdout
    (tmp_path / "researcher").write_text(hashed)
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "tls.key", "-out", tmp_path / "tls.crt", "-subj", "/CN=sluice")
    for folder in ("limits", "clients", "tls"):
        policy = policy.replace(f"/run/secrets/{folder}/", f"{tmp_path}/")
    (tmp_path / "policy.yaml").write_text(policy)
    got = run(SLUICE, "check", "--policy", tmp_path / "policy.yaml", status=None)
    assert got.returncode == 0, got.stderr + got.stdout


# A pod


CONTAINERS = """[containers]
default_ulimits = ["nofile=1024:1024","nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
OUTSIDE, POD = "10.99.0.1", "10.99.0.2"


class Pod:
    def __init__(self, folder):
        self.folder, self.name, self.outside = folder, f"sluice-{os.getpid()}", None
        self.spec = next(one for one in built("sidecar") if one["kind"] == "Pod")
        (folder / "containers.conf").write_text(CONTAINERS)
        self.environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf"), "TMPDIR": str(folder)}
        self.store = ["--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
        self.config = folder / "config"
        self.config.mkdir()
        self.write([])
        self.images()
        (folder / "pod.yaml").write_text(yaml.safe_dump(self.as_podman_takes_it()))
        self.podman("play", "kube", "--network", "none", folder / "pod.yaml")
        self.connect()

    def podman(self, *arguments, status=0):
        return run("podman", *self.store, "--log-level", "error", *arguments, status=status, env=self.environment)

    def write(self, allowed):
        """As a kubelet does: a new folder, and one link that is swapped to it."""
        rules = [{"host": f"{name}:8080", "addresses": ["10.99.0.0/24"]} for name in allowed]
        policy = {"listen": {"connect": "127.0.0.1:3128", "transparent": ["127.0.0.1:3129", "[::1]:3129"], "dns": ["127.0.0.1:3153", "[::1]:3153"],
                             "admin": "/run/sluice/admin.sock"},
                  "resolver": {"servers": [f"{OUTSIDE}:53"]}, "network_policy": {"default": "deny", "allow": rules}}
        fresh = self.config / f"..{time.time_ns()}"
        fresh.mkdir()
        (fresh / "policy.yaml").write_text(json.dumps(policy))
        (self.config / "..data_tmp").symlink_to(fresh.name)
        (self.config / "..data_tmp").rename(self.config / "..data")
        if not (self.config / "policy.yaml").exists():
            (self.config / "policy.yaml").symlink_to("..data/policy.yaml")

    def images(self):
        build = self.folder / "image"
        run(ROOT / "Packaging/image/build", build)
        self.podman("load", "--quiet", "--input", build / "sluice-image.tar")
        loaded = self.podman("images", "--format", "{{.ID}}").stdout.split()[0]
        self.podman("tag", loaded, "localhost/sluice:test")
        agent = self.folder / "agent"
        (agent / "root/bin").mkdir(parents=True)
        # The wget of a static busybox has no resolver.
        for one in ("/bin/busybox", "/usr/bin/curl", ROOT / "sluice"):
            shutil.copy(one, agent / "root/bin")
        for path in {word for word in run("ldd", "/usr/bin/curl").stdout.split() if word.startswith("/")}:
            (agent / "root" / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, agent / "root" / path[1:])
        (agent / "Containerfile").write_text("FROM scratch\nCOPY root/ /\n")
        run("buildah", *self.store, "--log-level", "error", "bud", "--isolation", "chroot", "--quiet", "-t", "localhost/agent:test", agent, env=self.environment)

    def as_podman_takes_it(self):
        """podman 4.3 knows no native sidecars, no probes of these, no node; the rest is the manifest."""
        spec = json.loads(json.dumps(self.spec))
        spec["metadata"] = {"name": self.name, "annotations": {"io.podman.annotations.init.container.type": "always"}}
        pod = spec["spec"]
        # Or podman would run the init container again and again.
        pod["restartPolicy"] = "Never"
        gate = pod["initContainers"].pop()
        assert gate.pop("restartPolicy") == "Always"
        for probe in ("startupProbe", "livenessProbe", "resources"):
            gate.pop(probe)
        pod["containers"].insert(0, gate)
        gate["env"] = [{"name": "CLIENT", "value": "agent-7"}, {"name": "GATE", "value": "node-3"}]
        # podman writes no $(NAME) into arguments either.
        gate["args"] = [one.replace("$(CLIENT)", "agent-7").replace("$(GATE)", "node-3") for one in gate["args"]]
        gate["volumeMounts"] = [one for one in gate["volumeMounts"] if one["name"] != "limits"]
        (self.folder / "run-sluice").mkdir()
        os.chown(self.folder / "run-sluice", 65532, 65532)
        pod["volumes"] = [{"name": "policy", "hostPath": {"path": str(self.config), "type": "Directory"}},
                          {"name": "run", "hostPath": {"path": str(self.folder / "run-sluice"), "type": "Directory"}}]
        pod["containers"][1]["command"] = ["/bin/busybox", "sleep", "100000"]
        pod["containers"][1].pop("env")
        for container in pod["initContainers"] + pod["containers"]:
            container["image"] = "localhost/agent:test" if container["name"] == "agent" else "localhost/sluice:test"
            container["imagePullPolicy"] = "Never"
        pod.pop("securityContext")
        pod["dnsPolicy"], pod["dnsConfig"] = "None", {"nameservers": [OUTSIDE]}
        return spec

    def connect(self):
        """The pod's one way out: a veth to a namespace with the upstreams and a name server."""
        infra = json.loads(self.podman("pod", "inspect", self.name).stdout)["InfraContainerID"]
        pid = self.podman("inspect", "--format", "{{.State.Pid}}", infra).stdout.strip()
        self.outside = f"{self.name}-out"
        run("ip", "netns", "add", self.outside)
        run("ip", "link", "add", "eth0", "netns", self.outside, "type", "veth", "peer", "name", "eth0", "netns", pid)
        run("ip", "-n", self.outside, "addr", "add", f"{OUTSIDE}/24", "dev", "eth0")
        run("ip", "-n", self.outside, "link", "set", "eth0", "up")
        for words in (["addr", "add", f"{POD}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["route", "add", "default", "via", OUTSIDE]):
            run("nsenter", "-t", pid, "-n", "ip", *words)
        self.server = subprocess.Popen(["ip", "netns", "exec", self.outside, sys.executable, __file__, str(self.folder / "seen")])
        until("the outside serves", lambda: (self.folder / "seen").exists())

    def inside(self, *command, status=None, env={}):
        options = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
        return self.podman("exec", *options, f"{self.name}-agent", *command, status=status)

    def get(self, url, env={}):
        return self.inside("/bin/curl", "--silent", "--show-error", "--fail", "--max-time", "10", url, env=env)

    def seen(self):
        return (self.folder / "seen").read_text().split()

    def close(self):
        self.podman("pod", "rm", "-f", self.name, status=None)
        if self.outside:
            self.server.kill()
            self.server.wait()
            run("ip", "netns", "del", self.outside, status=None)


@pytest.fixture(scope="module")
def pod(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("containers and namespaces are made as root")
    one = None
    try:
        one = Pod(tmp_path_factory.mktemp("pod"))
        yield one
    finally:
        if one:
            one.close()


PROXY = {"http_proxy": "http://127.0.0.1:3128"}


def test_the_agent_reaches_what_the_policy_names_and_nothing_else(pod):
    refused = pod.get("http://allowed.test:8080/before")
    assert refused.returncode != 0, "nothing is allowed yet"
    # The swap of a ConfigMap.
    pod.write(["allowed.test"])
    until("the new policy is in force", lambda: pod.get("http://allowed.test:8080/transparent").stdout == "hello allowed.test\n")
    assert pod.get("http://allowed.test:8080/proxied", env=PROXY).stdout == "hello allowed.test\n"
    for url in ("http://other.test:8080/", f"http://{OUTSIDE}:8080/", "http://allowed.test:8081/"):
        for env in ({}, PROXY):
            got = pod.get(url, env=env)
            assert got.returncode != 0 and "hello" not in got.stdout, (url, env, got.stdout)
    # A server that speaks first says nothing to the agent.
    assert "SSH" not in pod.inside("/bin/busybox", "nc", "-w", "3", OUTSIDE, "2222").stdout
    assert set(pod.seen()) == {"allowed.test:8080/transparent", "allowed.test:8080/proxied"}, pod.seen()


def test_the_agent_cannot_undo_the_rules(pod):
    for command, words in [(["/bin/busybox", "ip", "link", "set", "eth0", "down"], "Operation not permitted"),
                           (["/bin/busybox", "ip", "route", "add", "default", "dev", "lo"], "Operation not permitted"),
                           (["/bin/sluice", "redirect", "--namespace", "/proc/self/ns/net", "--remove"], "run it as root"),
                           (["/bin/busybox", "unshare", "-n", "true"], "ermitted")]:
        got = pod.inside(*command)
        assert got.returncode != 0 and words in got.stderr, (command, got.stderr)
    # Root in the container, without capabilities, is refused by the kernel.
    got = pod.podman("exec", "--user", "0", f"{pod.name}-agent", "/bin/sluice", "redirect", "--namespace", "/proc/self/ns/net", "--remove", status=None)
    assert got.returncode == 1 and "CAP_NET_ADMIN" in got.stderr, got.stderr
    assert pod.get("http://other.test:8080/").returncode != 0


def test_a_new_config_map_takes_effect_and_the_log_names_the_client(pod):
    assert pod.get("http://other.test:8080/", env=PROXY).returncode != 0
    pod.write(["other.test"])
    until("the new policy is in force", lambda: pod.get("http://other.test:8080/swapped").stdout == "hello other.test\n")
    assert pod.get("http://allowed.test:8080/gone", env=PROXY).returncode != 0
    lines = [json.loads(one) for one in pod.podman("logs", f"{pod.name}-gate").stdout.splitlines() if one.startswith("{")]
    assert {one["client"] for one in lines if "host" in one} == {"agent-7"} and {one["gate"] for one in lines} == {"node-3"}
    ready = pod.podman("exec", f"{pod.name}-gate", "/sluice", "status", "--ready", "--socket", "/run/sluice/admin.sock")
    assert ready.returncode == 0 and ready.stdout == "" and ready.stderr == ""


# The image


def test_the_image_is_small_and_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        run(ROOT / "Packaging/image/build", tmp_path / name)
    one, two = ((tmp_path / name / "sluice-image.tar").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) < 30 << 20
    run("tar", "-xf", tmp_path / "one/sluice-image.tar", "-C", tmp_path)
    config = next(json.loads(blob.read_text()) for blob in (tmp_path / "blobs/sha256").iterdir() if blob.read_bytes()[:1] == b"{" and b'"rootfs"' in blob.read_bytes())
    assert config["config"]["User"] == "65532:65532" and config["config"]["Entrypoint"] == ["/sluice"]
    layers = [blob for blob in (tmp_path / "blobs/sha256").iterdir() if blob.read_bytes()[:2] == b"\x1f\x8b"]
    names = {name for layer in layers for name in run("tar", "-tzf", layer).stdout.split()}
    assert {"sluice", "etc/ssl/certs/ca-certificates.crt", "etc/sluice/policy.yaml", "etc/passwd"} <= names


# The outside of the pod: run in its namespace


def serve(seen):
    lock = threading.Lock()

    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with lock, open(seen, "a") as file:
                file.write(f"{self.headers['Host']}{self.path}\n")
            body = f"hello {self.headers['Host'].partition(':')[0]}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Banner(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"SSH-2.0-x\r\n")

    class Names(socketserver.BaseRequestHandler):
        def handle(self):
            query, socket = self.request
            end = 12
            while query[end]:
                end += query[end] + 1
            kind = struct.unpack("!H", query[end + 1 : end + 3])[0]
            answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(map(int, OUTSIDE.split("."))) if kind == 1 else b""
            socket.sendto(query[:2] + b"\x81\x80" + struct.pack("!HHHH", 1, int(bool(answer)), 0, 0) + query[12 : end + 5] + answer, self.client_address)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    servers = [http.server.ThreadingHTTPServer((OUTSIDE, 8080), Web), http.server.ThreadingHTTPServer((OUTSIDE, 8081), Web),
               socketserver.ThreadingTCPServer((OUTSIDE, 2222), Banner), socketserver.ThreadingUDPServer((OUTSIDE, 53), Names)]
    Path(seen).touch()
    for one in servers[1:]:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1])
