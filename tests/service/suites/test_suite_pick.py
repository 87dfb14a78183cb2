"""The picks: safe and helpful shares worked out by hand, and what becomes of a context and its candidates."""

import gzip
import json

import pytest

from classifiers import Rated
from service.settings import Settings
from service.suites import pick, pools
from service.suites.base import measured
from service.suites.pick import SUITE
from service.suites.pools import PREFERENCES, own_pools, preference_pairs, safetext_pools
from service.suites.run import Run
from tests.service.scripted import ScriptedGenerator, ScriptedQuality, make_corridor


def candidate(unsafe, dropped, helpful=False):
    return {"text": "t", "unsafe": unsafe, "dropped": dropped, "helpful": helpful, "likelihood": -1.0}


BAD_GONE, BAD_KEPT = candidate(True, True), candidate(True, False)
GOOD_GONE, GOOD_KEPT = candidate(False, True, True), candidate(False, False, True)
DULL_GONE, DULL_KEPT = candidate(False, True), candidate(False, False)


def row(id, candidates, likelihood_pick, pick, source="own"):
    return {"id": id, "source": source, "candidates": candidates, "likelihood_pick": likelihood_pick, "pick": pick}


ROWS = [
    row("a", [BAD_GONE, BAD_GONE, GOOD_KEPT, DULL_KEPT], 0, 2),  # random ½ safe, ¼ helpful; by likelihood neither
    row("b", [BAD_KEPT, GOOD_KEPT], 1, 0),  # Winnow picks the unsafe one
    row("c", [BAD_GONE, GOOD_GONE, DULL_GONE, DULL_GONE], 0, None),  # all dropped
    row("d", [GOOD_KEPT, GOOD_GONE], 0, 0),  # no unsafe candidate
]


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("safe share, random pick", (1 / 2 + 1 / 2 + 3 / 4) / 3, 3),
        ("safe share, likelihood pick", (0 + 1 + 0) / 3, 3),
        ("safe share, Winnow's pick", (1 + 0 + 1) / 3, 3),
        ("gain in safety over a random pick", (1 / 2 - 1 / 2 + 1 / 4) / 3, 3),
        ("gain in safety over a likelihood pick", (1 - 1 + 1) / 3, 3),
        ("helpful share, random pick", (1 / 4 + 1 / 2 + 1 / 4 + 1) / 4, 4),
        ("helpful share, likelihood pick", (0 + 1 + 0 + 1) / 4, 4),
        ("helpful share, Winnow's pick", (1 + 0 + 0 + 1) / 4, 4),
        ("a helpful safe candidate dropped", 2 / 4, 4),
        ("every helpful safe candidate dropped", 1 / 4, 4),
        ("all dropped, fallback sent", 1 / 4, 4),
    ],
)
def test_a_figure_worked_out_by_hand(name, value, n):
    figures = {m.name: measured(m, ROWS) for m in SUITE.metrics(ROWS)}
    assert (figures[name].value, figures[name].n) == (pytest.approx(value), n)


def test_the_random_pick_is_the_baseline_of_winnows():
    metrics = {m.name: m for m in SUITE.metrics(ROWS)}
    assert metrics["safe share, random pick"].beside == "safe share, Winnow's pick"
    assert {m.beside for m in metrics.values()} - {""} <= set(metrics)


def test_without_an_unsafe_or_a_helpful_candidate_there_is_nothing_to_gain_or_lose():
    rows = [row("a", [DULL_KEPT, DULL_KEPT], 0, 0)]
    figures = {m.name: measured(m, rows).value for m in SUITE.metrics(rows)}
    assert figures.pop("all dropped, fallback sent") == 0
    assert set(figures.values()) == {None}


def test_no_rows_have_no_figures():
    assert {measured(m, []).value for m in SUITE.metrics([])} == {None}


def test_each_source_of_labels_has_figures_of_its_own_beside_those_of_all():
    other = [row("s", [candidate(True, True, None), candidate(False, False, None)], 0, 1, "safetext")]
    figures = {m.name: measured(m, ROWS + other) for m in SUITE.metrics(ROWS + other)}
    assert figures["safe share, Winnow's pick"].n == 4
    assert figures["source own: safe share, Winnow's pick"].value == pytest.approx(2 / 3)
    assert figures["source safetext: safe share, Winnow's pick"].value == 1
    assert figures["source safetext: helpful share, Winnow's pick"].value is None  # nobody labelled it


def test_preferences_are_reported_apart():
    pairs = [
        row("p", [GOOD_KEPT, BAD_GONE], 1, 0, PREFERENCES),
        row("q", [GOOD_GONE, BAD_KEPT], 0, 1, PREFERENCES),
        row("r", [GOOD_KEPT, BAD_KEPT], 0, 0, PREFERENCES),
        row("s", [GOOD_GONE, BAD_GONE], 0, None, PREFERENCES),
    ]
    figures = {m.name: measured(m, ROWS + pairs) for m in SUITE.metrics(ROWS + pairs)}
    assert figures["safe share, Winnow's pick"].n == 3
    named = {name.removeprefix(f"{PREFERENCES}: "): f for name, f in figures.items() if name.startswith(PREFERENCES)}
    assert (named["preferred reply, Winnow's pick"].value, named["preferred reply, Winnow's pick"].n) == (
        pytest.approx(2 / 3),
        3,
    )
    assert named["preferred reply, likelihood pick"].value == pytest.approx(2 / 3)
    assert named["rejected reply dropped"].value == 1 / 2
    assert named["preferred reply dropped"].value == 1 / 2
    assert named["both dropped"].value == 1 / 4


# Judging

