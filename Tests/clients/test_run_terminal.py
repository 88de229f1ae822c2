"""Standard input, output and error, and the terminal: the command gets its own terminal, and the caller's is restored."""
import fcntl
import os
import signal
import socket
import subprocess
import termios

import pytest

from gate import DEADLINE, until
from test_run import Terminal

if os.geteuid() != 0:
    pytest.skip("these tests start `sluice run` as another user, which takes root", allow_module_level=True)


def words(place, *command, options=("--limits", "best-effort")):
    return " ".join(str(one) for one in place.arguments(*command, options=options))


def shell(place):
    terminal = Terminal(place, "bash", "--norc", "--noprofile", "-i")
    terminal.hear("outer> ")
    return terminal


def modes(terminal):
    return termios.tcgetattr(terminal.fd)[:4]


# MARK: the terminal

def test_the_command_has_a_terminal_of_its_own(place):
    terminal = shell(place)
    outside = os.readlink(f"/proc/{terminal.pid}/fd/0")
    terminal.say(words(place, "bash", "-c", "'tty; python3 -c \"import os; print(os.ttyname(0), os.isatty(1))\"; ls /proc/self/fd/ -l | grep -c pts; echo x > /dev/tty; echo err > /dev/stderr'") + "\n")
    inside = terminal.hear(r"(/dev/pts/\d+)\r\n(/dev/pts/\d+) True\r\n2\r\nx\r\nerr\r\n")
    assert inside[1] == inside[2] == "/dev/pts/0" and outside.startswith("/dev/pts/")
    terminal.hear("outer> ")
    terminal.say("exit\n")
    assert terminal.end() == 0


def test_keystrokes_are_the_shells_while_the_command_is_in_the_background(place):
    terminal = shell(place)
    before = modes(terminal)
    terminal.say(words(place, "bash", "-c", "'while read line; do echo got-$line; done'") + " &\n")
    until("it runs", lambda: any("got-" in line and line.startswith("bash\0-c") for line in place.processes().values()))
    terminal.say("echo shell-$((1+1))\n")
    terminal.hear(r"shell-2\r\n")
    assert modes(terminal)[3] & termios.ISIG
    terminal.say("fg\n")
    terminal.hear("fg\r\n")
    until("it has the terminal", lambda: not modes(terminal)[3] & termios.ISIG)
    terminal.say("one\n")
    terminal.hear(r"got-one\r\n")
    terminal.say("\x1a")
    terminal.hear(r"Stopped")
    terminal.hear("outer> ")
    terminal.say("echo shell-$((2+2))\n")
    terminal.hear(r"shell-4\r\n")
    terminal.say("fg\n")
    until("it has the terminal", lambda: not modes(terminal)[3] & termios.ISIG)
    terminal.say("two\n")
    terminal.hear(r"got-two\r\n")
    terminal.say("\x04")
    terminal.hear("outer> ")
    terminal.say("exit\n")
    assert terminal.end() == 0 and before


@pytest.mark.parametrize("how", ["exit", "signal", "kill", "gate"])
def test_the_terminal_is_as_it_was_after_every_end(place, how):
    terminal = Terminal(place, *place.arguments("bash", "-c", "echo up; read x; exit 3") if how == "exit" else place.arguments("bash", "-c", "echo up; sleep 1000"))
    # The line above was read in its plain state: the window was set before it started.
    terminal.hear("up")
    assert not termios.tcgetattr(terminal.fd)[3] & termios.ECHO
    if how == "exit":
        terminal.say("\n")
    elif how == "signal":
        terminal.say("\x03")
    else:
        os.kill(terminal.pid, signal.SIGKILL if how == "kill" else signal.SIGTERM)
    keep = os.dup(terminal.fd)
    try:
        until("it is plain again", lambda: termios.tcgetattr(keep)[3] & (termios.ECHO | termios.ICANON | termios.ISIG) == termios.ECHO | termios.ICANON | termios.ISIG)
    finally:
        os.close(keep)
    terminal.end()


