"""The plain baseline beside every figure: TF-IDF and logistic regression on the same training rows.

Knows words. Does not know context beyond pasting it in front of the reply.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion

from classifiers.labelled import Example


def baseline_scores(train: Sequence[Example], judged: Sequence[Example]) -> NDArray[np.float64]:
    """P(unsafe) of each judged example from word uni- and bigrams of the context and of the reply, features apart."""
    taught, asked = _features(train, judged)
    return _probabilities(taught, [e.unsafe for e in train], asked)


def baseline_by_objective(
    train: Sequence[Example], judged: Sequence[Example], objectives: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """P(violated) of each judged example for every objective that some, but not all, of the training rows with complete labels
    violate; from the same features.
    """
    complete = [e for e in train if e.complete]
    labels = {name: [name in e.objectives for e in complete] for name in objectives}
    learnable = {name: given for name, given in labels.items() if any(given) and not all(given)}
    if not learnable:
        return {}
    taught, asked = _features(complete, judged)
    return {name: _probabilities(taught, given, asked) for name, given in learnable.items()}


def _features(train: Sequence[Example], judged: Sequence[Example]) -> tuple[Any, Any]:
    words = FeatureUnion(
        [
            ("reply", TfidfVectorizer(preprocessor=_reply, ngram_range=(1, 2), min_df=2, sublinear_tf=True)),
            ("context", TfidfVectorizer(preprocessor=_context, min_df=2, sublinear_tf=True)),
        ]
    )
    return words.fit_transform(list(train)), words.transform(list(judged))


def _probabilities(taught: Any, labels: Sequence[bool], asked: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = LogisticRegression(C=4.0, max_iter=1000).fit(taught, labels).predict_proba(asked)[:, 1]
    return found


def _reply(example: Example) -> str:
    return example.reply.lower()


def _context(example: Example) -> str:
    return " ".join(content for _, content in example.context).lower()
