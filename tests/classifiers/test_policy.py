"""Law 2: adding a rule never loosens another. A policy that names one objective keeps the rest; an unknown name stops the start."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers import judge
from classifiers.policy import (
    ACTIONS,
    CODES,
    GROUPS,
    OBJECTIVES,
    PRESETS,
    Objective,
    Policy,
    PolicyError,
    load_policy,
    shipped_presets,
)

probabilities = st.floats(0, 1, exclude_min=True) | st.just(1)
words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
thresholds = st.fixed_dictionaries(dict.fromkeys(PRESETS, probabilities))
limits = st.fixed_dictionaries({"threshold": probabilities}) | st.fixed_dictionaries({"thresholds": thresholds})
others = st.fixed_dictionaries(
    {}, optional={"action": st.sampled_from(ACTIONS), "fallback": words, "definition": words, "title": words}
)
rules = st.builds(lambda limit, other: limit | other, st.just({}) | limits, others)
changes = st.dictionaries(st.sampled_from(OBJECTIVES), rules)


def toml(top: dict[str, Any], objectives: dict[str, dict[str, Any]]) -> str:
    def value(v: Any) -> str:
        if isinstance(v, dict):
            return "{ " + ", ".join(f"{k} = {value(w)}" for k, w in v.items()) + " }"
        return json.dumps(v, ensure_ascii=False) if isinstance(v, str) else repr(v)

    lines = [f"{k} = {value(v)}" for k, v in top.items()]
    for name, row in objectives.items():
        lines += [f"[objectives.{name}]", *(f"{k} = {value(v)}" for k, v in row.items())]
    return "\n".join(lines)


def changed(base: Objective, rule: dict[str, Any], preset: str) -> Objective:
    rule = dict(rule)
    if "thresholds" in rule:
        rule["threshold"] = rule.pop("thresholds")[preset]
    return replace(base, **rule)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policy") / "mine.toml"


@given(preset=st.sampled_from(PRESETS), rules=changes)
def test_what_a_policy_does_not_name_keeps_its_default(file: Path, preset: str, rules: dict[str, Any]) -> None:
    file.write_text(toml({"preset": preset}, rules), encoding="utf-8")
    base = load_policy(preset)
    expected = {name: changed(o, rules.get(name, {}), preset) for name, o in base.objectives.items()}
    assert load_policy(file) == replace(base, objectives=expected)


@given(name=st.sampled_from(OBJECTIVES), threshold=probabilities)
def test_naming_one_objective_leaves_the_others_at_their_defaults(file: Path, name: str, threshold: float) -> None:
    file.write_text(toml({}, {name: {"threshold": threshold}}), encoding="utf-8")
    found, shipped = load_policy(file).objectives, load_policy().objectives
    assert found[name].threshold == threshold
    assert {n: o for n, o in found.items() if n != name} == {n: o for n, o in shipped.items() if n != name}


@given(st.text(st.characters(min_codepoint=97, max_codepoint=122, categories=["Ll"]), min_size=1))
def test_an_unknown_objective_stops_the_start(file: Path, name: str) -> None:
    name = name if name not in OBJECTIVES else name + "x"
    file.write_text(toml({}, {name: {"threshold": 0.5}, "hate": {"threshold": 0.1}}))
    with pytest.raises(PolicyError, match=f"mine.toml: unknown objective '{name}'; known: .*hate.*; .*needs a head"):
        load_policy(file)


# Objectives of one's own

OWN = {"head": "/heads/no_dosage", "threshold": 0.3}
FULL = OWN | {
    "group": "misinformation",
    "title": "No dosage",
    "definition": "Names no dose.",
    "action": "flag",
    "fallback": "Ask a pharmacist.",
}


@pytest.mark.parametrize("preset", PRESETS)
def test_an_objective_of_ones_own_stands_after_the_shipped_ones_which_stay_as_they_are(
    tmp_path: Path, preset: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(toml({"preset": preset}, {"no_dosage": FULL, "another": OWN}))
    found, shipped = load_policy(file), load_policy(preset)
    assert tuple(found.objectives) == (*OBJECTIVES, "no_dosage", "another")
    assert replace(found, objectives={name: found.objectives[name] for name in OBJECTIVES}) == shipped
    assert all(o.head is None for o in shipped.objectives.values())
    assert found.objectives["no_dosage"] == Objective(name="no_dosage", code="own", **FULL)


def test_an_objective_of_ones_own_needs_nothing_but_its_head(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(toml({}, {"no_dosage": {"head": "here"}}))
    expected = Objective(
        "no_dosage", "harm", "own", "no_dosage", "no_dosage", 0.5, "drop", load_policy().fallback, "here"
    )
    assert load_policy(file).objectives["no_dosage"] == expected
    file.write_text(toml({"fallback": "Not now."}, {"no_dosage": {"head": "here"}}))
    assert load_policy(file).objectives["no_dosage"].fallback == "Not now."


@given(preset=st.sampled_from(PRESETS), values=thresholds)
def test_an_objective_of_ones_own_has_a_threshold_for_each_preset(
    file: Path, preset: str, values: dict[str, float]
) -> None:
    file.write_text(toml({"preset": preset}, {"no_dosage": {"head": "here", "thresholds": values}}))
    assert load_policy(file).objectives["no_dosage"].threshold == values[preset]


@given(rules=changes)
def test_an_objective_of_ones_own_changes_no_other(file: Path, rules: dict[str, Any]) -> None:
    file.write_text(toml({}, rules), encoding="utf-8")
    without = load_policy(file)
    file.write_text(toml({}, {"no_dosage": OWN, **rules}), encoding="utf-8")
    found = load_policy(file)
    assert {n: o for n, o in found.objectives.items() if n != "no_dosage"} == without.objectives
    assert found.fingerprint != without.fingerprint


def test_the_fingerprint_changes_with_the_head(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    found = set()
    for head in ("here", "there"):
        file.write_text(toml({}, {"no_dosage": OWN | {"head": head}}))
        found.add(load_policy(file).fingerprint)
    assert len(found) == 2


def test_an_objective_of_ones_own_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(toml({}, {"no_dosage": FULL}))
    said = load_policy(file).explain("no_dosage")
    assert said == "no_dosage (own, No dosage): Names no dose. Scores of 0.3 and more: flag."


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("objectives.hate.treshold = 0.5", "objectives.hate.treshold"),
        ("objectives.hate.group = 'harm'", "objectives.hate.group"),
        ("objectives.hate.code = 'S1'", "objectives.hate.code"),
        ("objectives.hate.threshold = 0", "objectives.hate.threshold"),
        ("objectives.hate.threshold = 0.0", "objectives.hate.threshold"),
        ("objectives.hate.threshold = -0.1", "objectives.hate.threshold"),
        ("objectives.hate.threshold = 1.0001", "objectives.hate.threshold"),
        ("objectives.hate.threshold = 1" + "0" * 400, "objectives.hate.threshold"),
        ("objectives.hate.threshold = nan", "objectives.hate.threshold"),
        ("objectives.hate.threshold = inf", "objectives.hate.threshold"),
        ("objectives.hate.threshold = -inf", "objectives.hate.threshold"),
        ("objectives.hate.threshold = true", "objectives.hate.threshold"),
        ("objectives.hate.threshold = '0.5'", "objectives.hate.threshold"),
        ("objectives.hate.threshold = [0.5]", "objectives.hate.threshold"),
        ("objectives.hate.thresholds = 0.5", "objectives.hate.thresholds"),
        ("objectives.hate.thresholds = { strict = 0.2 }", "objectives.hate.thresholds"),
        ("objectives.hate.thresholds = { strict = 0.2, balanced = nan, permissive = 1 }", "hate.thresholds.balanced"),
        ("objectives.hate.thresholds = { strict = 0.2, balanced = 0.3, lax = 1 }", "objectives.hate.thresholds"),
        (
            "objectives.hate = { threshold = 0.2, thresholds = { strict = 0.2, balanced = 0.3, permissive = 1 } }",
            "objectives.hate gives both threshold and thresholds",
        ),
        ("objectives.hate.action = 'warn'", "objectives.hate.action"),
        ("objectives.hate.action = ['drop']", "objectives.hate.action"),
        ("objectives.hate.fallback = ' '", "objectives.hate.fallback"),
        ("objectives.hate.title = 3", "objectives.hate.title"),
        ("objectives.hate.definition = ''", "objectives.hate.definition"),
        ("objectives.hate = 0.5", "objectives.hate"),
        ("objectives = 'hate'", "objectives"),
        ("preset = 'lenient'", "preset 'lenient'"),
        ("preset = ['strict']", "preset"),
        ("prest = 'strict'", "prest"),
        ("format = 2", "format"),
        ("steering = ''", "steering"),
        ("fallback = 1", "fallback"),
        ("ungrounded_fallback = ' '", "ungrounded_fallback"),
        ("objectives.hate.threshold = ", "TOML"),
        ("objectives.hate.head = 'here'", "objectives.hate.head"),
        ("objectives.mine.threshold = 0.5", "one of your own needs a head"),
        ("objectives.mine = 0.5", "objectives.mine must be a table"),
        ("objectives.mine.head = ' '", "objectives.mine.head"),
        ("objectives.mine.head = 3", "objectives.mine.head"),
        ("objectives.mine = { head = 'here', code = 'S1' }", "objectives.mine.code"),
        ("objectives.mine = { head = 'here', treshold = 0.5 }", "objectives.mine.treshold"),
        ("objectives.mine = { head = 'here', group = 'mine' }", "objectives.mine.group"),
        ("objectives.mine = { head = 'here', threshold = 0 }", "objectives.mine.threshold"),
        ("objectives.mine = { head = 'here', thresholds = { strict = 0.2 } }", "objectives.mine.thresholds"),
        (
            "objectives.mine = { head = 'a', threshold = 1, thresholds = { strict = 1, balanced = 1, permissive = 1 } }",
            "objectives.mine gives both threshold and thresholds",
        ),
        ("objectives.mine = { head = 'here', action = 'warn' }", "objectives.mine.action"),
        ("objectives.mine = { head = 'here', fallback = '' }", "objectives.mine.fallback"),
        ("objectives.mine = { head = 'here', title = 3 }", "objectives.mine.title"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_file_and_the_key(tmp_path: Path, text: str, key: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(PolicyError) as error:
        load_policy(file)
    assert str(error.value).startswith("mine.toml: ")
    assert key in str(error.value)


def test_a_file_that_is_not_utf_8_is_a_policy_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"fallback = '\xff'")
    with pytest.raises(PolicyError, match=r"mine\.toml"):
        load_policy(file)


@pytest.mark.parametrize("source", ["lenient", "no/such/file.toml"])
def test_what_is_neither_a_preset_nor_a_file_is_an_error_that_lists_the_presets(source: str) -> None:
    with pytest.raises(PolicyError, match=f"'{source}' is neither a preset .strict, balanced, permissive. nor a file"):
        load_policy(source)


def test_an_empty_file_is_the_shipped_policy(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    assert load_policy(tmp_path / "mine.toml") == load_policy()


def test_a_file_may_be_named_by_path_or_by_string(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("preset = 'strict'")
    assert load_policy(file) == load_policy(str(file)) == load_policy("strict")


def test_a_file_changes_steering_and_fallbacks(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("steering = 'Be kind.'\nfallback = 'Not now.'\nungrounded_fallback = 'No source.'")
    assert load_policy(file) == replace(
        load_policy(), steering="Be kind.", fallback="Not now.", ungrounded_fallback="No source."
    )


def test_the_shipped_policy_is_balanced() -> None:
    assert load_policy() == load_policy("balanced")
    assert load_policy().preset == "balanced"


@pytest.mark.parametrize(
    ("name", "group", "code"),
    [
        ("violence", "harm", "S1"),
        ("crime", "harm", "S2"),
        ("sexual_crime", "harm", "S3"),
        ("child_exploitation", "harm", "S4"),
        ("specialised_advice", "harm", "S6"),
        ("privacy", "harm", "S7"),
        ("intellectual_property", "harm", "S8"),
        ("weapons", "harm", "S9"),
        ("self_harm", "harm", "S11"),
        ("sexual", "harm", "S12"),
        ("harassment", "harm", "S10"),
        ("hate", "injustice", "S10"),
        ("defamation", "misinformation", "S5"),
        ("elections", "misinformation", "S13"),
        ("misinformation", "misinformation", "S13"),
    ],
)
def test_an_objective_has_its_group_and_hazard_code(name: str, group: str, code: str) -> None:
    objective = load_policy().objectives[name]
    assert (objective.name, objective.group, objective.code) == (name, group, code)


def test_there_are_fifteen_objectives_in_three_groups_that_cover_every_hazard_code() -> None:
    objectives = load_policy().objectives
    assert len(objectives) == 15
    assert tuple(objectives) == OBJECTIVES
    assert {o.group for o in objectives.values()} == set(GROUPS) == {"harm", "injustice", "misinformation"}
    assert {o.code for o in objectives.values()} == set(CODES) == {f"S{n}" for n in range(1, 14)}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_drops_and_says_what_it_means_and_what_is_sent_instead(name: str) -> None:
    objective = load_policy().objectives[name]
    assert objective.action == "drop"
    assert objective.title.strip()
    assert objective.definition.endswith(".")
    assert objective.fallback.strip()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_strict_drops_no_less_than_balanced_and_balanced_no_less_than_permissive(name: str) -> None:
    strict, balanced, permissive = (load_policy(preset).objectives[name].threshold for preset in PRESETS)
    assert 0 < strict <= balanced <= permissive <= 1


def variants(policy: Policy) -> list[Policy]:
    """The policy with each of its values changed in turn."""
    found = [replace(policy, **{key: "other"}) for key in ("preset", "steering", "fallback", "ungrounded_fallback")]
    for name, objective in policy.objectives.items():
        for field in fields(objective):
            other = 0.123 if field.name == "threshold" else "other"
            found.append(
                replace(policy, objectives={**policy.objectives, name: replace(objective, **{field.name: other})})
            )
    return found


def test_the_fingerprint_changes_with_any_value() -> None:
    policy = load_policy()
    prints = {p.fingerprint for p in [policy, *variants(policy)]}
    assert len(prints) == 1 + 4 + 15 * len(fields(Objective))


def test_the_fingerprint_of_the_same_policy_is_the_same_twelve_hex_digits() -> None:
    found = load_policy().fingerprint
    assert found == load_policy("balanced").fingerprint
    assert len(found) == 12
    assert int(found, 16) >= 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_explained_by_code_definition_threshold_and_action(name: str) -> None:
    policy = load_policy()
    objective = policy.objectives[name]
    said = policy.explain(name)
    threshold = f"{objective.threshold:g}"
    assert all(
        part in said for part in (name, objective.code, objective.title, objective.definition, threshold, "drop")
    )


def test_an_unknown_objective_cannot_be_explained() -> None:
    with pytest.raises(KeyError):
        load_policy().explain("rudeness")


# One policy made as strict as another


SOME = OBJECTIVES[:2]
levels = st.sampled_from([0.1, 0.5, 0.9, 1.0])


@st.composite
def any_policy(draw: st.DrawFn) -> Policy:
    """A preset with other thresholds, actions and words here and there, and sometimes with an objective of one's own."""
    base = shipped_presets()[draw(st.sampled_from(PRESETS))]
    found = dict(base.objectives)
    for name in SOME:
        action, fallback = draw(st.sampled_from(ACTIONS)), draw(words)
        found[name] = replace(found[name], threshold=draw(levels), action=action, fallback=fallback)
    if draw(st.booleans()):
        found["dosage"] = Objective("dosage", "harm", "own", "Dosage", "A dose.", draw(levels), "drop", "No.", "head")
    return replace(base, objectives=found, steering=draw(words), fallback=draw(words))