def test_a_terminal_in_a_pipeline(place):
    terminal = shell(place)
    # Typed input stays in the terminal until a program reads it.
    terminal.say(words(place, "bash", "-c", "'echo out; echo tty > /dev/tty'") + " | cat\n")
    terminal.hear(r"tty\r\n")
    terminal.hear("outer> ")
    terminal.say(words(place, "bash", "-c", "'read x < /dev/tty; echo asked-$x'") + " < /dev/null | cat\n")
    until("it runs", lambda: any("asked-" in line and line.startswith("bash\0-c") for line in place.processes().values()))
    terminal.say("me\n")
    terminal.hear(r"asked-me\r\n")
    terminal.hear("outer> ")
    # Asked for keys, the terminal goes on ending the lines of all that write to it, once each.
    terminal.say(words(place, "bash", "-c", "'read x < /dev/tty; echo piped-$x; echo own-$x >&2; seq 3 > /dev/tty'") + " | cat\n")
    until("it has asked", lambda: not modes(terminal)[3] & termios.ISIG)
    terminal.say("y\n")
    # Output through the pipe may arrive before the echo of the key.
    lines = terminal.hear(r"(?s)\r\n(.*)outer> ")[1].splitlines(keepends=True)
    seen = "".join(sorted(line for line in lines if "warning" not in line))
    assert seen == "1\r\n2\r\n3\r\nown-y\r\npiped-y\r\ny\r\n", seen
    # A pager reads the same terminal.
    terminal.say(words(place, "seq", "3") + " | (read x < /dev/tty; cat; echo key-$x)\n")
    terminal.say("k\n")
    terminal.hear(r"3\r\nkey-k\r\n")
    terminal.hear("outer> ")
    terminal.say("exit\n")
    assert terminal.end() == 0


def test_the_end_of_input_is_one_whenever_it_is_typed(place):
    """Ahead of the start it waits in the caller's terminal as no byte; later it is a byte that the command's own reads."""
    terminal = Terminal(place, *place.arguments("cat"))
    terminal.say("ahead\n\x04")
    assert terminal.hear(r"ahead\r\n.*ahead\r\n") and terminal.end() == 0


def test_nothing_stops_where_no_shell_could_go_on_with_it(place):
    """As in a container, whose first process is this one: the kernel ignores Ctrl-Z there."""
    terminal = Terminal(place, *place.arguments("bash", "-c", "echo up; exec cat"))
    terminal.hear("up")
    terminal.say("\x1a")
    terminal.say("after\n")
    terminal.hear(r"after\r\nafter\r\n")
    terminal.say("\x04")
    assert terminal.end() == 0


def test_output_in_the_background_waits_where_the_terminal_is_set_so(place):
    terminal = shell(place)
    terminal.say("stty tostop\n")
    terminal.hear("outer> ")
    terminal.say(words(place, "bash", "-c", "'echo la''ter'") + " &\n")
    terminal.hear("outer> ")
    terminal.say("until jobs | grep Stopped; do :; done\n")
    terminal.hear(r"Stopped")
    assert "later" not in terminal.seen
    terminal.say("fg\n")
    terminal.hear(r"later\r\n")
    terminal.say("exit\n")
    assert terminal.end() == 0


def test_control_c_ends_a_loop_of_the_shell(place):
    terminal = shell(place)
    for more in ("", " < /dev/null | cat"):
        terminal.say(words(place, "bash", "-c", "'echo up; while true; do sleep 1000; done'") + f"{more}\n")
        terminal.hear(r"up\r\n")
        terminal.say("\x03")
        terminal.hear("outer> ")
        place.leaves_nothing()
    terminal.say("exit\n")
    terminal.end()
    process = place.start("bash", "-c", "echo up; while true; do sleep 1000; done")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=DEADLINE) == 130


def test_a_program_in_raw_mode(place):
    terminal = Terminal(place, *place.arguments("python3", "-c", "import os, tty; tty.setraw(0); print('up', flush=True); print(os.read(0, 1), os.read(0, 1))"))
    terminal.hear("up")
    terminal.say("\x03\x1a")
    terminal.hear(r"b'\\x03' b'\\x1a'")
    assert terminal.end() == 0


