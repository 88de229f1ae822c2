"""The commands of the README do what it says."""
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_the_checks_of_the_readme():
    text = (ROOT / "README.md").read_text()
    commands = [line.split() for line in text.splitlines() if line.strip().startswith("sluice check ")]
    assert len(commands) == 2
    for command, status in zip(commands, (0, 1)):
        got = run(os.environ["SLUICE"], *command[1:])
        assert got.returncode == status, got.stderr
    assert "allow api.openai.com:443" in got.stdout and "refuse example.com:443 reason=not_allowed" in got.stdout


def test_the_policy_of_the_readme_loads(tmp_path):
    text = (ROOT / "README.md").read_text()
    block = text.split("## A policy")[1].split("Check it")[0]
    policy = tmp_path / "policy.yaml"
    policy.write_text("\n".join(line[4:] for line in block.splitlines()))
    assert policy.read_text().strip() == (ROOT / "Examples/design.yaml").read_text().strip()
    assert run(os.environ["SLUICE"], "check", "--policy", str(policy)).returncode == 0


def test_the_inspected_policy_of_the_readme_loads(tmp_path):
    block = (ROOT / "README.md").read_text().split("## Hold the keys")[1].split("Such a target")[0]
    policy = tmp_path / "policy.yaml"
    policy.write_text("\n".join(line[4:] for line in block.splitlines()))
    got = run(os.environ["SLUICE"], "check", "--policy", str(policy), "api.github.com:443")
    assert got.returncode == 0 and "github" in got.stdout, got


def test_every_make_verb_of_the_documents_exists():
    made = (ROOT / "Makefile").read_text()
    for name in ("README.md", "docs/hacking.md"):
        for verb in set(re.findall(r"(?:^    |`)make ([a-z]+(?:-[a-z]+)*)", (ROOT / name).read_text(), re.MULTILINE)):
            assert f"\n{verb}:" in made, f"{name}: make {verb}"


def test_check_says_error_with_status_2(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("network_policy: {allow: [a.example]}\n")
    got = run(os.environ["SLUICE"], "check", "--policy", str(bad), "a.example:443")
    assert got.returncode == 2 and f"{bad}:1:26: the port is missing; write a.example:443" in got.stderr
    assert run(os.environ["SLUICE"], "check", "nonsense").returncode == 2
    assert run(os.environ["SLUICE"], "check", "a.example:443").returncode == 1
