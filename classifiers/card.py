"""The model card: a trained classifier's metrics as a page of Markdown.

Knows wording; every figure in it is measured by `training.py`.
"""

import json
from pathlib import Path
from typing import Any

from classifiers.models import write_checksums
from classifiers.public_sets import PUBLIC_SETS

CARD = """# Winnow safety classifier, version {version}

A readout of {members} small perceptrons over hidden states of SmolLM2-135M-Instruct (Apache-2.0; layers 12 to 25, the mean over the
judged tokens and the state after them), whose upper layers carry a low-rank update (rank {rank}) learned on the same data. For an
exchange (context turns and one reply, or a user's prompt) it gives a calibrated probability that the text is unsafe, and one for
each of the fifteen objectives of `data/policy.toml`.

- **For**: dropping unsafe candidates of a chat model before one is sent; scoring prompts and texts, in English first.
- **Not for**: deciding about people; languages other than English beyond a first look (a few own rows in a hundred are Spanish,
  German, French or Portuguese); anything where a missed harm has no second line of defence.
- **Training command**: `winnow train --datasets PATH --seed {seed}`. The run took {minutes} minutes on two cores: {adapt_minutes}
  for the update, {featurise_minutes} to read hidden states of {rows:,} rows, the rest to fit and measure. It shows its progress,
  keeps checkpoints and goes on after a kill.{remark}
- **Licence of the weights**: Apache-2.0. **Checksums**: `checksums.json`, verified at every load.

## Data

| set | upstream | licence |
|---|---|---|
{data}

Training rows by source ("questions" and "answers" come from several sets): {rows_by_source}.

`own` is `data/labelled/` (written for Winnow, Apache-2.0; its README is the datasheet), split by pair into 62% training, 18%
calibration, 5% validation and 15% test. Public sets keep their own validation files or are split by context, situation or post,
two in five of the held-out groups for calibration; training rows that share a context with a held-out row are left out. Rows that
hold disguised text or emoji are learned as they are and as what they look like; our own that name an identity term twice more with
another term in its place. The update is learned from all training rows, the readout from ours and {read_rows:,} of each source.

## Ranking, beside a baseline

Area under the ROC curve for *unsafe* (EDOS: for `hate`, the only thing it labels), with the 95% bootstrap interval over contexts or
pairs, beside TF-IDF + logistic regression trained on the same rows in the same run. No held-out row was trained on. "Held out" of a
public set is its calibration and validation rows together: calibration does not change an order. The readout's recipe
was chosen among nine by all held-out rows, test pairs included (data/LOG.md; on those they lie within a point of each other).

| held-out part | n | unsafe | this classifier | TF-IDF, same rows | TF-IDF, own rows only |
|---|---|---|---|---|---|
{table}

## Calibration

Platt scaling of *unsafe* was fitted on the validation rows. Expected calibration error on the calibration rows, which it has not
seen (ten bins): {calibration}.

## Thresholds and what they promise

All objectives share a threshold: the objective that accounts best for a text carries its whole probability of being unsafe. Learn
then test on {calibrated:,} calibration rows, our own pairs and the public sets (all but EDOS, which labels one objective): with
confidence {confidence:.0%} over their draw, at most the share *passes* of unsafe texts like them, in that mix, scores below the
threshold. *Certified* says whether that holds for all kinds together and for each kind alone; where it does not, the rows of that
kind do not carry it, and *needed* of them without a miss would. Over-refusal is of the safe rows of the mix, most of them written
or chosen to be hard; of plain questions and dialog see the targets below. For your own mix: `winnow calibrate`.{precision}

| kind | preset | passes | threshold | certified | unsafe rows | missed | needed | over-refusal (n safe) |
|---|---|---|---|---|---|---|---|---|
{thresholds}
{targets}
## Known failures

- Harm that only world knowledge shows (a false fact stated calmly, a new code word) is often missed: the reader has 135 million
  weights.
- A reply that is harmful only through its context, word for word harmless otherwise, is missed more often than one that shows it.
- Frightening words in harmless use still raise the score, less than in a bag of words: see over-refusal.
- The deciding sentence of a text of several is told from one reading of them all, and is often a neighbour of the one that did it;
  `explain` reads the sentences again, one by one.
- At `balanced`, look-alikes and plain sentences with some identity terms are refused too often (see the gap above).
- Rows that taught the update are read with too much confidence: the readout learns less from them than it could.
- Irony, and hate carried by implication alone, are near chance.
"""


PRECISION = """

The rows were read in {precision}, as a server on a machine like that of the training reads. On one that reads otherwise (`/readyz`
tells) scores differ by .02 or so; what that does to misses and refusals is in `benchmarks/EIGHT_BITS.md`. `winnow train --thresholds`
sets them anew without training."""


