"""Make the README's picture: the top of the demo's report, as Chromium shows it.

make picture        or        python docs/make_picture.py [REPORT.html]
"""

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
FOLDER = HERE.parent / "build" / "picture"
PICTURE = HERE / "images" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, SCALE = 1000, 1.35  # CSS pixels; picture pixels for each
AFTER_PEAK = 2  # keyframes: when much has been freed, heaps differ most
LAST_SHOWN = "#heap"  # the picture ends with the section that has this heading


def main() -> None:
    """Run the demo unless a report is given, open it, keep the picture."""
    if len(sys.argv) > 1:
        report = Path(sys.argv[1])
    else:
        FOLDER.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "heapwright", "demo", "--folder", str(FOLDER)]
        subprocess.run(command, check=True)
        report = FOLDER / "report.html"
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as driver:
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
        ]
        opened = driver.chromium.launch(executable_path=browser, args=arguments)
        page = opened.new_page(
            viewport={"width": WIDTH, "height": 900},
            device_scale_factor=SCALE,
            color_scheme="light",
        )
        page.goto(report.resolve().as_uri())
        page.wait_for_selector(".panel canvas[aria-label]")
        for _ in range(AFTER_PEAK):
            page.locator("#moment").press("ArrowRight")
        page.locator("#moment").blur()
        page.evaluate("scrollTo(0, 0)")
        bottom = page.locator(f"section:has({LAST_SHOWN})").bounding_box()
        assert bottom is not None
        height = bottom["y"] + bottom["height"] + 20
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(
            path=PICTURE, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height}
        )
        opened.close()
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
