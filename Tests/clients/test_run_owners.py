"""Folders of root's own, as in CI and in containers: the command writes there as their owner, and is not root."""
import os
import subprocess

import pytest

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as root", allow_module_level=True)


@pytest.fixture
def place(root_place):
    os.chown(root_place.workspace, 0, 0)
    return root_place


def test_the_command_writes_as_the_folders_owner_and_is_not_root(place):
    secret = place.workspace / "secret"
    secret.write_text("root's own\n")
    secret.chmod(0o600)
    (place.workspace / "sub").mkdir(mode=0o700)
    got = place.shell("id -u; stat -c %u . secret sub | sort -u; cat secret; echo made > sub/made; chmod 755 sub; grep CapEff /proc/self/status; cat /proc/self/uid_map")
    assert got.returncode == 0, got
    user, owner, text, capabilities, mapping = got.stdout.splitlines()
    assert user == owner and int(user) > 0x70000000 and text == "root's own" and capabilities.split()[1] == "0" * 16
    assert mapping.split() == [user, user, "1"]
    made = (place.workspace / "sub/made").stat()
    assert (made.st_uid, made.st_gid) == (0, 0) and (place.workspace / "sub").stat().st_mode & 0o777 == 0o755


def test_the_owner_is_no_way_to_roots_rights(place):
    """A file that would be root's with its rights is the owner's without them: set-user-ID and devices are of no use."""
    got = place.shell("cp /usr/bin/id own; chmod 4755 own; ./own -u; id -u; mknod node c 1 3; chown 12345 own; echo x > /etc/x; ls /root")
    first, second = got.stdout.split()
    assert first == second != "0", got
    assert not (place.workspace / "node").exists() and (place.workspace / "own").stat().st_uid == 0


def test_what_is_protected_stays_so_and_nothing_is_left(place):
    subprocess.run(["git", "init", "-q", place.workspace], check=True)
    got = place.shell("git config --local core.fsmonitor ./evil; echo x > .git/hooks/post-commit; mkdir .vscode; git init -q inner; echo x > file; git add file && git status --short")
    assert "A  file" in got.stdout, got
    assert not (place.workspace / ".git/hooks/post-commit").exists() and "fsmonitor" not in (place.workspace / ".git/config").read_text()
    # The command's files are checked afterwards, as root's.
    assert "inner" in got.stderr
    assert sorted(one.name for one in place.workspace.iterdir()) == [".git", "file", "inner"]


def test_a_home_that_is_kept_is_the_same_in_the_next_run(place, tmp_path):
    tools = place.home / ".local/bin"
    tools.mkdir(parents=True)
    (tools / "tool").write_text("#!/bin/sh\necho roots tool\n")
    (tools / "tool").chmod(0o700)
    os.chown(place.home, 0, 0)
    kept = f"--read-write={place.folder}/kept"
    (place.folder / "kept").mkdir(mode=0o700)
    for text in ("first", "second"):
        got = place.shell(f"tool; echo {text} >> {place.folder}/kept/file; cat {place.folder}/kept/file", options=("--limits", "best-effort", kept),
                          env={"PATH": f"{tools}:/usr/bin:/bin"})
        assert got.returncode == 0, got
    assert got.stdout.split("\n") == ["roots tool", "first", "second", ""]


def test_where_owners_cannot_be_mapped_the_owner_runs_it_and_one_line_says_so(place):
    """overlayfs maps none; it is what the folders of most containers are on."""
    layers = place.folder / "layers"
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir(parents=True)
    script = 'mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$2" && cd "$2" && shift 2 && exec "$@"'
    command = place.arguments("bash", "-c", "id -u; grep CapEff /proc/self/status; echo x > made; cat /etc/shadow")
    got = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", layers, place.workspace, *command], env=place.environment(), capture_output=True, text=True)
    assert got.stdout.splitlines()[0] == "0" and got.stdout.split()[-1] == "0" * 16, got
    assert len([line for line in got.stderr.splitlines() if "runs as root" in line and "--user" in line]) == 1, got
    assert (layers / "upper/made").read_text() == "x\n"
