"""A language model small enough to read in milliseconds, with a tokenizer of single bytes: every text has a length known beforehand."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from classifiers.backbone import Backbone
from classifiers.labelled import Example, Turn
from classifiers.policy import OBJECTIVES
from classifiers.readout import Readout, Scorer

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

LAYERS = (1, 2, 3)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("WINNOW_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    bytes_of = Tokenizer(BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    bytes_of.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_of.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_of,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template="{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )


@pytest.fixture(scope="session")
def model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def backbone(model: Any, tokenizer: Any) -> Backbone:
    return Backbone(model, tokenizer, LAYERS)


@pytest.fixture(scope="session")
def scorer(backbone: Backbone) -> Scorer:
    return random_scorer(backbone.width)


@pytest.fixture(scope="session")
def make_scorer() -> Callable[..., Scorer]:
    return random_scorer


def random_scorer(width: int, seed: int = 0, members: int = 2) -> Scorer:
    torch.manual_seed(seed)
    return Scorer(Readout(width, 8, 1 + len(OBJECTIVES), members).eval(), OBJECTIVES, "tiny", f"tiny-{seed}")


@pytest.fixture(scope="session")
def make_example() -> Callable[..., Example]:
    def make(
        name: str = "a",
        reply: str = "hello",
        *,
        context: tuple[Turn, ...] = (),
        unsafe: bool = False,
        role: str = "assistant",
        source: str = "own",
        split: str = "train",
        group: str | None = None,
    ) -> Example:
        named = frozenset(["hate"] if unsafe else [])
        return Example(name, context, reply, role, unsafe, named, True, group or name, source, split)

    return make


@pytest.fixture
def make(make_example: Callable[..., Example]) -> Callable[..., Example]:
    """An example with these labels."""

    def row(*named: str, unsafe: bool | None = None, complete: bool = True, only: str | None = None) -> Example:
        return replace(
            make_example(),
            unsafe=bool(named) if unsafe is None else unsafe,
            objectives=frozenset(named),
            complete=complete,
            labelled_for=only,
        )

    return row
