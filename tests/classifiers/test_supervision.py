"""What a row teaches and what it says nothing about; the loss against one worked out cell by cell."""

import math
from collections.abc import Callable

import pytest
import torch

from classifiers.labelled import Example
from classifiers.policy import OBJECTIVES
from classifiers.supervision import ASSUMED, Targets

Make = Callable[..., Example]
HATE, CRIME = OBJECTIVES.index("hate"), OBJECTIVES.index("crime")


@pytest.fixture
def examples(make: Make) -> list[Example]:
    """One of every kind."""
    return [
        make("hate", "crime"),
        make("hate", complete=False),
        make("hate", complete=False, only="hate"),
        make(unsafe=True, complete=False),
        make(),
        make(complete=False, only="hate"),
    ]


def weights(rest: float, **named: float) -> list[float]:
    return [named.get(name, rest) for name in OBJECTIVES]


def test_what_a_row_names_is_violated_and_nothing_else(examples: list[Example]) -> None:
    found = Targets.of(examples)
    assert found.unsafe.tolist() == [1, 1, 1, 1, 0, 0]
    hate, both = weights(0, hate=1), weights(0, hate=1, crime=1)
    assert found.named.tolist() == [both, hate, hate, weights(0), weights(0), weights(0)]


@pytest.mark.parametrize(
    ("named", "unsafe", "complete", "only", "expected"),
    [
        (["hate", "crime"], True, True, None, weights(1)),  # ours: what is not named is respected
        (["hate"], True, False, None, weights(ASSUMED, hate=1)),  # public: taken for respected
        (["hate"], True, False, "hate", weights(ASSUMED, hate=1)),
        (["crime"], True, False, "hate", weights(ASSUMED, hate=1, crime=1)),
        ([], True, False, None, weights(0)),  # unsafe, and nobody says by what
        ([], False, True, None, weights(0)),  # safe: `unsafe` speaks for them all
        ([], False, False, None, weights(0)),
        ([], False, False, "hate", weights(0, hate=1)),  # safe by the labels of one: that one counts
    ],
)
def test_an_objective_counts_as_far_as_the_source_speaks_of_it(
    make: Make, named: list[str], unsafe: bool, complete: bool, only: str | None, expected: list[float]
) -> None:
    found = Targets.of([make(*named, unsafe=unsafe, complete=complete, only=only)])
    assert found.known[0].tolist() == pytest.approx(expected)


def test_a_row_that_is_safe_by_the_labels_of_one_objective_counts_less_as_safe(examples: list[Example]) -> None:
    assert 0 < ASSUMED < 1
    assert Targets.of(examples).judged.tolist() == pytest.approx([1, 1, 1, 1, 1, ASSUMED])


def test_weights_scale_what_counts_and_leave_the_labels(examples: list[Example]) -> None:
    plain, weighted = Targets.of(examples), Targets.of(examples, [0, 0.5, 1, 2, 3, 4])
    scale = torch.tensor([0, 0.5, 1, 2, 3, 4])
    assert torch.equal(weighted.unsafe, plain.unsafe)
    assert torch.equal(weighted.named, plain.named)
    assert torch.allclose(weighted.judged, plain.judged * scale)
    assert torch.allclose(weighted.known, plain.known * scale[:, None])


def test_the_loss_is_what_was_worked_out_cell_by_cell(examples: list[Example]) -> None:
    targets = Targets.of(examples, [1, 0.5, 1, 2, 1, 3])
    rows = [5, 0, 1]
    logits = torch.randn(len(rows), 1 + len(OBJECTIVES), generator=torch.Generator().manual_seed(0)) * 3

    def cell(logit: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> float:
        p = 1 / (1 + math.exp(-float(logit)))
        return -float(weight) * math.log(p if label else 1 - p)

    unsafe = [cell(logits[i, 0], targets.unsafe[r], targets.judged[r]) for i, r in enumerate(rows)]
    named = [
        cell(logits[i, 1 + j], targets.named[r, j], targets.known[r, j])
        for i, r in enumerate(rows)
        for j in range(len(OBJECTIVES))
    ]
    for share in (0.0, 0.7):
        expected = sum(unsafe) / len(unsafe) + share * sum(named) / len(named)
        assert targets.loss(logits, rows, share).item() == pytest.approx(expected, rel=1e-4)
        assert targets.loss(logits, torch.tensor(rows), share).item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_pulls_every_known_logit_to_its_label_and_no_other(examples: list[Example]) -> None:
    targets = Targets.of(examples)
    logits = torch.zeros(len(examples), 1 + len(OBJECTIVES), requires_grad=True)
    targets.loss(logits, range(len(examples)), 1.0).backward()
    assert logits.grad is not None
    assert torch.equal(torch.sign(-logits.grad[:, 0]), 2 * targets.unsafe - 1)
    pull = (2 * targets.named - 1) * (targets.known > 0)
    assert torch.equal(torch.sign(-logits.grad[:, 1:]), pull)
    assert pull[0, HATE] == pull[0, CRIME] == 1
    assert pull[5, HATE] == -1
    assert pull[5, CRIME] == pull[4, HATE] == pull[3, HATE] == 0


def test_what_is_assumed_pulls_less_than_what_is_known(examples: list[Example]) -> None:
    logits = torch.zeros(len(examples), 1 + len(OBJECTIVES), requires_grad=True)
    Targets.of(examples).loss(logits, range(len(examples)), 1.0).backward()
    assert logits.grad is not None
    assert (logits.grad[1, 1 + CRIME] / -logits.grad[1, 1 + HATE]).item() == pytest.approx(ASSUMED)
    assert (logits.grad[5, 0] / logits.grad[4, 0]).item() == pytest.approx(ASSUMED)


def test_a_row_without_weight_teaches_nothing(examples: list[Example]) -> None:
    targets = Targets.of(examples, [0.0] * len(examples))
    logits = torch.randn(len(examples), 1 + len(OBJECTIVES), generator=torch.Generator().manual_seed(0))
    assert targets.loss(logits, range(len(examples)), 1.0).item() == 0
