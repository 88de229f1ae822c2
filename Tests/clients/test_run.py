"""`sluice run`: as root and as a user without any rights, one promise a test."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

from gate import DEADLINE, until
from sandbox import UID

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)


def allow(place, *targets):
    rules = "\n".join(f'    - {{host: "{target}", addresses: [127.0.0.0/8]}}' for target in targets)
    place.write(f"network_policy:\n  allow:\n{rules}")


# MARK: the command

def test_a_shell_runs_as_nobody_else_in_the_workspace(place):
    got = place.shell("id -u; pwd; echo from inside > file; echo $HOME $USER; touch ~/x /tmp/x && echo written")
    assert got.stdout.split("\n")[:4] == [str(UID), str(place.workspace), "/home/agent agent", "written"], got
    assert (place.workspace / "file").read_text() == "from inside\n"
    assert (place.workspace / "file").stat().st_uid == UID
    assert not (place.home / "x").exists()


@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_the_exit_status_is_the_commands(place, script, status):
    assert place.shell(script).returncode == status


def test_a_command_that_is_not_there_or_is_no_program_is_told_in_one_line(place):
    def make(name, text, mode=0o755):
        (place.workspace / name).write_text(text)
        (place.workspace / name).chmod(mode)

    make("text", "echo x\n", 0o644)
    make("lost", "#!/no/such/shell\n")
    make("plain", "echo of the shell $1\n")
    for command, status, says in (("no-such-program", 127, "no such command in the sandbox"), ("./none", 127, "no such command"),
                                  ("./text", 126, "chmod +x"), ("/etc", 126, "not a program"), ("./lost", 127, "the program that its first line names")):
        got = place.run(command, env={"TERM": "marked"})
        lines = [line for line in got.stderr.splitlines() if "best-effort" not in line]
        assert got.returncode == status and len(lines) == 1 and says in lines[0] and "TERM" not in got.stderr, got
    # A script without `#!` is the shell's.
    assert place.run("./plain", "too").stdout == "of the shell too\n"
    assert place.run("plain", "too", options=("--limits", "best-effort", "--env", f"PATH=/usr/bin:{place.workspace}")).stdout == "of the shell too\n"


def test_what_cannot_be_started_is_125_and_says_why(place):
    got = place.run("true", options=("--limits", "cgroup"))
    assert got.returncode == 125 and "--limits best-effort" in got.stderr, got
    got = place.run("true", options=("--limits", "best-effort", "--workspace", "/usr"))
    assert got.returncode == 125 and "system folder" in got.stderr, got
    got = place.run("true", options=("--limits", "best-effort", "--log", place.workspace / "log"))
    assert got.returncode == 125 and "the command could write the log" in got.stderr, got
    place.write("network_policy: {alow: []}")
    got = place.run("true")
    assert got.returncode == 125 and "unknown key `alow`" in got.stderr, got


def test_without_a_cgroup_rlimits_hold_what_they_can_and_one_line_says_so(place):
    if place.run("true", options=("--limits", "cgroup")).returncode == 0:
        pytest.skip("a cgroup can be had here")
    got = place.run("bash", "-c", "ulimit -u", options=())
    assert got.returncode == 0 and got.stdout == "64\n" and len(got.stderr.splitlines()) == 1 and "no cgroup is available here" in got.stderr, got
    got = place.run("true", options=("--quiet",))
    assert got.returncode == 0 and got.stderr == "", got
    for limit in ("cpu.max: 100000 1000000", "io.max: wbps=50M", "memory.swap.max: 1M"):
        place.write(f"network_policy: {{default: deny}}\nprocess_limits: {{{limit}}}")
        got = place.run("true", options=())
        assert got.returncode == 125, got
    place.write("network_policy: {default: deny}\nprocess_limits: {pids.max: 40, cpu.max: max}")
    assert place.run("bash", "-c", "ulimit -u", options=()).stdout == "40\n"


def test_a_refusal_can_fail_the_run(place):
    more = ("--limits", "best-effort", "--fail-on-refusal")
    assert place.run("true", options=more).returncode == 0
    got = place.shell("curl -s http://refused.test/; true", options=more)
    assert got.returncode == 124 and "--fail-on-refusal" in got.stderr, got
    assert place.shell("curl -s http://refused.test/; exit 3", options=more).returncode == 3
    assert place.run("true", options=more).returncode == 0


def test_a_step_that_fails_is_named_with_its_errno(user_place):
    def run_behind(*prefix):
        return subprocess.run([*user_place.prefix, *prefix, *user_place.arguments("true")[len(user_place.prefix):]], cwd=user_place.workspace,
                              env=user_place.environment(), capture_output=True, text=True)
    # A /proc of which a part is covered, as in a container: the kernel gives no new one.
    got = run_behind("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                     f'mount --bind /dev/null /proc/version; exec unshare --user --map-user={UID} --map-group={UID} "$@"', "sh")
    assert got.returncode == 125 and re.search(r"step \d+, proc at /proc, .*: fs\w+.*: .*\(errno 1\)\n.*systempaths=unconfined", got.stderr), got
    # A user that may have no namespaces, as in a container.
    none = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh"]
    got = run_behind(*none)
    assert got.returncode == 125 and "clone: " in got.stderr and "user.max_user_namespaces" in got.stderr, got


def test_signals_reach_the_command(place):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        process = place.start("bash", "-c", f"trap 'echo got {number.name}; exit 9' {number.name}; echo ready; while :; do sleep 0.05; done")
        assert process.stdout.readline() == "ready\n"
        inner = process.pid
        os.kill(inner, number)
        out, errors = process.communicate(timeout=DEADLINE)
        assert (out, process.returncode) == (f"got {number.name}\n", 9), errors


def test_what_the_command_leaves_behind_ends_with_it(place):
    started = time.monotonic()
    got = place.shell("setsid sleep 1000 & (sleep 1000 & sleep 1000 &) ; until [ $(grep -slx sleep /proc/[0-9]*/comm | wc -l) = 3 ]; do :; done; echo done")
    assert got.stdout == "done\n" and time.monotonic() - started < DEADLINE / 2
    place.leaves_nothing()


def test_orphans_are_reaped(place):
    """Children of nobody: each ends at once, and process 1 takes it."""
    got = place.shell("for i in $(seq 20); do (true &) ; done; until ! grep -s ' Z ' /proc/[0-9]*/stat >> zombies; do :; done; echo reaped")
    assert got.stdout.strip() == "reaped", got


def test_standard_streams_pass_through(place):
    process = place.start("cat", stdin=subprocess.PIPE)
    out, _ = process.communicate("text\n" * 50_000, timeout=DEADLINE)
    assert out == "text\n" * 50_000 and process.returncode == 0


# MARK: the terminal

class Terminal:
    def __init__(self, place, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(place.workspace)
            os.execvpe(str(arguments[0]), [str(one) for one in arguments], place.environment({"PS1": "outer> ", "TERM": "dumb"}))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        self.seen = ""

    def say(self, text):
        os.write(self.fd, text.encode())

    def hear(self, pattern):
        end = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < end, f"{pattern!r} not in {self.seen!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"ended: {self.seen!r}") from None
        self.seen = self.seen[found.end():]
        return found

    def end(self):
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_an_interactive_shell_has_job_control_and_the_window_size(place):
    terminal = Terminal(place, *place.arguments("bash", "--norc", "--noprofile", options=("--limits", "best-effort", "--env", "PS1=inner> ")))
    terminal.hear("inner> ")
    terminal.say("stty size\n")
    terminal.hear(r"31 97\r\n")
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    terminal.say("stty size\n")
    terminal.hear(r"40 120\r\n")
    terminal.say("sh -c 'echo run''ning; exec sleep 1000'\n")
    terminal.hear(r"running\r\n")
    terminal.say("\x1a")
    terminal.hear(r"\[1\]\+ +Stopped")
    terminal.say("kill %1; wait; echo jobs: $(jobs -r | wc -l)\n")
    terminal.hear(r"jobs: 0\r\n")
    terminal.say("sh -c 'echo run''ning; exec sleep 1000'\n")
    terminal.hear(r"running\r\n")
    terminal.say("\x03")
    terminal.hear("inner> ")
    terminal.say("echo after $?\n")
    terminal.hear(r"after 130\r\n")
    terminal.say("exit 7\n")
    assert terminal.end() == 7


def test_a_stopped_command_is_a_stopped_job_outside(place):
    command = " ".join(str(one) for one in place.arguments("cat"))
    terminal = Terminal(place, "bash", "--norc", "--noprofile", "-i")
    terminal.hear("outer> ")
    terminal.say(f"{command}\n")
    terminal.hear("not enforced")
    until("cat runs", lambda: any(line.startswith("cat\0") for line in place.processes().values()))
    terminal.say("one\n")
    terminal.hear(r"one\r\none\r\n")
    terminal.say("\x1a")
    terminal.hear(r"\[1\]\+ +Stopped")
    terminal.say("echo still\\ here\n")
    terminal.hear(r"\nstill here\r\n")
    terminal.say("fg\n")
    terminal.hear(r"run .*\r\n")
    terminal.say("two\n")
    terminal.hear(r"two\r\ntwo\r\n")
    terminal.say("\x03")
    terminal.hear("outer> ")
    terminal.say("echo status $?\n")
    terminal.hear(r"status 130\r\n")
    terminal.say("exit\n")
    assert terminal.end() == 0


def test_process_limits_hold_as_far_as_rlimits_go(place):
    place.write("network_policy: {default: deny}\nprocess_limits: {pids.max: 12, memory.max: 128M, cpu.max: max}")
    got = place.run("/usr/bin/python3", "-c", """
