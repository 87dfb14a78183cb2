"""Reading files and cutting passages: nothing lost in silence, offsets always exact."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Document, read_documents, split_passages
from retrieval.corpus import DistinctIds, File, read_file


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_folder_is_read_recursively_in_order_without_hidden_or_unknown_files(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "Bee text.")
    write(tmp_path / "a" / "deep.md", "intro\n# Deep title\n\nBody.")
    write(tmp_path / ".hidden.txt", "secret")
    write(tmp_path / ".git" / "x.txt", "secret")
    write(tmp_path / "picture.png", b"\x89PNG\0")
    documents, skipped = read_documents([tmp_path])
    assert [(d.id, d.title) for d in documents] == [("b", "b"), ("a/deep", "Deep title")]
    assert documents[1].path == str(tmp_path / "a" / "deep.md")
    assert skipped == []


def test_progress_hears_of_every_file(tmp_path: Path) -> None:
    files = [write(tmp_path / name, "Some text.") for name in ("a.txt", "b.md")]
    heard: list[Path] = []
    read_documents([tmp_path], progress=heard.append)
    assert heard == files


def test_jsonl_lines_become_documents_with_defaults(tmp_path: Path) -> None:
    rows = [
        {"id": "k", "title": "Kenya", "text": "T.", "url": "https://e.org", "source": "S"},
        {"text": "Only\u2028text"},
    ]
    file = write(tmp_path / "c.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    documents, skipped = read_documents(file)
    assert documents[0] == Document("k", "Kenya", "T.", "https://e.org", "S", str(file))
    assert (documents[1].id, documents[1].text) == ("c:2", "Only\u2028text")
    assert skipped == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{broken", "bad JSON"),
        (b'{"title": "x"}', 'missing field "text"'),
        (b'{"text": null}', "empty text"),
        (b'{"text": "  "}', "empty text"),
        (b'{"text": 3}', 'field "text" must be a string'),
        (b'{"text": "x", "title": []}', 'field "title" must be a string'),
        (b'{"text": "x", "id": {}}', 'field "id" must be'),
        (b"[1]", "expected a JSON object"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_bad_jsonl_line_is_named_and_the_others_are_read(tmp_path: Path, line: bytes, reason: str) -> None:
    file = write(tmp_path / "c.jsonl", b'{"text": "One."}\n' + line + b'\n\n{"text": "Four."}\n')
    documents, skipped = read_documents([tmp_path])
    assert [d.text for d in documents] == ["One.", "Four."]
    assert [s.path for s in skipped] == [str(file)]
    assert skipped[0].reason.startswith("line 2: ")
    assert reason in skipped[0].reason


def test_a_lone_surrogate_is_replaced(tmp_path: Path) -> None:
    documents, _ = read_documents(write(tmp_path / "c.jsonl", '{"text": "a\\ud800b"}'))
    assert documents[0].text == "a\ufffdb"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("binary.txt", b"ab\0cd", "binary"),
        ("empty.md", b"", "empty"),
        ("blank.txt", b" \n ", "empty"),
        ("bom.txt", b"\xef\xbb\xbf \n", "empty"),
        ("lines.jsonl", b"\n\n", "empty"),
        ("direct.docx", b"a,b", "unknown kind .docx"),
        ("header.csv", b"a,b", "empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_listed_with_its_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    documents, skipped = read_documents([write(tmp_path / name, content)])
    assert documents == []
    assert [s.path for s in skipped] == [str(tmp_path / name)]
    assert reason in skipped[0].reason


def test_a_broken_link_and_a_pipe_are_listed(tmp_path: Path) -> None:
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    _, skipped = read_documents([tmp_path])
    assert ["unreadable" in skipped[0].reason, skipped[1].reason] == [True, "not a regular file"]


def test_a_byte_order_mark_and_windows_line_ends_are_not_text(tmp_path: Path) -> None:
    documents, _ = read_documents(write(tmp_path / "w.md", b"\xef\xbb\xbf# Title\r\nBody.\r\n"))
    assert (documents[0].title, documents[0].text) == ("Title", "# Title\nBody.\n")


def test_every_kind_of_file_becomes_documents_named_after_it(tmp_path: Path) -> None:
    write(tmp_path / "a" / "page.html", "<title>Bees</title><p>Bees make honey.")
    write(tmp_path / "b.txt.gz", gzip.compress(b"Tea is a drink."))
    write(tmp_path / "rows.csv", "title,text\nKenya,Nairobi is the capital.\nPeru,Lima is.\n")
    documents, skipped = read_documents([tmp_path])
    assert skipped == []
    assert [(d.id, d.title, d.text) for d in documents] == [
        ("b", "b", "Tea is a drink."),
        ("rows:2", "Kenya", "Nairobi is the capital."),
        ("rows:3", "Peru", "Lima is."),
        ("a/page", "Bees", "Bees make honey."),
    ]


def test_a_pattern_names_the_files_that_fit_it(tmp_path: Path) -> None:
    for name in ("one.md", "two.txt", "deep/three.md"):
        write(tmp_path / name, "Text.")
    documents, _ = read_documents(str(tmp_path / "**" / "*.md"))
    assert [d.id for d in documents] == ["three", "one"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_documents(str(tmp_path / "*.pdf"))


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not-there"):
        read_documents([tmp_path / "not-there"])


def test_a_folder_without_documents_says_so(tmp_path: Path) -> None:
    documents, skipped = read_documents([tmp_path])
    assert documents == []
    assert skipped[0].path == str(tmp_path)
    assert "no .md, .markdown, .txt" in skipped[0].reason


def test_a_taken_id_gets_a_number_and_nothing_is_lost(tmp_path: Path) -> None:
    rows = ["a", "a", "a-2", "a"]
    write(tmp_path / "c.jsonl", "\n".join(json.dumps({"id": name, "text": f"T{i}."}) for i, name in enumerate(rows)))
    documents, _ = read_documents([tmp_path])
    assert [d.id for d in documents] == ["a", "a-2", "a-2-2", "a-3"]
    assert [d.text for d in documents] == ["T0.", "T1.", "T2.", "T3."]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "Text.")
    assert len(read_documents([tmp_path, file, file])[0]) == 1


@given(st.text(max_size=400) | st.text(alphabet="aB. \n?é", max_size=400), st.integers(1, 20))
def test_a_passage_is_its_document_between_its_offsets(text: str, words: int) -> None:
    document = Document("d", "t", text)
    passages = split_passages(document, words)
    reached = 0
    for number, passage in enumerate(passages, start=1):
        assert passage.id == f"d#{number}"
        assert text[passage.start : passage.end] == passage.text
        assert reached <= passage.start < passage.end
        assert passage.text.strip()
        reached = passage.end


def test_passages_end_where_sentences_end_and_hold_about_a_hundred_words() -> None:
    text = "The cat sat on the mat of Dr. Smith today. " * 60
    passages = split_passages(Document("d", "t", text))
    assert len(passages) > 3
    for passage in passages:
        assert passage.text.endswith("today.")
        assert 80 <= len(passage.text.split()) <= 125


@pytest.mark.parametrize(("word", "count"), [("word", 1000), ("a", 150)])
def test_an_over_long_sentence_is_cut_at_white_space(word: str, count: int) -> None:
    passages = split_passages(Document("d", "t", f"{word} " * count), words=50)
    assert all(len(p.text.split()) <= 75 for p in passages)
    assert sum(len(p.text.split()) for p in passages) == count


def test_a_run_without_white_space_is_cut_too() -> None:
    passages = split_passages(Document("d", "t", "x" * 100_000))
    assert len(passages) > 10
    assert sum(len(p.text) for p in passages) == 100_000


@pytest.mark.parametrize("text", ["", " \n\t\u2003 "])
def test_white_space_has_no_passages(text: str) -> None:
    assert split_passages(Document("d", "t", text)) == []


def test_passages_need_words() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        split_passages(Document("d", "t", "Text."), words=0)


GUIDE = (
    """# Guide

