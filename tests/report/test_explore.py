"""The part of the page that one explores: its data for any sweep, and its behaviour in Chromium.

The tests in Chromium need it and its driver (Debian: chromium, chromium-driver) and the extra `browser`.
"""

import json
import re
import time

import pytest
from PIL import Image
from states import METHODS, complete, hostile_state, joint, report, sweep_state

from gramtune.analysis.importance import Importances
from gramtune.record.layout import trial_folder
from gramtune.record.report import Status
from gramtune.report.page.explore import explore_data, library
from gramtune.report.page.page import page
from gramtune.run.run_directory import recorded_state

NONE = Importances(why="not asked for")


def embedded(html):
    """What the script of the page reads."""
    (text,) = re.findall(r'<script type="application/json" id="explore-data">(.*?)</script>', html, re.DOTALL)
    return json.loads(text)


def test_the_data_are_those_of_the_state(tmp_path):
    state = sweep_state(tmp_path, METHODS)
    names = list(state.records)
    state.started(state.records[names[1]].trial)
    complete(state, names[1], [9.0, 8.0], [3.0, None])
    state.reported(names[3], report(3, [800.0, 850.0]))
    state.ended(names[3], Status.PRUNED, "asha")
    data = embedded(page(state, tmp_path, [], NONE))
    assert data["trials"] == explore_data(state, tmp_path)["trials"]
    assert [trial["n"] for trial in data["trials"]] == [0, 1, 2, 3, 4]
    best, pruned = data["trials"][1], data["trials"][3]
    assert best["values"] == ["gram", 4]
    assert (best["mean"], best["std"], best["status"], best["method"]) == (3.0, None, "COMPLETED", "gram")
    assert best["curve"] == [[0, 9.0, 8.0], [3, 3.0, None]]
    assert pruned["values"] == ["mmd_net", None]
    assert pruned["status"] == "PRUNED"
    method, dim = data["keys"]
    assert (method["number"], method["listed"]) == (False, ["gram", "mmd_net", "gan"])
    assert (dim["number"], dim["log"]) == (True, True)
    assert (data["best"], data["minimised"]) == (1, True)


def test_the_slider_has_the_grids_of_the_best_trial_and_without_scripts_the_last(tmp_path):
    state = sweep_state(tmp_path)
    complete(state, "critic_dim=4", [3.0, 5.0])
    folder = trial_folder(tmp_path, "critic_dim=4") / "samples"
    folder.mkdir(parents=True)
    for step in range(0, 300, 10):
        Image.new("L", (40, 20), color=step % 255).save(folder / f"step-{step:08d}.png")
    html = page(state, tmp_path, [], NONE)
    steps = [grid["step"] for grid in embedded(html)["grids"]]
    assert (len(steps), steps[0], steps[-1]) == (12, 0, 290)
    assert steps == sorted(set(steps))
    assert html.count('id="explore-grid" src="data:image/png;base64,') == 1
    assert 'max="11" value="11"' in html


def test_a_sweep_without_results_has_a_page(tmp_path):
    data = embedded(page(sweep_state(tmp_path), tmp_path, [], NONE))
    assert {trial["mean"] for trial in data["trials"]} == {None}
    assert (data["grids"], data["best"]) == ([], None)


def test_no_text_ends_a_script(tmp_path):
    html = page(hostile_state(tmp_path), tmp_path, [], NONE)
    assert html.count("<script") == html.count("</script>") == 3
    assert "<script>alert" not in html
    assert "</script" not in library()


# in Chromium


@pytest.fixture(scope="module")
def chromium():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1100,1600"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()


def opened(driver, html, folder):
    """The page, loaded and drawn; returns the seconds that took."""
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    began = time.monotonic()
    driver.get(file.as_uri())
    assert driver.find_element("id", "explore").is_displayed()
    assert driver.execute_script("return document.querySelectorAll('#explore-parallel .main-svg').length") > 0
    seconds = time.monotonic() - began
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []
    return seconds


