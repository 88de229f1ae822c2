"""`sluice log --format` and `--otlp`: the output for log stores, the tables of docs/log-export.md, and that no line is lost."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from collector import Collector, attributes
from gate import DEADLINE, plain_environment, until
from test_views import HOSTILE, line, sluice, write

PAGE = (Path(__file__).parents[2] / "docs/log-export.md").read_text()
LOG_FIELDS = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)?(?:, `(\w+)`)?(?:, `(\w+)`)? \|",
                        (Path(__file__).parents[2] / "docs/log.md").read_text().split("### Refusals")[0], re.M)
FORMATS = ["ecs", "ocsf", "otlp-json"]
TABLE = {row[0]: dict(zip(FORMATS, row[1:])) for row in re.findall(r"^\| `(\w+)` \| `([\w.@]+)` \| `([\w.@]+)` \| `([\w.@]+)` \|$", PAGE, re.M)}
TEXTS = {"time": "2026-12-01T10:00:00.123Z", "event": "closed", "via": "connect", "host": "a.example", "address": "192.0.2.7", "sni": "b.example"}
NUMBERS = {"v": 1, "seq": 1001, "port": 1002, "bytes_up": 1003, "bytes_down": 1004, "duration_ms": 1005, "tokens": 1006, "capacity": 1007,
           "per_minute": 1008, "repeated": 1009, "status": 1010, "count": 1011, "lost": 1012}
FLAGS = ["would_deny", "inspected", "scrubbed", "probe"]


def flat(value, path=""):
    """Leaves as {path: value}; OpenTelemetry's attributes under their names."""
    if isinstance(value, dict) and "key" in value:
        return {value["key"]: next(iter(value["value"].values()))}
    if isinstance(value, dict):
        return {key: leaf for name, one in value.items() for key, leaf in flat(one, f"{path}.{name}" if path else name).items()}
    if isinstance(value, list):
        return {key: leaf for one in value for key, leaf in flat(one, path).items()}
    return {path: value}


def exported(tmp_path, form, *lines):
    log = write(tmp_path / "log", [json.dumps(one) for one in lines])
    return [json.loads(one) for one in sluice("log", "--log", log, "--format", form, status=0).stdout.splitlines()]


def every_field():
    names = {name for row in LOG_FIELDS for name in row if name} | {"method", "status", "path", "gate"}
    assert len(names) > 30, names
    return {name: NUMBERS.get(name, True if name in FLAGS else TEXTS.get(name, f"text of {name}")) for name in sorted(names)}


@pytest.mark.parametrize("form", FORMATS)
def test_every_field_is_where_the_page_says(tmp_path, form):
    assert len(TABLE) > 15
    given = every_field()
    got = flat(exported(tmp_path, form, given)[0])
    for name, value in given.items():
        place = TABLE[name][form] if name in TABLE else f"unmapped.{name}" if form == "ocsf" else f"sluice.{name}"
        if form == "otlp-json" and place in ("timeUnixNano", "eventName"):
            place = f"resourceLogs.scopeLogs.logRecords.{place}"
        told = {"event.duration": lambda ms: ms * 1_000_000, "count": lambda more: more + 1}.get(place, lambda same: same)(value)
        if place.endswith("timeUnixNano"):
            told = "1796119200123000000"
        if place.endswith("eventName"):
            told = "sluice.closed"
        assert place in got, (name, place, sorted(got))
        assert got[place] == (str(told) if form == "otlp-json" and type(told) is int else told), name


CASES = [
    ({"event": "closed"}, ["connection", "end", "allowed"], 2, (1, 1)), ({"event": "denied", "reason": "not_allowed"}, ["connection", "denied"], 5, (2, 2)),
    ({"event": "denied", "reason": "not_authenticated"}, ["connection", "denied"], 5, (2, 26)), ({"event": "limited"}, ["connection", "denied"], 5, (2, 2)),
    ({"event": "revoked"}, ["connection", "end", "denied"], 3, (2, 24)), ({"event": "failed"}, ["connection", "end"], 4, (1, 27)),
    ({"event": "flagged"}, ["info"], 6, (1, 15)), ({"event": "flagged", "reason": "secret_refused"}, ["denied"], 5, (2, 2)),
    ({"event": "denied", "would_deny": True}, ["connection", "allowed"], 6, (1, 17)), ({"event": "credential"}, ["info"], 99, None),
    ({"event": "of a later version"}, ["info"], 99, None),
]


