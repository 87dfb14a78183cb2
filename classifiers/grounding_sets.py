"""Labelled claims: a passage, a claim, and whether the passage bears it out. Our own minimal pairs, the public sets, and pairs made
by rule.

Knows the formats and how their labels map onto ours. Does not know models.
"""

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifiers.labelled import BadExample, json_object, split_of
from classifiers.sentences import sentences
from classifiers.upstream import csv_rows, digest, json_rows

LABELS = ("supported", "contradicted", "not_enough")
SHARES = (0.72, 0.10, 0.06, 0.12)
"""Of the groups: train, calibration, validation, test."""


@dataclass(frozen=True)
class LabelledClaim:
    """A claim and the passage it is held against. `before`: the turn that it answers, or "".

    `contradicted` None: the source does not tell a claim that is denied from one that is not told. `group`: what must not be
    divided between splits (a passage). `synthetic`: made by rule. `pair`: names one of our hand-written pairs.
    """

    id: str
    passage: str
    before: str
    claim: str
    supported: bool
    contradicted: bool | None
    group: str
    source: str
    split: str
    synthetic: bool = False
    pair: str = ""


def read_own_pairs(folder: Path) -> list[LabelledClaim]:
    """Every claim of our own pairs. Raises `labelled.BadExample` naming file, line and field, FileNotFoundError without files."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no .jsonl file")
    found: list[LabelledClaim] = []
    ids: set[str] = set()
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
            if not line.strip():
                continue
            where = f"{file.name}:{number}"
            row = json_object(line, where)
            for name in ("id", "pair", "passage_id", "passage", "claim"):
                if not isinstance(row.get(name), str) or not row[name].strip():
                    raise BadExample(f"{where}: field {name!r} must be a non-empty string")
            if row.get("label") not in LABELS:
                raise BadExample(f"{where}: field 'label' must be one of {', '.join(LABELS)}, not {row.get('label')!r}")
            if row["id"] in ids:
                raise BadExample(f"{where}: id {row['id']!r} was already used")
            ids.add(row["id"])
            label, group = row["label"], f"own:{row['passage_id']}"
            found.append(
                LabelledClaim(
                    id=row["id"],
                    passage=row["passage"],
                    before=row.get("before", ""),
                    claim=row["claim"],
                    supported=label == "supported",
                    contradicted=label == "contradicted",
                    group=group,
                    source=file.stem,
                    split=split_of(group, SHARES),
                    pair=row["pair"],
                )
            )
    return found


@dataclass(frozen=True)
class GroundingSet:
    """A public set's folder, upstream, licence, reader, and how many of its rows train at most."""

    name: str
    upstream: str
    licence: str
    read: Callable[[Path], Iterator[LabelledClaim]]
    max: int = 4000


