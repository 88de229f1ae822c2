"""Each of Examples/ does what it says. Policies for real hosts run unchanged, in a network that has such hosts."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox import UID
from upstreams import index_with_a_wheel, repository
from world import NAMESERVER, World

EXAMPLES = Path(__file__).parents[2] / "Examples"

if os.geteuid() != 0:
    pytest.skip("other users and network namespaces take root", allow_module_level=True)


def test_each_policy_is_valid():
    # Manifests and shippers are no policies; those of Kubernetes name secrets that are mounted there.
    foreign = {"compose.yaml", "fluent-bit.yaml", "vector.yaml"}
    policies = [one for one in sorted(EXAMPLES.rglob("*.yaml"))
                if one.name not in foreign and "kubernetes" not in one.parts]
    assert len(policies) >= 20
    for one in policies:
        got = subprocess.run([os.environ["SLUICE"], "check", "--policy", one], capture_output=True, text=True)
        assert got.returncode == 0, got.stderr


def test_the_readme_starts_a_shell(user_place):
    """As its user would, but for the cgroup that systemd gives."""
    text = (EXAMPLES.parent / "README.md").read_text()
    line = re.search(r"^    sluice (run --policy agent\.yaml -- bash)$", text, re.M)
    shutil.copy(EXAMPLES / "agent.yaml", user_place.workspace)
    words = line.group(1).split()
    got = subprocess.run([*user_place.prefix, user_place.sluice, *words[:1], "--limits", "best-effort", "--log", user_place.log, *words[1:]],
                         cwd=user_place.workspace, env=user_place.environment(), input="echo $SLUICE; curl -s http://evil.example/\n",
                         capture_output=True, text=True, timeout=60)
    assert got.stdout.startswith("1\n") and '"reason":"not_allowed"' in got.stdout, got
    user_place.logged(event="denied", host="evil.example", reason="not_allowed")


# MARK: with upstreams of their own

def run_example(place, name, sluice=None):
    """Started where this user may read it."""
    if not (place.folder / "Examples").exists():
        shutil.copytree(EXAMPLES, place.folder / "Examples")
    return subprocess.run([*place.prefix, place.folder / "Examples" / name], cwd=place.folder, capture_output=True, text=True, timeout=100,
                          env=place.environment({"SLUICE": str(sluice or place.sluice), "TMPDIR": "/tmp"}))


def attempts(output):
    """What the example agent tried, and what came of it."""
    return dict(re.findall(r"^  (\S.{57}) (.*)$", output.split("--- the log")[0], re.M))


def test_the_sandbox_example(place):
    got = run_example(place, "sandbox")
    assert got.returncode == 0, got.stdout + got.stderr
    tried = {what.strip(): came for what, came in attempts(got.stdout).items()}
    worked = {what for what, came in tried.items() if came.startswith("worked")}
    assert len(tried) == 14 and worked == {"ask the model", "write a file of the project"}, got.stdout
    log = got.stdout.split("--- the log")[1]
    assert re.search(r"closed +http +model\.test:\d+", log)
    for refused in (r"http +evil\.test:\d+", r"dns +evil\.test ", r"http +169\.254\.169\.254:80", r"http +198\.51\.100\.7:80", r"dns +c2vjcmv0\.evil\.test"):
        assert re.search(rf"denied +{refused} +not_allowed", log), log
    assert log.rstrip().endswith("what evil.test heard: nothing")


def test_the_sandbox_example_without_a_sandbox(user_place):
    """The same agent, started by something that is no sandbox: so what it tries can work."""
    place = user_place
    fake = place.folder / "fake"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\ntouch "$(dirname "$PWD")/log"\nexec "$@"\n')
    fake.chmod(0o755)
    got = run_example(place, "sandbox", fake)
    tried = {what.strip(): came for what, came in attempts(got.stdout).items()}
    for what in ("a service on the host's loopback", "read the home of the user", "read a secret from the environment", "look at other processes",
                 "make git run a program later"):
        assert tried[what].startswith("worked"), got.stdout + got.stderr


def test_the_gate_example(user_place):
    got = run_example(user_place, "gate")
    assert got.returncode == 0, got.stdout + got.stderr
    assert "hello from the upstream" in got.stdout and '"reason":"not_allowed"' in got.stdout


def test_the_mock_api_example(place):
    got = run_example(place, "mock-api/run")
    assert got.returncode == 0, got.stdout + got.stderr
    said = {what.strip(): came for what, came in re.findall(r"^  (\S.{37}) (.*)$", got.stdout.split("--- the log")[0], re.M)}
    text = "The gate holds the key."
    streamed = {name: said.pop(name).removesuffix(", as they came)").rstrip(")") for name in ("OpenAI, streaming", "Anthropic, streaming")}
    assert set(streamed.values()) == {text + " (6 pieces"}, got.stdout
    assert said == {
        "OPENAI_API_KEY": "sk-proj-placeholder-0123456789abcdef", "ANTHROPIC_API_KEY": "sk-ant-api03-placeholder-0123456789",
        "OpenAI": text, "Anthropic": text, "have the API say the key": "Bearer " + "*" * 40,
        "send it to another host": "403 Denied by egress policy: secret_refused",
        "a key of its own": "403 Denied by egress policy: secret_refused",
        "another path with the key": "403 Denied by egress policy: path_refused"}, got.stdout
    log = got.stdout.split("--- the log")[1]
    assert log.count(" in header ") == 5 and log.count(": an echo was taken out") == 1, log
    assert log.count("secret_refused") == 2 and log.count("path_refused") == 1, log


@pytest.mark.parametrize("example, name, said", [
    ("coding-agent/run", "agent", ["hello from the model", "pushed", "paste.example: refused"]),
    ("python-tool/run", "tool", ["thing 1", "hello from the model", "telemetry.example: Denied by egress policy: not_allowed"]),
    ("two-agents/run", "writer", ["reader: api.model.example answered", "reader: git.example refused by the gate",
                                  "writer: api.model.example refused by the gate", "writer: git.example answered"]),
])
def test_an_example_with_its_own_world(place, example, name, said):
    """Without the internet: upstreams and names are the example's own, and the log tells allowed from refused."""
    got = run_example(place, example)
    assert got.returncode == 0, got.stdout + got.stderr
    output, log = got.stdout.split("--- the log: what was let out, and what was refused\n")
    assert [line for line in output.splitlines() if not line.startswith("---")] == said, got
    lines = log.splitlines()
    assert any(line.split()[:2] == [name, "closed"] for line in lines) and any("denied" in line and "not_allowed" in line for line in lines), log


