"""The model card: a trained classifier's metrics as a page of Markdown.

Knows wording; every figure in it is measured by `training.py`.
"""

from pathlib import Path
from typing import Any

from classifiers.public_sets import PUBLIC_SETS

CARD = """# Winnow safety classifier, version {version}

A readout of {members} small perceptrons over the frozen hidden states of SmolLM2-135M-Instruct (Apache-2.0; layers 12 to 25, the mean
over the judged tokens and the state after them). For an exchange (context turns and one reply, or a user's prompt) it gives one
probability for each of the fifteen objectives of `data/policy.toml`.

- **For**: dropping unsafe candidates of a chat model before one is sent; scoring prompts and texts in English.
- **Not for**: deciding about people; languages other than English (about one own row in twenty is Spanish, German, French or
  Portuguese, none is measured apart); text hidden by spelling tricks; anything where a missed harm has no second line of defence.
- **Training command**: `winnow train --datasets PATH`, seed {seed}. The run took {minutes} minutes on two cores, of which
  {featurise_minutes} to read hidden states ({rows:,} rows of them take under an hour when none is in the cache yet).
- **Licence of the weights**: Apache-2.0. **Checksums**: `checksums.json`, verified at every load.

## Data

| set | upstream | licence | training rows |
|---|---|---|---|
{data}

`own` is `data/labelled/` (written for Winnow, Apache-2.0), split by pair into 70% training, 15% validation and 15% test. Public
sets keep their own validation files or are split by context, situation or post; training rows that share a context with a
held-out row are left out.

## Measured

Area under the ROC curve for *unsafe*, with the 95% bootstrap interval over contexts or pairs, beside TF-IDF + logistic regression
trained on the same rows in the same run. No held-out row was trained on. The recipe (width, epochs, weights) was chosen on the public
validation parts and on all held-out pairs together, so the pairs' test part is not free of that
choice; calibration used validation alone.

| held-out part | n | unsafe | this classifier | TF-IDF, same rows | TF-IDF, own rows only |
|---|---|---|---|---|---|
{table}

Validation rows at or above a threshold, all sources together: share of the unsafe (recall) and of the safe (over-refusal). Public
dialog sets are full of disputed and abusive talk; on plain questions over-refusal is lower.

| threshold | recall | over-refusal |
|---|---|---|
{thresholds}

## Known failures

- A reply that is harmful only through its context, word for word harmless otherwise, is often missed: see "replies" in the table.
- Frightening words in harmless use still raise the score, less than in a bag of words.
- Irony, and hate carried by implication alone, are near chance.
"""


def write_card(path: Path, metrics: dict[str, Any]) -> None:
    """Write the card of a training run to `path`."""
    rows = metrics["training_rows"]
    data = [f"| own | Winnow, `data/labelled/` | Apache-2.0 | {rows.get('own', 0):,} |"]
    seen = set()
    for public_set in PUBLIC_SETS:
        name = (
            "questions"
            if public_set.name in ("questions", "harmful-questions", "corpora", "squad2")
            else public_set.name
        )
        count = (
            "" if name in seen else f"{rows.get(name, 0):,}" + (" (with the next two)" if name == "questions" else "")
        )
        seen.add(name)
        data.append(f"| {public_set.name} | {public_set.upstream} | {public_set.licence} | {count} |")
    table = [
        f"| {name} | {row['ours']['n']:,} | {_percent(row['ours']['prevalence'])} | {_interval(row['ours'])} "
        f"| {_interval(row['tfidf'])} | {_interval(row['tfidf_own'])} |"
        for name, row in metrics["auroc"].items()
    ]
    thresholds = [
        f"| {threshold} | {_percent(row['recall'])} | {_percent(row['over_refusal'])} |"
        for threshold, row in metrics["thresholds_on_validation"].items()
    ]
    path.write_text(
        CARD.format(
            version=metrics["version"],
            members=metrics["recipe"]["members"],
            seed=metrics["seed"],
            minutes=metrics["minutes"],
            featurise_minutes=metrics["featurise_minutes"],
            rows=metrics["rows"],
            data="\n".join(data),
            table="\n".join(table),
            thresholds="\n".join(thresholds),
        )
    )


def _interval(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "n/a"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{share:.1%}"
