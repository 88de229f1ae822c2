#!/usr/bin/env python3
"""Man pages: one a command, out of what the program says of itself, and sluice-policy(5) out of docs/policy.md.

    Packaging/man.py SLUICE FOLDER
"""
import datetime
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = (ROOT / "VERSION").read_text().strip()


# mdoc(7)

def escaped(text):
    """Plain words: what roff would read otherwise, and the characters that ASCII has none for."""
    return text.replace("\\", "\\e").replace("…", "...").replace("–", "-")


def prose(text):
    """A paragraph: code in bold, options with their own hyphens, lines of less than 80 bytes, none a macro by accident."""
    text = re.sub(r"\[([^\]]+)\]\((?!http)[^)]*\)", r"\1", text)
    parts = re.split(r"`([^`]*)`", text)
    out = ""
    for index, part in enumerate(parts):
        part = escaped(part)
        if index % 2:
            # Code stays on one line.
            out += "\\fB" + part.replace("-", "\\-").replace(" ", "\0") + "\\fP"
        else:
            part = re.sub(r"\*([^*\n]+)\*", r"\\fI\1\\fP", part)
            out += re.sub(r"(?<![\w-])--?(?=\w)", lambda m: m.group().replace("-", "\\-"), part)
    lines = textwrap.wrap(out, 76, break_long_words=False, break_on_hyphens=False)
    return [guarded(line.replace("\0", "\\ ")) for line in ended(lines)]


def ended(lines):
    """A sentence ends where its line does: so roff knows it for one."""
    found = []
    for line in lines:
        found += re.split(r"(?<=[.!?]) +(?=[A-Z])", line)
    return found


def guarded(line):
    return "\\&" + line if line.startswith((".", "'")) else line


def literal(lines):
    body = [guarded(escaped(line).replace("-", "\\-")) for line in textwrap.dedent("\n".join(lines)).split("\n")]
    return [".Bd -literal -offset indent", *body, ".Ed"]


def page(name, section, date, abstract, body):
    abstract = prose(abstract.rstrip("."))
    return "\n".join([f'.\\" Made by Packaging/man.py.', f".Dd {date}", f".Dt {name.upper()} {section}", f".Os Sluice {VERSION}", ".Sh NAME", f".Nm {name}",
                      ".Nd " + " ".join(abstract), *body]) + "\n"


# Commands

def fl(argument):
    """What a reader types, as macros."""
    names = [("Fl \\-" if name["kind"] == "long" else "Fl ") + name["name"].replace("-", "\\-") for name in argument.get("names", [])]
    value = "Ar " + argument["valueName"].replace("...", "") if argument["kind"] != "flag" else ""
    return names, value


def synopsis(command, words):
    out = [f".Nm {words}"]
    for argument in shown(command):
        names, value = fl(argument)
        if argument["kind"] == "positional":
            if argument["parsingStrategy"] == "postTerminator":
                out += [".Fl \\-", f".{value} ..."]
            else:
                text = f"{value}{' ...' if argument['isRepeating'] else ''}"
                out.append(f".Op {text}" if argument["isOptional"] else f".{text}")
        else:
            text = f"{names[-1]} {value}".strip()
            out.append(f".Op {text}" if argument["isOptional"] else f".{text}")
    if command.get("subcommands"):
        out.append(".Ar command")
    return out


def shown(command):
    """Its own: what all commands have stands in sluice(1)."""
    return [one for one in command.get("arguments", []) if one.get("shouldDisplay", True)
            and not {name["name"] for name in one.get("names", [])} & {"help", "version"}]


def options(command, arguments):
    out = [".Bl -tag -width Ds"]
    for argument in arguments:
        names, value = fl(argument)
        out.append(".It " + (" , ".join(names) + " " + value if names else value).strip())
        text = argument.get("abstract", "")
        if argument.get("allValues"):
            text += " One of " + ", ".join(f"`{one}`" for one in argument["allValues"]) + "."
        if argument.get("defaultValue"):
            text += f" Default: `{argument['defaultValue']}`."
        if argument.get("discussion"):
            text += " " + argument["discussion"]
        out += prose(text)
    return [*out, ".El"]


def description(text):
    """Paragraphs and examples; and what is said of the exit status, which has a section of its own."""
    body, status, rest = [], [], []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.split("\n")
        if block.startswith("Exit status:"):
            words = block.removeprefix("Exit status:").strip()
            status = prose(words[0].upper() + words[1:])
        elif all(line.startswith(" ") for line in lines):
            body += literal(lines)
        else:
            body += ([".Pp"] if body else []) + prose(" ".join(lines))
    return body, status


# Texts of sluice(1) about all commands.
COMMON = """
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev SLUICE_ADMIN
The admin socket of a running gate, where no option names it.
.It Ev NO_COLOR
No colours, also on a terminal.
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/sluice/policy.yaml
The policy of the service.
.It Pa ~/.local/state/sluice/sandbox.jsonl
The log of
.Xr sluice-run 1 ,
where the policy names none.
.El""".strip().split("\n")


