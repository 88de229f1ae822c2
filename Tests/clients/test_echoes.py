"""A key in a response is removed, whichever library escaped it: each library is called, and the upstream sends its text."""
import base64
import html
import re
import urllib.parse

import pytest

from echoers import echoes
from inspection import Inspecting, request
from test_credentials import API, BEARER, api, inspecting  # noqa: F401, the fixtures

KEYS = {"of letters": "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "with signs": "sk-live/Gate+Only==7f3a9c1e5b&<x>'y\"z"}


@pytest.fixture(scope="module", params=KEYS)
def written(request, tmp_path_factory):
    key = KEYS[request.param]
    return key, echoes(key, tmp_path_factory.mktemp("echoers"))


def readable(said, key):
    """What of the key a reader gets out of it: as it is, or behind the commonest decoders."""
    texts = [said.decode("latin-1")]
    for decode in (urllib.parse.unquote, html.unescape, lambda text: text.replace("\x00", "")):
        texts.append(decode(texts[-1]))
    joined = re.sub(rb"\s|\\n", b"", said).translate(bytes.maketrans(b"-_", b"+/"))
    for run in re.findall(rb"[A-Za-z0-9+/]{12,}", joined):
        texts += [base64.b64decode(run[at:] + b"A" * (-len(run[at:]) % 4)).decode("latin-1") for at in range(4)]
    longest = max(len(key) // 2, 8)
    return any(key[at:at + longest] in text for text in texts for at in range(2, len(key) - longest))


def test_no_key_comes_back_whichever_library_wrote_it(api, inspecting, written):  # noqa: F811
    key, texts = written
    assert all(readable(texts[name], key) for name in ("python/quote", "python/base64", "python/html", "python/utf-16")), "the test can fail"
    assert len(texts) >= 34 and len({name.partition("/")[0] for name in texts}) >= 2
    api.secret.write_text(key)
    order = iter(sorted(texts))
    current = []

    def answer(handler):
        return b"you sent " + texts[current[0]] + b" to us"

    api.answer = answer
    gate = api.start_gate(f"{api.file}, {BEARER}")
    came_back = []
    for name in order:
        current[:] = [name]
        said = inspecting.ask(gate, api.target, request(api.target))
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and len(body) == len(answer(None)), (name, head)
        assert body.startswith(b"you sent ") and body.endswith(b" to us"), (name, body)
        if readable(body, key) or b"**" not in body.replace(b"*\0", b"**").replace(b"\0*", b"**"):
            came_back.append((name, texts[name], body))
    assert not came_back, "\n".join(map(repr, came_back))


def test_no_key_comes_back_in_a_field_name_or_an_interim_answer(api, inspecting):  # noqa: F811
    key = KEYS["of letters"]
    api.secret.write_text(key)
    api.answer = lambda handler: (200, {f"x-{key}-y": "1", "X-Value": html.escape(key), "Link": f"</a?k={key}>"}, b"x")
    gate = api.start_gate(f"{api.file}, {BEARER}")
    said = inspecting.ask(gate, api.target, request(api.target))
    assert said.startswith(b"HTTP/1.1 200") and not re.search(key.encode(), said, re.IGNORECASE), said
    assert gate.logged(event="credential", scrubbed=True)["credential"] == "key"