Read this first.

## Setup

"""
    + "Fetch the package and unpack it there. " * 30
    + """

### Linux ###

"""
    + "Use the tool that came with it. " * 30
    + """

## Use

```sh
# not a heading
```

"""
    + "Call it by its name. " * 30
)


def test_a_passage_has_the_headings_above_it_without_the_title() -> None:
    document = Document("g", "Guide", GUIDE)
    passages = split_passages(document)
    assert list(dict.fromkeys(passage.heading for passage in passages)) == ["", "Setup", "Setup > Linux", "Use"]
    assert all(document.text[p.start : p.end] == p.text for p in passages)


def test_a_section_begins_a_new_passage_and_leaves_no_scrap_before_it() -> None:
    passages = split_passages(Document("g", "Guide", GUIDE))
    begun = {passage.text.split("\n")[0].strip("# "): passage.heading for passage in passages}
    assert {"Linux": "Setup > Linux", "Use": "Use"}.items() <= begun.items()
    assert all(25 <= len(passage.text.split()) <= 140 for passage in passages)


def test_an_underlined_line_is_a_heading() -> None:
    underlined = (
        GUIDE.replace("# Guide\n", "Guide\n=====\n")
        .replace("## Use\n", "Use\n---\n")
        .replace("## Setup\n", " Setup\n ---\n")
    )
    passages = split_passages(Document("g", "Guide", underlined))
    assert list(dict.fromkeys(passage.heading for passage in passages)) == ["", "Setup", "Setup > Linux", "Use"]
    assert "---" not in passages[-1].text


def test_a_double_line_stands_above_a_single_one() -> None:
    text = "Part\n====\n\nUse\n---\n" + "Call it by its name. " * 30
    assert split_passages(Document("g", "Guide", text))[-1].heading == "Part > Use"
    assert split_passages(Document("g", "Guide", text.replace("---", "###")))[-1].heading == "Part"
    assert split_passages(Document("g", "Guide", text.replace("====", "")))[-1].heading == "Use"


@pytest.mark.parametrize(
    "text",
    [
        "C# is a language.\n#1 of them all.",
        "---\nauthor: me\n---\nText.",
        "A paragraph\nof two lines\n---\nText.",
        "A line longer than any heading should be, and then some more of it, " * 2 + "\n---\nText.",
        "- An item\n---\nText.",
        "```\n\nCode\n====\n```\nText.",
    ],
)
def test_a_text_without_headings_has_none(text: str) -> None:
    assert {passage.heading for passage in split_passages(Document("d", "t", text), 1)} == {""}


def test_a_long_heading_is_cut() -> None:
    (passage,) = split_passages(Document("d", "t", "# " + "x" * 5000 + "\n\nText."))[-1:]
    assert len(passage.heading) <= 120


@given(st.text(alphabet="# a.\n`=-", max_size=300), st.integers(1, 10))
def test_headings_leave_the_offsets_exact(text: str, words: int) -> None:
    reached = 0
    for passage in split_passages(Document("d", "t", text), words):
        assert text[passage.start : passage.end] == passage.text
        assert reached <= passage.start < passage.end
        assert "\n" not in passage.heading
        reached = passage.end


def test_a_page_has_its_headings_too(tmp_path: Path) -> None:
    page = "<title>Bees</title><h1>Bees</h1><h2>Wax</h2><p>" + "Wax is made by workers. " * 40
    (document,) = read_documents(write(tmp_path / "bees.html", page))[0]
    assert split_passages(document)[-1].heading == "Wax"


def test_ten_thousand_documents_of_one_id_are_told_apart_at_once(tmp_path: Path) -> None:
    looks = [0]
    taken: set[str] = set()

    def look(id: str) -> bool:
        looks[0] += 1
        return id in taken

    ids = DistinctIds(look)
    for _ in range(10_000):
        taken.add(ids.give("x"))
    assert len(taken) == 10_000
    assert looks[0] < 50_000


def test_a_file_name_that_is_not_utf8_can_be_written_down(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("Text.")
    (document,) = read_documents(tmp_path)[0]
    assert document.id == "caf\ufffd"


def test_what_is_read_of_a_file_is_counted(tmp_path: Path) -> None:
    for name, content in (
        ("a.txt", b"Tea. " * 5000),
        ("b.jsonl", b'{"text": "Tea."}\n' * 50),
        ("c.txt.gz", gzip.compress(b"Tea. " * 90)),
    ):
        file = write(tmp_path / name, content)
        heard: list[int] = []
        assert list(read_file(File(file, "x"), heard.append))
        assert sum(heard) == len(content)
