"""A policy learned from a recorded run allows that run again, and nothing else: at a gate, and in a sandbox."""
import os
import struct

import pytest

from dnswire import UDP
from gate import DNS, answer, echo, get, read, until
from test_views import line, sluice, write


def socks(one, host, port):
    """What SOCKS answers (0: it stands), and the socket."""
    sock = one.dial()
    sock.sendall(b"\x05\x01\x00")
    assert read(sock, 2) == b"\x05\x00"
    sock.sendall(bytes([5, 1, 0, 3, len(host)]) + host.encode() + struct.pack("!H", port))
    return read(sock, 10)[1], sock


def is_out(head):
    return head.startswith(b"HTTP/1.1 200")


class Run:
    """One agent's doings, each with whether it was let out."""

    def __init__(self, plain, tunnel, secure, certificates):
        self.plain, self.tunnel, self.secure, self.certificates = plain, tunnel, secure, certificates
        self.targets = {f"plain.test:{plain.port}", f"tunnel.test:{tunnel.port}", f"second.test:{tunnel.port}", f"socks.test:{tunnel.port}",
                        f"allowed.test:{secure.port}"}

    def __call__(self, one):
        done = {}
        # Two requests on each connection.
        for number in range(3):
            with one.dial() as sock:
                for turn in range(2):
                    sock.sendall(get(f"plain.test:{self.plain.port}"))
                    done["plain", number, turn] = is_out(answer(sock))
        for host in ("tunnel.test", "second.test", "tunnel.test"):
            sock, head = one.connect(f"{host}:{self.tunnel.port}")
            with sock:
                done["tunnel", host, len(done)] = is_out(head) and self.speaks(sock)
        code, sock = socks(one, "socks.test", self.tunnel.port)
        with sock:
            done["socks"] = code == 0 and self.speaks(sock)
        sock, head = one.connect(f"allowed.test:{self.secure.port}")
        with sock:
            done["tls"] = is_out(head) and self.greets(sock)
        dns = UDP(one.dns_port)
        for host in ("plain.test", "tunnel.test", "allowed.test"):
            done["dns", host] = bool(dns.ask(host).addresses)
        dns.close()
        return done

    def speaks(self, sock):
        sock.sendall(b"ping")
        return sock.recv(4) == b"ping"

    def greets(self, sock):
        with self.certificates.client().wrap_socket(sock, server_hostname="allowed.test") as tls:
            return self.speaks(tls)

    def others(self):
        """Hosts beside those of the run, other ports of its hosts, names that look like them, and addresses."""
        plain, tunnel, secure = self.plain.port, self.tunnel.port, self.secure.port
        hosts = ["third.test", "www.plain.test", "plain.test.evil.test", "evilplain.test", "p1ain.test", "xn--plin-1na.test", "test", "plaintest", "plain.tes"]
        found = [(host, port) for host in hosts for port in (plain, tunnel)]
        found += [("plain.test", port) for port in (tunnel, secure, plain - 1, plain + 1, 80, 443)]
        found += [(host, plain) for host in ("tunnel.test", "second.test", "socks.test", "allowed.test")]
        found += [(host, tunnel) for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f000001", "localhost")]
        return [(host, port) for host, port in found if f"{host}:{port}" not in self.targets]


@pytest.fixture
def run(web, hello, upstream, certificates):
    return Run(web(hello), upstream(echo), upstream(echo, certificates.server()), certificates)


def connections(run):
    return run.plain.connections, run.tunnel.connections, run.secure.connections


def test_the_recorded_run_is_allowed_and_everything_else_is_refused(gate, run, names):
    report = gate("network_policy: {mode: report, allow: []}", flags=DNS)
    recorded = run(report)
    assert all(recorded.values()), recorded
    until("each has its line", lambda: len([line for line in report.lines() if line["event"] == "closed"]) == 6 + 3 + 1 + 1)
    # Everything here is on loopback, of which a rule is warned.
    learned = sluice("learn", "--log", report.log, "--with-warned", status=0).stdout
    enforce = gate(learned, flags=DNS)
    before, asked = connections(run), len(names.asked)
    assert run(enforce) == recorded, learned
    spent = [now - then for now, then in zip(connections(run), before)]
    assert spent == [3, 4, 1]
    # Within the rate that was learned: nothing of it was limited, and nothing denied.
    assert {line["event"] for line in enforce.lines()} <= {"policy", "closed"}
    assert {name.lower() for name in names.asked[asked:]} == {target.split(":")[0] for target in run.targets}
    before, asked = connections(run), len(names.asked)
    for host, port in run.others():
        sock, head = enforce.connect(f"{host}:{port}")
        sock.close()
        assert head[:13] in (b"HTTP/1.1 403 ", b"HTTP/1.1 400 "), (host, port, head)
        with enforce.dial() as sock:
            sock.sendall(get(f"{host}:{port}"))
            assert answer(sock)[:13] in (b"HTTP/1.1 403 ", b"HTTP/1.1 400 "), (host, port)
        code, sock = socks(enforce, host.strip("[]"), port)
        sock.close()
        assert code == 2, (host, port)
    dns = UDP(enforce.dns_port)
    for host in sorted({host for host, _ in run.others() if host[0].isalpha()} - {target.split(":")[0] for target in run.targets}):
        assert dns.ask(host).addresses == [], host
    dns.close()
    assert connections(run) == before and len(names.asked) == asked, "not a packet, and not a look-up"


def test_more_of_it_than_was_recorded_is_limited(gate, run):
    report = gate("network_policy: {mode: report, allow: []}", flags=DNS)
    run(report)
    until("each has its line", lambda: len([line for line in report.lines() if line["event"] == "closed"]) == 11)
    enforce = gate(sluice("learn", "--log", report.log, "--with-warned", status=0).stdout, flags=DNS)
    # Seen once: the floor is a burst of 20, and one more a second.
    answers = []
    while b"429" not in answers and len(answers) < 1000:
        sock, head = enforce.connect(f"second.test:{run.tunnel.port}")
        sock.close()
        answers.append(head.split()[1])
    assert set(answers[:20]) == {b"200"} and answers[-1] == b"429", answers


@pytest.mark.skipif(os.geteuid() != 0, reason="starts `sluice run` as another user, which takes root")
def test_a_sandbox_keeps_to_what_it_was_learned_from(place, web, hello, upstream):
    """As the README has it: a run in report mode, the policy of its log, and the same command under that."""
    plain, tunnel = web(hello), upstream(echo)
    script = f"""
curl -sS --max-time 10 -o /dev/null -w 'proxied %{{http_code}}\\n' http://plain.test:{plain.port}/
curl -sS --max-time 10 -o /dev/null -w 'redirected %{{http_code}}\\n' --noproxy '*' http://plain.test:{plain.port}/
curl -sS --max-time 10 -o /dev/null -w 'tunnelled %{{http_code}}\\n' --proxytunnel http://second.test:{plain.port}/
exec 3<>/dev/tcp/tunnel.test/{tunnel.port}; echo ping >&3; read -t 10 back <&3; echo "raw $back"
"""
    expected = "proxied 200\nredirected 200\ntunnelled 200\nraw ping\n"
    place.write("network_policy: {mode: report, allow: []}")
    assert place.shell(script).stdout == expected
    place.write(sluice("learn", "--log", place.log, "--with-warned", status=0).stdout)
    assert place.shell(script).stdout == expected
    before = plain.connections, tunnel.connections
    others = [("third.test", plain.port), ("plain.test", tunnel.port), ("tunnel.test", plain.port), ("127.0.0.1", tunnel.port), ("p1ain.test", plain.port)]
    tried = "\n".join(f"curl -sS --max-time 10 -o /dev/null -w '%{{http_code}}\\n' http://{host}:{port}/\n"
                      f"curl -sS --max-time 10 -o /dev/null -w '%{{http_code}}\\n' --noproxy '*' http://{host}:{port}/" for host, port in others)
    got = place.shell(tried)
    assert "200" not in got.stdout and len(got.stdout.split()) == 2 * len(others), got
    assert (plain.connections, tunnel.connections) == before


def test_learn_writes_into_the_policy_and_keeps_its_comments(tmp_path):
    policy, log = tmp_path / "agent.yaml", tmp_path / "log"
    policy.write_text('# ours\nnetwork_policy:\n  default: deny      # always\n  allow:\n    - model.example:443    # the model\n'
                      '  rate_limits:\n    - {host: model.example:443, requests_per_minute: 60, burst: 10}  # was enough once\n')
    policy.chmod(0o640)
    write(log, [line("closed", 1, via="connect", host="model.example", port=443, address="93.184.216.34"),
                line("limited", 2, via="connect", host="model.example", port=443, reason="rate_limited", tokens=0, capacity=10, per_minute=60, repeated=39),
                line("denied", 3, via="connect", host="tracker.example", port=443, reason="not_allowed"),
                line("denied", 4, via="connect", host="169.254.169.254", port=80, reason="not_allowed"),
                line("denied", 5, via="connect", host="guessed.example", port=443, reason="not_authenticated")])
    before = policy.read_text()
    shown = sluice("learn", "--log", log, "--diff", policy, status=0).stdout
    assert policy.read_text() == before
    assert "by the burst of" in shown and "requests_per_minute: 60, burst: 200" in shown
    got = sluice("learn", "--log", log, "--apply", policy, status=0)
    assert got.stdout == shown and "1 rules added, 1 limits added, 1 reached limits raised" in got.stderr
    after = policy.read_text()
    for kept in ("# ours", "# always", "# the model", "# was enough once"):
        assert kept in after, after
    assert "burst: 200}  # was enough once" in after and "    - tracker.example:443\n" in after
    assert "169.254" not in after and "guessed.example" not in after
    assert oct(policy.stat().st_mode & 0o777) == "0o640"
    assert sluice("check", "--policy", policy, "tracker.example:443", status=0).stdout.startswith("allow tracker.example:443")
    sluice("learn", "--log", log, "--apply", policy, status=1)
    assert policy.read_text() == after
