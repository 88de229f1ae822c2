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


def test_the_policy_of_the_credentials_page_loads(tmp_path):
    text = (ROOT / "docs/credentials.md").read_text()
    block = text[text.index("\n    credentials:\n") + 1:text.index("The policy file says where a value is")]
    policy = tmp_path / "policy.yaml"
    policy.write_text("\n".join(line[4:] for line in block.splitlines()) + "\n")
    got = run(os.environ["SLUICE"], "check", "--policy", str(policy), "api.github.com:443")
    assert got.returncode == 0 and "github" in got.stdout, got


def test_the_variables_of_the_clients_page_are_those_of_curl(tmp_path):
    """A shell takes the lines as they stand."""
    text = (ROOT / "docs/clients.md").read_text()
    lines = [line.strip() for line in text.splitlines() if line.startswith("    export ")]
    assert len(lines) == 2
    got = subprocess.run(["bash", "-ec", "\n".join(lines) + '\necho "$https_proxy $http_proxy"'], capture_output=True, text=True)
    assert got.stdout == "http://127.0.0.1:3128 http://127.0.0.1:3128\n", got


def test_every_make_verb_of_the_documents_exists():
    made = (ROOT / "Makefile").read_text()
    for name in ("README.md", "CONTRIBUTING.md", "docs/hacking.md", "docs/figures.md", "docs/install.md"):
        for verb in set(re.findall(r"(?:^    |`)make ([a-z]+(?:-[a-z]+)*)", (ROOT / name).read_text(), re.MULTILINE)):
            assert f"\n{verb}:" in made, f"{name}: make {verb}"


def test_check_says_error_with_status_2(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("network_policy: {allow: [a.example]}\n")
    got = run(os.environ["SLUICE"], "check", "--policy", str(bad), "a.example:443")
    assert got.returncode == 2 and f"{bad}:1:26: the port is missing; write a.example:443" in got.stderr
    assert run(os.environ["SLUICE"], "check", "nonsense").returncode == 2
    assert run(os.environ["SLUICE"], "check", "a.example:443").returncode == 1
