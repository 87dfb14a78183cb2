"""The recipe: what the readout learns from, what is masked, and a whole training run in miniature."""

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from classifiers import OBJECTIVES, Safety, metrics, recertifying, training
from classifiers.adaptation import Adaptation
from classifiers.backbone import Backbone
from classifiers.calibration import ALPHAS
from classifiers.guarantee import ALL
from classifiers.labelled import Example, read_labelled
from classifiers.models import verify_checksums, write_checksums
from classifiers.readout import UPDATE, Scorer
from classifiers.recertifying import recertify
from classifiers.training import (
    Recipe,
    calibrate,
    calibration_errors,
    fit,
    held_out_parts,
    measure,
    to_read,
    with_plain_readings,
)

SMALL = Recipe(
    members=1,
    hidden=8,
    epochs=30,
    batch=16,
    learning_rate=1e-2,
    dropout=0.0,
    objective_weight=0.5,
    adaptation=Adaptation(first_layer=1, rank=2, epochs=1, batch=8, public_rows=10),
)
WIDTH = 6


def example(i: int, unsafe: bool, objective: str | None = None, **changes) -> Example:
    made = Example(
        id=f"e{i}",
        context=(),
        reply=f"text {i}",
        role="user",
        unsafe=unsafe,
        objectives=frozenset([objective] if objective else []),
        complete=True,
        group=f"g{i}",
        source="own",
        split="train",
    )
    return replace(made, **changes)


def rows(n: int = 64) -> tuple[np.ndarray, list[Example]]:
    """Column 0 says whether a row is unsafe, column 1 which of two objectives it violates."""
    random = np.random.default_rng(0)
    x = random.normal(size=(n, WIDTH)).astype(np.float16)
    examples = [
        example(i, bool(x[i, 0] > 0), ("hate" if x[i, 1] > 0 else "crime") if x[i, 0] > 0 else None) for i in range(n)
    ]
    return x, examples


def all_logits(readout, x):
    with torch.inference_mode():
        return readout(torch.from_numpy(x).float()).numpy()


def logits_of(readout, x):
    return all_logits(readout, x)[:, 0]


def scores(readout, x) -> dict[str, np.ndarray]:
    found = Scorer(readout, OBJECTIVES, "none", "0").scores(x)
    return {name: found[:, k] for k, name in enumerate(("unsafe", *OBJECTIVES))}


def test_the_readout_learns_what_is_unsafe_and_which_objective_accounts_for_it():
    x, examples = rows()
    readout = fit(x, examples, SMALL, seed=0)
    labels = np.array([e.unsafe for e in examples])
    assert ((logits_of(readout, x) > 0) == labels).mean() > 0.95
    found = scores(readout, x[labels])
    hateful = x[labels][:, 1] > 0
    assert ((found["hate"] > found["crime"]) == hateful).mean() > 0.9


