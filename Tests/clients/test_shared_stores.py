"""Shared limits with sentinels, with a cluster, and with a Redis that cannot be used: each message says what to do."""
import re
import socket
import subprocess
import time
from pathlib import Path

from gate import until
from stores import Load, cluster_words, free_port, join_cluster, policy, serve, shared, sharing

PAGE = Path(__file__).parents[2] / "docs/at-scale.md"


def joined(gate, count, text, section):
    gates = [gate(text, more=section) for _ in range(count)]
    for one in gates:
        until("the gate has joined the group", lambda: shared(one, "shared"))
    return gates


def test_sentinels_name_another_master(gate, redis, upstream, tmp_path):
    first, server = redis(), upstream(serve)
    second = redis("--replicaof", f"127.0.0.1 {first.port}")
    until("the replica follows", lambda: "master_link_status:up" in second.ask("INFO", "replication"))
    (tmp_path / "sentinel.conf").write_text(
        f"sentinel monitor limits 127.0.0.1 {first.port} 1\nsentinel down-after-milliseconds limits 500\nsentinel failover-timeout limits 3000\n")
    sentinel = redis(program="redis-sentinel", configuration=tmp_path / "sentinel.conf")
    until("the sentinel knows the replica", lambda: str(second.port) in sentinel.ask("SENTINEL", "replicas", "limits"))
    # The first of them is not there.
    section = sharing(f'{{sentinels: ["redis://127.0.0.1:{free_port()}", "redis://127.0.0.1:{sentinel.port}"], master: limits}}')
    gates = joined(gate, 2, policy(server, "requests_per_minute: 600, burst: 20"), section)
    began, load = time.monotonic(), Load(gates, f"h0.test:{server.port}")
    try:
        until("the burst is used up", lambda: len(load.granted) > 25)
        first.stop()
        until("the loss is told", lambda: all(shared(one, "lost") for one in gates))
        until("the other one is found", lambda: all(shared(one, "shared") for one in gates))
        assert "role:master" in second.ask("INFO", "replication")
        back = len(load.granted)
        until("its tokens are granted", lambda: len(load.granted) > back + 5)
        passed = time.monotonic() - began
        assert len(load.granted) <= 20 + 10 * passed + 600 / 20, passed
    finally:
        load.end()


def test_slots_of_a_cluster_move_and_no_gate_takes_it_for_a_loss(gate, redis, upstream):
    nodes, server = [redis(*cluster_words()) for _ in range(3)], upstream(serve)
    join_cluster(nodes)
    section = sharing("{cluster: [" + ", ".join(f'"redis://127.0.0.1:{node.port}"' for node in nodes) + "]}")
    gates = joined(gate, 2, policy(server, *["requests_per_minute: 600, burst: 20"] * 4), section)
    began, loads = time.monotonic(), [Load(gates, f"h{index}.test:{server.port}", turn=0.3) for index in range(4)]

    def more(count=6):
        before = [len(load.granted) for load in loads]
        until("each limit grants more", lambda: all(len(load.granted) >= then + count for load, then in zip(loads, before)))

    def errors(code):
        return sum(int(line.split("count=")[1]) for node in nodes for line in node.ask("INFO", "errorstats").splitlines()
                   if line.startswith(f"errorstat_{code}:"))

    try:
        more()
        ids = [node.ask("CLUSTER", "MYID") for node in nodes]
        kept = [(number, key) for number, node in enumerate(nodes) for key in node.ask("KEYS", "sluice:*").split()]
        assert len(kept) == 5 and len({number for number, _ in kept}) > 1, kept
        slots = {nodes[0].ask("CLUSTER", "KEYSLOT", key): number for number, key in kept}
        for slot, number in slots.items():
            source, sink = nodes[number], nodes[(number + 1) % 3]
            assert sink.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[number]) == "OK"
            assert source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[(number + 1) % 3]) == "OK"
            for key in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10).split():
                assert source.ask("MIGRATE", "127.0.0.1", sink.port, key, 0, 1000) == "OK"
        more()
        assert errors("ASK") > 0
        for slot, number in slots.items():
            for node in (nodes[(number + 1) % 3], nodes[number], nodes[(number + 2) % 3]):
                assert node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[(number + 1) % 3]) == "OK"
        more()
        assert errors("MOVED") > 0
        passed = time.monotonic() - began
        for load in loads:
            assert len(load.granted) <= 20 + 10 * passed + 600 / 20, passed
        for one in gates:
            assert [line["state"] for line in one.lines() if line["event"] == "limits"] == ["shared"], "a slot that moves is no loss"
        nodes[2].stop()
        line = until("a node's end is a loss", lambda: shared(gates[0], "lost"))
        assert f"redis://127.0.0.1:{nodes[2].port}: " in line["detail"]
        nodes[2].start()
        until("all slots are served again", lambda: all(shared(one, "shared") for one in gates))
    finally:
        for load in loads:
            load.end()


