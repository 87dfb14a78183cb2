"""The local generator on a model of two layers: what it draws, how likely that was, and that no prompt can be forged."""

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from classifiers import ModelNotFound
from service.generator import LocalGenerator, PromptTooLong, Sampling

TALK = [{"role": "user", "content": "Hi"}]


class Spy:
    """A model that remembers what it was given."""

    def __init__(self, model):
        self._model = model
        self.config, self.generation_config = model.config, model.generation_config
        self.read: list[torch.Tensor] = []

    def __call__(self, input_ids, **rest):
        self.read.append(input_ids)
        return self._model(input_ids=input_ids, **rest)

    @property
    def prompt(self) -> list[int]:
        return self.read[0][0].tolist()


@pytest.fixture(scope="module")
def generator(tiny_model):
    return LocalGenerator("tiny", *tiny_model)


@pytest.fixture
def spied(tiny_model):
    spy = Spy(tiny_model[0])
    return LocalGenerator("tiny", spy, tiny_model[1]), spy


@pytest.fixture(scope="module")
def endings(tiny_model):
    """The same model, where every lower-case letter ends a reply."""
    model, tokenizer = tiny_model
    model = copy.copy(model)
    model.generation_config = copy.deepcopy(model.generation_config)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list("abcdefghijklmnopqrstuvwxyz"))
    return LocalGenerator("tiny", model, tokenizer)


def texts(generator, n=4, messages=TALK, **sampling):
    return [c.text for c in generator.sample(messages, n, Sampling(**{"max_tokens": 12, **sampling}))]


# How many, how long, how often the same


@pytest.mark.parametrize("n", [1, 2, 64])
def test_as_many_candidates_as_asked_for(generator, n):
    assert len(generator.sample(TALK, n, Sampling(max_tokens=3))) == n


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_candidate_is_refused(generator, n):
    with pytest.raises(ValueError, match=f"n is {n}"):
        generator.sample(TALK, n, Sampling())


def test_the_same_seed_draws_the_same_candidates(generator):
    first = generator.sample(TALK, 4, Sampling(max_tokens=12, seed=7))
    torch.manual_seed(99)  # the process's own randomness is not used
    assert generator.sample(TALK, 4, Sampling(max_tokens=12, seed=7)) == first


def test_drawing_leaves_the_process_own_randomness_alone(generator):
    before = torch.get_rng_state()
    texts(generator)
    assert torch.equal(before, torch.get_rng_state())


def test_another_seed_draws_others(generator):
    assert not set(texts(generator, seed=1)) & set(texts(generator, seed=2))


def test_the_candidates_of_one_batch_differ(generator):
    assert len(set(texts(generator, n=8))) == 8


def test_another_conversation_gets_other_candidates(generator):
    assert texts(generator, messages=[{"role": "user", "content": "Bye"}]) != texts(generator)


@pytest.mark.parametrize("seed", [0, 2**31, 2**55 + 1])
def test_every_seed_that_the_corridor_derives_is_usable(generator, seed):
    assert texts(generator, seed=seed)


@pytest.mark.parametrize("most", [1, 2, 9])
def test_a_candidate_that_reaches_the_limit_is_cut_there(generator, most):
    found = generator.sample(TALK, 16, Sampling(max_tokens=most))
    assert {c.tokens for c in found if c.finish_reason == "length"} == {most}
    assert all(c.tokens <= most for c in found)


def test_an_end_mark_ends_a_candidate_and_is_not_part_of_its_text(endings):
    found = endings.sample(TALK, 16, Sampling(max_tokens=40, seed=1))
    assert {c.finish_reason for c in found} == {"stop"}
    assert len({c.tokens for c in found}) > 3
    for candidate in found:
        assert not any(letter.islower() for letter in candidate.text)
        assert len(candidate.text) <= candidate.tokens - 1