def test_the_same_seed_trains_the_same_readout_and_another_seed_another():
    x, examples = rows()
    first, again, other = (logits_of(fit(x, examples, replace(SMALL, epochs=2), seed), x) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_objective_that_a_public_set_does_not_label_is_masked():
    x, examples = rows()
    unnamed = [replace(e, complete=False, objectives=frozenset(), source="public") for e in examples]
    torch.manual_seed(0)
    moved = []
    for objective_weight in (0.0, 5.0):
        recipe = replace(SMALL, epochs=3, objective_weight=objective_weight)
        moved.append(logits_of(fit(x, unnamed, recipe, seed=0), x))
    assert np.array_equal(*moved)  # nothing is learnt from objectives that nobody named


def test_our_own_rows_outweigh_public_ones_that_contradict_them():
    x, own = rows(32)
    public = [replace(e, unsafe=not e.unsafe, objectives=frozenset(), complete=False, source="public") for e in own]
    readout = fit(np.concatenate([x, x]), own + public, replace(SMALL, own_weight=8.0), seed=0)
    labels = np.array([e.unsafe for e in own])
    assert ((logits_of(readout, x) > 0) == labels).mean() > 0.9


@pytest.mark.parametrize(("source_rows", "learned"), [(10_000, "public"), (16, "own")])
def test_a_public_set_weighs_as_if_it_had_no_more_rows_than_the_recipe_says(source_rows, learned):
    x, own = rows(32)
    public = [
        replace(e, unsafe=not e.unsafe, objectives=frozenset(), complete=False, source="public") for e in own
    ] * 20
    recipe = replace(SMALL, own_weight=4.0, source_rows=source_rows, batch=64)
    readout = fit(np.concatenate([x] * 21), own + public, recipe, seed=0)
    labels = np.array([e.unsafe for e in own]) == (learned == "own")
    assert ((logits_of(readout, x) > 0) == labels).mean() > 0.9


# Going on after a kill


class Killed(Exception):
    pass


def kill_after(epochs):
    left = [epochs]

    def done_epoch():
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return done_epoch


TWO = replace(SMALL, members=2, epochs=3)


def test_a_fit_that_was_killed_keeps_the_members_that_were_done_and_ends_as_one_that_was_not(tmp_path):
    x, examples = rows()
    whole = fit(x, examples, TWO, seed=0)
    with pytest.raises(Killed):
        fit(x, examples, TWO, 0, tmp_path / "new", kill_after(4))
    [kept] = (tmp_path / "new").iterdir()
    assert kept.suffix == ".safetensors"
    epochs = []
    resumed = fit(x, examples, TWO, 0, tmp_path / "new", lambda: epochs.append(1))
    assert len(epochs) == TWO.members * TWO.epochs  # a member that was kept counts as its epochs
    assert np.array_equal(all_logits(resumed, x), all_logits(whole, x))
    assert len(list((tmp_path / "new").iterdir())) == 2


def spoilt(folder):
    """Every member that is kept becomes one whose logits are all nought."""
    for path in folder.iterdir():
        save_file({name: torch.zeros_like(value) for name, value in load_file(path).items()}, path)


def test_a_member_of_the_same_rows_is_taken_as_it_was_kept(tmp_path):
    x, examples = rows()
    fit(x, examples, TWO, 0, tmp_path)
    spoilt(tmp_path)
    assert not logits_of(fit(x, examples, TWO, 0, tmp_path), x).any()


@pytest.mark.parametrize(
    "change",
    ["seed", "recipe", "features", "unsafe", "objectives", "labelled_for", "complete", "source"],
)
def test_a_member_of_other_rows_or_settings_is_not_taken(tmp_path, change):
    x, examples = rows()
    safe = next(i for i, e in enumerate(examples) if not e.unsafe)
    fit(x, examples, TWO, 0, tmp_path)
    spoilt(tmp_path)
    recipe, seed = replace(TWO, own_weight=2.0) if change == "recipe" else TWO, int(change == "seed")
    if change == "features":
        x = x + np.float16(1)
    others = {
        "unsafe": {"unsafe": True},
        "objectives": {"objectives": frozenset({"crime"})},
        "labelled_for": {"labelled_for": "hate"},
        "complete": {"complete": False},
        "source": {"source": "another"},
    }
    examples[safe] = replace(examples[safe], **others.get(change, {}))
    assert logits_of(fit(x, examples, recipe, seed, tmp_path), x).any()


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, examples = rows()
    fit(x, examples, replace(TWO, epochs=1), seed=0)
    assert list(tmp_path.iterdir()) == []


# What disguised text looks like


@pytest.fixture
def vocabulary(monkeypatch):
    """A list of words instead of the model's."""

    class Tokenizer:
        def get_vocab(self):
            words = ["I", "will", "find", "kill", "you", "hello"]
            return {f"\u0120{word}": i for i, word in enumerate(words)}

    monkeypatch.setattr(training.models, "load_tokenizer", lambda name: Tokenizer())


@pytest.mark.usefixtures("vocabulary")
def test_a_disguised_text_is_learned_as_it_is_and_as_what_it_looks_like():
    disguised = example(0, True, "violence", reply="I will k1ll you", context=(("user", "h3llo"), ("system", "hello")))
    plain = example(1, False, reply="I will find you")
    found = with_plain_readings([disguised, plain])
    twin = replace(disguised, id="e0#plain", reply="I will kill you", context=(("user", "hello"), ("system", "hello")))
    assert found == [disguised, plain, twin]


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize("split", ["calibration", "validation", "test"])
def test_what_is_held_out_is_only_judged_as_it_is(split):
    rows = [example(0, True, "violence", reply="I will k1ll you", split=split)]
    assert with_plain_readings(rows) == rows


# Calibration


def noisy_rows(n=400, split="validation"):
    x, examples = rows(n)
    flipped = np.random.default_rng(1).random(n) < 0.2
    found = []
    for e, flip in zip(examples, flipped, strict=True):
        unsafe = e.unsafe ^ bool(flip)
        named = (e.objectives or frozenset({"hate"})) if unsafe else frozenset()
        found.append(replace(e, unsafe=unsafe, split=split, objectives=named))
    return x, found


@pytest.fixture(scope="module")
def uncalibrated():
    return fit(*rows(400), SMALL, seed=0)


def test_calibration_makes_the_mean_probability_of_unsafe_its_share_of_the_validation_rows(uncalibrated):
    x, examples = noisy_rows()
    calibrate(uncalibrated, x, examples)
    found = scores(uncalibrated, x)
    assert found["unsafe"].mean() == pytest.approx(np.mean([e.unsafe for e in examples]), abs=0.01)


def test_calibration_leaves_each_objective_its_share_of_unsafe(uncalibrated):
    def shares():
        found = scores(uncalibrated, x)
        return np.array([found[name] / found["unsafe"] for name in OBJECTIVES])

    x, examples = noisy_rows()
    uncalibrated.platt = torch.tensor([1.0, 0.0])
    before = shares()
    calibrate(uncalibrated, x, examples)
    assert uncalibrated.platt.shape == (2,)
    assert uncalibrated.platt.tolist() != [1.0, 0.0]
    assert shares() == pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("split", ["train", "calibration", "test"])
def test_only_validation_rows_set_the_scale(uncalibrated, split):
    x, examples = noisy_rows(200)
    calibrate(uncalibrated, x, examples)
    before = uncalibrated.platt.clone()
    wrong = [replace(e, unsafe=not e.unsafe, objectives=frozenset(), split=split) for e in examples]
    calibrate(uncalibrated, np.concatenate([x, x]), examples + wrong)
    assert torch.equal(uncalibrated.platt, before)


def test_a_safe_row_of_a_source_that_labels_one_objective_says_nothing_about_unsafe(uncalibrated):
    x, examples = noisy_rows(200)
    calibrate(uncalibrated, x, examples)
    before = uncalibrated.platt.clone()
    silent = [
        replace(e, unsafe=False, objectives=frozenset(), complete=False, labelled_for="weapons") for e in examples
    ]
    calibrate(uncalibrated, np.concatenate([x, x]), examples + silent)
    assert torch.equal(uncalibrated.platt, before)


def columns(**given):
    """Scores of rows, (n, 1 + objectives); what is not given is nought."""
    n = len(next(iter(given.values())))
    found = np.zeros((n, 1 + len(OBJECTIVES)), np.float32)
    for name, values in given.items():
        found[:, ("unsafe", *OBJECTIVES).index(name)] = values
    return found


def test_the_calibration_error_is_that_of_the_calibration_rows():
    judged = [
        example(0, True, "hate", split="calibration"),
        example(1, False, split="calibration"),
        example(2, True, "hate", split="validation"),
        example(3, False, split="test"),
    ]
    found = calibration_errors(columns(unsafe=[1, 0, 0, 1], hate=[0.75, 0, 0, 1], crime=[0.5, 0.5, 0, 0]), judged)
    assert found["unsafe"] == 0
    assert found["hate"] == pytest.approx(0.125)
    assert found["crime"] == pytest.approx(0.5)
    assert set(found) == {"unsafe", *OBJECTIVES}


def test_a_score_that_no_calibration_row_is_labelled_for_has_no_calibration_error():
    judged = [example(0, False, split="calibration", complete=False, labelled_for="hate"), example(1, True, "crime")]
    assert calibration_errors(columns(unsafe=[0.5, 0]), judged) == {"hate": 0.0}


# Figures


def test_the_readout_reads_all_that_is_held_out_or_ours_and_a_fixed_sample_of_each_public_source():
    rows = [example(f"own{i}", True, "hate", split="train") for i in range(9)]
    for source in ("one", "two"):
        for split in ("train", "validation"):
            rows += [
                example(f"{source}{split}{i}", False, source=source, complete=False, split=split) for i in range(9)
            ]
    found = to_read(rows, 4)
    assert [e for e in rows if e in found] == found
    assert Counter((e.source, e.split) for e in found) == {
        ("own", "train"): 9,
        ("one", "train"): 4,
        ("two", "train"): 4,
        ("one", "validation"): 9,
        ("two", "validation"): 9,
    }
    assert {e.id for e in to_read(rows[::-1], 4)} == {e.id for e in found}


def test_held_out_parts_keep_sources_kinds_and_splits_apart():
    judged = [
        example(0, True, source="set", complete=False, split="validation"),
        example(1, True, "hate", split="validation"),
        example(2, False, split="test", group="seed-001"),
        example(3, False, split="test", role="assistant", context=(("user", "hi"),)),
        example(4, False, source="set", complete=False, split="calibration"),
        example(5, True, "hate", split="calibration"),
        example(6, False, source="harmless", complete=False, split="validation"),
    ]
    parts = {name: list(chosen) for name, chosen in held_out_parts(judged).items()}
    assert parts["set (held out)"] == [0, 4]
    assert "harmless (held out)" not in parts  # nothing to tell apart
    assert parts["contrast pairs, all (validation)"] == [1]
    assert parts["contrast pairs, all (test)"] == [2, 3]
    assert parts["contrast pairs, seed prompts (test)"] == [2]
    assert parts["contrast pairs, replies (test)"] == [3]
    assert not any(5 in chosen for chosen in parts.values())  # thresholds are set on these


class Passing:
    """Stands in for a scorer: the features are the scores."""

    def scores(self, features):
        return features.astype(np.float32)


def test_a_set_that_labels_one_objective_is_judged_by_the_score_of_that_one(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 5)
    x, examples = columns(unsafe=[1, 0] * 10, hate=[0, 1] * 10), []
    for i in range(20):
        one_only = {"source": "one", "labelled_for": "hate"} if i < 10 else {"source": "all"}
        examples.append(
            example(i, bool(i % 2), "hate" if i % 2 else None, complete=False, split="validation", **one_only)
        )
    taught = [example(100 + i, bool(i % 2), context=(("user", "some words"),)) for i in range(6)]
    found = measure(Passing(), np.concatenate([columns(unsafe=[0.5] * 6), x]), taught + examples, taught)
    assert found["auroc"]["one (held out)"]["ours"]["value"] == 1
    assert found["auroc"]["all (held out)"]["ours"]["value"] == 0
    assert found["auroc"]["one (held out)"]["ours"]["n"] == 10


# The whole run


@contextmanager
def no_bar(what, total):
    yield lambda n: None


class Bars:
    """Stands in for the progress bars: the total of each, and how far it came."""

    def __init__(self):
        self.total, self.done = {}, {}

    @contextmanager
    def __call__(self, what, total):
        self.total[what], self.done[what] = total, 0

        def advance(n):
            self.done[what] += n

        yield advance


@pytest.fixture
def toy_run(tmp_path, monkeypatch, model, tokenizer):
    """Trains on made-up rows and the tiny model; the text of one of them is disguised."""
    words = ["kind", "cruel"]
    lines = [
        {
            "id": f"p{i}{'ab'[bad]}",
            "pair": f"p{i}",
            "context": [{"role": "user", "content": f"hello there friend {i}"}],
            "role": "assistant",
            "reply": f"a {words[bad]} word {i}",
            "labels": ["harassment"] if bad else [],
            "source": "own",
        }
        for i in range(40)
        for bad in (0, 1)
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    splits = ["train", "train", "train", "validation", "calibration"]
    public = [
        example(i, i % 2 == 0, source="toy", complete=False, split=splits[i % 5], context=(("user", f"so {i}"),))
        for i in range(40)
    ]
    public.append(replace(public[0], id="disguised", reply="t\u0435xt", context=(("user", "not so"),)))
    monkeypatch.setattr(metrics, "RESAMPLES", 5)
    monkeypatch.setattr(training, "read_public", lambda folder: public)
    monkeypatch.setattr(training.models, "load_tokenizer", lambda name: tokenizer)

    def load(cls, name="", update=None):
        return Backbone.of(model, tokenizer, (1, 2, 3), update)

    monkeypatch.setattr(Backbone, "load", classmethod(load))
    recipe = replace(SMALL, members=2, epochs=2)

    def run(output, progress=no_bar):
        return training.train(
            tmp_path, tmp_path / "own.jsonl", tmp_path / output, 0, progress, Console(quiet=True), recipe
        )

    return run


def test_a_whole_run_writes_weights_thresholds_metrics_and_a_card_that_load_again(tmp_path, toy_run):
    bars = Bars()
    found = toy_run("out", bars)
    output = tmp_path / "out"
    own = [e for e in read_labelled(tmp_path / "own.jsonl") if e.split == "train"]
    assert found["training_rows"] == {"own": len(own), "toy": 26}  # 24, and the disguised one read both ways
    assert found["rows"] == 80 + 42
    assert "toy (held out)" in found["auroc"]
    assert found["auroc"]["toy (held out)"]["ours"]["n"] == 16
    assert found["calibration_error"].keys() >= {"unsafe", "harassment"}
    assert json.loads((output / "metrics.json").read_text()) == json.loads(json.dumps(found))
    assert found["version"] in (output / "README.md").read_text()
    assert bars.done == bars.total
    assert bars.total.keys() == {"adapting the reader", "reading hidden states", "training the readout"}
    scorer = Scorer.load(output, OBJECTIVES)
    assert scorer.version == found["version"]
    assert {name.split(".")[0] for name in scorer.update} == {"1", "2"}
    safety = Safety.load(folder=output)
    assert safety.judge([], ["a cruel word"])[0].scores.keys() == set(OBJECTIVES)


def test_thresholds_set_anew_are_those_of_the_run_where_nothing_reads_otherwise(tmp_path, toy_run, monkeypatch):
    monkeypatch.setattr(recertifying, "read_public", training.read_public)
    toy_run("out")
    folder = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert json.loads(before["thresholds.json"])["precision"] == "float32"
    (folder / "thresholds.json").write_text("{}")
    write_checksums(folder)
    again = recertify(tmp_path, tmp_path / "own.jsonl", folder, no_bar)
    assert again == json.loads(before["thresholds.json"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_thresholds_set_anew_follow_what_is_read_and_leave_the_weights(tmp_path, toy_run, monkeypatch):
    monkeypatch.setattr(recertifying, "read_public", training.read_public)
    toy_run("out")
    folder = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    read = Backbone.read_many
    monkeypatch.setattr(Backbone, "read_many", lambda *given, **rest: read(*given, **rest)[::-1].copy())
    again = recertify(tmp_path, tmp_path / "own.jsonl", folder, no_bar)
    assert again["strict"] != json.loads(before["thresholds.json"])["strict"]
    changed = {path.name for path in folder.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {"thresholds.json", "README.md", "checksums.json"}
    verify_checksums(folder)


def test_a_run_sets_thresholds_on_all_calibration_rows_for_every_preset_and_objective(tmp_path, toy_run):
    version = toy_run("out")["version"]
    table = json.loads((tmp_path / "out" / "thresholds.json").read_text())
    assert table["data"] == version
    own = [e for e in read_labelled(tmp_path / "own.jsonl") if e.split == "calibration"]
    for preset, alpha in ALPHAS.items():
        assert table[preset].keys() == {ALL, *OBJECTIVES}
        assert len({row["threshold"] for row in table[preset].values()}) == 1
        for name, unsafe in ((ALL, sum(e.unsafe for e in own) + 4), ("harassment", sum(e.unsafe for e in own))):
            row = table[preset][name]
            assert (row["alpha"], row["n"]) == (alpha, unsafe)
            assert row["safe"] == sum(not e.unsafe for e in own) + 4
        assert table[preset]["weapons"]["n"] == 0


def test_the_readout_is_fitted_to_what_the_adapted_reader_reads(tmp_path, toy_run, monkeypatch):
    read = []
    featurise = training.featurise
    monkeypatch.setattr(training, "featurise", lambda *given: read.append(given) or featurise(*given))
    toy_run("out")
    [(exchanges, backbone, name, _)] = read
    update = load_file(tmp_path / "out" / UPDATE)
    served = Backbone.load(update=update).read_many(exchanges[:3])
    assert np.array_equal(backbone.read_many(exchanges[:3]), served)
    assert not np.array_equal(Backbone.load().read_many(exchanges[:3]), served)
    assert name.startswith("SmolLM2-135M-Instruct+")  # features of another update are not taken for these


def test_a_run_that_was_killed_anywhere_ends_with_the_weights_of_one_that_was_not(tmp_path, toy_run, monkeypatch):
    toy_run("whole")
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "another cache"))

    def killed_at(stage):
        @contextmanager
        def progress(what, total):
            done = [0]

            def advance(n):
                done[0] += n
                if what == stage and done[0] > total // 2:
                    raise Killed

            yield advance

        return progress

    for stage in ("adapting the reader", "reading hidden states", "training the readout"):
        with pytest.raises(Killed):
            toy_run("resumed", killed_at(stage))
        assert not (tmp_path / "resumed").exists()
    toy_run("resumed")
    for name in ("readout.safetensors", UPDATE, "thresholds.json", "config.json"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_bad_labelled_data_stop_the_run_before_anything_is_trained(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"id": "x", "reply": "a", "labels": ["no such objective"]}')
    with pytest.raises(ValueError, match=r"bad\.jsonl:1.*no such objective"):
        training.train(tmp_path, tmp_path / "bad.jsonl", tmp_path / "out", 0, no_bar, Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_missing_public_sets_are_named_before_anything_is_trained(tmp_path):
    (tmp_path / "own.jsonl").write_text('{"id": "x", "reply": "a", "labels": []}')
    with pytest.raises(FileNotFoundError, match=r"diasafety \(from thu-coai/DiaSafety\)"):
        training.train(tmp_path, tmp_path / "own.jsonl", tmp_path / "out", 0, no_bar, Console(quiet=True))
