"""The report's pages in a real Chromium: light, dark and on a phone."""

import json
import subprocess
import sys

import browser
import pytest

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN
from report_fixture import report, verify_stage
from tiny_run import copy_of_the_tiny_run

pytestmark = [pytest.mark.recipe, pytest.mark.skipif(browser.MISSING is not None, reason=browser.MISSING or "")]

LONG = "/a/folder/" + "inside/of_another/" * 6 + "file.with.a.long_name.that.has.no.break.txt"
PAGES = ["tiny", "nano", "two", "near", "paths", "compared"]
WINDOWS = {"light": {}, "dark": {"dark": True}, "phone": {"width": 390, "height": 844}, "dark phone": {"width": 390, "height": 844, "dark": True}}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A real run, the demo's shape, two verify stages with a missed gate and a better baseline, four runs compared."""
    folder = tmp_path_factory.mktemp("pages")
    documents = {
        "nano": report(),
        "two": report(
            more_stages=[("export", {"gguf": {"architecture": "llama", "bytes": 5e7}}, {}), verify_stage(0.31, 50_000_000)], baseline={"kl": 0.2, "top1": 0.7, "bytes": 5.2e7}
        ),
        "near": report(baseline={"kl": 0.181, "top1": 0.76, "bytes": 6e7}),
        "paths": report(teacher=LONG, source=LONG, name=LONG.replace("/", "_")),
        "fast": report("a-name-that-is-rather-long-for-a-phone-but-a-name", kl=0.5, size=30_000_000),
        "large": report("large", kl=0.11, size=74_700_000),
    }
    made = {"tiny": copy_of_the_tiny_run(tmp_path_factory) / "report.html"}
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
        made[name] = folder / f"{name}.html"
        subprocess.run([BIN / "attar", "report", folder / f"{name}.json", "--out", made[name], "--quiet"], check=False, stdout=subprocess.DEVNULL)
    made["compared"] = folder / "compared.html"
    command = [BIN / "attar", "report", *(folder / f"{name}.json" for name in documents), "--out", made["compared"]]
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 4  # gates were missed; the page is there
    return made


@pytest.fixture(scope="module", params=WINDOWS)
def window(request):
    with browser.Browser(**WINDOWS[request.param]) as opened:
        opened.kind = request.param
        yield opened


# Everything below looks at the page as it is laid out.
TOO_WIDE = """const wide = arguments[0] + 0.5;
const outside = [...document.body.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > wide);
return [document.documentElement.scrollWidth, ...outside.map(e => e.outerHTML.slice(0, 100))]"""

TEXTS = """const seen = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const channels = text => (text.match(/[\\d.]+/g) || [0, 0, 0]).map(Number);
const srgb = text => text.startsWith('color(srgb') ? channels(text.slice(10)).map((c, i) => i < 3 ? 255 * c : c) : channels(text);
const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
while (walk.nextNode()) {
  const node = walk.currentNode, style = getComputedStyle(node.parentElement);
  if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
  let under = node.parentElement, back = [0, 0, 0, 0];
  while (under) {
    const colour = srgb(getComputedStyle(under).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) { back = colour; break; }
    under = under.parentElement;
  }
  if (!under) back = matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
  const a = light(srgb(style.color)), b = light(back);
  seen.push([node.data.trim().slice(0, 40), parseFloat(style.fontSize), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
}
return seen"""

OVERLAPS = """const clash = [];
for (const area of document.querySelectorAll('.area')) {
  const ticks = [...area.querySelectorAll('.tick, .number')].map(e => [e.textContent, e.getBoundingClientRect()]);
  for (let i = 0; i < ticks.length; ++i) for (let j = 0; j < i; ++j) {
    const [a, b] = [ticks[i][1], ticks[j][1]];
    if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) clash.push(ticks[i][0] + ' on ' + ticks[j][0]);
  }
}
return clash"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_asks_for_nothing(pages, window, name):
    window.requests(), window.console()
    window.open(pages[name])
    width, *outside = window.run(TOO_WIDE, window.width)
    assert width <= window.width and not outside, (width, outside)
    assert window.requests() == [pages[name].resolve().as_uri()]
    assert window.console() == []
    assert not window.run(OVERLAPS)


@pytest.mark.parametrize("name", PAGES)
def test_text_is_large_and_plain_enough_to_read(pages, window, name):
    window.open(pages[name])
    texts = window.run(TEXTS)
    assert len(texts) > 60
    assert not [text for text in texts if text[1] < 12], "smaller than 12 px"
    assert not [text for text in texts if text[2] < 4.5], "less contrast than WCAG's AA asks for"


def test_dots_that_touch_have_their_numbers_outside(pages, window):
    window.open(pages["near"])
    inside, outside = ("return [...document.querySelectorAll('" + kind + "')].map(e => e.textContent)" for kind in (".dot", ".number"))
    assert window.run(inside) == ["1", "", ""] and window.run(outside) == ["2", "3"]
    window.open(pages["two"])
    assert window.run(inside) == ["1", "2", "3"] and window.run(outside) == []


def test_dark_is_dark_and_light_is_light(pages, window):
    window.open(pages["nano"])
    red, green, blue = window.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (red + green + blue < 120) == ("dark" in window.kind) and (red + green + blue > 700) == ("dark" not in window.kind)


def test_samples_stand_side_by_side_or_one_under_another_and_are_capped(pages, window):
    window.open(pages["nano"])
    boxes = window.run(
        "return [...document.querySelectorAll('.pair')].map(p => [...p.children].map(c => { const r = c.getBoundingClientRect(); return [r.left, r.top, r.bottom] }))"
    )
    assert len(boxes) == 3
    for (left, _, bottom), (other_left, other_top, _) in boxes:
        assert (other_left == left and other_top >= bottom) if "phone" in window.kind else other_left > left
    heights = window.run("return [...document.querySelectorAll('pre')].map(p => p.getBoundingClientRect().height)")
    assert heights and max(heights) <= 500


def test_a_chart_has_axes_with_names_numbers_and_as_many_lines_as_it_says(pages, window):
    window.open(pages["nano"])
    charts = window.run("""return [...document.querySelectorAll('figure')].filter(f => f.querySelector('.area')).map(f => ({
      title: f.querySelector('figcaption').textContent, x: f.querySelector('.xtitle').textContent, y: f.querySelector('.ytitle').textContent,
      xs: f.querySelectorAll('.tick.x').length, ys: f.querySelectorAll('.tick.y').length,
      legend: f.querySelectorAll('.legend li').length, lines: [...f.querySelectorAll('polyline')].filter(l => l.getAttribute('stroke-opacity') == '1').length}))""")
    assert len(charts) >= 2
    for chart in charts:
        assert chart["x"] and chart["y"] and chart["xs"] >= 2 and chart["ys"] >= 2, chart
        assert chart["legend"] == chart["lines"], chart
