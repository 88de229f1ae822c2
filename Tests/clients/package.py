"""The Debian package: installed, started by its unit, and purged, in an overlay over a minimal Debian 12, so that nothing of it
is left on this machine. `make deb-check` runs it: DEBIAN is the folder of that Debian, PACKAGE the file."""
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from gate import until

ROOT = Path(__file__).parents[2]
DEBIAN, PACKAGE = Path(os.environ["DEBIAN"]), Path(os.environ["PACKAGE"])
UNITS = ROOT / "Packaging/systemd"
HOLD = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/up,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc" && mount -t tmpfs tmpfs "$2/root/run" && mount --bind "$2/root/run" /run && mount --bind /dev "$2/root/dev" && ip link set lo up && echo ready && exec cat
"""


class Machine:
    """A root of its own, with a loopback of its own, where the unit's port is free. /run is the same inside and outside of that root."""

    def __init__(self, folder):
        self.root = folder / "root"
        for name in ("up", "work", "root"):
            (folder / name).mkdir()
        self.holder = subprocess.Popen(["unshare", "--mount", "--net", "sh", "-ec", HOLD, "hold", DEBIAN, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n"
        self.started = []

    def outside(self, *command):
        """In its namespaces, with this machine's programs."""
        return ["nsenter", "--target", str(self.holder.pid), "--mount", "--net", *map(str, command)]

    def inside(self, *command):
        return self.outside("chroot", self.root, *command)

    def run(self, *command, status=0):
        got = subprocess.run(self.inside("env", "DEBIAN_FRONTEND=noninteractive", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command), capture_output=True, text=True, timeout=60)
        assert got.returncode == status, got
        return got.stdout + got.stderr

    def shell(self, script, **more):
        return self.run("sh", "-ec", script, **more)

    def files(self):
        return set(self.shell("find / -xdev | sort").splitlines())

    def put(self, path, text):
        subprocess.run(self.inside("tee", path), input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def ask(self, target):
        """What a client of the gate's is answered."""
        return subprocess.run(self.outside("curl", "-s", "-i", "--max-time", "20", "--proxy", "http://127.0.0.1:3128", f"http://{target}/"), capture_output=True, text=True).stdout

    def serve(self):
        """As systemd does by the units of the package: the socket first, and the service when somebody comes."""
        said = unit(self, "sluice.service")
        command = shlex.split(said["ExecStart"])
        start = ["setpriv", f"--reuid={said['User']}", f"--regid={said['Group']}", "--init-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
                 "env", "-u", "SUDO_UID", "HOME=/var/lib/sluice", *command]
        self.shell("install -d -m 755 /run/sluice; install -d -o sluice -g sluice -m 700 /var/lib/sluice")
        sockets = [unit(self, name) for name in said["Sockets"].split()]
        process = subprocess.Popen(self.outside("systemd-socket-activate", *[f"--listen={one['ListenStream']}" for one in sockets],
                                                "--fdname=" + ":".join(one["FileDescriptorName"] for one in sockets),
                                                "chroot", self.root, *start), stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        until("the socket is there", lambda: subprocess.run(self.outside("ss", "-tlnH", "sport", "=", "3128"), capture_output=True).stdout)
        return process

    def close(self):
        for process in self.started:
            process.kill()
            process.wait()
        self.holder.stdin.close()
        self.holder.wait(20)


def unit(machine, name):
    text = machine.run("cat", f"/lib/systemd/system/{name}")
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def test_it_is_installed_serves_and_is_purged(machine):
    before = machine.files()
    machine.put("/tmp/sluice.deb", "")
    subprocess.run(machine.outside("cp", PACKAGE, machine.root / "tmp/sluice.deb"), check=True)
    machine.run("dpkg", "--install", "/tmp/sluice.deb")

    assert machine.shell("stat -c '%U %G %a' /var/log/sluice") == "sluice adm 2750\n"
    for path in ("/usr/bin/sluice", "/usr/share/man/man1/sluice-run.1.gz", "/usr/share/man/man5/sluice-policy.5.gz", "/etc/logrotate.d/sluice",
                 "/usr/share/bash-completion/completions/sluice", "/usr/share/zsh/vendor-completions/_sluice", "/usr/share/fish/vendor_completions.d/sluice.fish",
                 "/usr/share/doc/sluice/copyright", "/usr/lib/systemd/system/sluice.service", "/etc/systemd/system/sockets.target.wants/sluice.socket",
                 "/etc/systemd/system/multi-user.target.wants/sluice.service"):
        assert path in machine.files(), path
    assert machine.run("sluice", "check", "--policy", "/etc/sluice/policy.yaml").endswith(": 0 allow, 0 deny, 0 clients\n")
    assert machine.run("dpkg-query", "--show", "--showformat=${Conffiles}", "sluice").count("/etc/") == 2

    # Nothing is let out, and the log says so.
    gate = machine.serve()
    assert machine.ask("refused.test").startswith("HTTP/1.1 403 Denied by egress policy: not_allowed\n")
    log = "/var/log/sluice/sluice.jsonl"
    assert '"host":"refused.test"' in machine.run("cat", log)
    assert machine.shell(f"stat -c '%U %G %a' {log}") == "sluice adm 640\n"
    said = json.loads(machine.run("sluice", "status", "--json"))
    assert said["listeners"] == [{"door": "connect", "address": "127.0.0.1:3128", "tls": False}] and said["admin"] == "/run/sluice/admin.sock"
    status = machine.run("cat", f"/proc/{said['pid']}/status")
    assert re.search(r"^CapBnd:\s0+$", status, re.M) and re.search(r"^Uid:\s(\d+)\s\1\s\1\s\1$", status, re.M) and "Uid:\t0\t" not in status

    # As `systemctl reload` does, and as logrotate does.
    machine.shell("sed -i 's/^  allow: .*/  allow: [\"allowed.test:80\"]/' /etc/sluice/policy.yaml")
    reload = unit(machine, "sluice.service")["ExecReload"]
    assert "+ allow allowed.test:80" in machine.run("chown", "sluice", "/run/sluice/admin.sock") + machine.run("setpriv", "--reuid=sluice", "--regid=sluice", "--clear-groups", *shlex.split(reload))
    machine.shell(f"mv {log} {log}.1; kill -HUP {said['pid']}")
    until("a new log", lambda: log in machine.files())
    assert machine.ask("other.test").startswith("HTTP/1.1 403 ")
    until("it is written", lambda: '"host":"other.test"' in machine.run("cat", log))

    gate.terminate()
    assert gate.wait(30) == 0
    machine.run("dpkg", "--remove", "sluice")
    assert "/etc/sluice/policy.yaml" in machine.files() and log in machine.files()
    machine.run("dpkg", "--purge", "sluice")
    machine.shell("rm /tmp/sluice.deb")
    left = {path for path in machine.files() - before if not path.startswith(("/var/lib/dpkg/", "/var/cache/"))}
    assert left <= {"/var/log/dpkg.log", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/var/lib/systemd", "/etc/.pwd.lock"} and not any("sluice" in path for path in left), left
    machine.shell("! grep -r sluice /etc/passwd /etc/group /etc/shadow")


def test_what_an_operator_has_written_stays(machine):
    subprocess.run(machine.outside("cp", PACKAGE, machine.root / "tmp/sluice.deb"), check=True)
    machine.run("dpkg", "--install", "/tmp/sluice.deb")
    machine.shell("echo '# mine' >> /etc/sluice/policy.yaml")
    machine.run("dpkg", "--install", "/tmp/sluice.deb")
    assert machine.run("tail", "-n", "1", "/etc/sluice/policy.yaml") == "# mine\n"


def test_lintian_has_nothing_to_say():
    got = subprocess.run(["lintian", "--fail-on", "error,warning", PACKAGE], capture_output=True, text=True,
                         env=os.environ | {"LC_ALL": "C.UTF-8"})
    assert got.returncode == 0, got.stdout + got.stderr


def test_the_version_is_the_program_s():
    version = subprocess.run([os.environ["SLUICE"], "--version"], capture_output=True, text=True).stdout.strip()
    assert PACKAGE.name == f"sluice_{version}_amd64.deb"


# The units

@pytest.fixture
def units(tmp_path):
    """As systemd reads them here, where the program stands elsewhere."""
    for one in UNITS.iterdir():
        (tmp_path / one.name).write_text(one.read_text().replace("/usr/bin/sluice", os.environ["SLUICE"]))
    return sorted(tmp_path.iterdir())


def test_systemd_understands_the_units(units):
    got = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")


def test_the_service_is_exposed_to_little(units):
    """0 to 10, and 1.7 as it was written: sockets and the machine's network are what it is for."""
    service = [one for one in units if one.name == "sluice.service"][0]
    got = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=17", service], capture_output=True, text=True)
    assert got.returncode == 0, got.stdout[-300:] + got.stderr


def test_the_filter_of_the_unit_holds_what_the_gate_calls():
    """What the gate lets itself call once it serves is a part of what systemd lets it call."""
    source = (ROOT / "Sources/CSandbox/seccomp.c").read_text()
    calls = set(re.findall(r"SYS_(\w+)", source[source.index("gate_calls[]"):source.index("supervisor_calls[]")]))
    sets = {}
    for name in ("@system-service", "@privileged", "@resources"):
        sets[name] = members(name)
    allowed = sets["@system-service"] - sets["@privileged"] - sets["@resources"]
    for line in re.findall(r"^SystemCallFilter=([a-z].*)$", (UNITS / "sluice.service").read_text(), re.M):
        allowed |= set(line.split())
    # And what it confines itself with (CSandbox/confine.c).
    calls |= {"capset", "prctl", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"}
    assert len(calls) > 50 and calls - allowed == set()


def members(name):
    found = set()
    for line in subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            found |= members(word) if word.startswith("@") else {word}
    return found
