"""The docs: generated pages match the code, links lead somewhere, and every page is on the site."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from nexus_pipeline.definitions import defs
from nexus_pipeline_tests.support.commands import PROJECT

DOCS = PROJECT / "docs"
PAGES = sorted(
    [*DOCS.rglob("*.md"), *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md"))]
)


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def without_code(page: Path) -> str:
    text = re.sub(r"^ *(```|~~~).*?^ *\1[^\n]*$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", "`code`", text)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub and MkDocs make them."""
    text = re.sub(r"^ *(```|~~~).*?^ *\1[^\n]*$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page))
    for link in (link for link in links if not link.startswith(("http://", "https://", "mailto:"))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}, which does not exist"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)} links to {link}, which has no such heading"


def test_the_generated_pages_are_what_the_code_says_now() -> None:
    specification = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert specification
    assert specification.loader
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    stale = [name for name, text in generate.pages().items() if (DOCS / "reference" / name).read_text() != text]
    assert stale == [], "run `make reference`"
    assert "NEXUS_BATCH_SIZE" in generate.settings_page()
    assert "## nexus errors redrive" in generate.commands_page()
    assert "`avg_rsi`" in generate.tables_page()


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    navigation = (PROJECT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"([\w/-]+\.md)", navigation)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_picture_is_shown_somewhere() -> None:
    shown = " ".join(page.read_text() for page in PAGES)
    assert [file.name for file in (DOCS / "images").iterdir() if file.name not in shown] == []


def test_the_site_loads_nothing_from_another_host() -> None:
    settings = (PROJECT / "mkdocs.yml").read_text()
    assert "font: false" in settings
    assert not re.search(r"https?://", settings)


def parameters(signature: str) -> list[str]:
    """The names of the input parameters, in their order."""
    parts = re.split(r",(?![^(]*\))", signature)
    return [part.split()[0].strip('"') for part in parts if part.strip() and not part.strip().startswith("OUT ")]


def test_the_documented_functions_exist_with_these_parameters() -> None:
    files = sorted((PROJECT / "sql" / "functions").rglob("*.sql"))
    sql = re.sub(r"--.*", "", "\n".join(file.read_text() for file in files))
    created = re.findall(
        r"^CREATE OR REPLACE FUNCTION ([\w.]+)\((.*?)\)\s*(?:RETURNS|LANGUAGE)", sql, re.MULTILINE | re.DOTALL
    )
    actual = {name.removeprefix("public."): parameters(signature) for name, signature in created}
    page = (DOCS / "reference" / "sql-functions.md").read_text()
    documented = re.findall(r"(?:^\| |, )`([\w.]+)\(([^`]*)\)`", page, re.MULTILINE)
    assert len(documented) >= 12
    assert {name: parameters(signature) for name, signature in documented} == {
        name: actual.get(name) for name, _ in documented
    }


def test_the_page_on_dagster_names_every_job_sensor_schedule_asset_and_check() -> None:
    repository = defs.get_repository_def()
    names = {
        *(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        *(sensor.name for sensor in repository.sensor_defs),
        *(schedule.name for schedule in repository.schedule_defs),
        *(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()),
    }
    checks = {key.name for key in repository.asset_graph.asset_check_keys}
    page = (DOCS / "reference" / "dagster.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
    shared = ("_reconcile", "_no_duplicates")
    assert [name for name in sorted(checks) if f"`{name}`" not in page and not name.endswith(shared)] == []
    assert all(f"`...{suffix}`" in page for suffix in shared)
