"""The public sets: one reader each, from the upstream's own files to `Example`s; here those with labels, and the table of all.

Knows each upstream's format and how its labels map onto ours. Does not copy or keep any of it.

`max` keeps the big sets from drowning the good ones: a fixed sample by hash of the row. A set with its own validation file
uses it; the others are split by context (or situation, or post), never by row.
"""

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from classifiers import plain_sets
from classifiers.labelled import Example, split_of
from classifiers.upstream import alternate, csv_rows, digest, example, json_rows

Reader = Callable[[Path], Iterator[Example]]


@dataclass(frozen=True)
class PublicSet:
    """A set's folder name, upstream, licence, reader, and how many training rows are kept at most."""

    name: str
    upstream: str
    licence: str
    read: Reader
    max: int


def read_public(folder: Path) -> list[Example]:
    """Every public set found below `folder`. Raises FileNotFoundError naming the sets that are missing and their upstream."""
    missing = [s for s in PUBLIC_SETS if not (folder / s.name).is_dir()]
    if missing:
        wanted = ", ".join(f"{s.name} (from {s.upstream})" for s in missing)
        raise FileNotFoundError(f"{folder} lacks {wanted}; data/labelled/README.md says where each file goes")
    return [example for public_set in PUBLIC_SETS for example in read_set(public_set, folder)]


def read_set(public_set: PublicSet, folder: Path) -> list[Example]:
    """One public set below `folder`: at most its `max` of training rows, and what it holds out."""
    rows = list(public_set.read(folder / public_set.name))
    train = sorted((e for e in rows if e.split == "train"), key=lambda e: digest(e.id))[: public_set.max]
    return train + [_held_out(e) for e in rows if e.split != "train"]


def _held_out(example: Example) -> Example:
    """Two in five groups of what a set holds out calibrate, the others validate."""
    return replace(example, split=split_of(f"held out {example.group}", (0.0, 0.4, 0.6, 0.0)))


DIASAFETY = {
    "Offending User": "harassment",
    "Risk Ignorance": "self_harm",
    "Unauthorized Expertise": "specialised_advice",
    "Biased Opinion": "hate",
    "Toxicity Agreement": None,
}


def diasafety(folder: Path) -> Iterator[Example]:
    for split, name in (("train", "train"), ("validation", "val")):
        for i, row in enumerate(json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))):
            yield example(
                "diasafety",
                f"{name}-{i}",
                row["response"],
                row["label"] == "Unsafe",
                DIASAFETY[row["category"]],
                (("user", row["context"].strip()),),
                "assistant",
                " ".join(row["context"].lower().split()),
                split,
            )


def toxichat(folder: Path) -> Iterator[Example]:
    for split, name in (("train", "train"), ("validation", "dev")):
        for i, row in enumerate(json_rows(folder / f"{name}.jsonl")):
            thread = [turn["text"] for turn in row["reddit_thread"]]
            for model in ("dgpt", "gpt3"):
                reply = row[f"final_{model}_response"]
                yield example(
                    "toxichat",
                    f"{name}-{i}-{model}",
                    reply["text"],
                    reply["offense_label"] == "Offensive",
                    None,
                    alternate(thread),
                    "assistant",
                    f"{name}-{i}",
                    split,
                )


def convabuse(folder: Path) -> Iterator[Example]:
    for split, name in (("train", "train"), ("validation", "valid")):
        for i, row in enumerate(csv_rows(folder / f"ConvAbuseEMNLP{name}.csv")):
            severity = [
                int(key.rsplit(".", 1)[1])
                for key, value in row.items()
                if "_is_abuse." in key and value.startswith("1")  # an annotator who rated twice reads "1, 1"
            ]
            if not severity:
                continue
            turns = tuple(
                (role, row[key].strip())
                for role, key in (("assistant", "prev_agent"), ("user", "prev_user"), ("assistant", "agent"))
                if row[key].strip()
            )
            yield example(
                "convabuse",
                f"{name}-{i}",
                row["user"],
                sum(severity) / len(severity) < 0,
                "harassment",
                turns,
                group=row["conv_id"] + name,
                split=split,
            )


def safetext(folder: Path) -> Iterator[Example]:
    situations = json.loads((folder / "SafeText.json").read_text(encoding="utf-8"))
    for i, (situation, continuations) in enumerate(situations.items()):
        for label in ("safe", "unsafe"):
            for j, reply in enumerate(continuations[label]):
                yield example(
                    "safetext",
                    f"{i}-{label}-{j}",
                    reply,
                    label == "unsafe",
                    "specialised_advice",
                    (("user", situation),),
                    "assistant",
                    str(i),
                )


def davidson(folder: Path) -> Iterator[Example]:
    # Class 1, "offensive", is mostly mere profanity: neither safe nor unsafe by our policy, so it is left out.
    for i, row in enumerate(csv_rows(folder / "labeled_data.csv")):
        if row["class"] != "1":
            yield example("davidson", i, row["tweet"], row["class"] == "0", "hate")