SCORES = st.fixed_dictionaries(dict.fromkeys([*SOME, "dosage"], st.floats(0, 1))).map(
    lambda raised: {**dict.fromkeys(OBJECTIVES, 0.2), **raised}
)


@given(any_policy(), any_policy(), SCORES)
def test_a_tightened_policy_drops_all_that_either_would_drop_of_what_both_know(
    one: Policy, other: Policy, scores: dict[str, float]
) -> None:
    both = one.tightened(other)
    for name, objective in one.objectives.items():
        limits = [objective.threshold, *([other.objectives[name].threshold] if name in other.objectives else [])]
        assert both.objectives[name].threshold == min(limits)
    for policy in (one, other):
        before = judge(scores, policy)
        after = judge(scores, both)
        assert set(before.because) & set(one.objectives) <= set(after.because)
        assert set(before.flagged) & set(one.objectives) <= {*after.flagged, *after.because}
    assert not judge(scores, one).dropped or judge(scores, both).dropped


@given(any_policy(), any_policy())
def test_a_tightened_policy_keeps_its_own_objectives_and_all_that_it_says(one: Policy, other: Policy) -> None:
    both = one.tightened(other)
    assert list(both.objectives) == list(one.objectives)
    assert both.heads == one.heads
    assert (both.steering, both.fallback, both.ungrounded_fallback) == (
        one.steering,
        one.fallback,
        one.ungrounded_fallback,
    )
    for name, objective in both.objectives.items():
        assert replace(objective, threshold=0.5, action="drop") == replace(
            one.objectives[name], threshold=0.5, action="drop"
        )
    if "dosage" in one.objectives and "dosage" not in other.objectives:
        assert both.objectives["dosage"] == one.objectives["dosage"]


