"""Grafana's dashboards as code: `python -m sightline.monitoring.dashboards` writes their JSON (`make dashboards`).

The JSON is committed, since Grafana's sidecar takes it from a ConfigMap; a test compares it with what this makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.builders.common import StackingConfig, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

from sightline.monitoring.files import monitoring_folder
from sightline.monitoring.plots import FRAMES, MESH, PROMISES, RELAYS, SERVERS, Plot

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HEIGHT = 12, 8  # of 24 columns: two panels a row


def panel(number: int, plot: Plot) -> timeseries.Panel:
    """A panel of Grafana's; its number is what links to it name."""
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = (
        timeseries.Panel()
        .id(number)
        .title(plot.title)
        .description(plot.description)
        .datasource(DATASOURCE)
        .unit(plot.unit)
        .min(0)
        .span(WIDTH)
        .height(HEIGHT)
        .fill_opacity(25 if plot.stacked else 0)
        .legend(legend.show_legend(True))
    )
    if plot.stacked:
        made = made.stacking(StackingConfig().mode(StackingMode.NORMAL))
    for letter, (name, query) in zip("ABCDEF", plot.queries.items(), strict=False):
        made = made.with_target(prometheus.Dataquery().expr(query).legend_format(name).ref_id(letter))
    return made


def dashboard(title: str, uid: str, rows: dict[str, Sequence[Plot]]) -> Dashboard:
    """A dashboard of titled rows, for one namespace of the Prometheus that is chosen at its top."""
    made = (
        Dashboard(title)
        .uid(uid)
        .tags(["sightline"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .with_variable(DatasourceVariable("datasource").type("prometheus"))
        .with_variable(
            QueryVariable("namespace")
            .datasource(DATASOURCE)
            .query("label_values(sightline_relay_streams, namespace)")
            .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        )
    )
    numbers = count(1)
    for name, plots in rows.items():
        made = made.with_row(Row(name).id(next(numbers)))
        for plot in plots:
            made = made.with_panel(panel(next(numbers), plot))
    return made


def dashboards() -> dict[str, str]:
    """Every dashboard's JSON, by the name of its file."""
    made = {
        "sightline.json": dashboard(
            "Sightline", "sightline", {"Promises": PROMISES, "Frames": FRAMES, "Relays": RELAYS}
        ),
        "sightline-servers.json": dashboard(
            "Sightline: servers and mesh", "sightline-servers", {"Model servers": SERVERS, "Mesh": MESH}
        ),
    }
    return {
        name: JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"
        for name, builder in made.items()
    }


if __name__ == "__main__":
    for name, text in dashboards().items():
        (monitoring_folder() / "dashboards" / name).write_text(text)