def read_grounding_sets(folder: Path) -> list[LabelledClaim]:
    """Every public set found below `folder`. Raises FileNotFoundError naming the missing sets and their upstream."""
    missing = [s for s in GROUNDING_SETS if not (folder / s.name).is_dir()]
    if missing:
        wanted = ", ".join(f"{s.name} (from {s.upstream})" for s in missing)
        raise FileNotFoundError(f"{folder} lacks {wanted}")
    found: list[LabelledClaim] = []
    for one in GROUNDING_SETS:
        rows = list(one.read(folder / one.name))
        train = sorted((r for r in rows if r.split == "train"), key=lambda r: digest(r.id))[: one.max]
        held_out = sorted((r for r in rows if r.split != "train"), key=lambda r: digest(r.id))[: one.max // 4]
        found += train + held_out
    return found


def made_by_rule(claims: Sequence[LabelledClaim], most: int, seed: int = 0) -> list[LabelledClaim]:
    """Synthetic claims over the train passages of others: a sentence of the passage, two of them joined (supported); the same with
    a number, name or negation changed (contradicted), or a true claim held against another passage (not told).

    The recipe is FactCC's (Kryscinski et al., 2020) without its paraphrasing.
    """
    random = np.random.default_rng(seed)
    train = [c for c in claims if c.split == "train"]
    passages = sorted({(c.passage, c.group) for c in train if len(c.passage) > 150})
    true = [c for c in train if c.supported]
    names = sorted({name for passage, _ in passages for name in _NAME.findall(passage)})
    found: list[LabelledClaim] = []

    def add(passage: str, claim: str, group: str, supported: bool, contradicted: bool, before: str = "") -> None:
        number = len(found)
        found.append(
            LabelledClaim(
                f"rule:{number}",
                passage,
                before,
                claim,
                supported,
                contradicted,
                group,
                "made by rule",
                "train",
                synthetic=True,
            )
        )

    for at in random.permutation(len(passages)):
        if len(found) >= most:
            break
        passage, group = passages[at]
        whole = [passage[start:end] for start, end in sentences(passage)]
        whole = [s for s in whole if 30 < len(s) < 250]
        if not whole:
            continue
        said = whole[int(random.integers(len(whole)))]
        changed = _changed(said, names, random)
        if changed is not None:
            add(passage, said, group, True, False)
            add(passage, changed, group, False, True)
        if len(whole) > 2:
            first, second = random.choice(len(whole), 2, replace=False)
            joined = f"{whole[first].rstrip('.')}, and {whole[second][0].lower()}{whole[second][1:]}"
            add(passage, joined, group, True, False)
        other = true[int(random.integers(len(true)))]
        if other.group != group:
            add(passage, other.claim, group, False, False, other.before)
    return found[:most]


_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}(?: [A-Z][a-z]+)*")
_DIGITS = re.compile(r"\d+")
_VERB = re.compile(r"\b(is|are|was|were|has|have|had|can|will|did)\b")


