"""How well the claim rule tells claims from chat: accuracy, precision and recall beside a baseline, with intervals.

    python benchmarks/claims.py [--train] [--public DIRECTORY]

`data/grounding/sentences.jsonl` is halved by a hash of the turn before (twins stay together): one half trains, the other
is reported. `--train` fits the weights anew and writes them to retrieval/claims.json. DIRECTORY holds begin-wow/ and
faithdial-audit/, which no weight was fitted on; a reply there is a claim when any of its sentences is.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from retrieval.claims import features, is_claim
from retrieval.sentences import sentences
from retrieval.tokens import tokenise

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "data" / "grounding"
WEIGHTS = ROOT / "retrieval" / "claims.json"
# The pairs hold claims only. Together they weigh as much as a hundred labelled sentences, to show what plain claims look
# like without drowning the chat.
PAIRS_WEIGHT = 100.0
Labelled = list[tuple[str, str, bool]]  # text, turn before, claim or not


def tuning(key: str) -> bool:
    """Whether what carries this key trains; else it is reported."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 2 == 0


def _lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def own(part: bool) -> Labelled:
    """The labelled sentences of the tuning half (True) or of the reporting half (False)."""
    rows = _lines(OWN / "sentences.jsonl")
    return [(r["sentence"], r["before"], r["claim"]) for r in rows if tuning(r["before"] or r["id"]) == part]


def pairs(part: bool) -> Labelled:
    """The claims of the minimal pairs, halved by passage."""
    rows = [row for file in sorted((OWN / "pairs").glob("*.jsonl")) for row in _lines(file)]
    return [(r["claim"], r.get("before") or "", True) for r in rows if tuning(r["passage_id"]) == part]


def begin(directory: Path) -> Labelled:
    """BEGIN's replies: Generic is no claim, Fully attributable is one; Not fully attributable is mixed and left out."""
    with open(directory / "begin-wow" / "begin_wow.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    kept = {"Generic": False, "Fully attributable": True}
    return [(r["response"], r["message"], kept[r["begin_label"]]) for r in rows if r["begin_label"] in kept]


def audit(directory: Path) -> Labelled:
    """FaithDial's audit with BEGIN's labels, where the label is Generic or Entailment alone."""
    kept = {"generic": False, "entailment": True}
    found: Labelled = []
    for path in sorted((directory / "faithdial-audit").glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                label = (row.get("begin_label") or row.get("BEGIN") or "").strip().lower()
                if label in kept:
                    reply = next(row[name] for name in ("response", "ctrl", "doha", "gpt2") if name in row)
                    found.append((reply or "", row["history"] or "", kept[label]))
    return found


def train() -> None:
    """Fits the regression on the tuning halves and writes its weights, rounded to three places."""
    from sklearn.linear_model import LogisticRegression

    chat, plain = own(True), pairs(True)
    seen = [features(text, before) for text, before, _ in chat + plain]
    names = sorted(seen[0])
    weights = np.r_[np.ones(len(chat)), np.full(len(plain), PAIRS_WEIGHT / len(plain))]
    model = LogisticRegression(C=1.0, max_iter=5000).fit(
        np.array([[row[name] for name in names] for row in seen]),
        np.array([claim for *_, claim in chat + plain]),
        sample_weight=weights,
    )
    fitted = {name: round(float(w), 3) for name, w in zip(names, model.coef_[0], strict=True)}
    WEIGHTS.write_text(
        json.dumps({"bias": round(float(model.intercept_[0]), 3), "weights": fitted}, indent=1) + "\n", encoding="utf-8"
    )


def baseline(text: str, before: str) -> bool:
    """Two content words and no question mark."""
    return len(tokenise(text)) >= 2 and "?" not in text


def _any_sentence(judge: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    return lambda text, before: any(judge(text[start:end], before) for start, end in sentences(text))


def _figures(truth: np.ndarray, said: np.ndarray) -> tuple[float, float, float, float]:
    """Accuracy, precision, recall, balanced accuracy; NaN where a class is missing."""
    with np.errstate(invalid="ignore"):
        hit = float(np.sum(truth & said))
        recall = np.divide(hit, truth.sum())
        refused = np.divide(np.sum(~truth & ~said), (~truth).sum())
        return (
            float(np.mean(truth == said)),
            float(np.divide(hit, said.sum())),
            float(recall),
            float((recall + refused) / 2),
        )


def _row(truth: np.ndarray, said: np.ndarray) -> list[str]:
    """Each figure with its 95% bootstrap interval (1,000 resamples of the texts)."""
    draws = np.random.default_rng(0).integers(0, len(truth), (1000, len(truth)))
    spread = np.array([_figures(truth[draw], said[draw]) for draw in draws])
    cells = []
    for number, figure in enumerate(_figures(truth, said)):
        drawn = spread[:, number][~np.isnan(spread[:, number])]
        low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
        cells.append("-" if np.isnan(figure) else f"{figure:.3f} ({low:.3f}–{high:.3f})")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="fit and write the weights; run again to report them")
    parser.add_argument("--public", type=Path, help="directory that holds begin-wow/ and faithdial-audit/")
    options = parser.parse_args()
    if options.train:
        train()
        return

    sets = {"own sentences, reporting half": own(False), "claims of own pairs, reporting half": pairs(False)}
    if options.public:
        wow, audited = begin(options.public), audit(options.public)
        sets |= {"BEGIN, WoW": wow, "BEGIN labels, FaithDial's audit": audited, "BEGIN, both": wow + audited}
    table = Table("texts", "n", "claims", "judge", "accuracy", "precision", "recall", "balanced accuracy")
    for name, rows in sets.items():
        truth = np.array([claim for *_, claim in rows])
        for title, judge in (("winnow", is_claim), ("two content words, no ?", baseline)):
            whole = judge if name.startswith(("own", "claims")) else _any_sentence(judge)
            said = np.array([whole(text, before) for text, before, _ in rows])
            table.add_row(name, str(len(rows)), f"{truth.mean():.1%}", title, *_row(truth, said))
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