def test_a_candidate_that_ends_early_does_not_change_its_neighbours(endings, generator):
    ended = endings.sample(TALK, 8, Sampling(max_tokens=30, seed=3, temperature=1.0))
    whole = generator.sample(TALK, 8, Sampling(max_tokens=30, seed=3, temperature=1.0))
    assert all(one.text == other.text[: len(one.text)] for one, other in zip(ended, whole, strict=True) if one.text)


def test_nothing_is_run_once_every_candidate_has_ended(tiny_model):
    model, tokenizer = tiny_model
    spy = Spy(model)
    spy.generation_config = copy.deepcopy(model.generation_config)
    spy.generation_config.eos_token_id = list(range(len(tokenizer)))
    found = LocalGenerator("tiny", spy, tokenizer).sample(TALK, 3, Sampling(max_tokens=20))
    assert [(c.text, c.tokens, c.finish_reason) for c in found] == [("", 1, "stop")] * 3
    assert len(spy.read) == 1


def test_the_prompt_is_read_once_for_all_candidates(spied):
    generator, spy = spied
    generator.sample(TALK, 5, Sampling(max_tokens=4))
    assert [tuple(ids.shape) for ids in spy.read] == [(1, generator.count_tokens(TALK)), (5, 1), (5, 1), (5, 1)]


# Stop strings


def whole(generator) -> tuple[int, list]:
    """Candidates without stop strings, and the number of one whose every character is a token: nothing to strip or skip."""
    found = generator.sample(TALK, 16, Sampling(max_tokens=20, seed=5))
    distinct = (i for i, c in enumerate(found) if len(c.text) == c.tokens == 20 and len(set(c.text[:12])) == 12)
    return next(distinct), found


def test_a_stop_string_cuts_the_text_before_it(generator):
    i, plain = whole(generator)
    stop = plain[i].text[7:10]  # three tokens: a stop string need not be one
    cut = generator.sample(TALK, 16, Sampling(max_tokens=20, seed=5, stop=(stop,)))
    assert (cut[i].text, cut[i].finish_reason, cut[i].tokens) == (plain[i].text[:7].strip(), "stop", 10)
    assert [c for c in cut if c.tokens == 20] == [c for c in plain if c.tokens == 20 and stop not in c.text]


@pytest.mark.parametrize("later", [(9, 12), (6, 8)])
def test_the_earliest_of_several_stop_strings_cuts(generator, later):
    i, plain = whole(generator)
    text = plain[i].text
    stops = (text[slice(*later)], text[4:8], "not there")
    cut = generator.sample(TALK, 16, Sampling(max_tokens=20, seed=5, stop=stops))
    assert cut[i].text == text[:4].strip()


def test_a_stop_string_that_does_not_come_changes_nothing(generator):
    assert texts(generator, stop=("not there",)) == texts(generator)


# Which tokens, and how likely


@pytest.mark.parametrize("temperature", [0, 1e-12, 5e-324])
def test_temperature_0_is_the_models_own_greedy_reply(generator, tiny_model, temperature):
    model, tokenizer = tiny_model
    ids = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**ids, max_new_tokens=20, do_sample=False)[0, ids["input_ids"].shape[1] :]
    greedy = tokenizer.decode(written, skip_special_tokens=True).strip()
    assert texts(generator, n=3, max_tokens=20, temperature=temperature) == [greedy] * 3


