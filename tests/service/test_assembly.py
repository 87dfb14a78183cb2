"""What is damaged or missing stops the start: no request ever meets it."""

import functools
import json
import os
import threading
from contextlib import closing

import pytest
import torch
from safetensors.torch import save_file

from classifiers import (
    OBJECTIVES,
    DamagedWeights,
    ModelNotFound,
    PolicyError,
    Quality,
    Safety,
    Support,
    grounding,
    load_policy,
)
from classifiers.adaptation import fingerprint, head_of
from classifiers.backbone import Backbone
from classifiers.models import write_checksums
from classifiers.quality import QualityReadout
from classifiers.readout import Readout, Scorer
from retrieval import DamagedIndex, Index
from service import assembly
from service.assembly import assemble, load_index
from service.chat import Wants
from service.generator import LocalGenerator
from service.settings import Settings
from service.upstream import KEY
from tests.service.scripted import ASKS_NOTHING, DOCUMENTS, INDEX
from tests.service.serving import scripted


def save_support(folder, width):
    """Weights of a support classifier for a backbone of this width."""
    folder.mkdir()
    save_file({"1.mlp.up_proj.up": torch.zeros(1, 1)}, folder / grounding.UPDATE)
    save_file(head_of(width, 2).state_dict(), folder / grounding.HEAD)
    combination = {"weights": [1.0, 0.0, 0.0], "offset": 0.0, "contradicted": [1.0, 0.0]}
    config = {"backbone": "tiny", "version": "1-x", "combination": combination, "threshold": 0.7}
    (folder / grounding.CONFIG).write_text(json.dumps(config))
    write_checksums(folder)


def save_quality(folder, width, reads=None):
    """Weights of a quality ranker on the states of this width, by default of a reader without an update."""
    QualityReadout(Readout(width, 4, 4, 1), reads or fingerprint({}), "quality-1").save(folder)


@pytest.fixture
def parts(tmp_path, tiny_model, monkeypatch):
    """Settings for whole parts in a folder: index, policy file, weights; with a tiny model for generator and classifier."""
    model, tokenizer = tiny_model
    backbone = Backbone.of(model, tokenizer, layers=(1, 2))
    INDEX.save(tmp_path / "index")
    (tmp_path / "policy.toml").write_text('preset = "strict"\n')
    scorer = Scorer(Readout(backbone.width, 4, 1 + len(OBJECTIVES), 1), OBJECTIVES, "tiny", "test-1")
    scorer.save(tmp_path / "weights")
    monkeypatch.setattr(Safety, "load", functools.partial(Safety.load, folder=tmp_path / "weights"))
    save_support(tmp_path / "support", backbone.width)
    monkeypatch.setattr(Support, "load", functools.partial(Support.load, folder=tmp_path / "support"))
    save_quality(tmp_path / "quality", backbone.width)
    monkeypatch.setattr(Quality, "load", functools.partial(Quality.load, folder=tmp_path / "quality"))
    monkeypatch.setattr(Backbone, "load", lambda name, update, layers=(): backbone)
    for part in tiny_model:
        part.save_pretrained(tmp_path / "model")
    return Settings(
        model=str(tmp_path / "model"),
        index=tmp_path / "index",
        policy=str(tmp_path / "policy.toml"),
        max_input_tokens=400,
    )


def test_whole_parts_make_a_corridor_that_answers(parts):
    corridor = assemble(parts)
    assert corridor.index.passages == INDEX.passages
    assert corridor.policy.preset == "strict"
    assert corridor.safety.policy is corridor.policy
    assert corridor.generator.name == parts.model
    assert len(corridor.reply(ASKS_NOTHING, Wants(candidates=2, seed=1)).replies) == 1


def test_what_loads_is_a_thread_that_has_ended_when_the_corridor_is_there(parts, monkeypatch):
    """It would keep a pool of torch's threads, and every product would wait for the two of them."""
    loaded = []
    load = assembly.load_generator
    monkeypatch.setattr(
        assembly, "load_generator", lambda settings: loaded.append(threading.current_thread()) or load(settings)
    )
    assemble(parts)
    assert loaded
    assert not any(thread.is_alive() for thread in loaded)


