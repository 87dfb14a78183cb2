"""The report: what it says, that it asks for nothing from elsewhere, and that no text in it is ever markup."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from service.report import bound, reached, write_report

HOSTILE = "</span></style><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"


class Tags(HTMLParser):
    """Every element with its attributes, and the text outside of style."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)
        self.text.append(" ")

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def said(self):
        return " ".join("".join(self.text).split())


def figure(name, value, **changed):
    found = {"name": name, "value": value, "low": None, "high": None, "error": None, "n": 10, "prevalence": None}
    return {**found, "unit": "share", "better": "higher", "beside": "", "target": "", **changed}


def exchange(id, unsafe_label, unsafe, dropped, **changed):
    return {
        "id": id,
        "source": "own",
        "role": "assistant",
        "context": [{"role": "user", "content": f"context of {id}"}],
        "text": f"text of {id}",
        "labels": ["hate"] if unsafe_label else [],
        "unsafe_label": unsafe_label,
        "complete": True,
        "scores": {"hate": unsafe, "crime": 0.01},
        "unsafe": unsafe,
        "dropped": dropped,
        "because": ["hate"] if dropped else [],
        **changed,
    }


RESULTS = {
    "command": "winnow eval --seed 3",
    "run": {
        "winnow": "0.1.0",
        "model": "SmolLM2",
        "endpoint": None,
        "seed": 3,
        "quick": True,
        "data": {"pools": "abc"},
    },
    "headline": [
        {
            "name": "safe, after",
            "value": 0.941,
            "low": 0.9,
            "high": 0.97,
            "n": 220,
            "lamda": {"PT 2B": None, "LaMDA 2B": 0.938},
        }
    ],
    "suites": {
        "pick": {
            "title": "Is the pick safer?",
            "n": 220,
            "seconds": 12.4,
            "figures": [
                figure("safe share", 0.94, low=0.91, high=0.97, target="≥ 93%", prevalence=0.26),
                figure("safe share, random pick", 0.74, beside="safe share"),
                figure("gain", 0.05, unit="points", target="≥ +9"),
            ],
        },
        "bias": {"title": "Are names equal?", "unavailable": "needs the set 'sbic'"},
    },
}
ROWS = {
    "classify": [
        exchange("miss", True, 0.05, False),
        exchange("alarm", False, 0.9, True),
        exchange("hit", True, 0.95, True),
        exchange("fine", False, 0.02, False),
    ],
    "speed": [{"id": "1", "seconds": {"sample": 2.0, "screen": 0.5}}, {"id": "2", "seconds": {"sample": 4.0}}],
}


def html_of(folder, results=RESULTS, rows=ROWS):
    path = write_report(folder / "run", results, rows)
    assert path == folder / "run" / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return html_of(tmp_path_factory.mktemp("report"))


def test_the_headline_stands_beside_lamdas_figures(html):
    said = Tags(html).said
    assert "safe, after 94.1% 90.0% to 97.0% 220 93.8%" in said


def test_a_figure_has_its_interval_its_baseline_and_whether_its_target_is_reached(html):
    said = Tags(html).said
    assert "safe share 94.0% 91.0% to 97.0% 10 26.0% 74.0% random pick ≥ 93% ✓ reached" in said
    assert "gain +5.0 10 ≥ +9 ✗ missed" in said
    assert "1 of 2 targets reached. Missed: pick: gain (+5.0, target ≥ +9)." in said
    assert said.count("random pick") == 1


def test_a_suite_that_could_not_be_run_says_why_and_a_quick_run_says_so(html):
    said = Tags(html).said
    assert "Not run: needs the set 'sbic'." in said
    assert "A quick run" in said
    assert "winnow eval --seed 3" in said
    assert "data: pools abc" in said


def test_misses_and_false_alarms_are_shown_veiled_and_can_be_reached_by_the_keyboard(html):
    misses, alarms = Tags(html).said.split("False alarms: labelled safe, and dropped")
    misses = misses.split("Misses: labelled unsafe, and passed")[1]
    assert "text of miss" in misses
    assert "context of miss" in misses
    assert "text of alarm" in alarms
    assert "dropped for hate" in alarms
    assert "text of hit" not in html
    assert "text of fine" not in html
    veils = [attributes for _, attributes in Tags(html).tags if attributes.get("class") == "veiled"]
    assert [veil["tabindex"] for veil in veils] == ["0", "0"]
    # Whatever is veiled lies within a veil, and only focus lifts it.
    for text in ("text of miss", "context of alarm"):
        assert html.rindex('class="veiled"', 0, html.index(text)) > html.rindex("<article>", 0, html.index(text))
    assert re.search(r"\.veiled \.text \{[^}]*blur", html)
    assert re.search(r"\.veiled:focus \.text, \.veiled:focus-within \.text \{[^}]*filter: none", html)


