"""The engine on models of two layers: it says what the model says, in eight bits nearly so, and each token by itself."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from service import engine
from service.engine import Engine, Int8Product, PlainProduct

tokens = st.lists(st.integers(0, 94), min_size=1, max_size=60)

CONFIG = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "tie_word_embeddings": True,
}
SAMPLE = list(range(3, 260, 2))


def made(kind=LlamaForCausalLM, config=LlamaConfig, **other):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind(config(**CONFIG | other)).eval()


@pytest.fixture(scope="module")
def lopsided():
    """A model in half precision, one of whose inputs is far larger than all others, as those of trained models are."""
    model = made()
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 7] *= 40
    return model.to(torch.bfloat16)


@torch.inference_mode()
def of_model(model, ids):
    return model(input_ids=torch.tensor([ids])).logits[0].float()


# What the model says


@given(ids=tokens, cut=st.integers(0, 60))
@settings(max_examples=30)
@torch.inference_mode()
def test_a_text_read_at_once_or_in_two_parts_has_the_models_own_logits(tiny_model, ids, cut):
    model, _ = tiny_model
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


def test_in_eight_bits_the_engine_needs_the_model_no_longer(lopsided):
    model = copy.deepcopy(lopsided)
    own = Engine.of(model, SAMPLE)
    before = own.read([1, 2, 3])[1].clone()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.equal(own.read([1, 2, 3])[1], before)


# Eight bits


@torch.inference_mode()
def test_in_eight_bits_the_probabilities_are_nearly_the_models(lopsided):
    eight = Engine.of(lopsided, SAMPLE)
    assert eight.precision == "int8"
    prompt, _ = eight.read(SAMPLE[:1])
    found = eight.follow(prompt, SAMPLE[1:]).softmax(-1)
    expected = of_model(lopsided, SAMPLE)[1:].softmax(-1)
    assert 0.5 * (found - expected).abs().sum(-1).mean() < 0.03


@torch.inference_mode()
def test_moving_size_from_inputs_to_weights_changes_nothing_but_what_eight_bits_hold(lopsided, monkeypatch):
    single = copy.deepcopy(lopsided).float()
    plain = Engine.of(single)
    monkeypatch.setattr(engine, "Int8Product", PlainProduct)
    moved = Engine(single, SAMPLE)
    torch.testing.assert_close(moved.read(SAMPLE)[1], plain.read(SAMPLE)[1], atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_without_moving_it_one_large_input_takes_the_bits_of_all_others(lopsided, monkeypatch):
    expected = of_model(lopsided, SAMPLE)[-1].softmax(-1)

    def error():
        return float((Engine.of(lopsided, SAMPLE).read(SAMPLE)[1][0].softmax(-1) - expected).abs().sum())

    with_it = error()
    assert with_it > 0
    monkeypatch.setattr(engine, "_moved", lambda largest, weight: torch.ones_like(largest))
    assert error() > 2 * with_it


@given(rows=st.integers(1, 40), at=st.integers(0, 39), seed=st.integers(0, 1000))
@settings(max_examples=40)
@torch.inference_mode()
def test_a_tokens_product_is_the_same_to_the_last_bit_whatever_stands_beside_it(rows, at, seed):
    random = torch.Generator().manual_seed(seed)
    product = Int8Product(torch.randn(48, 64, generator=random))
    x = torch.randn(rows, 64, generator=random) * 10 ** torch.randn(rows, 1, generator=random)
    one = at % rows
    assert torch.equal(product(x)[one], product(x[one : one + 1])[0])


@torch.inference_mode()
def test_an_eight_bit_product_is_within_a_hundredth_of_the_true_one_for_inputs_of_any_size():
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 64, generator=random)
    for size in (1e-9, 1.0, 1e9):
        x = torch.randn(8, 64, generator=random) * size
        true = x @ weight.T
        assert (Int8Product(weight)(x) - true).norm() < 0.015 * true.norm()
    assert not Int8Product(weight)(torch.zeros(1, 64)).any()


@torch.inference_mode()
def test_a_machine_without_eight_bit_products_gets_the_models_own_precision_and_says_so(lopsided, monkeypatch, caplog):
    def missing(weight):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(engine, "Int8Product", missing)
    own = Engine.of(lopsided, SAMPLE)
    assert own.precision == "bfloat16"
    assert "no eight-bit products here" in caplog.text
    close = (own.read(SAMPLE)[1][0].softmax(-1) - of_model(lopsided, SAMPLE)[-1].softmax(-1)).abs().sum()
    assert close < 0.05
