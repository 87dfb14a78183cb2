"""Features are read once and kept: what has not changed is never read again, and the order of exchanges does not matter."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from classifiers import features as module
from classifiers.backbone import Backbone, Features
from classifiers.features import Exchange, featurise


class Reader:
    """Stands in for a backbone: the features of an exchange are its length and its first letter."""

    width = 2
    layers = (1,)
    engine = SimpleNamespace(precision="float32")

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    @property
    def read(self) -> list[str]:
        return sorted(reply for call in self.calls for reply in call)

    def read_many(self, exchanges: Sequence[Exchange], progress: Any = None) -> Features:
        self.calls.append([reply for _, reply, _ in exchanges])
        return np.array([[len(reply), ord(reply[0])] for _, reply, _ in exchanges], np.float16)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)


@pytest.fixture
def exchanges() -> list[Exchange]:
    return [((), chr(97 + i) * (i + 1), "assistant") for i in range(8)]


def expected(exchanges: Sequence[Exchange]) -> list[list[float]]:
    return [[len(reply), ord(reply[0])] for _, reply, _ in exchanges]


def featurised(exchanges: Sequence[Exchange], name: str = "tiny") -> list[str]:
    """Which replies were read, once the features have been seen to be right."""
    reader = Reader()
    found = featurise(exchanges, reader, name)
    assert found.dtype == np.float16
    assert found.tolist() == expected(exchanges)
    return reader.read


def files(cache: Path) -> list[Path]:
    return sorted((cache / "states").rglob("*.npz"))


def test_each_exchange_gets_its_own_features_in_its_own_place(exchanges: list[Exchange]) -> None:
    assert featurised(exchanges) == [reply for _, reply, _ in exchanges]


def test_a_second_run_reads_nothing_again(exchanges: list[Exchange]) -> None:
    featurised(exchanges)
    assert featurised(exchanges) == []


def test_a_changed_text_is_read_again_and_no_other(exchanges: list[Exchange]) -> None:
    featurised(exchanges)
    exchanges[4] = ((), "new", "assistant")
    assert featurised(exchanges) == ["new"]
    assert featurised(exchanges) == []


@pytest.mark.parametrize(
    "changed",
    [((), "hhhhhhhh", "user"), ((("user", "Hi"),), "hhhhhhhh", "assistant")],
    ids=["another speaker", "another context"],
)
def test_a_changed_speaker_or_context_is_read_again(exchanges: list[Exchange], changed: Exchange) -> None:
    featurised(exchanges)
    assert exchanges[7][1] == changed[1]
    assert featurised([*exchanges[:7], changed]) == ["hhhhhhhh"]


def test_what_stands_in_the_context_is_not_taken_for_the_reply(exchanges: list[Exchange]) -> None:
    featurised([((("user", "one"), ("user", "two")), "three", "user")])
    assert featurised([((("user", "one"),), "two", "user")]) == ["two"]
    assert featurised([((("user", "one"), ("user", "two three")), "three", "user")]) == ["three"]


def test_the_order_of_exchanges_does_not_matter(exchanges: list[Exchange]) -> None:
    featurised(exchanges)
    assert featurised(exchanges[::-1]) == []


def test_some_of_the_exchanges_of_another_run_are_not_read_again(exchanges: list[Exchange]) -> None:
    featurised(exchanges[:5])
    assert featurised(exchanges[3:]) == [reply for _, reply, _ in exchanges[5:]]
    assert featurised(exchanges) == []


def test_an_exchange_that_occurs_twice_is_read_once_and_stands_in_both_places(exchanges: list[Exchange]) -> None:
    assert featurised([*exchanges, *exchanges[:4]]) == [reply for _, reply, _ in exchanges]
    assert featurised([exchanges[2], exchanges[2]]) == []


@pytest.mark.parametrize("setting", ["name", "layers", "CONTEXT_TOKENS", "WINDOW_TOKENS"])
def test_another_backbone_or_way_of_reading_reads_everything_again_and_forgets_nothing(
    exchanges: list[Exchange], monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    featurised(exchanges)
    with monkeypatch.context() as patch:
        if setting == "layers":
            patch.setattr(Reader, "layers", (2,))
        elif setting != "name":
            patch.setattr(module, setting, 7)
        assert len(featurised(exchanges, "other" if setting == "name" else "tiny")) == 8
    assert featurised(exchanges) == []


def test_no_more_is_read_at_once_than_a_file_holds(exchanges: list[Exchange]) -> None:
    reader = Reader()
    featurise(exchanges, reader, "tiny")
    assert [len(call) for call in reader.calls] == [3, 3, 2]


def test_a_killed_run_goes_on_where_it_stopped(exchanges: list[Exchange], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Reader.read_many
    done: list[str] = []

    def killed(self: Reader, part: Any, progress: Any = None) -> Features:
        if len(done) == 6:
            raise KeyboardInterrupt
        found = whole(self, part, progress)
        done.extend(reply for _, reply, _ in part)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "read_many", killed)
        with pytest.raises(KeyboardInterrupt):
            featurised(exchanges)
    assert featurised(exchanges) == sorted({reply for _, reply, _ in exchanges} - set(done))


def test_what_was_read_in_another_precision_is_read_anew(exchanges: list[Exchange]) -> None:
    class Rounded(Reader):
        engine = SimpleNamespace(precision="int8")

    assert len(featurised(exchanges)) == 8
    reader = Rounded()
    featurise(exchanges, reader, "tiny")
    assert len(reader.read) == 8
    assert featurised(exchanges) == []


def test_a_run_killed_while_it_writes_leaves_nothing_half_written(
    exchanges: list[Exchange], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: Any, **_: Any) -> None:
        file.write(b"PK")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            featurise(exchanges, Reader(), "tiny")
    assert files(own_cache) == []
    assert len(featurised(exchanges)) == 8


def test_progress_counts_every_exchange_whether_read_or_kept_or_twice(exchanges: list[Exchange]) -> None:
    twice = [*exchanges, exchanges[0]]
    for _ in range(2):
        done: list[int] = []
        featurise(twice, Reader(), "tiny", done.append)
        assert sum(done) == len(twice)
        assert len(done) > 1


def test_nothing_but_finished_files_is_left_in_the_cache(exchanges: list[Exchange], own_cache: Path) -> None:
    featurised(exchanges)
    assert len(files(own_cache)) == 3
    assert sorted(p for p in own_cache.rglob("*") if p.is_file()) == files(own_cache)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _garbled(path: Path) -> None:
    path.write_bytes(b"\0" * 400)


def _one_bit_of_the_rows(path: Path) -> None:
    whole = path.read_bytes()
    with np.load(path) as file:
        kept = file["rows"].tobytes()
    at = whole.index(kept)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


def _one_bit_of_the_keys(path: Path) -> None:
    whole = path.read_bytes()
    with np.load(path) as file:
        at = whole.index(file["keys"].tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


def _fewer_rows_than_keys(path: Path) -> None:
    with np.load(path) as file:
        keys, rows = file["keys"], file["rows"]
    np.savez(path, keys=keys, rows=rows[:-1])


def _without_rows(path: Path) -> None:
    with np.load(path) as file:
        keys = file["keys"]
    np.savez(path, keys=keys)


@pytest.mark.parametrize(
    "damage",
    [
        _truncated,
        _emptied,
        _garbled,
        _one_bit_of_the_rows,
        _one_bit_of_the_keys,
        _fewer_rows_than_keys,
        _without_rows,
    ],
)
def test_a_damaged_file_is_read_anew_and_no_other(
    exchanges: list[Exchange], own_cache: Path, damage: Callable[[Path], None]
) -> None:
    featurised(exchanges)
    path = files(own_cache)[0]
    with np.load(path) as file:
        lost = len(file["keys"])
    damage(path)
    assert len(featurised(exchanges)) == lost
    assert featurised(exchanges) == []


def test_no_exchanges_have_no_features() -> None:
    reader = Reader()
    assert featurise([], reader, "tiny").shape == (0, 2)
    assert reader.calls == []


def test_a_true_backbone_reads_through_the_cache_what_it_reads_itself(
    exchanges: list[Exchange], backbone: Backbone
) -> None:
    itself = backbone.read_many(exchanges)
    for _ in range(2):
        assert np.allclose(featurise(exchanges, backbone, "tiny"), itself, rtol=5e-3, atol=5e-3)
