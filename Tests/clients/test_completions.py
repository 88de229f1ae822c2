"""Shell completions in real shells: bash and zsh on a terminal, fish by its own query."""
import os
import pty
import re
import select
import subprocess
import time

import pytest

from gate import DEADLINE

SLUICE = os.environ["SLUICE"]
END = "at-the-prompt"

# Typed text, completions that must be offered, and completions that must not.
CASES = [
    ("sluice ru", ["run"], []),
    ("sluice t", ["test", "top", "tunnels"], ["run"]),
    ("sluice ca ", ["init", "show", "export"], ["run"]),
    ("sluice run --lim", ["--limits"], ["--log"]),
    ("sluice run --limits ", ["cgroup", "best-effort"], []),
    ("sluice run --policy ", ["agent.yaml", "folder/"], ["notes.txt"]),
    ("sluice check --policy ", ["agent.yaml", "other.yml"], ["notes.txt"]),
    ("sluice diff ", ["agent.yaml", "other.yml"], ["notes.txt"]),
    ("sluice run --log ", ["notes.txt", "agent.yaml"], []),
    ("sluice run --workspace ", ["folder"], ["notes.txt"]),
    ("sluice log --event ", ["denied", "limited", "closed"], []),
    ("sluice log --reason not_", ["not_allowed", "not_tls"], ["denied_by_rule"]),
    ("sluice run --user ro", ["root"], ["daemon"]),
    ("sluice run --env HO", ["HOME"], ["PATH"]),
    ("sluice redirect --interface l", ["lo"], []),
    ("sluice clean --secrets ", ["off", "log", "block"], []),
    ("sluice completions ", ["bash", "zsh", "fish"], []),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to complete in, with the scripts where shells look for them, and the program on the path."""
    folder = tmp_path_factory.mktemp("completions")
    (folder / "bin").mkdir()
    (folder / "bin/sluice").symlink_to(SLUICE)
    (folder / "functions").mkdir()
    for shell, name in (("bash", "sluice"), ("zsh", "_sluice"), ("fish", "sluice.fish")):
        with open(folder / "functions" / name, "w") as script:
            subprocess.run([SLUICE, "completions", shell], stdout=script, check=True)
    work = folder / "work"
    (work / "folder").mkdir(parents=True)
    for name in ("agent.yaml", "other.yml", "notes.txt"):
        (work / name).touch()
    return folder


class Terminal:
    """A shell at a terminal. The first thing it is told is how to complete."""

    def __init__(self, place, arguments, setup):
        self.output = ""
        self.fd, end = pty.openpty()
        self.process = subprocess.Popen(["setsid", "--ctty", *arguments], cwd=place / "work", stdin=end, stdout=end, stderr=end,
                                        env={"PATH": f"{place}/bin:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(place), "COLUMNS": "200", "LANG": "C.UTF-8"})
        os.close(end)
        self.run(setup)

    def run(self, command):
        """Also a sign that the shell is at its prompt: what it prints is not what was typed."""
        self.type(f"{command}; echo {END[:1]}''{END[1:]}\n")
        self.read_until(lambda text: re.search(f"{END}.*> ", text, re.S))

    def type(self, text):
        self.output = ""
        os.write(self.fd, text.encode())

    def read_until(self, enough):
        end = time.monotonic() + DEADLINE
        while not enough(self.output):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], self.output
            self.output += os.read(self.fd, 65536).decode(errors="replace")
        return self.output

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


def words(text):
    return set(re.split(r"[\s\x07\x08]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", " ", text)))


def pressed(terminal, typed, offered):
    """The words on the screen once all that must be offered are there. A line that has one way to go on is completed in place."""
    terminal.type(f"{typed}\t")
    before = words(typed)
    try:
        return words(terminal.read_until(lambda text: set(offered) <= {word.rstrip("/") for word in words(text)} | words(text)))
    finally:
        # The line is given up.
        terminal.run("\x15true")


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"],
             "PS1='> '; bind 'set show-all-if-ambiguous on'; bind 'set completion-query-items 0'; bind 'set page-completions off';"
             " bind 'set enable-bracketed-paste off'; source {place}/functions/sluice"),
    "zsh": (["zsh", "-f", "-i"],
            "PS1='> '; unsetopt zle_bracketed_paste prompt_cr prompt_sp; LISTMAX=10000; fpath=({place}/functions $fpath); autoload -Uz compinit; compinit -u -D"),
}


@pytest.fixture(scope="module", params=SHELLS)
def terminal(request, place):
    arguments, setup = SHELLS[request.param]
    terminal = Terminal(place, arguments, setup.format(place=place))
    yield terminal
    terminal.close()


@pytest.mark.parametrize("typed, offered, refused", CASES)
def test_a_key_completes_it(typed, offered, refused, terminal):
    seen = pressed(terminal, typed, offered)
    assert not seen & set(refused), seen


@pytest.mark.parametrize("typed, offered, refused", CASES)
def test_fish_completes_it(typed, offered, refused, place):
    got = subprocess.run(["fish", "--no-config", "-c", f"source {place}/functions/sluice.fish; complete -C '{typed}'"], cwd=place / "work",
                         env=os.environ | {"HOME": str(place), "PATH": f"{place}/bin:{os.environ['PATH']}"}, capture_output=True, text=True, timeout=DEADLINE)
    seen = {line.split("\t")[0] for line in got.stdout.splitlines()}
    assert set(offered) <= seen | {word.rstrip("/") for word in seen}, got
    assert not seen & set(refused), seen


def test_another_shell_is_refused():
    got = subprocess.run([SLUICE, "completions", "csh"], capture_output=True, text=True)
    assert got.returncode == 64 and "bash" in got.stderr
