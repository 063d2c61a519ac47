"""How pictures are made: SVG drawn by matplotlib, once for wide windows and once for narrow ones."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from loadtest.page import Drawing

# Okabe and Ito's first three, which colour-blind people tell apart too, and darker ones. Each stands out 3:1 and more
# from white, and from the dark page's near-black once that page's filter has turned it round.
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, OLIVE, GREY, DARK = (
    "#0072b2", "#d55e00", "#009e73", "#7b3fa0", "#3a94d4", "#c2185b", "#8c6d00", "#767676", "#333333",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, OLIVE, GREY)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "sightline", "font.family": "sans-serif", "font.size": 10,
    "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip
WIDE = (9.6, 3.0)  # inches; 96 pixels each
NARROW = 4.4  # how wide it is for a phone, so that its letters stay as large
LETTERS, LINE = 46, 0.22  # that fit into a narrow picture's legend, and its lines' height in inches


class Picture:
    """A picture that is being made; `drawing` once the `with` block has ended."""

    def __init__(self, size: tuple[float, float], rows: int = 1) -> None:
        self.figure = Figure(figsize=size, layout="constrained")
        self.axes: list[Axes] = list(np.atleast_1d(self.figure.subplots(rows, 1, sharex=True)))
        self.drawing = Drawing("", "")
        FigureCanvasSVG(self.figure)

    def finish(self) -> None:
        """Draw it: with legends beside the axes, then narrow with one below."""
        legends = [
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=1.2)
            for axes in self.axes
            if axes.get_legend_handles_labels()[0]
        ]
        wide = self._uri()
        for legend in legends:
            legend.remove()
        names = {
            name: of for axes in self.axes for of, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        width, height = NARROW, float(self.figure.get_figheight())
        if names:
            columns = max(1, LETTERS // (max(map(len, names)) + 6))
            self.figure.legend(
                names.values(), names.keys(), loc="outside lower left", ncols=columns, handlelength=1.2
            )
            height += LINE * math.ceil(len(names) / columns)
        self.figure.set_size_inches(width, height)
        self.drawing = Drawing(wide, self._uri())

    def _uri(self) -> str:
        file = io.BytesIO()
        self.figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
        return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


@contextmanager
def picture(size: tuple[float, float], rows: int = 1) -> Iterator[Picture]:
    """Axes to draw on."""
    with rc_context(STYLE):
        made = Picture(size, rows)
        yield made
        made.finish()
