"""A sandbox sees no key and no socket of a gate, and changes no policy and no log, by whatever name they are shown."""
import os
import subprocess

import pytest

from sandbox import UID
from test_run_files import BEST, make

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)


def test_a_policy_that_a_link_in_the_workspace_names_is_refused(place):
    """The next run would take what the command puts there."""
    kept = make(place.folder / "kept/policy.yaml", "network_policy: {default: deny}\n")
    (place.workspace / "link.yaml").symlink_to(kept)
    (place.workspace / "folder").symlink_to(kept.parent)
    (place.folder / "outer").symlink_to(place.workspace / "folder")
    for path in (place.workspace / "link.yaml", place.workspace / "folder/policy.yaml", place.folder / "outer/policy.yaml"):
        place.policy = path
        got = place.run("true")
        assert got.returncode == 125 and "is a symbolic link where the command can write" in got.stderr, got
    (place.folder / "mine.yaml").symlink_to(kept)
    place.policy = place.folder / "mine.yaml"
    assert place.run("true").returncode == 0


def test_the_key_of_the_authority_is_hidden_with_what_lies_beside_it_shown(place):
    settings = make(place.home / ".config/tool/settings", "mine\n").parents[1]
    assert place.run("true", env={"HOME": str(place.home)}).returncode == 0
    keys = [path for path in place.home.rglob("*.key")] + [path for path in place.home.rglob("ca.key")]
    if not keys:
        key = make(settings / "sluice/ca/ca.key")
        os.chmod(key, 0o600)
        keys = [key]
    option = (*BEST, "--read-only", place.home)
    got = place.shell(f"cat {keys[0]}; cat {settings}/tool/settings", options=option)
    assert "mine\n" in got.stdout and "PRIVATE" not in got.stdout and "Permission denied" in got.stderr, got


@pytest.mark.parametrize("how", ["mount", "mount below", "hard link"])
def test_another_name_of_a_file_is_the_same_file(root_place, how):
    place = root_place
    secret = make(place.folder / "secrets/value")
    place.write(f"""network_policy:
  default: deny
  allow:
    - {{host: "api.test:443", credential: key}}
credentials:
  key: {{file: "{secret}", header: "Authorization: Bearer ${{token}}"}}""")
    other = place.folder / "other"
    (other / "deep").mkdir(parents=True)
    target = {"mount": other, "mount below": other / "deep"}.get(how)
    if how == "hard link":
        os.link(secret, other / "deep/file")
    else:
        subprocess.run(["mount", "--bind", secret.parent, target], check=True)
    try:
        got = place.run("true", options=(*BEST, "--read-only", other))
        assert got.returncode == 125 and f"{secret} is a file that the command could see as {other}" in got.stderr, got
        assert place.run("true").returncode == 0
    finally:
        if target:
            subprocess.run(["umount", target], check=True)


def test_a_log_by_another_mount_cannot_be_written(root_place):
    place = root_place
    other = place.folder / "other"
    other.mkdir()
    os.chown(other, UID, UID)
    subprocess.run(["mount", "--bind", place.state, other], check=True)
    try:
        got = place.run("true", options=(*BEST, "--read-write", other))
        assert got.returncode == 125 and "the log" in got.stderr and "could write" in got.stderr, got
    finally:
        subprocess.run(["umount", other], check=True)


def test_the_policy_as_an_open_file(place):
    with open(place.policy, "a") as file:
        got = place.run("true", stdout=file)
    assert got.returncode == 125 and "is open as descriptor 1" in got.stderr, got
