"""`sluice run`: the command trusts the gate's CA, so a refusal is heard inside TLS, and inspected targets work with each tool."""
import json
import shutil

import pytest

from gate import rules
from inspection import inspected
from sandbox import Place

PYTHON = """/usr/bin/python3 -c 'import urllib.request, urllib.error, sys
try: print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())
except urllib.error.HTTPError as error: print(error.read().decode())'"""
OPENSSL = r"""printf 'GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n' |
    openssl s_client -quiet -verify_return_error -ign_eof -servername {host} -connect {address}:{port} 2>/dev/null | sed '1,/^\r$/d'"""


@pytest.fixture
def place(names):
    place = Place("root", names)
    place.authority = place.home / ".config/sluice/ca"
    yield place
    place.close()


@pytest.mark.parametrize("tool", ["curl -sS", "curl -sS --http2", "wget -q -O - --content-on-error --tries 1", PYTHON])
def test_a_refusal_is_heard_inside_tls_and_nobody_is_asked(place, names, tool):
    got = place.shell(f"{tool} https://refused.test/")
    said = json.loads(got.stdout)
    assert said["reason"] == "not_allowed" and said["target"] == "refused.test:443", got
    assert said["policy_line"] == '- "refused.test:443"'
    line = place.logged(event="denied", reason="not_allowed", host="refused.test")
    assert line["client"] == "sandbox" and line["via"] == "connect"
    assert "refused.test" not in names.asked


@pytest.mark.parametrize("tool", ["curl -sS --noproxy '*' --connect-to {target}:{address}:{port} https://{target}/", OPENSSL])
def test_a_refusal_of_a_program_that_knows_no_proxy_is_heard_inside_tls(place, tool):
    got = place.shell(tool.format(target="refused.test:443", host="refused.test", address="93.184.216.34", port=443))
    assert json.loads(got.stdout)["reason"] == "not_allowed", got
    place.logged(event="denied", reason="not_allowed", host="refused.test", via="tls")


def test_where_the_policy_says_so_no_refusal_is_explained(place):
    place.write("network_policy: {default: deny}\nexplain_denials: false")
    got = place.shell("curl -sS https://refused.test/; echo $?; echo ${SSL_CERT_FILE-none}")
    assert got.stdout.split() == ["56", "none"], got
    assert not place.authority.exists()


def test_a_port_that_is_not_for_tls_is_refused_as_ever(place):
    got = place.shell("curl -sS -o /dev/null -w '%{http_connect}' https://refused.test:8443/")
    assert got.stdout == "403", got


# test_clients_table.py has the others.
@pytest.mark.parametrize("tool", ["curl -sS --noproxy '*'", "wget -q -O - --no-proxy", PYTHON, OPENSSL])
def test_each_tool_trusts_what_the_gate_shows_for_an_inspected_target(place, web, hello, certificates, tool):
    server = web(hello, certificates.server())
    target = f"allowed.test:{server.port}"
    place.write(rules(inspected("allowed.test", server.port, certificates)))
    whole = tool.format(target=target, host="allowed.test", address="allowed.test", port=server.port) if tool == OPENSSL else f"{tool} https://{target}/"
    got = place.shell(whole)
    assert got.stdout.strip() == f"hello from {target}", got
    assert place.logged(event="closed", host="allowed.test")["inspected"] is True


def test_the_key_of_the_ca_is_out_of_reach(place):
    got = place.shell(f"curl -sS https://refused.test/ > said; cat {place.authority}/ca.key; ls -la /etc/sluice")
    assert "PRIVATE" not in got.stdout and place.authority.joinpath("ca.key").exists(), got
    assert "ca.jks" in got.stdout
