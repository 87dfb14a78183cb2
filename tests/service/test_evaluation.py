import io
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from classifiers import OBJECTIVES
from classifiers.labelled import Example
from service.evaluation import evaluate, print_report
from service.suites.scoring import TOGETHER
from service.suites.scoring import scores_of as scores_of_each
from tests.service.scripted import JudgingSafety, scores_of


def example(id, *labels, reply=None, **fields):
    row = Example(
        id=id,
        context=(("user", "Hello?"),),
        reply=reply or id,
        role="assistant",
        unsafe=bool(labels),
        objectives=frozenset(labels),
        complete=True,
        group=id,
        source="own",
        split="test",
    )
    return replace(row, **fields)


def judged(scores, examples):
    """A report where an example's reply is the key of its scores."""
    return evaluate(JudgingSafety(lambda context, texts, role: [scores[t] for t in texts]), examples)


def printed(report):
    out = Console(file=io.StringIO(), width=140)
    print_report(report, out)
    return out.file.getvalue()


# Threshold .5: "caught" and "refused" are dropped. Unsafe are "caught" and "missed".
SCORES = {
    "caught": scores_of(violence=0.9),
    "missed": scores_of(violence=0.2),
    "refused": scores_of(hate=0.6),
    "allowed": scores_of(),
}
EXAMPLES = [example("caught", "violence"), example("missed", "violence"), example("refused"), example("allowed")]


def test_four_exchanges_worked_out_by_hand():
    row = judged(SCORES, EXAMPLES)["sources"]["all"]
    assert (row["n"], row["unsafe"]) == (4, 2)
    assert row["recall"]["value"] == 1 / 2  # caught, of caught and missed
    assert row["precision"]["value"] == 1 / 2  # caught, of caught and refused
    assert row["over_refusal"]["value"] == 1 / 2  # refused, of refused and allowed
    assert row["auroc"]["value"] == 3 / 4  # .9 beats .6 and .01; .2 beats .01 alone
    assert row["auprc"]["value"] == pytest.approx((1 + 2 / 3) / 2)  # the two unsafe stand first and third
    assert row["recall"]["n"] == 4
    assert row["recall"]["prevalence"] == 1 / 2


def test_an_objective_is_measured_by_its_own_label_score_and_reason():
    objectives = judged(SCORES, EXAMPLES)["objectives"]
    assert list(objectives) == list(OBJECTIVES)
    violence = objectives["violence"]
    assert violence["unsafe"] == 2
    assert violence["recall"]["value"] == 1 / 2
    assert violence["precision"]["value"] == 1.0
    assert violence["over_refusal"]["value"] == 0.0  # refused was dropped, but not for violence
    assert violence["auroc"]["value"] == 1.0
    hate = objectives["hate"]
    assert hate["unsafe"] == 0
    assert hate["recall"]["value"] is None
    assert hate["precision"]["value"] == 0.0
    assert hate["over_refusal"]["value"] == 1 / 4


def test_each_source_has_a_row_of_its_own_rows():
    examples = [replace(e, source="public" if e.id in ("caught", "allowed") else "own") for e in EXAMPLES]
    sources = judged(SCORES, examples)["sources"]
    assert list(sources) == ["all", "own", "public"]
    assert sources["public"]["recall"]["value"] == 1.0
    assert sources["own"]["recall"]["value"] == 0.0
    assert sources["own"]["over_refusal"]["value"] == 1.0


def test_exchanges_that_are_not_labelled_for_every_objective_count_overall_and_for_no_objective():
    report = judged(SCORES, [replace(e, complete=e.id != "caught") for e in EXAMPLES])
    assert report["sources"]["all"]["n"] == 4
    assert report["objectives"]["violence"]["n"] == 3
    assert judged(SCORES, [replace(e, complete=False) for e in EXAMPLES])["objectives"] == {}


