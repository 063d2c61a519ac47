"""The comparison on the live page, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from client.security import Security
from sightline.rollout.camera import CountedCamera
from tests.client.browser import WAIT_MS, open_page
from tests.client.fakes import NumberSource, RelayThread
from tests.client.media import jpeg
from tests.rollout.fakes import Scene, TwoVersions

expect.set_options(timeout=WAIT_MS)
DRAWN = "[...document.querySelectorAll('.pair canvas')].every((one) => one.width > 100)"
DATA = "[...document.querySelectorAll('.pair canvas')].map((one) => one.toDataURL())"


@pytest.mark.parametrize("shadow_percent", [0, 100])
def test_the_worst_disagreements_stand_side_by_side(tmp_path: Path, shadow_percent: int) -> None:
    """Under the page's own content security policy: `open_page` fails on any violation."""
    picture = jpeg(np.full((360, 640, 3), 90, np.uint8))
    with (
        TwoVersions(Scene(1), Scene(2, worse=0.3)) as server,
        RelayThread(server.target, http_port=0, shadow_percent=shadow_percent, shadow_pairs=2) as relay,
        CountedCamera(
            NumberSource(None, live=True, interval_s=0.1, image=lambda _: picture), relay.target, Security()
        ),
        open_page(tmp_path, f"http://127.0.0.1:{relay.relay.http_port}/") as page,
    ):
        expect(page.locator(".tile")).to_have_count(1)
        if not shadow_percent:
            time.sleep(1)
            expect(page.locator("#shadow")).to_be_hidden()
            return
        expect(page.locator("#shadow")).to_be_visible()
        expect(page.locator("#shadow-versions")).to_have_text("v2 beside v1")
        expect(page.locator("#shadow-numbers")).to_contain_text("agreement")
        expect(page.locator(".pair .what").first).to_contain_text("missed")
        expect(page.locator(".pair").first.locator("canvas")).to_have_count(2)
        page.wait_for_function(DRAWN)
        stable, candidate = page.evaluate(DATA)[:2]
        assert stable != candidate  # what one has and the other misses
        page.evaluate("fetch('v1/shadow/pairs/99999')")  # kept no more: no error in the page
        page.screenshot(path=tmp_path / "page.png", full_page=True)