def certificate_of_address(folder, certificates):
    """For 127.0.0.1, by the same CA."""
    key, request, cert, extensions = (folder / name for name in ("node.key", "node.request", "node.pem", "node.extensions"))
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    for words in (["req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=node"],
                  ["x509", "-req", "-in", request, "-CA", certificates.ca, "-CAkey", certificates.ca.with_name("ca.key"), "-CAcreateserial",
                   "-out", cert, "-days", "2", "-extfile", extensions]):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    return ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", certificates.ca, "--tls-auth-clients", "no"]


def test_a_cluster_and_sentinels_over_tls_with_the_rights_of_the_document(gate, redis, upstream, certificates, tmp_path):
    """Nodes and masters are known by address, and their certificates name it."""
    rights = re.search(r"^    user gate on >PASSWORD (.*)\n    and beside it: (.*)$", PAGE.read_text(), re.MULTILINE)
    # A right of sentinels, which no other server knows.
    more = " ".join(one for one in re.findall(r"\+[a-z|-]+", rights.group(2)) if "sentinel" not in one)
    (tmp_path / "users").write_text(f"user default on nopass ~* &* +@all\nuser gate on >a-word {rights.group(1)} {more}\n")
    (tmp_path / "password").write_text("a-word\n")
    server, tls = upstream(serve), certificate_of_address(tmp_path, certificates)
    acl = ["--aclfile", tmp_path / "users"]
    nodes = [redis(*cluster_words(), *tls, *acl, "--tls-cluster", "yes", tls=True) for _ in range(2)]
    join_cluster(nodes)
    master = redis(*tls, *acl, tls=True)
    (tmp_path / "sentinel.conf").write_text(f"tls-replication yes\nsentinel monitor limits 127.0.0.1 {master.port} 1\n")
    sentinel = redis(*tls, tls=True, program="redis-sentinel", configuration=tmp_path / "sentinel.conf")
    account = f", user: gate, password_file: {tmp_path}/password, ca: {certificates.ca}"
    for place in ('{cluster: ["rediss://127.0.0.1:%d"]}' % nodes[0].port, '{sentinels: ["rediss://127.0.0.1:%d"], master: limits}' % sentinel.port):
        text = policy(server, *["requests_per_minute: 60, burst: 3"] * 4, "concurrent: 2")
        one = joined(gate, 1, text, sharing(place, account))[0]
        for index in range(4):
            load = Load([one], f"h{index}.test:{server.port}")
            until("the burst is granted", lambda: len(load.granted) >= 3)
            load.end()
        sock, head = one.connect(f"h4.test:{server.port}")
        assert b" 200 " in head
        sock.close()
        assert [line["state"] for line in one.lines() if line["event"] == "limits"] == ["shared"], place


def saying(*replies):
    """A server that answers each command so, and then closes."""
    def talk(stream):
        stream.settimeout(20)
        for reply in replies:
            if not stream.recv(65536):
                return
            stream.sendall(reply)
    return talk


