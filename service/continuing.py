"""Candidates token by token after prompts that each stand in memory once: rows of several requests side by side.

Knows what rows remember and attend to. Does not know the model's weights (`engine.py`) nor how a token is drawn (`decoding.py`).

A row's tokens attend to its prompt, whose keys all rows of the request share, and to what the row itself has said.
"""

from collections.abc import Sequence

import torch

from classifiers.engine import Engine, Prompt
from service.decoding import Lot, Share, drawn

CHUNK = 32
"""Tokens by which the memory of what rows say grows."""


class Said:
    """Keys and values of what the rows of a share have said: for each layer (rows, key heads, room, size), `length` of them filled."""

    def __init__(self, engine: Engine, rows: int) -> None:
        shape = rows, engine.shape.key_heads, CHUNK, engine.shape.size
        self.keys = [torch.zeros(shape, device=engine.device) for _ in engine.layers]
        self.values = [torch.zeros(shape, device=engine.device) for _ in engine.layers]
        self.length = 0

    def grow(self) -> None:
        """Make room for a token more."""
        if self.length == self.keys[0].shape[2]:
            for layers in (self.keys, self.values):
                for i, layer in enumerate(layers):
                    layers[i] = torch.cat([layer, layer.new_zeros(*layer.shape[:2], CHUNK, layer.shape[3])], dim=2)

    def select(self, rows: list[int]) -> None:
        """Keep these rows alone."""
        for layers in (self.keys, self.values):
            for i, layer in enumerate(layers):
                layers[i] = layer[rows]

    def attend(self, layer: int, prompt: Prompt, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """q (rows, heads, size), k and v (rows, key heads, size) of a token for every row -> (rows, heads, size)."""
        rows, heads, size = q.shape
        own_keys, own_values = self.keys[layer], self.values[layer]
        own_keys[:, :, self.length], own_values[:, :, self.length] = k, v
        own_keys, own_values = own_keys[:, :, : self.length + 1], own_values[:, :, : self.length + 1]
        shared_keys, shared_values = prompt.keys[layer], prompt.values[layer]
        groups, length = shared_keys.shape[0], shared_keys.shape[2]
        each = heads // groups
        q = q.view(rows, groups, each, size) * size**-0.5
        # For the prompt all rows are one matrix of queries a group; for what they said each row has its own.
        of_prompt = torch.bmm(q.transpose(0, 1).reshape(groups, rows * each, size), shared_keys)
        of_own = torch.matmul(q, own_keys.transpose(2, 3))
        weights = torch.cat([of_prompt.view(groups, rows, each, length).transpose(0, 1), of_own], dim=-1).softmax(-1)
        to_prompt = weights[..., :length].transpose(0, 1).reshape(groups, rows * each, length)
        found = torch.bmm(to_prompt, shared_values).view(groups, rows, each, size).transpose(0, 1)
        return (found + torch.matmul(weights[..., length:], own_values)).reshape(rows, heads, size)


class SharedPromptLot(Lot):
    """What an engine continues from prompts that it has read."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._said: dict[int, Said] = {}

    @torch.inference_mode()
    def join(self, shares: Sequence[Share]) -> None:
        logits = [self._logits] if self.shares else []
        for share in shares:
            if share.kept is None:
                said, own = Said(self._engine, len(share.live)), share.draw.logits.expand(len(share.live), -1)
            else:
                said, own = share.kept
                share.kept = None
            self._said[id(share)] = said
            logits.append(own)
            self.shares.append(share)
        if logits:
            self._logits = torch.cat(logits)

    @torch.inference_mode()
    def leave(self, share: Share, keep: bool = False) -> None:
        rows = self._rows_of(share)
        said = self._said.pop(id(share))
        if keep:
            share.kept = said, self._logits[rows.start : rows.stop]
        self._logits = torch.cat([self._logits[: rows.start], self._logits[rows.stop :]])
        self.shares.remove(share)

    @torch.inference_mode()
    def step(self) -> list[Share]:
        tokens = []
        for share, (going, token) in zip(self.shares, drawn(self._logits, self.shares), strict=True):
            said = self._said[id(share)]
            if not share.live:
                del self._said[id(share)]
            elif len(going) < said.keys[0].shape[0]:
                said.select(going)
            tokens.append(token)
        ended = [share for share in self.shares if not share.live]
        self.shares = [share for share in self.shares if share.live]
        if self.shares:
            self._forward(torch.cat(tokens))
        else:
            self._logits = torch.empty(0, 0)
        return ended

    def _forward(self, tokens: torch.Tensor) -> None:
        parts = [(share.draw.cache, self._said[id(share)], len(share.live)) for share in self.shares]
        for _, said, _ in parts:
            said.grow()
        sizes = [rows for _, _, rows in parts]

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            pieces = zip(parts, q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
            found = [said.attend(layer, prompt, *own) for (prompt, said, _), *own in pieces]
            return found[0] if len(found) == 1 else torch.cat(found)

        # A share counts the token that is about to be read: its place is the one before the length.
        positions = torch.tensor([share.length - 1 for share in self.shares for _ in share.live])
        self._logits = self._engine.logits(self._engine.states(tokens, positions, attend))
        for _, said, _ in parts:
            said.length += 1
