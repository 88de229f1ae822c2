"""A copied or read-only workspace, and git's configuration in `sluice run`: one promise a test."""
import os
import signal
import subprocess

import pygit2
import pytest

from sandbox import UID
from test_run import Terminal

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

# The repositories are the other user's.
pygit2.settings.owner_validation = False
BEST = ("--limits", "best-effort")


@pytest.fixture
def place(user_place):
    return user_place


def kept(place):
    """Folders that a run left where runs keep theirs."""
    return [str(one) for kind in ("runs", "copies") for one in (place.home / ".local/share/sluice" / kind).glob("*")]


def test_a_read_only_workspace_and_a_copy_that_is_applied_or_dropped(place):
    place.shell("mkdir -p dir; echo one > file; echo two > dir/gone; ln -s file link")
    got = place.shell("cat file; echo x > file; echo x > new", options=(*BEST, "--workspace-mode", "ro"))
    assert got.stdout == "one\n" and (place.workspace / "file").read_text() == "one\n", got
    change = f"echo changed > file; rm -r dir; mkdir made; echo new > made/new; ln -s /etc out; rm link; ln -s made link; mkdir .vscode; cat file"
    for when in ("never", "ask"):
        got = place.shell(change, options=(*BEST, "--workspace-mode", "copy", "--apply", when))
        assert got.stdout == "changed\n" and "M file" in got.stderr and "-one\n+changed" in got.stderr and "D dir" in got.stderr, got
        assert sorted(os.listdir(place.workspace)) == ["dir", "file", "link"] and (place.workspace / "file").read_text() == "one\n"
    # Without a terminal nobody can be asked: nothing is lost.
    assert "the copy is kept in" in got.stderr, got
    got = place.shell(change, options=(*BEST, "--workspace-mode", "copy", "--apply", "always"))
    assert "not applied: out: a link to a target outside the workspace," in got.stderr, got
    assert sorted(os.listdir(place.workspace)) == ["file", "link", "made"], got
    assert (place.workspace / "file").read_text() == "changed\n" and os.readlink(place.workspace / "link") == "made"


def git(place, *arguments, where=None):
    return subprocess.run([*place.prefix, "git", "-C", str(where or place.workspace), *arguments], capture_output=True, text=True,
                          env={"HOME": str(place.home), "PATH": os.environ["PATH"]}, timeout=60, check=True).stdout


def test_git_inside_sets_branches_and_remotes_and_nothing_else(place):
    git(place, "init", "-q", "-b", "main")
    git(place, "config", "remote.origin.url", "https://git.test/a.git")
    (place.home / ".gitconfig").write_text("[user]\n\tname = A\n\temail = a@a.test\n")
    got = place.shell("""git commit -q --allow-empty -m one && git branch topic && git branch -m topic better &&
        git config branch.better.remote origin && git config branch.better.merge refs/heads/better &&
        git remote set-url origin git@git.test:b.git && git config core.fsmonitor ./x && git config core.fsmonitor""")
    assert got.stdout == "./x\n", got
    assert git(place, "config", "branch.better.merge") == "refs/heads/better\n" and git(place, "remote", "get-url", "origin") == "git@git.test:b.git\n"
    assert "changed core.fsmonitor in its copy; it is not written back" in got.stderr, got
    assert "fsmonitor" not in (place.workspace / ".git/config").read_text()
    assert "set remote.origin.url to git@git.test:b.git, which is written back" in got.stderr, got
    got = place.shell("rm -f .git/config; mv .git/config x; cat .git/config > /tmp/old; sed -i s/git.test/evil.test/ /run/sluice-git/0/config;"
                      "printf '[alias]\n\tst = !x\n[remote \"o\"]\n\turl = ext::sh -c x\n[branch \"b\"]\n\tremote = ext::x\n' >> .git/config")
    for name in ("remote.origin.url", "alias.st", "remote.o.url", "branch.b.remote"):
        assert f"changed {name} in its copy; it is not written back" in got.stderr, got
    assert git(place, "remote", "-v").split()[1] == "git@git.test:b.git" and git(place, "config", "--list", "--local").count("\n") == 7
    # A library that knows nothing of git's program opens it, and nothing is left anywhere.
    assert pygit2.Repository(str(place.workspace)).head.shorthand == "main"
    assert sorted(os.listdir(place.workspace)) == [".git", "x"] and not kept(place), kept(place)


