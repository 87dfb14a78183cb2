"""Candidates token by token: the rows of several requests side by side in one forward pass.

Knows caches, positions and draws. Does not know what a prompt says nor who waits for what (`scheduling.py`).

Rows of unequal length are padded on the left, where nothing attends; each has its own positions. What a row draws depends on its
request's seed, its own place among the request's rows and its own step alone: not on who else is in the pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from classifiers.caches import Layers, cache_of, chosen, joinable, joined, layers_of, mask, repeated
from classifiers.engine import Prompt

if TYPE_CHECKING:
    from service.generator import Sampling

COLDEST = 1e-5
"""A lower temperature is greedy: logits divided by it would leave the range of a float."""

Finished = Callable[[list[int], Sequence[str]], tuple[str | None, str]]
"""(tokens so far, stop strings) -> (why the row ends here or None, its text where it ends)."""


@dataclass
class Row:
    """One candidate as far as it has come. `reason`: why it ended, None while it goes on or where it reached the limit."""

    tokens: list[int] = field(default_factory=list)
    log_likelihood: float = 0.0
    reason: str | None = None
    text: str = ""


class Draw:
    """The candidates of one request, `rows`, after a prompt that was read with a cache; at most `most` tokens each."""

    def __init__(
        self,
        length: int,
        cache: Any,
        logits: torch.Tensor,
        n: int,
        sampling: "Sampling",
        most: int,
        finished: Finished,
    ) -> None:
        """cache: what a model of transformers, or an engine (`engine.Prompt`), remembers of the prompt. logits: (1, vocabulary)."""
        self.rows = [Row() for _ in range(n)]
        self.length, self.sampling, self.most = length, sampling, most
        self.finished = finished
        self.cache, self.logits = cache, logits

    @property
    def joinable(self) -> bool:
        """Whether rows after this prompt can stand beside others: a cache that forgets cannot be padded on the left."""
        return isinstance(self.cache, Prompt) or joinable(self.cache)

    def shares(self, most: int) -> list["Share"]:
        """The rows in shares of at most so many; all in one where they cannot be joined again."""
        size = most if self.joinable else len(self.rows)
        return [
            Share(self, range(start, min(start + size, len(self.rows)))) for start in range(0, len(self.rows), size)
        ]


class Share:
    """Some rows of a request that are decoded in step. `live`: the places, among the request's rows, of those that go on."""

    def __init__(self, draw: Draw, rows: Sequence[int]) -> None:
        self.draw, self.live = draw, list(rows)
        self.steps = 0
        self._random = torch.Generator().manual_seed(draw.sampling.seed)
        self.kept: tuple[Any, torch.Tensor] | None = None
        """What is remembered, and the logits, of the live rows while they stand in no lot, once they have begun."""

    @property
    def length(self) -> int:
        """Positions that each live row has in the cache."""
        return self.draw.length + self.steps

    def layers(self) -> tuple[Layers, torch.Tensor]:
        """Cache and logits of the live rows; before the first step those of the prompt, for each row."""
        if self.kept is not None:
            return self.kept
        rows = len(self.live)
        return repeated(layers_of(self.draw.cache), rows), self.draw.logits.expand(rows, -1)

    def advance(self, top: torch.Tensor, ids: torch.Tensor, total: torch.Tensor) -> tuple[list[int], torch.Tensor]:
        """Draw a token for every live row; which of them go on, by their places in the share, and the tokens of those.

        top, ids (live rows, k): the highest logits and their tokens; total (live rows, 1): the log of the sum of all.
        """
        sampling = self.draw.sampling
        k = min(sampling.top_k, top.shape[-1])
        top, ids = top[:, :k], ids[:, :k]
        if sampling.temperature < COLDEST:
            choice = torch.zeros(len(self.live), 1, dtype=torch.long)
        else:
            probabilities = torch.softmax(top / sampling.temperature, dim=-1)
            before = probabilities.cumsum(dim=-1) - probabilities
            probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
            # The noise of all rows of the request, so that a row's own does not depend on which others still go on; the
            # likeliest token by an exponential race, as torch.multinomial draws.
            noise = torch.empty(len(self.draw.rows), k).exponential_(generator=self._random)[self.live]
            choice = (probabilities / noise).argmax(dim=-1, keepdim=True)
        logs = top.gather(1, choice) - total
        tokens = ids.gather(1, choice).squeeze(1)
        self.steps += 1
        going = []
        for at, (place, token, log) in enumerate(
            zip(self.live, tokens.tolist(), logs.squeeze(1).tolist(), strict=True)
        ):
            row = self.draw.rows[place]
            row.tokens.append(token)
            row.log_likelihood += log
            row.reason, row.text = self.draw.finished(row.tokens, sampling.stop)
            if row.reason is None and self.steps < self.draw.most:
                going.append(at)
        self.live = [self.live[at] for at in going]
        return going, tokens[going]