import os, time
count = 0
try:
    while count < 100:
        if os.fork() == 0:
            time.sleep(30)
        count += 1
except BlockingIOError:
    print(count)
try:
    bytes(200 << 20)
except MemoryError:
    print("no memory")
print(len(bytes(64 << 20)))
""")
    # Process 1 and Python itself are two of them.
    assert got.stdout == f"10\nno memory\n{64 << 20}\n", got
    assert "not enforced are memory.max for all processes together (each is held to it, but for shared and file-backed memory), memory.swap.max\n" in got.stderr
    # A process ended by an rlimit leaves no log line.
    assert not [line for line in place.lines() if line["event"] == "limited"]
    place.write("network_policy: {default: deny}\nprocess_limits: {pids.max: max, memory.max: max, memory.swap.max: max, cpu.max: max}")
    assert "not enforced" not in place.run("true").stderr
    place.write("network_policy: {default: deny}\nprocess_limits: {io.max: wbps=1M}")
    assert "memory.swap.max, io.max\n" in place.run("true").stderr


# MARK: the network

def test_an_allowed_host_is_reached_and_a_refused_one_is_not(place, web, hello):
    server, other = web(hello), web(hello)
    allow(place, f"allowed.test:{server.port}")
    got = place.shell(f"""
curl -sS --max-time 10 http://allowed.test:{server.port}/; echo
curl -sS --max-time 10 --noproxy '*' http://allowed.test:{server.port}/; echo
curl -sS --max-time 10 http://refused.test:{other.port}/; echo
curl -sS --max-time 10 --noproxy '*' http://refused.test:{other.port}/; status=$?; echo; echo $status
getent ahostsv4 allowed.test | head -1; getent hosts refused.test; echo $?
""")
    lines = [line for line in got.stdout.split("\n") if line]
    assert lines[0] == lines[1] == f"hello from allowed.test:{server.port}", got
    assert '"reason":"not_allowed"' in lines[2] and f'- \\"refused.test:{other.port}\\"' in lines[2], got
    # Without a proxy the refused name has an address too, at which the gate says why.
    assert '"reason":"not_allowed"' in lines[3] and f'- \\"refused.test:{other.port}\\"' in lines[3], got
    assert lines[4] == "0" and lines[5].startswith("198.18.") and "refused.test" in lines[6] and lines[7] == "0", got
    assert other.connections == 0 and "refused.test" not in place.names.asked
    place.logged(event="closed", client="sandbox", via="http", host="allowed.test", port=server.port)
    place.logged(event="closed", client="sandbox", via="address", host="allowed.test", port=server.port)
    place.logged(event="denied", client="sandbox", via="http", host="refused.test", port=other.port, reason="not_allowed")
    place.logged(event="denied", client="sandbox", via="dns", host="refused.test", reason="not_allowed")


def test_a_refused_name_does_not_exist_where_the_policy_says_so(place):
    place.write("network_policy: {allow: ['allowed.test:80']}\ndns: {refused: nxdomain}")
    got = place.shell("curl -sS --max-time 10 --noproxy '*' http://refused.test/; echo $?; getent hosts refused.test; echo $?")
    assert got.stdout.split() == ["6", "2"], got


def test_a_refused_name_is_told_in_tls_and_other_protocols_are_reset(place):
    allow(place, "allowed.test:80")
    got = place.shell("curl -sS -k --max-time 10 --noproxy '*' https://refused.test/; echo; "
                      "exec 3<>/dev/tcp/refused.test/25; printf '\\0' >&3; cat <&3; getent hosts name.invalid; echo $?")
    lines = [line for line in got.stdout.split("\n") if line]
    assert '"reason":"not_allowed"' in lines[0] and "refused.test:443" in lines[0] and lines[1:] == ["2"], got
    assert "Connection reset by peer" in got.stderr, got
    place.logged(event="denied", client="sandbox", via="address", host="refused.test", port=25, reason="not_allowed")


def test_tls_by_name_and_by_address(place, web, hello, certificates):
    server = web(hello, certificates.server())
    allow(place, f"allowed.test:{server.port}")
    shutil.copy(certificates.ca, place.workspace / "ca.pem")
    os.chmod(place.workspace / "ca.pem", 0o644)
    got = place.shell(f"for more in '' '--noproxy *'; do curl -sS --max-time 10 $more --cacert ca.pem https://allowed.test:{server.port}/; echo; done; "
                      f"curl -sS --max-time 10 --noproxy '*' -k --connect-to refused.test:{server.port}:93.184.216.34:{server.port} https://refused.test:{server.port}/; echo $?")
    assert got.stdout.split("\n")[:2] == [f"hello from allowed.test:{server.port}"] * 2, got
    # The client gets the reason inside TLS: `-k` accepts the gate's certificate here.
    assert json.loads(got.stdout.split("\n")[2])["reason"] == "not_allowed", got
    place.logged(event="denied", via="tls", host="refused.test", port=server.port, reason="not_allowed")


def test_a_sandbox_is_the_client_of_its_name(place, web, hello):
    server = web(hello)
    place.policy.write_text(f"""network_policy: {{default: deny}}
