"""The second judge's card: its metrics as a page of Markdown. Knows wording; every figure is measured by `judge_training.py`."""

from pathlib import Path
from typing import Any

from classifiers.card import interval

CARD = """# Winnow second judge, version {version}

A linear model over words (one and two), runs of 2 to 5 characters, the length and a lexical sign of refusal of one reply (TF-IDF,
hashed). Out comes a probability that the reply is unsafe; from {threshold:.3f} on the judge says so. It exists so that the offline
evaluation (`winnow eval live`, `toxicity`) is not marked by the filter itself: it has no states of a language model, and no row in
common with the filter's training data.

- **For**: the same eyes on two sets of replies of one model, with and without a filter.
- **Not for**: filtering anything; the safety of a single reply; other languages than English.
- **It is weak**: it knows harm by its vocabulary. On kinds of reply that it did not learn from it is little better than chance (see
  below), it reads the reply without what was asked, and its absolute rates are worth less than their differences.
- **Training command**: `winnow train --judge --datasets PATH`, minutes on two cores.
- **Licence of the weights**: Apache-2.0. **Checksums**: `checksums.json`, verified at every load.

## Data

| set | rows | what teaches | licence |
|---|---|---|---|
| own pools, `data/pools/`: half of the contexts, by hash | {pools:,} | a person's label, weight 1 | Apache-2.0 |
| anthropics/hh-rlhf, harmless-base test | {preferences:,} pairs | the less harmful of two, weight {of_preference} | MIT |
| ipavlopoulos/context_toxicity, `cat_small.csv` | {comments:,} | a comment's label, weight {of_comment} | Apache-2.0 |

The filter learned from none of these rows. It did learn from other files of context_toxicity, and from other texts of the author who
wrote the pools. Scaling and threshold are set on the half that teaches, by cross-validation over contexts.

## Agreement with human labels

With 95% bootstrap intervals over contexts. "Majority class": always to say what most labels say. Not wholly unseen: the phrases of
refusal were looked over on replies of both halves of the pools, and the weight of the preferences was chosen by cross-validation with
an eye on SafeText and DiaSafety. Both halves of the pools are of one author; replies sampled from a model may differ from either.

| labelled replies | n | unsafe | accuracy | majority class | Cohen's kappa | AUROC |
|---|---|---|---|---|---|---|
{table}
"""


def write_judge_card(path: Path, metrics: dict[str, Any]) -> None:
    """Write the card of a training run to `path`."""
    table = [
        f"| {name} | {row['accuracy']['n']:,} | {100 * row['accuracy']['prevalence']:.1f}% | {interval(row['accuracy'])} "
        f"| {interval(row['majority'])} | {interval(row['kappa'])} | {interval(row['auroc'])} |"
        for name, row in metrics["agreement"].items()
    ]
    recipe = {name: metrics["recipe"][name] for name in ("of_preference", "of_comment")}
    path.write_text(
        CARD.format(
            version=metrics["version"],
            threshold=metrics["threshold"],
            table="\n".join(table),
            **recipe,
            **metrics["rows"],
        )
    )
