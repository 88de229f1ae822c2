"""Metrics as a monitoring system reads them, and what docs/metrics.md says of them."""
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "Examples" / "monitoring"


class Metrics:
    """The samples of a text, by name and labels; `types`, the types of families by name."""

    def __init__(self, text):
        self.text, self.samples, self.types, self.labels = text, {}, {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"{name} stands twice"
                self.types[name] = kind
            elif not line.startswith("#"):
                self.take(line)

    def take(self, line):
        found = re.fullmatch(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? ([0-9.+InfNa-]+)', line)
        assert found, line
        name, labels, value = found.groups()
        pairs = tuple((key, re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], text))
                      for key, text in re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or ""))
        assert (name, pairs) not in self.samples, f"twice: {line}"
        self.samples[name, pairs] = float(value)
        self.labels.setdefault(self.family(name), set()).add(tuple(key for key, _ in pairs if key != "le"))

    def family(self, name):
        histogram = re.sub("_(bucket|sum|count)$", "", name)
        return histogram if self.types.get(histogram) == "histogram" else name

    def all(self, name, **labels):
        """Of each set of labels that has these among it."""
        return {pairs: value for (one, pairs), value in self.samples.items() if one == name and labels.items() <= dict(pairs).items()}

    def sum(self, name, **labels):
        found = self.all(name, **labels)
        assert found, (name, labels)
        return sum(found.values())

    def by(self, name, label, **labels):
        """What is not zero, summed by one label."""
        sums = {}
        for pairs, value in self.all(name, **labels).items():
            sums[dict(pairs)[label]] = sums.get(dict(pairs)[label], 0) + value
        return {key: value for key, value in sums.items() if value}


def documented():
    """Name to type and labels, as the table has them."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \| ([^|]*)\| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs/metrics.md").read_text(), re.M)
    return {name: (kind, tuple(re.findall(r"`([a-z_]+)`", labels))) for name, kind, labels, _, _ in rows}


def promtool(*arguments, stdin=""):
    return subprocess.run(["promtool", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=60, cwd=EXAMPLE)