def command_page(command, parents, names, date):
    words = " ".join([*parents, command["commandName"]])
    name = words.replace(" ", "-")
    body = [".Sh SYNOPSIS", *synopsis(command, words), ".Sh DESCRIPTION"]
    text, status = description(command.get("discussion", ""))
    body += text or prose(command["abstract"])
    children = [one for one in command.get("subcommands", []) if one["commandName"] != "help" and one.get("shouldDisplay", True)]
    if children:
        body += [".Sh COMMANDS", ".Bl -tag -width Ds"]
        for child in children:
            body += [f".It Cm {child['commandName']}", *prose(child["abstract"]), "See", f".Xr {name}-{child['commandName']} 1 ."]
        body += [".El"]
    mine = shown(command)
    if not parents:
        mine = [one for one in command["arguments"] if one.get("names")]
    if mine:
        body += [".Sh OPTIONS", *options(command, mine)]
    if not parents:
        body += COMMON
    if status:
        body += [".Sh EXIT STATUS", *status]
    related = sorted({"sluice", "-".join(parents) or "sluice", *(names if not parents else [])} - {name})
    body += [".Sh SEE ALSO", *[f".Xr {one} 1 ," for one in related], ".Xr sluice-policy 5"]
    return name, page(name, 1, date, command["abstract"], body)


def walk(command, parents=()):
    yield command, parents
    for child in command.get("subcommands", []):
        if child["commandName"] != "help" and child.get("shouldDisplay", True):
            yield from walk(child, (*parents, command["commandName"]))


# docs/policy.md

def policy_page(date):
    lines = (ROOT / "docs/policy.md").read_text().split("\n")
    body, at = [".Sh DESCRIPTION"], 1
    while at < len(lines):
        line = lines[at]
        if line.startswith("#"):
            body.append(".Sh " + escaped(line.lstrip("# ")).upper())
            at += 1
        elif line.startswith("|"):
            rows = []
            while at < len(lines) and lines[at].startswith("|"):
                rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", lines[at])[1:-1]])
                at += 1
            body += table(rows)
        elif line.startswith("    "):
            block = []
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip() and lines[at + 1].startswith("    ")):
                block.append(lines[at])
                at += 1
            body += literal(block)
        elif line.startswith("- "):
            body += [".Bl -bullet"]
            while at < len(lines) and lines[at].startswith("- "):
                text, at = gather(lines, at + 1, lines[at][2:])
                body += [".It", *prose(text)]
            body += [".El"]
        elif line.strip():
            text, at = gather(lines, at + 1, line)
            body += ([] if body[-1].startswith(".Sh") else [".Pp"]) + prose(text)
        else:
            at += 1
    body += [".Sh FILES", ".Bl -tag -width Ds", ".It Pa /etc/sluice/policy.yaml", "The policy of the service.", ".El",
             ".Sh SEE ALSO", ".Xr sluice 1 ,", ".Xr sluice-check 1 ,", ".Xr sluice-learn 1"]
    return page("sluice-policy", 5, date, "the policy file of the sluice egress gate", body)


def gather(lines, at, text):
    """The rest of a paragraph."""
    while at < len(lines) and lines[at].strip() and not lines[at].startswith(("- ", "|", "#", "    ")):
        text += " " + lines[at].strip()
        at += 1
    return text, at


def table(rows):
    """Each row is one of a list: its key, and what stands beside it, with the head of the column where there are more."""
    head, body = rows[0], [".Bl -tag -width Ds"]
    for row in rows[2:]:
        body.append(".It " + " ".join(prose(row[0])))
        text = row[1] if len(row) > 1 else ""
        for title, cell in zip(head[2:], row[2:]):
            if cell:
                text += f"{'' if text.endswith('.') else '.'} {title.capitalize()}: {cell}"
        body += prose(text + ("" if not text or text.endswith((".", "?")) else "."))
    return [*body, ".El"]


def main():
    sluice, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    when = os.environ.get("SOURCE_DATE_EPOCH") or subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True).stdout.strip()
    day = datetime.datetime.fromtimestamp(int(when), datetime.timezone.utc) if when else datetime.datetime.now(datetime.timezone.utc)
    date = f"{day:%B} {day.day}, {day.year}"
    told = subprocess.run([sluice, "--experimental-dump-help"], check=True, capture_output=True, text=True).stdout
    commands = list(walk(json.loads(told)["command"]))
    names = ["-".join([*parents, command["commandName"]]) for command, parents in commands]
    for command, parents in commands:
        name, text = command_page(command, list(parents), names, date)
        (folder / f"{name}.1").write_text(text)
    (folder / "sluice-policy.5").write_text(policy_page(date))


if __name__ == "__main__":
    main()