def test_events_have_their_kinds(tmp_path):
    lines = [{"v": 1, "time": TEXTS["time"], "seq": 1, "host": "a.example", "port": 443} | one for one, *_ in CASES]
    for (given, types, activity, disposition), ecs, ocsf in zip(CASES, exported(tmp_path, "ecs", *lines), exported(tmp_path, "ocsf", *lines)):
        assert ecs["event"]["type"] == types, given
        assert (ocsf["class_uid"], ocsf["category_uid"], ocsf["activity_id"], ocsf["type_uid"]) == (4001, 4, activity, 400100 + activity), given
        assert (ocsf["action_id"], ocsf["disposition_id"]) == disposition if disposition else "action_id" not in ocsf, given
    policy = {"v": 1, "time": TEXTS["time"], "seq": 1, "event": "policy", "policy": "00ff"}
    query = {"v": 1, "time": TEXTS["time"], "seq": 1, "event": "denied", "via": "dns", "host": "a.example", "reason": "not_allowed"}
    address = {"v": 1, "time": TEXTS["time"], "seq": 1, "event": "denied", "host": "[2001:db8::1]", "port": 443}
    told, asked, numbered = exported(tmp_path, "ocsf", policy, query, address)
    assert (told["class_uid"], told["category_uid"], told["type_uid"], told["policy"]) == (0, 0, 99, {"uid": "00ff"})
    assert (asked["class_uid"], asked["type_uid"], asked["query"], asked["rcode_id"]) == (4003, 400301, {"hostname": "a.example"}, 3)
    assert numbered["dst_endpoint"] == {"ip": "2001:db8::1", "port": 443}
    told, _, numbered = exported(tmp_path, "ecs", policy, query, address)
    assert (told["event"]["category"], told["sluice"]["policy"]) == (["configuration"], "00ff") and "rule" not in told
    assert numbered["destination"] == {"address": "2001:db8::1", "ip": "2001:db8::1", "port": 443}


@pytest.mark.parametrize("form", FORMATS)
def test_what_a_client_chose_breaks_no_object(tmp_path, form):
    lines = [{"v": 1, "event": "denied", "time": TEXTS["time"], "client": text, "host": text, "more": {"nested": [text, 1.5, None]}, "flag": True} for text in HOSTILE]
    assert len(exported(tmp_path, form, *lines)) == len(HOSTILE)


# OTLP


@pytest.fixture
def collector():
    started = []

    def start(*arguments, **more):
        started.append(Collector(*arguments, **more))
        return started[-1]

    yield start
    for one in started:
        one.close()


def sent(collector, log, *options, status=0, scheme="http", name="127.0.0.1"):
    return sluice("log", "--log", log, "--otlp", f"{scheme}://{name}:{collector.port}", *options, status=status)


def test_records_go_out_in_batches_with_their_gate(tmp_path, collector):
    one = collector()
    log = write(tmp_path / "log", [line("closed", number, gate=f"gate-{number % 2}", host="a.example", port=443) for number in range(2500)])
    assert "2500 lines sent to http://127.0.0.1" in sent(one, log).stderr
    assert sorted(one.sequences()) == list(range(2500)) and len(one.requests) == 3
    for group in one.requests[0]["resourceLogs"]:
        known = attributes(group["resource"])
        assert known["service.name"] == "sluice"
        assert {int(attributes(record)["sluice.seq"]) % 2 for record in group["scopeLogs"][0]["logRecords"]} == {int(known["service.instance.id"][-1])}
    path, head = one.heads[0]
    assert path == "/v1/logs" and head["Content-Type"] == "application/json"
    assert len({attributes(record)["log.record.uid"] for record in one.records()}) == 2500


def test_what_can_be_tried_again_is(tmp_path, collector):
    one = collector()
    one.answers = [(429, {"Retry-After": "0"}, b""), (502, {}, b""), (503, {"Retry-After": "0"}, b"not JSON"), (504, {"Retry-After": "0"}, b"")]
    got = sent(one, write(tmp_path / "log", [line("closed", 1)]))
    assert len(one.heads) == 5 and one.sequences() == [1]
    assert got.stderr.count("answered 429; lines are kept") == 1 and "accepts lines again" in got.stderr


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 301])
def test_what_cannot_ends_it_and_skips_nothing(tmp_path, collector, status):
    one = collector()
    one.answers = [(status, {}, b'{"message": "no \\u001b[2J such thing"}')]
    log, cursor = write(tmp_path / "log", [line("closed", 1)]), tmp_path / "cursor"
    got = sent(one, log, "--cursor", cursor, status=2)
    assert f"answered {status}: no \\u{{1b}}[2J such thing; nothing was skipped" in got.stderr and len(one.heads) == 1
    sent(one, log, "--cursor", cursor)
    assert one.sequences() == [1]


def test_a_part_that_is_rejected_is_said_and_not_sent_again(tmp_path, collector):
    one = collector()
    one.answers = [(200, {}, b'{"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "too old"}}')]
    got = sent(one, write(tmp_path / "log", [line("closed", number) for number in range(3)]))
    assert "rejected 2 records for good: too old" in got.stderr and len(one.heads) == 1


