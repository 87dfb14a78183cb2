"""The plain baseline beside every figure: TF-IDF and logistic regression on the same training rows.

Knows words. Does not know context beyond pasting it in front of the reply.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline

from classifiers.labelled import Example


def baseline_scores(train: Sequence[Example], judged: Sequence[Example]) -> NDArray[np.float64]:
    """P(unsafe) of each judged example from word uni- and bigrams of the context and of the reply, features apart."""
    model = Pipeline(
        [
            (
                "tfidf",
                FeatureUnion(
                    [
                        (
                            "reply",
                            TfidfVectorizer(preprocessor=_reply, ngram_range=(1, 2), min_df=2, sublinear_tf=True),
                        ),
                        ("context", TfidfVectorizer(preprocessor=_context, min_df=2, sublinear_tf=True)),
                    ]
                ),
            ),
            ("regression", LogisticRegression(C=4.0, max_iter=1000)),
        ]
    )
    model.fit(list(train), [e.unsafe for e in train])
    found: NDArray[np.float64] = model.predict_proba(list(judged))[:, 1]
    return found


def _reply(example: Example) -> str:
    return example.reply.lower()


def _context(example: Example) -> str:
    return " ".join(content for _, content in example.context).lower()
