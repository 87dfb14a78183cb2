"""The shared reader: turns an exchange into features, the frozen chat model's own hidden states. The one place that runs it to judge.

Knows tokens, batches and layers. Does not know objectives or thresholds.

Why hidden states: a readout of the generator's states generalised better to unseen contrast prompts than a fine-tuned small
encoder (area under the ROC curve .69 against .43 on public data alone), and LaMDA too scores with the model that generates.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers import engines, models
from classifiers.adaptation import Update, first_layers
from classifiers.engine import Engine, Prompt
from classifiers.labelled import Turn
from classifiers.sentences import Span, sentences
from classifiers.side_by_side import states_of

LAYERS = (12, 15, 18, 20, 22, 25)
CONTEXT_TOKENS = 320
WINDOW_TOKENS = 256
WINDOW_STRIDE = 192
LONG_TOKENS = 80
"""Texts longer than this are read a few sentences at a time as well, so that one unsafe sentence is not averaged away."""
PASSAGE_TOKENS = 48
PADDED = 4
"""Times the tokens of a batch that its texts may take where they stand in rows of equal length."""

Features = NDArray[np.float16]
Progress = Callable[[int], None]
Asked = tuple[Sequence[Turn], Sequence[str], str]
"""(context, replies to it, who speaks in them)."""


@dataclass(frozen=True)
class Window:
    """A stretch of a text as it was read: its characters (start, end), its features (width,), and those of each sentence in it.

    The features of a sentence are taken from the same reading, over its own tokens: they cost nothing and tell which sentence
    makes the window what it is. `sentences` (count, width) goes with `spans`; empty where the window holds no sentence.
    `among`: how many passages the text was divided into, where this is one of them; 1 for a window as long as fits.
    """

    span: Span
    features: Features
    spans: tuple[Span, ...]
    sentences: Features
    among: int = 1


class Backbone:
    """The first layers of a causal language model, frozen or with a small learned update laid in, read at a few of them.

    Features of one window: for each layer of `LAYERS` the mean over the judged tokens and the state at the end of a following
    assistant header, side by side: `width` = len(LAYERS) * 2 * hidden size numbers.
    """

    def __init__(
        self, engine: Engine, tokenizer: Any, layers: Sequence[int], trunk: Callable[[], Any], source: Path | None
    ) -> None:
        """`trunk`: makes what `trunk` gives; `source`: the folder of the model's weights, None for one that has none."""
        self.tokenizer = tokenizer
        self.layers = tuple(layers)
        self.engine = engine
        self.source = source
        self.width = len(self.layers) * 2 * engine.embedding.shape[1]
        self._trunk = trunk
        # A GPU is idle with what keeps two cores busy.
        self._rows_a_batch, self._tokens_a_batch = (32, 2048) if engine.device.type == "cpu" else (256, 16_384)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, layers: Sequence[int] = LAYERS, update: Update | None = None) -> "Backbone":
        """The backbone of a loaded model. Raises ValueError for a model whose shape has no engine."""
        engine, count = engines.of(model, tokenizer), max(layers)
        if engine is None:
            raise ValueError("the model's shape has no engine, and a reader needs one")
        engine = engines.adapted(engine, model.model, update, count, tokenizer)
        return cls(engine, tokenizer, layers, lambda: _trunk(model, count, update), None)

    @classmethod
    def load(
        cls, name: str = models.DEFAULT_MODEL, update: Update | None = None, layers: Sequence[int] = LAYERS
    ) -> "Backbone":
        """The backbone of a model by name or path. Raises `models.ModelNotFound`; ValueError for a model whose shape has no engine."""
        engine, count = engines.load_adapted(name, update, max(layers)), max(layers)
        tokenizer, source = models.load_tokenizer(name), models.resolve(name, weights=False)
        return cls(engine, tokenizer, layers, lambda: _trunk(models.load(name)[0], count, update), source)

    @cached_property
    def trunk(self) -> Any:
        """The same layers as a module of transformers, which can be taught: its first layers, up to the highest one read."""
        return self._trunk()

    def read(self, context: Sequence[Turn], replies: Sequence[str], role: str = "assistant") -> list[list[Window]]:
        """The windows of every reply. The context is read once.

        The first windows cover the whole reply, `WINDOW_TOKENS` at a time and overlapping; those of a long reply are followed by
        its sentences, a few at a time: none of it goes unread, and none is drowned.
        """
        return self.read_all([(context, replies, role)])[0]

    def read_all(self, asked: Sequence[Asked]) -> list[list[list[Window]]]:
        """The windows of every reply to each of several contexts, read together; each context is read once."""
        flat = [(*self._tokens(reply), reply) for _, replies, _ in asked for reply in replies]
        pieces = []
        for tokens, spans, text in flat:
            whole, passages = _windows(tokens), _passages(tokens, spans, text)
            pieces.append([(piece, 1) for piece in whole] + [(piece, len(passages)) for piece in passages])
        counts = [among for group in pieces for _, among in group]
        cut = [(flat[i], piece) for i, group in enumerate(pieces) for piece, _ in group]
        stretches = [_stretches(spans, piece, sentences(text)) for (_, spans, text), piece in cut]
        ids = [tokens[start:end] for (tokens, _, _), (start, end) in cut]
        inner = [
            [(0, end - start), *((s - start, e - start) for s, e, _ in within)]
            for (_, (start, end)), within in zip(cut, stretches, strict=True)
        ]
        ends = np.cumsum([len(group) for group in pieces])
        replies_before = np.cumsum([0] + [len(replies) for _, replies, _ in asked])
        windows_before = [0, *ends]
        parts = []
        for (context, replies, role), first in zip(asked, replies_before, strict=False):
            of = slice(windows_before[first], windows_before[first + len(replies)])
            parts.append((self._prefix(context, role), ids[of], inner[of]))
        rows = iter([row for found in self.read_after_each(parts, self._suffix()) for row in found])
        windows = []
        for ((_, spans, text), (start, end)), within, among in zip(cut, stretches, counts, strict=True):
            row = next(rows)
            span = (spans[start][0], spans[end - 1][1]) if spans else (0, len(text))
            windows.append(Window(span, row[0], tuple(span for _, _, span in within), row[1:], among))
        groups = [windows[end - len(group) : end] for group, end in zip(pieces, ends, strict=True)]
        return [groups[end - len(each[1]) : end] for each, end in zip(asked, replies_before[1:], strict=True)]

    def tokens(self, context: Sequence[Turn], reply: str, role: str) -> tuple[list[int], int, int]:
        """All tokens of an exchange as `read_many` reads it, and where the judged ones start and end."""
        prefix = self._prefix(context, role)
        words = self._tokens(reply)[0][:WINDOW_TOKENS]
        return prefix + words + self._suffix(), len(prefix), len(prefix) + len(words)

    def read_many(
        self,
        exchanges: Sequence[tuple[Sequence[Turn], str, str]],
        tokens_a_batch: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        """Features of the first window of many (context, reply, role), in the given order: (n, width). For training."""
        return self.read_tokens([self.tokens(*exchange) for exchange in exchanges], tokens_a_batch, progress)

    def read_tokens(
        self,
        cut: Sequence[tuple[list[int], int, int]],
        tokens_a_batch: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        """Features of many texts as (tokens, start, end) of the judged ones, in the given order: (n, width). What texts that are read
        together begin with in common is read once.
        """
        rows = np.empty((len(cut), self.width), np.float16)
        for batch in _batches([ids for ids, _, _ in cut], tokens_a_batch or self._tokens_a_batch):
            spans = [[cut[i][1:]] for i in batch]
            rows[batch] = np.concatenate(self._features([(None, [cut[i][0] for i in batch])], spans))
            if progress is not None:
                progress(len(batch))
        return rows

    def read_after_each(
        self,
        parts: Sequence[tuple[list[int], list[list[int]], list[list[Span]]]],
        suffix: list[int],
    ) -> list[list[Features]]:
        """Features of token spans of each window, (spans, width), read after a prefix that its part shares (read once) and before the
        suffix, at whose end the state is taken. parts: (prefix, windows, spans); windows after different prefixes share a batch.
        """
        with torch.inference_mode():
            prompts = [self.engine.remember(prefix) if windows else None for prefix, windows, _ in parts]
        order = [(part, i) for part, (_, windows, _) in enumerate(parts) for i in range(len(windows))]
        order.sort(key=lambda row: len(parts[row[0]][1][row[1]]))  # rows of like length waste little padding
        found: dict[tuple[int, int], Features] = {}
        for start in range(0, len(order), self._rows_a_batch):
            batch = sorted(order[start : start + self._rows_a_batch], key=lambda row: row[0])
            ids = [
                (prompts[part], [parts[part][1][i] + suffix for _, i in rows])
                for part, rows in groupby(batch, key=lambda row: row[0])
            ]
            spans = [parts[part][2][i] for part, i in batch]
            found |= zip(batch, self._features(ids, spans), strict=True)
        return [[found[part, i] for i in range(len(windows))] for part, (_, windows, _) in enumerate(parts)]

    @torch.inference_mode()
    def _features(
        self, parts: Sequence[tuple[Prompt | None, list[list[int]]]], spans: Sequence[Sequence[Span]]
    ) -> list[Features]:
        found = []
        for states, row in zip(states_of(self.engine, parts, self.layers), spans, strict=True):
            last = states[:, -1]
            means = [states[:, start:end].mean(dim=1) for start, end in row]
            rows = torch.stack([torch.cat([mean, last], dim=1).flatten() for mean in means])
            # Held within half precision; but what is not finite is an error, and must not pass for a large number.
            found.append(rows.clamp(-6e4, 6e4).masked_fill(~rows.isfinite(), torch.nan).half().cpu().numpy())
        return found

    def _prefix(self, context: Sequence[Turn], role: str) -> list[int]:
        # The most recent turns are kept when the context is longer than fits. A text that answers nothing is no reply: prompt,
        # post or sentence, it is read as a user's, whoever asks.
        if not context:
            role = "user"
        ids: list[int] = []
        for speaker, content in reversed(context):
            turn = self.markup(f"<|im_start|>{speaker}\n") + self.words(content) + self.markup("<|im_end|>\n")
            if len(ids) + len(turn) > CONTEXT_TOKENS:
                room = CONTEXT_TOKENS - len(ids)
                ids = (turn[-room:] if room > 0 else []) + ids
                break
            ids = turn + ids
        return ids + self.markup(f"<|im_start|>{role}\n")

    def _suffix(self) -> list[int]:
        return self.markup("<|im_end|>\n<|im_start|>assistant\n")

    def words(self, text: str) -> list[int]:
        """The tokens of somebody's text: an "<|im_end|>" that they typed is text, not the end of a turn."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def offsets(self, text: str) -> list[Span]:
        """The characters that each token of somebody's text stands for."""
        return self._tokens(text)[1]

    def _tokens(self, text: str) -> tuple[list[int], list[Span]]:
        """The tokens of a text, at least one, and the characters that each stands for."""
        found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        return (found["input_ids"], found["offset_mapping"]) if found["input_ids"] else (self.markup("\n"), [])

    def markup(self, text: str) -> list[int]:
        """The tokens of our own frame, special ones included."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _windows(ids: list[int]) -> list[Span]:
    """Token spans that cover the whole text, overlapping where it is longer than a window."""
    whole = [(0, min(len(ids), WINDOW_TOKENS))]
    for start in range(WINDOW_STRIDE, max(len(ids) - WINDOW_TOKENS + WINDOW_STRIDE, 0), WINDOW_STRIDE):
        whole.append((start, min(len(ids), start + WINDOW_TOKENS)))
    return whole


def _passages(ids: list[int], spans: list[Span], text: str) -> list[Span]:
    """Token spans of a few sentences each, which cover a long text again; none of a short one."""
    passages: list[Span] = []
    if len(ids) <= LONG_TOKENS:
        return passages
    for start, end, _ in _stretches(spans, (0, len(ids)), sentences(text)):
        for at in range(start, end, LONG_TOKENS):
            stop = min(at + LONG_TOKENS, end)
            if passages and stop - passages[-1][0] <= PASSAGE_TOKENS:
                passages[-1] = (passages[-1][0], stop)
            else:
                passages.append((at, stop))
    return passages


def _stretches(spans: list[Span], window: Span, found: list[Span]) -> list[tuple[int, int, Span]]:
    """The sentences within a window as (first token, last token + 1, characters); none where no token stands for a character, as of
    a control character that the tokenizer does not know.
    """
    inside: list[tuple[int, int, Span]] = []
    at = window[0]
    for start, end in found if spans else ():
        while at < window[1] and spans[at][1] <= start:
            at += 1
        first = at
        while at < window[1] and spans[at][0] < end:
            at += 1
        if at > first:
            inside.append((first, at, (start, end)))
    return inside


def _batches(texts: Sequence[list[int]], most: int) -> Iterator[list[int]]:
    """The numbers of all texts in batches of at most `most` tokens, those with a common beginning next to one another; a longer text is
    alone.
    """
    batch: list[int] = []
    new = longest = 0
    for i in sorted(range(len(texts)), key=texts.__getitem__):
        common = _common(texts[batch[-1]], texts[i]) if batch else 0
        new, longest = new + len(texts[i]) - common, max(longest, len(texts[i]))
        if batch and (new > most or (len(batch) + 1) * longest > PADDED * most):
            yield batch
            batch, new, longest = [], len(texts[i]), len(texts[i])
        batch.append(i)
    if batch:
        yield batch


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _trunk(model: Any, count: int, update: Update | None) -> Any:
    """The trunk of a model without its last layers and final norm, sharing its weights, with an update laid in."""
    short = copy.copy(model.model)
    short._modules = dict(model.model._modules)
    short.layers = first_layers(model.model, count, update)
    short.norm = torch.nn.Identity()
    return short
