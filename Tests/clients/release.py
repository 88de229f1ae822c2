"""The release binary in a Debian 12 without Swift: a minimal root in the folder DEBIAN. `make release-check` runs it."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gate import get, local, rules
from launches import times_bubblewrap

ROOT = Path(os.environ["DEBIAN"])


@pytest.fixture
def inside(tmp_path):
    """The command that is `sluice` in that Debian."""
    shutil.copy(os.environ["SLUICE"], ROOT / "usr/local/bin/sluice")
    place = Path(f"{ROOT}{tmp_path}")
    place.mkdir(parents=True)
    # In a mount namespace of its own, with the test's folder at the same place inside of the root. The Swift runtime
    # reads /proc/self/exe at its start.
    script = ('root=$1 folder=$2; shift 2; mount -t proc proc "$root/proc" && mount --bind "$folder" "$root$folder" &&'
              ' exec chroot "$root" /usr/local/bin/sluice "$@"')
    yield ["unshare", "--mount", "sh", "-c", script, "sluice", ROOT, tmp_path]
    place.rmdir()


def test_the_release_is_one_static_file_of_30_MB_at_most():
    binary = Path(os.environ["SLUICE"])
    assert binary.stat().st_size <= 30_000_000
    said = subprocess.run(["ldd", binary], capture_output=True, text=True)
    assert "not a dynamic executable" in said.stderr


def test_the_release_links_what_the_licences_list():
    """By the linker's own map: nothing comes in unseen."""
    repository = Path(__file__).parents[2]
    linked = {re.sub(r"-[\d.]+$", "", name) for name in re.findall(r"/(lib[\w+.-]+)\.a\(", (repository / ".build-static/link.map").read_text())}
    assert {"libcrypto", "libssl", "libc", "libswiftCore"} <= linked
    listed = set(re.findall(r"`(lib[^`]*)`", (repository / "docs/licences.md").read_text()))
    families = ("libswift", "lib_Foundation", "libFoundation")
    assert [name for name in linked if name not in listed and not name.startswith(families)] == []


def test_two_archives_of_one_commit_are_the_same(tmp_path):
    repository = Path(__file__).parents[2]
    sums = []
    for name in ("one", "other"):
        subprocess.run([repository / "Packaging/release/dist", os.environ["SLUICE"], tmp_path / name], check=True, capture_output=True)
        sums.append((tmp_path / name / "SHA256SUMS").read_text())
    assert sums[0] == sums[1] and len(sums[0].splitlines()) == 2
    listed = subprocess.run(["tar", "-tzf", *(tmp_path / "one").glob("*.tar.gz")], check=True, capture_output=True, text=True).stdout
    for part in ("/sluice\n", "/LICENSE\n", "/THIRD-PARTY\n", "/man/sluice.1\n", "/completions/sluice.zsh\n", "/Examples/monitoring/alerts.yml\n"):
        assert part in listed, part


def test_a_launch_is_not_far_beyond_bubblewraps():
    """4 times were seen on an idle machine: the gate is started, the sandbox tries its own walls, and bubblewrap does neither."""
    assert times_bubblewrap(os.environ["SLUICE"]) < 8


def test_the_root_has_no_swift(inside):
    assert (ROOT / "etc/debian_version").read_text().startswith("12.")
    assert [path for name in ("libswift*", "swift", "swiftc") for path in ROOT.rglob(name)] == []


def test_check_runs_without_swift(inside, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("network_policy: {allow: ['allowed.example:443']}\n")
    got = [subprocess.run([*inside, "check", "--policy", policy, target], capture_output=True, text=True)
           for target in ("allowed.example:443", "refused.example:443")]
    assert [one.returncode for one in got] == [0, 1], got
    assert got[0].stdout.startswith("allow allowed.example:443 ") and "reason=not_allowed" in got[1].stdout


# A user namespace cannot be had behind chroot(2), so this root is pivoted to; what the test needs lies in its /work.
PIVOT = """
root=$1 who=$2; shift 2
mount --make-rprivate / && mount --bind "$root" "$root" && cd "$root" && mount --rbind /dev dev && mount -t proc proc proc
mount -t tmpfs tmpfs tmp && mkdir -m 755 tmp/work tmp/home && chown "$who" tmp/work tmp/home
printf 'network_policy: {default: deny}\\n' > tmp/policy.yaml
pivot_root . mnt && umount -l /mnt && cd /tmp/work && export HOME=/tmp/home && exec "$@"
"""


@pytest.mark.parametrize("who", ["root", "user"])
def test_run_starts_a_command_without_swift(inside, who):
    user = ["setpriv", "--reuid=61000", "--regid=61000", "--clear-groups"] if who == "user" else []
    script = "id -u; cat /etc/debian_version; exec 3<>/dev/tcp/192.0.2.7/80; printf 'GET / HTTP/1.0\\r\\nHost: refused.test\\r\\n\\r\\n' >&3; head -1 <&3; exit 7"
    got = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", PIVOT, "sh", ROOT, "61000", *user, "/usr/local/bin/sluice", "run", "--policy",
                          "/tmp/policy.yaml", "--log", "/tmp/home/log", "--limits", "best-effort", "--", "bash", "-c", script],
                         capture_output=True, text=True, timeout=60)
    assert got.returncode == 7, got
    lines = got.stdout.splitlines()
    assert lines[0] == "61000" and lines[1].startswith("12.") and lines[2].startswith("HTTP/1.1 403 Denied by egress policy: not_allowed"), got


def test_serve_runs_without_swift(inside, gate, web, hello, names):
    site = web(hello)
    one = gate(rules(local("allowed.test", site.port)), command=inside)
    root = os.readlink(f"/proc/{one.process.pid}/root")
    assert root == str(ROOT)
    assert b"hello from allowed.test" in one.ask(get(f"allowed.test:{site.port}"))
    assert one.ask(get(f"refused.test:{site.port}")).startswith(b"HTTP/1.1 403 Denied by egress policy: not_allowed\r\n")
    assert site.connections == 1 and set(names.asked) == {"allowed.test"}
    one.logged(event="closed", host="allowed.test")
    one.logged(event="denied", host="refused.test")
    mapped = {line.split(maxsplit=5)[5].strip() for line in open(f"/proc/{one.process.pid}/maps") if len(line.split(maxsplit=5)) > 5}
    files = {name for name in mapped if name.startswith("/")}
    assert files == {f"{ROOT}/usr/local/bin/sluice"}