def drawn(logits: torch.Tensor, shares: Sequence[Share]) -> list[tuple[list[int], torch.Tensor]]:
    """Draw a token for every row of the shares, logits (rows, vocabulary): of each share as `Share.advance` tells."""
    logits = logits.float()
    most = max(share.draw.sampling.top_k for share in shares)
    top, ids = logits.topk(min(most, logits.shape[-1]), dim=-1)
    total = logits.logsumexp(dim=-1, keepdim=True)
    sizes = [len(share.live) for share in shares]
    parts = zip(shares, top.split(sizes), ids.split(sizes), total.split(sizes), strict=True)
    return [share.advance(*part) for share, *part in parts]


class Lot(ABC):
    """Shares whose rows go through the model together. What a step raises leaves the lot unusable, and its shares with it."""

    def __init__(self) -> None:
        self.shares: list[Share] = []
        self._logits = torch.empty(0, 0)

    @property
    def rows(self) -> int:
        return sum(len(share.live) for share in self.shares)

    @abstractmethod
    def join(self, shares: Sequence[Share]) -> None:
        """Take in more rows. A share that is not joinable must be alone in its lot."""

    @abstractmethod
    def leave(self, share: Share, keep: bool = False) -> None:
        """Take a share out. `keep`: it will go on later, in this lot or in another."""

    @abstractmethod
    def step(self) -> list[Share]:
        """One token more for every row; the shares that have ended with it, which are in the lot no longer."""

    def _rows_of(self, share: Share) -> range:
        start = 0
        for each in self.shares:
            if each is share:
                break
            start += len(each.live)
        return range(start, start + len(share.live))


class CacheLot(Lot):
    """What a model of transformers continues from caches of its own."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model
        self._cache: Any = None

    @torch.inference_mode()
    def join(self, shares: Sequence[Share]) -> None:
        if not shares:
            return
        if not shares[0].draw.joinable:
            (share,) = shares
            self._cache, self._logits = share.draw.cache, share.draw.logits.expand(len(share.live), -1)
            self._cache.batch_repeat_interleave(len(share.live))
            self.shares = [share]
            return
        parts = [share.layers() for share in shares]
        if self.shares:
            parts.insert(0, (layers_of(self._cache), self._logits))
        for share in shares:
            share.kept = None
        self._logits = torch.cat([logits for _, logits in parts])
        self._cache = cache_of(joined([layers for layers, _ in parts]))
        self.shares += shares

    @torch.inference_mode()
    def leave(self, share: Share, keep: bool = False) -> None:
        rows = list(self._rows_of(share))
        if keep and share.draw.joinable:
            share.kept = chosen(layers_of(self._cache), rows, share.length), self._logits[rows]
        gone = set(rows)
        staying = [row for row in range(self.rows) if row not in gone]
        self.shares.remove(share)
        self._select(staying, max((each.length for each in self.shares), default=0))

    @torch.inference_mode()
    def step(self) -> list[Share]:
        staying, read, start = list[int](), [], 0
        for size, (going, tokens) in zip(
            [len(share.live) for share in self.shares], drawn(self._logits, self.shares), strict=True
        ):
            staying += [start + at for at in going]
            start += size
            read.append(tokens)
        ended = [share for share in self.shares if not share.live]
        self.shares = [share for share in self.shares if share.live]
        if len(staying) < start:
            # The token just drawn is counted by its share and not yet read.
            self._select(staying, max((share.length for share in self.shares), default=1) - 1)
        if staying:
            self._forward(torch.cat(read))
        return ended

    def _select(self, rows: list[int], longest: int) -> None:
        """Keep these rows alone, and no more positions than the longest of them fills."""
        if not rows:
            self._cache, self._logits = None, torch.empty(0, 0)
            return
        self._logits = self._logits[rows]
        if self.shares[0].draw.joinable:
            self._cache = cache_of(chosen(layers_of(self._cache), rows, longest))
        else:
            self._cache.batch_select_indices(torch.tensor(rows))

    def _forward(self, tokens: torch.Tensor) -> None:
        # A share counts the token that is about to be read: its place is the one before the length.
        before = torch.tensor([share.length - 1 for share in self.shares for _ in share.live])
        alone = not self.shares[0].draw.joinable
        out = self._model(
            input_ids=tokens.unsqueeze(1),
            position_ids=before.unsqueeze(1),
            attention_mask=None if alone else mask(before, self._cache.get_seq_length(), 1),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache, self._logits = out.past_key_values, out.logits[:, -1]
