"""What people use today, on the same weights: transformers' `generate`, a C++ runtime, and the usual chain of a filter.

Each is set up as well as it can be without changing it: half precision where it has it, all candidates in one batch where it can.
"""

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rank_bm25 import BM25Okapi

from classifiers import models
from service.generator import LocalGenerator, Message, Sampling

CPP = "llama_cpp"
NO_CPP = "llama-cpp-python is not installed here; `pip install llama-cpp-python` builds it (a C++ compiler is needed)"
ROBERTA = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
MOST_READ = 512
"""Tokens of a text that the classifier reads."""


@dataclass(frozen=True)
class Sampled:
    """Candidates were sampled: so many tokens, those after an end mark not counted, in so many seconds; `steps`: seconds of each step
    in which a token of every candidate was read and the next one drawn.
    """

    tokens: int
    seconds: float
    steps: tuple[float, ...] = ()

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def ours(
    generator: LocalGenerator, messages: Sequence[Message], n: int, sampling: Sampling, to_end: bool = True
) -> Sampled:
    """Winnow's own sampling. `to_end`: a candidate ends at its end mark; else it goes on to the limit."""
    begun = time.perf_counter()
    if to_end:
        found = generator.sample(messages, n, sampling)
        return Sampled(sum(each.tokens for each in found), time.perf_counter() - begun)
    draw = generator.begin(messages, n, sampling)
    draw.finished = lambda tokens, stop: (None, "")
    lot = generator.lot()
    lot.join(draw.shares(n))
    ends = [time.perf_counter()]
    while lot.shares:
        lot.step()
        ends.append(time.perf_counter())
    # The last step only draws: nothing is read for a token that nobody wants.
    steps = [after - before for before, after in pairwise(ends)][:-1]
    return Sampled(sum(len(row.tokens) for row in draw.rows), ends[-1] - begun, tuple(steps))


class Transformers:
    """`generate` of transformers, the candidates in one batch."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    def sample(self, messages: Sequence[Message], n: int, sampling: Sampling, to_end: bool = True) -> Sampled:
        return self.drawn(messages, n, sampling, to_end)[0]

    @torch.inference_mode()
    def drawn(
        self, messages: Sequence[Message], n: int, sampling: Sampling, to_end: bool = True
    ) -> tuple[Sampled, list[list[int]]]:
        """What was sampled, and its tokens."""
        begun = time.perf_counter()
        prompt = torch.tensor([_prompt(self.tokenizer, messages)])
        torch.manual_seed(sampling.seed)
        whole = self.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            num_return_sequences=n,
            max_new_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            pad_token_id=self.tokenizer.eos_token_id,
            # The number of no token is an end mark that is never drawn.
            eos_token_id=self.tokenizer.eos_token_id if to_end else self.model.config.vocab_size,
        )
        said = whole[:, prompt.shape[1] :].tolist()
        rows = [until(row, self.tokenizer.eos_token_id) for row in said] if to_end else said
        return Sampled(sum(map(len, rows)), time.perf_counter() - begun), rows


def until(tokens: list[int], end: int) -> list[int]:
    """The tokens up to the first end mark, which is one of them."""
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


class Cpp:
    """llama.cpp by llama-cpp-python, the candidates in turn, none of which ends before the limit."""

    def __init__(self, weights: Path, tokenizer: Any, threads: int) -> None:
        """`weights`: a GGUF file."""
        llama_cpp = importlib.import_module(CPP)
        self._llama = llama_cpp.Llama(str(weights), n_ctx=2048, n_threads=threads, verbose=False)
        self._tokenizer = tokenizer

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec(CPP) is not None

    def sample(self, messages: Sequence[Message], n: int, sampling: Sampling) -> Sampled:
        begun = time.perf_counter()
        prompt, tokens = _prompt(self._tokenizer, messages), 0
        for _ in range(n):
            # What it remembers of the prompt it uses again by itself.
            drawn = self._llama.generate(
                prompt, top_k=sampling.top_k, top_p=sampling.top_p, temp=sampling.temperature, repeat_penalty=1.0
            )
            for _, _ in zip(range(sampling.max_tokens), drawn, strict=False):
                tokens += 1
        return Sampled(tokens, time.perf_counter() - begun)


def gguf_of(name: str) -> Path | None:
    """The GGUF file that a model comes from; None where it comes in another form."""
    path = Path(name).expanduser()
    return path if path.suffix == ".gguf" and path.is_file() else models._wheel_file(name)


class UsualChain:
    """Plain rank-bm25 over passages, `generate` of all candidates, and a classifier of RoBERTa-base's size over each of them.

    The classifier's weights are random, which costs the same. The passages found are not put into the prompt, which would cost more.
    """

    def __init__(self, generate: Transformers, passages: Sequence[str], shape: dict[str, Any] | None = None) -> None:
        from transformers import RobertaConfig, RobertaForSequenceClassification

        size = max(50265, len(generate.tokenizer))
        config = RobertaConfig(vocab_size=size, max_position_embeddings=MOST_READ + 2, **(shape or ROBERTA))
        self._classifier = RobertaForSequenceClassification(config).to(torch.bfloat16).eval()
        self._generate = generate
        self._index = BM25Okapi([_words(passage) for passage in passages])

    @property
    def classifier_weights(self) -> int:
        return sum(parameter.numel() for parameter in self._classifier.parameters())

    def reply(self, messages: Sequence[Message], n: int, sampling: Sampling) -> float:
        """Seconds until a candidate could be sent."""
        begun = time.perf_counter()
        np.argsort(self._index.get_scores(_words(messages[-1]["content"])))[::-1][:3]
        _, rows = self._generate.drawn(messages, n, sampling)
        self.classify(rows)
        return time.perf_counter() - begun

    @torch.inference_mode()
    def classify(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Of each text its two logits, all in one batch, which is faster than a pass after another."""
        longest = min(max(map(len, rows)), MOST_READ)
        padding = self._classifier.config.pad_token_id
        ids = torch.tensor([(list(row[:longest]) + [padding] * longest)[:longest] for row in rows])
        seen = torch.tensor([[place < len(row) for place in range(longest)] for row in rows])
        logits: torch.Tensor = self._classifier(input_ids=ids, attention_mask=seen.long()).logits
        return logits


def _words(text: str) -> list[str]:
    return text.lower().split()


def _prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