def test_all_that_a_command_writes_is_seen(place):
    terminal = Terminal(place, *place.arguments("seq", "20000"))
    terminal.hear(r"\r\n20000\r\n")
    assert terminal.end() == 0


# MARK: descriptors

def test_a_socket_a_folder_or_a_device_is_no_standard_file(place):
    listener = socket.create_server(("127.0.0.1", 0))
    with socket.create_connection(listener.getsockname()) as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        for one in (stream, datagram, listener, local):
            for which in ("stdin", "stdout", "stderr"):
                got = subprocess.run(place.arguments("true"), cwd=place.workspace, env=place.environment(), **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                     "stderr": subprocess.PIPE} | {which: one.fileno()})
                assert got.returncode == 125, which
    folder = os.open("/", os.O_RDONLY)
    got = place.run("true", stdin=folder)
    assert got.returncode == 125 and "standard input is a folder" in got.stderr, got
    one, other = socket.socketpair()
    with one, other:
        got = place.run("cat", stdin=one.fileno(), **{}) if other.sendall(b"x") or other.shutdown(socket.SHUT_WR) or True else None
        assert got.stdout == "x", got


def test_a_second_terminal_is_no_standard_file(place):
    (_, one), (_, other) = os.openpty(), os.openpty()
    got = subprocess.run(place.arguments("true"), cwd=place.workspace, env=place.environment(), stdin=one, stdout=one, stderr=subprocess.PIPE, text=True)
    assert got.returncode == 0, got
    got = subprocess.run(place.arguments("true"), cwd=place.workspace, env=place.environment(), stdin=one, stdout=other, stderr=subprocess.PIPE, text=True)
    assert got.returncode == 125 and "standard output is a second terminal" in got.stderr, got


def test_a_closed_standard_file_leads_nowhere(place):
    got = subprocess.run(place.arguments("bash", "-c", "ls -l /proc/self/fd/0 >&2"), cwd=place.workspace, env=place.environment(),
                         preexec_fn=lambda: os.close(0), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert got.returncode == 0 and "/dev/null" in got.stderr, got


def test_files_can_be_opened_by_their_names_in_dev(place):
    for name in ("in", "out", "errors"):
        (place.workspace.parent / name).write_text("text\n" if name == "in" else "")
        os.chmod(place.workspace.parent / name, 0o666)
    script = "cat /dev/stdin; echo one > /dev/stderr; echo two | tee /dev/stderr; echo three > /dev/stdout; cat /dev/stdout"
    with open(place.folder / "in") as given, open(place.folder / "out", "a") as out, open(place.folder / "errors", "a") as errors:
        subprocess.run(place.arguments("bash", "-c", script), cwd=place.workspace, env=place.environment(), stdin=given, stdout=out, stderr=errors)
    assert "three" in (place.folder / "out").read_text() and "two" in (place.folder / "errors").read_text(), (place.folder / "errors").read_text()
    # A descriptor open for reading cannot be reopened for writing.
    with open(place.folder / "in") as given:
        got = place.run("bash", "-c", "echo x > /dev/stdin", stdin=given)
    assert got.returncode == 1 and (place.folder / "in").read_text() == "text\n", got


def test_pipes_can_be_opened_by_their_names_in_dev(user_place):
    """As root the pipe is root's, and the command's user may not open it anew."""
    place = user_place
    inner = "'cat /dev/stdin; echo x > /dev/stderr; echo y | tee /dev/stderr'"
    script = " ".join(map(str, place.arguments("bash", "-c", inner)[len(place.prefix):]))
    got = subprocess.run([*place.prefix, "bash", "-c", f"printf 'in\\n' | {script} 2>&1 | cat"], cwd=place.workspace, env=place.environment(),
                         capture_output=True, text=True)
    assert got.stdout.splitlines()[-4:] == ["in", "x", "y", "y"], got
    assert place.run("cat", "/dev/stdin").returncode == 0
