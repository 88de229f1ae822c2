"""Tries to escape from its sandbox, and prints HELD or BROKEN for each way. Facts of the host come as JSON.

It runs by itself, with the standard library alone: `python3 escapes.py FILE [NAME …]`; without names it tries all."""
import ctypes
import errno
import fcntl
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
facts = json.load(open(sys.argv[1]))
SYS = {"bpf": 321, "userfaultfd": 323, "perf_event_open": 298, "io_uring_setup": 425, "add_key": 248, "keyctl": 250, "clone3": 435,
       "open_by_handle_at": 304, "process_vm_readv": 310, "personality": 135, "fsopen": 430, "open_tree": 428, "mount_setattr": 442}
probes = {}


def probe(function):
    """True: it got through. What the system refuses is no way out."""
    probes[function.__name__] = function
    return function


def call(name, *arguments):
    """errno, or 0."""
    result = libc.syscall(SYS[name], *arguments)
    return ctypes.get_errno() if result < 0 else 0


def reads(path):
    with open(path, "rb") as file:
        file.read(1)
    return True


def writes(path):
    with open(path, "ab"):
        return True


def sets(path):
    """A setting that runs a program. A copy that a sandbox has is no way out; whether it comes out is looked at from there."""
    path = os.path.join(facts["workspace"], path)
    with open(path, "a") as file:
        before = os.fstat(file.fileno()).st_size
        file.write("[core]\n\tfsmonitor = ./sluice-escape\n")
        file.flush()
        if not os.path.realpath(path).startswith(os.path.realpath(facts["workspace"])):
            return False
        os.ftruncate(file.fileno(), before)
    return True


def answers(family, kind, address):
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        sock.connect(address)
        sock.sendall(b"secret\n")
        return b"reached" in sock.recv(100)


@probe
def a_secret_outside_the_workspace():
    return reads(facts["secret"])


@probe
def a_secret_by_a_symbolic_link_in_the_workspace():
    link = os.path.join(facts["workspace"], f"link{os.getpid()}")
    os.symlink(facts["secret"], link)
    try:
        return reads(link)
    finally:
        os.unlink(link)


@probe
def a_race_of_symbolic_links_in_the_workspace():
    """A name that is now a file and now a link out of the workspace, while it is opened."""
    here = os.path.join(facts["workspace"], f"race{os.getpid()}")
    names = [f"{here}-{kind}" for kind in ("a", "b")]
    is_over = threading.Event()

    def swap():
        while not is_over.is_set():
            open(names[0], "w").close()
            os.rename(names[0], here)
            os.symlink(facts["secret"], names[1])
            os.rename(names[1], here)

    open(here, "w").close()
    racer = threading.Thread(target=swap)
    racer.start()
    try:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                with open(here, "rb") as file:
                    if file.read(100):
                        return True
            except OSError:
                continue
        return False
    finally:
        is_over.set()
        racer.join()
        os.unlink(here)


@probe
def the_home_of_the_caller():
    return reads(facts["home"] + "/.netrc")


@probe
def a_secret_in_the_environment():
    return "SLUICE_TEST_SECRET" in os.environ


@probe
def an_inherited_descriptor():
    return b"secret" in os.pread(facts["descriptor"], 100, 0)


@probe
def a_process_of_the_host():
    return os.path.exists(f"/proc/{facts['process']}") and facts["mark"] in open(f"/proc/{facts['process']}/cmdline").read()


