"""`docs/mesh-check.md`, made of the catalogue:

python -m mesh.check.page > docs/mesh-check.md
"""

from __future__ import annotations

from mesh.check.findings import CODES

HEAD = """\
# sightline mesh check

    sightline mesh check [PATHS] [--format json]

Reads Istio's and the Gateway API's resources and says what Istio would refuse, ignore, or do otherwise than the files
seem to say. No cluster is needed, and any project's files will do, not only `istio/`.

- A **file** is read as it is; a **folder** with all its YAML files, as one configuration.
- A folder with a **kustomization** is built and checked as a configuration of its own; findings point to the source
  files, patches included. What goes beyond resources, components, patches and namespace is built by `kubectl`.
- A kustomize **component** is checked on top of the kustomization nearest to it.
- Services and workloads among the paths make more visible: hosts and ports that don't exist, selectors that fit no
  pods, ejection limits that eject nothing at this number of replicas. What the files can't tell is not reported.
- Helm templates are left out: check what `helm template` prints.

The exit code is 0 without errors (warnings and notes may be there), 1 with errors, 2 for a path that can't be
checked. `--format json` prints `findings` (code, severity, file, line, column, what, why, fix) and `counts`.

Fields are compared with the schemas of Istio 1.29.2 and the Gateway API, closed against unknown fields.
SL-M304 knows these streams: the relay's, gRPC's health watch and gRPC reflection.
"""
GROUPS = {
    "SL-M0": "Files and schemas",
    "SL-M1": "References",
    "SL-M2": "Routing",
    "SL-M3": "Timeouts, retries, faults",
    "SL-M4": "Circuit breaking",
    "SL-M5": "Security",
    "SL-M6": "EnvoyFilter",
    "SL-M7": "Egress",
    "SL-M8": "Telemetry",
}


def page() -> str:
    """The page's whole text."""
    parts = [HEAD]
    for prefix, title in GROUPS.items():
        parts.append(
            f"\n## {title}\n\n| code | severity | what | why it matters | fix |\n|---|---|---|---|---|\n"
        )
        for code in CODES.values():
            if code.id.startswith(prefix):
                cells = (code.id, str(code.severity), code.title, code.why, code.fix)
                parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    parts.append(
        "\nThe severity is the usual one: a finding may be milder where the files leave room for doubt, such as a"
        "\nsubset whose DestinationRule is not among them.\n"
    )
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
