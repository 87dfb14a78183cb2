"""A user's own objective: learned from a few examples, kept with its checksums, laid beside the shipped ones."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from classifiers.backbone import Backbone
from classifiers.calibration import ALPHAS, DELTA
from classifiers.labelled import BadExample, Example
from classifiers.metrics import auroc
from classifiers.models import DamagedWeights
from classifiers.own_objective import CONFIG, WEIGHTS, Head
from classifiers.own_objective_training import FEWEST, FOLDS, train_objective, write_objective
from classifiers.policy import OBJECTIVES, PRESETS, PolicyError, load_policy
from classifiers.readout import Readout, Scorer
from classifiers.safety import Safety

NAME, READER, WIDTH = "no_dosage", "tiny-0", 6
CONTEXT = [("user", "Hi there")]
REPLIES = ["77 99 77", "kind words", "kind words. " * 20 + "77 99 77"]


def an_example(i: int, violates: bool, name: str = NAME, **changes: Any) -> Example:
    made = Example(
        id=f"{i}{'ab'[violates]}",
        context=(("user", f"so {i}"),),
        reply=f"{'777 999' if violates else 'kind words'} {i % 7}",
        role="assistant",
        unsafe=violates,
        objectives=frozenset([name] if violates else []),
        complete=True,
        group=f"p{i}",
        source="own",
        split="train",
    )
    return replace(made, **changes)


def pairs(count: int = 12, name: str = NAME) -> list[Example]:
    return [an_example(i, violates, name) for i in range(count) for violates in (False, True)]


@pytest.fixture(scope="module")
def trained(backbone: Backbone, scorer: Scorer) -> tuple[Head, dict[str, Any]]:
    return train_objective(NAME, pairs(), backbone, scorer.readout, scorer.version)


def a_head(name: str = NAME, reader: str = READER, seed: int = 0) -> Head:
    random = np.random.default_rng(seed)
    mean, scale, weight = (random.normal(size=WIDTH).astype(np.float32) for _ in range(3))
    return Head(name, reader, mean, scale, weight, bias=0.25, platt=(1.5, -0.5))


# What is learned


def test_a_rule_that_can_be_told_apart_is_learned(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer
) -> None:
    head, figures = trained
    fresh = [an_example(i, violates) for i in range(50, 60) for violates in (False, True)]
    found = head.scores(backbone.read_many([(e.context, e.reply, e.role) for e in fresh]))
    labels = np.array([e.unsafe for e in fresh])
    assert found[labels].min() > found[~labels].max()
    assert figures["auroc"]["value"] > 0.95
    assert (head.name, head.reader) == (NAME, scorer.version)


def test_the_figures_say_what_they_rest_on(trained: tuple[Head, dict[str, Any]]) -> None:
    _, figures = trained
    assert (figures["name"], figures["reader"], figures["delta"]) == (NAME, READER, DELTA)
    assert (figures["examples"], figures["violating"]) == (24, 12)
    assert (figures["auroc"]["n"], figures["auroc"]["prevalence"]) == (24, 0.5)
    assert {preset: row["alpha"] for preset, row in figures["thresholds"].items()} == ALPHAS
    assert {(row["n"], row["safe"]) for row in figures["thresholds"].values()} == {(12, 12)}
    assert not figures["thresholds"]["strict"]["certified"]  # twelve rows certify no five in a hundred
    json.dumps(figures)


@pytest.mark.parametrize("count", [12, 25, 40])
def test_a_stricter_preset_has_no_higher_threshold(backbone: Backbone, scorer: Scorer, count: int) -> None:
    _, figures = train_objective(NAME, pairs(count), backbone, scorer.readout, READER)
    strict, balanced, permissive = (figures["thresholds"][preset]["threshold"] for preset in PRESETS)
    assert strict <= balanced <= permissive


def test_what_is_measured_was_not_learned_from(backbone: Backbone, scorer: Scorer) -> None:
    # Every pair says the same thing six times, and what it says has nothing to do with its label.
    random = np.random.default_rng(0)
    labels = random.permutation([False, True] * 20)
    texts = ["".join(random.choice(list("abcdefghij "), 20)) for _ in labels]
    rows = [
        an_example(i, bool(label), id=f"{i}-{copy}", reply=text, context=())
        for i, (label, text) in enumerate(zip(labels, texts, strict=True))
        for copy in range(6)
    ]
    head, figures = train_objective(NAME, rows, backbone, scorer.readout, READER)
    seen = backbone.read_many([(e.context, e.reply, e.role) for e in rows]).astype(np.float32) @ head.weight
    violating = np.array([e.unsafe for e in rows])
    assert figures["auroc"]["value"] < 0.7
    assert auroc(violating, seen) > figures["auroc"]["value"] + 0.15  # on the rows that the weights have seen


def test_only_the_rule_itself_counts_as_a_violation_of_it(backbone: Backbone, scorer: Scorer) -> None:
    rows = [replace(e, unsafe=True, objectives=e.objectives | {"hate"}) for e in pairs()]
    _, figures = train_objective(NAME, rows, backbone, scorer.readout, READER)
    assert (figures["violating"], figures["examples"]) == (12, 24)


def test_the_same_examples_give_the_same_rule(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer
) -> None:
    head, figures = train_objective(NAME, pairs(), backbone, scorer.readout, scorer.version)
    assert figures == trained[1]
    assert np.array_equal(head.weight, trained[0].weight)
    assert (head.bias, head.platt) == (trained[0].bias, trained[0].platt)


def test_features_are_standardised_as_for_the_shipped_readout(backbone: Backbone, scorer: Scorer) -> None:
    readout = Readout(backbone.width, 8, 1 + len(OBJECTIVES), 1)
    readout.mean += 0.5
    readout.scale *= 0.25
    head, _ = train_objective(NAME, pairs(), backbone, readout, READER)
    assert np.array_equal(head.mean, readout.mean.numpy())
    assert np.array_equal(head.scale, readout.scale.numpy())


def test_progress_counts_the_examples_as_they_are_read(backbone: Backbone, scorer: Scorer) -> None:
    read: list[int] = []
    train_objective(NAME, pairs(), backbone, scorer.readout, READER, read.append)
    assert sum(read) == 24


class Untouched:
    """Stands in for a backbone that must not be asked."""

    def read_many(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("read before the examples were checked")


def refused(examples: list[Example], name: str = NAME) -> str:
    with pytest.raises(BadExample) as error:
        train_objective(name, examples, Untouched(), Readout(WIDTH, 2, 2, 1), READER)  # type: ignore[arg-type]
    return str(error.value)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_name_of_a_shipped_objective_is_refused(name: str) -> None:
    assert f"'{name}' is one of the shipped ones" in refused(pairs(name=name), name)


@pytest.mark.parametrize(("violating", "kind"), [(True, "violate it"), (False, "do not")])
@pytest.mark.parametrize("count", [0, FEWEST - 1])
def test_too_few_examples_of_either_kind_are_refused(violating: bool, kind: str, count: int) -> None:
    few = [an_example(i, violating) for i in range(count)]
    many = [an_example(i, not violating) for i in range(30)]
    assert f"{NAME!r} needs at least {FEWEST} examples that {kind}; there are {count}" in refused(few + many)


def test_just_enough_examples_of_each_kind_will_do(backbone: Backbone, scorer: Scorer) -> None:
    _, figures = train_objective(NAME, pairs(FEWEST), backbone, scorer.readout, READER)
    assert figures["examples"] == 2 * FEWEST


@pytest.mark.parametrize("count", [1, FOLDS - 1])
def test_examples_in_too_few_pairs_are_refused(count: int) -> None:
    rows = [replace(e, group=f"p{i % count}") for i, e in enumerate(pairs(20))]
    assert f"at least {FOLDS} pairs; there are {count}" in refused(rows)


def test_one_pair_that_holds_every_example_of_a_kind_is_refused(backbone: Backbone, scorer: Scorer) -> None:
    rows = [replace(e, group="the one") if e.unsafe else e for e in pairs()]
    with pytest.raises(BadExample, match="one pair holds almost all"):
        train_objective(NAME, rows, backbone, scorer.readout, READER)


# The head


@settings(max_examples=30)
@given(arrays.arrays(np.float16, st.tuples(st.integers(0, 5), st.just(WIDTH)), elements=st.floats(-6e4, 6e4, width=16)))
def test_a_score_is_a_probability(features: Any) -> None:
    found = a_head().scores(features)
    assert found.shape == (len(features),)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, WIDTH - 1])
def test_features_that_are_not_finite_have_no_score_and_spoil_no_other(bad: float, column: int) -> None:
    features = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float16)
    spoilt = features.copy()
    spoilt[1, column] = bad
    found, whole = a_head().scores(spoilt), a_head().scores(features)
    assert np.isnan(found[1])
    assert np.array_equal(found[[0, 2]], whole[[0, 2]])


def test_a_score_is_the_scaled_and_calibrated_sum_of_standardised_features() -> None:
    ones = np.ones(WIDTH, np.float32)
    head = Head(NAME, READER, mean=ones, scale=2 * ones, weight=0.1 * ones, bias=0.25, platt=(1.5, -0.5))
    [inside, clipped] = head.scores(np.array([[2.0] * WIDTH, [2000.0] * WIDTH], np.float16))
    assert inside == pytest.approx(1 / (1 + np.exp(-(1.5 * (WIDTH * 0.1 * 2 + 0.25) - 0.5))))
    assert clipped == pytest.approx(1 / (1 + np.exp(-(1.5 * (WIDTH * 0.1 * 8 + 0.25) - 0.5))))


def test_a_head_that_was_saved_loads_and_scores_the_same(tmp_path: Path) -> None:
    features = np.random.default_rng(1).normal(size=(9, WIDTH)).astype(np.float16)
    a_head().save(tmp_path / "deep" / NAME)
    found = Head.load(tmp_path / "deep" / NAME, NAME, READER)
    assert np.array_equal(found.scores(features), a_head().scores(features))
    assert (found.name, found.reader, found.bias, found.platt) == (NAME, READER, 0.25, (1.5, -0.5))


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_head_whose_files_were_damaged_does_not_load(tmp_path: Path, name: str, damage: str) -> None:
    a_head().save(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if damage == "changed":
        (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamagedWeights, match=name):
        Head.load(tmp_path, NAME, READER)


def test_a_folder_without_a_head_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(DamagedWeights):
        Head.load(tmp_path / "none", NAME, READER)


def test_the_head_of_another_rule_does_not_load(tmp_path: Path) -> None:
    a_head("other").save(tmp_path)
    with pytest.raises(ValueError, match="holds the objective 'other', the policy names it 'no_dosage'"):
        Head.load(tmp_path, NAME, READER)


def test_a_head_for_other_safety_weights_does_not_load_and_says_what_to_do(tmp_path: Path) -> None:
    a_head(reader="1-old").save(tmp_path)
    with pytest.raises(ValueError, match=r"trained for safety weights 1-old, these are 1-new; train it again"):
        Head.load(tmp_path, NAME, "1-new")


# Its place in a policy


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def other(head: Head, name: str, bias: float = 0.0) -> Head:
    return replace(head, name=name, bias=head.bias + bias)


def test_the_entry_that_is_written_is_a_policy(
    trained: tuple[Head, dict[str, Any]], tmp_path: Path, policy: Path
) -> None:
    head, figures = trained
    write_objective(tmp_path / "heads", head, figures, policy)
    text = policy.read_text()
    for preset in PRESETS:
        policy.write_text(f"preset = '{preset}'\n{text}")
        found = load_policy(policy)
        own = found.objectives[NAME]
        assert own.threshold == figures["thresholds"][preset]["threshold"]
        assert own.head == str((tmp_path / "heads" / NAME).resolve())
        assert (own.action, own.title) == ("drop", "No dosage")
        shipped = {name: o for name, o in found.objectives.items() if name != NAME}
        assert shipped == dict(load_policy(preset).objectives)


def test_the_entry_names_its_head_so_that_it_is_found_from_anywhere(
    trained: tuple[Head, dict[str, Any]], tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_objective(Path("heads"), *trained, policy)
    assert load_policy(policy).objectives[NAME].head == str(tmp_path.resolve() / "heads" / NAME)


def test_a_rule_in_a_policy_is_scored_and_decides(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer, tmp_path: Path, policy: Path
) -> None:
    policy.write_text("".join(f"[objectives.{name}]\nthreshold = 1\n" for name in OBJECTIVES))
    write_objective(tmp_path / "heads", *trained, policy)
    expected = trained[0].scores(backbone.read_many([(CONTEXT, reply, "assistant") for reply in REPLIES[:2]]))
    between = float(expected.mean())
    policy.write_text(re.sub(r"thresholds = .*", f"threshold = {between}", policy.read_text()))
    bad, kind, long = Safety(backbone, scorer, load_policy(policy)).judge(CONTEXT, REPLIES)
    assert set(bad.scores) == {*OBJECTIVES, NAME}
    assert [bad.scores[NAME], kind.scores[NAME]] == pytest.approx(list(expected), abs=5e-3)
    assert bad.scores[NAME] > between > kind.scores[NAME]
    assert (bad.dropped, bad.because, kind.dropped) == (True, (NAME,), False)
    [reason] = bad.reasons
    assert (reason.objective, reason.place.sentence) == (NAME, REPLIES[0])
    assert long.scores[NAME] > kind.scores[NAME]  # its worst window decides


def test_the_shipped_scores_are_the_same_with_and_without_a_rule_bit_for_bit(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer, tmp_path: Path, policy: Path
) -> None:
    write_objective(tmp_path / "heads", *trained, policy)
    with_own = Safety(backbone, scorer, load_policy(policy)).scores(CONTEXT, REPLIES)
    without = Safety(backbone, scorer, load_policy()).scores(CONTEXT, REPLIES)
    for one, two in zip(with_own, without, strict=True):
        assert {name: one[name] for name in OBJECTIVES} == dict(two)
        assert one.unsafe == two.unsafe
        assert {name: one.places[name] for name in OBJECTIVES} == two.places


def test_two_rules_in_one_policy_are_each_scored_as_if_alone(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer, tmp_path: Path
) -> None:
    head, figures = trained
    longer = other(head, NAME + "_either", bias=1.0)  # a name that begins with the other's
    alone = []
    for rule in (head, longer):
        write_objective(tmp_path / "heads", rule, figures, tmp_path / f"{rule.name}.toml")
        safety = Safety(backbone, scorer, load_policy(tmp_path / f"{rule.name}.toml"))
        alone.append([scores[rule.name] for scores in safety.scores(CONTEXT, REPLIES)])
    for rules in ((head, longer), (longer, head)):
        policy = tmp_path / f"{rules[0].name}-first.toml"
        for rule in rules:
            write_objective(tmp_path / "heads", rule, figures, policy)
        found = Safety(backbone, scorer, load_policy(policy)).scores(CONTEXT, REPLIES)
        assert [[scores[rule.name] for scores in found] for rule in (head, longer)] == alone
        assert [set(scores) for scores in found] == [{*OBJECTIVES, head.name, longer.name}] * len(REPLIES)


@pytest.mark.parametrize("before", ["", "# mine\nsteering = 'Be kind.'\n\n[objectives.hate]\nthreshold = 0.1", "#\n\n"])
def test_what_the_policy_said_before_stays_as_it_was(
    trained: tuple[Head, dict[str, Any]], tmp_path: Path, policy: Path, before: str
) -> None:
    policy.write_text(before)
    expected = load_policy(policy)
    write_objective(tmp_path / "heads", *trained, policy)
    assert policy.read_text().startswith(before)
    found = load_policy(policy)
    own = {NAME: found.objectives[NAME]}
    assert found == replace(expected, objectives={**expected.objectives, **own})


def test_an_entry_that_the_user_edited_is_kept_when_the_rule_is_trained_again(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer, tmp_path: Path, policy: Path
) -> None:
    head, figures = trained
    write_objective(tmp_path / "heads", head, figures, policy)
    own = load_policy(policy).objectives[NAME]
    edited = policy.read_text().replace(own.fallback, "Ask a pharmacist.").replace('"drop"', '"flag"') + "# mine\n"
    policy.write_text(edited)
    write_objective(tmp_path / "heads", other(head, NAME, bias=2.0), figures, policy)
    assert policy.read_text() == edited
    kept = load_policy(policy).objectives[NAME]
    assert kept == replace(own, fallback="Ask a pharmacist.", action="flag")
    again = Head.load(tmp_path / "heads" / NAME, NAME, scorer.version)  # the weights are the new ones
    assert again.bias == head.bias + 2.0


@pytest.mark.parametrize(
    "entry",
    [
        f"[objectives.{NAME}]\nhead = '/elsewhere'\n",
        f"[ objectives . {NAME} ]\nhead = '/elsewhere'\n",
        f'[objectives."{NAME}"]\nhead = "/elsewhere"\n',
        f"objectives.{NAME}.head = '/elsewhere'\n",
        f"[objectives]\n{NAME} = {{ head = '/elsewhere' }}\n",
    ],
)
def test_an_entry_with_another_head_is_an_error_and_nothing_is_written(
    trained: tuple[Head, dict[str, Any]], tmp_path: Path, policy: Path, entry: str
) -> None:
    policy.write_text(entry)
    assert load_policy(policy).objectives[NAME].head == "/elsewhere"
    with pytest.raises(ValueError, match=f"mine.toml already has an objective {NAME} with another head"):
        write_objective(tmp_path / "heads", *trained, policy)
    assert policy.read_text() == entry
    assert not (tmp_path / "heads").exists()


def test_a_heading_in_a_comment_is_no_entry(trained: tuple[Head, dict[str, Any]], tmp_path: Path, policy: Path) -> None:
    policy.write_text(f"# [objectives.{NAME}] comes later\n")
    write_objective(tmp_path / "heads", *trained, policy)
    assert NAME in load_policy(policy).objectives


@pytest.mark.parametrize("folder", ["mit Leerzeichen", "größe", 'a "b"', r"back\slash"])
def test_a_folder_of_any_name_can_hold_the_head(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer, tmp_path: Path, policy: Path, folder: str
) -> None:
    write_objective(tmp_path / folder, *trained, policy)
    assert NAME in Safety(backbone, scorer, load_policy(policy)).scores(CONTEXT, REPLIES[:1])[0]


def test_the_card_and_the_figures_lie_beside_the_weights_and_under_the_same_checksums(
    trained: tuple[Head, dict[str, Any]], tmp_path: Path, policy: Path
) -> None:
    head, figures = trained
    write_objective(tmp_path / "heads", head, figures, policy)
    folder = tmp_path / "heads" / NAME
    card = (folder / "README.md").read_text()
    assert all(part in card for part in (f"# Objective {NAME}", READER, "24 labelled", "12 of which"))
    for preset, row in figures["thresholds"].items():
        assert (
            f"| {preset} | {row['alpha']:.0%} | {row['threshold']:g} | {'yes' if row['certified'] else 'no'} |" in card
        )
    assert json.loads((folder / "metrics.json").read_text()) == figures
    assert set(json.loads((folder / "checksums.json").read_text())) == {WEIGHTS, CONFIG, "README.md", "metrics.json"}


def test_a_rule_whose_head_was_damaged_or_is_gone_stops_the_start(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer, tmp_path: Path, policy: Path
) -> None:
    write_objective(tmp_path / "heads", *trained, policy)
    (tmp_path / "heads" / NAME / WEIGHTS).write_bytes(b"")
    with pytest.raises(DamagedWeights):
        Safety(backbone, scorer, load_policy(policy))


def test_a_rule_for_other_safety_weights_stops_the_start(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, make_scorer: Callable[..., Scorer], tmp_path: Path
) -> None:
    policy = tmp_path / "mine.toml"
    write_objective(tmp_path / "heads", *trained, policy)
    with pytest.raises(ValueError, match="train it again"):
        Safety(backbone, make_scorer(backbone.width, seed=1), load_policy(policy))


def test_a_rule_without_a_head_is_no_policy(policy: Path) -> None:
    policy.write_text(f"[objectives.{NAME}]\nthreshold = 0.5\n")
    with pytest.raises(PolicyError, match="one of your own needs a head"):
        load_policy(policy)


def test_a_classifier_is_put_under_another_policy_without_being_loaded_again(
    trained: tuple[Head, dict[str, Any]], backbone: Backbone, scorer: Scorer, tmp_path: Path, policy: Path
) -> None:
    before = Safety(backbone, scorer, load_policy())
    without = before.scores(CONTEXT, REPLIES)
    write_objective(tmp_path / "heads", *trained, policy)
    after = before.under(load_policy(policy))
    assert after.scores(CONTEXT, REPLIES) == Safety(backbone, scorer, load_policy(policy)).scores(CONTEXT, REPLIES)
    assert before.scores(CONTEXT, REPLIES) == without
    assert (after.policy, before.policy) == (load_policy(policy), load_policy())
    assert after.backbone is before.backbone
    # A ranker that reads the one's states finds those of what the other has scored.
    assert np.array_equal(before.states(CONTEXT, REPLIES), after.states(CONTEXT, REPLIES))
    next((tmp_path / "heads").glob("*/head.safetensors")).unlink()
    with pytest.raises(DamagedWeights):
        before.under(load_policy(policy))
    assert before.scores(CONTEXT, REPLIES) == without