def test_the_transparent_example(root_place):
    got = run_example(root_place, "transparent")
    assert got.returncode == 0, got.stdout + got.stderr
    assert "hello from the upstream" in got.stdout and "ConnectionRefusedError" in got.stdout
    for line in ('"via":"address","host":"allowed.example"', '"via":"dns","host":"evil.example"', '"host":"192.0.2.7"'):
        assert line in got.stdout


# MARK: for real hosts

@pytest.fixture(scope="module")
def world(tmp_path_factory, certificates):
    content = tmp_path_factory.mktemp("content")
    (content / "hello").write_text("hello from the model\n")
    index_with_a_wheel(content)
    repository(content)
    world = World(tmp_path_factory.mktemp("world"))
    try:
        world.serve_internet(certificates, content)
        world.ca, world.content = certificates.ca, content
        yield world
    finally:
        world.close()


@pytest.fixture
def host(world, user_place):
    """A machine on that internet: the gate's end of the world."""
    user_place.world = world
    shutil.copy(world.ca, user_place.folder / "ca.pem")
    (user_place.folder / "ca.pem").chmod(0o644)
    return user_place


OPTIONS = ("--limits", "best-effort")


def start(host, example, *command):
    """In a copy of the example's folder, with its policy as it stands, but for where names are asked."""
    shutil.copytree(EXAMPLES / example, host.folder / example)
    with open(host.folder / example / "policy.yaml", "a") as policy:
        policy.write(f"resolver: {{servers: [{NAMESERVER}]}}\n")
    for path in (host.folder / example).iterdir():
        if path.name != "policy.yaml":
            shutil.copy(path, host.workspace)
    return host.world.run(host.world.gate, *host.prefix, *command, check=False, cwd=host.workspace,
                          env=host.environment({"SLUICE": str(host.sluice), "XDG_STATE_HOME": str(host.state),
                                                # The roots of this internet: what the sandbox trusts is these and the gate's CA.
                                                "SSL_CERT_FILE": f"{host.folder}/ca.pem"}))


def log_of(host, name="sandbox"):
    host.log = host.state / "sluice" / f"{name}.jsonl"
    return host


def test_the_coding_agent(host):
    got = start(host, "coding-agent", host.sluice, "run", "--policy", host.folder / "coding-agent/policy.yaml", *OPTIONS, "--", "./agent")
    assert got.returncode == 0, got.stderr
    assert got.stdout.startswith("hello from the model\n") and "\npushed\n" in got.stdout and got.stdout.endswith("paste.example: refused\n"), got
    pushed = subprocess.run(["git", "--git-dir", host.world.content / "repo.git", "log", "--format=%an %s", "main"], capture_output=True, text=True)
    assert pushed.stdout == "agent A program that ends well\na one\n", pushed
    log_of(host).logged(event="closed", host="git.example", port=443)
    host.logged(event="denied", host="paste.example", reason="not_allowed")
    assert "paste.example" not in host.world.names_asked()


