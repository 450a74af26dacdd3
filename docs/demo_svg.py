"""Draw the summary of the demo as an image: `nexus demo --json | tail -n 1 | python docs/demo_svg.py`."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

from rich.console import Console

from nexus_pipeline.demo.report import render

TARGET = Path(__file__).parent / "images" / "demo.svg"


def main() -> None:
    """Reads the report of a demo from standard input and writes the image."""
    os.environ["COLUMNS"] = "110"  # plotext draws no wider than the terminal
    console = Console(
        record=True, file=io.StringIO(), width=110, force_terminal=True, color_system="truecolor", legacy_windows=False
    )
    render(json.load(sys.stdin), console)
    svg = console.export_svg(title="nexus demo")
    # The image must not load fonts from the network: the reader's monospace font serves as well.
    TARGET.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main()
