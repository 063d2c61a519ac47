"""Our series in Locust's own page: a tab with HDR percentiles of every fate, and of the generator itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Response, request

from loadtest.percentiles import known
from loadtest.record import GENERATOR, STAGE, Store, split

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

KEY = "sightline"
COLUMNS = {
    "series": "Series", "count": "Frames", "share": "% of offered", "p50": "p50 (ms)", "p90": "p90 (ms)",
    "p99": "p99 (ms)", "p999": "p99.9 (ms)", "max": "max (ms)",
}  # fmt: skip
PERCENTS = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "max": 100.0}


def extend(environment: Environment, web_ui: WebUI, store: Callable[[], Store]) -> None:
    """Add the tab, and its rows to what the page asks for every two seconds."""
    structure = [{"key": key, "title": title} for key, title in COLUMNS.items()]
    web_ui.template_args |= {
        "extended_tabs": [{"title": "Sightline", "key": KEY}],
        "extended_tables": [{"key": KEY, "structure": structure}],
    }

    @web_ui.app.after_request
    def add_rows(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json and isinstance(response.json, dict):
            data: dict[str, Any] = response.json
            data["extended_stats"] = [{"key": KEY, "data": rows(store())}]
            response.set_data(web_ui.app.json.dumps(data))
        return response


def rows(store: Store) -> list[dict[str, str]]:
    """A row for each series, of the whole run: fates first, then stages, the generator last."""
    offered = sum(sum(slots.values()) for slots in store.offered.values())
    order = {STAGE: 1, GENERATOR: 2}
    found = []
    for name, values in sorted(
        store.totals.items(), key=lambda item: (order.get(split(item[0])[0], 0), item[0])
    ):
        count = int(values.total_count)
        is_fate = split(name)[0] not in order
        share = f"{100 * count / offered:.2f}" if is_fate and offered else ""
        at = values.get_percentile_to_value_dict(list(PERCENTS.values()))
        times = {
            key: f"{at[percent] / 1e3:.2f}" if known(values, percent) else ""
            for key, percent in PERCENTS.items()
        }
        store.pause()
        found.append({"series": name, "count": str(count), "share": share, **times})
    return found
