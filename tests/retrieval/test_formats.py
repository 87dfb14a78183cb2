"""What each kind of file says: every format read, whatever is broken named, nothing raised."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import formats
from retrieval.formats import SUFFIXES, read_texts
from retrieval.pages import Paper
from retrieval.streams import Text, Unreadable, decode

FRENCH = "Le café de l'été dernier était délicieux, où êtes-vous allés après le dîner à Noël ? " * 20


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def said(path: Path) -> list[str]:
    return [found.reason if isinstance(found, Unreadable) else found.text for found in read_texts(path)]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("intro\n# Tea #1\n\n# More", "Tea #1"),
        ("Tea\n===\n\n# More", "Tea"),
        ("Tea\n---\n\nText", ""),
        ("Two lines of\ntext\n===", ""),
    ],
)
def test_markdown_is_named_by_its_first_great_heading(tmp_path: Path, text: str, title: str) -> None:
    assert [found.title for found in read_texts(written(tmp_path / "tea.md", text)) if isinstance(found, Text)] == [
        title
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_row_of_a_table_is_its_text_column_or_all_its_cells_by_name(tmp_path: Path, delimiter: str) -> None:
    table = io.StringIO()
    csv.writer(table, delimiter=delimiter).writerows(
        [
            ["id", "Title", "Text", "url"],
            ["7", "Bees", 'They make "honey",\nand wax', "https://e.org"],
            ["", "", "Tea.", ""],
        ]
    )
    [first, second] = read_texts(written(tmp_path / "t.csv", table.getvalue()))
    assert first == Text('They make "honey",\nand wax', "Bees", "7", "https://e.org", "", 2)
    assert second == Text("Tea.", number=3)
    [row] = read_texts(
        written(tmp_path / "u.csv", delimiter.join(["Name", "Height"]) + "\n" + delimiter.join(["Ben", "3 m"]))
    )
    assert row == Text("Name: Ben. Height: 3 m", "Ben", number=2)


def test_a_gzipped_file_is_read_like_the_file_in_it(tmp_path: Path) -> None:
    assert said(written(tmp_path / "a.txt.gz", gzip.compress(b"Tea."))) == ["Tea."]
    assert said(written(tmp_path / "b.jsonl.gz", gzip.compress(b'{"text": "One."}\n{"text": "Two."}'))) == [
        "One.",
        "Two.",
    ]
    [reason] = said(written(tmp_path / "c.txt.gz", b"no gzip at all"))
    assert reason.startswith("damaged gzip")
    *_, reason = said(written(tmp_path / "d.jsonl.gz", gzip.compress(b'{"text": "One."}\n' * 9999)[:-20]))
    assert reason.startswith("damaged gzip")


def test_a_small_gzip_that_unfolds_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_BYTES", 1000)
    assert said(written(tmp_path / "a.txt.gz", gzip.compress(b"x" * 100_000))) == ["unfolds to more than 1,000 bytes"]


def test_a_huge_line_or_piece_is_skipped_and_the_rest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_LINE", 100)
    huge = json.dumps({"text": "x" * 5000})
    found = said(written(tmp_path / "a.jsonl", f'{{"text": "One."}}\n{huge}\n{{"text": "Three."}}'))
    assert found == ["One.", "line 2: longer than 400 bytes", "Three."]
    assert said(written(tmp_path / "b.html", "x" * 401)) == ["larger than 100 bytes in one piece"]
    assert said(written(tmp_path / "c.csv", "text\n" + "x" * 401)) == ["line 2: longer than 100 characters"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-32", "cp1252"])
def test_encodings_are_found_out(encoding: str) -> None:
    raw = b"\xff\xfe" + FRENCH.encode("utf-16-le") if encoding == "utf-16-le-bom" else FRENCH.encode(encoding)
    assert decode(raw) == FRENCH


@pytest.mark.parametrize("raw", [b"ab\0cd", b"\xff\xfea"])
def test_what_is_no_text_is_not_guessed_at(raw: bytes) -> None:
    assert isinstance(decode(raw), Unreadable)


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    [reason] = said(written(tmp_path / "x.docx", b"PK"))
    assert reason.startswith("unknown kind .docx: expected .md")
    [reason] = said(written(tmp_path / "y", b"text"))
    assert reason.startswith("unknown kind without suffix")


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode), suffix=st.sampled_from(SUFFIXES))
def test_whatever_a_file_holds_nothing_is_raised_and_texts_say_something(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    found = list(read_texts(written(folder / f"x{suffix}", content)))
    assert found
    for each in found:
        assert each.reason if isinstance(each, Unreadable) else each.text.strip()


@given(
    text=st.text(alphabet="ab é\n", min_size=1, max_size=400),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_an_over_long_text_becomes_several_and_no_word_is_lost(
    tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str
) -> None:
    file = written(tmp_path_factory.mktemp("long") / "x.txt", text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "MAX_LINE", 20)
        found = [each for each in read_texts(file) if isinstance(each, Text)]
    assert all(len(each.text) <= 20 for each in found)
    assert "".join(each.text for each in found).split() == text.split() or max(map(len, text.split())) > 10
    assert "".join("".join(each.text for each in found).split()) == "".join(text.split())
    assert [each.number for each in found] in ([], [None], list(range(1, len(found) + 1)))


def test_an_over_long_text_is_cut_where_a_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_LINE", 30)
    assert (
        said(written(tmp_path / "x.md", "One line of text.\nAnother line.\n" * 6))
        == ["One line of text.\n", "Another line.\n"] * 6
    )


def test_an_over_long_table_is_read_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_LINE", 60)
    content = "title,text\n" + "".join(f"T{n},Words of row {n}.\n" for n in range(100))
    for name, raw in (("x.csv", content.encode()), ("y.csv.gz", gzip.compress(content.encode("utf-16")))):
        assert said(written(tmp_path / name, raw)) == [f"Words of row {n}." for n in range(100)]


@pytest.mark.parametrize("raw", [b"Tea. " * 100 + b"\0", b"Tea. " * 100 + b"\xff\xfe\x80" * 3])
def test_an_over_long_file_that_is_no_text_is_refused_or_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    monkeypatch.setattr(formats, "MAX_LINE", 20)
    found = list(read_texts(written(tmp_path / "x.txt", raw)))
    assert found
    assert isinstance(found[0], Unreadable) == (b"\0" in raw)


def test_pages_and_pdf_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(read_texts(written(tmp_path / "x.html", "<h1>Tea</h1>A drink."))) == [Text("# Tea\n\nA drink.", "Tea")]
    monkeypatch.setattr(formats, "pdf_text", lambda raw, most: Paper("Tea", (f"{raw!r}", f"{most}")))
    found = list(read_texts(written(tmp_path / "x.pdf", "%PDF")))
    assert found == [Text("b'%PDF'", "Tea", number=1), Text("10000000", "Tea", number=2)]


def test_a_pdf_too_large_to_be_held_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_PDF", 100)
    assert said(written(tmp_path / "x.pdf", b"%PDF-1.4" + b"x" * 100)) == ["a PDF of more than 100 bytes"]


def test_a_line_of_json_may_call_its_text_by_another_name_that_a_table_may_use(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text(
        '{"question": "What is salt?", "answer": "A mineral."}\n{"text": "A", "answer": "B", "title": "T"}\n'
    )
    found = [each for each in read_texts(path) if not isinstance(each, Unreadable)]
    assert [(each.title, each.text) for each in found] == [("What is salt?", "A mineral."), ("T", "A")]
