"""A run second by second, for charts and as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtest.figures import PERCENTS, milliseconds, title
from loadtest.percentiles import histogram
from loadtest.record import DELIVERED, DROPPED, ERRORED, LOST
from loadtest.results import Run

STATUSES = (DELIVERED, ERRORED, DROPPED, LOST)
NOT_TOLD = "version not told"  # what REST delivers

Column = NDArray[np.float64]


class Timeline:
    """A run's slots as columns, seconds since it began."""

    def __init__(self, run: Run) -> None:
        self.run, self.slots, self.step_s = run, run.slots(), run.store.step_s
        self.seconds = np.array([slot - run.began_s for slot in self.slots])
        self.windows = [run.store.window(slot, slot + self.step_s) for slot in self.slots]
        self.ages = [milliseconds(window.ages) for window in self.windows]

    def ages_ms(self, percent: float) -> Column:
        """A percentile of each slot's ages; NaN where too few were delivered for it."""
        return np.array([at.get(title(percent), np.nan) for at in self.ages])

    def rate(self, status: str) -> Column:
        """Frames a second with a status; "" for what was offered."""
        counts = [window.count(status) if status else window.offered for window in self.windows]
        return np.array(counts, float) / self.step_s

    def kinds(self) -> dict[str, Column]:
        """Frames a second of each way not to be delivered."""
        names = sorted({name for window in self.windows for name in window.others})
        return {name: self._per_s([w.others.get(name, 0) for w in self.windows]) for name in names}

    def versions(self) -> dict[str, Column]:
        """Delivered frames a second of each served version, "version not told" last."""
        names = sorted(
            {name for window in self.windows for name in window.delivered}, key=lambda n: (not n, n)
        )
        empty = histogram()
        return {
            name or NOT_TOLD: self._per_s([w.delivered.get(name, empty).total_count for w in self.windows])
            for name in names
        }

    def _per_s(self, counts: list[int]) -> Column:
        return np.array(counts, float) / self.step_s

    def write(self, path: Path) -> None:
        """As CSV: frames of each slot by status, ages in ms, then frames by version and by reason."""
        detail = {f"{DELIVERED} {name}": rates for name, rates in self.versions().items()} | self.kinds()
        ages = [title(percent) for percent in (*PERCENTS, 100)]
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(
                ["unix_s", "seconds", "offered", *STATUSES, *(f"{name}_ms" for name in ages), *detail]
            )
            for row, (slot, window) in enumerate(zip(self.slots, self.windows, strict=True)):
                at = self.ages[row]
                cells = [f"{at[name]:.3f}" if name in at else "" for name in ages]
                counts = [window.count(kind) for kind in STATUSES]
                frames = [round(rates[row] * self.step_s) for rates in detail.values()]
                began = f"{slot - self.run.began_s:.1f}"
                out.writerow([slot, began, window.offered, *counts, *cells, *frames])
