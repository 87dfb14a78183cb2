"""Features are read once and kept: what has not changed is never read again, and the order of examples does not matter."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifiers import features as module
from classifiers.backbone import Backbone, Features
from classifiers.features import featurise
from classifiers.labelled import Example

Make = Callable[..., Example]


class Reader:
    """Stands in for a backbone: the features of an exchange are its length and its first letter."""

    width = 2
    layers = (1,)

    def __init__(self) -> None:
        self.read: list[str] = []

    def read_many(self, exchanges: Sequence[tuple[Any, str, str]], progress: Any = None) -> Features:
        self.read += [reply for _, reply, _ in exchanges]
        if progress is not None:
            progress(len(exchanges))
        return np.array([[len(reply), ord(reply[0])] for _, reply, _ in exchanges], np.float16)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)


@pytest.fixture
def examples(make_example: Make) -> list[Example]:
    return [make_example(f"id-{i}", chr(97 + i) * (i + 1)) for i in range(8)]


def featurised(examples: Sequence[Example], name: str = "tiny") -> tuple[list[list[float]], list[str]]:
    """The features, and which replies were read for them."""
    reader = Reader()
    found = featurise(examples, reader, name)
    return found.tolist(), reader.read


def test_each_example_gets_its_own_features_in_its_own_place(examples: list[Example]) -> None:
    found, read = featurised(examples)
    assert found == [[i + 1, 97 + i] for i in range(8)]
    assert sorted(read) == [e.reply for e in examples]


def test_a_second_run_reads_nothing_again(examples: list[Example]) -> None:
    first, _ = featurised(examples)
    assert featurised(examples) == (first, [])


def test_a_changed_text_only_rereads_its_chunk(examples: list[Example]) -> None:
    first, _ = featurised(examples)
    examples[4] = replace(examples[4], reply="new")
    second, read = featurised(examples)
    assert read == [examples[3].reply, "new", examples[5].reply]
    assert second == [*first[:4], [3, ord("n")], *first[5:]]


@pytest.mark.parametrize(
    "change", [{"role": "user"}, {"context": (("user", "Hi"),)}], ids=["another speaker", "another context"]
)
def test_a_changed_speaker_or_context_is_read_again(examples: list[Example], change: dict[str, Any]) -> None:
    featurised(examples)
    examples[7] = replace(examples[7], **change)
    assert featurised(examples)[1] == [examples[6].reply, examples[7].reply]


def test_a_changed_label_reads_nothing_again(examples: list[Example]) -> None:
    featurised(examples)
    assert featurised([replace(e, unsafe=True, objectives=frozenset({"hate"})) for e in examples])[1] == []


def test_the_order_of_examples_does_not_matter(examples: list[Example]) -> None:
    forward, _ = featurised(examples)
    assert featurised(examples[::-1]) == (forward[::-1], [])


def test_another_source_or_split_makes_chunks_of_its_own(examples: list[Example], make_example: Make) -> None:
    featurised(examples)
    others = [make_example("id-00", "other source", source="public"), make_example("id-01", "held out", split="test")]
    assert sorted(featurised([*others, *examples])[1]) == ["held out", "other source"]


@pytest.mark.parametrize("setting", ["name", "layers", "CONTEXT_TOKENS", "WINDOW_TOKENS"])
def test_another_backbone_or_way_of_reading_reads_everything_again(
    examples: list[Example], monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    featurised(examples)
    if setting == "layers":
        monkeypatch.setattr(Reader, "layers", (2,))
    elif setting != "name":
        monkeypatch.setattr(module, setting, 7)
    assert len(featurised(examples, "other" if setting == "name" else "tiny")[1]) == 8


def test_a_killed_run_goes_on_where_it_stopped(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Reader.read_many

    def killed(self: Reader, exchanges: Any, progress: Any = None) -> Features:
        if self.read:
            raise KeyboardInterrupt
        return whole(self, exchanges, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "read_many", killed)
        with pytest.raises(KeyboardInterrupt):
            featurised(examples)
    assert featurised(examples)[1] == [e.reply for e in examples[3:]]


def test_progress_counts_every_example_whether_read_or_kept(examples: list[Example]) -> None:
    for _ in range(2):
        done: list[int] = []
        featurise(examples, Reader(), "tiny", done.append)
        assert sum(done) == len(examples)


def test_nothing_but_finished_chunks_is_left_in_the_cache(examples: list[Example], own_cache: Path) -> None:
    featurised(examples)
    assert [p.suffix for p in (own_cache / "features").iterdir()] == [".npy"] * 3


def test_no_examples_have_no_features() -> None:
    assert featurise([], Reader(), "tiny").shape == (0, 2)


def test_a_true_backbone_reads_through_the_cache_what_it_reads_itself(
    examples: list[Example], backbone: Backbone
) -> None:
    itself = backbone.read_many([(e.context, e.reply, e.role) for e in examples])
    for _ in range(2):
        assert np.allclose(featurise(examples, backbone, "tiny"), itself, rtol=5e-3, atol=5e-3)
