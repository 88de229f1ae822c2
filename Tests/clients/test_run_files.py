"""`filesystem_policy` and `environment` of `sluice run`: one promise a test, as root and as a user without any rights."""
import re
import os
import subprocess

import pytest

from sandbox import UID

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

BEST = ("--limits", "best-effort")


def policy(place, text):
    place.write(f"network_policy: {{default: deny}}\n{text}")


def make(path, text="secret\n"):
    """A file of the user's, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for one in (path, *path.parents):
        if "sluice-run-" in str(one.parent):
            os.chown(one, UID, UID)
    return path


# MARK: what is shown

def test_paths_of_the_policy_are_shown_as_it_says(place):
    for name in ("tool", "kept"):
        make(place.folder / name / "file", f"{name}\n")
    policy(place, f"filesystem_policy: {{read_only: [{place.folder}/tool], read_write: [{place.folder}/kept]}}")
    got = place.shell(f"cat {place.folder}/*/file; echo x > {place.folder}/kept/new; echo x > {place.folder}/tool/new; ls {place.folder}")
    assert got.stdout == "kept\ntool\nkept\ntool\nwork\n", got
    assert (place.folder / "kept/new").exists() and not (place.folder / "tool/new").exists()


def test_the_workspace_of_the_policy_is_used_and_the_option_wins(place):
    one, other = place.folder / "one", place.folder / "other"
    for folder in (one, other):
        make(folder / "file", folder.name)
    policy(place, f"filesystem_policy: {{workspace: {one}}}")
    assert place.shell("pwd; cat file").stdout == f"{one}\none"
    assert place.shell("pwd; cat file", options=(*BEST, "--workspace", other)).stdout == f"{other}\nother"


def test_a_folder_of_the_workspace_can_be_read_only_and_cannot_be_moved_away(place):
    make(place.workspace / "a/data/file", "data\n")
    policy(place, "filesystem_policy: {read_only: [a/data]}")
    got = place.shell("echo x > a/data/file; rm -f a/data/file; mv a/data a/gone; mv a gone; echo y > a/free; cat a/data/file a/free")
    assert got.stdout == "data\ny\n", got
    # The same by the option.
    policy(place, "")
    assert place.shell("echo x > a/data/file; cat a/data/file", options=(*BEST, "--read-only", "a/data")).stdout == "data\n"


def test_a_writable_folder_in_a_read_only_one(place):
    make(place.folder / "tree/scratch/file", "s\n")
    policy(place, f"filesystem_policy: {{read_only: [{place.folder}/tree], read_write: [{place.folder}/tree/scratch]}}")
    got = place.shell(f"cd {place.folder}/tree; echo x > file; echo x > scratch/new; ls . scratch")
    assert got.stdout == ".:\nscratch\n\nscratch:\nfile\nnew\n", got


def test_a_link_that_a_run_left_shows_nothing_to_the_next(place):
    secret = make(place.folder / "secret/key")
    for where in ("data", "a/data"):
        make(place.workspace / where / "file")
    policy(place, "filesystem_policy: {read_only: [data, a/data]}")
    assert place.run("true").returncode == 0
    policy(place, "")
    assert place.shell(f"mv a/data a/old; ln -s {secret.parent} a/data").returncode == 0
    policy(place, "filesystem_policy: {read_only: [data, a/data]}")
    got = place.shell("cat a/data/key")
    assert got.returncode == 125 and "a/data is a symbolic link that the command of an earlier run could have made" in got.stderr, got
    assert re.search(rf"{re.escape(str(place.policy))}:2:\d+: read_only a/data: ", got.stderr), got
    policy(place, "")
    for option in ("--read-only", "--read-write"):
        got = place.shell("cat a/data/key", options=(*BEST, option, "a/data"))
        assert got.returncode == 125 and f"{option} a/data: {place.workspace}/a/data is a symbolic link" in got.stderr, got
    # A link outside of all that the command may write is the user's own.
    (place.folder / "link").symlink_to("secret")
    assert place.shell(f"cat {secret}", options=(*BEST, "--read-only", place.folder / "link")).stdout == "secret\n"


@pytest.mark.parametrize("text, says", [
    ("read_only: [/none]", ": read_only /none: no such file or folder"),
    ("read_only: [/etc]", "the sandbox has its own; name something inside it"),
    ("read_write: [/usr/bin/env]", "the sandbox has its own; name something inside it"),
    ("workspace: /none", ": workspace /none: no such folder"),
    ("workspace: /usr", "system folder"),
    ("hidden: [/usr]", "name a path of the host"),
    ("hidden: [/proc/version]", "name a path of the host"),
    ("hidden: [{folder}]", "is visible, and would be hidden too"),
    ("home: {{folder: {folder}/work/h}}", "is shown under its own path, and lies in it or holds it"),
    ("home: {{folder: /none}}", "no such file or folder"),
    ("protected: [link]", "is a symbolic link: what it leads to cannot be protected"),
])
def test_a_path_that_cannot_be_shown_so_is_refused_with_its_line(user_place, text, says):
    make(user_place.workspace / "h/file")
    (user_place.workspace / "link").symlink_to("h")
    policy(user_place, f"filesystem_policy: {{{text.format(folder=user_place.folder)}}}")
    got = user_place.run("true")
    assert got.returncode == 125 and says in got.stderr, got


# MARK: hidden

def test_what_is_hidden_cannot_be_read_written_removed_or_moved(place):
    names = [".env", "conf/deep/key", "folder/inner/file"]
    for name in names:
        make(place.workspace / name)
    tool = make(place.folder / "tool/key")
    policy(place, f"filesystem_policy: {{read_only: [{place.folder}/tool], hidden: [.env, conf/deep/key, folder, {tool}, none]}}")
    got = place.shell(f"""