def test_the_python_tool(host):
    got = start(host, "python-tool", host.sluice, "run", "--policy", host.folder / "python-tool/policy.yaml", *OPTIONS, "--", "./tool")
    assert got.returncode == 0, got.stderr
    assert got.stdout.startswith("thing 1\nhello from the model\ntelemetry.example: Denied by egress policy"), got
    log_of(host).logged(event="denied", host="telemetry.example", reason="not_allowed")
    assert "telemetry.example" not in host.world.names_asked()


# The build of this very tree is what the tests run: it stands in for a second one.
BUILT = """#!/bin/sh
[ "$*" = 'build --product sluice' ] && mkdir -p .build/debug && cp {sluice} .build/debug/sluice
"""


def test_from_a_clone_to_a_learned_policy(host):
    """Each command of that section, as a new user who knows nothing else, on an internet that has example.com."""
    section = (EXAMPLES.parent / "README.md").read_text().split("## Run a command, learn its policy")[1].split("\nA shell in such")[0]
    commands = [re.sub(r"  +#.*", "", line.strip()) for line in section.splitlines() if line.startswith("    ")]
    assert len(commands) == 9
    repository, swift, resolv = host.folder / "repository", host.folder / "swift", host.folder / "resolv.conf"
    subprocess.run(["git", "clone", "-q", "--bare", EXAMPLES.parent, repository], check=True)
    subprocess.run(["chown", "-R", str(UID), repository], check=True)
    swift.write_text(BUILT.format(sluice=host.sluice))
    swift.chmod(0o755)
    resolv.write_text(f"nameserver {NAMESERVER}\n")
    script = "".join(f"echo '== {number}'; {command}\n" for number, command in enumerate(commands)).replace("URL", str(repository))
    named = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
    got = host.world.run(host.world.gate, "unshare", "--mount", "sh", "-ec", named, "named", resolv, *host.prefix, "bash", "-ec", script, check=False,
                         cwd=host.workspace, env=host.environment({"SWIFT": str(swift), "SSL_CERT_FILE": f"{host.folder}/ca.pem"}))
    assert got.returncode == 0, got
    said = re.split(r"== \d\n", got.stdout)[1:]
    assert len(said) == 9
    assert "HTTP/1.1 200 OK" in said[4] and '"host":"example.com"' in said[5] and '"would_deny":true' in said[5], got
    policy = (host.workspace / "trial/agent.yaml").read_text()
    assert re.findall(r"^ +- (?:host: )?(\S+:\d+)", policy, re.M) == ["example.com:443"], policy
    assert "HTTP/1.1 200 OK" in said[7] and "\nHTTP/1.1 403 Denied by egress policy: not_allowed" in said[8], got
    assert "example.org" not in host.world.names_asked()


def test_the_flow_of_the_help_text(host):
    """The four commands that `sluice --help` prints, word for word, by a user who has no cgroup of their own."""
    told = subprocess.run([host.sluice, "--help"], capture_output=True, text=True).stdout
    commands = re.findall(r"^ +(sluice (?:run|log|learn)\b.*)$", told.split("A gate for others")[0], re.M)
    assert commands == ["sluice run -- ./agent", "sluice log", "sluice learn > agent.yaml", "sluice run --policy agent.yaml -- ./agent"]
    agent, resolv = host.workspace / "agent", host.folder / "resolv.conf"
    agent.write_text("#!/bin/sh\nfor n in 1 2 3; do curl -sS -o /dev/null -w '%{http_code}\\n' https://example.com/; done\n"
                     "curl -sS -o /dev/null -w '%{http_code}\\n' http://example.com/\n")
    agent.chmod(0o755)
    resolv.write_text(f"nameserver {NAMESERVER}\n")
    script = f"export PATH={host.folder}:$PATH\n" + "".join(f"echo '== {number}'; {command}\n" for number, command in enumerate(commands))
    named = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
    got = host.world.run(host.world.gate, "unshare", "--mount", "sh", "-ec", named, "named", resolv, *host.prefix, "bash", "-c", script, check=False,
                         cwd=host.workspace, env=host.environment({"SSL_CERT_FILE": f"{host.folder}/ca.pem"}))
    said = re.split(r"== \d\n", got.stdout)[1:]
    assert got.returncode == 0 and len(said) == 4, got
    assert len(said[0].split()) == 4 and set(said[0].split()) <= {"000", "403"} and '"reason":"not_allowed"' in said[1], got
    policy = (host.workspace / "agent.yaml").read_text()
    assert re.findall(r"^ +- (\S+:\d+)$", policy, re.M) == ["example.com:80", "example.com:443"], policy
    assert "WARNING" not in policy and "probe" not in policy
    assert said[3] == "200\n" * 4, got


def test_the_list_names_each_example():
    text = (EXAMPLES / "README.md").read_text()
    for one in EXAMPLES.iterdir():
        assert one.name == "README.md" or one.name in text, one.name
