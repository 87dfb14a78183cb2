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
from retrieval.formats import SUFFIXES, Text, page_text, read_texts
from retrieval.streams import Unreadable, decode

FRENCH = "Le café de l'été dernier était délicieux, où êtes-vous allés après le dîner à Noël ? " * 20


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def said(path: Path) -> list[str]:
    return [found.reason if isinstance(found, Unreadable) else found.text for found in read_texts(path)]


def a_pdf(*pages: str, title: str = "") -> bytes:
    """A PDF with these lines on its pages, written by hand."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for i, page in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents {5 + 2 * i} 0 R "
            f"/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        drawn = " ".join(f"({line}) Tj 0 -14 Td" for line in page.split("\n"))
        stream = f"BT /F1 12 Tf 20 380 Td {drawn} ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream")
    objects.append(f"<< /Title ({title}) >>".encode())
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, 2)
    places = []
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n" % number + content + b"\nendobj\n")
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer << /Size %d /Root 1 0 R /Info %d 0 R >>\n" % (len(objects) + 1, len(objects)))
    out.write(b"startxref\n%d\n%%%%EOF" % start)
    return out.getvalue()


PAGE = """<!doctype html><html><head><title>On bees &amp; honey</title><style>p {color: red}</style>
<script>alert("no")</script></head><body><nav>Home | About</nav><!-- a remark -->
<h1>Bees</h1><p>Bees make <b>honey</b> from
nectar.</p><ul><li>One queen.</li><li>Many workers.</li></ul><h2>Wax</h2>Made too.<footer>(c)</footer></body></html>"""


def test_a_page_says_its_text_and_not_its_scripts_styles_remarks_and_navigation(tmp_path: Path) -> None:
    [found] = read_texts(written(tmp_path / "bees.html", PAGE))
    assert found == Text(
        "# Bees\n\nBees make honey from nectar.\n\nOne queen.\n\nMany workers.\n\n## Wax\n\nMade too.",
        "On bees & honey",
    )


def test_a_page_without_a_title_is_named_by_its_first_heading() -> None:
    found = page_text("<h1>Tea</h1><p>A drink.")
    assert isinstance(found, Text)
    assert found.title == "Tea"


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


@pytest.mark.parametrize("page", ["<html></html>", "<script>x</script>", "<p> </p>", "<h1></h1>"])
def test_a_page_without_text_says_so(page: str) -> None:
    assert page_text(page) == Unreadable("a page without text")


def test_a_pdf_is_one_text_with_its_lines_joined_and_its_title(tmp_path: Path) -> None:
    content = a_pdf("Bees make honey from nec-\ntar in\nsummer.", "A second page.", title="On bees")
    [found] = read_texts(written(tmp_path / "bees.pdf", content))
    assert found == Text("Bees make honey from nectar in summer.\n\nA second page.", "On bees")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"%PDF-1.4 broken", "not a readable PDF"), (b"", "not a readable PDF"), (a_pdf(""), "a PDF without text")],
)
def test_a_pdf_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    [found] = said(written(tmp_path / "x.pdf", content))
    assert found.startswith(reason)


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


def test_a_pdf_too_large_to_be_held_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_PDF", 100)
    assert said(written(tmp_path / "x.pdf", a_pdf("Tea."))) == ["a PDF of more than 100 bytes"]


def test_a_line_of_json_may_call_its_text_by_another_name_that_a_table_may_use(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text(
        '{"question": "What is salt?", "answer": "A mineral."}\n{"text": "A", "answer": "B", "title": "T"}\n'
    )
    found = [each for each in read_texts(path) if not isinstance(each, Unreadable)]
    assert [(each.title, each.text) for each in found] == [("What is salt?", "A mineral."), ("T", "A")]
