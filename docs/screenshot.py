"""Take docs/images/live.png: `sightline up` with four synthetic cameras, seen by a headless Chromium.

    .venv/bin/python docs/screenshot.py [FILE]

Needs the extras export, serving, mesh and dev, a system Chromium, and a machine that does nothing else.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
from playwright.sync_api import sync_playwright

STREETS = (3, 11, 14, 21)  # seeds: busy, by day
CAMERA = "synthetic:seed={},fps={},size=960x540"
FPS, MAX_AGE_S = 3, 1.0  # so that two cores render, infer and show it all
SIZE_WH = (1440, 810)
SECONDS = 75  # a minute fills the age lines
MOST_BYTES = 400_000
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


def main(path: Path) -> None:
    """Start the stack, wait for its page, look at it for a while, and save what is seen."""
    chromium = (
        shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("chromium is not installed")
    )
    cameras = [CAMERA.format(seed, FPS) for seed in STREETS]
    command = [sys.executable, "-m", "sightline", "up", *cameras, "--max-age", str(MAX_AGE_S)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stack,
        tempfile.TemporaryDirectory() as profile,
    ):
        try:
            url = live_url(stack)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch_persistent_context(
                    profile, executable_path=chromium, headless=True, args=FLAGS, color_scheme="light",
                    viewport={"width": SIZE_WH[0], "height": SIZE_WH[1]},
                )  # fmt: skip
                page = browser.pages[0]
                page.goto(url)
                page.wait_for_timeout(1000 * SECONDS)
                page.screenshot(path=path)
                browser.close()
        finally:
            stack.send_signal(signal.SIGINT)
    fewer_colours(path)
    print(f"{path}: {path.stat().st_size // 1000} KB")


def live_url(stack: subprocess.Popen[str]) -> str:
    """The page's address, as `sightline up` says it."""
    assert stack.stdout is not None
    for line in stack.stdout:
        print(line, end="", flush=True)
        if found := re.search(r"^live +(http\S+)", line):
            return found[1]
    sys.exit("sightline up ended")


def fewer_colours(path: Path) -> None:
    """Drop the low bits of the colours until the file is small enough."""
    picture = cv2.imread(str(path))
    for bits in range(1, 5):
        if path.stat().st_size <= MOST_BYTES:
            return
        kept = 0xFF << bits & 0xFF
        cv2.imwrite(str(path), picture & kept | (1 << bits - 1), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "images/live.png"))