def test_https_is_verified(tmp_path, collector, certificates):
    one = collector(certificates.server())
    log, headers = write(tmp_path / "log", [line("closed", 1)]), write(tmp_path / "headers", ["Authorization: Bearer abc"])
    url = f"https://allowed.test:{one.port}/otlp/v1/logs"
    # Names are looked up as the gate does; a hosts file of this test's own makes allowed.test loopback.
    (tmp_path / "hosts").write_text("127.0.0.1 allowed.test other.example\n")
    inside = ["unshare", "--mount", "sh", "-c", f'mount --bind {tmp_path}/hosts /etc/hosts && exec "$@"', "sh", os.environ["SLUICE"]]

    def run(*arguments, **more):
        return subprocess.run([*inside, "log", "--log", log, "--otlp", *map(str, arguments)], capture_output=True, text=True, timeout=60, env=plain_environment(), **more)

    if os.geteuid() != 0:
        pytest.skip("a hosts file of its own takes root")
    got = run(url, "--otlp-ca", certificates.ca, "--otlp-headers", headers)
    assert got.returncode == 0, got.stderr
    path, head = one.heads[0]
    assert one.sequences() == [1] and path == "/otlp/v1/logs" and head["Authorization"] == "Bearer abc"
    for wrong, options, words in [(url, [], "certificate cannot be verified"), (url.replace("allowed.test", "other.example"), ["--otlp-ca", certificates.ca], "certificate cannot be verified")]:
        process = subprocess.Popen([*inside, "log", "--log", log, "--otlp", wrong, *map(str, options)], stderr=subprocess.PIPE, text=True, env=plain_environment())
        try:
            assert words in process.stderr.readline()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
    assert one.sequences() == [1]


@pytest.mark.parametrize("url, words", [
    ("collector:4318", "write http://HOST:PORT"), ("http://", "write http://HOST:PORT"), ("http://u:p@a.example", "no user and password"),
    ("https://127.0.0.1:4318", "needs the name"), ("http://a.example/x y", "visible ASCII"),
])
def test_a_wrong_url_says_what_to_write(tmp_path, url, words):
    assert words in sluice("log", "--log", write(tmp_path / "log", []), "--otlp", url, status=2).stderr


def test_a_cursor_goes_on_over_rotations_and_is_no_other_file(tmp_path, collector):
    one, log, cursor = collector(), tmp_path / "gate.jsonl", tmp_path / "cursor"
    write(log, [line("closed", number) for number in range(3)])
    sent(one, log, "--cursor", cursor)
    with open(log, "a") as file:
        file.write(line("closed", 3) + "\n" + "torn")
    log.rename(tmp_path / "gate.jsonl.1")
    write(log, [line("closed", 4)])
    got = sent(one, log, "--cursor", cursor)
    assert one.sequences() == [0, 1, 2, 3, 4] and "1 broken line skipped" in got.stderr
    assert "0 lines sent" in sent(one, log, "--cursor", cursor).stderr
    (tmp_path / "gate.jsonl.1").unlink()
    log.unlink()
    write(log, [line("denied", 5), line("closed", 6)])
    assert "is gone, and what it held behind the cursor" in sent(one, log, "--cursor", cursor).stderr
    assert one.sequences() == [*range(7)]
    cursor.write_text("{}")
    assert "is not a cursor file of this version; remove it" in sent(one, log, "--cursor", cursor, status=2).stderr


def test_a_followed_folder_is_sent_as_it_grows(tmp_path, collector):
    one, folder, cursor = collector(), tmp_path / "gates", tmp_path / "cursor"
    folder.mkdir()
    write(folder / "a.jsonl", [line("closed", 0)])
    for run in range(2):
        process = subprocess.Popen([os.environ["SLUICE"], "log", "--log", folder, "--follow", "--otlp", f"http://127.0.0.1:{one.port}", "--cursor", cursor],
                                   stderr=subprocess.DEVNULL, env=plain_environment())
        try:
            until("what was there", lambda: len(one.sequences()) > 3 * run)
            with open(folder / "a.jsonl", "a") as file:
                file.write(line("closed", 3 * run + 1) + "\n")
            write(folder / f"{run}.jsonl", [line("closed", 3 * run + 2)])
            if run == 0:
                until("what came", lambda: sorted(one.sequences()) == [0, 1, 2])
                until("the cursor has it", lambda: cursor.read_text().count('"path"') == 2)
                with open(folder / "a.jsonl", "a") as file:
                    file.write(line("closed", 3) + "\n")
            else:
                until("what came", lambda: sorted(set(one.sequences())) == [0, 1, 2, 3, 4, 5])
        finally:
            process.kill()
            process.wait(DEADLINE)
