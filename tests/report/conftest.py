"""A headless Chromium for the tests that open a page."""

import shutil
import threading

import psutil
import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


CLOSING_SECONDS = 30  # a browser that will not close is killed: its driver would wait for ever


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    others = psutil.Process().children()
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        own = [each for each in psutil.Process().children() if each not in others]
        patience = threading.Timer(CLOSING_SECONDS, _kill, [own])
        patience.daemon = True
        yield opened
        patience.start()
        opened.close()
    patience.cancel()


def _kill(processes):
    for process in processes:
        for each in (*process.children(recursive=True), process):
            each.kill()