def hatemojibuild(folder: Path) -> Iterator[Example]:
    for split, name in (("train", "train"), ("validation", "validation")):
        for row in csv_rows(folder / f"{name}.csv"):
            yield example(
                "hatemojibuild",
                row["entry_id"],
                row["text"],
                row["label_gold"] == "1",
                "hate",
                split=split,
            )


def sbic(folder: Path) -> Iterator[Example]:
    posts: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in csv_rows(folder / "SBFv2.dev.csv"):
        posts[row["post"]].append(row)
    for i, (post, rows) in enumerate(posts.items()):
        votes = [float(row["offensiveYN"]) for row in rows if row["offensiveYN"]]
        if not votes or 0.3 < sum(votes) / len(votes) < 0.6:  # raters disagree: no label
            continue
        group_targeted = any(row["targetMinority"] for row in rows)
        yield example("sbic", i, post, sum(votes) / len(votes) >= 0.6, "hate" if group_targeted else None)


def edos(folder: Path) -> Iterator[Example]:
    for split, name in (("train", "train"), ("validation", "dev")):
        for row in csv_rows(folder / f"{name}.csv"):
            yield example(
                "edos",
                row["rewire_id"],
                row["text"],
                row["label_sexist"] == "sexist",
                "hate",
                split=split,
                labelled_for="hate",
            )


def context_toxicity(folder: Path) -> Iterator[Example]:
    # All toxic comments and the plainly benign ones; a Perspective score in the middle says that the crowd was unsure.
    for name in ("gc", "gn"):
        with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            for i, row in enumerate(csv.DictReader(file)):
                toxic = row["label"] == "1"
                if toxic or (float(row["api"] or 1) < 0.2 and i % 15 == 0):
                    yield example(
                        "context-toxicity",
                        f"{name}-{i}",
                        row["text"],
                        toxic,
                        None,
                        (("user", row["parent"].strip()),),
                        "assistant",
                        " ".join(row["parent"].split()),
                        "train",
                    )


CATQA = {
    "Illegal Activity": "crime",
    "Malware Viruses": "crime",
    "Economic Harm": "crime",
    "Fraud/Deception": "crime",
    "Privacy Violation Activity": "privacy",
    "Physical Harm": None,
    "Hate/Harass/Violence": None,
}


def harmful_questions(folder: Path) -> Iterator[Example]:
    # Two of CatQA's categories (tailored financial advice, political campaigning) are not harmful by our policy, one
    # (adult content) only in part: they are left out.
    number = 0
    for category, kinds in json.loads((folder / "catqa_english.json").read_text(encoding="utf-8")).items():
        for kind, questions in kinds.items():
            for question in questions:
                number += 1
                if category in CATQA:
                    yield example("questions", f"catqa-{number}", question, True, CATQA[category], group=kind)
    for kinds in json.loads((folder / "harmfulqa.json").read_text(encoding="utf-8")).values():
        for kind, questions in kinds.items():
            for question in questions:
                number += 1
                yield example("questions", f"harmfulqa-{number}", question, True, None, group=kind)


PUBLIC_SETS = (
    PublicSet("diasafety", "thu-coai/DiaSafety", "Apache-2.0", diasafety, 7000),
    PublicSet("toxichat", "abaheti95/ToxiChat", "CC-BY-SA-4.0", toxichat, 2800),
    PublicSet("convabuse", "amandacurry/convabuse", "CC-BY-4.0", convabuse, 2501),
    PublicSet("safetext", "sharonlevy/SafeText", "MIT", safetext, 1500),
    PublicSet("davidson", "t-davidson/hate-speech-and-offensive-language", "MIT", davidson, 2000),
    PublicSet("hatemojibuild", "HannahKirk/Hatemoji", "CC-BY-4.0", hatemojibuild, 2500),
    PublicSet("sbic", "SBIC v2 dev", "CC-BY-4.0", sbic, 2500),
    PublicSet("edos", "rewire-online/edos", "CC0-1.0", edos, 2000),
    PublicSet("context-toxicity", "ipavlopoulos/context_toxicity", "Apache-2.0", context_toxicity, 800),
    PublicSet("harmful-questions", "declare-lab/red-instruct", "Apache-2.0", harmful_questions, 1000),
    PublicSet("corpora", "abachaa/MedQuAD", "CC-BY-4.0", plain_sets.medquad, 1400),
    PublicSet("corpora", "CIA World Factbook", "CC0-1.0", plain_sets.factbook, 400),
    PublicSet("topicalchat", "alexa/Topical-Chat", "CDLA-Sharing-1.0", plain_sets.topicalchat, 900),
    PublicSet("squad2", "rajpurkar/SQuAD 2.0 dev", "CC-BY-SA-4.0", plain_sets.squad_questions, 900),
    PublicSet("selfdialogue", "jfainberg/self_dialogue_corpus", "BSD-3-Clause", plain_sets.selfdialogue, 1200),
)
