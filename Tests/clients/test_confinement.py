"""The gate confines itself once it listens; what it does afterwards still works, and `--no-self-sandbox` turns the confinement off."""
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gate import basic, echo, get, local, password_file, rules, until
from sandbox import UID, Place

pytestmark = pytest.mark.confined

LACKING = [sys.executable, str(Path(__file__).parent / "support/lacking.py")]
EVERY_THREAD = {"CapEff": "0" * 16, "CapPrm": "0" * 16, "CapBnd": "0" * 16, "CapAmb": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root has capabilities to give up, and may start it as another user")


def threads(pid):
    """What /proc says of each, by the name that it has given itself."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(re.findall(r"(\w+):\s+(\S+)", (task / "status").read_text()))
        found[(task / "comm").read_text().strip()] = {key: status[key] for key in EVERY_THREAD}
    return found


def threads_of(pid, *names):
    """The same, once all of these have begun."""
    return until("each thread has its name", lambda: set(found := threads(pid)) == set(names) and found)


@as_root
def test_no_thread_keeps_a_right(gate):
    one = gate(rules(local("allowed.test", 80)), workers=3)
    found = threads_of(one.process.pid, "sluice", "log", "passwords", "worker-0", "worker-1", "worker-2")
    assert all(status == EVERY_THREAD for status in found.values()), found


def test_it_can_be_switched_off(gate):
    one = gate(rules(local("allowed.test", 80)), flags=("--no-self-sandbox",))
    for status in threads(one.process.pid).values():
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("0", "0")
        assert os.geteuid() != 0 or int(status["CapEff"], 16) != 0
    assert "--no-self-sandbox: the gate is not confined" in one.errors.read_text()


def test_a_gate_that_confines_itself_says_nothing_of_it(gate):
    one = gate(rules(local("allowed.test", 80)))
    assert "warning" not in one.errors.read_text(), one.errors.read_text()


def gate_of(place, process):
    """The process that is `sluice run` itself: the sandbox's processes have other namespaces."""
    outside = os.readlink("/proc/self/ns/pid")
    tree = [process.pid, *[pid for pid in place.processes() if os.readlink(f"/proc/{pid}/ns/pid") == outside]]
    return next(pid for pid in tree if os.readlink(f"/proc/{pid}/exe") == str(place.sluice))


@as_root
@pytest.mark.parametrize("who", ["root", "user"])
@pytest.mark.parametrize("flags", [(), ("--no-self-sandbox",)])
def test_the_gate_of_a_sandbox_is_confined_too(names, who, flags):
    place = Place(who, names)
    try:
        process = place.start("sh", "-c", "echo ready; read line", options=("--limits", "best-effort", *flags), stdin=subprocess.PIPE)
        assert process.stdout.readline() == "ready\n"
        found = threads_of(gate_of(place, process), "sluice", "log", "passwords", "worker-0")
        # Without CAP_SETPCAP the bounding set cannot be changed; no_new_privs makes it void.
        expected = EVERY_THREAD if who == "root" else {key: EVERY_THREAD[key] for key in EVERY_THREAD if key != "CapBnd"}
        for status in found.values():
            if flags:
                assert (status["NoNewPrivs"], status["Seccomp"]) == ("0", "0")
            else:
                assert expected.items() <= status.items()
        process.communicate("\n", timeout=20)
        assert process.returncode == 0
        place.leaves_nothing()
    finally:
        place.close()


# MARK: what a gate does while it serves

def test_a_policy_that_was_replaced_is_read_again(gate, upstream):
    port = upstream(echo).port
    one = gate(rules(local("allowed.test", port)))
    new = one.folder / "new"
    new.write_text(one.policy_file.read_text().replace("allowed.test", "other.test"))
    new.rename(one.policy_file)
    one.reload()
    assert b" 403 " in one.ask(get(f"allowed.test:{port}"))


def test_a_log_that_was_moved_away_is_made_anew(gate):
    one = gate(rules(local("allowed.test", 80)))
    one.log.rename(one.folder / "old")
    one.reload()
    one.ask(get("refused.test:80"))
    assert one.logged(event="denied", host="refused.test")


@pytest.mark.parametrize("where", ["beside", "elsewhere"])
def test_a_new_password_file_is_read_where_the_old_files_are(gate, tmp_path, where):
    one = gate(rules(local("allowed.test", 80)))
    folder = one.folder if where == "beside" else tmp_path / "elsewhere"
    folder.mkdir(exist_ok=True)
    path = password_file(folder, "a", "secret")
    one.write(f'clients: [{{name: a, proxy_user: a, password_file: "{path}"}}]\n' + rules(local("allowed.test", 80)))
    if where == "beside":
        one.reload()
        assert b" 403 " in one.ask(f"CONNECT refused.test:443 HTTP/1.1\r\nHost: refused.test:443\r\n{basic('a', 'secret')}\r\n".encode())
        assert one.logged(event="denied", client="a")
        return
    one.signal(signal.SIGHUP)
    until("the refusal", lambda: "stays in force" in one.errors.read_text())
    said = one.errors.read_text()
    assert f"{path}: the gate may read only the folders that it used at its start" in said and "restart it to use this file" in said
    assert "the policy was not replaced" in said


def test_a_policy_through_a_link_is_read_where_it_leads(gate):
    """As a container's volume of settings does it: the link is moved to a new folder beside the old one."""
    one = gate(rules(local("allowed.test", 80)))
    for name, host in (("v1", "allowed.test"), ("v2", "other.test")):
        (one.folder / name).mkdir()
        (one.folder / name / "policy.yaml").write_text(one.policy_file.read_text().replace("allowed.test", host))
    one.policy_file.unlink()
    one.policy_file.symlink_to("v2/policy.yaml")
    one.reload()


@as_root
def test_system_files_that_were_replaced_keep_what_they_said(gate, upstream, tmp_path):
    """/etc/hosts and /etc/resolv.conf are held as files: written again they are read, replaced they are not."""
    port = upstream(echo).port
    settings = tmp_path / "etc"
    settings.mkdir()
    for name in ("nsswitch.conf", "host.conf", "resolv.conf"):
        if os.path.exists(f"/etc/{name}"):
            shutil.copy(f"/etc/{name}", settings / name)
    hosts = settings / "hosts"
    hosts.write_text("127.0.0.1 first.only\n")
    inside = ["unshare", "--mount", "sh", "-c", f'mount --bind "{settings}" /etc && exec "$@"', "sh", os.environ["SLUICE"]]
    one = gate(rules(*(local(f"{name}.only", port) for name in ("first", "second", "third"))), command=inside)

    def connects(name):
        sock, head = one.connect(f"{name}.only:{port}")
        sock.close()
        return b" 200 " in head

    assert connects("first")
    hosts.write_text("127.0.0.1 second.only\n")
    until("the hosts file is read again", lambda: connects("second"))
    assert not connects("first")
    (settings / "new").write_text("127.0.0.1 third.only\n")
    (settings / "new").rename(hosts)
    until("that is said", lambda: "/etc/hosts cannot be read any more" in one.errors.read_text())
    assert connects("second") and not connects("third")


# MARK: older kernels

@pytest.mark.parametrize("call, said", [("landlock_create_ruleset", "no Landlock"), ("seccomp", "no seccomp filter")])
def test_what_a_kernel_lacks_is_said_and_the_gate_goes_on(gate, call, said):
    one = gate(rules(local("allowed.test", 80)), command=[*LACKING, f"{call}=ENOSYS", os.environ["SLUICE"]])
    said_of_it = [line for line in one.errors.read_text().splitlines() if said in line]
    assert len(said_of_it) == 1 and "Function not implemented" in said_of_it[0], one.errors.read_text()
    assert b" 403 " in one.ask(get("refused.test:80"))
    for status in threads(one.process.pid).values():
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2") and status["CapEff"] == "0" * 16


@as_root
def test_a_gate_of_a_user_is_confined(gate, tmp_path):
    """The files are this user's, and the binary one that it may reach."""
    folder = Path("/var/tmp") / f"sluice-confined-{os.getpid()}"
    folder.mkdir()
    try:
        shutil.copy(os.environ["SLUICE"], folder / "sluice")
        (folder / "policy.yaml").write_text('network_policy: {default: deny}\nlog: {file: "log"}\n')
        for path in (folder, *folder.iterdir()):
            os.chown(path, UID, UID)
        process = subprocess.Popen(["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", folder / "sluice", "serve", "--policy",
                                    "policy.yaml", "--listen-connect", "127.0.0.1:0"], cwd=folder, stderr=subprocess.PIPE, text=True)
        assert "listening on" in process.stderr.readline()
        for status in threads(process.pid).values():
            assert (status["CapEff"], status["NoNewPrivs"], status["Seccomp"]) == ("0" * 16, "1", "2")
        process.send_signal(signal.SIGHUP)
        assert "is in force" in process.stderr.readline()
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        shutil.rmtree(folder)
