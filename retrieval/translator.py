"""The translator of the toolset: which text is to be translated into which language, and the model that does it.

Knows transformers' sequence-to-sequence translation models: of one pair of languages, of one pair or more by a code before
the text (both Marian), and of many by codes of their tokenizer (M2M-100, NLLB, mBART-50). Nothing is ever downloaded.
"""

import logging
import re
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retrieval.languages import NAMES, is_code_of

_LONGEST = 500
_MOST_TOKENS = 256

_LANGUAGE = rf"(?P<{{}}>{'|'.join(NAMES)})"
_TO, _FROM = _LANGUAGE.format("target"), _LANGUAGE.format("source")
_QUOTED = r"(?:\"(?P<quoted>[^\"]+)\"|“(?P<curly>[^”]+)”|(?<!\w)'(?P<single>.+?)'(?!\w)|‘(?P<bent>.+?)’(?!\w))"
_TEXT = r"(?P<plain>\S(?:.*?\S)?)"
_ANY = rf"(?:{_QUOTED}|{_TEXT})"
_POLITE = r"(?:(?:please|could\syou|can\syou|would\syou|hi|hello|hey)[\s,]+)*"
_KIND = r"(?:(?:the\s)?(?:word|words|phrase|sentence|expression)\s)?"
_END = r"\s*(?:,?\s*please)?\s*[?.!]*"

