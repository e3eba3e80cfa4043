"""The page in a real browser: headless Chromium, no network, a profile of its own."""

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from groundscope.behaviour.pictures import PICTURES
from groundscope.mechanism.picture_saliency import PICTURE_SALIENCY, PICTURES_SHOWN
from groundscope.mechanism.prompt_saliency import PROMPT_SALIENCY
from groundscope.report.page import write_page
from groundscope.tables import write_table

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra: dev)")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with chromedriver: apt install chromium-driver"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium's sockets
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(plain_run: Path) -> str:
    return write_page(plain_run).resolve().as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page freshly opened; whatever a test does, the console must stay silent."""
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def run(page: Any, script: str, *arguments: Any) -> Any:
    return page.execute_script(script, *arguments)


def choose(page: Any, name: str, value: str) -> None:
    """Click a radio button or checkbox by its name and value, as a person would."""
    run(page, "document.querySelector(`[name='${arguments[0]}'][value='${arguments[1]}']`).click()", name, value)


def type_into(page: Any, identity: str, text: str) -> None:
    """Set a field's value and tell the page."""
    script = "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
    run(
        page,
        script + "field.dispatchEvent(new Event('input')); field.dispatchEvent(new Event('change'))",
        identity,
        text,
    )


def lines(page: Any, figure: str) -> list[dict[str, Any]]:
    """The visible traces of a figure that carry data: their model, direction, measure and x."""
    script = """
      return document.querySelector(`[data-figure='${arguments[0]}']`).data
        .filter((trace) => trace.visible && trace.hovertemplate).map(({ meta, x }) => ({ ...meta, x }))
    """
    return run(page, script, figure)


def words_shown(page: Any) -> list[str]:
    script = "return [...document.querySelectorAll('#tiles li:not([hidden]) .tile-word')].map((one) => one.textContent)"
    return run(page, script)


def test_every_figure_is_drawn(page: Any) -> None:
    drawn = run(
        page,
        "const charts = [...document.querySelectorAll('.chart')];"
        "return charts.map((one) => one.querySelectorAll('.scatterlayer .js-line').length)",
    )
    assert len(drawn) == 6 + 1  # two models, gain, R-squared, explorer, loss; and the dialog's, which is not open
    assert drawn.count(0) == 1
    assert run(page, "return performance.getEntriesByType('resource').length") == 0


def test_models_come_and_go_everywhere(page: Any) -> None:
    assert {line.get("arch") for line in lines(page, "gain")} == {
        "transformer-4",
        "lstm-4",
        None,
    }  # None: counting alone
    choose(page, "arch", "lstm-4")
    for figure in ("gain", "r-squared", "loss"):
        assert {line.get("arch") for line in lines(page, figure)} - {None} == {"transformer-4"}
    hidden = (
        "return [...document.querySelectorAll('.facet')].filter((one) => one.hidden).map((one) => one.dataset.arch)"
    )
    assert run(page, hidden) == ["lstm-4"]
    choose(page, "arch", "lstm-4")
    assert run(page, hidden) == []


def test_direction_measure_and_scale_switch(page: Any) -> None:
    choose(page, "direction", "lan2env")
    assert {line["direction"] for line in lines(page, "gain") + lines(page, "r-squared")} == {"lan2env"}
    choose(page, "measure", "raw")
    assert {line["measure"] for line in lines(page, "r-squared")} == {"raw"}
    assert "raw count" in run(page, "return document.getElementById('explorer-readout').textContent")
    assert max(lines(page, "gain")[0]["x"]) < 10
    choose(page, "scale", "linear")
    assert max(lines(page, "gain")[0]["x"]) == 1500


