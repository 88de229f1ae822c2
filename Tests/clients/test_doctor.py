"""`sluice doctor`: its report on this machine, and on machines that lack a feature."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import UID, Place

LACKING = [sys.executable, str(Path(__file__).parent / "support/lacking.py")]
# As container engines refuse them by default.
NO_NAMESPACES = [*LACKING, "clone=EPERM,unshare=EPERM,clone3=ENOSYS"]
NONE_LEFT = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
             'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh"]
SANDBOX = ("kernel", "user namespaces", "AppArmor", "/proc", "Landlock", "seccomp", "cgroup", "sandbox")

if os.geteuid() != 0:
    pytest.skip("these tests start it as another user, which takes root", allow_module_level=True)


def made(who, names):
    place = Place(who, names)
    yield place
    try:
        place.leaves_nothing()
        assert not list(Path("/tmp").glob("sluice-doctor-*"))
    finally:
        place.close()


@pytest.fixture(params=["root", "user"])
def place(request, names):
    yield from made(request.param, names)


@pytest.fixture
def user_place(names):
    yield from made("user", names)


@pytest.fixture
def root_place(names):
    yield from made("root", names)


class Said:
    def __init__(self, place, around=(), *flags):
        done = subprocess.run([*place.prefix, *around, place.sluice, "doctor", "--json", *flags], capture_output=True, text=True,
                              env=place.environment(), timeout=60)
        self.status, self.errors = done.returncode, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.checks = {line["check"]: line for line in lines if "check" in line}
        self.probes = {line["probe"]: line["result"] for line in lines if "probe" in line}
        self.verdict = lines[-1]

    def missing(self):
        return {name for name, check in self.checks.items() if check["state"] == "missing"}


def test_it_tells_what_there_is_and_tries_the_walls(place):
    said = Said(place)
    assert not said.errors
    assert set(SANDBOX) | {"open files", "IPv6", "nft", "TPROXY"} == set(said.checks)
    for name in ("kernel", "user namespaces", "/proc", "Landlock", "seccomp", "sandbox"):
        assert said.checks[name]["state"] == "ok", said.checks[name]
    assert said.checks["kernel"]["found"] == os.uname().release
    assert len(said.probes) >= 14 and set(said.probes.values()) == {"HELD"}, said.probes
    # A cgroup may be available on this machine or not; the report must be true.
    assert said.missing() <= {"cgroup"}
    assert said.status == (1 if said.missing() else 0)
    assert said.verdict["verdict"] == ("missing" if said.missing() else "ok")
    if said.missing():
        assert "systemd-run --user --scope -p Delegate=yes" in said.checks["cgroup"]["remedy"]
        assert "best-effort" in said.checks["sandbox"]["found"] and "cgroup" in said.verdict["found"]


def test_it_reads_well(place):
    done = subprocess.run([*place.prefix, place.sluice, "doctor"], capture_output=True, text=True, env=place.environment(), timeout=60)
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"ok      kernel           \S+", lines[0])
    assert sum(line.startswith("HELD    ") for line in lines) >= 14
    assert "sandbox with all its limits" in lines[-1]


@pytest.mark.parametrize("around, found, remedy", [
    (NO_NAMESPACES, "Operation not permitted", "docker run --security-opt seccomp=unconfined"),
    (NONE_LEFT, "at most 0", "user.max_user_namespaces is too low, or 0"),
])
def test_without_user_namespaces_it_says_so_and_what_to_do(place, around, found, remedy):
    said = Said(place, around)
    check = said.checks["user namespaces"]
    assert said.status == 1 and check["state"] == "missing", check
    assert found in check["found"] and remedy in check["remedy"], check
    # In a namespace that maps root alone there is nobody else to run as; that comes first.
    stops_at = "for user " if place.who == "root" and around is NONE_LEFT else "clone: "
    assert said.checks["sandbox"]["state"] == "missing" and stops_at in said.checks["sandbox"]["found"]
    assert said.checks["sandbox"]["remedy"] and not said.probes
    assert {"user namespaces", "sandbox"} <= said.missing() and "user namespaces" in said.verdict["found"]


def test_a_kernel_without_landlock_is_said(place):
    said = Said(place, [*LACKING, "landlock_create_ruleset=EOPNOTSUPP"])
    assert said.status == 1 and "Landlock" in said.missing()
    assert "`landlock` in lsm=" in said.checks["Landlock"]["remedy"]
    assert "Landlock" in said.checks["sandbox"]["found"]


def test_a_covered_proc_is_said(root_place):
    """As container engines cover it."""
    said = Said(root_place, ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /proc/version && exec "$@"', "sh"])
    assert said.status == 1 and {"/proc", "sandbox"} <= said.missing()
    assert "/proc/version" in said.checks["/proc"]["found"] and "systempaths=unconfined" in said.checks["/proc"]["remedy"]
    assert "systempaths=unconfined" in said.checks["sandbox"]["remedy"]


def test_a_wall_that_does_not_hold_is_broken(root_place):
    """The answer to one call of the probe is forged: the file opens."""
    said = Said(root_place, ["strace", "-f", "-qq", "-o", "/dev/null", "-P", "/etc/shadow", "-e", "inject=openat:retval=9"])
    assert said.probes["/etc/shadow cannot be read"] == "BROKEN"
    assert list(said.probes.values()).count("BROKEN") == 1
    assert said.status == 1 and "/etc/shadow cannot be read" in said.verdict["found"]


def refused(place, around):
    got = subprocess.run([*place.prefix, *around, *place.arguments("true")[len(place.prefix):]], cwd=place.workspace,
                         env=place.environment(), capture_output=True, text=True, timeout=60)
    assert got.returncode == 125, got
    return got.stderr


def test_a_run_in_a_container_that_refuses_namespaces_says_why_and_what_to_do(place):
    said = refused(place, NO_NAMESPACES)
    assert "clone: Operation not permitted" in said and "docker run --security-opt seccomp=unconfined" in said, said


def test_a_run_where_no_namespace_is_left_says_why_and_what_to_do(user_place):
    said = refused(user_place, NONE_LEFT)
    assert "clone: No space left on device" in said and "user.max_user_namespaces is too low, or 0" in said, said
