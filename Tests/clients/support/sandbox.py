"""`sluice run`, started as root or as a separate user, in a folder that this user may reach."""
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from gate import DEADLINE, MORE, Logged, plain_environment, until

# Of nobody else, nor of another run of these tests.
UID = 60000 + os.getpid() % 5000


class Place(Logged):
    """A folder outside of /tmp's private ones, with a workspace in it, the binary, and a policy."""

    def __init__(self, who, names):
        self.who, self.names = who, names
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-run-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.sluice = self.folder / "sluice"
        shutil.copy(os.environ["SLUICE"], self.sluice)
        self.workspace, self.state, self.home = (self.folder / name for name in ("work", "state", "home"))
        for one in (self.workspace, self.state, self.home):
            one.mkdir()
        self.log, self.policy = self.state / "log", self.folder / "policy.yaml"
        self.write("network_policy: {default: deny}")
        for one in (self.workspace, self.home) + (() if who == "root" else (self.state,)):
            os.chown(one, UID, UID)

    def write(self, policy):
        self.policy.write_text(f'{policy}\nresolver: {{servers: ["127.0.0.1:{self.names.port}"]}}\n')

    @property
    def prefix(self):
        """Who starts it."""
        return [] if self.who == "root" else ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]

    def arguments(self, *command, options=("--limits", "best-effort")):
        return [*self.prefix, self.sluice, "run", "--policy", self.policy, "--log", self.log, *MORE, *options, "--", *command]

    def command(self, *words, **more):
        """Another of the program's commands, as the same user."""
        return subprocess.run([*self.prefix, self.sluice, *map(str, words)], cwd=self.workspace, env=self.environment(), capture_output=True,
                              text=True, timeout=DEADLINE * 2, **({"stdin": subprocess.DEVNULL} if "input" not in more else {}) | more)

    def running(self):
        return [json.loads(line) for line in self.command("ps", "--json").stdout.splitlines()]

    def environment(self, more={}):
        return plain_environment() | {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.state)} | more

    def start(self, *command, options=("--limits", "best-effort"), env={}, **more):
        return subprocess.Popen(self.arguments(*command, options=options), cwd=self.workspace, env=self.environment(env), text=True,
                                **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | more))

    def run(self, *command, timeout=DEADLINE * 2, **more):
        process = self.start(*command, **more)
        out, errors = process.communicate(timeout=timeout)
        assert "Fatal error" not in errors, errors
        return subprocess.CompletedProcess(command, process.returncode, out, errors)

    def shell(self, script, **more):
        return self.run("bash", "-c", script, **more)

    def processes(self):
        """Command lines of the user's processes, and of this binary's."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.stat(f"/proc/{pid}").st_uid == UID or os.readlink(f"/proc/{pid}/exe") == str(self.sluice):
                    if open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] not in "ZX":
                        found[int(pid)] = open(f"/proc/{pid}/cmdline").read()
            except OSError:
                pass
        return found

    def leaves_nothing(self):
        """No process, and so no namespace and no mount of one."""
        try:
            until("nothing is left", lambda: not self.processes())
        except AssertionError:
            raise AssertionError(self.processes()) from None
        mine = str(self.folder)
        assert mine not in open("/proc/mounts").read()

    def close(self):
        shutil.rmtree(self.folder)
