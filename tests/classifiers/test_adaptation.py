"""The learned update: what it touches, that it can be learned again from a seed, and that a killed run goes on where it was."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers import adaptation as module
from classifiers.adaptation import BLOCKS, SCALE, Adaptation, adapt, lay_in
from classifiers.backbone import Backbone
from classifiers.labelled import Example
from classifiers.supervision import Targets
from classifiers.training import exchange_batches

Row = tuple[list[int], int, int]
Make = Callable[..., Example]

HIDDEN, LAYERS, FIRST = 16, (1, 2, 3), 1
TINY = Adaptation(first_layer=FIRST, rank=2, epochs=2, batch=2, public_rows=4)
PROBES = [((("user", "Hi there"),), "Fine, thanks.", "assistant"), ((), "Who goes there?", "user")]
SIZES = {
    "self_attn.q_proj": (16, 16),
    "self_attn.k_proj": (16, 8),
    "self_attn.v_proj": (16, 8),
    "self_attn.o_proj": (16, 16),
    "mlp.gate_proj": (16, 32),
    "mlp.up_proj": (16, 32),
    "mlp.down_proj": (32, 16),
}
"""Of each matrix of the tiny model: inputs, outputs."""


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def pairs(backbone: Backbone, make_example: Make) -> tuple[list[Row], list[Example]]:
    return tokenised(backbone, [e for i in range(6) for e in pair(make_example, i)])


@pytest.fixture(scope="module")
def update(backbone: Backbone, pairs: tuple[list[Row], list[Example]], tmp_path_factory: Any) -> Any:
    return learn(backbone.trunk, *pairs, TINY, 0, tmp_path_factory.mktemp("update"))


def pair(make: Make, i: int) -> tuple[Example, Example]:
    """An exchange in small letters that is safe, and one in figures that is not."""
    return (
        make(f"{i}a", f"kind {'abc' * (i % 3 + 1)}", group=f"p{i}"),
        make(f"{i}b", f"9{i} {'777' * (i % 3 + 1)}", group=f"p{i}", unsafe=True),
    )


def tokenised(backbone: Backbone, examples: list[Example]) -> tuple[list[Row], list[Example]]:
    return [backbone.tokens(e.context, e.reply, e.role) for e in examples], examples


def learn(
    trunk: Any,
    rows: list[Row],
    examples: list[Example],
    recipe: Adaptation,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, torch.Tensor]:
    return learned(trunk, rows, examples, recipe, seed, folder, progress)[0]


def learned(
    trunk: Any,
    rows: list[Row],
    examples: list[Example],
    recipe: Adaptation,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The update that exchanges teach, and the head that taught it."""
    batches = list(exchange_batches([len(ids) for ids, _, _ in rows], examples, recipe, seed))
    return adapt(trunk, rows, Targets.of(examples), batches, recipe, seed, folder, progress)


def same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def random_update(seed: int = 0, layers: tuple[int, ...] = (1, 2), rank: int = 2) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    found = {}
    for number in layers:
        for name, (inputs, outputs) in SIZES.items():
            found[f"{number}.{name}.down"] = torch.randn(rank, inputs, generator=random)
            found[f"{number}.{name}.up"] = torch.randn(outputs, rank, generator=random)
    return found


def part_of(layer: Any, name: str) -> Any:
    return layer.get_submodule(name)


# Laying an update in