@given(any_policy(), any_policy(), any_policy())
def test_tightening_again_changes_nothing_and_the_order_does_not_matter(
    one: Policy, two: Policy, three: Policy
) -> None:
    both = one.tightened(two)
    assert both.tightened(two) is both
    assert both.tightened(one) is both
    assert one.tightened(one) is one
    assert both.tightened(three).objectives == one.tightened(three).tightened(two).objectives


@given(any_policy(), any_policy())
def test_a_tightened_policy_has_a_name_and_fingerprint_of_its_own_where_it_is_stricter(
    one: Policy, two: Policy
) -> None:
    both = one.tightened(two)
    if both.objectives == one.objectives:
        assert both is one
    else:
        assert both.preset == f"{one.preset}+{two.preset}"
        assert both.fingerprint not in (one.fingerprint, two.fingerprint)


def test_a_shipped_policy_is_tightened_by_the_stricter_presets_alone() -> None:
    balanced = load_policy("balanced")
    strict = shipped_presets()["strict"]
    assert balanced.by_preset["permissive"] is balanced.by_preset["balanced"] is balanced
    assert balanced.by_preset["strict"].objectives == strict.objectives
    assert balanced.by_preset["strict"].preset == "balanced+strict"
    assert list(balanced.by_preset) == list(shipped_presets()) == list(PRESETS)
    assert balanced.by_preset["strict"] is balanced.by_preset["strict"]


def test_of_two_actions_the_stronger_is_taken() -> None:
    shipped = load_policy()
    flags = replace(shipped, objectives={n: replace(o, action="flag") for n, o in shipped.objectives.items()})
    assert flags.tightened(shipped).objectives == shipped.objectives
    assert shipped.tightened(flags) is shipped
    assert flags.tightened(flags) is flags
