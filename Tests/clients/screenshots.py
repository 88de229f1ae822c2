"""Pictures of the dashboard for docs/, at three widths in light and dark: `make screenshots`. They are looked at, not compared."""
import subprocess
import time
from pathlib import Path

import pytest

import sample_log
from browser import Browser
from test_dashboard import dashboard, is_live  # noqa: F401

FOLDER = Path(__file__).parent.parent.parent / "docs/images"
SIZE_MAX = 200_000


@pytest.mark.parametrize("width, height", [(390, 2300), (820, 2100), (1440, 2000)])
@pytest.mark.parametrize("dark", [False, True])
def test_picture(width, height, dark, tmp_path, dashboard):  # noqa: F811
    log, policy = tmp_path / "sluice.jsonl", tmp_path / "agent.yaml"
    sample_log.write(log, time.time())
    policy.write_text(sample_log.POLICY)
    browser = Browser()
    try:
        page = browser.page(dashboard("--log", log, "--policy", policy).url + "#span=all", width=width, height=height, dark=dark)
        is_live(page)
        # The folder of a test says nothing to a reader.
        page.ask("document.querySelectorAll('#source, .why').forEach((one) => { one.textContent = one.textContent.replace(/\\/[^ ]*\\/(sluice.jsonl|agent.yaml)/g, '$1'); })")
        picture = page.picture(whole=False)
    finally:
        browser.close()
    small = subprocess.run(["pngquant", "--speed", "1", "96", "-"], input=picture, capture_output=True, check=True).stdout
    assert len(small) < SIZE_MAX
    (FOLDER / f"dashboard-{width}-{'dark' if dark else 'light'}.png").write_bytes(small)