def test_two_runs_and_a_killed_one_leave_a_whole_repository(place):
    git(place, "init", "-q", "-b", "main")
    runs = [place.start("bash", "-c", f"git config branch.{name}.merge refs/heads/{name}; echo ready; read line", stdin=subprocess.PIPE) for name in "abc"]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    runs[0].kill()
    for run in runs:
        run.communicate("go\n" if run is not runs[0] else None)
    place.leaves_nothing()
    for name in "abc":
        assert git(place, "config", f"branch.{name}.merge") == f"refs/heads/{name}\n"
    assert pygit2.Repository(str(place.workspace)).head_is_unborn and sorted(os.listdir(place.workspace)) == [".git"] and not kept(place), kept(place)


def test_nothing_in_a_copy_reaches_outside_of_the_workspace(place):
    secret = place.folder / "secret"
    secret.write_text("key\n")
    os.chown(secret, UID, UID)
    place.shell("mkdir -p dir/sub kept; echo old > dir/sub/old; echo old > dir/file; echo one > kept/file")
    os.link(secret, place.workspace / "name")
    run = place.start("bash", "-c", f"""echo mine > name; mkfifo pipe; mknod zero c 0 0 2> /dev/null; ln -s . here; ln -s here/../secret up; ln -s {secret} out
        touch $'two\\nlines' $'\\e[31mred'; echo x > tool; chmod 6755 tool; rm -r dir; mkdir -p dir/sub; echo new > dir/file
        mkdir .vscode sub; git init -q sub; python3 -c 'import os; os.setxattr("kept", "user.overlay.opaque", b"y")' 2> /dev/null
        echo two > kept/file; echo ready; read line""", options=(*BEST, "--workspace-mode", "copy", "--apply", "always"), stdin=subprocess.PIPE)
    assert run.stdout.readline() == "ready\n"
    (place.workspace / "kept/file").write_text("outside\n")
    _, told = run.communicate("go\n")
    place.leaves_nothing()
    assert secret.read_text() == "key\n" and (place.workspace / "name").read_text() == "mine\n", told
    there = sorted(os.listdir(place.workspace))
    assert there == sorted(["dir", "here", "kept", "name", "sub", "tool", "two\nlines", "\x1b[31mred"]), (there, told)
    assert sorted(os.listdir(place.workspace / "dir")) == ["file", "sub"] and os.listdir(place.workspace / "dir/sub") == []
    assert (place.workspace / "tool").stat().st_mode & 0o7777 == 0o755 and (place.workspace / "kept/file").read_text() == "outside\n"
    assert "\x1b" not in told and "not applied: kept/file: it was also changed outside" in told and "not applied: pipe: a device, pipe" in told, told
    for name in ("up", "out"):
        assert f"not applied: {name}: a link to a target outside" in told, told
    # Changes that are not applied are kept, and a repository made inside is reported.
    assert len(kept(place)) == 1 and kept(place)[0] in told and f"{place.workspace}/sub" in told, told


@pytest.mark.parametrize("answer", ["y", "n", "killed"])
def test_a_person_decides_about_a_copy(place, answer):
    place.shell("echo one > file")
    terminal = Terminal(place, *place.arguments("bash", "-c", "echo two > file", options=(*BEST, "--workspace-mode", "copy")))
    terminal.hear(r"\[y/N\]")
    assert (place.workspace / "file").read_text() == "one\n"
    if answer == "killed":
        os.kill(terminal.pid, signal.SIGKILL)
    else:
        terminal.say(answer + "\n")
    terminal.end()
    place.leaves_nothing()
    assert (place.workspace / "file").read_text() == ("two\n" if answer == "y" else "one\n")
    assert len(kept(place)) == (1 if answer == "killed" else 0), kept(place)


def test_git_works_in_a_linked_worktree(place):
    main = place.folder / "main"
    main.mkdir()
    os.chown(main, UID, UID)
    git(place, "init", "-q", "-b", "main", where=main)
    git(place, "-c", "user.name=A", "-c", "user.email=a@a.test", "commit", "-q", "--allow-empty", "-m", "one", where=main)
    tree = place.workspace / "tree"
    git(place, "worktree", "add", "-q", "-b", "side", str(tree), where=main)
    (place.home / ".gitconfig").write_text("[user]\n\tname = A\n\temail = a@a.test\n")
    got = place.shell(f"git status --short && echo x > file && git add file && git commit -q -m two && git log --oneline | wc -l;"
                      f"echo x > {main}/.git/hooks/post-commit; ls -A {main}", options=(*BEST, "--workspace", tree))
    assert got.stdout == "2\n.git\n" and not (main / ".git/hooks/post-commit").exists(), got
