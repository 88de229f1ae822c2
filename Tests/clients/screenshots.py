"""Pictures of the dashboard for docs/, at three widths in light and dark: `make screenshots`. They are looked at, not compared."""
import html
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

import sample_log
from browser import Browser
from gate import plain_environment
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


STYLE = """<meta charset=utf-8><style>body { margin: 0; background: #101418 } pre { margin: 0; padding: 18px 22px; color: #d5dbe1;
  font: 13px/1.42 "DejaVu Sans Mono", monospace; width: max-content } b { color: #fff } .ok { color: #7bd88f } .no { color: #ff8f84 }
  .dim { color: #8a949e }</style><pre>"""


def test_picture_of_the_demo(tmp_path):
    """What `make demo` prints, as a terminal shows it."""
    root = FOLDER.parents[1]
    said = subprocess.run([root / "Examples/sandbox"], cwd=root, capture_output=True, text=True, check=True, env=plain_environment() | {"SLUICE": os.environ["SLUICE"]}).stdout
    lines, tried = ["<b>$ make demo</b>"], False
    for line in said.splitlines():
        line = html.escape(re.sub(r"/tmp/tmp[.\w]+", "…", line))[:118]
        if line.startswith("---") or line.endswith(":") and not line.startswith(" "):
            tried = line.startswith("its ")
            lines.append(f"<b>{line}</b>")
        else:
            kind = "ok" if re.search(r" worked| closed ", line) else "no" if tried or " denied " in line else "dim"
            lines.append(f"<span class={kind}>{line}</span>")
    page_file = tmp_path / "demo.html"
    page_file.write_text(STYLE + "\n".join(lines) + "</pre>")
    browser = Browser()
    try:
        page = browser.page(page_file.as_uri(), width=980, height=40 + 19 * len(lines))
        picture = page.picture(whole=False)
    finally:
        browser.close()
    small = subprocess.run(["pngquant", "--speed", "1", "32", "-"], input=picture, capture_output=True, check=True).stdout
    assert len(small) < SIZE_MAX
    (FOLDER / "demo.png").write_bytes(small)