def followed(candidates, tiny_model):
    """(logits, token) at every step of the candidates, read in one go; of those whose text says which tokens were drawn."""
    model, tokenizer = tiny_model
    prompt = tokenizer.apply_chat_template(TALK, add_generation_prompt=True)["input_ids"]
    for candidate in candidates:
        drawn = tokenizer(candidate.text, add_special_tokens=False)["input_ids"]
        if len(drawn) == candidate.tokens:  # no space at its ends, no special token within
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([prompt + drawn])).logits[0, len(prompt) - 1 : -1]
            yield candidate, logits, torch.tensor(drawn)


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"), [(0.7, 0.95, 40), (2.0, 0.5, 5), (0, 1.0, 40), (1.0, 1.0, 98)]
)
def test_the_log_likelihood_is_the_models_own_untempered_and_uncut(generator, tiny_model, temperature, top_p, top_k):
    sampling = Sampling(max_tokens=12, temperature=temperature, top_p=top_p, top_k=top_k, seed=2)
    checked = 0
    for candidate, logits, drawn in followed(generator.sample(TALK, 8, sampling), tiny_model):
        expected = logits.log_softmax(-1).gather(1, drawn[:, None]).sum().item()
        assert candidate.log_likelihood == pytest.approx(expected, abs=1e-3)
        assert candidate.mean_log_likelihood == pytest.approx(expected / 12, abs=1e-3)
        checked += 1
    assert checked >= 4


def test_the_end_mark_counts_as_a_token_with_a_likelihood(tiny_model):
    model, tokenizer = tiny_model
    ending = copy.copy(model)
    ending.generation_config = copy.deepcopy(model.generation_config)
    ending.generation_config.eos_token_id = list(range(len(tokenizer)))
    found = LocalGenerator("tiny", ending, tokenizer).sample(TALK, 1, Sampling(temperature=0))[0]
    prompt = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = model(input_ids=prompt).logits[0, -1].log_softmax(-1).max().item()
    assert found.tokens == 1
    assert found.log_likelihood == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("top_k", [1, 5, 40])
def test_every_drawn_token_is_among_the_likeliest(generator, tiny_model, top_k):
    sampling = Sampling(max_tokens=12, temperature=2.0, top_p=1.0, top_k=top_k, seed=4)
    ranks = [
        (logits > logits.gather(1, drawn[:, None])).sum(-1)
        for _, logits, drawn in followed(generator.sample(TALK, 24, sampling), tiny_model)
    ]
    assert len(ranks) >= 8
    highest = int(torch.cat(ranks).max())
    assert highest < top_k
    assert highest >= top_k // 2  # and not only the very likeliest


# How likely given replies are


def by_hand(tiny_model, text, messages=TALK):
    """The mean log-likelihood of a reply and its end mark, read in one go without a cache."""
    model, tokenizer = tiny_model
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    reply = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(reply)[:, None]).mean().item()


REPLIES = ["Hello", "", "a much longer reply than that", "x", "Hello", "1", "2", "3", "four", "and the tenth"]


def test_replies_are_as_likely_together_as_each_alone(generator, tiny_model):
    found = generator.log_likelihoods(TALK, REPLIES)
    assert found == pytest.approx([by_hand(tiny_model, text) for text in REPLIES], abs=1e-4)
    assert all(value <= 0 for value in found)
    assert found[0] == pytest.approx(found[4])
    assert found[2:4] == pytest.approx([generator.log_likelihoods(TALK, [text])[0] for text in REPLIES[2:4]], abs=1e-4)


def test_a_reply_is_as_likely_as_it_was_when_it_was_drawn(generator):
    for candidate in generator.sample(TALK, 16, Sampling(max_tokens=60, temperature=2.0, top_p=1.0, top_k=98, seed=9)):
        if candidate.finish_reason == "stop" and len(candidate.text) == candidate.tokens - 1:
            (found,) = generator.log_likelihoods(TALK, [candidate.text])
            assert found == pytest.approx(candidate.mean_log_likelihood, abs=1e-3)
            break
    else:
        pytest.fail("no candidate ended by itself")


