"""How the live page looks: on a phone and a wall screen, light and dark."""

from __future__ import annotations

import itertools
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from client.stream import DetectionStream, StreamConfig
from tests.client.browser import open_page
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread, response_of
from tests.client.media import jpeg

pytestmark = pytest.mark.timeout(240)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES_WH = ((390, 844), (2560, 1440))

# Of each text of a tile, in each state: how far it stands out from what is behind it (WCAG's contrast). Behind what
# lies over the picture may be any picture, black or white, as faint as the state shows it.
_CONTRASTS = """() => {
  const states = ['streaming', 'stalled', 'unanswered', 'connecting', 'failing', 'lost', 'failed', 'backing off',
    'ended'];
  const rgba = text => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => a * value + (1 - a) * under[i]);
  const luminance = colour => colour.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const contrast = (a, b) => {
    const [most, least] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (most + .05) / (least + .05);
  };
  const tile = document.querySelector('.tile'), found = [];
  const canvas = tile.querySelector('canvas'), was = tile.dataset.state;
  canvas.style.transition = 'none';
  tile.querySelector('.retry').hidden = false;
  for (const text of ['.pill', '.message']) tile.querySelector(text).textContent = 'words';
  for (const state of states) {
    tile.dataset.state = state;
    for (const part of tile.querySelectorAll('*')) {
      const words = [...part.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
      const style = getComputedStyle(part);
      if (!words || !part.checkVisibility() || (part.matches('.message') && state === 'streaming')) continue;
      const layers = [];
      let at = part, picture = false;
      for (; at; at = at.parentElement) {
        const colour = rgba(getComputedStyle(at).backgroundColor);
        if (at.matches('.picture')) picture = true;
        if (colour[3]) layers.unshift([at, colour]);
        if (colour[3] === 1) break;
      }
      for (const shade of picture ? [0, 255] : [null]) {
        let behind = [255, 255, 255];
        for (const [where, colour] of layers) {
          behind = over(colour, behind);
          if (where.matches('.picture')) behind = over([shade, shade, shade, getComputedStyle(canvas).opacity], behind);
        }
        found.push([contrast(over(rgba(style.color), behind), behind), `${state}: ${part.className}`]);
      }
    }
  }
  tile.dataset.state = was;
  return found.sort((a, b) => a[0] - b[0]);
}"""
# What is wider than the page, and tiles that are not whole within its width.
_LAYOUT = """() => {
  const root = document.documentElement;
  const tiles = [...document.querySelectorAll('.tile')].map(tile => tile.getBoundingClientRect());
  return {
    over: root.scrollWidth - root.clientWidth,
    inside: tiles.filter(t => t.left >= 0 && t.right <= innerWidth && t.width >= 200 && t.height >= 150).length,
    inSight: tiles.filter(t => t.top < innerHeight && t.bottom <= innerHeight).length,
  };
}"""


def test_phone_and_wall_screen_light_and_dark(tmp_path: Path) -> None:
    image = jpeg(np.full((90, 160, 3), 200, np.uint8))
    with (
        FakeModelServer(respond=lambda _: response_of(3)) as server,
        RelayThread(server.target, http_port=0) as relay,
        ExitStack() as stack,
    ):
        for number in range(3):
            name = f"a camera with a long name, number {number}"
            source = NumberSource(None, live=True, interval_s=0.2, camera_id=name, image=lambda _: image)
            stream = stack.enter_context(DetectionStream(source, relay.target, StreamConfig(max_age_s=5)))
            taker = threading.Thread(target=list, args=(stream,))
            taker.start()
            stack.callback(taker.join)
            stack.callback(stream.stop)
        with open_page(tmp_path, f"http://127.0.0.1:{relay.relay.http_port}/") as page:
            expect(page.locator(".tile[data-state='streaming'][data-frame]")).to_have_count(3)
            expect(page.locator(".tile .version").first).to_have_text("v1")
            for scheme, (width, height) in itertools.product(SCHEMES, SIZES_WH):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": width, "height": height})
                page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
                where = (scheme, width)
                layout = page.evaluate(_LAYOUT)
                assert layout["over"] == 0, where
                assert layout["inside"] == 3, where
                assert layout["inSight"] >= (2 if width < 1000 else 3), (where, layout)
                contrasts = page.evaluate(_CONTRASTS)
                assert len(contrasts) > 60, where
                assert contrasts[0][0] >= 4.5, (where, contrasts[:8])
