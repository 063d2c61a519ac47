"""A headless Chromium for tests of the live page; they skip, naming it, where the machine has none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WAIT_MS = 30_000  # for anything that should happen; machines are slow


@contextmanager
def open_page(profile: Path, url: str, size_wh: tuple[int, int] = (1280, 800)) -> Iterator[Page]:
    """A page at `url` in a browser with a fresh profile folder. Errors in the page fail the test at the end."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=found,
            headless=True,
            args=FLAGS,
            viewport={"width": size_wh[0], "height": size_wh[1]},
        )
        try:
            page = browser.pages[0]
            page.set_default_timeout(WAIT_MS)
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on(  # a violation of the content security policy is told here too
                "console", lambda message: errors.append(message.text) if message.type == "error" else None
            )
            page.goto(url)
            yield page
            assert [error for error in errors if "WebSocket connection" not in error] == []
        finally:
            browser.close()