@settings(max_examples=20)
@given(layer=st.integers(0, 2), name=st.sampled_from(sorted(SIZES)), rank=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_matrix_that_carries_an_update_is_the_old_one_plus_the_scaled_product_of_its_factors(
    model: Any, layer: int, name: str, rank: int, seed: int
) -> None:
    factors = random_update(seed, (layer,), rank)
    only = {key: value for key, value in factors.items() if name in key}
    layers = torch.nn.ModuleList(model.model.layers)
    lay_in(layers, only)
    for i, (old, new) in enumerate(zip(model.model.layers, layers, strict=False)):
        for matrix in SIZES:
            before, after = part_of(old, matrix).weight, part_of(new, matrix).weight
            if (i, matrix) == (layer, name):
                product = only[f"{i}.{name}.up"] @ only[f"{i}.{name}.down"]
                assert torch.allclose(after, before + SCALE * product, atol=1e-5)
            else:
                assert after is before


def test_an_update_laid_in_changes_only_what_is_read_from_its_first_layer_on(model: Any, tokenizer: Any) -> None:
    plain = Backbone.of(model, tokenizer, LAYERS).read_many(PROBES)
    adapted = Backbone.of(model, tokenizer, LAYERS, random_update(layers=(FIRST, 2))).read_many(PROBES)
    by_layer = [found.reshape(len(PROBES), len(LAYERS), 2 * HIDDEN) for found in (plain, adapted)]
    below, above = slice(0, 1), slice(1, None)  # the state at 1 is what layer 0 makes
    assert np.array_equal(by_layer[0][:, below], by_layer[1][:, below])
    assert not np.isclose(by_layer[0][:, above], by_layer[1][:, above], atol=1e-2).all(axis=2).any()


def test_the_layers_below_the_first_adapted_one_stay_the_generators_own(model: Any, tokenizer: Any) -> None:
    trunk = Backbone.of(model, tokenizer, LAYERS, random_update(layers=(FIRST, 2))).trunk
    own = {id(p) for p in model.model.layers[0].parameters()}
    assert {id(p) for p in trunk.layers[0].parameters()} == own
    shared = {id(p) for p in model.parameters()}
    for layer in list(trunk.layers)[FIRST:]:
        fresh = {name for name, p in layer.named_parameters() if id(p) not in shared}
        assert fresh == {f"{name}.weight" for name in SIZES}


def test_laying_an_update_in_leaves_the_original_as_it_was_bit_for_bit(model: Any, tokenizer: Any) -> None:
    weights = {name: p.clone() for name, p in model.named_parameters()}
    plain = Backbone.of(model, tokenizer, LAYERS)
    before = plain.read_many(PROBES)
    Backbone.of(model, tokenizer, LAYERS, random_update()).read_many(PROBES)
    assert np.array_equal(plain.read_many(PROBES), before)
    assert same(dict(model.named_parameters()), weights)


def test_an_update_of_nothing_changes_nothing(model: Any, tokenizer: Any) -> None:
    nothing = {key: torch.zeros_like(v) if key.endswith(".up") else v for key, v in random_update().items()}
    plain, adapted = (Backbone.of(model, tokenizer, LAYERS, update).read_many(PROBES) for update in (None, nothing))
    assert np.array_equal(plain, adapted)


def test_a_list_that_starts_higher_up_takes_the_same_update(model: Any) -> None:
    whole, upper = (torch.nn.ModuleList(list(model.model.layers)[start:3]) for start in (0, FIRST))
    lay_in(whole, random_update())
    lay_in(upper, random_update(), first=FIRST)
    for one, other in zip(list(whole)[FIRST:], upper, strict=True):
        assert same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapted_matrix_keeps_its_precision_and_learns_no_more(model: Any, dtype: torch.dtype) -> None:
    linear = torch.nn.Linear(16, 16, bias=False, dtype=dtype)
    layer = module._with(model.model.layers[1], "self_attn", "q_proj", lambda _: linear)
    layers = torch.nn.ModuleList([layer])
    half = {key: value.half() for key, value in random_update(layers=(0,)).items() if "q_proj" in key}
    lay_in(layers, half)
    found = part_of(layers[0], "self_attn.q_proj").weight
    assert found.dtype == dtype
    assert not found.requires_grad
    assert not torch.equal(found, linear.weight)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("1.mlp.none_proj", 0),
        ("1.attention.q_proj", 0),
        ("9.self_attn.q_proj", 0),
        ("0.self_attn.q_proj", 1),  # below the first layer of the list
    ],
)
def test_a_matrix_that_is_not_there_is_a_key_error(model: Any, name: str, first: int) -> None:
    factors = {f"{name}.down": torch.zeros(2, 16), f"{name}.up": torch.zeros(16, 2)}
    with pytest.raises(KeyError):
        lay_in(torch.nn.ModuleList(list(model.model.layers)[first:3]), factors, first)


def test_half_a_pair_of_factors_is_a_key_error(model: Any) -> None:
    factors = {key: value for key, value in random_update().items() if not key.endswith("2.mlp.up_proj.up")}
    with pytest.raises(KeyError, match=r"2\.mlp\.up_proj\.up"):
        lay_in(torch.nn.ModuleList(list(model.model.layers)[:3]), factors)


def test_what_is_served_computes_what_was_trained(model: Any) -> None:
    linear = part_of(model.model.layers[1], "mlp.up_proj")
    torch.manual_seed(0)
    trained = module._LowRank(linear, 2)
    torch.nn.init.normal_(trained.up)
    layers = torch.nn.ModuleList([model.model.layers[1]])
    lay_in(layers, {"0.mlp.up_proj.down": trained.down.detach(), "0.mlp.up_proj.up": trained.up.detach()})
    x = torch.randn(5, HIDDEN)
    assert not torch.allclose(trained(x), linear(x), atol=1e-2)
    assert torch.allclose(part_of(layers[0], "mlp.up_proj")(x), trained(x), atol=1e-4)