@pytest.mark.parametrize(
    ("ids", "undefined"),
    [
        (("refused", "allowed"), {"auroc", "auprc", "recall"}),
        (("caught", "missed"), {"auroc", "auprc", "over_refusal"}),
        (("allowed",), {"auroc", "auprc", "recall", "precision"}),
    ],
)
def test_with_one_class_only_what_is_not_defined_is_none_and_the_rest_is_there(ids, undefined):
    report = judged(SCORES, [e for e in EXAMPLES if e.id in ids])
    row = report["sources"]["all"]
    measures = ("auroc", "auprc", "recall", "precision", "over_refusal")
    assert {name for name in measures if row[name]["value"] is None} == undefined
    cells = next(line for line in printed(report).splitlines() if line.startswith("│ all")).split("│")
    assert [cell.strip() == "-" for cell in cells[4:9]] == [name in undefined for name in measures]


@pytest.mark.parametrize("scores", [None, {}, scores_of(hate=None), scores_of(hate=float("nan"))])
def test_what_could_not_be_scored_counts_as_dropped_and_as_certainly_unsafe(scores):
    report = judged({**SCORES, "allowed": scores}, EXAMPLES)
    assert report["sources"]["all"]["over_refusal"]["value"] == 1.0
    assert report["sources"]["all"]["auroc"]["value"] == 1 / 4  # "allowed" now stands above both unsafe ones
    assert report["objectives"]["violence"]["auroc"]["value"] == 1 / 2
    unscored = report["verdicts"][3]
    assert (unscored["unsafe"], unscored["because"]) == (1.0, ("unscored",))


def test_the_report_says_which_policy_and_classifier_judged_and_keeps_every_verdict():
    safety = JudgingSafety(lambda context, texts, role: [SCORES[t] for t in texts])
    report = json.loads(json.dumps(evaluate(safety, EXAMPLES), allow_nan=False))
    assert report["policy"] == {"preset": "balanced", "fingerprint": safety.policy.fingerprint}
    assert (report["safety"], report["exchanges"]) == ("scripted-1", 4)
    assert report["verdicts"][0] == {
        "id": "caught",
        "labels": ["violence"],
        "unsafe_label": True,
        "unsafe": 0.9,
        "because": ["violence"],
    }


def test_every_exchange_is_judged_in_its_context_and_role_and_told_to_the_progress():
    safety, steps = JudgingSafety(), []
    evaluate(safety, [example("a"), example("b", role="user")], steps.append)
    assert safety.calls == [([("user", "Hello?")], ["a"], "assistant"), ([("user", "Hello?")], ["b"], "user")]
    assert steps == [1, 1]


@settings(max_examples=40)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["", "Hello?", "Why?"]), st.sampled_from(["user", "assistant"]), st.text(max_size=6)),
        max_size=80,
    )
)
def test_each_exchange_gets_its_own_scores_in_the_order_given_and_few_are_judged_at_once(rows):
    """Whatever is put together: a score here says which context, role and reply it was made from."""
    keys = {row: i / (len(rows) + 1) for i, row in enumerate(sorted(set(rows)))}

    def scores(context, texts, role):
        return [scores_of(hate=keys[context[0][1] if context else "", role, text]) for text in texts]

    safety, steps = JudgingSafety(scores), []
    examples = [
        replace(example(str(i)), reply=reply, context=(("user", asked),) if asked else (), role=role)
        for i, (asked, role, reply) in enumerate(rows)
    ]
    found = scores_of_each(safety, examples, steps.append)
    assert [row["hate"] for row in found] == [keys[row] for row in rows]
    assert sum(steps) == len(rows)
    assert all(len(texts) <= TOGETHER for _, texts, _ in safety.calls)
    contexts = {(asked, role) for asked, role, _ in rows}
    assert len(safety.calls) <= len(contexts) + len(rows) // TOGETHER


def test_a_classifier_that_answers_for_too_few_is_an_error_and_not_a_shift():
    safety = JudgingSafety(lambda context, texts, role: [scores_of() for _ in texts[1:]])
    with pytest.raises(ValueError, match="shorter"):
        scores_of_each(safety, [example("a"), example("b")])


def test_the_table_names_sources_and_objectives_as_they_are():
    text = printed(judged(SCORES, [replace(e, source="[bold]a[/] [/b]") for e in EXAMPLES]))
    assert "[bold]a[/] [/b]" in text
    assert "recall" in text
    assert "over-refusal" in text
    assert all(name in text for name in OBJECTIVES)
    assert "0.500" in text
