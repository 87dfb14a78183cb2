"""Texts read side by side have the states that each has alone in transformers' own pass."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.engine import Engine
from classifiers.side_by_side import states_of

tokens = st.lists(st.integers(0, 94), min_size=1, max_size=20)
KEPT = (1, 3)


@pytest.fixture(scope="module")
def engine(model: Any) -> Engine:
    found = Engine.of(model)
    assert found is not None
    return found


@torch.inference_mode()
def of_model(model: Any, prompt: list[int], text: list[int]) -> torch.Tensor:
    states = model(input_ids=torch.tensor([prompt + text]), output_hidden_states=True).hidden_states
    return torch.stack([states[layer][0, len(prompt) :] for layer in KEPT])


@given(
    prompts=st.lists(tokens, min_size=1, max_size=3),
    asked=st.lists(st.lists(tokens, min_size=1, max_size=4), min_size=1, max_size=3),
    free=st.booleans(),
)
@settings(max_examples=40)
@torch.inference_mode()
def test_each_text_has_its_own_states_whoever_it_stands_beside(
    engine: Engine, model: Any, prompts: list[list[int]], asked: list[list[list[int]]], free: bool
) -> None:
    known = [(engine.remember(prompt), prompt) for prompt in prompts] + [(None, [])] * free
    parts = [(*known[i % len(known)], texts) for i, texts in enumerate(asked)]
    found = states_of(engine, [(prompt, texts) for prompt, _, texts in parts], KEPT)
    told = [(before, text) for _, before, texts in parts for text in texts]
    for (before, text), states in zip(told, found, strict=True):
        torch.testing.assert_close(states, of_model(model, before, text), atol=1e-4, rtol=1e-3)


@given(begin=tokens, ends=st.lists(tokens, min_size=1, max_size=5))
@torch.inference_mode()
def test_a_common_beginning_is_computed_once(engine: Engine, begin: list[int], ends: list[list[int]]) -> None:
    read: list[int] = []

    class Counting(Engine):
        def states(self, given: torch.Tensor, *others: Any) -> torch.Tensor:
            read.append(len(given))
            return super().states(given, *others)

    counting = Counting.__new__(Counting)
    counting.__dict__ = dict(engine.__dict__)
    texts = [begin + end for end in ends]
    found = states_of(counting, [(None, texts)], KEPT)
    assert read == [len({tuple(text[: i + 1]) for text in texts for i in range(len(text))})]
    for text, states in zip(texts, found, strict=True):
        [alone] = states_of(engine, [(None, [text])], KEPT)
        torch.testing.assert_close(states, alone, atol=1e-4, rtol=1e-3)