cat .env conf/deep/key {tool} folder/inner/file; ls -A folder
for one in .env conf/deep/key; do echo x > $one; chmod 644 $one; rm -f $one; mv $one moved; ln $one linked; done
mv conf/deep conf/moved; mv conf moved; mv folder moved; rm -rf folder conf .env; cp -r . /tmp/copy; grep -rs secret . /tmp/copy {place.folder}
ls -d .env *; echo done""")
    assert got.stdout.split() == [".env", "conf", "folder", "done"], got
    assert "hidden none: there is no such file" in got.stderr
    for path in (*(place.workspace / name for name in names), tool):
        assert path.read_text() == "secret\n"


def test_a_hidden_file_is_probed(user_place):
    make(user_place.workspace / ".env")
    policy(user_place, "filesystem_policy: {hidden: [.env]}")
    plan = user_place.run("true", options=(*BEST, "--print-plan")).stdout
    assert f" hide {user_place.workspace}/.env\n" in plan and f" probe: {user_place.workspace}/.env cannot be read\n" in plan


def test_a_hidden_path_that_became_a_link_is_refused(place):
    make(place.workspace / "conf/key")
    (place.workspace / "conf").rename(place.workspace / "moved")
    (place.workspace / "conf").symlink_to("moved")
    policy(place, "filesystem_policy: {hidden: [conf/key]}")
    got = place.shell("cat moved/key")
    assert got.returncode == 125 and "conf is a symbolic link" in got.stderr, got


# MARK: protected

def git(place, *arguments):
    return subprocess.run(["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "git", "-C", place.workspace, *arguments],
                          capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": str(place.home)})


def test_git_outside_runs_nothing_that_the_command_left_in_the_repository(place):
    assert git(place, "init", "-q").returncode == 0
    git(place, "config", "extensions.worktreeConfig", "true")
    mark = place.folder / "run"
    got = place.shell(f"""