def test_the_trunk_cut_in_two_reads_as_it_does_whole(
    backbone: Backbone, pairs: tuple[list[Row], list[Example]]
) -> None:
    rows, examples = pairs
    lower, upper = module._cut(backbone.trunk, FIRST)
    states: dict[int, torch.Tensor] = {}
    wanted = list(range(len(rows)))
    module._read_lower(lower, rows, wanted, states)
    with torch.inference_mode():
        found = 10 * module._read_upper(upper, [states[i] for i in wanted], rows)
    served = backbone.read_many([(e.context, e.reply, e.role) for e in examples])
    assert np.allclose(found.numpy(), served[:, -2 * HIDDEN :].astype(np.float32), atol=2e-2)


# Learning one


def test_an_update_has_two_factors_for_every_matrix_from_the_first_layer_on(update: Any) -> None:
    sizes = {
        f"{number}.{name}.{side}": (2, inputs) if side == "down" else (outputs, 2)
        for number in (1, 2)
        for name, (inputs, outputs) in SIZES.items()
        for side in ("down", "up")
    }
    assert {name: tuple(value.shape) for name, value in update.items()} == sizes
    assert len(SIZES) == sum(map(len, BLOCKS.values()))
    assert all(v.dtype == torch.float16 and v.is_contiguous() and not v.requires_grad for v in update.values())


def test_every_matrix_is_taught_something(update: Any) -> None:
    assert all(value.abs().max() > 0 for name, value in update.items() if name.endswith(".up"))


def test_learning_leaves_the_trunk_and_what_it_reads_as_they_were_bit_for_bit(
    model: Any, tokenizer: Any, pairs: tuple[list[Row], list[Example]], tmp_path: Path
) -> None:
    backbone = Backbone.of(model, tokenizer, LAYERS)
    weights = {name: p.clone() for name, p in model.named_parameters()}
    before = backbone.read_many(PROBES)
    ids = torch.tensor([pairs[0][0][0]])
    with torch.inference_mode():
        said = model(input_ids=ids).logits
    found = learn(backbone.trunk, *pairs, TINY, 0, tmp_path)
    assert same(dict(model.named_parameters()), weights)
    assert np.array_equal(backbone.read_many(PROBES), before)
    with torch.inference_mode():
        assert torch.equal(model(input_ids=ids).logits, said)
    assert not np.array_equal(Backbone.of(model, tokenizer, LAYERS, found).read_many(PROBES), before)


def test_the_same_seed_learns_the_same_update_and_another_seed_another(
    backbone: Backbone, pairs: tuple[list[Row], list[Example]], update: Any, tmp_path: Path
) -> None:
    torch.rand(7)  # whatever was drawn before
    assert same(learn(backbone.trunk, *pairs, TINY, 0, tmp_path / "again"), update)
    assert not same(learn(backbone.trunk, *pairs, TINY, 1, tmp_path / "other"), update)


