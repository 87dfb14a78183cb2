"""Thresholds set anew for weights that are there, by what is read as it is served: after the way of reading has changed.

Knows the calibration rows and the folder of the weights. The promise itself is in `guarantee.py`.
"""

import json
from pathlib import Path

from classifiers.backbone import Backbone
from classifiers.card import write_card
from classifiers.guarantee import Table, guarantees
from classifiers.labelled import read_labelled, without_leaks
from classifiers.models import write_checksums
from classifiers.policy import OBJECTIVES
from classifiers.public_sets import read_public
from classifiers.readout import Scorer
from classifiers.training import ProgressBar, calibration_rows


def recertify(datasets: Path, labelled: Path, folder: Path, progress: ProgressBar) -> Table:
    """Read the calibration rows with the weights of a folder, and write its thresholds and card anew. The weights stay as they are.

    Raises FileNotFoundError for missing sets, `labelled.BadExample`, `models.DamagedWeights`.
    """
    examples = without_leaks(read_labelled(labelled) + read_public(datasets))
    scorer = Scorer.load(folder, OBJECTIVES)
    backbone = Backbone.load(scorer.backbone, scorer.update)
    rows = [examples[i] for i in calibration_rows(examples)]
    with progress("reading the calibration rows", len(rows)) as advance:
        features = backbone.read_many([(e.context, e.reply, e.role) for e in rows], progress=advance)
    table = guarantees(scorer.scores(features)[:, 0], rows, OBJECTIVES, scorer.version)
    table["precision"] = backbone.engine.precision
    metrics = json.loads((folder / "metrics.json").read_text())
    targets = folder / "targets.json"
    (folder / "thresholds.json").write_text(json.dumps(table, indent=1) + "\n")
    write_card(folder / "README.md", metrics, table, json.loads(targets.read_text()) if targets.is_file() else None)
    write_checksums(folder)
    return table
