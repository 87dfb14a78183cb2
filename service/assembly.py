"""Puts a corridor together from settings: generator, classifier, policy and index, each checked before the first request.

Knows where the parts come from. Does not know what they do.
"""

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from classifiers import Policy, Quality, Safety, Support, load_policy
from classifiers.grounding import SHIPPED_SUPPORT
from classifiers.models import CHECKSUMS, cache_folder, resolve
from classifiers.quality import SHIPPED_QUALITY
from classifiers.safety import SHIPPED
from data import CORPUS
from retrieval import DamagedIndex, Index, Retrieval, Toolset, Translator, read_documents
from service.chat import Corridor
from service.generator import Generator, LocalGenerator
from service.settings import Settings
from service.upstream import KEY, UpstreamGenerator

log = logging.getLogger(__name__)


def assemble(settings: Settings) -> Corridor:
    """Load everything that a reply needs.

    Raises `classifiers.PolicyError`, `DamagedWeights`, `ModelNotFound`, `retrieval.DamagedIndex`, FileNotFoundError, ValueError
    (translator; upstream's address or key; a quality ranker trained with another safety classifier), ConnectionError (upstream
    without a model's name): all at start, so that no request meets them.
    """
    # torch keeps a pool of threads for each thread that has computed, and two pools on the same cores wait for each other at every
    # product. The thread that loads ends, and its pool with it: whoever computes later has the only one.
    with ThreadPoolExecutor(1, thread_name_prefix="winnow-loading") as loading:
        return loading.submit(_assembled, settings).result()


def _assembled(settings: Settings) -> Corridor:
    policy = load_policy(settings.policy)
    index = load_index(settings)
    translator = Translator(settings.translator) if settings.translator else None
    safety = Safety.load(policy)
    quality = Quality.load(safety)
    support = Support.load()
    generator = load_generator(settings)
    toolset = Toolset(translator=translator, retrieval=Retrieval(index))
    weights = _weight_folders(policy, safety, settings)
    return Corridor(generator, safety, policy, index, settings, toolset, support, quality, weights)


def _weight_folders(policy: Policy, safety: Safety, settings: Settings) -> tuple[Path, ...]:
    """Of the shipped weights, the policy's own objectives and the models; a user's own model may have no checksums to look at."""
    models = [safety.backbone.source] if safety.backbone.source else []
    if settings.upstream is None:
        models.append(resolve(settings.model, weights=False))
    found = dict.fromkeys([SHIPPED, SHIPPED_SUPPORT, SHIPPED_QUALITY, *policy.heads, *models])
    return tuple(folder for folder in found if (folder / CHECKSUMS).is_file())


def load_generator(settings: Settings) -> Generator:
    """The upstream server of the settings; without one, the local model."""
    if settings.upstream is None:
        return LocalGenerator.load(settings.model, settings.max_input_tokens, settings.precision)
    return UpstreamGenerator.connect(settings, os.environ.get(KEY))


def load_index(settings: Settings) -> Index:
    """The index of the settings; without one, that of the sample corpus, built once into the cache."""
    return Index.load(settings.index) if settings.index else _sample_index()


def _sample_index() -> Index:
    digest = hashlib.sha256()
    for path in sorted(CORPUS.glob("*.jsonl")):
        digest.update(path.read_bytes())
    folder: Path = cache_folder() / "index" / f"sample-{digest.hexdigest()[:16]}"
    try:
        return Index.load(folder)
    except FileNotFoundError:
        pass
    except DamagedIndex as error:  # derived from the corpus, which can make it again
        log.warning("%s; building the sample index again", error)
    documents, skipped = read_documents([CORPUS])
    for each in skipped:
        log.warning("skipped %s: %s", each.path, each.reason)
    index = Index.build(documents)
    index.save(folder)
    return index
