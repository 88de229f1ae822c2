"""Files of this machine's packages, of many kinds, through each check of content: the same bytes and head wherever nothing is
flagged, and still of their format wherever something is. ANSWERS=2000 takes so many of them."""
import ast
import csv
import gzip
import html.parser
import io
import json
import mimetypes
import os
import random
import re
import subprocess
import xml.etree.ElementTree
import zipfile
from hashlib import md5
from pathlib import Path

import pytest

from test_inspect_content import ATTACK, inspecting, serving, spoken  # noqa: F401  (fixtures)

COUNT = int(os.environ.get("ANSWERS", 60))
FOLDERS = ["/usr/share", "/usr/lib/python3", "/usr/lib/python3.11", "/usr/include", "/var/lib/apt/lists", "/usr/lib/x86_64-linux-gnu",
           "/usr/lib/git-core", "/etc"]
BYTES_MAX = 700_000 if COUNT > 60 else 50_000
TYPES = {".py": "text/x-python", ".md": "text/markdown", ".whl": "application/zip", ".deb": "application/vnd.debian.binary-package",
         ".js": "application/javascript", ".yaml": "application/yaml", ".yml": "application/yaml", ".pack": "application/x-git-pack",
         ".c": "text/x-c", ".h": "text/x-c", "": "text/plain"}
MARK = re.compile(rb"\[sluice: [a-z0-9-]+\] ")
WARNING = re.compile(rb"^\[sluice: passages of this text [^\n]*\n\n?")


def made(folder):
    """Kinds that no package installs: a wheel, a git pack, a Debian package's parts."""
    with zipfile.ZipFile(folder / "a-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for number in range(30):
            wheel.writestr(f"a/{number}.py", "x = 1\r\n" * number)
    git = ["git", "-C", folder / "work", "-c", "user.name=a", "-c", "user.email=a@a.test"]
    subprocess.run(["git", "init", "-q", folder / "work"], check=True)
    for number in range(3):
        (folder / "work" / "file").write_text(f"{number}\n" * 100)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)
    subprocess.run([*git, "repack", "-adq"], check=True)
    (folder / "a.msgpack").write_bytes(b"\x82\xa4name\xa5pears\xa4text\xd9\x40" + b"a" * 64)
    (folder / "a.pdf").write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + b"1 0 obj\n" * 90 + bytes(range(256)))
    (folder / "METADATA").write_bytes(b"Metadata-Version: 2.1\r\nName: a\r\n\r\nText\r\n")
    return [path for path in folder.rglob("*") if path.is_file() and ".git/hooks" not in str(path)]


def sample(folder):
    kinds = {}
    for top in FOLDERS:
        for place, _, names in os.walk(top):
            for name in names[:40]:
                path = Path(place, name)
                kinds.setdefault(path.suffix.lower() if len(path.suffix) < 8 else "", []).append(path)
    chance = random.Random(15)
    for paths in kinds.values():
        paths.sort()
        chance.shuffle(paths)
    order = sorted(kinds, key=lambda kind: -len(kinds[kind]))[:80]
    files = made(folder)
    while len(files) < COUNT and any(kinds[kind] for kind in order):
        for kind in order:
            while kinds[kind]:
                path = kinds[kind].pop()
                if path.is_file() and not path.is_symlink() and 0 < path.stat().st_size < BYTES_MAX and os.access(path, os.R_OK):
                    files.append(path)
                    break
    return files[:COUNT]


def head_of(number, path, body):
    type = TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or ("application/octet-stream" if number % 2 else "text/plain")
    fields = {"Content-Type": type, "ETag": f'"{md5(body).hexdigest()}"', "Content-MD5": "x", "Accept-Ranges": "bytes", "Content-Length": str(len(body))}
    if number % 7 == 3:
        del fields["Content-Type"]
    return fields


