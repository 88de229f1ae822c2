"""The probes of escapes.py inside `sluice run`, inside bubblewrap as agents use it, and without a sandbox, as a table.

It runs in network and mount namespaces of its own, which it fills with what there is to be reached: it needs root, and
starts the sandboxes as a user without rights. `make escapes` prints the table, `--markdown` that of docs/sandbox.md."""
import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

from gate import Names, until
from sandbox import UID, Place

METADATA, PRIVATE, INTERNET, LINK_LOCAL = "169.254.169.254", "10.77.0.1", "203.0.113.66", "fe80::77"
COLUMNS = ("sluice run", "bubblewrap", "no sandbox")
CONFIGURATIONS = {"settings_that_git_outside_would_read": ".git/config", "settings_of_a_repository_in_a_folder": "inner/.git/config",
                  "settings_of_a_submodule": ".git/modules/sub/config"}
SECRET = {"SLUICE_TEST_SECRET": "x"}
PROBES = ["/usr/bin/python3", "escapes.py", "facts"]


def run(*command, **more):
    return subprocess.run([str(one) for one in command], check=True, capture_output=True, text=True, **more)


class Host:
    """What is to be reached, by a sandbox that does not hold."""

    def __init__(self):
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "host0", "type", "veth", "peer", "name", "host1")
        for one in ("host0", "host1"):
            run("ip", "link", "set", one, "up")
        for address in (f"{METADATA}/32", f"{PRIVATE}/24", f"{INTERNET}/32"):
            run("ip", "address", "add", address, "dev", "host0")
        run("ip", "-6", "address", "add", f"{LINK_LOCAL}/64", "dev", "host0", "nodad")
        self.names = Names()
        self.place = Place("user", self.names)
        self.mark = f"sluice-escape-{os.getpid()}-{random.getrandbits(30)}"
        self.sleeper = subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep 1000', self.mark])
        self.plant()
        self.master, self.terminal = os.openpty()
        os.chown(os.ttyname(self.terminal), UID, UID)
        self.descriptor = os.open(self.place.folder / "secret", os.O_RDONLY)
        os.set_inheritable(self.descriptor, True)
        # Not as an argument: it would be found in a command line.
        (self.place.workspace / "facts").write_text(json.dumps(self.facts() | {"descriptor": self.descriptor}))
        said = self.place.folder / "gate"
        with open(said, "w") as errors:
            self.gate = subprocess.Popen([self.place.sluice, "serve", "--policy", self.place.policy, "--listen-connect", "127.0.0.1:3128"],
                                         stderr=errors, stdout=subprocess.DEVNULL)
        until("the gate listens", lambda: "listening on" in said.read_text())
        # Of the same user as the sandbox: one where it must not be seen, and one where it is.
        self.asked = [self.gate_with_admin(self.place.state / "gate.sock"), self.gate_with_admin(self.place.workspace / "gate.sock")]

    def gate_with_admin(self, path):
        said = self.place.folder / f"gate-{path.parent.name}"
        with open(said, "w") as errors:
            gate = subprocess.Popen([*self.place.prefix, self.place.sluice, "serve", "--policy", self.place.policy, "--listen-connect", "127.0.0.1:0",
                                     "--listen-admin", path], stderr=errors, stdout=subprocess.DEVNULL)
        until("the gate can be asked", lambda: "(admin)" in said.read_text())
        return gate

    def plant(self):
        place = self.place
        (place.folder / "secret").write_text("secret")
        (place.home / ".netrc").write_text("secret")
        subprocess.run(["git", "init", "-q", place.workspace], check=True)
        self.plant_repositories(place.workspace)
        shutil.copy("/usr/bin/id", place.workspace / "id")
        shutil.copy(Path(__file__).parent / "escapes.py", place.workspace)
        for root in (place.workspace, place.home):
            for folder, folders, files in os.walk(root):
                for name in [folder] + [os.path.join(folder, name) for name in folders + files]:
                    os.chown(name, UID, UID)
        os.chown(place.workspace / "id", 0, 0)
        (place.workspace / "id").chmod(0o4755)
        place.log.touch()
        os.chown(place.log, UID, UID)

    def plant_repositories(self, top):
        """What a configuration names, a repository in a folder, a submodule, a linked worktree."""
        def git(*arguments, at=top):
            run("git", "-C", at, "-c", "safe.directory=*", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always", *arguments)

        for name, value in (("core.hooksPath", "tools/hooks"), ("filter.x.clean", "./tools/clean"), ("include.path", "../included")):
            git("config", name, value)
        git("config", "--add", "include.path", "../not-there/included")
        (top / "tools/hooks").mkdir(parents=True)
        for name in ("tools/hooks/pre-commit", "tools/clean", "included"):
            (top / name).touch()
        run("git", "init", "-q", top / "inner")
        git("commit", "-q", "--allow-empty", "-m", "one", at=top / "inner")
        git("commit", "-q", "--allow-empty", "-m", "one")
        git("submodule", "--quiet", "add", top / "inner", "sub")
        git("worktree", "add", "-q", top / "tree")

    def facts(self):
        place, stream, datagram = self.place, socket.SOCK_STREAM, socket.SOCK_DGRAM
        v4, v6 = socket.AF_INET, socket.AF_INET6
        self.serve(socket.AF_UNIX, stream, "\0" + self.mark)
        path = str(place.state / "admin.sock")
        self.serve(socket.AF_UNIX, stream, path)
        os.chown(path, UID, UID)
        for address, port in ((METADATA, 80), (INTERNET, 443)):
            self.serve(v4, stream, (address, port))
        self.serve(v4, datagram, (INTERNET, 443))
        self.serve(v4, datagram, (INTERNET, 53), resolve)
        terminal = os.fstat(self.terminal)
        return {
            "terminal": [terminal.st_dev, terminal.st_ino, terminal.st_rdev],
            "secret": str(place.folder / "secret"), "home": str(place.home), "workspace": str(place.workspace), "log": str(place.log),
            "policy": str(place.policy), "process": self.sleeper.pid, "mark": self.mark, "setuid": str(place.workspace / "id"),
            "abstract": self.mark, "unix": path, "admin": str(place.state / "gate.sock"), "private": PRIVATE, "metadata": METADATA, "internet": INTERNET, "link_local": LINK_LOCAL,
            "tcp": self.serve(v4, stream, ("127.0.0.1", 0)), "tcp6": self.serve(v6, stream, ("::1", 0)),
            "udp": self.serve(v4, datagram, ("127.0.0.1", 0)), "any": self.serve(v4, stream, ("0.0.0.0", 0)),
            "any6": self.serve(v6, stream, ("::", 0)), "any_udp": self.serve(v4, datagram, ("0.0.0.0", 0)), "dns": self.names.port,
        }

    def serve(self, family, kind, address, answer=lambda data: b"reached"):
        """The port."""
        sock = socket.socket(family, kind)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen()

        def talk():
            while True:
                try:
                    if kind == socket.SOCK_STREAM:
                        connection, _ = sock.accept()
                        with connection:
                            connection.sendall(answer(connection.recv(1000)))
                    else:
                        data, peer = sock.recvfrom(1000)
                        sock.sendto(answer(data), peer)
                except OSError:
                    continue
        threading.Thread(target=talk, daemon=True).start()
        return sock.getsockname()[1] if family != socket.AF_UNIX else None

    def close(self):
        for one in (self.descriptor, self.master, self.terminal):
            os.close(one)
        for process in (self.sleeper, self.gate, *self.asked):
            process.kill()
            process.wait()
        self.place.leaves_nothing()
        self.place.close()


def resolve(query):
    question = query[12:query.index(b"\0", 12) + 5]
    return query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(INTERNET)


# MARK: the columns

def bubblewrap(place):
    """What is written of it for agents: the system read-only, one folder writable, the proxy by its variables."""
    proxy = [word for name in ("HTTPS_PROXY", "HTTP_PROXY") for word in ("--setenv", name, "http://127.0.0.1:3128")]
    return ["bwrap", "--unshare-all", "--share-net", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--dev", "/dev",
            "--proc", "/proc", "--tmpfs", "/tmp", "--bind", place.workspace, place.workspace, "--chdir", place.workspace, *proxy, "--"]


def limits(place):
    """What can be had here: a cgroup, or what rlimits hold."""
    return next(kind for kind in (("--limits", "cgroup"), ("--limits", "best-effort")) if place.run("true", options=kind).returncode == 0)


def plain_column(command, place):
    """Each probe's result. What the probes did not live to tell was held, and those behind it are tried anew."""
    results, remaining = {}, []
    while True:
        got = subprocess.run([*map(str, command), *PROBES, *remaining], cwd=place.workspace, env=place.environment(SECRET), close_fds=False,
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
        results |= {name: text for name, _, text in (line.partition(" ") for line in got.stdout.splitlines())}
        remaining = [name for name in names_of_probes(place) if name not in results]
        if not remaining:
            return results
        if got.returncode != 137:
            raise SystemExit(f"{command[0]}: {got.returncode}, {got.stderr}")
        results[remaining.pop(0)] = "HELD ended with all its processes"
        if not remaining:
            return results


def with_standard_input(command, host, results):
    """Those that take something else than nothing there; one that is not started at all held."""
    place = host.place
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.bind(("127.0.0.1", 0))
        folder = os.open(place.folder, os.O_RDONLY)
        given = {"a_connection_as_standard_input": stream.fileno(), "a_datagram_socket_as_standard_input": datagram.fileno(),
                 "a_folder_as_standard_input": folder, "a_folder_as_standard_input_and_the_ones_above_it": folder,
                 "the_terminal_of_the_caller": host.terminal, "settings_of_the_terminal_of_the_caller": host.terminal}
        for name, fd in given.items():
            moved = ["bash", "-c", 'exec 7<&0 0</dev/null; exec "$@"', "bash"] if fd == folder else []
            got = subprocess.run([*map(str, command), *moved, *PROBES, name], cwd=place.workspace, env=place.environment(SECRET), stdin=fd,
                                 capture_output=True, text=True, timeout=100)
            results[name] = got.stdout.partition(" ")[2].strip() or "HELD not started"
        os.close(folder)
    return results


def names_of_probes(place):
    text = (place.workspace / "escapes.py").read_text()
    return [block.partition("(")[0] for block in text.split("@probe\ndef ")[1:]]


def by_exec(host, column):
    """As further commands of a sandbox whose first one sleeps."""
    place = host.place
    first = place.start("sleep", "1000", env=SECRET)
    until("it is listed", place.running)
    try:
        return column([*place.prefix, place.sluice, "exec", "sandbox", "--"], place)
    finally:
        first.terminate()
        first.communicate()


def columns(host):
    place = host.place
    user = place.prefix
    kind = limits(place)
    def column(command, place):
        return with_standard_input(command, host, plain_column(command, place))

    bare, root = (column(prefix, place) for prefix in (user, ["env"]))
    # What a user's own rights hold already, a sandbox is not seen to hold: root's, without a sandbox, tell.
    merged = {name: "BROKEN as root" if text.startswith("HELD") and root[name].startswith("BROKEN") else text for name, text in bare.items()}
    sluice = place.arguments(options=kind)
    found = {"sluice run": column(sluice, place), "sluice run as root": column(sluice[len(user):], place), "sluice exec": by_exec(host, column)}
    for name, path in CONFIGURATIONS.items():
        if "sluice-escape" in (place.workspace / path).read_text():
            found = {one: results | {name: "BROKEN written back"} for one, results in found.items()}
    return {"limits": "best effort" if "best-effort" in kind else "cgroup", **found,
            "bubblewrap": column([*user, *bubblewrap(place)], place), "no sandbox": merged}


def short(text):
    return "BROKEN as root" if text == "BROKEN as root" else text.split()[0]


def markdown(found):
    lines = ["| a way out | " + " | ".join(COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    lines += [f"| {name.replace('_', ' ')} | " + " | ".join(short(found[one][name]) for one in COLUMNS) + " |" for name in found[COLUMNS[0]]]
    return "\n".join(lines)


def plain(found):
    lines = [f"{'a way out':52}" + "".join(f"{one:16}" for one in COLUMNS)]
    lines += [f"{name.replace('_', ' '):52}" + "".join(f"{short(found[one][name]):16}" for one in COLUMNS) for name in found[COLUMNS[0]]]
    return "\n".join(lines) + f"\n(limits: {found['limits']})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for form in ("json", "markdown"):
        parser.add_argument(f"--{form}", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("escapes: network namespaces, and a user to start the sandboxes as, need root")
    if not chosen.inside:
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv, "--inside"])
    host = Host()
    try:
        found = columns(host)
    finally:
        host.close()
    print(json.dumps(found) if chosen.json else markdown(found) if chosen.markdown else plain(found))


if __name__ == "__main__":
    main()
