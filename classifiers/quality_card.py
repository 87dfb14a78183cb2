"""The quality ranker's model card: its metrics as a page of Markdown.

Knows wording; every figure in it is measured by `quality_training.py`.
"""

from pathlib import Path
from typing import Any

from classifiers.card import interval
from classifiers.quality_sets import QUALITY_SETS

CARD = """# Winnow quality ranker, version {version}

Three probabilities of a reply in its context, in LaMDA's cascade (arXiv 2201.08239, section 4.1): *sensible*; *specific*, which is
sensible too; *interesting*, which is specific too. Candidates are ranked by 3 P(sensible) + P(specific) + P(interesting). A readout of
{members} small perceptrons over the hidden states that the safety classifier has read already (SmolLM2-135M-Instruct, Apache-2.0, with
the safety classifier's update): rating costs no pass through the model.

- **For**: putting candidates of a chat model in an order; telling generic replies from specific ones.
- **Not for**: facts (a fluent falsehood counts as sensible; see the support classifier), languages other than English, people.
- **Training command**: `winnow train --quality --datasets PATH --seed {seed}`. The run took {minutes} minutes on two cores,
  reading only the states that no run before had kept (all of them: about a quarter of an hour more); it goes on after a kill.
- **Licence of the weights**: Apache-2.0. **Checksums**: `checksums.json`, verified at every load. Weights fit one version of the safety
  classifier's update, and are refused with another.

## Data

| set | upstream | licence |
|---|---|---|
| own | Winnow, `data/quality/` (its datasheet beside it): replies rated for the three, split by context 70/10/20 | Apache-2.0 |
| own exchanges | Winnow, `data/labelled/`: safe replies as next turns | Apache-2.0 |
{sets}
| fed (evaluation only) | shikib/fed | none stated |

Nothing was trained on or tuned by `fed`. {rows:,} training rows: {training_rows}.
"next" is the turn that followed; the others are made from it by rule: a turn of another conversation ("random"), its own words in
another order ("shuffled"), a turn of the context again ("repeated"), a sentence of the context denied or with another number
("contradicting"), and a reply that fits anywhere ("generic"). A Topical-Chat turn that its partner rated excellent counts as
interesting, passable or worse as not. The loss asks each answer only where the one before is yes. Before the three stands a fourth,
whether the reply follows at all: random turns teach that one alone, as next turns of people who chat and our rated replies, all of
which belong to their context, differ in what makes no sense.

## Our own test replies

Area under the ROC curve of each answer among all replies of the test contexts, with 95% bootstrap intervals over contexts. Likelihood:
the reply's mean log-likelihood under the chat model; length: its words.

| answer | n | yes | this ranker | likelihood | length | calibration error |
|---|---|---|---|---|---|---|
{own}

A specific reply scores above a generic one to the same context in {pairs} of pairs (likelihood {pairs_likelihood}, length
{pairs_length}; n {pairs_n}).

## The next turn among {among}

Contexts of conversations held out from training, the true next turn among {among} of the same source. By chance: hit@1
{chance_hit:.3f}, MRR {chance_mrr:.3f}.

| source | n | figure | this ranker | sensible alone | likelihood | length |
|---|---|---|---|---|---|---|
{selection}

## Beside people's ratings

Spearman's correlation with the mean of five raters, turn level of FED (the part that is there); intervals over conversations. The best
published figure for Overall is about .32.

| question | n | this ranker | likelihood | length |
|---|---|---|---|---|
{human}

## Known failures

- Whether a statement is true is mostly out of reach of a model of this size: a confident falsehood often passes for sensible.
- Contradictions of what was said some turns earlier are found less often than turns that are off the subject.
- *Interesting* was learned from few replies, one rater each, and from partners' ratings that say more of the rater than of the turn.
"""


def write_quality_card(path: Path, metrics: dict[str, Any]) -> None:
    """Write the card of a training run to `path`."""
    own = [
        f"| {name} | {row['ours']['n']} | {row['ours']['prevalence']:.0%} | {interval(row['ours'])} | {interval(row['likelihood'])} "
        f"| {interval(row['length'])} | {metrics['calibration_error'][name]:.3f} |"
        for name, row in metrics["auroc"].items()
    ]
    selection = metrics["selection"]
    sources = [name for name in selection if name not in ("among", "chance")]
    which = ("ours", "sensible alone", "likelihood", "length")
    chosen = [
        f"| {source} | {selection[source]['ours'][figure]['n']} | {figure} | "
        + " | ".join(interval(selection[source][each][figure]) for each in which)
        + " |"
        for source in sources
        for figure in ("hit@1", "mrr")
    ]
    human = [
        f"| {question} | {row['ours']['n']} | {interval(row['ours'])} | {interval(row['likelihood'])} | {interval(row['length'])} |"
        for question, row in metrics["human"].items()
    ]
    pairs = metrics["specific_over_generic"]
    path.write_text(
        CARD.format(
            version=metrics["version"],
            members=metrics["recipe"]["members"],
            seed=metrics["seed"],
            minutes=metrics["minutes"],
            sets="\n".join(f"| {s.name} | {s.upstream} | {s.licence} |" for s in QUALITY_SETS),
            rows=metrics["rows"],
            training_rows="; ".join(f"{name} {count:,}" for name, count in metrics["training_rows"].items()),
            own="\n".join(own),
            pairs=interval(pairs["ours"]),
            pairs_likelihood=interval(pairs["likelihood"]),
            pairs_length=interval(pairs["length"]),
            pairs_n=pairs["ours"]["n"],
            among=selection.get("among", 16),
            chance_hit=selection.get("chance", (0.0, 0.0))[0],
            chance_mrr=selection.get("chance", (0.0, 0.0))[1],
            selection="\n".join(chosen),
            human="\n".join(human) or "| (fed was not there) | | | | |",
        )
    )
