"""What imports what: workers, readers and the database never load Dagster; no room imports itself by way of others."""

from __future__ import annotations

import graphlib
import json
import subprocess
import sys

import grimp
import pytest

WITHOUT_DAGSTER = ["database", "queues", "executions", "insights", "signals", "processing.batch"]
IMPORT_EACH = """
import importlib, json, sys
loaded = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    loaded[name] = [module for module in sys.modules if module.partition(".")[0].startswith("dagster")][:3]
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("nexus_pipeline", include_external_packages=True, cache_dir=None)


def modules_of(graph: grimp.ImportGraph, rooms: list[str]) -> list[str]:
    names = [f"nexus_pipeline.{room}" for room in rooms]
    return sorted(module for module in graph.modules if any(f"{module}.".startswith(f"{name}.") for name in names))


def imports(graph: grimp.ImportGraph, module: str) -> set[str]:
    """The modules of ours that a module imports directly, also inside its functions."""
    return {name for name in graph.find_modules_directly_imported_by(module) if name.startswith("nexus_pipeline.")}


def test_rooms_that_work_without_dagster_load_none_of_it(graph: grimp.ImportGraph) -> None:
    modules = modules_of(graph, WITHOUT_DAGSTER)
    assert {module.split(".")[1] for module in modules} == {room.partition(".")[0] for room in WITHOUT_DAGSTER}
    command = [sys.executable, "-c", IMPORT_EACH, *modules]
    loaded = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert loaded == {module: [] for module in modules}


def test_no_module_imports_itself_by_way_of_others(graph: grimp.ImportGraph) -> None:
    ours = [module for module in graph.modules if module.startswith("nexus_pipeline.")]
    order = graphlib.TopologicalSorter({module: imports(graph, module) for module in ours})
    order.prepare()  # raises CycleError, which names the modules


def test_no_room_imports_itself_by_way_of_others(graph: grimp.ImportGraph) -> None:
    rooms: dict[str, set[str]] = {}
    for module in graph.modules:
        if module.startswith("nexus_pipeline."):
            room = module.split(".")[1]
            rooms.setdefault(room, set()).update({name.split(".")[1] for name in imports(graph, module)} - {room})
    graphlib.TopologicalSorter(rooms).prepare()
