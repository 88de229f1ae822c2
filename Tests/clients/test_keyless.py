"""Programs in `sluice run` that use hosts which demand a key, without holding it: git, pip, boto3, grpcio."""
import base64
import os
import subprocess

import pytest

import rpc
from dumps import files, found
from gate import DEADLINE
from test_credentials import AWS, KEYS
from upstreams import bare_repository, git_backend, index_with_a_wheel

if os.geteuid() != 0:
    pytest.skip("other users and the memory of their processes take root", allow_module_level=True)

SECRET = "ghs_Only+The/Gate-7f3a9c1e5b"
PLACEHOLDER = "ghp-placeholder-0123456789abcdef"


@pytest.fixture
def holds(user_place, certificates):
    """Has the gate hold a key for allowed.test; what it serves asks who comes, in `place.who`."""
    place = user_place
    roots = place.folder / "roots.pem"
    roots.write_bytes(certificates.ca.read_bytes())

    def write(port, credential, secret=SECRET, **more):
        value = place.home / "key"
        value.write_text(secret)
        value.chmod(0o644)
        place.target = f"allowed.test:{port}"
        place.write(f'credentials:\n  key: {{file: "{value}", {credential}}}\n'
                    f'network_policy:\n  allow:\n    - {{host: "{place.target}", addresses: [127.0.0.0/8], tls: {{roots: "{roots}"}}, credential: key}}\n')
        return place

    return write


def works_without(place, script, *secrets, options=()):
    """Runs a script that says `done` at its end, and looks at all that is inside before it goes."""
    process = place.start("bash", "-c", f"set -e\n{script}\necho done\nread -r end", stdin=subprocess.PIPE,
                          options=("--limits", "best-effort", *options))
    said = []
    while (line := process.stdout.readline()) and line != "done\n":
        said.append(line)
    if not line:
        raise AssertionError((said, *process.communicate()))
    held = found(place, *secrets) | {("file", *hit) for hit in files(place, *secrets)}
    process.communicate("\n", timeout=DEADLINE)
    assert not held
    assert process.returncode == 0
    assert not any(secret in place.log.read_text() for secret in secrets)
    return said


def test_a_key_in_a_file_or_in_memory_would_be_found(user_place):
    process = user_place.start("bash", "-c", 'key=$(echo "$0" | base64 -d); echo "$key" > ~/file; echo done; read -r end',
                               base64.b64encode(SECRET.encode()).decode(), stdin=subprocess.PIPE)
    assert process.stdout.readline() == "done\n"
    in_memory, in_files = found(user_place, SECRET), files(user_place, SECRET)
    process.communicate("\n", timeout=DEADLINE)
    # The part behind the first eight bytes begins two bytes into a group of three.
    assert {"plain", "base64 2"} <= {form for _, _, form in in_memory}
    assert {(path.rpartition("/")[2], form) for path, _, form in in_files} == {("file", "plain")}


def basic(pair):
    return "Basic " + base64.b64encode(pair.encode()).decode()


def private(handler, authorization):
    """The handler for those who say this; 401 for the others."""
    class Private(handler):
        def parse_request(self):
            if not super().parse_request():
                return False
            self.server.asked.append(self.headers.get("Authorization"))
            if self.server.asked[-1] == authorization:
                return True
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", "0")
            # A body that stands behind the head is not read.
            self.send_header("Connection", "close")
            self.end_headers()
            return False

    return Private


@pytest.fixture
def host(web, certificates, tmp_path):
    """A forge and an index, both private."""
    bare_repository(tmp_path)
    index_with_a_wheel(tmp_path)
    server = web(private(git_backend(tmp_path), basic(f"x-access-token:{SECRET}")), certificates.server())
    server.asked = []
    return server


PUSH = """export GIT_TERMINAL_PROMPT=0
git config --global user.name agent && git config --global user.email agent@git.test
git clone -q "$URL/repo.git" ~/one && cd ~/one && head -c 3000000 /dev/urandom > file && git add file && git commit -qm file
git push -q origin HEAD:main && git clone -q "$URL/repo.git" ~/two && cmp ~/one/file ~/two/file"""
INJECT, REPLACE = "basic: {user: x-access-token}", f"basic: {{user: x-access-token}}, placeholder: {PLACEHOLDER}"
AS = {INJECT: "https://", REPLACE: f"https://x-access-token:{PLACEHOLDER}@"}


