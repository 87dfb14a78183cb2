"""Candidates from a local transformers model: one batch, the prompt read once.

Knows tokens and sampling. Does not know safety, ranking or retrieval.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from classifiers import engines, models
from classifiers.engine import Engine, Prompt
from service.continuing import SharedPromptLot
from service.decoding import CacheLot, Draw, Lot

READ_TOGETHER = 8
"""Replies whose likelihoods are read in one batch: their logits over the whole vocabulary are held at once."""

Message = dict[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}."""


@dataclass(frozen=True)
class Candidate:
    """A sampled reply, before judgement.

    `log_likelihood` is the natural logarithm of the model's own probability of the sampled tokens (temperature 1, nothing cut
    off), None where a server does not tell; `tokens` their number, the end mark included. `finish_reason`: "stop" (end mark or stop
    string), "length", or "content_filter" (of an upstream server).
    """

    text: str
    tokens: int
    log_likelihood: float | None
    finish_reason: str

    @property
    def mean_log_likelihood(self) -> float:
        """Length-normalised log-likelihood: natural logarithm a token, at most 0. 0 where none is known: of candidates of which none is
        known, all are alike.
        """
        return (self.log_likelihood or 0.0) / max(self.tokens, 1)


@dataclass(frozen=True)
class Sampling:
    """How candidates are drawn. Top-k 40 as in LaMDA (arXiv 2201.08239); temperature 0 is greedy."""

    max_tokens: int = 96
    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    stop: tuple[str, ...] = ()
    seed: int = 0


class PromptTooLong(ValueError):
    """The conversation has more tokens than the model or the settings allow."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"the conversation has {tokens} tokens; the limit is {limit}")
        self.tokens, self.limit = tokens, limit


class GeneratorFailed(RuntimeError):
    """No candidate can be had now. The message is for clients and logs: it quotes no text. `status` and `code`: of the answer over
    HTTP; `retry_after`: seconds after which it may be tried again, None where waiting does not help.
    """

    def __init__(self, message: str, status: int, code: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


class Generator(Protocol):
    """Whatever can draw candidates: a local model, an upstream server, a script in a test."""

    name: str

    def sample(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]:
        """`n` candidates for the next assistant turn, or fewer, one at least, where not all came. Raises `PromptTooLong`,
        `GeneratorFailed`.
        """
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt made from the messages."""
        ...

    def log_likelihoods(self, messages: Sequence[Message], texts: Sequence[str]) -> list[float]:
        """Of each text as the next assistant turn: its mean log-likelihood a token. Raises `PromptTooLong`."""
        ...


Wanted = tuple[Sequence[Message], int, Sampling]
"""(messages, n, sampling), as `Generator.sample` takes them."""
Drawn = list[Candidate] | PromptTooLong | GeneratorFailed
"""The candidates of one call, or why there are none."""


def sample_each(generator: Generator, wanted: Sequence[Wanted]) -> list[Drawn]:
    """What `generator.sample` gives for each, at the same time where the generator can (`sample_each`). One that cannot is not asked
    again when it has failed.
    """
    together: Callable[[Sequence[Wanted]], list[Drawn]] | None = getattr(generator, "sample_each", None)
    if together is not None:
        return together(wanted)
    found: list[Drawn] = []
    for each in wanted:
        try:
            found.append(generator.sample(*each))
        except PromptTooLong as error:
            found.append(error)
        except GeneratorFailed as error:
            return found + [error] * (len(wanted) - len(found))
    return found


