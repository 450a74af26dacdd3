"""All figures of docs/reference/measurements.md: `make bench`, about twenty minutes."""

from __future__ import annotations

import subprocess
import sys

for module, *options in (["engine"], ["pipeline"], ["memory"], ["backfill", "--metrics"]):
    print(f"== {module}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *options], check=True)