@pytest.mark.parametrize("credential", [INJECT, REPLACE], ids=["inject", "replace"])
def test_git_pushes_to_a_private_repository(holds, host, tmp_path, credential):
    place = holds(host.port, credential)
    works_without(place, f"URL={AS[credential]}{place.target}\n{PUSH}", SECRET)
    pushed = subprocess.run(["git", "--git-dir", tmp_path / "repo.git", "log", "--format=%an %s", "main"], capture_output=True, text=True)
    assert pushed.stdout == "agent file\n", pushed
    # With a placeholder git says who it is when it is asked.
    assert set(host.asked) == {basic(f"x-access-token:{SECRET}")} | ({None} if credential == REPLACE else set())
    assert place.logged(event="credential", credential="key")["place"] == "basic"


@pytest.mark.parametrize("credential", [INJECT, REPLACE], ids=["inject", "replace"])
def test_pip_installs_from_a_private_index(holds, host, credential):
    place = holds(host.port, credential)
    said = works_without(place, f"""python3 -m venv ~/venv
~/venv/bin/pip install -q --disable-pip-version-check --retries 0 --index-url {AS[credential]}{place.target}/simple/ thing
~/venv/bin/python -c 'import thing; print("thing", thing.value)'""", SECRET)
    assert said == ["thing 1\n"]
    assert basic(f"x-access-token:{SECRET}") in host.asked


def test_without_the_gate_s_key_both_are_refused(holds, host, user_place):
    """The hosts do ask: the same, with an inspected rule and no credential."""
    place = holds(host.port, INJECT)
    place.policy.write_text(place.policy.read_text().replace(", credential: key", ", inspect: true"))
    got = place.shell(f"GIT_TERMINAL_PROMPT=0 git clone -q https://{place.target}/repo.git ~/one")
    assert got.returncode != 0 and "could not read Username" in got.stderr, got
    assert set(host.asked) == {None}


BOTO3 = """
import boto3, sys
from botocore.config import Config
def client(service):
    return boto3.client(service, region_name="eu-central-1", endpoint_url=sys.argv[1],
                        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}))
s3 = client("s3")
print(s3.get_object(Bucket="bucket", Key="a b/c")["Body"].read().decode())
s3.put_object(Bucket="bucket", Key="k", Body=b"x" * 300_000)
print(client("dynamodb").list_tables()["TableNames"])
"""


def test_boto3_works_against_a_server_that_checks_each_signature(holds, packages, web, certificates):
    server = web(AWS, certificates.server())
    server.asked = []
    place = holds(server.port, "sigv4: {}", secret=":".join(KEYS))
    (place.workspace / "job.py").write_text(BOTO3)
    said = works_without(
        place, f"python3 job.py https://{place.target}", KEYS[1], options=(
            "--read-only", packages, f"--env=PYTHONPATH={packages}", "--env=AWS_ACCESS_KEY_ID=PLACEHOLDERKEY0001",
            "--env=AWS_SECRET_ACCESS_KEY=placeholder"))
    assert said == ["an object\n", "['t']\n"]
    assert [good for *_, good in server.asked] == [True] * 3
    assert "PLACEHOLDER" not in str([fields for _, fields, *_ in server.asked])


GRPC = """
import grpc, os, sys
same = {"request_serializer": bytes, "response_deserializer": bytes}
roots = open(os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"], "rb").read() if sys.argv[2] == "named" else None
with grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials(roots)) as channel:
    print(channel.unary_unary("/s/unary", **same)(b"you", timeout=20))
    print(sum(map(int, channel.unary_stream("/s/stream", **same)(b"1000", timeout=20))))
    print(list(channel.stream_stream("/s/both", **same)(iter([b"a", b"b"]), timeout=20)))
"""


@pytest.mark.parametrize("roots", ["named", "by itself"])
def test_grpcio_calls_with_a_token_that_the_gate_puts_in(holds, packages, certificates, roots):
    server = rpc.greeter(certificates, f"Bearer {SECRET}")
    try:
        place = holds(server.port, 'header: "authorization: Bearer ${token}"')
        (place.workspace / "call.py").write_text(GRPC)
        said = works_without(place, f"python3 call.py {place.target} '{roots}'", SECRET,
                             options=("--read-only", packages, f"--env=PYTHONPATH={packages}"))
    finally:
        server.stop(None)
    assert said == ["b'hello you'\n", "499500\n", "[b'got a', b'got b']\n"]
    assert [method for method, _ in server.asked] == ["/s/unary", "/s/stream", "/s/both"]
