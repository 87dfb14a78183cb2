import os

import pytest

from classifiers import models
from classifiers.models import CHECKSUMS, write_checksums
from service import weights
from service.weights import Weights


@pytest.fixture
def folder(tmp_path):
    """A folder of two verified files."""
    made = tmp_path / "safety"
    made.mkdir()
    (made / "weights.safetensors").write_bytes(b"0123456789" * 100)
    (made / "config.json").write_text("{}")
    write_checksums(made)
    return made


def damage(path):
    """One bit, in place, as a failing disk would."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def test_files_that_are_as_they_were_have_no_fault(folder):
    assert Weights([folder]).faults() == []
    assert Weights([]).faults() == []


def test_a_flipped_bit_is_a_fault_that_names_the_file(folder):
    watched = Weights([folder])
    damage(folder / "weights.safetensors")
    (fault,) = watched.faults()
    assert "weights.safetensors" in fault
    assert "damaged after they were loaded" in fault
    assert watched.faults() == [fault]


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", CHECKSUMS])
def test_a_file_that_was_removed_is_a_fault(folder, name):
    watched = Weights([folder])
    (folder / name).unlink()
    assert len(watched.faults()) == 1


def test_a_folder_that_is_gone_is_a_fault_and_its_return_mends_it(folder):
    watched = Weights([folder])
    aside = folder.with_name("aside")
    folder.rename(aside)
    assert len(watched.faults()) == 1
    aside.rename(folder)
    assert watched.faults() == []


def test_new_weights_with_their_own_checksums_are_no_fault(folder):
    watched = Weights([folder])
    (folder / "weights.safetensors").write_bytes(b"new")
    assert len(watched.faults()) == 1
    write_checksums(folder)
    assert watched.faults() == []


def test_of_several_folders_the_damaged_one_is_named(folder, tmp_path):
    other = tmp_path / "support"
    other.mkdir()
    (other / "head.safetensors").write_bytes(b"x" * 50)
    write_checksums(other)
    watched = Weights([folder, other])
    damage(other / "head.safetensors")
    (fault,) = watched.faults()
    assert str(other) in fault
    damage(folder / "config.json")
    assert len(watched.faults()) == 2


def test_files_are_read_again_only_after_they_have_changed(folder, monkeypatch):
    read = []

    def verified(which):
        read.append(which)
        models.verify_checksums(which)

    monkeypatch.setattr(weights, "verify_checksums", verified)
    watched = Weights([folder])
    for _ in range(3):
        watched.faults()
    assert read == []
    damage(folder / "weights.safetensors")
    for _ in range(3):
        watched.faults()
    assert read == [folder]


def test_other_folders_are_watched_from_when_they_are_named_and_no_longer_when_they_are_not(folder, tmp_path):
    another = tmp_path / "head"
    another.mkdir()
    (another / "head.safetensors").write_bytes(b"0123")
    write_checksums(another)
    watched = Weights([folder])
    damage(folder / "weights.safetensors")
    watched.watch([folder, another])
    assert len(watched.faults()) == 1
    damage(another / "head.safetensors")
    assert len(watched.faults()) == 2
    watched.watch([another])
    (fault,) = watched.faults()
    assert "head.safetensors" in fault
