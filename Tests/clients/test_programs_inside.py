"""Programs as an agent uses them, inside `sluice run`, started by a user without rights: without the proxy's variables, with which
test_clients_table.py has them, each to a host that the policy names and to one that it does not."""
import os
import shutil
import subprocess

import pytest

from programs import JAVA, NODE
from upstreams import bare_repository, git_backend, index_with_a_wheel

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

WITHOUT = "env -u HTTPS_PROXY -u https_proxy -u HTTP_PROXY -u http_proxy -u NODE_USE_ENV_PROXY"
C = r"""
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **arguments) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int failed = count > 2 ? getaddrinfo(arguments[1], arguments[2], &hints, &found) : EAI_NONAME;
  if (failed) return fprintf(stderr, "%s\n", gai_strerror(failed)), 1;
  int fd = socket(found->ai_family, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0) return 1;
  char text[4096];
  int length = snprintf(text, sizeof text, "GET /hello HTTP/1.0\r\nHost: %s\r\n\r\n", arguments[1]);
  if (write(fd, text, length) != length) return 1;
  for (ssize_t got; (got = read(fd, text, sizeof text)) > 0;) fwrite(text, 1, got, stdout);
}
"""
MAKEFILE = """
fetch: client
\t./client $(HOST) $(PORT)
client: client.c
\tcc -O2 -Wall -o $@ $<
"""


@pytest.fixture
def place(user_place, web, certificates, tmp_path):
    """A workspace with what the programs need, and one server a scheme that both hosts lead to."""
    place = user_place
    index_with_a_wheel(tmp_path)
    bare_repository(tmp_path)
    (tmp_path / "hello").write_text("hello from upstream\n")
    place.tls, place.plain = web(git_backend(tmp_path), certificates.server()), web(git_backend(tmp_path))
    place.write("network_policy:\n  allow:\n" + "".join(
        f'    - {{host: "allowed.test:{one.port}", addresses: [127.0.0.0/8]}}\n' for one in (place.tls, place.plain)))
    work = place.workspace
    for name, text in (("Client.java", JAVA), ("client.js", NODE), ("client.c", C), ("Makefile", MAKEFILE)):
        (work / name).write_text(text)
    shutil.copy(certificates.ca, work / "ca.pem")
    (work / "ca.pem").chmod(0o644)
    return place


# The command of each program for the URL $1, of host $2 and port $3.
PROGRAMS = {
    "curl": 'curl -sS --max-time 20 --cacert ca.pem "$1/hello"',
    "wget": 'wget -q -O - --tries=1 --ca-certificate=ca.pem "$1/hello"',
    "python": """python3 -c 'import sys, urllib.request, ssl
print(urllib.request.urlopen(sys.argv[1] + "/hello", timeout=20, context=ssl.create_default_context(cafile="ca.pem")).read().decode(), end="")' "$1" """,
    "node": 'NODE_EXTRA_CA_CERTS=ca.pem node client.js "$1/hello"',
    "java": 'java -Djavax.net.ssl.trustStore=store -Djavax.net.ssl.trustStorePassword=changeit Client.java "$1/hello"',
    "git": """export GIT_SSL_CAINFO=$PWD/ca.pem GIT_TERMINAL_PROMPT=0
git config --global user.name agent && git config --global user.email agent@git.test
git clone -q "$1/repo.git" ~/one && cd ~/one && head -c 300000 /dev/urandom > file && git add file && git commit -qm file &&
git push -q origin HEAD:main && git clone -q "$1/repo.git" ~/two && cmp ~/one/file ~/two/file && echo 'hello from upstream'""",
    "pip": """python3 -m venv ~/venv && REQUESTS_CA_BUNDLE=ca.pem ~/venv/bin/pip --isolated install -q --disable-pip-version-check --retries 0 --cert ca.pem \\
  --index-url "$1/simple/" thing && ~/venv/bin/python -c 'import thing; print("hello from upstream" if thing.value == 1 else thing)' """,
    "make and a C program": 'make -s HOST=$2 PORT=$3 fetch',
}

# The setting of docs/sandbox.md for large machines.
MORE = {"java": ("--env", "JAVA_TOOL_OPTIONS=-Xmx256m -XX:ActiveProcessorCount=2")}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_reaches_what_is_allowed_and_nothing_else(place, program):
    script = PROGRAMS[program]
    if program == "java":
        subprocess.run(["keytool", "-importcert", "-noprompt", "-file", "ca.pem", "-keystore", "store", "-storepass", "changeit"],
                       cwd=place.workspace, check=True, capture_output=True)
    site = place.plain if program == "make and a C program" else place.tls

    def run(host):
        return place.run(*WITHOUT.split(), "bash", "-c", script, "bash", f"https://{host}:{site.port}", host, str(site.port),
                         options=("--limits", "best-effort", *MORE.get(program, ())))

    got = run("allowed.test")
    assert got.returncode == 0 and got.stdout.endswith("hello from upstream\n"), got
    place.logged(event="closed", client="sandbox", via="address", host="allowed.test", port=site.port)
    before = site.connections
    got = run("refused.test")
    # Past the proxy the name leads to the gate, whose refusal some programs print as any other answer.
    assert (got.returncode != 0 or "not_allowed" in got.stdout) and "hello from upstream" not in got.stdout, got
    place.logged(event="denied", client="sandbox", via="dns", host="refused.test", reason="not_allowed")
    assert site.connections == before and "refused.test" not in place.names.asked


def test_a_shell_is_usable(place):
    """What a user does first: pipes, jobs, files, here-documents, the home."""
    got = place.shell("""set -e
seq 1000 | sort -rn | head -1
cat <<END | tr a-z A-Z
here
END
sleep 0.01 & wait $! && echo job done
echo text > ~/file && cp ~/file /tmp/copy && diff ~/file /tmp/copy && echo same
id -un; hostname; date +%Z; ls / | tr '\\n' ' '; echo; df -P /tmp | tail -1 | wc -l
ps -e -o comm= | sort -u | tr '\\n' ' '""")
    lines = got.stdout.split("\n")
    assert got.returncode == 0 and lines[:4] == ["1000", "HERE", "job done", "same"], got
    assert lines[4:6] == ["agent", "sandbox"] and "usr" in lines[7] and "bash" in lines[-1], got