def test_with_an_upstream_no_generator_is_loaded_and_its_replies_are_judged_here(parts, monkeypatch):
    monkeypatch.setattr(LocalGenerator, "load", lambda *_: pytest.fail("the local generator was loaded"))
    monkeypatch.setenv(KEY, "sk-secret")
    said = {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}
    with scripted(lambda path, body: (200, said if body else {"data": [{"id": "theirs"}]})) as (url, script):
        corridor = assemble(parts.model_copy(update={"upstream": url}))
        with closing(corridor.generator):
            decision = corridor.reply(ASKS_NOTHING, Wants(candidates=2, seed=1))
    assert corridor.generator.name == decision.model == "theirs"
    assert [j.candidate.text for j in decision.judged[:2]] == ["hello", "hello"]
    assert {header["Authorization"] for header in script.headers} == {"Bearer sk-secret"}
    assert "sk-secret" not in repr(corridor.settings)


@pytest.mark.parametrize(
    ("upstream", "key", "named"),
    [("ftp://there", None, "upstream is 'ftp"), ("http://there", "a b", "WINNOW_UPSTREAM_KEY")],
)
def test_an_upstream_that_cannot_be_used_stops_the_start(parts, monkeypatch, upstream, key, named):
    monkeypatch.setattr("os.environ", {**os.environ, **({KEY: key} if key else {})})
    with pytest.raises(ValueError, match=named):
        assemble(parts.model_copy(update={"upstream": upstream, "upstream_model": "m"}))


def test_the_toolset_computes_and_looks_up_in_the_index_and_has_no_translator_unless_one_is_set(parts):
    toolset = assemble(parts).toolset
    assert toolset.installed == {"calculator": "built in", "translator": "none installed", "retrieval": "index"}
    assert toolset("What is 135+7721?")[0] == "7856"
    assert toolset("the capital of Kenya")[0] == INDEX.search("the capital of Kenya", 1)[0].passage.text


def test_the_translator_of_the_settings_is_the_toolsets(parts, monkeypatch):
    monkeypatch.setattr(assembly, "Translator", lambda model: f"translator {model}")
    toolset = assemble(parts.model_copy(update={"translator": "some/model"})).toolset
    assert toolset.translator == "translator some/model"


def test_a_translator_that_is_not_there_stops_the_start(parts):
    with pytest.raises(ValueError, match=r"translator: .*nowhere"):
        assemble(parts.model_copy(update={"translator": "nowhere"}))


def test_the_prompt_limit_of_the_settings_is_the_generators(parts):
    with pytest.raises(ValueError, match="limit is 400"):
        assemble(parts).reply([{"role": "user", "content": "x" * 400}], Wants(candidates=1))


