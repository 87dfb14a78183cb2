"""The true model's engine: nearly the probabilities of transformers' own pass, and samples that come as often as they say."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from classifiers import DEFAULT_MODEL, engines, models
from classifiers.engine import Engine
from service.generator import LocalGenerator, Sampling

pytestmark = pytest.mark.slow

TALK = [{"role": "user", "content": "Tell me about the sea, and why it looks blue on some days and grey on others."}]
REPLY = (
    "The sea takes much of its colour from the sky. On a clear day it reflects blue light, while under clouds it looks grey. "
    "Water also absorbs red light more than blue, so deep water is dark blue. Near the coast, sand and algae make it green."
)
DRAWS = 3000


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    tokenizer = models.load_tokenizer(DEFAULT_MODEL)
    return tokenizer(tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True) + REPLY)[
        "input_ids"
    ]


@pytest.fixture(scope="module")
@torch.inference_mode()
def theirs(tokens):
    """What transformers says of each next token, in half precision."""
    return models.load(DEFAULT_MODEL)[0](input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)


@torch.inference_mode()
def apart(engine: Engine, tokens, theirs) -> tuple[float, float]:
    """Kullback-Leibler divergence in nats and total variation of the next token, means over all tokens."""
    ours = engine.follow(None, tokens).log_softmax(-1)
    p, q = theirs.exp(), ours.exp()
    return float((p * (theirs - ours)).sum(-1).mean()), float(0.5 * (p - q).abs().sum(-1).mean())


def test_in_the_models_own_precision_the_probabilities_are_transformers_own(tokens, theirs):
    divergence, variation = apart(Engine.of(models.load(DEFAULT_MODEL)[0]), tokens, theirs)
    assert divergence < 0.005
    assert variation < 0.03


def test_in_eight_bits_they_are_near(tokens, theirs):
    engine = engines.load(DEFAULT_MODEL)
    divergence, variation = apart(engine, tokens, theirs)
    if engine.precision == engines.INT8:
        assert divergence > 0
    assert divergence < 0.04
    assert variation < 0.1


def expected(generator: LocalGenerator, said: list[int], sampling: Sampling) -> dict[int, float]:
    """Odds of the next token after what was said: tempered, cut to the likeliest, in double precision."""
    with torch.inference_mode():
        logits = generator._engine.read(generator._prompt(TALK) + said)[1][0].double().numpy()
    order = np.argsort(-logits)[: sampling.top_k]
    odds = np.exp((logits[order] - logits[order[0]]) / sampling.temperature)
    odds /= odds.sum()
    nucleus = int(np.searchsorted(np.cumsum(odds), sampling.top_p)) + 1
    return dict(zip(order[:nucleus].tolist(), (odds[:nucleus] / odds[:nucleus].sum()).tolist(), strict=True))


def fits(drawn: list[int], odds: dict[int, float]) -> float:
    """p of a chi-square test; tokens that are expected fewer than five times count as one."""
    assert set(drawn) <= set(odds)
    seen = Counter(drawn)
    rare = [token for token, share in odds.items() if share * len(drawn) < 5]
    classes = [[token] for token in odds if token not in rare] + ([rare] if rare else [])
    observed = [sum(seen[token] for token in group) for group in classes]
    predicted = [sum(odds[token] for token in group) * len(drawn) for group in classes]
    return float(chisquare(observed, predicted).pvalue)


def test_tokens_are_drawn_as_often_as_their_probabilities_say():
    generator = LocalGenerator.load()
    rows: list[list[int]] = []
    for seed in range(DRAWS // 500):
        sampling = Sampling(max_tokens=2, temperature=1.0, seed=seed)
        draw = generator.begin(TALK, 500, sampling)
        lot = generator.lot()
        lot.join(draw.shares(500))
        while lot.shares:
            lot.step()
        rows += [row.tokens for row in draw.rows]
    assert fits([row[0] for row in rows], expected(generator, [], sampling)) > 0.001
    first, count = Counter(row[0] for row in rows).most_common(1)[0]
    assert count > 200
    seconds = [row[1] for row in rows if row[0] == first and len(row) > 1]
    # Read one by one and side by side the last digits differ, so that a token at the very edge of the cut may be in or out.
    odds = expected(generator, [first], sampling)
    inside = [token for token in seconds if token in odds]
    assert len(inside) > 0.99 * len(seconds)
    assert fits(inside, odds) > 0.001
