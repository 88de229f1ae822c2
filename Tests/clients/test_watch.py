"""Features for orchestrators: a replaced policy file, one client for all connections, readiness."""
import os
import subprocess

import pytest

from gate import Gate, echo, local, rules, until


@pytest.fixture
def mounted(tmp_path, names):
    """A gate whose policy stands as a ConfigMap does: a link to a folder that another link leads to."""
    class Mounted(Gate):
        def swap(self, policy, text=None):
            fresh = self.folder / f"..{self.number}"
            self.number += 1
            fresh.mkdir()
            self.policy_file = fresh / "policy.yaml"
            self.write(policy)
            if text is not None:
                self.policy_file.write_text(text)
            (self.folder / "..next").symlink_to(fresh.name)
            (self.folder / "..next").rename(self.folder / "..data")

    started = []

    def start(policy, **more):
        folder = tmp_path / "mounted"
        (folder / "..0").mkdir(parents=True)
        (folder / "..data").symlink_to("..0")
        (folder / "policy.yaml").symlink_to("..data/policy.yaml")
        Mounted.number = 1
        # The log stands elsewhere: a ConfigMap's folder is not written to.
        started.append(Mounted(folder, names, policy, log=tmp_path / "log", **more))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def status(gate, host):
    sock, head = gate.connect(host)
    sock.close()
    return int(head.split()[1])


def test_a_swapped_policy_is_read_again(mounted, upstream):
    server = upstream(echo)
    one = mounted(rules(local("one.test", server.port)), flags=("--watch",))
    assert (status(one, f"one.test:{server.port}"), status(one, f"two.test:{server.port}")) == (200, 403)
    one.swap(rules(local("two.test", server.port)))
    until("the new one is in force", lambda: status(one, f"two.test:{server.port}") == 200)
    assert status(one, f"one.test:{server.port}") == 403
    one.swap("", text="network_policy: {default: deny, alow: []}\n")
    until("it is refused", lambda: "the policy was not replaced" in one.errors.read_text())
    assert status(one, f"two.test:{server.port}") == 200 and "alow" in one.errors.read_text()
    one.swap(rules(local("one.test", server.port)))
    until("a good one is taken", lambda: status(one, f"one.test:{server.port}") == 200)
    # Nothing is read again while nothing changes.
    reloads = one.errors.read_text().count("is in force")
    one.process.send_signal(1)
    until("a signal still does", lambda: one.errors.read_text().count("is in force") == reloads + 1)


def test_without_watch_a_file_waits_for_its_signal(mounted, upstream):
    server = upstream(echo)
    one = mounted(rules(local("one.test", server.port)))
    one.swap(rules(local("two.test", server.port)))
    one.process.send_signal(1)
    until("the signal is heard", lambda: status(one, f"two.test:{server.port}") == 200)
    assert "is in force" in one.errors.read_text()


def test_all_that_comes_is_one_client(gate, upstream):
    server = upstream(echo)
    target = f"one.test:{server.port}"
    named = gate(rules(local("one.test", server.port)), flags=("--client-name", "pod-7"))
    assert (status(named, target), status(named, "two.test:443")) == (200, 403)
    assert {one["client"] for one in (named.logged(event="closed"), named.logged(event="denied"))} == {"pod-7"}
    # One of the policy's own, whose rules then count.
    known = gate(rules(local("two.test", server.port)),
                 more=f"clients: [{{name: builder, network_policy: {{default: deny, allow: [{{host: 'one.test:{server.port}', addresses: [127.0.0.0/8]}}]}}}}]",
                 flags=("--client-name", "builder"))
    assert (status(known, target), status(known, f"two.test:{server.port}")) == (200, 403)
    assert known.logged(event="closed")["client"] == "builder"


def test_readiness_is_an_exit_status(admin, upstream):
    server = upstream(echo)
    one = admin(rules(local("one.test", server.port)), more="timeouts: {drain: 15}")
    got = one.run("status", "--ready")
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")
    sock, _ = one.gate.connect(f"one.test:{server.port}")
    one.gate.process.terminate()
    drained = until("it drains", lambda: (lambda got: got if got.returncode else None)(one.run("status", "--ready")))
    assert drained.returncode == 1 and drained.stderr == "sluice: the gate drains\n", drained
    sock.close()


@pytest.mark.parametrize("name", ["default", "a b", "", "x" * 65])
def test_a_name_that_no_client_may_have_is_refused(name):
    got = subprocess.run([os.environ["SLUICE"], "serve", "--client-name", name], capture_output=True, text=True, timeout=20)
    assert got.returncode != 0 and "--client-name takes" in got.stderr