mkdir -p evil; cp -r .git/objects .git/refs evil; printf '[core]\\n fsmonitor = "touch /tmp/x; touch {mark}; false"\\n repositoryformatversion = 0\\n' > evil/config
echo ../evil > .git/commondir; cp evil/config .git/config.worktree; cp evil/config .git/config; printf '#!/bin/sh\\ntouch {mark}\\n' > .git/hooks/post-index-change
rm -rf .git/commondir; mv .git old; git status --short; echo x > file; git add file; git -c user.name=a -c user.email=a@b.example commit -qm one; git log --format=%s""")
    assert got.stdout.endswith("one\n"), got
    os.chmod(place.folder, 0o777)
    assert git(place, "status").returncode == 0 and git(place, "add", ".").returncode == 0
    assert not mark.exists()
    assert not any((place.workspace / ".git" / name).exists() for name in ("commondir", "config.worktree"))
    assert git(place, "fsck").returncode == 0 and git(place, "worktree", "add", place.workspace / "tree").returncode == 0
    # A worktree's `.git` is a file, and stays as it is too.
    got = place.shell("echo gitdir: /elsewhere > .git; rm -f .git; cat .git", options=(*BEST, "--workspace", place.workspace / "tree"))
    assert got.stdout == f"gitdir: {place.workspace}/.git/worktrees/tree\n", got


def test_the_list_of_what_is_protected_can_be_changed(place):
    assert git(place, "init", "-q").returncode == 0
    make(place.workspace / "Makefile", "all:\n")
    script = "echo x > Makefile; echo x > .git/hooks/pre-commit; rm -f .git/description; ls .git/hooks/pre-commit; cat Makefile"
    policy(place, "filesystem_policy: {protected: [Makefile, none]}")
    got = place.shell(script)
    assert got.stdout == ".git/hooks/pre-commit\nall:\n" and "protected none: there is no such file" in got.stderr, got
    policy(place, "filesystem_policy: {protected: []}")
    assert place.shell(script).stdout == ".git/hooks/pre-commit\nx\n"


def test_a_policy_that_the_command_may_write_is_protected_or_refused(place):
    kept = place.folder / "kept"
    make(kept / "sub/p.yaml", f"network_policy: {{default: deny}}\nfilesystem_policy: {{read_write: [{kept}]}}\n")
    place.policy = kept / "sub/p.yaml"
    got = place.shell(f"cd {kept}; echo x >> sub/p.yaml; rm -f sub/p.yaml; mv sub gone; echo x > sub/free; tail -1 sub/p.yaml")
    assert got.stdout.startswith("filesystem_policy"), got
    got = place.run("true", options=(*BEST, "--read-write", place.policy))
    assert got.returncode == 125 and "the command could write it" in got.stderr, got
    place.policy.write_text(f"network_policy: {{default: deny}}\nfilesystem_policy: {{home: {{folder: {kept}}}}}\n")
    got = place.run("true")
    assert got.returncode == 125 and "the command could write it" in got.stderr, got


# MARK: home and tmp

def test_the_sizes_of_home_and_tmp_hold(place):
    policy(place, "filesystem_policy: {tmp: 4MiB, home: {size: 2MiB}}")
    got = place.shell("for at in /tmp ~; do head -c 16M /dev/zero > $at/file 2> /dev/null; stat -c %s $at/file; rm $at/file; done")
    assert got.stdout.split() == [str(4 << 20), str(2 << 20)], got


def test_a_home_of_the_host_stays(place):
    kept = place.folder / "kept"
    make(kept / "file", "kept\n")
    policy(place, f"filesystem_policy: {{home: {{folder: {kept}}}}}")
    assert place.shell("echo $HOME; cat ~/file; echo new > ~/new").stdout == "/home/agent\nkept\n"
    assert (kept / "new").read_text() == "new\n" and (kept / "new").stat().st_uid == UID
    got = place.run("true", options=(*BEST, "--log", kept / "log"))
    assert got.returncode == 125 and "the command could write the log" in got.stderr, got


# MARK: the environment

def test_the_environment_of_the_policy(place):
    policy(place, 'environment: {pass: [TOKEN, "MY_*", ABSENT], set: {EDITOR: vi, PATH: "/usr/bin:/bin", TEXT: "a b=c"}}')
    caller = {"TOKEN": "t", "MY_A": "1", "MY_B": "2", "OTHER": "x", "MYX": "x", "LD_PRELOAD": "", "NO": "x"}
    got = place.shell("env", env=caller)
    seen = dict(line.split("=", 1) for line in got.stdout.splitlines())
    assert {name: seen.get(name) for name in ("TOKEN", "MY_A", "MY_B", "EDITOR", "PATH", "TEXT")} == {
        "TOKEN": "t", "MY_A": "1", "MY_B": "2", "EDITOR": "vi", "PATH": "/usr/bin:/bin", "TEXT": "a b=c"}, got
    assert not {"OTHER", "MYX", "ABSENT", "LD_PRELOAD", "NO"} & set(seen) and seen["HOME"] == "/home/agent"
    # The option adds, and wins.
    got = place.shell("echo $EDITOR $OTHER", env=caller, options=(*BEST, "--env", "OTHER", "--env", "EDITOR=ed"))
    assert got.stdout == "ed x\n", got


@pytest.mark.parametrize("entry, says", [("HOME=/x", "the sandbox's own"), ("https_proxy", "the sandbox's own"), ("LD_PRELOAD", "only set, with a value"),
                                         ("A-B=c", "letters, digits"), ("=x", "letters, digits")])
def test_a_variable_that_may_not_be_given_is_refused(user_place, entry, says):
    got = user_place.run("true", options=(*BEST, "--env", entry))
    assert got.returncode == 64 and says in got.stderr, got
    assert user_place.shell("echo $LD_BIND_NOW", options=(*BEST, "--env", "LD_BIND_NOW=1")).stdout == "1\n"


def test_serve_does_without_what_is_a_sandboxs(gate):
    """A policy that both read is one file."""
    gate("network_policy: {default: deny}\nfilesystem_policy: {read_only: [/none], hidden: [.env]}\nenvironment: {pass: [A]}\n"
         "process_limits: {io.max: wbps=1M}")