def test_a_redis_that_cannot_be_used_says_what_to_do(gate, redis, upstream, certificates, tmp_path):
    (tmp_path / "password").write_text("a secret word\n")
    (tmp_path / "sentinel.conf").write_text("sentinel monitor limits 127.0.0.1 1 1\n")
    (tmp_path / "few").write_text("user default on nopass ~* +@all -eval -evalsha\n")
    (tmp_path / "fewer").write_text("user default on nopass ~* +@all -hset\n")
    server, word = upstream(serve), f", password_file: {tmp_path}/password"
    tls = ("--tls-cert-file", certificates.cert, "--tls-key-file", certificates.key, "--tls-ca-cert-file", certificates.ca)
    plain, sentinel = redis(), redis(program="redis-sentinel", configuration=tmp_path / "sentinel.conf")
    replica = redis("--replicaof", f"127.0.0.1 {plain.port}")
    until("the replica follows", lambda: "master_link_status:up" in replica.ask("INFO", "replication"))
    node = redis(*cluster_words())

    def at(one):
        return f"redis://127.0.0.1:{one.port}"

    def fake(*replies):
        return at(upstream(saying(*replies)))

    cases = [
        (at(redis("--requirepass", "another")), "", "write `password_file`"),
        (at(redis("--requirepass", "another")), word, "refuses the user or the password"),
        (at(plain), word, "has no password set"),
        (at(redis("--aclfile", tmp_path / "few")), "", "docs/at-scale.md has the rights"),
        (at(redis("--aclfile", tmp_path / "fewer")), "", "docs/at-scale.md has the rights"),
        (at(replica), "", "it is a replica"),
        (at(sentinel), "", "it knows no scripts"),
        (f'{{sentinels: ["{at(sentinel)}"], master: other}}', "", "it knows no master other"),
        (f'{{sentinels: ["{at(plain)}"], master: limits}}', "", "it is no sentinel"),
        (f'{{cluster: ["{at(plain)}"]}}', "", "it is no node of a cluster"),
        (f'{{cluster: ["{at(node)}"]}}', "", "no node of a cluster that has slots"),
        (at(node), "", "the cluster does not serve all slots"),
        (f"redis://127.0.0.1:{free_port()}", "", "start it, or correct `redis`"),
        (f"unix:{tmp_path}/none", "", "start it, or correct `redis`"),
        ("redis://nx.test:6379", "", "its name has no address"),
        (f"rediss://127.0.0.1:{plain.port}", "", "does it speak TLS on that port?"),
        (at(redis(*tls, tls=True)), "", "write rediss://"),
        (at(upstream(lambda stream: stream.recv(65536) and stream.recv(65536))), "", "no answer within 400 ms"),
        (at(upstream(lambda stream: None)), "", "closes without an answer"),
        (fake(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "", "does not speak Redis' protocol"),
        (fake(b"-LOADING Redis is loading the dataset in memory\r\n"), "", "it is loading its data"),
        (fake(b"-ERR max number of clients reached\r\n"), word, "raise its maxclients"),
        (fake(b"-ERR unknown command `AUTH`, with args beginning with: `a secret word`\r\n"), word, "it knows no scripts"),
        (fake(b"-ODD a secret word\r\n"), word, "refuses the user or the password: ODD"),
    ]
    text = policy(server, "requests_per_minute: 60, burst: 3")
    gates = [(gate(text, more=sharing(place, more)), words) for place, more, words in cases]
    for one, words in gates:
        line = until("the store is out of reach", lambda: shared(one, "lost"))
        assert line["detail"] in one.errors.read_text()
        # On a busy machine a server may be late at first: then the reason that lasts is told later.
        until(words, lambda: re.search(f"out of reach: .*{re.escape(words)}", one.errors.read_text()))
        assert "secret" not in one.errors.read_text() + one.log.read_text()
    assert b"429" in gates[0][0].connect(f"h0.test:{server.port}")[1].split(b"\r\n")[0]


def test_a_reason_that_comes_later_is_told_too(gate, redis, upstream):
    store, server = redis(), upstream(serve)
    one = joined(gate, 1, policy(server, "requests_per_minute: 60"), sharing(f"redis://127.0.0.1:{store.port}"))[0]
    store.ask("CONFIG", "SET", "requirepass", "another")
    store.ask("-a", "another", "CLIENT", "KILL", "TYPE", "normal")
    until("the reason is told", lambda: "write `password_file`" in one.errors.read_text())
    store.ask("-a", "another", "CONFIG", "SET", "requirepass", "")
    until("the store is heard again", lambda: shared(one, "shared"))


def test_a_sandboxs_gate_shares_through_a_unix_socket(user_place, redis, tmp_path):
    store = redis("--unixsocket", user_place.folder / "redis.sock", "--unixsocketperm", "777")
    user_place.write("network_policy: {allow: [\"a.test:80\"], rate_limits: [{host: \"*\", requests_per_minute: 60}]}\n"
                     f"shared_limits: {{redis: \"unix:{user_place.folder}/redis.sock\", group: test}}\nstate: {{folder: \"{user_place.state}/kept\"}}")
    process = user_place.start("cat", stdin=subprocess.PIPE)
    until("the gate has joined the group", lambda: user_place.log.exists() and shared(user_place, "shared"))
    assert store.ask("KEYS", "sluice:*")
    said = process.communicate("", timeout=20)[1]
    assert process.returncode == 0, said
    assert "this gate keeps no levels" in said
    assert not (user_place.state / "kept").exists()


def test_an_address_that_says_nothing_leaves_the_next_one_a_chance(gate, redis, upstream, names):
    store, server = redis(), upstream(serve)
    names.addresses["redis.test"] = ["127.0.0.2", "127.0.0.1"]
    with socket.create_server(("127.0.0.2", store.port), backlog=0) as silent:
        # Its queue is full, so it drops what asks for more.
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(silent.getsockname())
        one = gate(policy(server, "requests_per_minute: 60, burst: 3"), more=sharing(f"redis://redis.test:{store.port}"))
        until("the other address has answered", lambda: shared(one, "shared"))
        for sock in waiting:
            sock.close()