def _changed(sentence: str, names: Sequence[str], random: np.random.Generator) -> str | None:
    """The sentence with one number, name or verb made false; None where there is nothing to change."""
    options: list[str] = []
    number = _DIGITS.search(sentence)
    if number:
        value = int(number[0])
        step = int(random.integers(1, max(3, min(value, 10**9) // 4 + 2)))
        other = value - step if value > 9 and random.random() < 0.5 else value + step
        options.append(f"{sentence[: number.start()]}{max(other, 0)}{sentence[number.end() :]}")
    name = _NAME.search(sentence)
    if name and names:
        stranger = names[int(random.integers(len(names)))]
        if stranger not in sentence:
            options.append(f"{sentence[: name.start()]}{stranger}{sentence[name.end() :]}")
    verb = _VERB.search(sentence)
    if verb:
        options.append(f"{sentence[: verb.end()]} not{sentence[verb.end() :]}")
    return options[int(random.integers(len(options)))] if options else None


def _claim(
    source: str,
    number: object,
    passage: str,
    before: str,
    claim: str,
    supported: bool,
    contradicted: bool | None = None,
    group: str | None = None,
) -> LabelledClaim:
    group = f"{source}:{digest(group if group is not None else passage)[:16]}"
    split = split_of(group, SHARES)
    return LabelledClaim(
        f"{source}:{number}", tidy(passage), tidy(before), tidy(claim), supported, contradicted, group, source, split
    )


def tidy(text: str) -> str:
    """The text without the spaces that a tokeniser of the source put before punctuation."""
    text = re.sub(r"\s+([.,;:!?%)\]])", r"\1", " ".join(text.split()))
    text = re.sub(r"([(\[])\s+", r"\1", text)
    return re.sub(r"\s+('(?:s|re|ve|ll|d|m|t)\b|n't\b)", r"\1", text)


def _begin(folder: Path) -> Iterator[LabelledClaim]:
    with (folder / "begin_wow.tsv").open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
            label = (row["begin_label"] or "").strip().lower()
            if row["knowledge"] and row["response"] and label:
                yield _claim(
                    "begin-wow",
                    number,
                    row["knowledge"],
                    row["message"] or "",
                    row["response"],
                    label.startswith("fully"),
                )


def _faithdial(folder: Path) -> Iterator[LabelledClaim]:
    for path in sorted(folder.glob("*.csv")):
        for number, row in enumerate(csv_rows(path)):
            knowledge = row.get("knowledge") or row.get("evidence") or ""
            reply = next((row[k] for k in ("response", "ctrl", "doha", "gpt2") if row.get(k)), "")
            label = (row.get("begin_label") or row.get("BEGIN") or "").lower()
            if knowledge and reply and label:
                # "Uncooperative" is borne out too, but leads away from what was asked.
                told = "entail" in label or "uncoop" in label
                supported = told and not any(other in label for other in ("halluc", "generic", "partial"))
                yield _claim(
                    "faithdial-audit", f"{path.stem}:{number}", knowledge, row.get("history") or "", reply, supported
                )


def _fm2(folder: Path) -> Iterator[LabelledClaim]:
    for row in json_rows(folder / "dev.jsonl"):
        gold = [e["text"] for e in row["gold_evidence"]]
        beside = [e["text"] for e in row["retrieved_evidence"] if e["text"] not in gold][:2]
        supported = row["label"] == "SUPPORTS"
        group = " ".join(gold)
        yield _claim("fm2", row["id"], " ".join(gold), "", row["text"], supported, not supported, group)
        if beside:
            mixed = [beside[0], *gold, *beside[1:]]
            yield _claim("fm2", f"{row['id']}+", " ".join(mixed), "", row["text"], supported, not supported, group)


def _conjnli(folder: Path) -> Iterator[LabelledClaim]:
    for name in ("adversarial_train_15k.tsv", "conj_dev.tsv"):
        with (folder / name).open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
                label = (row["Label"] or "").strip()
                if label in ("entailment", "neutral", "contradiction") and row["Premise"] and row["Hypothesis"]:
                    yield _claim(
                        "conjnli",
                        f"{name[:4]}:{number}",
                        row["Premise"],
                        "",
                        row["Hypothesis"],
                        label == "entailment",
                        label == "contradiction",
                    )


def _symmetric(folder: Path) -> Iterator[LabelledClaim]:
    for number, row in enumerate(json_rows(folder / "fever_symmetric_dev.jsonl")):
        supported = row["gold_label"] == "SUPPORTS"
        # Claim and evidence come crosswise, four rows with the same words: an id, and the id with 000000N behind it.
        group = re.sub(r"000000\d$", "", str(row["id"]))
        yield _claim("fever-symmetric", number, row["evidence"], "", row["claim"], supported, not supported, group)


def _halueval(folder: Path) -> Iterator[LabelledClaim]:
    for number, row in enumerate(json_rows(folder / "qa_one-turn_data.json")):
        for kind, supported in (("right_answer", True), ("hallucinated_answer", False)):
            yield _claim("halueval-qa", f"{number}:{kind}", row["knowledge"], row["question"], row[kind], supported)


def _squad(folder: Path) -> Iterator[LabelledClaim]:
    with gzip.open(folder / "dev-2.0-from-html.json.gz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            questions = paragraph["qas"]
            given = [question["answers"][0] for question in questions if question["answers"]]
            for number, question in enumerate(questions):
                # An answer to another question of the passage: in its words, and wrong.
                wrong = [text for text in given if text not in question["answers"]]
                if question["answers"] and number % 2 == 0:
                    answer, supported = question["answers"][0], True
                elif wrong:
                    answer, supported = wrong[number % len(wrong)], False
                else:
                    continue
                yield _claim(
                    "squad2",
                    question["id"],
                    paragraph["context"],
                    question["question"],
                    answer,
                    supported,
                    None,
                    article["title"],
                )


GROUNDING_SETS = (
    GroundingSet("begin-wow", "google/BEGIN-dataset v2", "CC-BY-4.0", _begin),
    GroundingSet("faithdial-audit", "McGill-NLP/FaithDial", "MIT", _faithdial),
    GroundingSet("fm2", "google-research/fool-me-twice", "Apache-2.0", _fm2),
    GroundingSet("conjnli", "swarnaHub/ConjNLI", "MIT", _conjnli, 4000),
    GroundingSet("fever-symmetric", "TalSchuster/FeverSymmetric", "CC-BY-SA-3.0", _symmetric),
    GroundingSet("halueval-qa", "RUCAIBox/HaluEval", "MIT", _halueval),
    GroundingSet("squad2", "rajpurkar/SQuAD 2.0", "CC-BY-SA-4.0", _squad, 1200),
)
