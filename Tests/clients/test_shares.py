"""One client against the others: what is shared has a share for each, and nothing is held for a connection that is gone."""
import socket
import struct
import time

import pytest

from gate import rules, until


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def request(target):
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


@pytest.mark.parametrize("limit", ["", '  rate_limits:\n    - {host: "*", requests_per_minute: 1, on_limit: pace}\n'])
def test_a_reset_right_behind_a_request_is_heard(limit, admin, names):
    names.is_silent = True
    one = admin(rules('"*.slow.test:443"', more=limit), more="limits: {connections: 400}")
    before = one.gate.descriptors()
    began = time.monotonic()
    for number in range(300):
        sock = one.gate.dial()
        sock.sendall(request(f"n{number}.slow.test:443"))
        reset(sock)
    until("no place is held", lambda: one.status()["connections"] == 0)
    # A look-up of one of them would take 14 s to fail.
    assert time.monotonic() - began < 6
    one.gate.leaves_none(before)
    assert {line["event"] for line in one.gate.lines() if line["event"] != "policy"} <= {"closed", "limited"}
