"""Rows in company: what each draws is what it draws alone, whoever comes, pauses and goes beside it."""

import copy
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from service.generator import LocalGenerator, Sampling

asked = st.tuples(
    st.text("abc XY?", min_size=1, max_size=40),
    st.integers(1, 5),
    st.builds(
        Sampling,
        max_tokens=st.integers(1, 14),
        temperature=st.sampled_from([0.0, 0.7, 1.5]),
        top_k=st.sampled_from([1, 5, 40]),
        top_p=st.sampled_from([0.5, 0.95, 1.0]),
        stop=st.sampled_from([(), ("e",), ("qu", "a")]),
        seed=st.integers(0, 2**53),
    ),
)


@pytest.fixture(scope="module")
def generator(tiny_model):
    """The tiny model, where some letters end a reply, so that rows leave at different times."""
    model, tokenizer = tiny_model
    model = copy.copy(model)
    model.generation_config = copy.deepcopy(model.generation_config)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list("zjv<"))
    return LocalGenerator("tiny", model, tokenizer)


def messages(text):
    return [{"role": "user", "content": text}]


def told(candidates):
    """What may not depend on company; likelihoods up to their last digits."""
    return [(c.text, c.tokens, c.finish_reason, pytest.approx(c.log_likelihood, abs=1e-3)) for c in candidates]


def facts(candidates):
    return [(c.text, c.tokens, c.finish_reason, c.log_likelihood) for c in candidates]


@settings(max_examples=40)
@given(requests=st.lists(asked, min_size=1, max_size=5), size=st.integers(1, 5), happening=st.integers(0, 1000))
def test_a_request_draws_the_same_alone_and_among_others_that_come_pause_and_go(generator, requests, size, happening):
    chance = random.Random(happening)
    draws = [generator.begin(messages(text), n, sampling) for text, n, sampling in requests]
    outside = [share for draw in draws for share in draw.shares(size)]
    lot = generator.lot()
    while outside or lot.shares:
        coming = chance.sample(outside, chance.randint(0, len(outside)))
        lot.join(coming)
        outside = [share for share in outside if share not in coming]
        if lot.shares and chance.random() < 0.5:
            paused = chance.choice(lot.shares)
            lot.leave(paused, keep=True)
            outside.append(paused)
        for _ in range(chance.randint(0, 4)):
            if lot.shares:
                lot.step()
    for draw, (text, n, sampling) in zip(draws, requests, strict=True):
        assert facts(generator.candidates(draw)) == told(generator.sample(messages(text), n, sampling))


class Counting:
    """A model that notes the size of every pass, and whether it was padded."""

    def __init__(self, model):
        self._model = model
        self.config, self.generation_config = model.config, model.generation_config
        self.passes = []

    def __call__(self, input_ids, attention_mask=None, **rest):
        self.passes.append((tuple(input_ids.shape), attention_mask is not None))
        return self._model(input_ids=input_ids, attention_mask=attention_mask, **rest)


def test_requests_share_a_pass_and_who_has_ended_takes_no_more_part(tiny_model):
    counting = Counting(tiny_model[0])
    generator = LocalGenerator("tiny", counting, tiny_model[1])
    long, short = (generator.begin(messages("Hi"), n, Sampling(max_tokens=m)) for n, m in ((2, 4), (3, 2)))
    lot = generator.lot()
    lot.join([*long.shares(8), *short.shares(8)])
    while lot.shares:
        lot.step()
    assert [shape for shape, _ in counting.passes[2:]] == [(5, 1), (2, 1), (2, 1)]


def test_rows_of_one_length_are_not_padded_nor_are_those_that_stay_when_a_longer_one_has_gone(tiny_model):
    counting = Counting(tiny_model[0])
    generator = LocalGenerator("tiny", counting, tiny_model[1])
    first = generator.begin(messages("Hi"), 2, Sampling(max_tokens=6))
    longer = generator.begin(messages("How are you?"), 1, Sampling(max_tokens=3))
    lot = generator.lot()
    lot.join(first.shares(8))
    lot.step()
    lot.join(longer.shares(8))
    while lot.shares:
        lot.step()
    assert counting.passes[2:] == [((2, 1), False), ((3, 1), True), ((3, 1), True), ((2, 1), False), ((2, 1), False)]


def test_a_model_that_forgets_what_lies_far_back_draws_in_a_lot_of_its_own(tiny_model):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MistralConfig(
            **{
                key: getattr(tiny_model[0].config, key)
                for key in (
                    "vocab_size",
                    "hidden_size",
                    "intermediate_size",
                    "num_hidden_layers",
                    "num_attention_heads",
                    "num_key_value_heads",
                    "max_position_embeddings",
                    "initializer_range",
                )
            },
            sliding_window=8,
        )
        model = MistralForCausalLM(config).eval()
    generator = LocalGenerator("sliding", model, tiny_model[1])
    draw = generator.begin(messages("How are you?"), 4, Sampling(max_tokens=20))
    assert not draw.joinable
    (share,) = draw.shares(2)
    lot = generator.lot()
    lot.join([share])
    while lot.shares:
        lot.step()
    assert len({c.text for c in generator.candidates(draw)}) > 1
    greedy = generator.sample(messages("How are you?"), 2, Sampling(max_tokens=20, temperature=0))
    prompt = generator._prompt(messages("How are you?"))
    expected = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, pad_token_id=0)
    assert greedy[0].text == generator.text(expected[0, len(prompt) :].tolist()).strip()
