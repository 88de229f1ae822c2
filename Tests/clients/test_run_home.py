"""Profiles, homes, caches, binds and the caller's own programs in `sluice run`: one promise a test."""
import os
import shutil
import subprocess

import pytest

from sandbox import UID, Place

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

BEST = ("--limits", "best-effort")


@pytest.fixture
def place(names):
    place = Place("user", names)
    yield place
    place.close()


def make(place, name, text, mode=0o644):
    path = place.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    for one in (path, *path.parents):
        if str(one).startswith(str(place.home)):
            os.chown(one, UID, UID)
    return path


def policy(place, text):
    place.write(f"network_policy: {{default: deny}}\n{text}")


def test_profiles_are_listed_shown_and_judged(place):
    def sluice(*arguments, **more):
        return subprocess.run([place.sluice, *arguments], capture_output=True, text=True, timeout=60,
                              env={"PATH": os.environ["PATH"], "HOME": str(place.home)}, **more)
    listed = sluice("profile", "list").stdout
    assert "claude-code" in listed and listed.count("\n") == 14
    assert sluice("profile", "show", "github").stdout == open("../../Examples/policies/github.yaml").read()
    wrong = sluice("profile", "show", "pythn")
    assert wrong.returncode == 2 and "did you mean `python`?" in wrong.stderr, wrong
    assert sluice("check", "--profile", "openai", "api.openai.com:443").returncode == 0
    assert sluice("check", "--profile", "openai", "api.anthropic.com:443").returncode == 1
    # The index is the one of the user's own settings, whose password is not shown.
    empty = sluice("check", "--profile", "python")
    assert empty.returncode == 0 and "write `index-url = https://HOST/simple`" in empty.stderr, empty
    make(place, ".config/pip/pip.conf", "[global]\nindex-url = https://me:secret@index.test/simple\n")
    got = sluice("check", "--profile", "python", "index.test:443")
    assert got.returncode == 0 and "rule=profile:python:" in got.stdout and "pip.conf holds a password" in got.stderr, got
    inside = place.run("sh", "-c", "echo $PIP_INDEX_URL", options=(*BEST, "--profile", "python"))
    assert inside.stdout == "https://index.test/simple\n", inside


def test_a_kept_home_stands_where_the_callers_is_with_what_is_copied_and_nothing_else(place):
    make(place, ".tool/settings", "mine\n")
    make(place, ".ssh/key", "secret\n")
    make(place, ".config/shown", "shown\n")
    text = "filesystem_policy: {home: {persistent: kept, at: caller, copy: [.tool], read_only: [.config/shown]}, caches: [pip]}"
    policy(place, text)
    first = place.shell("echo $HOME; cat ~/.tool/settings ~/.config/shown; echo changed > ~/.tool/settings; echo x > ~/.config/shown; ls -A ~;"
                        "echo cached > ~/.cache/pip/file")
    assert first.stdout.split() == [str(place.home), "mine", "shown", ".cache", ".config", ".tool"], first
    again = place.shell("cat ~/.tool/settings ~/.config/shown ~/.cache/pip/file; cat ~/.ssh/key")
    assert again.stdout == "changed\nshown\ncached\n", again
    # The caller's own is as it was, and the cache is shared by homes.
    assert (place.home / ".tool/settings").read_text() == "mine\n" and not (place.home / ".cache").exists()
    policy(place, "filesystem_policy: {caches: [pip]}")
    assert place.shell("cat ~/.cache/pip/file; ls -A ~").stdout == "cached\n.cache\n"


def test_a_link_that_a_run_left_in_a_kept_home_leads_nowhere(place):
    secret = make(place, ".ssh/key", "secret\n")
    make(place, ".tool/settings", "mine\n")
    policy(place, "filesystem_policy: {home: {persistent: kept, at: caller}}")
    assert place.shell(f"ln -s {secret.parent} ~/.tool; ln -s {secret.parent} ~/.cache").returncode == 0
    policy(place, "filesystem_policy: {home: {persistent: kept, at: caller, copy: [.tool]}}")
    got = place.shell("cat ~/.tool/key ~/.tool/settings")
    assert got.stdout == "" and not (secret.parent / "settings").exists(), got
    policy(place, "filesystem_policy: {home: {persistent: kept, at: caller}, caches: [pip]}")
    got = place.shell("true")
    assert got.returncode == 125 and not (secret.parent / "pip").exists(), got