@probe
def any_process_of_the_host():
    return any(facts["mark"] in open(f"/proc/{pid}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit())


@probe
def the_root_of_process_1():
    return bool(os.listdir("/proc/1/root"))


@probe
def the_environment_of_process_1():
    return reads("/proc/1/environ")


@probe
def the_log_of_the_gate():
    return writes(facts["log"])


def is_answered(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(path)
        sock.sendall(b'{"command":"status"}\n')
        return json.loads(sock.makefile().readline())["ok"]


@probe
def the_admin_socket_of_a_gate():
    return is_answered(facts["admin"])


@probe
def an_admin_socket_that_stands_in_the_workspace():
    return is_answered(facts["workspace"] + "/gate.sock")


@probe
def the_policy():
    return reads(facts["policy"])


@probe
def the_passwords_of_the_host():
    return reads("/etc/shadow")


@probe
def writing_to_the_system():
    path = f"/usr/bin/sluice-escape{os.getpid()}"
    with open(path, "w"):
        pass
    os.unlink(path)
    return True


@probe
def a_disk():
    return any(reads(path) for path in ["/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/dm-0"] if os.path.exists(path))


@probe
def a_device_that_is_made():
    path = f"/dev/shm/device{os.getpid()}"
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    os.unlink(path)
    return True


@probe
def a_mount():
    if libc.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno(), "mount")
    libc.umount2(b"/mnt", 2)
    return True


@probe
def the_new_mount_calls():
    return call("fsopen", b"tmpfs", 0) == 0


@probe
def a_user_namespace():
    child = os.fork()
    if child == 0:
        os._exit(0 if libc.unshare(0x10000000) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0


@probe
def a_user_namespace_by_clone():
    return subprocess.run(["unshare", "--user", "--fork", "true"], capture_output=True).returncode == 0


@probe
def a_namespace_of_another():
    fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
    try:
        return libc.setns(fd, 0) == 0
    finally:
        os.close(fd)


@probe
def raw_sockets():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


@probe
def packet_sockets():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    return True


@probe
def rare_protocols():
    for family in (socket.AF_VSOCK, socket.AF_ALG, socket.AF_TIPC, socket.AF_CAN):
        try:
            socket.socket(family, socket.SOCK_DGRAM if family != socket.AF_ALG else socket.SOCK_SEQPACKET).close()
            return True
        except OSError:
            continue
    return False


@probe
def an_abstract_socket_of_the_host():
    return answers(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + facts["abstract"])


@probe
def a_service_on_the_loopback_of_the_host():
    return answers(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", facts["tcp"]))


@probe
def a_service_on_ipv6_loopback_of_the_host():
    return answers(socket.AF_INET6, socket.SOCK_STREAM, ("::1", facts["tcp6"]))


@probe
def udp_to_the_loopback_of_the_host():
    return answers(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", facts["udp"]))


@probe
def a_private_address():
    return answers(socket.AF_INET, socket.SOCK_STREAM, (facts["private"], facts["any"]))


@probe
def the_metadata_address():
    return answers(socket.AF_INET, socket.SOCK_STREAM, (facts["metadata"], 80))


@probe
def an_ipv6_link_local_address():
    for number, _ in socket.if_nameindex():
        try:
            if answers(socket.AF_INET6, socket.SOCK_STREAM, (facts["link_local"], facts["any6"], 0, number)):
                return True
        except OSError:
            continue
    return False


@probe
def an_address_of_the_internet():
    return answers(socket.AF_INET, socket.SOCK_STREAM, (facts["internet"], facts["any"]))


@probe
def port_443_of_an_address_of_the_internet():
    return answers(socket.AF_INET, socket.SOCK_STREAM, (facts["internet"], 443))


@probe
def udp_to_the_internet():
    return any(answers(socket.AF_INET, socket.SOCK_DGRAM, (facts["internet"], port)) for port in (443, facts["any_udp"]))


def resolves(address, port):
    """Whether a question is answered with an address; not with one of 198.18.0.0/15, by which the gate stands in for a
    refused name without asking anybody."""
    query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\4leak\4test\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((address, port))
        sock.send(query)
        reply = sock.recv(1000)
        return reply[6:8] != b"\0\0" and reply[-4:-2] not in (b"\xc6\x12", b"\xc6\x13")


@probe
def a_resolver_of_the_host():
    return resolves("127.0.0.1", facts["dns"])


@probe
def a_resolver_of_the_internet():
    return resolves(facts["internet"], 53)


@probe
def a_name_that_no_rule_allows():
    """By the proxy, as the variables say."""
    with socket.create_connection(("127.0.0.1", 3128), 5) as sock:
        target = f"refused.test:{facts['tcp']}"
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        return sock.recv(100).startswith(b"HTTP/1.1 200")


@probe
def a_unix_socket_of_the_host():
    """Where a running gate would listen for its administrator, or a container engine for its own."""
    return answers(socket.AF_UNIX, socket.SOCK_STREAM, facts["unix"])


@probe
def typing_into_a_terminal():
    """Its own: a filter does not know whose it is."""
    master, slave = os.openpty()
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)
        try:
            fcntl.ioctl(slave, 0x5412, b"x")
            os._exit(0)
        except OSError as error:
            # The kernel itself may refuse it by now (dev.tty.legacy_tiocsti): then it is not this sandbox that holds.
            os._exit(0 if error.errno == errno.EIO else 1)
    return os.waitpid(child, 0)[1] == 0


@probe
def kernel_keyrings():
    return call("add_key", b"user", b"sluice", b"x", 1, -2) == 0


@probe
def cgroup_files():
    for folder, _, files in os.walk("/sys/fs/cgroup"):
        for name in files:
            if name.endswith("procs") and os.access(os.path.join(folder, name), os.W_OK):
                return True
    return False


def reaches_the_kernel(name, *arguments):
    return call(name, *arguments) not in (errno.EPERM, errno.ENOSYS)


@probe
def io_uring():
    return reaches_the_kernel("io_uring_setup", 1, None)


@probe
def bpf():
    return reaches_the_kernel("bpf", 5, None, 0)


@probe
def userfaultfd():
    return reaches_the_kernel("userfaultfd", -1)


@probe
def perf_events():
    return reaches_the_kernel("perf_event_open", None, 0, -1, -1, 0)


@probe
def clone3():
    return reaches_the_kernel("clone3", None, 0)


@probe
def files_by_handle():
    return reaches_the_kernel("open_by_handle_at", -1, None, 0)


@probe
def memory_of_another_process():
    return reaches_the_kernel("process_vm_readv", os.getpid(), None, 0, None, 0, 0)


@probe
def tracing():
    child = os.fork()
    if child == 0:
        os._exit(0 if libc.ptrace(0, 0, 0, 0) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0


@probe
def set_user_id_programs():
    """A copy of `id`, owned by root, that would run as root."""
    return subprocess.run([facts["setuid"], "-u"], capture_output=True, text=True).stdout.strip() == "0"


@probe
def hooks_that_git_outside_would_run():
    return writes(os.path.join(facts["workspace"], ".git/hooks/pre-commit"))


@probe
def settings_that_git_outside_would_read():
    return sets(".git/config")


@probe
def another_git_folder_in_place():
    git = os.path.join(facts["workspace"], ".git")
    os.rename(git, git + "2")
    os.rename(git + "2", git)
    return True


def outside(*path):
    return os.path.join(facts["workspace"], *path)


def makes(*path):
    """A file that was not there, with the folders above it."""
    path = outside(*path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "x"):
        pass
    os.unlink(path)
    return True


def replaces(*path):
    """Another folder in its place, or in that of one above it."""
    for folder in (outside(*path), outside(os.path.dirname(os.path.join(*path)))):
        try:
            os.rename(folder, folder + "2")
            os.rename(folder + "2", folder)
            return True
        except OSError:
            continue
    return False


@probe
def hooks_that_a_setting_of_git_names():
    return writes(outside("tools/hooks/pre-commit")) or makes("tools/hooks/post-checkout")


@probe
def settings_that_git_includes():
    return writes(outside("included"))


@probe
def settings_that_git_would_include():
    return makes("not-there/included")


@probe
def a_program_that_a_setting_of_git_names():
    return writes(outside("tools/clean"))


@probe
def another_folder_of_such_programs():
    return replaces("tools/hooks")


@probe
def settings_of_a_repository_in_a_folder():
    return sets("inner/.git/config")


@probe
def another_repository_in_its_place():
    return replaces("inner/.git")


@probe
def settings_of_a_submodule():
    return sets(".git/modules/sub/config")


@probe
def where_a_submodule_says_its_repository_is():
    return writes(outside("sub/.git"))


@probe
def settings_of_a_linked_worktree():
    return makes(".git/worktrees/tree/config.worktree")


@probe
def another_place_of_gits_settings():
    return makes(".git/commondir") or makes(".git/config.worktree")


@probe
def attributes_that_git_reads_outside():
    return makes(".git/info/attributes")


@probe
def what_a_shell_reads_on_entering():
    return makes(".envrc")


@probe
def tasks_of_an_editor():
    return makes(".vscode/tasks.json") or makes(".idea/workspace.xml")


@probe
def hooks_and_servers_of_coding_agents():
    return any(makes(*path) for path in ((".mcp.json",), (".claude/settings.json",), (".codex/config.toml",), (".cursor/mcp.json",), (".gemini/settings.json",)))


@probe
def a_container_that_an_editor_starts():
    return makes(".devcontainer/devcontainer.json") or makes(".devcontainer.json")


@probe
def a_link_in_place_of_such_a_name():
    os.symlink("/tmp", outside(".husky"))
    os.unlink(outside(".husky"))
    return True


@probe
def settings_of_an_agent_in_a_repository_below():
    return makes("inner/.claude/settings.json")


def a_socket_of_the_internet():
    """Standard input, where it is one."""
    sock = socket.socket(fileno=os.dup(0))
    if sock.family != socket.AF_INET:
        raise OSError("standard input is no such socket")
    return sock


@probe
def a_connection_as_standard_input():
    """It forgets its peer, and finds another one."""
    with a_socket_of_the_internet() as sock:
        libc.connect(sock.fileno(), bytes(16), 16)
        sock.settimeout(2)
        sock.connect(("127.0.0.1", facts["tcp"]))
        sock.sendall(b"secret")
        return b"reached" in sock.recv(100)


@probe
def a_datagram_socket_as_standard_input():
    with a_socket_of_the_internet() as sock:
        sock.settimeout(2)
        sock.sendto(b"secret", ("127.0.0.1", facts["udp"]))
        return b"reached" in sock.recv(100)


# Python does not start with a folder as its standard input: a shell moves it.
MOVED = 7


@probe
def a_folder_as_standard_input():
    os.close(os.open("secret", os.O_RDONLY, dir_fd=MOVED))
    return True


@probe
def a_folder_as_standard_input_and_the_ones_above_it():
    os.fchdir(MOVED)
    return os.path.exists("secret") and os.path.exists("../../tmp")


@probe
def the_terminal_of_the_caller():
    status = os.fstat(0)
    return [status.st_dev, status.st_ino, status.st_rdev] == facts["terminal"]


@probe
def settings_of_the_terminal_of_the_caller():
    """Its window, which the caller sees."""
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 7, 7, 0, 0))
    return the_terminal_of_the_caller()


@probe
def processes_without_end():
    children = []
    try:
        while len(children) < 150:
            child = os.fork()
            if child == 0:
                time.sleep(30)
                os._exit(0)
            children.append(child)
        return True
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


@probe
def memory_of_one_process_without_end():
    try:
        bytes(800 << 20)
        return True
    except MemoryError:
        return False


@probe
def memory_by_files():
    path = f"/dev/shm/fill{os.getpid()}"
    try:
        with open(path, "wb") as file:
            for _ in range(100):
                file.write(bytes(1 << 20))
        return True
    finally:
        os.unlink(path)


@probe
def disk_space_outside_of_the_workspace():
    for folder in ("/tmp", "/var/tmp", os.environ["HOME"]):
        path = os.path.join(folder, f"fill{os.getpid()}")
        try:
            with open(path, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, 600 << 20)
            return True
        except OSError:
            continue
        finally:
            if os.path.exists(path):
                os.unlink(path)
    return False


@probe
def the_processor_without_end():
    """Half a second of it in 1.2, by several at once: a fifth of one core is 0.4 at most, however the periods lie. A busy machine
    may give less to all, so there are a few tries."""
    for _ in range(3):
        before, end = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]), time.monotonic() + 1.2
        children = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                while time.monotonic() < end:
                    sum(range(1000))
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        if sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before > 0.5:
            return True
    return False


@probe
def core_dumps():
    return resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


if __name__ == "__main__":
    for name in sys.argv[2:] or probes:
        try:
            result = "BROKEN" if probes[name]() else "HELD"
        except (OSError, MemoryError, KeyError) as error:
            result = f"HELD {type(error).__name__}: {error}"
        print(f"{name} {result}", flush=True)