clients:
  - name: builder
    network_policy: {{allow: [{{host: "allowed.test:{server.port}", addresses: [127.0.0.0/8]}}]}}
  - name: everyone
    source: [127.0.0.0/8, "::/0", 0.0.0.0/0]
    network_policy: {{allow: [{{host: "allowed.test:{server.port}", addresses: [127.0.0.0/8]}}]}}
resolver: {{servers: ["127.0.0.1:{place.names.port}"]}}
""")
    curl = f"curl -sS -o /dev/null -w '%{{http_code}}' --max-time 10 http://allowed.test:{server.port}/"
    best = ("--limits", "best-effort")
    assert place.shell(curl, options=(*best, "--name", "builder")).stdout == "200"
    assert place.shell(curl, options=(*best, "--name", "other")).stdout == "403"
    place.logged(event="closed", client="builder", host="allowed.test")
    place.logged(event="denied", client="other", host="allowed.test", reason="not_allowed")


CONNECTIONS = """
import socket, time, json
out = []
for family, kind, address in [(socket.AF_INET, socket.SOCK_STREAM, ("93.184.216.34", 22)), (socket.AF_INET, socket.SOCK_DGRAM, ("93.184.216.34", 443)),
                              (socket.AF_INET6, socket.SOCK_STREAM, ("2606:4700::1111", 22)), (socket.AF_INET6, socket.SOCK_DGRAM, ("2606:4700::1111", 443)),
                              (socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 8080)), (socket.AF_INET, socket.SOCK_STREAM, ("10.0.0.1", 65535))]:
    sock = socket.socket(family, kind)
    sock.settimeout(5)
    started = time.monotonic()
    try:
        sock.connect(address)
        sock.send(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        out.append([sock.recv(12).decode(), time.monotonic() - started])
    except OSError as error:
        out.append([error.errno, time.monotonic() - started])
print(json.dumps(out))
"""


def test_tcp_on_any_port_is_refused_by_the_gate_and_udp_at_once(place):
    out = json.loads(place.run("/usr/bin/python3", "-c", CONNECTIONS).stdout)
    assert [one[0] for one in out] == ["HTTP/1.1 403", 111, "HTTP/1.1 403", 111, "HTTP/1.1 403", "HTTP/1.1 403"], out
    # At once: neither swallowed nor kept for a while.
    assert all(one[1] < 4 for one in out), out
    for host, port in (("93.184.216.34", 22), ("[2606:4700::1111]", 22), ("169.254.169.254", 8080), ("10.0.0.1", 65535)):
        place.logged(event="denied", client="sandbox", via="address", host=host, port=port, reason="not_allowed")


def test_who_waits_for_the_server_to_speak_is_logged_too(user_place):
    got = user_place.run("/usr/bin/python3", "-c", "import socket; s = socket.create_connection(('10.0.0.1', 25), 5); s.settimeout(5); s.recv(1)")
    assert "ConnectionResetError" in got.stderr, got
    user_place.logged(event="denied", via="address", host="10.0.0.1", port=25, reason="not_allowed")


def test_a_rule_for_every_port_needs_no_proxy(place, web, hello):
    server = web(hello)
    allow(place, "allowed.test:*")
    got = place.shell(f"curl -sS --max-time 10 --noproxy '*' http://allowed.test:{server.port}/")
    assert got.stdout == f"hello from allowed.test:{server.port}" and "more than" not in got.stderr, got
    place.logged(event="closed", via="address", host="allowed.test", port=server.port)


def test_the_commands_own_servers_listen_on_any_port(place):
    """Also on one that the policy names, and the sandbox's loopback leads to them alone."""
    allow(place, "allowed.test:8080")
    got = place.run("/usr/bin/python3", "-c", """
import socket
for family, any, loopback in [(socket.AF_INET, "0.0.0.0", "127.0.0.1"), (socket.AF_INET, "0.0.0.0", "127.9.9.9"), (socket.AF_INET6, "::", "::1")]:
    for port in (80, 443, 8080):
        server = socket.socket(family)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port < 1024:
            try:
                server.bind((any, port))
            except PermissionError:
                continue
        else:
            server.bind((any, port))
        server.listen()
        client = socket.socket(family)
        client.settimeout(5)
        client.connect((loopback, port))
        server.accept()[0].sendall(b"mine")
        print(client.recv(10).decode())
""")
    assert got.stdout.split().count("mine") >= 3 and not got.stderr.count("Error"), got


def without_redirection(place, *command, options=()):
    """strace answers the sixth netlink message of each process, of the sandbox's first the one for nf_tables, as a kernel without TPROXY does. Root's
    strace alone may look at who is not dumpable."""
    hole = ["strace", "-f", "-o", "/dev/null", "-e", "trace=sendto", "-e", "inject=sendto:error=ENOENT:when=6"]
    return subprocess.run([*hole, *place.arguments(*command, options=("--limits", "best-effort", "--no-probe", *options))], cwd=place.workspace,
                          env=place.environment(), capture_output=True, text=True, timeout=DEADLINE * 2)


def test_without_tproxy_the_ports_that_the_policy_names_have_listeners(root_place, web, hello):
    server = web(hello)
    allow(root_place, f"allowed.test:{server.port}")
    got = without_redirection(root_place, "/usr/bin/python3", "-c", CONNECTIONS)
    out = json.loads(got.stdout)
    assert all(one[0] == 111 and one[1] < 4 for one in out) and "ports" not in got.stderr, got
    got = without_redirection(root_place, "curl", "-sS", "--max-time", "10", "--noproxy", "*", f"http://allowed.test:{server.port}/")
    assert got.stdout == f"hello from allowed.test:{server.port}", got
    allow(root_place, "allowed.test:*")
    got = without_redirection(root_place, "curl", "-sS", "--max-time", "10", f"http://allowed.test:{server.port}/")
    assert got.stdout == f"hello from allowed.test:{server.port}" and "the policy names more than 256 ports" in got.stderr, got
    assert "cannot redirect all (it takes nf_tables and nft_tproxy): step " in got.stderr, got


def test_metadata_and_private_addresses_reach_the_gate_alone(place):
    got = place.shell("for a in 169.254.169.254 10.0.0.1 192.168.1.1 127.0.0.1 '[fe80::1%lo]' '[::1]'; do "
                      "curl -s --max-time 5 --noproxy '*' -o /dev/null -w '%{http_code}\\n' http://$a/latest/meta-data/; done")
    assert all(code in ("403", "400", "000") for code in got.stdout.split()), got
    place.logged(event="denied", client="sandbox", via="http", host="169.254.169.254", port=80, reason="not_allowed")


def test_a_ping_is_not_answered(user_place):
    got = user_place.run("/usr/bin/python3", "-c", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); s.settimeout(1); "
                         "s.connect(('93.184.216.34', 0)); s.send(bytes([8, 0]) + bytes(6)); print(s.recv(100))")
    assert got.returncode != 0 and not got.stdout, got


