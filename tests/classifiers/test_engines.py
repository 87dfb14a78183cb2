"""Engines by name: rounded once and kept; readers share what lies below their update; what has no eight bits is read all the same."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from classifiers import engines, models
from classifiers.engine import Engine
from classifiers.engine_file import WEIGHTS
from classifiers.products import Int8Product, PlainProduct

TOKENS = [5, 17, 80, 41, 9, 33]


@pytest.fixture(autouse=True)
def fresh_process() -> None:
    """Nothing is remembered of the tests before."""
    engines._load.cache_clear()
    models._verified.clear()


@pytest.fixture
def folder(model: Any, tokenizer: Any, tmp_path: Path) -> Path:
    """A saved model in half precision."""
    place = tmp_path / "small"
    copy.deepcopy(model).bfloat16().save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def update() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"2.mlp.down_proj.down": torch.randn(2, 32), "2.mlp.down_proj.up": torch.randn(16, 2)}


@torch.inference_mode()
def logits(engine: Engine | None) -> torch.Tensor:
    assert engine is not None
    return engine.read(TOKENS)[1]


def next_process() -> None:
    engines._load.cache_clear()
    models._load.cache_clear()


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("the model itself is not needed")


def test_a_second_start_reads_what_the_first_rounded_and_needs_the_model_no_longer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = engines.load(str(folder))
    assert first is not None
    assert first.precision == "int8"
    before = logits(first)
    next_process()
    monkeypatch.setattr(models, "_load", never)
    second = engines.load(str(folder))
    assert second is not first
    assert second is not None
    assert second.shape == first.shape
    assert torch.equal(logits(second), before)


def test_a_process_has_one_copy(folder: Path) -> None:
    assert engines.load(str(folder)) is engines.load(str(folder))


def test_an_engine_of_a_changed_model_is_rounded_anew(folder: Path) -> None:
    before = logits(engines.load(str(folder)))
    file = folder / "model.safetensors"
    save_file({name: value * 1.5 for name, value in load_file(file).items()}, file, {"format": "pt"})
    next_process()
    assert not torch.equal(logits(engines.load(str(folder))), before)


def test_a_kept_engine_that_was_damaged_is_made_again(
    folder: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = logits(engines.load(str(folder)))
    [file] = own_cache.rglob(WEIGHTS)
    file.write_bytes(file.read_bytes()[:-4] + b"\x00\x01\x02\x03")
    next_process()
    assert torch.equal(logits(engines.load(str(folder))), before)
    assert "making it again" in caplog.text


def test_what_happens_to_the_kept_file_does_not_change_a_running_engine(folder: Path, own_cache: Path) -> None:
    engines.load(str(folder))
    next_process()
    running = engines.load(str(folder))
    before = logits(running)
    [file] = own_cache.rglob(WEIGHTS)
    with file.open("r+b") as opened:
        opened.seek(2000)
        opened.write(b"\x55" * (file.stat().st_size - 2000))
    assert torch.equal(logits(running), before)


def test_a_cache_that_cannot_be_written_to_costs_time_and_nothing_else(
    folder: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = logits(engines.load(str(folder)))
    next_process()
    for each in (own_cache / "engines").iterdir():
        each.unlink() if each.is_file() else [part.unlink() for part in each.iterdir()] and each.rmdir()
    (own_cache / "engines").rmdir()
    (own_cache / "engines").write_text("a file where the folder would be")
    assert torch.equal(logits(engines.load(str(folder))), before)
    assert "not kept for the next start" in caplog.text


def test_a_reader_shares_the_layers_below_its_update_and_has_its_own_above(
    folder: Path, update: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engines.load(str(folder))
    reader = engines.load_adapted(str(folder), update, 3)
    assert whole is not None
    assert len(reader.layers) == 3
    assert len(whole.layers) == 4
    assert all(mine is its for mine, its in zip(reader.layers[:2], whole.layers, strict=False))
    assert reader.layers[2] is not whole.layers[2]
    assert isinstance(reader.layers[2].qkv, Int8Product)
    before = logits(reader)
    next_process()
    monkeypatch.setattr(models, "_load", never)
    assert torch.equal(logits(engines.load_adapted(str(folder), update, 3)), before)


def test_another_update_is_another_reader(folder: Path, update: dict[str, torch.Tensor]) -> None:
    before = logits(engines.load_adapted(str(folder), update, 3))
    other = {name: value * 2 for name, value in update.items()}
    assert not torch.equal(logits(engines.load_adapted(str(folder), other, 3)), before)
    assert torch.equal(logits(engines.load_adapted(str(folder), update, 3)), before)


def test_a_reader_in_eight_bits_is_near_to_the_one_in_the_models_precision(
    folder: Path, update: dict[str, torch.Tensor]
) -> None:
    model, tokenizer = models.load(str(folder))
    plain = Engine.of(model)
    assert plain is not None
    exact = logits(engines.adapted(plain, model.model, update, 3, tokenizer))
    assert isinstance(engines.adapted(plain, model.model, update, 3, tokenizer).layers[2].qkv, PlainProduct)
    rounded = logits(engines.load_adapted(str(folder), update, 3))
    untaught = logits(engines.load_adapted(str(folder), None, 3))
    assert (rounded - exact).norm() < 0.2 * (untaught - exact).norm()


def test_without_an_update_a_reader_is_the_first_layers(folder: Path) -> None:
    whole = engines.load(str(folder))
    assert whole is not None
    assert engines.load_adapted(str(folder), None, 3).layers == whole.layers[:3]


def test_a_machine_without_eight_bit_products_gets_the_models_own_precision_and_says_so(
    folder: Path, update: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(engines.load(str(folder)))
    reader = logits(engines.load_adapted(str(folder), update, 3))

    def missing(*_: Any) -> Any:
        raise RuntimeError("no kernel")

    for lacking in ("__init__", "of", "__call__"):
        next_process()
        monkeypatch.setattr(Int8Product, lacking, missing)
        engine = engines.load(str(folder))
        assert engine is not None
        assert engine.precision == "bfloat16"
        assert "no eight-bit products here" in caplog.text
        assert 0 < (logits(engine).softmax(-1) - expected.softmax(-1)).abs().sum() < 0.2
        other = logits(engines.load_adapted(str(folder), update, 3))
        assert 0 < (other.softmax(-1) - reader.softmax(-1)).abs().sum() < 0.2


def test_a_model_in_single_precision_stays_in_it(model: Any, tokenizer: Any) -> None:
    engine = engines.of(model, tokenizer)
    assert engine is not None
    assert engine.precision == "float32"


def test_a_model_without_an_engine_can_generate_but_not_judge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "of", lambda _: None)
    assert engines.load(str(folder)) is None
    with pytest.raises(ValueError, match="its shape has no engine"):
        engines.load_adapted(str(folder), None, 3)


def test_where_there_is_a_gpu_the_models_own_precision_is_computed_there(
    folder: Path, own_cache: Path, update: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device] = []
    run, place = Engine.to, torch.device("cpu")  # the nearest to a GPU that is here
    monkeypatch.setattr(engines, "accelerator", lambda: place)
    monkeypatch.setattr(Engine, "to", lambda engine, device: asked.append(device) or run(engine, device))
    engine = engines.load(str(folder))
    reader = engines.load_adapted(str(folder), update, 3)
    assert engine is not None
    assert asked == [place]
    assert (engine.precision, engine.device) == ("bfloat16", place)
    model, tokenizer = models.load(str(folder))
    plain = Engine.of(model)
    assert plain is not None
    assert torch.equal(logits(engine), logits(plain))
    assert torch.equal(logits(reader), logits(engines.adapted(plain, model.model, update, 3, tokenizer)))
    assert not (own_cache / "engines").exists()
