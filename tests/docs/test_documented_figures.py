"""The figures and settings that the documents show are those of the files that they come from."""

import re

import pytest

from service.keys import SCOPES
from service.settings import Settings
from tests.docs.pages import DOCS, PAGES, cells

ROOT = DOCS.parent
_FROM = re.compile(r"^<!-- from (?P<file>\S+) -->\n+(?P<table>(?:\|.*\n)+)", re.MULTILINE)
TABLES = [(page, found["file"], found["table"]) for page in PAGES for found in _FROM.finditer(page.read_text())]
INTERVAL = re.compile(r"\d?\.\d+ \[|\d% \[")
"""A figure with its interval: such stand in tables that say where they are from."""


def rows_of(file):
    """The rows of all tables of a file, those that are drawn with lines too."""
    text = (ROOT / file).read_text(encoding="utf-8")
    drawn = re.sub(r"^ *│", "|", text, flags=re.MULTILINE).replace("│", "|")
    return [
        [cell.strip() for cell in row]
        for row in cells(re.sub(r" +\| *", " | ", re.sub(r"^\| +", "| ", drawn, flags=re.M)))
    ]


def test_there_are_figures_on_every_guards_page():
    assert {page.name for page, *_ in TABLES} >= {path.name for path in (DOCS / "guards").iterdir()} | {"security.md"}


@pytest.mark.parametrize(("page", "file", "table"), TABLES, ids=lambda value: getattr(value, "name", str(value)[:40]))
def test_each_row_of_figures_is_one_of_the_file_that_it_is_from(page, file, table):
    there = rows_of(file)
    shown = [row for row in cells(table) if not set(row[0]) <= set("-")]
    assert len(shown) > 1
    for row in shown[1:]:
        assert any(row[0] == other[0] and set(row) <= set(other) for other in there), f"{row} is no row of {file}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_figure_with_an_interval_stands_where_nothing_checks_it(page):
    unchecked = _FROM.sub("", page.read_text())
    assert [line for line in unchecked.splitlines() if INTERVAL.search(line)] == []


def test_the_settings_on_the_page_are_those_that_there_are_with_their_defaults():
    rows = cells((DOCS / "operations.md").read_text())
    listed = [row for row in rows if row[0] in Settings.model_fields and len(row) == 3]
    assert listed == [[name, *described(name)] for name in Settings.model_fields]


def described(name):
    field = Settings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    shown = "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    return shown, field.description.replace("`", "")


def test_the_scopes_on_the_page_are_those_that_there_are():
    rows = {row[0]: row[1] for row in cells((DOCS / "operations.md").read_text()) if len(row) == 2}
    assert {name: rows[name] for name in SCOPES} == SCOPES


def test_what_the_alarms_look_at_are_metrics_of_the_dashboard():
    dashboard = (ROOT / "deploy/grafana/dashboards/winnow.json").read_text()
    names = set(re.findall(r"\bwinnow_\w+", (DOCS / "operations.md").read_text()))
    assert names
    assert [name for name in names if name not in dashboard] == []
