"""The corridor built from scripted parts, a model small enough to draw from in milliseconds, and an untouched environment."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from retrieval import Index
from service.chat import Corridor
from tests.service import browsing
from tests.service.scripted import INDEX, make_corridor

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
torch.set_num_threads(1)

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|im_start|>", "<|im_end|>")


_without_browser = pytest.StashKey[list[str]]()
_survived = pytest.StashKey[dict[str, list[int]]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What drives a browser is not run where there is none; the summary says so, so that nobody takes it for a pass."""
    if item.get_closest_marker("browser") and browsing.chromium() is None:
        item.config.stash.setdefault(_without_browser, []).append(item.nodeid)
        pytest.skip(browsing.MISSING)


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Callable[..., None]:
    """trials(fault, n, unscreened): so often the server met a fault, and so many replies left unscreened, of which there may be none.

    All of a run are in its summary, those of one name added up.
    """
    counts = request.config.stash.setdefault(_survived, {})

    def told(fault: str, n: int, unscreened: int = 0) -> None:
        assert n > 0
        assert unscreened == 0, f"{fault}: {unscreened} unscreened replies"
        counts[fault] = [a + b for a, b in zip(counts.get(fault, [0, 0]), (n, unscreened), strict=True)]

    return told


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if survived := config.stash.get(_survived, {}):
        terminalreporter.section("faults survived")
        for fault, (n, unscreened) in sorted(survived.items()):
            terminalreporter.line(f"{fault}: {n} trials, unscreened replies: {unscreened}")
        whole = [sum(column) for column in zip(*survived.values(), strict=True)]
        terminalreporter.line(f"all: {whole[0]} trials, unscreened replies: {whole[1]}")
    if missed := config.stash.get(_without_browser, []):
        terminalreporter.section("NOT RUN: the chat page in a browser", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(missed)} tests were not run: {browsing.MISSING}", red=True)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """A developer's own WINNOW_... variables say nothing about the code."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("WINNOW_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def index() -> Index:
    """Four short documents."""
    return INDEX


@pytest.fixture(scope="session")
def corridor() -> Callable[..., Corridor]:
    """corridor(generator_texts=..., scores=..., setting=value, ...): see `scripted.make_corridor`."""
    return make_corridor


@pytest.fixture(scope="session")
def tiny_model() -> tuple[Any, Any]:
    """(a Llama of two layers with random weights, a tokenizer of the printable ASCII characters with a ChatML template)."""
    alphabet = {pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(chr(n))[0][0] for n in range(32, 127)}
    newline = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("\n")[0][0]
    vocabulary = {character: number for number, character in enumerate(sorted(alphabet | {newline}))}
    characters = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    characters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    characters.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=characters, bos_token=SPECIAL[0], eos_token=SPECIAL[1], pad_token=SPECIAL[1]
    )
    tokenizer.chat_template = CHATML
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    return model, tokenizer
