"""A Llama of two layers, larger than the one of `conftest.py`, and what transformers says by it."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "tie_word_embeddings": True,
}
SAMPLE = list(range(3, 260, 2))


def made(kind=LlamaForCausalLM, config=LlamaConfig, **other):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind(config(**CONFIG | other)).eval()


@torch.inference_mode()
def of_model(model, ids):
    return model(input_ids=torch.tensor([ids])).logits[0].float()
