"""How likely the chat model finds a reply: the baseline of every ranker.

Knows one model and its log-probabilities. Does not know what is ranked by them.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from classifiers.backbone import Backbone
from classifiers.labelled import Turn


def mean_log_likelihoods(
    model: Any, backbone: Backbone, context: Sequence[Turn], replies: Sequence[str]
) -> list[float]:
    """For each reply to the context the mean over its tokens, the end mark included, of the natural logarithm of its probability under
    a causal language model; at most 0. `backbone` cuts the tokens. The context is read once.
    """
    rows = [backbone.tokens(context, reply, "assistant") for reply in replies]
    if not rows:
        return []
    start = rows[0][1]
    prefix = rows[0][0][:start]
    # The suffix begins with the end mark, which a reply that goes on forever would lack.
    said = [ids[start : end + 1] for ids, _, end in rows]
    longest = max(map(len, said))
    with torch.inference_mode():
        read = model(input_ids=torch.tensor([prefix]), use_cache=True, logits_to_keep=1)
        cache = copy.deepcopy(read.past_key_values)
        cache.batch_repeat_interleave(len(said))
        batch = torch.tensor([ids + [0] * (longest - len(ids)) for ids in said])
        positions = torch.arange(start, start + longest).unsqueeze(0).expand(len(said), -1)
        later = model(input_ids=batch, position_ids=positions, past_key_values=cache, use_cache=True).logits
        logits = torch.cat([read.logits.expand(len(said), -1, -1), later[:, :-1]], dim=1).float()
        logs = logits.gather(2, batch.unsqueeze(2)).squeeze(2) - logits.logsumexp(dim=2)
    return [float(logs[i, : len(ids)].mean()) for i, ids in enumerate(said)]
