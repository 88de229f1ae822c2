"""Environment, arguments and memory of the processes of a sandbox, read by root from outside while they run."""
import base64
import os
import re
from urllib.parse import quote

from gate import MORE

# Nothing of these is the program's, and they cannot be read so.
KERNELS = ("[vvar]", "[vvar_vclock]", "[vsyscall]")
# Beyond it is the shadow that a sanitizer keeps of all memory.
SIZE_MAX = 1 << 32


def inside(place):
    """The processes of the sandbox: those in another process namespace than ours."""
    ours = os.readlink("/proc/self/ns/pid")
    return [pid for pid in place.processes() if os.readlink(f"/proc/{pid}/ns/pid") != ours]


def memory(pid):
    """All that a process has in memory that can be read, its environment and its arguments."""
    for name in ("environ", "cmdline"):
        yield open(f"/proc/{pid}/{name}", "rb").read()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            start, end, access = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if not access.startswith("r") or line.rstrip().endswith(KERNELS):
                continue
            size = int(end, 16) - int(start, 16)
            if size > SIZE_MAX:
                assert MORE, f"process {pid} has {size} bytes in one piece, which cannot be searched"
                continue
            mem.seek(int(start, 16))
            try:
                yield mem.read(size)
            except OSError:
                pass


def places(pid, text):
    """For each time that the text stands in a process's memory, the kernel's flags of the pages (proc_pid_smaps(5))."""
    flags, region = [], None
    with open(f"/proc/{pid}/smaps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line):
                region = [int(one, 16) for one in found.groups()]
            elif region and line.startswith("VmFlags:"):
                try:
                    mem.seek(region[0])
                    flags += [line.split()[1:]] * mem.read(region[1] - region[0]).count(text)
                except (OSError, OverflowError):
                    pass
                region = None
    return flags


def forms(secret):
    """The secret as programs write bytes down, less the prefix that keys of a kind share: so a part of it is found too."""
    text = secret.encode()[8:]
    yield "plain", text
    yield "UTF-16", text.decode().encode("utf-16-le")
    yield "percent", quote(text, safe="").encode()
    yield "hex", text.hex().encode()
    yield "HEX", text.hex().upper().encode()
    for front in range(3):
        # Less what the bytes in front and behind have a part in.
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            yield f"{name} {front}", encode(b"\0" * front + text).rstrip(b"=")[4 if front else 0:-1]


def found(place, *secrets):
    """Process, secret and form of each secret that a process of the sandbox holds."""
    hits, pids = set(), inside(place)
    assert len(pids) >= 2, "the command, and the sandbox's first process"
    for pid in pids:
        dump = b"\n".join(memory(pid))
        assert len(dump) > 1 << 18, (pid, len(dump))
        hits |= {(pid, secret, name) for secret in secrets for name, text in forms(secret) if text in dump}
    return hits


def files(place, *secrets):
    """The same for the files that the sandbox's processes can write, wherever they are mounted."""
    hits = set()
    for pid in inside(place):
        root = f"/proc/{pid}/root"
        for top in ("/home/agent", "/tmp", "/var/tmp", "/run", "/dev/shm", str(place.workspace)):
            for folder, folders, names in os.walk(root + top):
                # Read-only files existed before.
                folders[:] = [name for name in folders if not os.statvfs(os.path.join(folder, name)).f_flag & os.ST_RDONLY]
                for path in (os.path.join(folder, name) for name in names):
                    if os.path.isfile(path) and not os.path.islink(path):
                        data = open(path, "rb").read()
                        hits |= {(path, secret, name) for secret in secrets for name, text in forms(secret) if text in data}
    return hits