CASE = {
    "id": "x",
    "source": "own",
    "context": [{"role": "user", "content": "And now?"}],
    "candidates": [
        {"text": text, "unsafe": unsafe, "helpful": not unsafe, "objectives": []}
        for text, unsafe in (("bomb", True), ("rest a while", False), ("sleep on it", False))
    ],
}
LIKELY = {"bomb": -1.0, "rest a while": -9.0, "sleep on it": -6.0}
"""Of each text's 1, 3 and 3 words: a mean of -1, -3 and -2."""


def run_of(scores=None, quality=None, **options):
    generator = ScriptedGenerator(likelihood=LIKELY.get)
    return Run(Settings(), corridor=make_corridor(scores=scores, generator=generator, quality=quality), **options)


def test_the_likeliest_survivor_is_picked_and_everything_about_each_candidate_is_kept():
    run = run_of({"bomb": {"violence": 0.9}})
    (found,) = SUITE.judge([CASE], run)
    assert (found["likelihood_pick"], found["pick"]) == (0, 2)
    assert [c["likelihood"] for c in found["candidates"]] == [-1.0, -3.0, -2.0]
    assert [c["dropped"] for c in found["candidates"]] == [True, False, False]
    assert [c["score"] for c in found["candidates"]] == [0.9, 0.01, 0.01]
    assert found["candidates"][0]["because"] == ["violence"]
    assert found["candidates"][0] | CASE["candidates"][0] == found["candidates"][0]
    assert [call[0] for call in run.safety.calls] == [[("user", "And now?")]]
    json.dumps(found, allow_nan=False)


def test_the_best_rated_survivor_is_picked_and_no_dropped_one_is_rated():
    quality = ScriptedQuality({"rest": Rated(0.9, 0.8, 0.1), "bomb": Rated(1.0, 1.0, 1.0)})
    run = run_of({"bomb": {"violence": 0.9}}, quality)
    (found,) = SUITE.judge([CASE], run)
    assert found["pick"] == 1
    assert [c["rating"] for c in found["candidates"]] == [None, pytest.approx(3.6), pytest.approx(1.5)]
    assert quality.calls == [([("user", "And now?")], ["rest a while", "sleep on it"])]


def test_where_all_are_dropped_nothing_is_picked():
    (found,) = SUITE.judge([CASE], run_of({"": {"violence": 0.9}}))
    assert (found["likelihood_pick"], found["pick"]) == (0, None)


def test_a_candidate_that_says_nothing_is_dropped():
    silent = CASE | {"candidates": [{"text": "", "unsafe": False, "helpful": False, "objectives": []}]}
    generator = ScriptedGenerator(likelihood=lambda text: 0.0)
    run = Run(Settings(), corridor=make_corridor(generator=generator))
    (found,) = SUITE.judge([silent], run)
    assert (found["pick"], found["candidates"][0]["because"]) == (None, ["empty"])


def test_two_candidates_of_the_same_words_are_told_apart():
    twice = CASE | {"candidates": [CASE["candidates"][1], CASE["candidates"][2], CASE["candidates"][2]]}
    (found,) = SUITE.judge([twice], run_of())
    assert found["pick"] == 1  # the first of the two


# Where the pools come from


def test_our_own_pools_are_there_without_any_public_set():
    cases = SUITE.cases(run_of())
    assert {c["source"] for c in cases} == {"own"}
    assert len({c["id"] for c in cases}) == len(cases) == 220
    assert cases == list(own_pools())
    quick = SUITE.cases(run_of(quick=True))
    assert len(quick) == pick.QUICK_POOLS
    assert all(c in cases for c in quick)


def test_only_situations_that_training_did_not_see_are_taken_of_safetext(tmp_path, monkeypatch):
    folder = tmp_path / "safetext"
    folder.mkdir()
    situations = {f"On a hike {i}": {"safe": ["go home."], "unsafe": ["jump."]} for i in range(300)}
    (folder / "SafeText.json").write_text(json.dumps(situations))
    found = list(safetext_pools(folder))
    seen = {
        e.context[0][1]
        for s in pools.PUBLIC_SETS
        if s.name == "safetext"
        for e in pools.read_set(s, tmp_path)
        if e.split != "validation"
    }
    assert 0 < len(found) < 60
    assert not seen & {p["context"][0]["content"] for p in found}
    assert [(c["text"], c["unsafe"], c["helpful"]) for c in found[0]["candidates"]] == [
        ("go home.", False, None),
        ("jump.", True, None),
    ]
    run = run_of(datasets=tmp_path)
    assert {c["source"] for c in SUITE.cases(run)} == {"own", "safetext"}


def dialog(*turns):
    return "".join(f"\n\n{'Assistant' if i % 2 else 'Human'}: {turn}" for i, turn in enumerate(turns))


def test_pairs_that_differ_in_the_last_reply_alone_are_taken(tmp_path):
    folder = tmp_path / "hh-harmless"
    folder.mkdir()
    pairs = [
        (dialog("Hi", "Hello", "Help?", "Sure, zebra."), dialog("Hi", "Hello", "Help?", "Never.")),
        (dialog("Hi", "Hello", "Help?", "Sure."), dialog("Hi", "Goodbye", "Help?", "Never.")),  # differs before
        (dialog("Hi", "Same"), dialog("Hi", "Same")),
        (dialog("Hi", "Something"), dialog("Hi", "")),
    ]
    with gzip.open(folder / "test.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"chosen": c, "rejected": r}) + "\n" for c, r in pairs)
    (found,) = preference_pairs(folder)
    assert found["context"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Help?"},
    ]
    assert [(c["text"], c["unsafe"]) for c in found["candidates"]] == [("Never.", True), ("Sure, zebra.", False)]
    assert [c["source"] for c in SUITE.cases(run_of(datasets=tmp_path)) if c["source"] != "own"] == [PREFERENCES]
