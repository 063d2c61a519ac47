"""`python -m images.report LAYOUT...`: an image's size by layer, what is wrong with it, its bill of materials."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table

from images.check import problems
from images.oci import Image, read_layout
from images.sbom import KEEP, as_json, bill


def main(folders: list[Path]) -> int:
    """Print, and write LAYOUT.PLATFORM.cdx.json beside each layout. Exit status 1 if an image is not as it must be."""
    console, bad = Console(highlight=False, soft_wrap=True), 0
    for folder in folders:
        for image in read_layout(folder, KEEP):
            bom = bill(image)
            target = folder.parent / f"{image.name}.{image.platform.replace('/', '-')}.cdx.json"
            target.write_text(as_json(bom))
            packed, unpacked = (
                sum(getattr(layer, f) for layer in image.layers) for f in ("packed", "unpacked")
            )
            title = f"{packed / 1e6:.1f} MB packed, {unpacked / 1e6:.1f} MB unpacked"
            console.print(
                f"[bold]{image.name}[/] {image.platform}: {title}, {len(bom.components)} components in {target}"
            )
            console.print(_layers(image))
            for problem in (found := problems(image)):
                console.print(f"{image.name}: {problem}", style="red")
            bad += len(found)
    return 1 if bad else 0


def _layers(image: Image) -> Table:
    table = Table(box=None)
    table.add_column("packed, MB", justify="right", min_width=10)
    table.add_column("unpacked, MB", justify="right", min_width=12)
    table.add_column("layer", no_wrap=True)
    for layer in image.layers:
        table.add_row(f"{layer.packed / 1e6:.1f}", f"{layer.unpacked / 1e6:.1f}", _short(layer.made_by))
    return table


def _short(made_by: str) -> str:
    """A history line without the shell and the content's digest; a base made elsewhere has none worth to print."""
    line = re.sub(r"^/bin/sh -c (#\(nop\) )?|(dir|file):[0-9a-f]+ (in )?", "", made_by).strip()
    return textwrap.shorten(line, 60) if line and line != "/bin/sh" else "the base"


if __name__ == "__main__":
    try:
        sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
    except ValueError as problem:
        sys.exit(f"images: {problem}")
