"""Ranges under the checks of content: no client gets a part of a page as it is, and other files download in parts, in parallel,
and from where they broke off."""
import asyncio
import random
import re
import subprocess

import httpx
import pytest

from test_inspect_content import ATTACK, HTML, PAGE, TEXT_OF_PAGE, inspecting, is_refused, serving, spoken  # noqa: F401  (fixtures)

LONG_PAGE = PAGE.replace("<a href", "<p>one more line</p>\n" * 200 + "<a href").encode()
BINARY = random.Random(1).randbytes(100_000)
# An archive begins and ends with control bytes, and has texts inside.
ARCHIVE = BINARY[:1000] + b"a line of a text\n" * 2000 + BINARY[:20_000]
EVERY_CHECK = "{strip_html: true, flag_instructions: %s, secrets: block}"


def ranged(body, fields):
    """Answers as servers of files do: single ranges, several at once, If-Range."""
    fields = {"ETag": '"v1"', "Accept-Ranges": "bytes"} | fields

    def answer(asked):
        said = asked[1]
        ranges = re.findall(r"(\d*)-(\d*)", said.get("range", ""))
        if not ranges or said.get("if-range", '"v1"') != '"v1"':
            return 200, fields, body
        places = []
        for first, last in ranges:
            start = int(first) if first else max(0, len(body) - int(last))
            end = min(int(last) + 1, len(body)) if first and last else len(body)
            places.append((start, end))
        spans = [f"bytes {start}-{end - 1}/{len(body)}" for start, end in places]
        if len(places) == 1:
            return 206, fields | {"Content-Range": spans[0]}, body[slice(*places[0])]
        parts = [b"--x\r\nContent-Range: " + span.encode() + b"\r\n\r\n" + body[slice(*place)] + b"\r\n" for span, place in zip(spans, places)]
        return 206, fields | {"Content-Type": "multipart/byteranges; boundary=x"}, b"".join(parts) + b"--x--\r\n"

    return answer


TYPES = [HTML, {}, {"Content-Type": "application/octet-stream"}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"},
         {"Content-Type": "image/png"}]


def test_no_part_of_a_page_comes_as_it_is(serving):
    site = serving("{strip_html: true}", None)
    at = LONG_PAGE.index(ATTACK.encode())
    for fields in TYPES:
        site.answer = ranged(LONG_PAGE, fields)
        for asked in (f"{at}-", f"{at}-{at + 20}", f"-{len(LONG_PAGE) - at}", f"0-{at + 99}", f"0-3,{at}-{at + 20}"):
            said = site.fetch("/page", headers={"Range": f"bytes={asked}"} | ({"If-Range": '"v1"'} if asked.endswith("-") else {}))
            assert is_refused(said), (fields, asked, said.content[:200])
        for asked in ({}, {"Range": f"bytes={at}-", "If-Range": '"old"'}):
            said = site.fetch("/page", headers=asked)
            assert said.status_code == 200 and said.text.startswith("Shop\nPears") and ATTACK not in said.text
            assert not {"etag", "accept-ranges"} & set(said.headers)
        # The whole page was seen, and its parts are still none to be had.
        assert is_refused(site.fetch("/page", headers={"Range": f"bytes={at}-"}))
    site.flagged(finding="unchecked", what="part of a whole")


def curl(site, *more):
    trust = ["--cacert", site.inspecting.ca] if site.spoken != "plain" else []
    version = "--http2" if site.spoken == "h2" else "--http1.1"
    return subprocess.run(["curl", "-sS", "--fail", version, *trust, "-x", site.gate.url, *more], capture_output=True, text=True, timeout=60)


async def in_parallel(site, url, length):
    """As downloaders do: the first byte, which tells the length, and then sixteen parts at once."""
    async with site.client(httpx.AsyncClient) as http:
        async def part(first, last):
            said = await http.get(url, headers={"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"})
            assert (said.status_code, said.headers["etag"]) == (206, '"v1"'), (first, said.content[:100])
            return said.content

        await part(0, 0)
        step = length // 16 + 1
        return b"".join(await asyncio.gather(*(part(first, first + step - 1) for first in range(0, length, step))))


@pytest.mark.parametrize("mode", ["annotate", "block", "log"])
def test_other_files_come_in_parts_and_from_where_they_broke_off(serving, tmp_path, mode):
    site = serving(EVERY_CHECK % mode, None)
    for number, (body, fields) in enumerate([(BINARY, {}), (BINARY, {"Content-Type": "text/plain"}), (ARCHIVE, {"Content-Type": "application/x-tar"})]):
        site.answer = ranged(body, fields)
        for cut in (1000, len(body) - 30):
            file = tmp_path / f"{number}-{cut}"
            file.write_bytes(body[:cut])
            said = curl(site, "-C", "-", "-o", file, f"{site.url}/file{number}")
            assert said.returncode == 0 and file.read_bytes() == body, (fields, cut, said.stderr)
        assert asyncio.run(in_parallel(site, f"{site.url}/parallel{number}", len(body))) == body


def test_a_text_resumes_where_its_beginning_was_seen(serving, tmp_path):
    text = b"A log.\n" + b"One more line of it.\n" * 3000
    site = serving("{strip_html: true}", ranged(text, {"Content-Type": "text/plain"}))
    file = tmp_path / "log"
    file.write_bytes(text[:500])
    said = curl(site, "-C", "-", "-o", file, f"{site.url}/log")
    assert said.returncode == 22 and file.read_bytes() == text[:500], said
    assert curl(site, "-o", "/dev/null", f"{site.url}/log").returncode == 0
    said = curl(site, "-C", "-", "-o", file, f"{site.url}/log")
    assert said.returncode == 0 and file.read_bytes() == text, said
    assert TEXT_OF_PAGE.encode() not in text


def test_a_part_of_other_things_than_bytes_is_a_document(serving):
    body = b'[{"id": 26}]'
    site = serving("{strip_html: true, flag_instructions: block}", (206, {"Content-Type": "application/json", "Content-Range": "25-49/1000"}, body))
    for asked in ({}, {"Range": "25-49", "Range-Unit": "items"}):
        said = site.fetch("/rows", headers=asked)
        assert (said.status_code, said.content) == (206, body)
