"""The shared reader: turns an exchange into features, the frozen chat model's own hidden states. The one place that runs it to judge.

Knows tokens, batches and layers. Does not know objectives or thresholds.

Why hidden states: a readout of the generator's states generalised better to unseen contrast prompts than a fine-tuned small
encoder (area under the ROC curve .69 against .43 on public data alone), and LaMDA too scores with the model that generates.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers import models
from classifiers.adaptation import Update, lay_in
from classifiers.caches import cache_of, joinable, joined, layers_of, mask
from classifiers.labelled import Turn
from classifiers.sentences import Span, sentences

LAYERS = (12, 15, 18, 20, 22, 25)
CONTEXT_TOKENS = 320
WINDOW_TOKENS = 256
WINDOW_STRIDE = 192
LONG_TOKENS = 80
"""Texts longer than this are read a few sentences at a time as well, so that one unsafe sentence is not averaged away."""
PASSAGE_TOKENS = 48

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
    """A causal language model, frozen or with a small learned update laid in, read at a few of its layers.

    Features of one window: for each layer of `LAYERS` the mean over the judged tokens and the state at the end of a following
    assistant header, side by side: `width` = len(LAYERS) * 2 * hidden size numbers.
    """

    def __init__(
        self, model: Any, tokenizer: Any, layers: Sequence[int] = LAYERS, update: Update | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.layers = tuple(layers)
        self.trunk = _first_layers(model.model, max(layers))
        if update:
            lay_in(self.trunk.layers, update)
        self.width = len(self.layers) * 2 * model.config.hidden_size

    @classmethod
    def load(
        cls, name: str = models.DEFAULT_MODEL, update: Update | None = None, layers: Sequence[int] = LAYERS
    ) -> "Backbone":
        """The backbone of a model by name or path. Raises `models.ModelNotFound`."""
        return cls(*models.load(name), layers=layers, update=update)

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
        tokens_a_batch: int = 2048,
        progress: Progress | None = None,
    ) -> Features:
        """Features of the first window of many (context, reply, role), in the given order: (n, width). For training."""
        return self.read_tokens([self.tokens(*exchange) for exchange in exchanges], tokens_a_batch, progress)

    def read_tokens(
        self, cut: Sequence[tuple[list[int], int, int]], tokens_a_batch: int = 2048, progress: Progress | None = None
    ) -> Features:
        """Features of many texts as (tokens, start, end) of the judged ones, in the given order: (n, width)."""
        rows = np.empty((len(cut), self.width), np.float16)
        order = sorted(range(len(cut)), key=lambda i: len(cut[i][0]))
        while order:
            batch = [order.pop()]
            longest = len(cut[batch[0]][0])
            while order and (len(batch) + 1) * longest <= tokens_a_batch:
                batch.append(order.pop())
            spans = [[(cut[i][1], cut[i][2])] for i in batch]
            rows[batch] = np.concatenate(self._states([cut[i][0] for i in batch], spans, None, 0))
            if progress is not None:
                progress(len(batch))
        return rows

    def read_after(
        self,
        prefix: list[int],
        windows: list[list[int]],
        spans: list[list[Span]],
        suffix: list[int],
        rows_a_batch: int = 32,
    ) -> list[Features]:
        """Features of token spans of each window, (spans, width), read after a prefix that all share (read once) and before the
        suffix, at whose end the state is taken.
        """
        return self.read_after_each([(prefix, windows, spans)], suffix, rows_a_batch)[0]

    def read_after_each(
        self,
        parts: Sequence[tuple[list[int], list[list[int]], list[list[Span]]]],
        suffix: list[int],
        rows_a_batch: int = 32,
    ) -> list[list[Features]]:
        """The same for several (prefix, windows, spans) at once: windows after different prefixes share a batch."""
        caches: list[Any] = [self._remembered(prefix) if windows else None for prefix, windows, _ in parts]
        order = [(part, i) for part, (_, windows, _) in enumerate(parts) for i in range(len(windows))]
        order.sort(key=lambda row: len(parts[row[0]][1][row[1]]))  # rows of like length waste little padding
        if not all(joinable(cache) for cache in caches if cache is not None):
            order.sort(key=lambda row: row[0])
        found: dict[tuple[int, int], Features] = {}
        while order:
            batch = order[:rows_a_batch]
            if not joinable(caches[batch[0][0]]):
                batch = [row for row in batch if row[0] == batch[0][0]]
            order = order[len(batch) :]
            if len({part for part, _ in batch}) == 1:
                shared = copy.deepcopy(caches[batch[0][0]])
                shared.batch_repeat_interleave(len(batch))
            else:
                shared = cache_of(joined([layers_of(caches[part]) for part, _ in batch]))
            ids = [parts[part][1][i] + suffix for part, i in batch]
            past = [len(parts[part][0]) for part, _ in batch]
            found |= zip(batch, self._states(ids, [parts[part][2][i] for part, i in batch], shared, past), strict=True)
        return [[found[part, i] for i in range(len(windows))] for part, (_, windows, _) in enumerate(parts)]

    def _remembered(self, prefix: list[int]) -> Any:
        with torch.inference_mode():
            return self.trunk(input_ids=torch.tensor([prefix]), use_cache=True).past_key_values

    def _states(
        self, ids: list[list[int]], spans: list[list[Span]], cache: Any, past: Sequence[int] | int
    ) -> list[Features]:
        # Rows are padded on the right: attention is causal, so padding cannot reach the tokens that are read.
        longest = max(map(len, ids))
        batch = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        before = torch.tensor(past).expand(len(ids))
        positions = before.unsqueeze(1) + torch.arange(longest)
        with torch.inference_mode():
            out = self.trunk(
                input_ids=batch,
                position_ids=positions,
                attention_mask=mask(before, cache.get_seq_length(), longest) if cache is not None else None,
                past_key_values=cache,
                use_cache=cache is not None,
                output_hidden_states=True,
            )
            states = torch.stack([out.hidden_states[layer] for layer in self.layers]).float()
        found = []
        for i, row in enumerate(spans):
            last = states[:, i, len(ids[i]) - 1]
            means = [states[:, i, start:end].mean(dim=1) for start, end in row]
            rows = torch.stack([torch.cat([mean, last], dim=1).flatten() for mean in means])
            # Held within half precision; but what is not finite is an error, and must not pass for a large number.
            found.append(rows.clamp(-6e4, 6e4).masked_fill(~rows.isfinite(), torch.nan).half().numpy())
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


def _first_layers(trunk: Any, count: int) -> Any:
    """The trunk without its last layers and final norm, sharing its weights: what is above the highest layer read is not run."""
    short = copy.copy(trunk)
    short._modules = dict(trunk._modules)
    short.layers = torch.nn.ModuleList(_unhooked(layer) for layer in list(trunk.layers)[:count])
    short.norm = torch.nn.Identity()
    short._output_capturing_hooks_installed = False
    return short


def _unhooked(layer: Any) -> Any:
    # Transformers records states by hooks that stay on the layer: one that two trunks share would be recorded twice, and
    # the second trunk would read the wrong layers.
    twin = copy.copy(layer)
    twin._forward_hooks = OrderedDict()
    return twin
