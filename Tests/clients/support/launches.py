"""Time from `sluice run` to the first instruction of its command, relative to bubblewrap, by Benchmarks/launch.py."""
import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[3] / "Benchmarks/launch.py"


def times_bubblewrap(sluice):
    """Of the least of each, taken in turns: a machine that is slow or busy is so for both."""
    got = subprocess.run([sys.executable, BENCH, "--sluice", sluice, "--rounds", "15", "--json"], capture_output=True, text=True, timeout=100)
    # 1: beyond its bar in the median.
    assert got.returncode in (0, 1), got.stderr
    found = json.loads(got.stdout)
    print(found)
    least = {name: times["least_ms"] for name, times in found.items()}
    assert 0 < least["unshare"] < least["sluice run --no-probe"]
    return least["sluice run"] / least["bubblewrap"]
