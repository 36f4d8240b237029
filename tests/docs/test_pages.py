"""README and the pages say what is so: their links lead somewhere, their tables name what the code has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from fusefs.cache.blob import mapfile
from fusefs.commands import COMMANDS
from fusefs.values import chunkpack, report, trace
from fusefs.view.manual import about

TOP = Path(__file__).parents[2]
DOCS = TOP / "fusefs/docs"
PAGES = [*sorted(DOCS.glob("*.md")), *sorted((TOP / ".github").rglob("*.md"))]
PAGES += [TOP / "README.md", TOP / "tests/README.md", TOP / "tests/conformance/README.md"]


def text(topic: str) -> str:
    return (DOCS / f"{topic}.md").read_text()


def test_readme_is_short_enough_to_be_read() -> None:
    assert len((TOP / "README.md").read_bytes()) <= 12_000


def test_readme_has_no_picture_that_only_this_folder_has() -> None:
    assert not re.findall(r"!\[[^\]]*\]\((?!https://)", (TOP / "README.md").read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not link.startswith("https://") and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_begins_with_its_title_and_a_line_about_it(page: Path) -> None:
    assert re.match(r"# [A-Z].*\n\n[A-Z][^\n]{20,119}\n", page.read_text())
    assert about(page.read_text()).endswith(".")


def test_readme_names_every_command_and_every_page() -> None:
    readme = (TOP / "README.md").read_text()
    for command in COMMANDS:
        assert re.search(rf"^    fusefs [^\n]*\b{command.name}\b", readme, re.MULTILINE), command.name
    for page in DOCS.glob("*.md"):
        assert f"](fusefs/docs/{page.name})" in readme, page.name


def test_the_page_about_architecture_names_every_room_on_its_floor() -> None:
    contract = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", text("architecture"), re.MULTILINE)
    named = {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)/?`", rooms)}
    floors = {
        room.strip(): floor for floor, rooms in enumerate(reversed(contract["layers"])) for room in rooms.split("|")
    }
    assert named == floors


def test_the_page_about_operations_names_every_field_of_the_json() -> None:
    page = text("operations")
    structs: list[type[msgspec.Struct]] = [report.MountReport, report.FileReport, report.PullReport, report.Item]
    structs += [
        report.VerifyReport,
        report.HoldingsReport,
        report.GcReport,
        report.RemoveReport,
        report.Removed,
        report.Kept,
    ]
    for struct in structs:
        assert not [name for name in struct.__struct_fields__ if f"`{name}`" not in page], struct


def test_the_page_about_the_cache_has_the_formats_that_are_written() -> None:
    page = text("cache-format")
    for module in (mapfile, chunkpack, trace):
        magic = module._MAGIC.decode().replace("\n", r"\n").replace("\0", r"\0")
        assert magic.removesuffix(r"\n") in page, magic


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(?:\w+::)?(test_[a-z0-9]+_[a-z0-9_]+)`", page.read_text()))
    there = {
        name
        for path in (TOP / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    assert not named - there - {path.stem for path in (TOP / "tests").rglob("test_*.py")}


def _places(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    table = page[page.index(f"\n## {heading}\n") :].partition("\n|---")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[1:]]


def test_each_place_where_models_live_has_a_test_that_exists_or_says_that_there_is_none() -> None:
    rows = _places(text("sources"), "What works today")
    assert len(rows) > 15
    for place, command, how, test in rows:
        if not test:
            assert how == "not tested here", place
            continue
        named = re.fullmatch(r"`(tests/\S+\.py)` `(test_\w+)`", test)
        assert named, place
        assert re.search(rf"^(async )?def {named[2]}\(", (TOP / named[1]).read_text(), re.MULTILINE), test
        assert "`fusefs mount " in command or command == "the same" or how.startswith("not yet"), place
