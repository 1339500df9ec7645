"""TensorBoard's pages in a real browser, over a small finished run.

The browser is Chromium with its driver (Debian: chromium, chromium-driver). Where they
are missing the tests are skipped, unless MGNM_REQUIRE_BROWSER=1, as in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.commands import run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
REQUIRED = os.environ.get("MGNM_REQUIRE_BROWSER") == "1"
_SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--window-size=1600,1200"),
)
_PATIENCE_S = 180
# TensorBoard's pages are web components: text stands in nested shadow roots.
_FIND_ALL = """
const found = {text: [], images: []};
const visit = (node) => {
  if (node.nodeType === Node.TEXT_NODE) found.text.push(node.textContent.trim());
  if (["STYLE", "SCRIPT", "NOSCRIPT"].includes(node.tagName)) return;
  if (node.tagName === "IMG" && node.naturalWidth > 100) found.images.push(node.src);
  if (node.shadowRoot) visit(node.shadowRoot);
  node.childNodes.forEach(visit);
};
visit(document.body);
return found;
"""


# The input of the projector's panel that lists the items whose key matches.
_FIND_SEARCH = """
let input = null;
const visit = (node, inside) => {
  if (node.id === "search-box") inside = true;
  if (inside && node.tagName === "INPUT") input = node;
  if (node.shadowRoot) visit(node.shadowRoot, inside);
  node.childNodes.forEach((child) => visit(child, inside));
};
visit(document.body, false);
return input;
"""


def find_browser():
    """Paths of the browser and its driver; None where one is missing."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What `reproduce_table2` leaves of two models on a small shop."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "csv").mkdir()
    rows = [(u, (u * t) % 23 + 1, t) for u in range(1, 31) for t in range(1, 8)]
    table = pd.DataFrame(rows, columns=["user", "item", "order"])
    table["item"] = "sku-" + table["item"].astype(str)
    table.to_csv(folder / "csv" / "shop.csv", index=False)
    done = run(
        "experiments.reproduce_table2",
        *("--profile=folder", f"--data_dir={folder}/csv", "--seeds=1"),
        *("--models=mgnm,item_knn", "--max_epochs=2"),
        f"--prepared_dir={folder}/prepared",
        f"--runs_dir={folder}/runs",
        f"--reports_dir={folder}/reports",
    )
    assert done.returncode == 0, done.stderr
    return folder / "runs"


@pytest.fixture(scope="module")
def address(runs, tmp_path_factory):
    """Where `make tensorboard` serves the runs."""
    log = tmp_path_factory.mktemp("server") / "log"
    command = ["make", "tensorboard", f"RUNS_DIR={runs}", "ARGS=--port=0"]
    # With the environment of the tests, which is set up.
    command += [f"VENV={sys.prefix}", "-o", "environment"]
    with (
        log.open("w") as file,
        subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True
        ) as server,
    ):
        try:
            found = until(lambda: re.search(r"http://\S+", log.read_text()))
            assert found, log.read_text()
            yield found[0]
        finally:
            os.killpg(server.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    paths = find_browser()
    if paths is None:
        assert not REQUIRED, "MGNM_REQUIRE_BROWSER is set: install Chromium."
        pytest.skip("There is no Chromium with chromedriver on the PATH.")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for switch in _SWITCHES:
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(paths[1]))
    yield driver
    driver.quit()


def until(look):
    """What `look` gives as soon as it gives something; None after a while."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    return None


def missing_texts(browser, wanted):
    """Those of the wanted texts that the page does not come to show."""

    def missing():
        shown = " ".join(filter(None, browser.execute_script(_FIND_ALL)["text"]))
        return [text for text in wanted if text not in shown]

    until(lambda: not missing())
    return missing()


def open_tab(browser, address, tab):
    browser.get("about:blank")  # A change of the part after # alone loads nothing.
    browser.get(f"{address}#{tab}")


def test_scalars_are_on_the_page_by_their_tags(browser, address):
    open_tab(browser, address, "scalars&tagFilter=level_0")
    wanted = [
        *("levels/valid_loss/level_0", "levels/win_share/positive/level_0"),
        *("interests/routing_entropy/level_0", "interests/cosine/level_0"),
        *("interests/dead_share/level_0", "Loss/train_level_0"),
        "shop/leave_one_out/mgnm/seed-1/tensorboard",
    ]
    assert missing_texts(browser, wanted) == []


def test_one_chart_holds_all_levels(browser, address):
    open_tab(browser, address, "custom_scalars")
    wanted = ["validation loss of each level", "dead interests", "Matches (4)"]
    assert missing_texts(browser, wanted) == []


def test_heat_maps_are_drawn_on_the_page(browser, address):
    open_tab(browser, address, "images")
    assert missing_texts(browser, ["history/user_"]) == []
    found = until(lambda: len(browser.execute_script(_FIND_ALL)["images"]) == 3)
    assert found, browser.execute_script(_FIND_ALL)


def test_histograms_hold_the_distribution_over_users(browser, address):
    open_tab(browser, address, "histograms")
    wanted = ["levels/winner/positive", "levels/win_share_by_user/negative/level_3"]
    assert missing_texts(browser, wanted) == []


def test_hparams_have_columns_for_settings_and_test_metrics(browser, address):
    open_tab(browser, address, "hparams")
    settings = ["model", "dataset", "seed", "learning_rate", "l2"]
    metrics = [f"{key} uni1000" for key in ("gauc", "ndcg@5", "hit@5", "mrr@5")]
    trials = ["mgnm 1: ", "item_knn 1: "]
    assert missing_texts(browser, [*settings, *metrics, *trials, "shop"]) == []


def test_the_projector_has_the_items_by_their_keys(browser, address):
    open_tab(browser, address, "projector")
    # The plugin's frame holds the projector's.
    for _ in range(2):
        frames = until(lambda: browser.find_elements("css selector", "iframe"))
        browser.switch_to.frame(frames[0])
    wanted = ["Points: 23", "Dimension: 16", "items.tsv", "training events"]
    assert missing_texts(browser, wanted) == []
    browser.execute_script(_FIND_SEARCH).send_keys("sku-13")
    assert missing_texts(browser, ["item sku-13 training events 9"]) == []


def test_table_2_is_there_to_read(browser, address):
    open_tab(browser, address, "text")
    assert missing_texts(browser, ["table2", "MGNM", "ItemKNN ‡", "GAUC"]) == []
