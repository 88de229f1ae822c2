"""Files that a run leaves in the workspace are harmless to programs outside: git runs none of them, and the sandbox adds none."""
import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pygit2
import pytest

from gate import DEADLINE
from sandbox import UID
from test_run_files import BEST, git, make, policy

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)

NAMES = [".vscode", ".idea", ".zed", ".cursor", ".windsurf", ".claude", ".codex", ".gemini", ".mcp.json", ".envrc", ".husky", ".devcontainer",
         ".devcontainer.json"]


def tree(folder):
    """All below it, with what the files say."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
            for path in Path(folder).rglob("*") if "objects" not in path.parts and path.name != "index"}


@pytest.fixture
def repository(place):
    os.chmod(place.folder, 0o777)
    assert git(place, "init", "-q").returncode == 0
    for name, value in (("user.name", "a"), ("user.email", "a@b.example"), ("protocol.file.allow", "always")):
        git(place, "config", name, value)
    make(place.workspace / "file", "text\n")
    git(place, "add", ".")
    assert git(place, "commit", "-qm", "one").returncode == 0
    return place


def runs_nothing(place, script, *commands, says=None):
    """What git outside does after the script leaves no mark. The script's own tries may fail."""
    mark = place.folder / "mark"
    got = place.shell(f"MARK={mark}\n{script}\ntrue")
    assert got.returncode == 0, got
    for command in commands or (("status",), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm", "two")):
        git(place, *command)
    assert not mark.exists(), got
    if says:
        assert says in got.stderr, got
    return got


EVIL = r"printf '#!/bin/sh\ntouch %s\n' $MARK"


def test_hooks_and_settings_that_the_configuration_names(repository):
    place = repository
    git(place, "config", "core.hooksPath", "tools/hooks")
    git(place, "config", "include.path", "../more/included")
    make(place.workspace / "tools/hooks/pre-commit", "#!/bin/sh\n")
    os.chmod(place.workspace / "tools/hooks/pre-commit", 0o755)
    runs_nothing(place, f"""{EVIL} > tools/hooks/pre-commit; {EVIL} > tools/hooks/post-commit; chmod +x tools/hooks/*
rm -rf tools; mkdir -p tools/hooks; mkdir more; printf '[core]\\n fsmonitor = "touch %s; false"\\n' $MARK > more/included""")
    assert not (place.workspace / "more").exists()


def test_a_program_that_a_setting_names(repository):
    place = repository
    git(place, "config", "filter.x.clean", "./tools/clean %f")
    git(place, "config", "core.fsmonitor", "sh tools/watch")
    for name in ("clean", "watch"):
        make(place.workspace / "tools" / name, "#!/bin/sh\ncat\n")
        os.chmod(place.workspace / "tools" / name, 0o755)
    make(place.workspace / ".gitattributes", "* filter=x\n")
    runs_nothing(place, f"for one in clean watch; do {EVIL} > tools/$one; done; mv tools old; mkdir tools; echo y > file", ("status",), ("diff",), ("add", "."))


def test_a_repository_that_is_already_there_in_a_folder(repository):
    place = repository
    inner = place.workspace / "inner"
    assert git(place, "init", "-q", inner).returncode == 0
    runs_nothing(place, """printf '[core]\\n repositoryformatversion = 0\\n fsmonitor = "touch %s; false"\\n' $MARK > inner/.git/config
mv inner gone; mkdir inner""", ("-C", str(inner), "status"))


def test_a_submodule_and_a_linked_worktree(repository):
    place = repository
    other = place.folder / "other"
    assert git(place, "clone", "-q", place.workspace, other).returncode == 0
    assert git(place, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub").returncode == 0
    assert git(place, "worktree", "add", "-q", str(place.workspace / "tree")).returncode == 0
    runs_nothing(place, """for at in .git/modules/sub/config .git/modules/sub/config.worktree .git/worktrees/tree/config.worktree; do
printf '[core]\\n fsmonitor = "touch %s; false"\\n' $MARK >> $at; done
mkdir e; cp -r .git/modules/sub/* e; printf '[core]\\n fsmonitor = "touch %s; false"\\n' $MARK > e/config; echo $PWD/e > .git/worktrees/tree/commondir
echo "gitdir: $PWD/e" > sub/.git; echo "gitdir: $PWD/e" > tree/.git""", ("status",), ("-C", str(place.workspace / "tree"), "status"), ("-C", str(place.workspace / "sub"), "status"))


def test_a_repository_made_inside_is_named_and_can_be_moved_aside(repository):
    place = repository
    script = """git init -q made; cd made; git -c user.name=a -c user.email=a@b commit --allow-empty -qm x
git config core.fsmonitor "touch $MARK; false"; cd ..; git -c advice.addEmbeddedRepo=false add made; git init -q --bare bare"""
    got = place.shell(f"MARK={place.folder}/mark\n{script}")
    assert f"{place.workspace}/made/.git: this repository was made inside" in got.stderr and "--ignore-submodules=all" in got.stderr, got
    assert f"{place.workspace}/bare: this repository" in got.stderr and "--after quarantine" in got.stderr, got
    git(place, "status")
    assert (place.folder / "mark").exists(), "the danger that is told of is one"
    for path in ("made", "bare"):
        subprocess.run(["rm", "-rf", place.workspace / path], check=True)
    (place.folder / "mark").unlink()
    git(place, "reset", "-q")
    got = place.shell(f"MARK={place.folder}/mark\n{script}", options=(*BEST, "--after", "quarantine"))
    assert got.stderr.count("; moved to ") == 2 and not (place.workspace / "made/.git").exists(), got
    git(place, "status")
    for path in (place.workspace / ".sluice-quarantine").glob("*/*"):
        git(place, "-C", str(path), "status")
    assert not (place.folder / "mark").exists()


def test_what_else_is_told_of(repository):
    place = repository
    git(place, "config", "filter.lfs.clean", "cat")
    got = place.shell("""echo '* filter=lfs' > .gitattributes; printf '[submodule "x"]\\n' > .gitmodules; mkdir -p deep/.vscode; echo x > deep/.envrc
git checkout -qb b; git -c user.name=a -c user.email=a@b rebase -x false HEAD~0; mkdir .git/rebase-merge; echo 'exec true' > .git/rebase-merge/git-rebase-todo""")
    for path, text in ((".gitattributes", "asks git to run filter lfs"), (".gitmodules", "names submodules"), (".git/rebase-merge", "git rebase --abort"),
                       ("deep/.vscode", "made inside"), ("deep/.envrc", "made inside")):
        assert f"{place.workspace}/{path}: " in got.stderr and text in got.stderr, (path, got)
    # The file existed before the next run.
    assert place.run("true").stderr.count(str(place.workspace)) == 0


# MARK: nothing of ours stays

def test_a_run_leaves_nothing_in_the_workspace(repository):
    place = repository
    before = tree(place.workspace)
    assert place.shell("git status; ls -A").returncode == 0
    assert tree(place.workspace) == before
    for library in (pygit2,):
        library.option(library.enums.Option.SET_OWNER_VALIDATION, 0)
        assert library.Repository(str(place.workspace)).head.shorthand


def test_libgit2_opens_the_repository_while_a_command_runs(repository):
    place = repository
    library = pygit2
    library.option(library.enums.Option.SET_OWNER_VALIDATION, 0)
    with place.start("bash", "-c", "echo up; read line", stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "up\n"
        assert (place.workspace / ".git/commondir").exists()
        assert library.Repository(str(place.workspace)).head.shorthand
        assert git(place, "status").returncode == 0
        process.communicate("\n", timeout=DEADLINE)
    assert not (place.workspace / ".git/commondir").exists()


def test_first_runs_that_start_together_share_what_stands_there_and_the_last_takes_it_away(repository):
    place = repository
    before = tree(place.workspace)
    many = [place.start("bash", "-c", "echo up; read line; mkdir .vscode/x; echo x > .git/commondir; exit 3", stdin=subprocess.PIPE) for _ in range(6)]
    assert [one.stdout.readline() for one in many] == ["up\n"] * 6, [one.stderr.read() for one in many]
    for one in many:
        assert (place.workspace / ".vscode").exists() and (place.workspace / ".git/commondir").read_text() == "./\n"
        out, errors = one.communicate("\n", timeout=DEADLINE)
        assert one.returncode == 3 and "Read-only" in errors, errors
    assert tree(place.workspace) == before


def test_a_killed_run_leaves_nothing(repository):
    place = repository
    before = tree(place.workspace)
    process = place.start("bash", "-c", "echo up; sleep 1000")
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.wait()
    place.leaves_nothing()
    assert tree(place.workspace) == before


def test_what_a_killed_process_left_is_taken_away_by_the_next_run(repository):
    place = repository
    before = tree(place.workspace)
    process = place.start("bash", "-c", "echo up; sleep 1000")
    assert process.stdout.readline() == "up\n"
    for pid in place.processes():
        # A process that dies with another one is gone before its turn.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    place.leaves_nothing()
    assert (place.workspace / ".vscode").exists()
    assert place.shell("mkdir .vscode/x").returncode == 1
    assert tree(place.workspace) == before


# MARK: names that programs obey

@pytest.mark.parametrize("is_there", [False, True])
def test_names_that_programs_obey_can_neither_be_changed_nor_made(place, is_there):
    if is_there:
        for name in NAMES:
            make(place.workspace / name / "inner" if not name.endswith((".json", "rc")) else place.workspace / name, "mine\n")
    before = tree(place.workspace)
    got = place.shell("""for one in %s; do
mkdir $one; mkdir $one/x; echo x > $one; echo x > $one/tasks.json; echo x > $one/inner; rm -rf $one; mv $one gone; ln -sfn /tmp $one; done; true""" % " ".join(NAMES))
    assert got.returncode == 0
    after = tree(place.workspace)
    assert {name: text for name, text in after.items() if name.split("/")[-1] != "tmp"} == before, got


def test_a_protected_name_can_be_given_free(place):
    got = place.shell("mkdir .vscode; echo x > .vscode/tasks.json; mkdir .claude/x", options=(*BEST, "--unprotect", ".vscode"))
    assert (place.workspace / ".vscode/tasks.json").exists() and not (place.workspace / ".claude").exists(), got
    got = place.run("true", options=(*BEST, "--unprotect", "none"))
    assert got.returncode == 125 and "no protected path has this name" in got.stderr, got
    (place.workspace / ".codex").symlink_to("elsewhere")
    got = place.run("true")
    assert got.returncode == 125 and "--unprotect" in got.stderr and "symbolic link" in got.stderr, got
    assert place.run("true", options=(*BEST, "--unprotect", ".codex")).returncode == 0


def test_what_somebody_puts_there_meanwhile_is_theirs(place):
    with place.start("bash", "-c", "echo up; read line", stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "up\n"
        (place.workspace / ".vscode/mine").write_text("mine")
        process.communicate("\n", timeout=DEADLINE)
    assert [path.name for path in place.workspace.iterdir()] == [".vscode"] and (place.workspace / ".vscode/mine").read_text() == "mine"


def test_commits_inside_are_the_callers(place):
    (place.home / ".gitconfig").write_text('[user]\n name = "A \\"B\\" C"\n email = a@b.example\n[core]\n editor = evil\n')
    os.chown(place.home / ".gitconfig", UID, UID)
    script = "git init -q r; cd r; git commit -q --allow-empty -m x; git log --format='%an <%ae>'; git config core.editor"
    got = place.shell(script, options=(*BEST, "--after", "quarantine"))
    assert got.stdout == 'A "B" C <a@b.example>\n', got
