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
        if not replies:
            return []
        cut = [(*self._tokens(reply), reply) for reply in replies]
        pieces = []
        for tokens, spans, text in cut:
            whole, passages = _windows(tokens), _passages(tokens, spans, text)
            pieces.append([(piece, 1) for piece in whole] + [(piece, len(passages)) for piece in passages])
        counts = [among for group in pieces for _, among in group]
        flat = [(cut[i], piece) for i, group in enumerate(pieces) for piece, _ in group]
        stretches = [_stretches(spans, piece, sentences(text)) for (_, spans, text), piece in flat]
        ids = [tokens[start:end] for (tokens, _, _), (start, end) in flat]
        inner = [
            [(0, end - start), *((s - start, e - start) for s, e, _ in within)]
            for (_, (start, end)), within in zip(flat, stretches, strict=True)
        ]
        rows = iter(self.read_after(self._prefix(context, role), ids, inner, self._suffix()))
        windows = []
        for ((_, spans, text), (start, end)), within, among in zip(flat, stretches, counts, strict=True):
            row = next(rows)
            span = (spans[start][0], spans[end - 1][1]) if spans else (0, len(text))
            windows.append(Window(span, row[0], tuple(span for _, _, span in within), row[1:], among))
        ends = np.cumsum([len(group) for group in pieces])
        return [windows[end - len(group) : end] for group, end in zip(pieces, ends, strict=True)]

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
        with torch.inference_mode():
            cache = self.trunk(input_ids=torch.tensor([prefix]), use_cache=True).past_key_values
        found: dict[int, Features] = {}
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))  # rows of like length waste little padding
        for start in range(0, len(order), rows_a_batch):
            part = order[start : start + rows_a_batch]
            shared = copy.deepcopy(cache)
            shared.batch_repeat_interleave(len(part))
            ids = [windows[i] + suffix for i in part]
            found |= zip(part, self._states(ids, [spans[i] for i in part], shared, len(prefix)), strict=True)
        return [found[i] for i in range(len(windows))]

    def _states(self, ids: list[list[int]], spans: list[list[Span]], cache: Any, past: int) -> list[Features]:
        # Rows are padded on the right: attention is causal, so padding cannot reach the tokens that are read.
        longest = max(map(len, ids))
        batch = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        positions = torch.arange(past, past + longest).unsqueeze(0).expand(len(ids), -1)
        with torch.inference_mode():
            out = self.trunk(
                input_ids=batch,
                position_ids=positions,
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
    """The sentences within a window as (first token, last token + 1, characters)."""
    inside: list[tuple[int, int, Span]] = []
    at = window[0]
    for start, end in found:
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
