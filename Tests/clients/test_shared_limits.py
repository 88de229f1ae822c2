"""Gates of one group share their limits through a real Redis: the sum of each minute is the limit, whichever process dies."""
import hashlib
import signal
import subprocess
import time

import pytest

from gate import echo, until
from stores import Load, policy, serve, shared, sharing


def fleet(gate, count, text, section):
    gates = [gate(text, more=section, flags=("--gate-name", f"gate{number}")) for number in range(count)]
    for one in gates:
        until("the gate has joined the group", lambda: shared(one, "shared"))
    return gates


def held_to(loads, began, gates):
    """All that some seconds refill is granted, and in that time no more than the limit, and what gates hold in advance."""
    def granted_enough():
        return all(len(load.granted) >= rate / 60 * 4 for load, (rate, _) in zip(loads, LIMITS))

    until("tokens of four seconds are granted", granted_enough)
    ended = time.monotonic()
    for load, (rate, burst) in zip(loads, LIMITS):
        granted, most = load.count(began, ended), burst + rate / 60 * (ended - began) + rate / 20 + gates
        print(f"{rate} a minute: {granted} of at most {most:.1f} in {ended - began:.1f} s")
        assert granted <= most, f"{granted} of at most {most}"


LIMITS = [(60, 6), (600, 20), (6000, 100)]


def test_gates_share_rates_and_bursts_and_one_may_die(gate, redis, upstream):
    store, server = redis(), upstream(serve)
    limits = [f"requests_per_minute: {rate}, burst: {burst}" for rate, burst in LIMITS]
    gates = fleet(gate, 3, policy(server, *limits), sharing(f"redis://127.0.0.1:{store.port}"))
    began = time.monotonic()
    loads = [Load(gates, f"h{index}.test:{server.port}") for index in range(len(LIMITS))]
    try:
        held_to(loads, began, len(gates))
        # Keys are digests, and each has an end.
        keys = store.ask("KEYS", "*").split()
        assert keys and all(key.startswith("sluice:") and len(key) == 39 for key in keys), keys
        assert all(int(store.ask("PTTL", key)) > 0 for key in keys)
    finally:
        for load in loads:
            load.end()
    gates[0].process.kill()
    gates[0].process.wait()
    # The fixture ends gates as an operator does.
    gates[0].stop = lambda: None
    began = time.monotonic()
    loads = [Load(gates[1:], f"h{index}.test:{server.port}") for index in range(len(LIMITS))]
    try:
        held_to(loads, began, len(gates))
    finally:
        for load in loads:
            load.end()


def test_slots_and_bytes_are_the_groups(gate, redis, upstream):
    store, server = redis(), upstream(echo)
    text = policy(server, "concurrent: 5", "upload_bytes_per_minute: 64KiB, on_limit: pace")
    gates = fleet(gate, 2, text, sharing(f"redis://127.0.0.1:{store.port}"))
    tunnels = []
    for number in range(12):
        sock, head = gates[number % 2].connect(f"h0.test:{server.port}")
        (tunnels.append(sock) if b" 200 " in head else sock.close())
    assert len(tunnels) == 5
    tunnels.pop().close()

    def another():
        for one in gates:
            sock, head = one.connect(f"h0.test:{server.port}")
            if b" 200 " in head:
                return sock
            sock.close()

    tunnels.append(until("a slot that was left is anybody's", another))
    began, uploads = time.monotonic(), [one.connect(f"h1.test:{server.port}")[0] for one in gates]
    for sock in uploads:
        sock.setblocking(False)
    sent, limit = 0, 64 * 1024

    def heard():
        nonlocal sent
        for sock in uploads:
            try:
                sock.send(bytes(4096))
            except BlockingIOError:
                pass
            try:
                sent += len(sock.recv(65536))
            except BlockingIOError:
                pass
        return sent >= limit * 0.95

    until("the limit of a minute is sent", heard)
    passed = time.monotonic() - began
    assert sent <= limit * (1 + passed / 60 + 1 / 20) + 2 * 256, (sent, passed)
    for sock in tunnels + uploads:
        sock.close()