def test_words_are_found_sorted_and_never_run(page: Any, nasty: str) -> None:
    everything = words_shown(page)
    assert nasty in everything
    type_into(page, "words-search", "DOG")
    assert words_shown(page) == ["dog"]
    assert run(page, "return document.getElementById('words-status').textContent").startswith("1 of 15 words")
    type_into(page, "words-search", "<script>")
    assert words_shown(page) == [nasty]
    type_into(page, "words-search", "clothing")
    assert 1 < len(words_shown(page)) < len(everything)
    type_into(page, "words-search", "")
    type_into(page, "words-sort", "name")
    assert words_shown(page) == sorted(everything)
    type_into(page, "words-sort", "gain")
    values = run(page, "return [...document.querySelectorAll('.tile-value')].map((one) => Number(one.textContent))")
    assert values == sorted(values, reverse=True)
    with pytest.raises(Exception, match="no such alert"):
        page.switch_to.alert  # noqa: B018


def test_the_checkpoint_slider_moves_all_panels(page: Any) -> None:
    script = (
        "return [...document.querySelectorAll('.tile-value')].map((one) => Number(one.textContent.replace('−', '-')))"
    )
    end = run(page, script)
    type_into(page, "words-step", "0")
    start = run(page, script)
    assert max(start) < 0.3 < min(end)
    assert "step 0" in run(page, "return document.getElementById('words-status').textContent")


def test_a_word_opens_closes_and_has_neighbours(page: Any, nasty: str) -> None:
    type_into(page, "words-sort", "name")
    run(page, "document.querySelector('.tile').click()")
    title = "return document.getElementById('word-title').textContent"
    assert run(page, "return document.getElementById('word-dialog').open")
    assert run(page, title) == nasty
    assert (
        run(page, "return document.querySelectorAll('#word-chart .scatterlayer .js-line').length") == 4
    )  # models x seeds
    run(page, "document.getElementById('word-next').click()")
    assert run(page, title) == words_shown(page)[1]
    run(page, "document.querySelector('#word-dialog .close').click()")
    assert not run(page, "return document.getElementById('word-dialog').open")


def test_the_explorer_shows_the_regression_of_the_table(page: Any, plain_run: Path) -> None:
    import polars as pl

    type_into(page, "explorer-arch", "lstm-4")
    type_into(page, "explorer-seed", "142")
    type_into(page, "explorer-step", "4")
    row = pl.read_parquet(plain_run / "tables" / "evidence.parquet").row(
        by_predicate=(pl.col("arch") == "lstm-4")
        & (pl.col("seed") == 142)
        & (pl.col("step") == 300)
        & (pl.col("direction") == "env2lan"),
        named=True,
    )
    shown = run(page, "return document.getElementById('explorer-readout').textContent")
    assert shown == f"step 300: R² = {row['r2_log']:.2f} (log count), 15 words".replace("= 0.", "= .")
    assert len(run(page, "return document.getElementById('explorer-chart').data[0].x")) == 15


def test_dark_and_light_change_paper_and_ink(page: Any) -> None:
    look = """
      const ink = document.querySelector("[data-figure='gain'] .xtick text").style.fill;
      return [getComputedStyle(document.body).backgroundColor, ink]
    """
    before = run(page, look)
    run(page, "document.getElementById('theme').click()")
    after = run(page, look)
    assert before[0] != after[0]
    assert before[1] != after[1]
    run(page, "document.getElementById('theme').click()")
    assert run(page, look) == before


