"""The support classifier's model card: its metrics as a page of Markdown.

Knows wording; every figure in it is measured by `grounding_training.py`.
"""

from pathlib import Path
from typing import Any

from classifiers.card import interval
from classifiers.grounding_sets import GROUNDING_SETS

CARD = """# Winnow support classifier, version {version}

Does this passage bear this claim out? SmolLM2-135M-Instruct (Apache-2.0) reads "Text: PASSAGE / Asked: TURN BEFORE / Claim: CLAIM /
Does the text say that?"; layers {first_layer} to 24 carry a low-rank update (rank {rank}), a linear head reads layer 25 (the mean over
the claim, and the state at the end), and a logistic regression joins its logit with two figures of words ({features}). Out come two
calibrated probabilities: that the passage supports the claim, and that it contradicts it.

- **For**: telling which sentences of a reply a passage supports, before one is cited; grounding people's own text.
- **Not for**: whether a claim is *true*; languages other than English; tables, code, formulas.
- **Training command**: `winnow train --grounding --datasets PATH --seed {seed}`. The run took {minutes} minutes on two cores, shows
  its progress, keeps checkpoints and goes on after a kill.{remark}
- **Licence of the weights**: Apache-2.0. **Checksums**: `checksums.json`, verified at every load.
- A passage of more than 200 tokens is shown by the sentences that share the most words with the claim.

## Data

| set | upstream | licence |
|---|---|---|
| own-* | Winnow, `data/grounding/pairs/` (its datasheet beside it) | Apache-2.0 |
{sets}

Training rows: {rows}.
"made by rule" is synthetic: sentences of the passages themselves or two of them joined, the same with a number, name or negation
changed, and true claims held against another passage. Split by passage (claim id where several passages
share one): {shares}.

## Ranking, beside a baseline

Area under the ROC curve for *supported* on validation and test rows, which nothing was trained or calibrated on, with 95% bootstrap
intervals over passages; the reader's own logit, and the share of the claim's content words that the passage holds, beside it.

| source | n | supported | this classifier | the reader alone | word overlap |
|---|---|---|---|---|---|
{table}

Of our minimal pairs, the supported claim scores above its twin in {in_order:.1%}. *Contradicted* against the rest, where it is told:
{contradicted} (n {contradicted_n:,}).

## Calibration and threshold

The regression is fitted on the calibration rows, each source with the same weight. Expected calibration error on the test rows (ten
bins): {calibration:.3f}. A claim counts as supported from {support:g} on: with confidence 95%, at most {alpha:.0%} of unsupported
claims like those of the validation rows reach it ({missed} of {n} did); {kept:.0%} of the {safe} supported ones do.

## Known failures

- A claim in the passage's own words with the roles turned round ("A beat B") is often taken for supported: see own-relations.
- Sums, dates and amounts that have to be worked out ("a margin of seven" from 21 to 14) are near chance.
- Our own minimal pairs, near chance for word overlap by design, are told apart little better than that: one changed word in a long
  claim keeps much of the support of the rest.
- What is supported only by two passages far apart is read together, but with less certainty.
"""


def write_grounding_card(path: Path, metrics: dict[str, Any]) -> None:
    """Write the card of a training run to `path`."""
    table = [
        f"| {name} | {row['ours']['n']:,} | {row['ours']['prevalence']:.0%} | {interval(row['ours'])} | {interval(row['reader'])} "
        f"| {interval(row['overlap'])} |"
        for name, row in metrics["auroc"].items()
    ]
    threshold = metrics["threshold"]
    path.write_text(
        CARD.format(
            version=metrics["version"],
            first_layer=metrics["recipe"]["adaptation"]["first_layer"],
            rank=metrics["recipe"]["adaptation"]["rank"],
            features=", ".join(metrics["word_features"]),
            seed=metrics["seed"],
            minutes=metrics["minutes"],
            remark=f" {metrics['remark']}" if "remark" in metrics else "",
            sets="\n".join(f"| {s.name} | {s.upstream} | {s.licence} |" for s in GROUNDING_SETS),
            rows=", ".join(f"{name} {count:,}" for name, count in metrics["training_rows"].items()),
            shares="72% training, 10% calibration, 6% validation, 12% test",
            table="\n".join(table),
            in_order=metrics["pairs_in_order"],
            contradicted=interval(metrics["contradicted"]),
            contradicted_n=metrics["contradicted"]["n"],
            calibration=metrics["calibration_error"],
            support=threshold["support"],
            alpha=threshold["alpha"],
            missed=threshold["missed"],
            n=threshold["n"],
            kept=1 - (threshold["over_refusal"] or 0.0),
            safe=threshold["safe"],
        )
    )
