"""The engine on models of two layers: it says what the model says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from classifiers.engine import Engine
from tests.classifiers.two_layers import SAMPLE, made, of_model

tokens = st.lists(st.integers(0, 94), min_size=1, max_size=60)


@given(ids=tokens, cut=st.integers(0, 60))
@settings(max_examples=30)
@torch.inference_mode()
def test_a_text_read_at_once_or_in_two_parts_has_the_models_own_logits(model, ids, cut):
    own = Engine.of(model)
    expected = of_model(model, ids)
    _, last = own.read(ids)
    torch.testing.assert_close(last[0], expected[-1], atol=1e-4, rtol=1e-4)
    first, rest = ids[: cut % len(ids)], ids[cut % len(ids) :]
    if first:
        prompt, _ = own.read(first)
        assert prompt.length == len(first)
        torch.testing.assert_close(own.follow(prompt, rest), expected[len(first) :], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"num_key_value_heads": 4},
        {"head_dim": 32},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
        {"tie_word_embeddings": False},
    ],
    ids=str,
)
@torch.inference_mode()
def test_every_shape_that_is_known_is_computed_as_the_model_does(other):
    model = made(**other)
    own = Engine.of(model)
    assert own.precision == "float32"
    torch.testing.assert_close(own.read(SAMPLE)[1][0], of_model(model, SAMPLE)[-1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        lambda: made(attention_bias=True),
        lambda: made(mlp_bias=True),
        lambda: made(hidden_act="gelu"),
        lambda: made(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
        lambda: made(MistralForCausalLM, MistralConfig),
        lambda: object(),
    ],
    ids=["biased attention", "biased MLP", "GELU", "rotation that changes with length", "Mistral", "no model"],
)
def test_a_model_of_another_shape_has_no_engine(model):
    assert Engine.of(model()) is None