@pytest.mark.parametrize("width", [1400, 900, 390])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.refresh()
        assert run(page, "return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture(scope="module")
def crowded(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with three narrow panels, in which one model was trained for longer than the others."""
    archs, short = ("transformer-4", "mamba2-4", "lstm-4"), (0, 50, 100, 200, 400)
    folder = make_run(
        tmp_path_factory.mktemp("runs") / "crowded",
        archs=archs,
        seeds=(42,),
        steps=(*short, 500),
        steps_of={("transformer-4", 42): short, ("lstm-4", 42): short},
    )
    return write_page(folder).resolve().as_uri()


@pytest.mark.parametrize("width", [1300, 390])
def test_numbers_on_axes_and_names_of_lines_never_touch(browser: Any, crowded: str, width: int) -> None:
    page = browser
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.get(crowded)
        touching = run(
            page,
            """
            const touching = [];
            for (const chart of document.querySelectorAll("[data-figure]"))
              for (const kind of [".xtick text", ".x2tick text", ".scatterlayer .textpoint text"]) {
                const boxes = [...chart.querySelectorAll(kind)].filter((one) => one.textContent.trim())
                  .map((one) => [one.textContent, one.getBoundingClientRect()]);
                boxes.forEach(([name, a], at) => boxes.slice(at + 1).forEach(([other, b]) => {
                  if (a.left < b.right && b.left < a.right && a.top + 5 < b.bottom && b.top + 5 < a.bottom)
                    touching.push([chart.dataset.figure, name, other]);
                }));
              }
            return touching;
            """,
        )
        assert touching == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_prints(page: Any) -> None:
    printed = page.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(printed) > 20_000


@pytest.fixture(scope="module")
def viewer(browser: Any, plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page of a run that has looked at single prompts: two checkpoints, two layers, two prompts."""
    folder = tmp_path_factory.mktemp("runs") / "viewed"
    shutil.copytree(plain_run, folder)
    rows = [
        {"arch": "transformer-4", "seed": 42, "step": step, "tokens_seen": step, "weight_hash": "x", "word": word,
         "context": "look", "layer": layer, "position": position, "token": token, "ground": position == 1,
         "flow_nats": (position + 1) * (layer + 1) * (step + 1) / 1000, "surprisal_nats": 6.0 - step / 500}
        for word in ("cup", "dog") for step in (0, 1500) for layer in (0, 1)
        for position, token in enumerate(("sees<ENV>", f"{word}<ENV>", "the<LAN>"))
    ]  # fmt: skip
    write_table(folder / "tables" / "prompt_saliency.parquet", PROMPT_SALIENCY.frame(rows), PROMPT_SALIENCY)
    browser.get(write_page(folder).resolve().as_uri())
    yield browser
    assert browser.get_log("browser") == []


def test_prompts_are_drawn_over_their_tokens(viewer: Any) -> None:
    shown = "return [...document.querySelectorAll('#prompts-tokens li')].map((one) => [one.title, one.className])"
    heights = "return [...document.querySelectorAll('.token-bar')].map((one) => one.getBoundingClientRect().height)"
    readout = "return document.getElementById('prompts-readout').textContent"
    assert "surprisal of “cup” 3.00 nats, 33 % of the flow" in run(viewer, readout)
    assert [kind for _, kind in run(viewer, shown)] == ["", "ground", "", "target"]
    late = run(viewer, heights)
    assert late == sorted(late)
    assert late[-1] > 60
    type_into(viewer, "prompts-step", "0")
    assert max(run(viewer, heights)) < 2  # one scale over checkpoints
    type_into(viewer, "prompts-layer", "0")
    assert run(viewer, shown)[0][0] == "sees<ENV>: 0.00100 nats"
    viewer.execute_script("document.getElementById('prompts-tokens').focus()")
    viewer.switch_to.active_element.send_keys("\ue014")  # right arrow
    assert "“dog”" in run(viewer, readout)


def test_keys_find_leap_and_dim(viewer: Any) -> None:
    from selenium.webdriver.common.by import By

    body = viewer.find_element(By.TAG_NAME, "body")
    before = run(viewer, "return document.getElementById('theme').textContent")
    body.send_keys("t")
    assert run(viewer, "return document.getElementById('theme').textContent") != before
    body.send_keys("t")
    body.send_keys("j")
    assert run(viewer, "return document.activeElement.tagName") == "SECTION"
    viewer.switch_to.active_element.send_keys("/")
    assert run(viewer, "return document.activeElement.id") == "words-search"
    viewer.switch_to.active_element.send_keys("t")
    assert run(viewer, "return document.getElementById('words-search').value") == "t"
    type_into(viewer, "words-search", "")


def test_sections_link_their_tables(viewer: Any) -> None:
    links = "return [...document.querySelectorAll('section .source a')].map((one) => one.textContent)"
    assert {"evidence.parquet", "gain.parquet", "prompt_saliency.parquet"} <= set(run(viewer, links))


@pytest.fixture(scope="module")
def looking(browser: Any, plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page of a run that has looked at two pictures of two patches: two checkpoints, one layer of two heads."""
    folder = tmp_path_factory.mktemp("runs") / "looked"
    shutil.copytree(plain_run, folder)
    arch, pixels = "transformer-4", io.BytesIO()
    Image.new("RGB", (20, 10), (200, 120, 40)).save(pixels, "JPEG")
    who = {"arch": arch, "seed": 42, "tokens_seen": 0, "weight_hash": "x"}
    heads = [
        {
            **who,
            "step": step,
            "picture": picture,
            "layer": 0,
            "head": head,
            "box_share": 0.9 if head == 1 else 0.5,
            "box_nats": 0.25,
            "surprisal_nats": 3.0 - picture,
            "saliency_nats": [1.0, 0.5 * (step > 0)],
        }
        for step in (0, 1500)
        for picture in (0, 1)
        for head in (None, 0, 1)
    ]
    shown = [
        {
            "arch": arch,
            "picture": picture,
            "word": word,
            "sentence": "look at the",
            "style": "ink",
            "held_out": False,
            "width": 20,
            "height": 10,
            "box": [1, 2, 8, 9],
            "patches": [0, 0, 10 + picture, 10, 10 + picture, 0, 20, 10],  # each picture is cut by itself
            "jpeg": base64.b64encode(pixels.getvalue()).decode(),
        }
        for picture, word in enumerate(("dog", "cup"))
    ]
    gained = [
        {
            **who,
            "step": step,
            "encoder": "vit",
            "projector": "linear",
            "style": "ink",
            "held_out": False,
            "word": "dog",
            "n_pictures": 1,
            "match_nats": 2.0,
            "mismatch_nats": 3.0,
            "gain_nats": 1.0,
            "p": 0.5,
        }
        for step in (0, 1500)
    ]
    for schema, rows in ((PICTURE_SALIENCY, heads), (PICTURES_SHOWN, shown), (PICTURES, gained)):
        write_table(folder / "tables" / f"{schema.name}.parquet", schema.frame(rows), schema)
    browser.get(write_page(folder).resolve().as_uri())
    yield browser
    assert browser.get_log("browser") == []


def test_heads_are_painted_over_pictures(looking: Any) -> None:
    captions = "return [...document.querySelectorAll('#looks-tiles .said')].map((one) => one.innerText)"
    readout = "return document.getElementById('looks-readout').textContent"
    rectangles = "[...document.querySelectorAll('#looks-tiles .look:last-child rect')]"
    fills = f"return {rectangles}.map((one) => one.getAttribute('fill'))"
    found = "return [...document.querySelectorAll('#looks-tiles .found')].length"
    assert [text.split("\n")[0] for text in run(looking, captions)] == [
        "“look at the …”",
        "L0, all heads",
        "L0H0",
        "L0H1",
    ]
    assert run(looking, found) == 2  # both reach the default threshold
    assert run(looking, fills) == ["rgb(255 196 0)", "rgb(147 133 60)", None]
    type_into(looking, "looks-step", "0")
    assert run(looking, fills)[:2] == ["rgb(255 196 0)", "rgb(38 70 120)"]
    assert "surprisal of “dog” 3.00 nats" in run(looking, readout)
    looking.execute_script("document.getElementById('looks-tiles').focus()")
    looking.switch_to.active_element.send_keys("\ue014")  # right arrow
    assert "surprisal of “cup” 2.00 nats" in run(looking, readout)
    widths = f"return {rectangles}.map((one) => one.getAttribute('width'))"
    assert run(looking, widths)[:2] == ["11", "9"]
    loaded = "const [image] = document.querySelectorAll('#looks-tiles image'); return image.getBBox().width"
    assert run(looking, loaded) == 20
