"""The page in a real browser: it loads without a word on the console, and asks nobody for anything."""

import json
import re
import shutil
import subprocess
from urllib.parse import urlsplit

import numpy as np
import pytest
from matplotlib.image import imread

from tempograd.report.profile import write_profile
from tempograd.report.report import write_report

from .conftest import profiled
from .test_examples import KINDS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--enable-logging=stderr",
    "--v=0", "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; apt-get install chromium"),
]


def browse(page, folder, *flags):
    """Open a page; return its DOM, what the console said, and the outside addresses asked for."""
    log = folder / "net.json"
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console, asked(log.read_text())


def asked(log):
    try:
        events = json.loads(log)["events"]
    except json.JSONDecodeError:  # the browser was quicker to leave than to close its log
        events = json.loads(log.rstrip().rstrip(",") + "]}")["events"]
    requests = [event["params"] for event in events if "initiator" in event.get("params", {})]
    # what the browser does on its own account (updates, clock, sign-in) has no page as its initiator
    urls = {request["url"] for request in requests if request["initiator"] != "not an origin"}
    return {url for url in urls if urlsplit(url).scheme in {"http", "https", "ws", "wss", "ftp"}}


def test_loads_silently_and_alone(write, tmp_path, full_result):
    full_result["task"] = "<script>console.log('run')</script><img src=http://evil.example/x>"
    page = write_report(write(full_result), tmp_path / "report.html")
    dom, console, outside = browse(page, tmp_path, "--dump-dom")
    assert "PASS" in dom
    assert dom.count("<svg") == 5
    assert console == []
    assert outside == set()


def test_the_checks_see_a_page_that_misbehaves(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<p>x</p><img src='http://evil.example/x'><script>console.log('run')</script>")
    _, console, outside = browse(page, tmp_path, "--dump-dom")
    assert "run" in console[0]
    assert outside == {"http://evil.example/x"}


@pytest.mark.parametrize("width", [1100, 500])
def test_is_not_blank(write, tmp_path, full_result, width):
    page = write_report(write(full_result), tmp_path / "report.html")
    shot = tmp_path / "shot.png"
    browse(page, tmp_path, f"--window-size={width},1400", f"--screenshot={shot}")
    pixels = imread(shot)[..., :3]
    assert pixels.shape[:2] == (1400, width)
    green = (pixels[..., 1] > pixels[..., 0] + 0.15) & (pixels[..., 1] > pixels[..., 2] + 0.1)  # PASS
    blue = (pixels[..., 2] > pixels[..., 0] + 0.3) & (pixels[..., 2] > pixels[..., 1] + 0.15)  # the network found
    assert green[:400].mean() > 0.003
    assert blue.any()
    assert len(np.unique((pixels * 255).astype(int).reshape(-1, 3), axis=0)) > 50


PROBE = """<iframe id=page src={url} width=400 height=900></iframe><p id=said>waiting</p><script>
document.getElementById('page').onload = event => {{
  const page = event.target.contentDocument.documentElement
  const outside = one => one.getBoundingClientRect().right > 401 && !one.closest('.scroll')
  const wide = [...page.querySelectorAll('body *')].filter(outside)
  document.getElementById('said').textContent =
    `width ${{page.clientWidth}} needs ${{page.scrollWidth}}: ${{wide.map(one => one.tagName + '.' + one.className)}}`
}}</script>"""


def needs(page, folder):
    """Return how wide a page is in a frame of 400 pixels, and how wide it wants to be."""
    (folder / "probe.html").write_text(PROBE.format(url=page.as_uri()))
    dom, *_ = browse(folder / "probe.html", folder, "--allow-file-access-from-files", "--dump-dom")
    width, needed, who = re.search(r"width (\d+) needs (\d+): ([^<]*)", dom).groups()
    return int(width), int(needed), who


@pytest.mark.parametrize("kind", ["full", "minimal", "kernels"])
def test_a_phone_need_not_scroll_sideways(write, tmp_path, full_result, minimal_result, kind):
    page = tmp_path / "page.html"
    if kind == "kernels":
        write_profile(profiled(), page)
    else:
        write_report(write(full_result if kind == "full" else minimal_result), page)
    width, needed, who = needs(page, tmp_path)
    assert 380 <= width <= 400
    assert needed <= width, who


def test_the_probe_sees_a_page_that_is_too_wide(tmp_path):
    (tmp_path / "wide.html").write_text("<div style='width: 700px'>x</div>")
    width, needed, _ = needs(tmp_path / "wide.html", tmp_path)
    assert needed > width


@pytest.mark.parametrize("kind", KINDS)
def test_examples_of_every_kind_load_silently_and_fit_a_phone(write, tmp_path, minimal_result, kind):
    minimal_result["examples"] = {"kind": kind} | KINDS[kind]
    page = write_report(write(minimal_result), tmp_path / "page.html")
    width, needed, who = needs(page, tmp_path)
    assert needed <= width, who
    _, console, outside = browse(page, tmp_path, "--dump-dom")
    assert (console, outside) == ([], set())
