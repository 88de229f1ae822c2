"""ClientHellos that are truncated or have wrong lengths: OpenSSL reads the same name from all that the gate lets through."""
import socket
import ssl

from gate import local, rules


def recorded(name="allowed.test"):
    """What OpenSSL itself sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def lengths(hello):
    """Where each length field stands, and its size: record, message, session, suites, compression, extensions, each of
    these, and the lists inside of them."""
    number = lambda at, size: int.from_bytes(hello[at:at + size], "big")  # noqa: E731
    found = [(3, 2), (6, 3)]
    at = 9 + 2 + 32
    for size in (1, 2, 1):
        found.append((at, size))
        at += size + number(at, size)
    found.append((at, 2))
    at += 2
    while at < len(hello):
        kind, length = number(at, 2), number(at + 2, 2)
        found.append((at + 2, 2))
        if kind == 0:  # server_name: the list, the name
            found += [(at + 4, 2), (at + 7, 2)]
        elif kind in (10, 13, 16, 51):  # groups, signatures, ALPN, key shares
            found.append((at + 4, 2))
        elif kind in (11, 43, 45):
            found.append((at + 4, 1))
        at += 4 + length
    assert at == len(hello)
    return found


def records(message, *cuts):
    """The handshake message in several records."""
    edges = [0, *cuts, len(message)]
    return b"".join(b"\x16\x03\x01" + (end - start).to_bytes(2, "big") + message[start:end] for start, end in zip(edges, edges[1:]))


def name_in_openssl(hello, certificates):
    """The name that OpenSSL's server reads, None without one, or "refused"."""
    seen = []
    context = certificates.server()
    context.sni_callback = lambda stream, name, _: seen.append(name)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(hello)
    try:
        server.do_handshake()
    except ssl.SSLWantReadError:
        # The server has answered, or waits for a record that was never sent.
        return seen[-1] if seen else None if outgoing.pending else "refused"
    except ssl.SSLError:
        return "refused"


def test_what_goes_through_names_the_target_in_openssl_too(gate, upstream, certificates):
    def take(stream):
        if stream.recv(65536):
            stream.sendall(b"through")

    server = upstream(take)
    one = gate(rules(local("allowed.test", server.port, ", protocol: tls")))

    def goes_through(hello):
        sock, got = one.connect(f"allowed.test:{server.port}")
        with sock:
            assert got.startswith(b"HTTP/1.1 200 ")
            sock.sendall(hello)
            sock.shutdown(socket.SHUT_WR)
            try:
                return sock.recv(100) == b"through"
            except ConnectionResetError:
                return False

    hello, other = recorded(), recorded("refused.test")
    message = hello[5:]
    assert goes_through(hello) and name_in_openssl(hello, certificates) == "allowed.test"
    assert not goes_through(other) and name_in_openssl(other, certificates) == "refused.test"
    for cut in range(1, len(message)):
        assert goes_through(records(message, cut)), f"two records, cut at {cut}"
    assert goes_through(records(message, *range(1, len(message)))), "records of one byte"

    passed, places = 0, lengths(hello)
    assert len(places) > 20
    for at, size in places:
        value = int.from_bytes(hello[at:at + size], "big")
        for lie in (value - 1, value + 1, 0, (1 << 8 * size) - 1):
            if lie == value or not 0 <= lie < 1 << 8 * size:
                continue
            changed = hello[:at] + lie.to_bytes(size, "big") + hello[at + size:]
            if goes_through(changed):
                passed += 1
                assert name_in_openssl(changed, certificates) in ("allowed.test", "refused"), f"{at}: {value} -> {lie}"
    # Lies inside of extensions that the gate does not read are OpenSSL's to find.
    assert 0 < passed < 60
