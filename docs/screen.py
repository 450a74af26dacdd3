"""Write a picture of a terminal with a command's output: `python docs/screen.py OUT.svg COMMAND...`.

The picture in the README is made this way, from a real run. It loads no font from another host.
"""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 100, 50
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def output(command: list[str]) -> str:
    """What the command prints on a terminal, with its colours.

    Raises:
        subprocess.CalledProcessError: it did not end with 0.
    """
    outer, inner = pty.openpty()
    env = {**os.environ, "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=inner, stderr=subprocess.DEVNULL, env=env) as process:
        os.close(inner)
        printed = b""
        try:
            while part := os.read(outer, 65536):
                printed += part
        except OSError:  # Linux reports the end of a pseudo-terminal as an input/output error
            pass
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return printed.decode().replace("\r\n", "\n")


def main(out: str, *command: str) -> None:
    """Run the command and write the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {' '.join(command)}", style="bold"))
    console.print(Text.from_ansi(output(list(command)).rstrip()))
    console.save_svg(out, title=" ".join(command), code_format=_FORMAT, unique_id="nexus")


if __name__ == "__main__":
    main(*sys.argv[1:])
