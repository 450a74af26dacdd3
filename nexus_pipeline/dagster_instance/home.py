"""`<NEXUS_HOME>/dagster`: the folder that serves as DAGSTER_HOME."""

import shutil
from pathlib import Path

_INSTALLED = Path(__file__).parent.parent / "dagster.yaml"
_CHECKOUT = Path(__file__).parent.parent.parent / "dagster.yaml"


def dagster_home(home: Path) -> Path:
    """Return `<home>/dagster`, readable by its owner only, with the `dagster.yaml` of this version of the code."""
    folder = home.resolve() / "dagster"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    shutil.copyfile(_INSTALLED if _INSTALLED.is_file() else _CHECKOUT, folder / "dagster.yaml")
    return folder