def flip(path):
    """One bit of a file's middle is not what was written."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["passages.sqlite", "terms.i32", "lengths.i32", "manifest.json"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_damaged_index_stops_the_start(parts, name, damage, trials):
    damage(next(parts.index.glob(f"**/{name}")))
    with pytest.raises(DamagedIndex, match=name):
        assemble(parts)
    trials("index damaged or missing at the start", 1)


def test_an_index_that_is_not_there_stops_the_start(parts, tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        assemble(parts.model_copy(update={"index": tmp_path / "elsewhere"}))


@pytest.mark.parametrize("name", ["readout.safetensors", "config.json", "checksums.json"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_damaged_weights_stop_the_start(parts, tmp_path, name, damage, trials):
    damage(tmp_path / "weights" / name)
    with pytest.raises(DamagedWeights):
        assemble(parts)
    trials("weights damaged or missing at the start", 1)


@pytest.mark.parametrize("name", [grounding.HEAD, grounding.UPDATE, "config.json", "checksums.json"])
def test_damaged_weights_of_the_support_classifier_stop_the_start(parts, tmp_path, name):
    flip(tmp_path / "support" / name)
    with pytest.raises(DamagedWeights):
        assemble(parts)


@pytest.mark.parametrize("name", ["readout.safetensors", "config.json", "checksums.json"])
def test_damaged_weights_of_the_quality_ranker_stop_the_start(parts, tmp_path, name):
    flip(tmp_path / "quality" / name)
    with pytest.raises(DamagedWeights):
        assemble(parts)


def test_a_quality_ranker_trained_with_another_safety_classifier_stops_the_start(parts, tmp_path):
    save_quality(tmp_path / "quality", 8, "another")
    with pytest.raises(ValueError, match="winnow train --quality"):
        assemble(parts)


def test_survivors_are_rated_by_the_states_that_screening_read(parts):
    corridor = assemble(parts)
    assert corridor.quality.reader is corridor.safety
    assert corridor.reply(ASKS_NOTHING, Wants(candidates=1, seed=1)).versions["quality"] == "quality-1"


def test_weights_that_score_other_objectives_than_the_policy_names_stop_the_start(parts, tmp_path):
    scorer = Scorer.load(tmp_path / "weights", OBJECTIVES)
    Scorer(scorer.readout, ("manners", *OBJECTIVES[1:]), "tiny", "test-1").save(tmp_path / "weights")
    with pytest.raises(ValueError, match="manners"):
        assemble(parts)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("preset = ", "TOML"),
        ('preset = "lax"', "lax"),
        ("[objectives.manners]\nthreshold = 0.5", "manners"),
        ("[objectives.violence]\nthreshold = 0", "violence.threshold"),
    ],
)
def test_a_policy_that_cannot_be_used_stops_the_start(parts, tmp_path, written, named):
    (tmp_path / "policy.toml").write_text(written)
    with pytest.raises(PolicyError, match=named):
        assemble(parts)


def test_a_policy_that_is_neither_preset_nor_file_stops_the_start(parts):
    with pytest.raises(PolicyError, match="lenient"):
        assemble(parts.model_copy(update={"policy": "lenient"}))


def test_a_model_that_is_not_there_stops_the_start(parts, tmp_path):
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(ModelNotFound, match="model"):
        assemble(parts)


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A sample corpus of four documents, an empty cache, and how often an index was built."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = [json.dumps({"id": d.id, "title": d.title, "text": d.text}) for d in DOCUMENTS]
    (corpus / "four.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr(assembly, "CORPUS", corpus)
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    built = []
    build = Index.build
    monkeypatch.setattr(Index, "build", lambda documents: built.append(documents) or build(documents))
    return corpus, tmp_path / "cache" / "index", built


def test_without_an_index_the_sample_corpus_is_indexed_once(sample):
    _, _, built = sample
    first, second = load_index(Settings()), load_index(Settings())
    assert first.document_count == second.document_count == 4
    assert len(built) == 1


def test_a_changed_sample_corpus_is_indexed_again(sample):
    corpus, _, built = sample
    load_index(Settings())
    (corpus / "fifth.jsonl").write_text(json.dumps({"id": "fifth", "text": "A fifth document."}))
    assert load_index(Settings()).document_count == 5
    assert len(built) == 2


def test_a_damaged_sample_index_is_built_again_with_a_warning(sample, caplog):
    _, cache, built = sample
    load_index(Settings())
    (folder,) = cache.iterdir()
    flip(next(folder.glob("*/passages.sqlite")))
    assert load_index(Settings()).document_count == 4
    assert len(built) == 2
    assert "passages.sqlite" in caplog.text


def test_what_the_sample_index_finds_is_in_the_sample_corpus(sample):
    found = load_index(Settings()).search("What is the capital of Kenya?", 1)
    assert found[0].passage.text == DOCUMENTS[0].text


def test_the_shipped_policy_is_the_default(parts):
    assert assemble(parts.model_copy(update={"policy": "balanced"})).policy == load_policy()


def test_generators_are_not_loaded_before_the_rest_is_known_to_be_whole(parts, monkeypatch):
    loaded = []
    monkeypatch.setattr(LocalGenerator, "load", lambda *args: loaded.append(args))
    with pytest.raises(PolicyError):
        assemble(parts.model_copy(update={"policy": "lenient"}))
    assert loaded == []
