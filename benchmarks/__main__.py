"""All figures of docs/sizing.md: `make bench`, about fifteen minutes."""

from __future__ import annotations

import subprocess
import sys

for module in ("engine", "pipeline", "memory"):
    print(f"== {module}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=True)