def write_card(
    path: Path, metrics: dict[str, Any], thresholds: dict[str, Any], targets: dict[str, Any] | None = None
) -> None:
    """Write the card of a training run to `path`; `targets` is what `winnow eval` measured of the whole classifier."""
    data = ["| own | Winnow, `data/labelled/` | Apache-2.0 |"]
    data += [f"| {s.name} | {s.upstream} | {s.licence} |" for s in PUBLIC_SETS]
    table = [
        f"| {name} | {row['ours']['n']:,} | {_percent(row['ours']['prevalence'])} | {interval(row['ours'])} "
        f"| {interval(row['tfidf'])} | {interval(row['tfidf_own'])} |"
        for name, row in metrics["auroc"].items()
    ]
    path.write_text(
        CARD.format(
            version=metrics["version"],
            members=metrics["recipe"]["members"],
            rank=metrics["recipe"]["adaptation"]["rank"],
            seed=metrics["seed"],
            minutes=metrics["minutes"],
            adapt_minutes=metrics["adapt_minutes"],
            featurise_minutes=metrics["featurise_minutes"],
            rows=metrics["rows"],
            read_rows=metrics["recipe"]["read_rows"],
            data="\n".join(data),
            rows_by_source=", ".join(f"{name} {count:,}" for name, count in metrics["training_rows"].items()),
            table="\n".join(table),
            calibration=", ".join(f"{name} {value:.3f}" for name, value in metrics["calibration_error"].items()),
            confidence=1 - thresholds["delta"],
            calibrated=thresholds["balanced"]["all"]["n"] + thresholds["balanced"]["all"]["safe"],
            remark=f" {metrics['remark']}" if "remark" in metrics else "",
            precision=PRECISION.format(**thresholds) if "precision" in thresholds else "",
            thresholds="\n".join(_thresholds(thresholds)),
            targets=_targets(targets),
        )
    )


def rewrite_card(folder: Path, targets: dict[str, Any]) -> None:
    """Put what `winnow eval --targets` measured beside the weights of a folder and into their card, and record the checksums.

    Rows of a benchmark (they have a "command" of their own) stay. Raises ValueError where it was measured on other weights.
    """
    metrics = json.loads((folder / "metrics.json").read_text())
    if targets["safety"] != metrics["version"]:
        raise ValueError(f"measured on weights {targets['safety']}, {folder} holds {metrics['version']}")
    names = {row["name"] for row in targets["rows"]}
    targets = {
        **targets,
        "rows": [*targets["rows"], *(row for row in _benchmarked(folder) if row["name"] not in names)],
    }
    (folder / "targets.json").write_text(json.dumps(targets, indent=1) + "\n")
    write_card(folder / "README.md", metrics, json.loads((folder / "thresholds.json").read_text()), targets)
    write_checksums(folder)


def add_benchmark(folder: Path, row: dict[str, Any]) -> None:
    """Put a benchmark's row among the measured targets and into the card. `row`: as those of `targets.json`, with its "command"."""
    targets = json.loads((folder / "targets.json").read_text())
    rows = [each for each in targets["rows"] if each["name"] != row["name"]]
    rewrite_card(folder, {**targets, "rows": [*rows, row]})


def _benchmarked(folder: Path) -> list[dict[str, Any]]:
    path = folder / "targets.json"
    return [row for row in json.loads(path.read_text())["rows"] if "command" in row] if path.is_file() else []


def _thresholds(thresholds: dict[str, Any]) -> list[str]:
    return [
        f"| {name} | {preset} | {row['alpha']:.0%} | {row['threshold']:g} | {'yes' if row['certified'] else 'no'} | {row['n']} "
        f"| {row['missed']} | {row['needed']} | {_percent(row['over_refusal'])} ({row['safe']:,}) |"
        for name in thresholds["balanced"]
        for preset in ("strict", "balanced", "permissive")
        for row in (thresholds[preset][name],)
    ]


def _targets(targets: dict[str, Any] | None) -> str:
    if not targets:
        return ""
    rows = [
        f"| {row['name']} | {row['target']} | {interval(row)} | {row['n']:,} | {_percent(row['prevalence'])} | {row['baseline']} |"
        for row in targets["rows"]
    ]
    heading = "| measure | target | figure | n | unsafe | baseline, same rows |\n|---|---|---|---|---|---|"
    return (
        "\n## The whole classifier against its targets\n\n"
        f"As served: windows, both readings, policy {targets['policy']}. Command: `{targets['command']}`.\n\n"
        + heading
        + "\n"
        + "\n".join(rows)
        + "\n"
    )


def interval(figure: dict[str, Any]) -> str:
    """A figure with its interval, as every card shows it."""
    if figure["value"] is None:
        return "n/a"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{share:.1%}"