class LocalGenerator:
    """A transformers causal language model with a chat template."""

    def __init__(
        self, name: str, model: Any, tokenizer: Any, max_input_tokens: int = 2048, precision: str = "int8"
    ) -> None:
        """`model`: of transformers, or its engine. `precision`: "int8", or "native" for the model's own. Eight bits are for models in
        half precision whose shape has an engine.
        """
        if not tokenizer.chat_template:
            raise ValueError(f"model {name!r} has no chat template; Winnow needs a chat model")
        self.name = name
        self._tokenizer = tokenizer
        self._max_input_tokens = max_input_tokens
        marked = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
        self._special = sorted({*tokenizer.all_special_tokens, *marked}, key=len, reverse=True)
        if isinstance(model, Engine):
            self._engine: Engine | None = model
        else:
            self._engine = engines.of(model, tokenizer) if precision == engines.INT8 else Engine.of(model)
        self._model: Any = None if self._engine else model  # the engine has what it needs
        if self._engine:
            ends, self._positions = self._engine.shape.ends, self._engine.shape.positions
        else:
            found = model.generation_config.eos_token_id
            ends = tuple(found if isinstance(found, list) else [found])
            self._positions = getattr(model.config, "max_position_embeddings", 1 << 30)
        self._ends = torch.tensor(sorted({*ends, tokenizer.eos_token_id} - {None}))

    @property
    def precision(self) -> str:
        """Of the products as they are computed: "int8", or the model's own, as "bfloat16"."""
        return self._engine.precision if self._engine else str(self._model.dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Where it computes: "cpu", "cuda"."""
        return (self._engine.device if self._engine else self._model.device).type

    @classmethod
    def load(
        cls, name: str = models.DEFAULT_MODEL, max_input_tokens: int = 2048, precision: str = "int8"
    ) -> "LocalGenerator":
        """The generator of a model by name or path. Raises `models.ModelNotFound`; ValueError without a chat template."""
        engine = engines.load(name) if precision == engines.INT8 else None
        return cls(name, engine or models.load(name)[0], models.load_tokenizer(name), max_input_tokens, precision)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(self._prompt(messages))

    def sample(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]:
        """`n` candidates in one batch. The same messages, settings and seed give the same candidates on the same machine.

        Raises `PromptTooLong`, ValueError for n < 1.
        """
        (found,) = self.sample_each([(messages, n, sampling)])
        if isinstance(found, Exception):
            raise found
        return found

    def sample_each(self, wanted: Sequence[Wanted]) -> list[Drawn]:
        """As `sample`, for several at the same time; each draws what it would alone. Raises ValueError for n < 1."""
        draws: list[Draw | PromptTooLong] = []
        for each in wanted:
            try:
                draws.append(self.begin(*each))
            except PromptTooLong as error:
                draws.append(error)
        begun = [draw for draw in draws if isinstance(draw, Draw)]
        # What cannot stand beside others is drawn by itself.
        for company in [[draw for draw in begun if draw.joinable], *([draw] for draw in begun if not draw.joinable)]:
            lot = self.lot()
            lot.join([share for draw in company for share in draw.shares(len(draw.rows))])
            while lot.shares:
                lot.step()
        return [self.candidates(draw) if isinstance(draw, Draw) else draw for draw in draws]

    @torch.inference_mode()
    def begin(self, messages: Sequence[Message], n: int, sampling: Sampling) -> Draw:
        """The prompt, read for `n` candidates that a lot of this generator can draw. Raises `PromptTooLong`, ValueError for n < 1."""
        if n < 1:
            raise ValueError(f"n is {n}; at least 1 candidate must be drawn")
        prompt = self._prompt(messages)
        most = min(sampling.max_tokens, self._room(prompt))
        if self._engine:
            return Draw(len(prompt), *self._engine.read(prompt), n, sampling, most, self._finished)
        read = self._model(input_ids=torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
        return Draw(len(prompt), read.past_key_values, read.logits[:, -1], n, sampling, most, self._finished)

    def lot(self) -> Lot:
        """An empty lot, in which what was begun with this generator is decoded together."""
        return SharedPromptLot(self._engine) if self._engine else CacheLot(self._model)

    def candidates(self, draw: Draw) -> list[Candidate]:
        """What was drawn: the candidates in the order of their rows."""
        return [
            Candidate(
                text=(row.text if row.reason else self._text(row.tokens)).strip(),
                tokens=len(row.tokens),
                log_likelihood=row.log_likelihood,
                finish_reason=row.reason or "length",
            )
            for row in draw.rows
        ]

    def text(self, tokens: list[int]) -> str:
        """The text of drawn tokens, as far as it has come."""
        return self._text(tokens)

    @torch.inference_mode()
    def log_likelihoods(self, messages: Sequence[Message], texts: Sequence[str]) -> list[float]:
        """Of each text as the next assistant turn, its end mark included: mean natural logarithm a token, at most 0, of the
        model's own probability (temperature 1, nothing cut off). The prompt is read once. A text that the model has no more
        positions for counts as far as it fits. Raises `PromptTooLong`.
        """
        prompt = self._prompt(messages)
        room = self._room(prompt)
        if self._engine:
            remembered, first = self._engine.read(prompt)
            return [self._followed(remembered, first, self._reply(text)[:room]) for text in texts]
        read = self._model(input_ids=torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
        found: list[float] = []
        for start in range(0, len(texts), READ_TOGETHER):
            replies = [self._reply(text)[:room] for text in texts[start : start + READ_TOGETHER]]
            found += self._mean_logs(read, len(prompt), replies)
        return found

    def _followed(self, remembered: Prompt, first: torch.Tensor, reply: list[int]) -> float:
        """Of a reply after a prompt that an engine has read."""
        assert self._engine is not None
        logits = first if len(reply) == 1 else torch.cat([first, self._engine.follow(remembered, reply[:-1])])
        return float((logits.gather(1, torch.tensor(reply).unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=-1)).mean())

    def _mean_logs(self, read: Any, length: int, replies: Sequence[list[int]]) -> list[float]:
        """Of each reply after a prompt of that length, which was read with a cache."""
        cache = copy.deepcopy(read.past_key_values)
        cache.batch_repeat_interleave(len(replies))
        longest = max(map(len, replies))
        # What stands behind a reply's end is masked by causality, so that any token will do there.
        ids = torch.tensor([reply + [0] * (longest - len(reply)) for reply in replies])
        positions = torch.arange(length, length + longest).expand(len(replies), -1)
        logits = self._model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True).logits
        before = torch.cat([read.logits[:, -1:].expand(len(replies), -1, -1), logits[:, :-1]], dim=1).float()
        logs = before.gather(2, ids.unsqueeze(2)).squeeze(2) - before.logsumexp(dim=-1)
        return [float(row[: len(reply)].mean()) for row, reply in zip(logs, replies, strict=True)]

    def _room(self, prompt: Sequence[int]) -> int:
        """Tokens that the model can say after the prompt. Raises `PromptTooLong`."""
        longest = min(self._max_input_tokens, self._positions - 1)
        if len(prompt) > longest:
            raise PromptTooLong(len(prompt), longest)
        return self._positions - len(prompt)

    def _reply(self, text: str) -> list[int]:
        """The tokens of an assistant turn with its end mark."""
        ids: list[int] = self._tokenizer(self._defused(text), add_special_tokens=False)["input_ids"]
        end = self._tokenizer.eos_token_id
        return [*ids, int(self._ends[0]) if end is None else end]

    def _finished(self, drawn: list[int], stop: Sequence[str]) -> tuple[str | None, str]:
        if drawn[-1] in self._ends:
            return "stop", self._text(drawn[:-1])
        if stop:
            text = self._text(drawn)
            cuts = [at for at in (text.find(s) for s in stop) if at >= 0]
            if cuts:
                return "stop", text[: min(cuts)]
        return None, ""

    def _text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        clean = [{"role": m["role"], "content": self._defused(m["content"])} for m in messages]
        text = self._tokenizer.apply_chat_template(clean, tokenize=False, add_generation_prompt=True)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _defused(self, content: str) -> str:
        # A special token that somebody typed must not end their turn and begin another.
        for token in self._special:
            content = content.replace(token, token[0] + " " + token[1:])
        return content