def test_the_likelihood_depends_on_the_conversation(generator, tiny_model):
    other = [*TALK, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Bye"}]
    (found,) = generator.log_likelihoods(other, ["Hello"])
    assert found == pytest.approx(by_hand(tiny_model, "Hello", other), abs=1e-4)
    assert found != pytest.approx(by_hand(tiny_model, "Hello"), abs=1e-3)


def test_the_prompt_is_read_once_for_all_likelihoods(spied):
    generator, spy = spied
    generator.log_likelihoods(TALK, REPLIES)
    rows = [len(ids) for ids in spy.read]
    assert rows == [1, 8, 2]
    assert spy.read[0].shape[1] == generator.count_tokens(TALK)


def test_no_replies_have_no_likelihoods(generator):
    assert generator.log_likelihoods(TALK, []) == []


def test_an_end_mark_that_somebody_typed_into_a_reply_does_not_end_it(generator):
    typed, end = generator.log_likelihoods(TALK, ["a<|im_end|>", "a"])
    assert typed != pytest.approx(end)
    assert typed == pytest.approx(generator.log_likelihoods(TALK, ["a< |im_end|>"])[0])


def test_a_conversation_that_is_too_long_has_no_likelihoods(generator, tiny_model):
    room = tiny_model[0].config.max_position_embeddings
    with pytest.raises(PromptTooLong):
        generator.log_likelihoods(prompt_of(generator, room), ["Hello"])


def test_a_reply_without_room_counts_as_far_as_it_fits(generator, tiny_model):
    room = tiny_model[0].config.max_position_embeddings
    long = prompt_of(generator, room - 3)
    first, second = generator.log_likelihoods(long, ["abcd", "abcz"])
    assert first == pytest.approx(second)
    assert np.isfinite(first)


def first_token_odds(tiny_model, sampling):
    """The distribution of the first token, written anew in double precision: tempered, then top-k, then top-p."""
    model, tokenizer = tiny_model
    prompt = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=prompt).logits[0, -1].double().numpy()
    order = np.argsort(-logits)[: sampling.top_k]
    odds = np.exp((logits[order] - logits[order[0]]) / sampling.temperature)
    odds /= odds.sum()
    nucleus = int(np.searchsorted(np.cumsum(odds), sampling.top_p)) + 1
    odds = odds[:nucleus] / odds[:nucleus].sum()
    return dict(zip(tokenizer.convert_ids_to_tokens(order[:nucleus].tolist()), odds.tolist(), strict=True))


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"), [(0.7, 0.95, 40), (1.0, 1.0, 40), (2.0, 0.5, 40), (1.0, 0.8, 10)]
)
def test_first_tokens_come_as_often_as_the_tempered_and_cut_distribution_says(
    generator, tiny_model, temperature, top_p, top_k
):
    n = 4000
    sampling = Sampling(max_tokens=1, temperature=temperature, top_p=top_p, top_k=top_k, seed=11)
    found = [c.text for c in generator.sample(TALK, n, sampling)]
    # A space, a newline or a special token leaves an empty text: one class.
    expected: dict[str, float] = {}
    for token, odds in first_token_odds(tiny_model, sampling).items():
        text = token if len(token) == 1 and token.isascii() else ""
        expected[text] = expected.get(text, 0.0) + odds * n
    assert set(found) <= set(expected)
    rare = [text for text, count in expected.items() if count < 5]
    classes = [[text] for text in expected if text not in rare] + ([rare] if rare else [])
    observed = [sum(found.count(text) for text in group) for group in classes]
    predicted = [sum(expected[text] for text in group) for group in classes]
    assert chisquare(observed, predicted).pvalue > 0.001


# The prompt


def test_the_prompt_is_the_chat_template_with_an_open_assistant_turn(spied, tiny_model):
    generator, spy = spied
    talk = [{"role": "system", "content": "Be brief."}, *TALK, {"role": "assistant", "content": "Hello."}, *TALK]
    generator.sample(talk, 1, Sampling(max_tokens=1))
    assert tiny_model[1].decode(spy.prompt) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert generator.count_tokens(talk) == len(spy.prompt)


TYPED = st.lists(
    st.sampled_from(["<|im_end|>", "<|im_start|>", "<|eot|>", "<", "<|im", "_end|>", "|>", "\n", "user", "a"])
)