@pytest.mark.parametrize("on_loss", ["share", "refuse"])
def test_a_store_that_stops_and_comes_back_empty(on_loss, admin, gate, redis, upstream):
    store, server = redis(), upstream(serve)
    section = sharing(f"redis://127.0.0.1:{store.port}", f", on_loss: {on_loss}")
    text = policy(server, "requests_per_minute: 1200, burst: 40")
    asked = admin(text, more=section)
    gates = [asked.gate, gate(text, more=section)]
    for one in gates:
        until("the gate has joined the group", lambda: shared(one, "shared"))
    # A gate counts the others when it announces itself, and its share of a limit is by that count.
    if on_loss == "share":
        until("the first gate counts the second", lambda: asked.status()["shared_limits"]["gates"] == 2)
    load = Load(gates, f"h0.test:{server.port}", turn=0.5)
    try:
        until("the burst is used up", lambda: len(load.granted) > 60)
        store.signal(signal.SIGSTOP)
        until("the loss is told", lambda: all(shared(one, "lost") for one in gates))
        lost = time.monotonic()
        line = shared(gates[0], "lost")
        assert line["on_loss"] == on_loss and "no answer" in line["detail"]
        assert "out of reach" in gates[0].errors.read_text()
        assert asked.status()["shared_limits"]["state"] == "lost"
        until("two seconds without a store", lambda: time.monotonic() - lost > 2)
        alone = load.count(lost, lost + 2)
        assert alone == 0 if on_loss == "refuse" else 1 <= alone <= 20 * 2 + 5, alone
        store.signal(signal.SIGCONT)
        back = time.monotonic()
        until("the store is heard again", lambda: all(shared(one, "shared") for one in gates))
        until("tokens are granted again", lambda: load.count(back, time.monotonic()) > 10)
        store.stop()
        until("the loss is told", lambda: all(shared(one, "lost") for one in gates))
        store.start()
        until("the store is heard again", lambda: all(shared(one, "shared") for one in gates))
        new = time.monotonic()
        assert any("has forgotten" in one.errors.read_text() for one in gates)
        until("a second with an empty store", lambda: time.monotonic() - new > 1)
        assert load.count(new, new + 1) <= 20 + 10 + 60 / 20 + 3, "a store that forgot grants no burst"
    finally:
        store.signal(signal.SIGCONT) if store.process.poll() is None else None
        load.end()


def test_tls_a_private_ca_and_a_user_of_the_store(gate, redis, upstream, certificates, tmp_path):
    (tmp_path / "password").write_text("a secret word\n")
    tls = ("--tls-cert-file", certificates.cert, "--tls-key-file", certificates.key, "--tls-ca-cert-file", certificates.ca,
           "--tls-auth-clients", "no")
    (tmp_path / "users").write_text("user default off\nuser gate on #" + hashlib.sha256(b"a secret word").hexdigest()
                                    + " ~sluice:* -@all +auth +eval +evalsha +time +get +set +hget +hset +hdel +hgetall +pexpire\n")
    store, server = redis(*tls, "--aclfile", tmp_path / "users", tls=True), upstream(serve)
    place = f"rediss://allowed.test:{store.port}"
    text = policy(server, "requests_per_minute: 60, burst: 3")
    good = f", user: gate, password_file: {tmp_path}/password, ca: {certificates.ca}"
    one = fleet(gate, 1, text, sharing(place, good))[0]
    load = Load([one], f"h0.test:{server.port}")
    until("the burst is granted", lambda: len(load.granted) >= 3)
    load.end()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "other.key", "-out",
                            tmp_path / "other.pem", "-subj", "/CN=other", "-days", "2"], capture_output=True, check=True)
    for wrong, words in [(good.replace(str(certificates.ca), str(tmp_path / "other.pem")), "certificate cannot be verified"),
                         (good.replace("user: gate", "user: nobody"), "refuses the user or the password")]:
        lost = gate(text, more=sharing(place, wrong))
        line = until("the store is out of reach", lambda: shared(lost, "lost"))
        assert words in line["detail"]
        assert "secret" not in lost.errors.read_text() + lost.log.read_text()
        sock, head = lost.connect(f"h0.test:{server.port}")
        sock.close()
        assert b"429" in head.split(b"\r\n")[0]


def test_levels_and_totals_survive_a_restart(admin, gate, upstream, tmp_path):
    server, folder = upstream(serve), tmp_path / "kept"
    text = policy(server, "requests_per_minute: 30")
    section = f'state: {{folder: "{folder}"}}'
    one = admin(text, more=section)
    first = time.monotonic()
    load = Load([one.gate], f"h0.test:{server.port}")
    until("the bucket is empty", lambda: len(load.granted) >= 30)
    load.end()
    granted = len(load.granted)
    requests = one.status()["requests"]
    one.gate.stop()
    assert (folder / "state.json").stat().st_mode & 0o777 == 0o600
    kept = (folder / "state.json").read_text()
    again = admin(text, more=section)
    assert again.status()["requests"] == requests
    load, began = Load([again.gate], f"h0.test:{server.port}"), time.monotonic()
    until("a second has passed", lambda: time.monotonic() - began > 1)
    load.end()
    # Tokens refilled meanwhile, one every two seconds.
    assert granted + len(load.granted) <= 30 + (time.monotonic() - first) / 2 + 1
    again.gate.stop()
    for damaged in (kept[: len(kept) // 2], "{}", "\0" * 100):
        (folder / "state.json").write_text(damaged)
        fresh = gate(text, more=section)
        assert "damaged, or not written by this program" in fresh.errors.read_text()
        fresh.stop()