def test_binds_are_seen_at_their_place_and_lie_on_nothing_else(place):
    data = place.folder / "data"
    data.mkdir()
    (data / "file").write_text("data\n")
    os.chown(data, UID, UID)
    got = place.shell("cat /mnt/a/file /mnt/b; echo x > /mnt/a/new; echo x > /mnt/b",
                      options=(*BEST, "--bind", f"{data}:/mnt/a", "--bind", f"{place.policy}:/mnt/b:ro"))
    assert got.stdout.startswith("data\nnetwork_policy") and (data / "new").read_text() == "x\n", got
    wrong = {f"{data}:/etc/x": "the sandbox has its own", f"{data}:/": "the sandbox has its own",
             f"{data}:{place.workspace}/x": "is shown there already", f"/usr:/mnt/x:ro": "a system folder",
             f"{place.workspace}:/mnt/x": "is shown already", f"{place.folder}/none:/mnt/x": "there is no",
             f"{data}:/mnt/../etc": "without `..`", f"{place.folder}:/mnt/x:ro": "is shown already",
             f"{place.state}:/mnt/x": "the log"}
    for bind, says in wrong.items():
        got = place.run("true", options=(*BEST, "--bind", bind))
        assert got.returncode == 125 and says in got.stderr, (bind, got)
    assert place.run("true", options=(*BEST, "--bind", "nonsense")).returncode == 64
    # The key of the CA, by whatever name.
    authority = place.home / ".config/sluice/ca"
    got = place.run("true", options=(*BEST, "--bind", f"{authority}:/mnt/x:ro"))
    assert got.returncode == 125 and "the CA's key" in got.stderr, got


def test_programs_of_the_callers_home_are_found_with_what_they_need(place):
    node = ".nvm/versions/node/v1"
    make(place, f"{node}/lib/node_modules/agent/cli", "#!/bin/sh\ncat $(dirname $(readlink -f $0))/words\n", 0o755)
    make(place, f"{node}/lib/node_modules/agent/words", "found\n")
    make(place, f"{node}/bin/other", "#!/bin/sh\necho other\n", 0o755)
    (place.home / node / "bin/agent").symlink_to("../lib/node_modules/agent/cli")
    make(place, "private/tool", "#!/bin/sh\n", 0o755)
    (place.home / "private").chmod(0)
    make(place, ".ssh/key", "secret\n")
    env = {"PATH": f"{place.home}/{node}/bin:{place.home}/private:/usr/bin:/bin"}
    got = place.run("agent", env=env)
    assert got.stdout == "found\n", got
    inside = place.shell(f"echo $PATH; cat {place.home}/.ssh/key; echo x > {place.home}/{node}/bin/other; other", env=env)
    assert inside.stdout.startswith(f"{place.home}/{node}/bin:/usr/bin:/bin:") and inside.stdout.endswith("\nother\n"), inside
    missing = place.run("nothing-of-that-name", env=env)
    assert missing.returncode == 127 and missing.stderr.count("\n") <= 3, missing


def test_an_authority_of_the_callers_is_trusted_by_programs_that_know_no_variable(place):
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    pem, key = place.folder / "ca.pem", place.folder / "ca.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", pem, "-days", "2",
                    "-subj", "/CN=company test authority"], check=True, capture_output=True)
    pem.write_text(key.read_text() + pem.read_text())
    pem.chmod(0o644)
    number = subprocess.run(["openssl", "x509", "-in", pem, "-noout", "-subject_hash"], capture_output=True, text=True).stdout.strip()
    seen = (f"env -i /usr/bin/openssl x509 -in /etc/ssl/certs/{number}.0 -noout -subject;"
            f"grep -c KEY /etc/ssl/certs/{number}.0 /etc/ssl/certs/ca-certificates.crt $NODE_EXTRA_CA_CERTS;"
            "tail -40 /etc/ssl/certs/ca-certificates.crt | grep -c BEGIN; ls /etc/ssl/certs | wc -l")
    for env, text in (({"NODE_EXTRA_CA_CERTS": str(pem)}, ""), ({}, f"tls: {{trust: {pem}}}")):
        policy(place, text)
        got = place.shell(seen, env=env)
        assert "company test authority" in got.stdout and ":0\n" in got.stdout and ":1" not in got.stdout, got
        assert int(got.stdout.split()[-1]) > len(os.listdir("/etc/ssl/certs")) - 2, got
    policy(place, f"tls: {{trust: {key}}}")
    got = place.shell("true")
    assert got.returncode == 125 and "holds no certificate" in got.stderr, got