@given(st.lists(TYPED.map("".join), min_size=1, max_size=3))
@settings(max_examples=60)
def test_typed_special_tokens_neither_end_a_turn_nor_begin_one(tiny_model, contents):
    model, tokenizer = tiny_model
    tokenizer = copy.deepcopy(tokenizer)
    # As Llama 3 does: special, and yet in none of the named roles.
    tokenizer.add_tokens(["<|eot|>"], special_tokens=True)
    spy = Spy(model)
    messages = [{"role": "user", "content": content} for content in contents]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spy, "_model", lambda **_: (_ for _ in ()).throw(StopAsyncIteration))
        with pytest.raises(StopAsyncIteration):
            LocalGenerator("tiny", spy, tokenizer).sample(messages, 1, Sampling(max_tokens=1))
    start, end, eot = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "<|eot|>"])
    assert spy.prompt.count(start) == len(messages) + 1
    assert spy.prompt.count(end) == len(messages)
    assert spy.prompt.count(eot) == 0


def test_what_was_typed_is_still_read(spied, tiny_model):
    generator, spy = spied
    generator.sample([{"role": "user", "content": "What is <|im_end|>?"}], 1, Sampling(max_tokens=1))
    assert "What is < |im_end|>?" in tiny_model[1].decode(spy.prompt)


def prompt_of(generator, tokens):
    """A conversation of exactly so many tokens."""
    return [{"role": "user", "content": "x" * (tokens - generator.count_tokens([{"role": "user", "content": ""}]))}]


def test_a_prompt_as_long_as_the_setting_allows_is_read_and_one_token_more_is_too_long(tiny_model):
    generator = LocalGenerator("tiny", *tiny_model, max_input_tokens=100)
    assert generator.sample(prompt_of(generator, 100), 1, Sampling(max_tokens=2))
    with pytest.raises(PromptTooLong, match="101 tokens; the limit is 100") as caught:
        generator.sample(prompt_of(generator, 101), 1, Sampling(max_tokens=2))
    assert (caught.value.tokens, caught.value.limit) == (101, 100)


def test_a_prompt_that_leaves_the_model_no_room_to_answer_is_too_long(generator, tiny_model):
    room = tiny_model[0].config.max_position_embeddings
    assert generator.sample(prompt_of(generator, room - 1), 1, Sampling(max_tokens=2))
    with pytest.raises(PromptTooLong, match=f"{room} tokens; the limit is {room - 1}"):
        generator.sample(prompt_of(generator, room), 1, Sampling(max_tokens=2))


def test_a_reply_ends_where_the_model_has_no_more_positions(generator, tiny_model):
    room = tiny_model[0].config.max_position_embeddings
    found = generator.sample(prompt_of(generator, room - 3), 2, Sampling(max_tokens=50))
    assert [(c.tokens, c.finish_reason) for c in found] == [(3, "length")] * 2


# Loading


def test_a_model_without_a_chat_template_is_refused_by_name(tiny_model):
    model, tokenizer = tiny_model
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match=r"'bare'.*chat template"):
        LocalGenerator("bare", model, tokenizer)


def test_a_saved_model_is_loaded_by_its_path(tiny_model, tmp_path):
    for part in tiny_model:
        part.save_pretrained(tmp_path)
    generator = LocalGenerator.load(str(tmp_path), max_input_tokens=50)
    assert generator.name == str(tmp_path)
    assert len(texts(generator)) == 4
    with pytest.raises(PromptTooLong, match="limit is 50"):
        texts(generator, messages=[{"role": "user", "content": "x" * 60}])


def test_a_folder_that_is_no_model_is_named(tmp_path):
    (tmp_path / "notes.json").write_text(json.dumps({}))
    with pytest.raises(ModelNotFound, match=str(tmp_path)):
        LocalGenerator.load(str(tmp_path))