# In this order: the first that fits decides.
_FORMS = [
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"{_POLITE}translate\s(?:from\s{_FROM}\s)?(?:in)?to\s{_TO}\s*:\s*{_ANY}\s*",
        rf"{_POLITE}translate\s*:?\s*{_KIND}{_ANY}\s(?:from\s{_FROM}\s)?(?:in)?to\s{_TO}{_END}",
        rf"{_POLITE}how\s(?:do|would|can)\s(?:you|i|we|one)\s(?:say|write)\s{_KIND}{_ANY}\sin\s{_TO}{_END}",
        rf"{_POLITE}what\s(?:does|do)\s(?:the\s)?(?:{_FROM}\s)?{_KIND}{_ANY}\smean(?:\sin\s{_TO})?{_END}",
        rf"{_POLITE}what(?:'s|’s|\sis)\s{_KIND}{_QUOTED}\sin\s{_TO}{_END}",
        rf"{_POLITE}what(?:'s|’s|\sis)\s(?:the\s)?{_TO}\s(?:word|translation|phrase)\s(?:for|of)\s{_ANY}{_END}",
        rf"{_QUOTED}\s(?:in|into|to)\s{_TO}{_END}",
        # Without quotation marks only a few words that do not read as a sentence: not "Is the film in French?".
        rf"(?P<plain>(?!(?:what|who|when|where|why|how|which|is|are|was|were|do|does|did|can|could|will|would|has|have|the|it|he"
        rf"|she|they|we|i)\b)[^\W\d_][^\s?!.,:;]*(?:\s[^\s?!.,:;]+){{0,3}})\sin(?:to)?\s{_TO}{_END}",
    )
]
_CODE = re.compile(r"[a-z]{2,3}(?:_[A-Za-z]{2,4})?")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What is to be translated: a text, and languages by their English names in lower case; None when none is named."""

    text: str
    target: str
    source: str | None


def wish(text: str) -> Wish | None:
    """The translation that a string asks for: "hello in French", "translate 'good morning' to Spanish", "what does 'guten
    Tag' mean" (into English). None when it asks for none, or for one of more than 500 characters.

    A text whose own language is not named is taken for English when it goes into another language.
    """
    if len(text) > _LONGEST:
        return None
    stripped = text.strip()
    for form in _FORMS:
        match = form.fullmatch(stripped)
        if match is None:
            continue
        parts = match.groupdict()
        said = next(
            (parts[name] for name in ("quoted", "curly", "single", "bent", "plain") if parts.get(name)), ""
        ).strip()
        target = (parts.get("target") or "english").lower()
        source = parts.get("source")
        source = source.lower() if source else None if target == "english" else "english"
        return Wish(said, target, source) if any(map(str.isalpha, said)) and source != target else None
    return None


class Translator:
    """LaMDA's translator over an offline model: one string in, its translation out."""

    name = "translator"

    def __init__(self, model: str) -> None:
        """`model`: the folder of a saved model, or a name that the cache of the model hub holds. The tokenizer is read now,
        the weights at the first translation.

        Raises ValueError, which names the setting, when there is no such model or it does not say which languages it
        translates.
        """
        from transformers import AutoConfig, AutoTokenizer

        self.installed = model
        self._lock = threading.Lock()
        self._model: Any = None
        try:
            config: Any = AutoConfig.from_pretrained(model, local_files_only=True)
            with warnings.catch_warnings():  # Marian's tokenizer recommends a package that it then does not use
                warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")
                self._tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=True)
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise ValueError(
                f"translator: no translation model can be read at {model!r} ({reason}). Give the folder of a saved model, or "
                f"fetch it once with a network: hf download {model}"
            ) from error
        if not getattr(config, "is_encoder_decoder", False):
            raise ValueError(f"translator: {model!r} is a {config.model_type} model, not a sequence-to-sequence model")
        self._pair = _pair(self._tokenizer)
        self._codes = _codes(self._tokenizer)
        if self._pair is None and not self._codes:
            raise ValueError(f"translator: the tokenizer of {model!r} does not say which languages it translates")

    def __call__(self, text: str) -> list[str]:
        """The translation that the text asks for; [] when it asks for none, when the model does not do that pair of
        languages, or when the text is longer than the model or 256 tokens. The same text gives the same translation. Safe to
        call from several threads: one translates at a time.
        """
        wanted = wish(text)
        if wanted is None:
            return []
        with self._lock:
            try:
                return self._translated(wanted)
            except Exception:  # a broken weight file or too little memory must not fail the reply
                log.exception("the translator %s failed", self.installed)
                return []

    def _translated(self, wanted: Wish) -> list[str]:
        prepared = self._prepared(wanted)
        if prepared is None:
            return []
        text, first = prepared
        tokens = self._tokenizer(text, return_tensors="pt")
        length = tokens["input_ids"].shape[1]
        if length > min(_MOST_TOKENS, self._tokenizer.model_max_length):
            return []
        import torch

        model = self._loaded()
        extra = {} if first is None else {"forced_bos_token_id": first}
        most = min(_MOST_TOKENS, 2 * length + 20)
        with torch.inference_mode():
            made = model.generate(**tokens, **extra, max_new_tokens=most, max_length=None, do_sample=False)
        translation = self._tokenizer.decode(made[0], skip_special_tokens=True).strip()
        return [translation] if translation else []

    def _prepared(self, wanted: Wish) -> tuple[str, int | None] | None:
        """The text as the model wants it and the token that its output starts with, if it wants one; None for a pair of
        languages that it does not do.
        """
        if self._pair is not None:
            source, target = self._pair
            if wanted.source is not None and source and not is_code_of(source, wanted.source):
                return None
            if self._codes:  # several target languages: the code stands before the text
                code = next((c for c in self._codes if is_code_of(c, wanted.target)), None)
                return None if code is None else (f"{self._codes[code]} {wanted.text}", None)
            return (wanted.text, None) if is_code_of(target, wanted.target) else None
        # What "does … mean" leaves open, a model of many languages cannot know.
        source = next((c for c in self._codes if wanted.source and is_code_of(c, wanted.source)), "")
        target = next((c for c in self._codes if is_code_of(c, wanted.target)), "")
        if not source or not target:
            return None
        self._tokenizer.src_lang = source
        return wanted.text, int(self._tokenizer.convert_tokens_to_ids(self._codes[target]))

    def _loaded(self) -> Any:
        if self._model is None:
            from transformers import AutoModelForSeq2SeqLM

            log.info("loading the translator %s", self.installed)
            self._model = AutoModelForSeq2SeqLM.from_pretrained(self.installed, local_files_only=True).eval()
        return self._model


def _pair(tokenizer: Any) -> tuple[str, str] | None:
    """(source, target) of a tokenizer made for one direction, as Marian's are; a side that it does not name is ""."""
    if not hasattr(tokenizer, "supported_language_codes"):
        return None
    source, target = tokenizer.source_lang or "", tokenizer.target_lang or ""
    return (source, target) if target or tokenizer.supported_language_codes else None


def _codes(tokenizer: Any) -> Mapping[str, str]:
    """The language codes of a tokenizer, each with its token: {"fr": "__fr__"}, {"fra_Latn": "fra_Latn"}, {"fr": ">>fr<<"}.
    Empty for a single pair.
    """
    marian = getattr(tokenizer, "supported_language_codes", None)
    if marian is not None:
        return {token.strip("<>"): token for token in marian}
    m2m = getattr(tokenizer, "lang_code_to_token", None)
    if m2m:
        return dict(m2m)
    if not hasattr(tokenizer, "src_lang"):
        return {}
    return {token: token for token in tokenizer.all_special_tokens if _CODE.fullmatch(token)}