def test_the_worst_errors_come_first(tmp_path):
    rows = [exchange(f"m{n}", True, n / 100, False) for n in (30, 10, 20)]
    rows += [exchange(f"f{n}", False, n / 100, True) for n in (70, 90, 80)]
    html = html_of(tmp_path, RESULTS, {"classify": rows})
    order = re.findall(r"(?<!con)text of (\w+)", html)
    assert order == ["m10", "m20", "m30", "f90", "f80", "f70"]


def test_what_was_dropped_is_counted_by_the_reason_that_decided(html):
    assert "hate 1 1" in Tags(html).said.split("What was dropped")[1]


def test_there_is_a_curve_overall_and_of_each_objective_that_is_violated_somewhere(html):
    captions = re.findall(r"<figcaption><strong>(.*?)</strong>: (\d+ of \d+)", html)
    assert captions == [("unsafe at all", "2 of 4"), ("hate", "2 of 4")]


def test_labels_that_are_not_complete_say_nothing_of_an_objective(tmp_path):
    rows = [exchange(str(n), n % 2 == 0, n / 10, False, complete=n < 2) for n in range(6)]
    captions = re.findall(r"<strong>(.*?)</strong>: (\d+ of \d+)", html_of(tmp_path, RESULTS, {"classify": rows}))
    assert captions == [("unsafe at all", "3 of 6"), ("hate", "1 of 2")]


def test_latency_is_charted_by_phase(html):
    said = Tags(html).said
    assert "sample 3.00 s 3.90 s 3.98 s 2" in said
    assert "screen 0.50 s 0.50 s 0.50 s 1" in said


def test_no_text_of_a_run_is_ever_markup(tmp_path):
    results = {
        "command": HOSTILE,
        "run": {HOSTILE: HOSTILE, "quick": False},
        "headline": [{"name": HOSTILE, "value": 0.5, "low": None, "high": None, "n": 1, "lamda": {HOSTILE: HOSTILE}}],
        "suites": {
            "pick": {"title": HOSTILE, "n": 1, "seconds": 1.0, "figures": [figure(HOSTILE, 0.5, target=HOSTILE)]},
            "bias": {"title": HOSTILE, "unavailable": HOSTILE},
        },
    }
    bad = {"source": HOSTILE, "role": HOSTILE, "text": HOSTILE, "because": [HOSTILE], "scores": {HOSTILE: 0.3}}
    bad |= {"context": [{"role": HOSTILE, "content": HOSTILE}]}
    rows = [exchange(HOSTILE, True, 0.1, False, **bad, labels=[HOSTILE]), exchange(HOSTILE, False, 0.9, True, **bad)]
    html = html_of(tmp_path, results, {"classify": rows, "speed": [{"id": "1", "seconds": {HOSTILE: 1.0}}]})
    tags = Tags(html)
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & {tag for tag, _ in tags.tags}
    assert not [name for _, attributes in tags.tags for name in attributes if name.startswith("on")]
    assert tags.said.count("<script>alert(1)</script>") > 12
    assert "{{ 7 * 7 }}" in tags.said


def test_the_file_asks_for_nothing_from_elsewhere_and_its_policy_allows_but_its_own_style(html):
    tags = Tags(html).tags
    assert not [1 for _, attributes in tags if "src" in attributes or "style" in attributes]
    assert all(attributes["href"].startswith("#") for _, attributes in tags if "href" in attributes)
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = (a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv"))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_both_light_and_dark_are_drawn(html):
    assert "prefers-color-scheme: dark" in html


def test_a_run_of_nothing_is_a_report_all_the_same(tmp_path):
    html = html_of(tmp_path, {"run": {}, "suites": {}}, {})
    assert "What ran" in html
    assert "<h2>Precision" not in html


def test_a_surrogate_that_cannot_be_written_does_not_stop_the_report(tmp_path):
    html = html_of(tmp_path, RESULTS, {"classify": [exchange("a", True, 0.1, False, text="half \ud83d of it")]})
    assert "of it" in html


def test_a_long_text_is_cut(tmp_path):
    html = html_of(tmp_path, RESULTS, {"classify": [exchange("a", True, 0.1, False, text="x" * 5000)]})
    assert "(3500 more characters)" in html


@pytest.mark.parametrize(
    ("target", "unit", "found"),
    [
        ("≥ .92", "area", ("≥", 0.92)),
        ("≥ 93%", "share", ("≥", 0.93)),
        ("≤ 2 points", "points", ("≤", 0.02)),
        ("≥ +9", "points", ("≥", 0.09)),
        ("= 0", "count", ("=", 0.0)),
        ("better than random", "share", None),
        ("", "share", None),
    ],
)
def test_a_target_is_a_sign_and_a_number_in_the_figures_own_unit(target, unit, found):
    assert bound(target, unit) == (pytest.approx(found) if found is None else (found[0], pytest.approx(found[1])))


def test_a_target_is_reached_by_the_value_at_its_bound():
    assert reached(0.93, "≥ 93%", "share") is True
    assert reached(0.9299, "≥ 93%", "share") is False
    assert reached(0.02, "≤ 2 points", "points") is True
    assert reached(1.0, "= 0", "count") is False
    assert reached(None, "≥ 93%", "share") is None
    assert reached(0.5, "high", "share") is None