def test_learning_lowers_the_loss_on_a_set_that_can_be_told_apart(
    backbone: Backbone, make_example: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    losses = []
    loss_of = Targets.loss

    def spy(self: Targets, *given: Any) -> torch.Tensor:
        loss = loss_of(self, *given)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(Targets, "loss", spy)
    rows = tokenised(backbone, [e for i in range(16) for e in pair(make_example, i)])
    # The head stays as it was drawn, so that only the update can account for what is learned.
    recipe = replace(TINY, epochs=24, batch=8, learning_rate=2e-2, head_rate=0.0)
    learn(backbone.trunk, *rows, recipe, 0, tmp_path)
    assert np.mean(losses[-8:]) < 0.4 * np.mean(losses[:8])


def seen(
    monkeypatch: pytest.MonkeyPatch, trunk: Any, rows: Any, examples: Any, recipe: Adaptation, folder: Path
) -> list[list[int]]:
    """The rows of every batch that was learned from."""
    batches: list[list[int]] = []
    loss_of = Targets.loss

    def spy(self: Targets, logits: torch.Tensor, batch: Any, weight: float) -> torch.Tensor:
        batches.append(list(batch))
        return loss_of(self, logits, batch, weight)

    monkeypatch.setattr(Targets, "loss", spy)
    learn(trunk, rows, examples, recipe, 0, folder)
    return batches


def test_our_pairs_are_seen_whole_in_every_epoch_and_a_share_of_each_public_set_once(
    backbone: Backbone, make_example: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = [e for i in range(5) for e in pair(make_example, i)]
    public = [
        replace(make_example(f"{source} {i}", f"text {i}"), source=source, complete=False, group="the same")
        for source, count in (("small", 3), ("big", 20))
        for i in range(count)
    ]
    examples = own + public
    recipe = replace(TINY, epochs=3, batch=4, public_rows=6)
    batches = seen(monkeypatch, backbone.trunk, *tokenised(backbone, examples), recipe, tmp_path)
    times = Counter(i for batch in batches for i in batch)
    assert all(times[i] == 3 for i in range(len(own)))
    sources = Counter(examples[i].source for i in times if i >= len(own))
    assert sources == {"small": 3, "big": 6}
    assert all(times[i] == 1 for i in times if i >= len(own))
    for batch in batches:
        inside = Counter(examples[i].group for i in batch if i < len(own))
        assert set(inside.values()) <= {2}
        assert len(batch) <= recipe.batch + 1


# Going on after a kill


def kill_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


def test_a_run_that_was_killed_goes_on_and_ends_with_the_update_of_one_that_was_not(
    backbone: Backbone, pairs: tuple[list[Row], list[Example]], tmp_path: Path
) -> None:
    recipe = replace(TINY, epochs=18, learning_rate=5e-3)  # 108 steps
    whole = learn(backbone.trunk, *pairs, recipe, 0, tmp_path / "whole")
    with pytest.raises(Killed):
        learn(backbone.trunk, *pairs, recipe, 0, tmp_path / "killed", kill_at(104))
    steps: list[tuple[int, int]] = []
    resumed = learn(backbone.trunk, *pairs, recipe, 0, tmp_path / "killed", lambda *step: steps.append(step))
    assert steps == [(done, 108) for done in range(100, 109)]
    assert same(resumed, whole)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    backbone: Backbone, pairs: tuple[list[Row], list[Example]], update: Any, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        learn(backbone.trunk, *pairs, TINY, 0, tmp_path, kill_at(5))
    assert same(learn(backbone.trunk, *pairs, TINY, 0, tmp_path), update)


def test_a_finished_run_is_not_learned_again(
    backbone: Backbone, pairs: tuple[list[Row], list[Example]], update: Any, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    learn(backbone.trunk, *pairs, TINY, 0, tmp_path / "new", lambda *step: steps.append(step))
    assert steps == [(done, 12) for done in range(13)]
    steps.clear()
    assert same(learn(backbone.trunk, *pairs, TINY, 0, tmp_path / "new", lambda *step: steps.append(step)), update)
    assert steps == [(12, 12)]
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".pt"]


@pytest.mark.parametrize(
    "change",
    [
        {"unsafe": True},
        {"objectives": frozenset({"hate"})},
        {"labelled_for": "hate"},
        {"complete": False},
        {"group": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_of_other_labels_is_not_gone_on_from(
    backbone: Backbone, pairs: tuple[list[Row], list[Example]], tmp_path: Path, change: dict[str, Any]
) -> None:
    rows, examples = pairs
    learn(backbone.trunk, rows, examples, TINY, 0, tmp_path)
    steps: list[int] = []
    others = [replace(examples[0], **change), *examples[1:]]
    found = learn(backbone.trunk, rows, others, TINY, 0, tmp_path, lambda done, _: steps.append(done))
    assert steps[0] == 0
    assert same(found, learn(backbone.trunk, rows, others, TINY, 0, tmp_path / "fresh"))


@pytest.mark.parametrize("change", ["seed", "settings", "tokens", "span"])
def test_a_checkpoint_of_other_settings_or_texts_is_not_gone_on_from(
    backbone: Backbone, pairs: tuple[list[Row], list[Example]], tmp_path: Path, change: str
) -> None:
    rows, examples = pairs
    learn(backbone.trunk, rows, examples, TINY, 0, tmp_path)
    recipe = replace(TINY, learning_rate=1e-3) if change == "settings" else TINY
    ids, start, end = rows[0]
    first = {"tokens": ([*ids[:-1], 5], start, end), "span": (ids, start, end - 1)}.get(change, rows[0])
    steps: list[int] = []
    seed = int(change == "seed")
    learn(backbone.trunk, [first, *rows[1:]], examples, recipe, seed, tmp_path, lambda done, _: steps.append(done))
    assert steps[0] == 0
