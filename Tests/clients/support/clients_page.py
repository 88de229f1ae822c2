"""docs/clients.md out of what the clients said: a table, and the words of those that were refused."""
import json
import re
import textwrap
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/clients.md"
BEGIN = "<!-- Written by `make clients-page`; held by Tests/clients/test_clients_table.py. -->"
# Parts of the words that differ from run to run or between versions, and their replacements.
DIFFERS = [
    (r"\x1b\[[0-9;]*m", ""), (r"\b(?:0x)?[0-9a-f]{8,}\b", "HEX"), (r"\d{4}-\d\d-\d\d[T ][\d:.,Z+_-]+", "TIME"), (r"\b198\.1[89]\.\d+\.\d+", "ADDRESS"),
    (r"\[?\bfd[0-9a-f]{2}(?::[0-9a-f]*)+\b\]?", "ADDRESS"), (r"\b\d+(?:\.\d+)? ?m?s\b", "TIME"), (r"(?<=\w-)\d+(?:\.\d+)+", "VERSION"),
    (r"(?<=[/])\d+\.\d+(?:\.\d+)*\b", "VERSION"), (r"\bline \d+", "line N"), (r"^\[\d+:[^]]*\] ?", ""),
]
# Lines that say nothing of the refusal: where an exception came from, where a program keeps its own log.
NOISE = r"^\s+at |Picked up JAVA_TOOL|A complete log of this run|^\s*\.\.\. \d+ more|^\s*\^+$"
LINES, CHARACTERS, COLUMNS = 8, 480, 112


def words(client, said):
    """The lines that tell its user, with what differs from run to run replaced."""
    lines = [line.rstrip() for line in said.replace(f"{client.label}.refused.test", "refused.test").splitlines()]
    # Of a program that ends by an exception, what it was; not where it came from.
    traces = [index for index, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if traces:
        lines = [line for line in lines[traces[-1] + 1:] if line[:1] not in (" ", "")]
    for pattern, name in DIFFERS:
        lines = [re.sub(pattern, name, line) for line in lines]
    lines = [line.strip() for line in lines if line.strip() and not re.search(NOISE, line)][:LINES]
    return [line if len(line) <= CHARACTERS else line[:CHARACTERS] + "…" for line in lines]


def is_body(line):
    """Whether the line is the gate's own answer, as it is."""
    try:
        return json.loads(line)["error"]["code"] == "not_allowed"
    except (ValueError, KeyError, TypeError):
        return False


def block(lines):
    return [row for line in lines for row in textwrap.wrap(line, COLUMNS, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False)]


def cell(client, result):
    if result is None:
        return "no HTTP"
    return "works" if "hello from upstream" in result["said"] and result["status"] == 0 else "fails"


def hears(result):
    """Whether the words say who refused, and why."""
    return "not_allowed" in result["said"]


def section(results, asks, absent):
    """`results`: for each client what it said when it was allowed, inspected, refused. `asks`: by which way it came to the gate.
    `absent`: reasons, by client."""
    lines = [BEGIN, "", "| client | comes by | opaque | inspected | its words name the policy |", "| --- | --- | --- | --- | --- |"]
    for client, (opaque, inspected, refused) in results.items():
        lines.append(f"| {client.name} | {asks[client]} | {cell(client, opaque)} | {cell(client, inspected)} | {'yes' if hears(refused) else 'no'} |")
    lines += [f"| {client.name} | not tried: {reason} | | | |" for client, reason in absent.items()]
    said = {client: words(client, refused["said"]) for client, (_, _, refused) in results.items()}
    bodies = {client: next((line for line in lines if is_body(line)), None) for client, lines in said.items()}
    plain = [client for client in results if bodies[client]]
    if plain:
        names = ", ".join(client.name for client in plain)
        lines += ["", *textwrap.wrap(f"{names} show the answer's body:", 118), "", *block([bodies[plain[0]]])]
    for client, (_, _, refused) in results.items():
        if bodies[client]:
            continue
        ends = "ends with status 0" if refused["status"] == 0 else "fails"
        lines += ["", f"{client.name} {ends}:", "", *block(said[client])]
        lines += ["", client.silent] if client.silent else []
    return "\n".join(lines) + "\n"


def told():
    """What the page says now."""
    return "".join(PAGE.read_text().partition(BEGIN)[1:])


def write(text):
    PAGE.write_text(PAGE.read_text().partition(BEGIN)[0] + text)
