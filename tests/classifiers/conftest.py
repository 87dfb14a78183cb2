"""A language model small enough to read in milliseconds, with a tokenizer of single bytes: every text has a length known beforehand."""

import gzip
import json
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
from classifiers.grounding_sets import GROUNDING_SETS
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
    return Backbone.of(model, tokenizer, LAYERS)


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


@pytest.fixture
def public_claims(tmp_path: Path) -> Path:
    """The public sets of labelled claims, each in its own format, a few rows long."""
    folder = tmp_path / "public"
    folder.mkdir()
    for one in GROUNDING_SETS:
        (folder / one.name).mkdir()
    begin = "knowledge\tmessage\tresponse\tbegin_label\n"
    for i, label in enumerate(("Fully attributable", "Not fully attributable", "Generic")):
        begin += f'Salt "{i} is white .\tIs it ?\tIt is white .\t{label}\n'
    (folder / "begin-wow/begin_wow.tsv").write_text(begin)
    audit = 'evidence,history,response,BEGIN,VRM\nA fact,"Hi, you",A reply,%s,x\n'
    for name, label in (
        ("gold_a", "Entailment"),
        ("gold_b", '"entailment,hallucination"'),
        ("gold_c", "uncooperative"),
    ):
        (folder / f"faithdial-audit/{name}.csv").write_text(audit % label)
    fm2 = {"gold_evidence": [{"text": "Gold."}], "retrieved_evidence": [{"text": "Gold."}, {"text": "Beside."}]}
    rows = [{**fm2, "id": label, "label": label, "text": "It is so."} for label in ("SUPPORTS", "REFUTES")]
    (folder / "fm2/dev.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("adversarial_train_15k.tsv", "conj_dev.tsv"):
        (folder / "conjnli" / name).write_text(
            "Premise\tHypothesis\tLabel\nA and B\tA\tentailment\nA or B\tA\tneutral\nNot A\tA\tcontradiction\n",
            encoding="utf-8-sig",
        )
    pairs = [
        {"id": name, "claim": "C", "evidence": f"E{name}", "gold_label": label}
        for name, label in (("77", "SUPPORTS"), ("770000002", "REFUTES"))
    ]
    (folder / "fever-symmetric/fever_symmetric_dev.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    answers = {"knowledge": "K", "question": "Q?", "right_answer": "R", "hallucinated_answer": "H"}
    (folder / "halueval-qa/qa_one-turn_data.json").write_text(json.dumps(answers))
    questions = [
        {"id": f"q{i}", "question": f"Q{i}?", "answers": [f"A{i}"] if i < 3 else [], "is_impossible": i >= 3}
        for i in range(4)
    ]
    article = {"title": "T", "paragraphs": [{"context": "A0 A1 A2", "qas": questions}]}
    with gzip.open(folder / "squad2/dev-2.0-from-html.json.gz", "wt") as file:
        json.dump({"data": [article]}, file)
    return folder