# MARK: the file system and the environment

# Where the gate's CA is, for each tool.
TRUST = {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO",
         "DENO_CERT", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NIX_SSL_CERT_FILE", "BUNDLE_SSL_CA_CERT", "UV_NATIVE_TLS",
         "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "WGETRC", "JAVA_TOOL_OPTIONS"}


def test_nothing_of_the_callers_is_visible_but_the_workspace(place):
    (place.home / "key").write_text("secret")
    os.chmod(place.home, 0o777)
    got = place.shell(f"ls -A {place.folder}; ls {place.home}; ls -A /root /home ~; env", env={"AWS_SECRET_ACCESS_KEY": "secret", "LANG": "C.UTF-8"})
    assert got.stdout.startswith("work\n") and "secret" not in got.stdout and "key" not in got.stdout, got
    names = {line.partition("=")[0] for line in got.stdout.splitlines() if "=" in line}
    assert names <= {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY",
                     "no_proxy", "NODE_USE_ENV_PROXY", "SLUICE", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TZ", "PWD", "OLDPWD", "SHLVL", "_"} | TRUST, names


def test_a_policy_in_the_workspace_cannot_be_changed_from_inside(place):
    folder = place.workspace / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "p.yaml").write_text("network_policy: {default: deny}\n")
    for one in (folder.parent, folder, folder / "p.yaml"):
        os.chown(one, UID, UID)
    place.policy = folder / "p.yaml"
    got = place.shell("echo x >> a/b/p.yaml; rm a/b/p.yaml; mv a/b a/c; mv a c; rm -rf a; cat a/b/p.yaml; echo free > a/b/other")
    assert got.stdout == "network_policy: {default: deny}\n", got
    assert place.policy.read_text() == "network_policy: {default: deny}\n"
    assert (folder / "other").read_text() == "free\n"


def test_further_paths_are_shown_as_asked(place):
    for name in ("seen", "kept"):
        (place.folder / name).mkdir()
        (place.folder / name / "file").write_text(f"{name}\n")
        os.chown(place.folder / name, UID, UID)
    got = place.shell(f"cat {place.folder}/seen/file {place.folder}/kept/file; echo x > {place.folder}/kept/new; echo x > {place.folder}/seen/new",
                      options=("--limits", "best-effort", "--read-only", place.folder / "seen", "--read-write", place.folder / "kept"))
    assert got.stdout == "seen\nkept\n" and (place.folder / "kept/new").exists() and not (place.folder / "seen/new").exists(), got


# MARK: the probe

def test_a_launch_whose_walls_have_a_hole_is_aborted(root_place):
    """The hole is strace's: it answers an open of /etc/shadow as if there were no wall. A user's strace may not look at
    who is not dumpable."""
    place = root_place
    hole = ["strace", "-f", "-o", "/dev/null", "-P", "/etc/shadow", "-e", "trace=openat", "-e", "inject=openat:retval=77"]
    got = subprocess.run([*place.prefix, *hole, *place.arguments("touch", "started")[len(place.prefix):]], cwd=place.workspace,
                         env=place.environment(), capture_output=True, text=True, timeout=DEADLINE * 2)
    assert got.returncode == 125 and "BROKEN, the command was not started: probe: /etc/shadow cannot be read" in got.stderr, got
    assert not (place.workspace / "started").exists()


def test_the_probes_are_in_the_plan_and_can_be_left_out(user_place):
    plan = user_place.run("true", options=("--limits", "best-effort", "--print-plan")).stdout
    for what in (r"the host's loopback port \d+ is out of reach by tcp", r"the host's loopback port \d+ is out of reach by udp", "/etc/shadow cannot be read",
                 "udp to 192.0.2.1 port 9 is refused", "tcp to 2001:db8::1 port 9 is refused, or the gate's", "the gate refuses probe.sluice.invalid:80",
                 "the name server refuses probe.sluice.invalid", f"{user_place.policy} cannot be read"):
        assert re.search(rf"^\d+\. probe: {what}$", plan, re.M), plan
    got = user_place.run("true", options=("--limits", "best-effort", "--no-probe", "--print-plan"))
    assert "probe:" not in got.stdout
    assert user_place.run("true", options=("--limits", "best-effort", "--no-probe")).returncode == 0
    user_place.write("network_policy: {default: allow}")
    got = user_place.run("true")
    assert got.returncode == 0 and "the refusal of a name is not tested" in got.stderr
