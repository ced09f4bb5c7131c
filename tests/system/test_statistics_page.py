"""A report in a real browser: charts, no errors, no requests, contrast, on a phone and a desk."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import date
from html import escape
from pathlib import Path

import attrs
import pytest

from mdirclient.smtp.spam.votes import Votes
from mdirclient.smtp.state import State
from mdirclient.smtp.statistics.archive import Archive, View
from mdirclient.smtp.statistics.figures import Figures, Row, Source, month_of
from mdirclient.smtp.statistics.page import page_of
from tests.traffic import month, play

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not here")

#: Measures the page in a frame of some width, and writes what it found into its own title.
_OUTER = """<!doctype html><html><head><title>waiting</title></head><body>
<iframe id="frame" style="width:{width}px;height:3000px;border:0" srcdoc="{page}"></iframe>
<script>
const frame = document.getElementById("frame");
function light(color) {{
  const found = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(value => {{
    value /= 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }});
  return 0.2126 * found[0] + 0.7152 * found[1] + 0.0722 * found[2];
}}
function behind(element, view) {{
  for (; element; element = element.parentElement) {{
    const color = view.getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$|transparent/.test(color)) return color;
  }}
  return "rgb(255, 255, 255)";
}}
frame.onload = () => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  let least = 99;
  for (const element of page.querySelectorAll("h1, h2, p, th, td, b, span, .axis")) {{
    if (!element.textContent.trim()) continue;
    const style = view.getComputedStyle(element);
    const color = element.classList.contains("axis") ? style.fill : style.color;
    const pair = [light(color), light(behind(element, view))].sort((a, b) => b - a);
    least = Math.min(least, (pair[0] + 0.05) / (pair[1] + 0.05));
  }}
  document.title = JSON.stringify({{
    charts: page.querySelectorAll("svg").length,
    bars: page.querySelectorAll("rect").length,
    sections: page.querySelectorAll("section").length,
    wide: page.documentElement.scrollWidth,
    crowded: [...page.querySelectorAll("section, .tile")].filter(
      one => one.scrollWidth > one.clientWidth).map(one => one.textContent.slice(0, 40)),
    contrast: least,
    outside: view.performance.getEntriesByType("resource").length,
  }});
}};
</script></body></html>"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """Those of a month."""
    path = str(tmp_path_factory.mktemp("state") / "smtp.sqlite3")
    state, votes = State(path), Votes(path)
    play(state, votes, list(month(1_000)), {})
    archive = Archive(path)
    view = View("mx.test", lambda network: network, "network", "full")
    found = archive.figures(month_of(date(2026, 10, 1)), view)
    for one in (state, votes, archive):
        one.close()
    return found


@pytest.fixture(scope="module")
def page(figures: Figures) -> str:
    """The report of a month."""
    return page_of(figures)


@pytest.fixture(scope="module")
def crowded(figures: Figures) -> str:
    """The same with large numbers and long names, some made to harm the page."""
    names = [
        "ab" * 126, "xn--" + "m-" * 60 + ".test", "<script>alert(1)</script>.test", "a." * 120,
        "\u05d0" + 40 * "\u05b0" + ".test", "\u202egnp.exe.test",
    ]  # fmt: skip
    rows = tuple(Row(name, 1_234_567, 10**13) for name in names)
    sources = tuple(
        Source(f"2001:db8:{number}000::/48", "", 1_234_567, 123_456, 98_765, 0.1)
        for number in range(1, 10)
    )
    return page_of(
        attrs.evolve(
            figures, mails=12_345_678, bytes=10**15, spam=98_765, spam_unknown=98_765,
            received=rows, senders=rows, reporters=rows, sites=rows, destinations=rows,
            sources=sources, owners=sources, delayed=1_234_567, never_returned=1_234_567,
        )
    )  # fmt: skip


def browse(path: Path, *words: str) -> tuple[str, str]:
    """What Chromium prints of a file, and what it logs; nothing is looked up."""
    assert CHROMIUM
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={path.parent}/profile", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr", "--virtual-time-budget=5000", *words, path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("which", ["page", "crowded"])
def test_the_page(
    tmp_path: Path, request: pytest.FixtureRequest, which: str, width: int, scheme: str
) -> None:
    """It fits, all text can be read, and nothing is asked for."""
    page: str = request.getfixturevalue(which)
    if scheme == "dark":
        page = page.replace("(prefers-color-scheme: dark)", "(min-width: 1px)")
    outer = tmp_path / "outer.html"
    outer.write_text(_OUTER.format(width=width, page=escape(page)))
    shown, said = browse(outer, "--dump-dom", "--window-size=1500,1000")
    title = re.search(r"<title>(.*?)</title>", shown)
    assert title
    found = json.loads(title[1].replace("&quot;", '"'))
    assert "CONSOLE" not in said
    assert 13 == found["sections"]
    assert found["charts"] > 50
    assert found["bars"] >= 48 + 50
    assert found["wide"] <= width
    assert [] == found["crowded"]
    assert found["contrast"] >= 4.5
    assert 0 == found["outside"]


@pytest.mark.parametrize("width", [400, 1400])
def test_a_screenshot(tmp_path: Path, page: str, width: int) -> None:
    """It is drawn; the picture stays in `$MDIR_TEST_ARTEFACTS` for who wants to look."""
    kept = Path(os.environ.get("MDIR_TEST_ARTEFACTS") or tmp_path)
    file, picture = tmp_path / "page.html", kept / f"statistics-{width}.png"
    file.write_text(page)
    browse(file, f"--screenshot={picture}", f"--window-size={width},1500")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
