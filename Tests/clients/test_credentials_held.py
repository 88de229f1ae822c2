"""A key is added only to requests that the policy allows, also in report mode, and not to calls that issue other keys."""
import json

import pytest

from inspection import request
from test_credentials import API, BEARER, KEYS, SECRET, TokenServer, api, ask, aws, inspecting, tokens  # noqa: F401, the fixtures
from gate import until

OWN = "ghp_" + "9sKd83hQwLm27ZxVb40TnRyEu56FaPcGjX1o"


@pytest.fixture
def reporting(inspecting, web, certificates, tmp_path):  # noqa: F811
    """A gate in report mode, whose rule looks for secrets and has a key."""
    server = web(API, certificates.server())
    server.asked, server.answer = [], lambda handler: b"x"
    server.target = f"allowed.test:{server.port}"
    (tmp_path / "key").write_text(SECRET)
    server.gate = inspecting.gate(
        inspecting.rule("allowed.test", server.port, ", credential: key, methods: [GET, POST], content: {secrets: block}"),
        limits="  mode: report\n", more=f'credentials:\n  key: {{file: "{tmp_path / "key"}", {BEARER}}}\n')
    return server


@pytest.mark.parametrize("sent, has_key", [
    (dict(), True), (dict(method="PUT", more="Content-Length: 0\r\n"), False), (dict(path=f"/?k={OWN}"), False), (dict(more=f"X-Mine: {OWN}\r\n"), False),
    (dict(method="POST", more="Content-Length: 2\r\n", body=b"ok"), True),
    (dict(method="POST", more=f"Content-Length: {len(OWN) + 2}\r\n", body=f"{OWN}\r\n".encode()), False),
])
def test_report_mode_adds_no_key_to_what_enforcing_would_refuse(reporting, inspecting, sent, has_key):  # noqa: F811
    said = inspecting.ask(reporting.gate, reporting.target, request(reporting.target, **sent))
    assert said.startswith(b"HTTP/1.1 200"), "report mode lets it out"
    [(_, fields, body)] = reporting.asked
    assert (fields.get("Authorization") == f"Bearer {SECRET}") == has_key and body == sent.get("body", b"")
    if not has_key:
        assert "Authorization" not in fields
        until("a line of it", lambda: any(line.get("would_deny") for line in reporting.gate.lines()))


def test_a_body_that_cannot_be_kept_ends_where_a_secret_is(reporting, inspecting):  # noqa: F811
    """Its head has the key by then."""
    chunk = f"{OWN}\r\n".encode()
    sent = request(reporting.target, "POST", more="Transfer-Encoding: chunked\r\n", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(chunk), chunk))
    said = inspecting.ask(reporting.gate, reporting.target, sent)
    assert not said.startswith(b"HTTP/1.1 200")
    assert not any(OWN.encode() in body for *_, body in reporting.asked)


@pytest.mark.parametrize("more, refused", [("", True), (", allow_key_issuing: true", False)])
def test_calls_that_answer_with_keys_need_a_word_of_the_rule(inspecting, web, certificates, tmp_path, more, refused):  # noqa: F811
    from test_credentials import AWS
    server = web(AWS, certificates.server())
    server.asked = []
    (tmp_path / "keys").write_text(json.dumps({"AccessKeyId": KEYS[0], "SecretAccessKey": KEYS[1]}))
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port, f", credential: aws{more}"),
                           more=f'credentials:\n  aws: {{file: "{tmp_path / "keys"}", sigv4: {{}}}}\n')
    target = f"allowed.test:{server.port}"

    def call(service, body):
        client = (f"Authorization: AWS4-HMAC-SHA256 Credential=PLACEHOLDERKEY0001/20200101/us-east-1/{service}/aws4_request, "
                  f"SignedHeaders=host;x-amz-date, Signature=00\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n")
        return inspecting.ask(gate, target, request(target, "POST", more=client, body=body.encode()))

    assert call("sts", "Action=GetCallerIdentity&Version=2011-06-15").startswith(b"HTTP/1.1 200")
    for service, body in (("sts", "Action=AssumeRole&RoleArn=arn"), ("iam", "Action=CreateAccessKey")):
        said = call(service, body)
        assert said.startswith(b"HTTP/1.1 403 Denied by egress policy: secret_refused" if refused else b"HTTP/1.1 200"), said
        assert (b"allow_key_issuing: true" in said) == refused
    assert len(server.asked) == (1 if refused else 3)


def test_an_upload_of_boto3_passes_the_look_for_secrets(inspecting, web, certificates, tmp_path):  # noqa: F811
    """Its body is in `aws-chunked`, with a checksum behind it."""
    import boto3
    import botocore.exceptions
    from botocore.config import Config

    from test_credentials import AWS
    server = web(AWS, certificates.server())
    server.asked = []
    (tmp_path / "keys").write_text(json.dumps({"AccessKeyId": KEYS[0], "SecretAccessKey": KEYS[1]}))
    gate = inspecting.gate(inspecting.rule("allowed.test", server.port, ", credential: aws, content: {secrets: block}"),
                           more=f'credentials:\n  aws: {{file: "{tmp_path / "keys"}", sigv4: {{}}}}\n')
    s3 = boto3.client(
        "s3", region_name="eu-central-1", aws_access_key_id="PLACEHOLDERKEY0001", aws_secret_access_key="placeholder",
        endpoint_url=f"https://allowed.test:{server.port}", verify=str(inspecting.ca),
        config=Config(proxies={"https": gate.url}, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}))
    s3.put_object(Bucket="bucket", Key="k", Body=b"plain words, " * 20_000)
    _, fields, body, good = server.asked[0]
    assert good and "aws-chunked" in fields["Content-Encoding"] and b"x-amz-checksum" in body
    with pytest.raises(botocore.exceptions.ClientError, match="secret_refused"):
        s3.put_object(Bucket="bucket", Key="k", Body=b"words, " * 5_000 + OWN.encode() + b" and more")
    assert not any(OWN.encode() in asked[2] for asked in server.asked)


def test_a_new_refresh_token_is_written_back(api, inspecting, tokens, tmp_path):  # noqa: F811
    folder = tmp_path / "kept"
    folder.mkdir()
    refresh = folder / "refresh"
    refresh.write_text("first\n")
    refresh.chmod(0o640)
    api.answer = lambda handler: b"x"
    more = f', refresh_token: {{file: "{refresh}", write_back: true}}'
    api.start_gate(f"{tokens.source(more)}, {BEARER}")
    assert ask(api, inspecting)[0].startswith(b"HTTP/1.1 200")
    until("the new token", lambda: refresh.read_text() == "next-1\n")
    assert refresh.stat().st_mode & 0o777 == 0o640 and [path.name for path in folder.iterdir()] == ["refresh"]