def rows(driver):
    """The first cells of the rows that are shown, in their order."""
    script = "return [...document.querySelectorAll('#trials tbody tr')].filter((r) => !r.hidden)"
    return [int(text) for text in driver.execute_script(f"{script}.map((r) => r.cells[0].textContent)")]


@pytest.mark.browser
def test_two_hundred_trials_are_sorted_filtered_and_brushed(chromium, tmp_path):
    folder = joint(tmp_path, 200)
    state = recorded_state(folder)
    opened(chromium, page(state, folder, [], NONE), tmp_path)
    assert len(rows(chromium)) == 200

    chromium.find_element("xpath", "//section[@id='trials']//th/button[text()='trial']").click()
    assert rows(chromium) == list(range(200))
    chromium.find_element("xpath", "//section[@id='trials']//th/button[text()='fid_digits']").click()
    assert rows(chromium)[0] == state.best.number
    assert chromium.find_element("css selector", "th[aria-sort=ascending]").text.startswith("fid_digits")

    box = chromium.find_element("id", "explore-filter")
    box.send_keys("critic_dim>=500 status=COMPLETED")
    wanted = {r.number for r in state.completed if r.assignment["objective.critic_dim"] >= 500}
    assert set(rows(chromium)) == wanted
    assert chromium.find_element("id", "explore-count").text == f"{len(wanted)} of 200 trials shown"
    chromium.find_element("id", "explore-clear").click()
    assert len(rows(chromium)) == 200

    brush = "{range: {x: [1.9, 2.1], y: [0.9, 1.1]}}"
    chromium.execute_script(f"document.getElementById('explore-parallel').emit('plotly_selected', {brush})")
    wanted = {r.number for r in state.records.values() if r.assignment["training.batch_size"] == 16}
    assert set(rows(chromium)) == wanted

    chromium.find_element("id", "explore-log").click()
    kind = "return document.getElementById('explore-curves').layout.yaxis.type"
    assert chromium.execute_script(kind) == "log"
    text = chromium.execute_script("return document.getElementById('explore-curves').data[0].text[1]")
    assert re.fullmatch(r"trial \d+: .*<br>step 3: 510 \(n = 2\)<br>seed 0: 500<br>seed 1: 520", text.replace("\n", ""))


@pytest.mark.browser
def test_two_thousand_trials_open(chromium, tmp_path):
    folder = joint(tmp_path, 2000)
    html = page(recorded_state(folder), folder, [], NONE)
    assert len(html.encode()) < 15_000_000
    print(f"{len(html.encode()):,} bytes, {opened(chromium, html, tmp_path):.1f} s")
    assert len(rows(chromium)) == 2000


@pytest.mark.browser
def test_hostile_names_are_text_in_the_drawings(chromium, tmp_path):
    opened(chromium, page(hostile_state(tmp_path), tmp_path, [], NONE), tmp_path)
    made = "return document.querySelectorAll('#explore img[src=x], #explore a[href]').length"
    assert chromium.execute_script(made) == 0


@pytest.mark.browser
def test_the_slider_shows_the_step(chromium, tmp_path):
    state = sweep_state(tmp_path)
    complete(state, "critic_dim=4", [3.0, 5.0])
    folder = trial_folder(tmp_path, "critic_dim=4") / "samples"
    folder.mkdir(parents=True)
    for step in (0, 3, 6):
        Image.new("L", (40, 20), color=40 * step).save(folder / f"step-{step:08d}.png")
    opened(chromium, page(state, tmp_path, [], NONE), tmp_path)
    last = chromium.find_element("id", "explore-grid").get_attribute("src")
    chromium.find_element("id", "explore-step").send_keys("\ue012")  # the left arrow key
    assert chromium.find_element("id", "explore-step-text").text == "step 3"
    assert chromium.find_element("id", "explore-grid").get_attribute("src") != last


@pytest.mark.browser
def test_a_telephone_needs_no_sideways_scrolling(chromium, tmp_path):
    folder = joint(tmp_path, 60)
    chromium.set_window_size(500, 900)
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened(chromium, page(recorded_state(folder), folder, [], NONE), tmp_path)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= 390
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