def parses(path, type, body):
    """Whether a body reads as its format; None where it is no such format."""
    if "json" in type:
        json.loads(body)
    elif type.endswith("xml"):
        xml.etree.ElementTree.fromstring(body)
    elif type == "text/x-python" or path.suffix == ".py":
        ast.parse(body)
    elif type == "text/csv":
        return [len(row) for row in csv.reader(io.StringIO(body.decode()))]
    elif type == "text/html":
        html.parser.HTMLParser().feed(body.decode())
    return True


def survives(path, type, body, other):
    try:
        before = parses(path, type, body)
    except (ValueError, SyntaxError, xml.etree.ElementTree.ParseError):
        return True
    return parses(path, type, other) == before


CHECKS = ["{flag_instructions: log}", "{flag_instructions: annotate}", "{flag_instructions: block}", "{secrets: block, flag_instructions: annotate}"]


@pytest.mark.parametrize("spoken, content", [("h1", check) for check in CHECKS] + [("h2", CHECKS[1])], indirect=["spoken"])
def test_real_answers_stay_what_they_are(serving, tmp_path, content):
    files = sample(tmp_path)
    assert len(files) == COUNT
    answers = {}
    for number, path in enumerate(files):
        body = path.read_bytes()
        fields = head_of(number, path, body)
        if number % 5 == 2:
            body = gzip.compress(body, mtime=0)
            fields |= {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
        answers[f"/{number}/{path.name.replace(' ', '_').replace('%', '_')}"] = (path, fields, body)

    def answer(asked):
        _, fields, body = answers[asked[0]]
        # The other server writes the length itself.
        return 200, {name: value for name, value in fields.items() if site.spoken == "h2" or name != "Content-Length"}, body

    site = serving(content, answer)
    flagged = refused = 0
    with site.client() as http:
        for place, (path, fields, body) in answers.items():
            with http.stream("GET", site.url + place, headers={"Accept-Encoding": "gzip"}) as said:
                came = b"".join(said.iter_raw())
            sent = {name.lower(): value for name, value in fields.items()}
            if said.status_code == 403:
                refused += 1
                continue
            if "x-sluice-flagged" in said.headers and came != body:
                flagged += 1
                text = gzip.decompress(body) if "Content-Encoding" in fields else body
                assert WARNING.sub(b"", MARK.sub(b"", came)) == text, path
                assert survives(path, fields.get("Content-Type", ""), text, came), path
                assert said.headers["content-length"] == str(len(came)) and "etag" not in said.headers
                continue
            assert came == body, path
            assert {name: said.headers.get(name) for name in sent} == sent, path
    print(content, len(files), "files", flagged, "marked", refused, "refused")
    assert flagged + refused <= len(files) // 10


FORMATS = {
    "a.json": ("application/json", json.dumps({"a": {"b": [ATTACK, "x"]}, ATTACK: 1})),
    "a.xml": ("application/xml", f"<a><!-- {ATTACK} --><b c='{ATTACK}'>{ATTACK}</b><![CDATA[{ATTACK}]]></a>"),
    "a.py": ("text/plain", f"x = '''{ATTACK}'''\n"), "b.py": ("text/x-python", f"# {ATTACK}\nimport os\n"),
    "a.csv": ("text/csv", f'id,text\n1,"{ATTACK}, ""now"""\n2,{ATTACK}\n'), "a.yaml": ("text/plain", f"a: {ATTACK}\nb: [1]\n"),
    "a.html": ("text/html", f"<!doctype html><title>{ATTACK}</title><p>{ATTACK}</p>"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_flagged_still_reads_as_its_format(serving, name):
    type, body = FORMATS[name]
    site = serving("{flag_instructions: annotate}", (200, {"Content-Type": type, "ETag": '"x"'}, body.encode()))
    said = site.fetch(f"/{name}")
    assert "override" in said.headers["x-sluice-flagged"]
    assert MARK.sub(b"", said.content) == body.encode()
    assert (said.content == body.encode()) == (name in ("a.py", "b.py", "a.yaml")) == ("etag" in said.headers)
    assert survives(Path(name), type, body.encode(), said.content)
    assert said.headers["content-length"] == str(len(said.content)) if site.spoken != "h2" else True
