"""MLflow's own interface on a real sweep, in headless Chromium: what a person sees who runs `gramtune ui`.

Needs Chromium and its driver (Debian: chromium, chromium-driver) and the extra `browser`. Screenshots go to
$GRAMTUNE_SCREENSHOTS if that is set.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from stores import stored
from sweeps import write_space

from gramtune.api import run_sweep
from gramtune.backends.mlflow.server import running_server
from gramtune.backends.mlflow.store import default_uri, runs_url
from gramtune.backends.mlflow.view import newest_view

pytestmark = pytest.mark.browser
NAMES = ["0: gram K=1", "1: gram K=4", "2: gram K=16"]
SECONDS = 90.0
"""How long a page may take on a busy machine."""
SETTINGS = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}
"""Of the interface: no assistant over the page."""


class Site(NamedTuple):
    """A served store: its address, the experiment, the sweep's run, the runs of its trials by name, its view."""

    base: str
    experiment: str
    parent: str
    trials: dict[str, str]
    view: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Site]:
    from mlflow import MlflowClient

    runs = tmp_path_factory.mktemp("runs")
    (runs / ".mlflow").mkdir()
    shutil.copy(migrated, runs / ".mlflow")
    assert run_sweep(write_space(runs), runs, debug=True, register="gram-digits").complete
    uri = default_uri(runs)
    parent, children = stored(uri)
    view = newest_view(MlflowClient(tracking_uri=uri).get_experiment(parent.info.experiment_id).tags)
    assert view is not None
    trials = {run.info.run_name: run.info.run_id for run in children.values()}
    with running_server(uri) as (base, _):
        yield Site(base, parent.info.experiment_id, parent.info.run_id, trials, view.key)


class Page:
    """A browser on the site."""

    def __init__(self, driver: Any, site: Site) -> None:
        self.driver, self.site = driver, site

    def open(self, address: str, *texts: str) -> None:
        """Goes there and waits until the page shows every one of the texts."""
        self.driver.get("about:blank")  # the interface keeps its state where only the part behind # changes
        self.driver.get(address if address.startswith("http") else f"{self.site.base}/#{address}")
        for text in texts:
            self.until(lambda text=text: text in self.text(), f"the page does not show {text!r}")

    def text(self) -> str:
        return str(self.script("return document.body.innerText"))

    def script(self, code: str) -> Any:
        return self.driver.execute_script(code)

    def until(self, condition: Callable[[], Any], complaint: str) -> Any:
        deadline = time.monotonic() + SECONDS
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{complaint}; it shows: {self.text()[:2000]}"
            time.sleep(0.2)
        return found

    def pictures(self, part: str) -> list[str]:
        """Addresses of the loaded pictures that contain `part`."""
        code = "return [...document.images].filter(i => i.naturalWidth > 0).map(i => decodeURIComponent(i.src))"
        return [source for source in self.script(code) if part in source]

    def charts(self) -> int:
        """Drawn charts that have data in them."""
        return int(self.script("return document.querySelectorAll('.js-plotly-plot .trace, .parcoords svg').length"))

    def click(self, selector: str) -> None:
        """Clicks on the first element that the selector finds, as soon as there is one."""
        find = f"return document.querySelector({json.dumps(selector)})"
        self.until(lambda: self.script(find), f"there is no {selector}").click()

    def shoot(self, name: str) -> None:
        if folder := os.environ.get("GRAMTUNE_SCREENSHOTS"):
            time.sleep(2)  # transitions
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    """A fresh browser; afterwards, nothing may have been asked of anyone but our own server."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "chromium is not installed"
    assert chromedriver, "chromedriver is not installed"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(argument)
    options.add_argument("--window-size=1500,1500")
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        driver.get(f"{site.base}/version")
        for key, value in SETTINGS.items():
            driver.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, value)
        yield Page(driver, site)
        asked = [entry for entry in map(_request, driver.get_log("performance")) if entry]
        assert len(asked) > 10
        assert [url for url in asked if not url.startswith((site.base, "data:", "blob:", "about:", "chrome"))] == []
    finally:
        driver.quit()


def _request(entry: dict[str, str]) -> str:
    message = json.loads(entry["message"])["message"]
    return str(message["params"]["request"]["url"]) if message["method"] == "Network.requestWillBeSent" else ""


def test_the_trials_are_nested_in_the_sweep(page: Page, site: Site) -> None:
    page.open(f"/experiments/{site.experiment}/runs?workflowType=machine_learning", "axis", "4 matching runs")
    assert NAMES[0] not in page.text(), "the sweep is folded at first"
    page.click("[data-component-id*='runnamecellrenderer']")
    for name in NAMES:
        page.until(lambda name=name: name in page.text(), f"{name} is not under the sweep")
    page.shoot("mlflow_nested")


def test_the_saved_view_lists_the_trials_with_their_numbers(page: Page, site: Site) -> None:
    page.open(runs_url(site.base, site.experiment, site.view), *NAMES, "fid_digits", "objective.critic_dim")
    assert "3 matching runs" in page.text()
    assert page.text().count("COMPLETED") == 3
    page.shoot("mlflow_trials")


def test_the_saved_view_draws_charts_of_our_names(page: Page, site: Site) -> None:
    page.open(
        f"{runs_url(site.base, site.experiment, site.view)}&compareRunsMode=CHART", *NAMES, "Parallel Coordinates"
    )
    page.until(lambda: page.charts() >= 3, "no chart is drawn")
    page.shoot("mlflow_charts")


def test_the_parent_shows_description_figure_children_and_model(page: Page, site: Site) -> None:
    page.open(f"/experiments/{site.experiment}/runs/{site.parent}", "Child runs", *NAMES, "Does K matter?", "generator")
    page.until(lambda: page.pictures("preview/critic_dim.png"), "the figure is not shown")
    assert "digits" in page.text()
    page.script("[...document.querySelectorAll('button, a, span')].find(e => e.innerText === 'Show more').click()")
    page.shoot("mlflow_sweep")


def test_the_slider_leads_through_the_samples(page: Page, site: Site) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    run = site.trials["2: gram K=16"]
    page.open(f"/experiments/{site.experiment}/runs/{run}/model-metrics", "fid_digits", "samples")
    page.until(lambda: page.charts() >= 3, "no chart is drawn")
    show = "[...document.querySelectorAll('span, div')].find(e => e.textContent === 'samples')?.scrollIntoView()"
    page.script(show)  # what is out of sight is not loaded
    slider = page.until(lambda: page.driver.find_elements(By.CSS_SELECTOR, "[role=slider]"), "there is no slider")[0]
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    page.until(lambda: page.pictures("samples~fixed_noise+step+0+"), "the samples of step 0 are not shown")
    assert "No image logged at this step" not in page.text()
    slider.send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: page.pictures("samples~fixed_noise+step+3+"), "the slider changes nothing")
    page.shoot("mlflow_samples")


def test_trials_can_be_compared(page: Page, site: Site) -> None:
    ids, experiments = (quote(json.dumps(some)) for some in (list(site.trials.values()), [site.experiment]))
    page.open(f"/compare-runs?runs={ids}&experiments={experiments}", "Comparing 3 Runs from 1 Experiment", *NAMES)
    page.until(
        lambda: page.driver.execute_script("return document.querySelectorAll('.js-plotly-plot').length"), "no plot"
    )
    assert "objective.critic_dim" in page.text()
    page.shoot("mlflow_compare")
