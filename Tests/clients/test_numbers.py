"""Numbers of any size in policies and logs: each is accepted or refused, and none crashes the program."""
import json
import os
import subprocess

import pytest

NUMBERS = [-1, 0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -2**63, -2**63 - 1, 1.5, 1e308]
TIMES = ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "1969-12-31T23:59:59Z", "2026-12-01T00:00:00.000Z",
         "9999-12-31T23:59:60Z", "0000-01-01T00:00:00+23:59"]
FIELDS = ["v", "seq", "port", "bytes_up", "bytes_down", "duration_ms", "status", "tokens", "capacity", "per_minute", "count", "repeated", "lost"]


def lives(*arguments):
    got = subprocess.run([os.environ["SLUICE"], *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert 0 <= got.returncode < 100 and "Fatal error" not in got.stderr, (arguments, got.returncode, got.stderr[-500:])
    return got


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    plain = {"v": 1, "seq": 1, "id": "1", "client": "c", "via": "connect", "host": "h.example", "port": 443, "rule": "a:1", "reason": "rate_limited",
             "tokens": 1, "capacity": 2, "per_minute": 3, "bytes_up": 5, "bytes_down": 5, "duration_ms": 5}
    path = tmp_path_factory.mktemp("numbers") / "log"
    path.write_text("".join(json.dumps({**plain, "time": time, "event": event, field: number}) + "\n"
                            for time in TIMES for field in FIELDS for number in NUMBERS for event in ("closed", "limited", "denied", "flagged")))
    return path


@pytest.mark.parametrize("view", [("top", "--once"), ("log", "--human"), ("log", "--json"), ("learn",)])
def test_a_view_takes_any_number_of_a_log(view, log):
    assert lives(*view, "--log", log).stdout


def test_a_report_takes_any_number_of_a_log(log, tmp_path):
    lives("dashboard", "--log", log, "--report", tmp_path / "report.html")


@pytest.mark.parametrize("since", [*TIMES, "9223372036854775807s", "99999999999999999999h", "18446744073709551615d", "0d"])
def test_since_takes_any_time(since, log):
    lives("log", "--log", log, "--since", since)


LIMITS = ["requests_per_minute", "burst", "concurrent", "upload_bytes_per_minute", "download_bytes_per_minute", "tunnel_lifetime_seconds"]


def policies(number):
    allow = "network_policy:\n  allow: ['a.test:443']\n"
    for key in LIMITS:
        first = "" if key == "requests_per_minute" else "requests_per_minute: 5, "
        yield f"{allow}  rate_limits: [{{host: '*', {first}{key}: {number}}}]\n"
    for key in ["connections", "head_bytes", "hello_bytes", "dns_cache_names", "synthetic_names", "log_buffer_bytes"]:
        yield f"{allow}limits: {{{key}: {number}}}\n"
        yield f"{allow}limits: {{{key}: {number}GiB}}\n"
    for key in ["head", "hello", "connect", "idle", "keep_alive", "drain"]:
        yield f"{allow}timeouts: {{{key}: {number}}}\n"
    yield f"{allow}dns: {{ttl: {number}}}\nresolver: {{timeout: {number}, attempts: {number}}}\n"
    yield f"network_policy: {{allow: ['a.test:{number}', 'b.test:1-{number}'], deny: ['10.0.0.0/{number}:*', '[::1]:{number}']}}\n"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_policy_takes_or_refuses_any_number(number, tmp_path):
    for text in policies(number):
        (tmp_path / "policy.yaml").write_text(text)
        assert lives("check", "--policy", tmp_path / "policy.yaml", "a.test:443").returncode in (0, 1, 2), text
