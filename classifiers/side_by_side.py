"""Texts read side by side by an engine, each after a prompt that it shares with some: what their tokens attend to.

Knows prompts, rows and padding. Does not know what is read nor which states are wanted.

The products of a pass take all tokens in one line, without padding; a beginning that several texts have in common stands there once,
as causality gives it the same states in all of them. Only for attention do texts after one prompt stand in rows of equal length, padded
on the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from classifiers.engine import Engine, Prompt


@dataclass(frozen=True)
class _Rows:
    """Texts after one prompt: `places` (rows, longest) of their tokens in the line, any place where there is none; `row` and `column`
    of each of their places in the line; `seen` (longest, prompt + longest), None for no prompt.
    """

    prompt: Prompt | None
    places: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    seen: torch.Tensor | None

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """As `engine.Attend`, of the whole line; gives the rows' own places, in their order."""
        queries, keys, values = (each[self.places].transpose(1, 2) for each in (q, k, v))
        if self.prompt is not None:
            shared_keys, shared_values = self.prompt.keys[layer].transpose(1, 2), self.prompt.values[layer]
            rows = len(queries)
            keys = torch.cat([shared_keys.expand(rows, -1, -1, -1), keys], dim=2)
            values = torch.cat([shared_values.expand(rows, -1, -1, -1), values], dim=2)
        found = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=self.seen, is_causal=self.seen is None, enable_gqa=True
        )
        return found.transpose(1, 2)[self.row, self.column]


class _Line:
    """The tokens of all texts, each beginning once, with their positions."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.places: list[list[int]] = []
        """Of each text, where its tokens stand."""

    def add(self, prompt: Prompt | None, texts: Sequence[Sequence[int]], device: torch.device) -> _Rows:
        """Texts that all follow on one prompt."""
        before, longest = prompt.length if prompt else 0, max(map(len, texts))
        start, beginnings = len(self.tokens), dict[tuple[int, int], int]()
        where: list[tuple[int, int]] = []
        for row, text in enumerate(texts):
            place, places = -1, []
            for column, token in enumerate(text):
                known = beginnings.get((place, token))
                if known is None:
                    known = beginnings[place, token] = len(self.tokens)
                    self.tokens.append(token)
                    self.positions.append(before + column)
                    where.append((row, column))
                places.append(place := known)
            self.places.append(places)
        padded = [places + [start] * (longest - len(places)) for places in self.places[-len(texts) :]]
        row, column = torch.tensor(where, device=device).T
        seen = torch.ones(longest, before + longest, dtype=torch.bool, device=device).tril(before) if prompt else None
        return _Rows(prompt, torch.tensor(padded, device=device), row, column, seen)


def states_of(
    engine: Engine,
    parts: Sequence[tuple[Prompt | None, Sequence[Sequence[int]]]],
    kept: Sequence[int],
) -> list[torch.Tensor]:
    """Of each text after its prompt, the states after so many layers each, (kept, tokens, width). parts: prompts and the texts that
    follow on them, one at least after each; none of them empty.
    """
    line = _Line()
    rows = [line.add(prompt, texts, engine.device) for prompt, texts in parts]

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        found = [each.attend(layer, q, k, v) for each in rows]
        return found[0] if len(found) == 1 else torch.cat(found)

    states = engine.states(torch.tensor(line.tokens), torch.tensor(line.positions), attend, kept)
    return [states[:, places] for places in line.places]
