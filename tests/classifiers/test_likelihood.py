"""The mean log-likelihood of a reply is that of its tokens one by one, whoever it is read with."""

from typing import Any

import pytest
import torch

from classifiers.backbone import Backbone
from classifiers.likelihood import mean_log_likelihoods

CONTEXT = [("user", "Tea?"), ("assistant", "Which?"), ("user", "Green.")]


def one_by_one(model: Any, backbone: Backbone, reply: str) -> float:
    ids, start, end = backbone.tokens(CONTEXT, reply, "assistant")
    logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    found = [logs[at - 1, ids[at]] for at in range(start, end + 1)]
    return float(sum(found) / len(found))


@torch.inference_mode()
def test_it_is_the_mean_over_the_tokens_and_the_end_mark(model: Any, backbone: Backbone) -> None:
    replies = ["Yes.", "A much longer reply than that.", "Yes."]
    found = mean_log_likelihoods(model, backbone, CONTEXT, replies)
    assert found == pytest.approx([one_by_one(model, backbone, reply) for reply in replies], abs=1e-4)
    assert all(each < 0 for each in found)


def test_none_of_none(model: Any, backbone: Backbone) -> None:
    assert mean_log_likelihoods(model, backbone, CONTEXT, []) == []
