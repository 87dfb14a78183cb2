"""What a web page and a PDF say: all of their words, none of their machinery."""

import io

import pytest

from retrieval.pages import Paper, page_text, pdf_text
from retrieval.streams import Text, Unreadable


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


def test_a_page_says_its_text_and_not_its_scripts_styles_remarks_and_navigation() -> None:
    assert page_text(PAGE) == Text(
        "# Bees\n\nBees make honey from nectar.\n\nOne queen.\n\nMany workers.\n\n## Wax\n\nMade too.",
        "On bees & honey",
    )


def test_a_page_without_a_title_is_named_by_its_first_heading() -> None:
    found = page_text("<h1>Tea</h1><p>A drink.")
    assert isinstance(found, Text)
    assert found.title == "Tea"


@pytest.mark.parametrize("page", ["<html></html>", "<script>x</script>", "<p> </p>", "<h1></h1>"])
def test_a_page_without_text_says_so(page: str) -> None:
    assert page_text(page) == Unreadable("a page without text")


def test_a_pdf_is_one_text_with_its_lines_joined_and_its_title() -> None:
    content = a_pdf("Bees make honey from nec-\ntar in\nsummer.", "A second page.", title="On bees")
    assert pdf_text(content, 100) == Paper("On bees", ("Bees make honey from nectar in summer.\n\nA second page.",))
    assert pdf_text(content, 20) == Paper("On bees", ("Bees make honey from nectar in summer.", "A second page."))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"%PDF-1.4 broken", "not a readable PDF"), (b"", "not a readable PDF"), (a_pdf(""), "a PDF without text")],
)
def test_a_pdf_that_cannot_be_read_says_why(content: bytes, reason: str) -> None:
    found = pdf_text(content, 100)
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(reason)
