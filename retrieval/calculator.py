"""The calculator of the toolset: which part of a text is a sum, what it comes to, and whether a stated result is right.

Knows what counts as a sum. How one is spelt is sums.py's matter, how it is computed arithmetic.py's.

A text is a sum when it is nothing but one ("135+7721", "3 km in miles ="), or where it asks for one ("What is 12% of 250?").
Dates, telephone numbers, scores of years, model and version numbers are not: digits joined by a bare hyphen or slash count
only where no such reading is likely.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from retrieval import arithmetic
from retrieval.arithmetic import NoSum, Percent, Value
from retrieval.sums import Sum, Token, evaluate, tokens
from retrieval.units import PHRASE, VARYING

_LONGEST = 2000

_ASK = re.compile(
    r"(?:\b(?:what(?:'s|’s|s)?|how\s(?:much|many|far|long|tall|heavy|hot|cold|big|old)|calculate|compute|evaluate|solve|"
    r"convert|work\sout|figure\sout|add\sup|tell\sme|give\sme|find|equals?|sum)\b(?:\s(?:is|are|was|does|do|would|if|the|"
    r"sum|result|value|answer|product|of|to|you|get|for|me|what|be)\b)*|=)\s*:?\s*$",
    re.IGNORECASE,
)
_OPENING = re.compile(r"(?:please|so|and|ok|okay|hi|hello|hey|well|now|then|thanks|calculate)?[\s,:!]*", re.IGNORECASE)
_CLOSING = re.compile(
    r"\s*(?:=|\?|[.,;!)]*\s*$|[.,;!]\s|"
    r"(?:please|in\stotal|altogether|is|are|equals?|makes?|gives?|comes?\sto|be|come\sout)\b)",
    re.IGNORECASE,
)
_ENDING = re.compile(r"\s*(?:(?:=|equals?|is|makes?|gives?)\s*(?:what)?)?[\s?.!=]*", re.IGNORECASE)

_PERCENTAGE = re.compile(
    r"what\s(?:percent(?:age)?|%)\sof\s(?P<whole>[^?]{1,60}?)\s(?:is|are|does)\s(?P<part>[^?]{1,60}?)\s*\??\s*$|"
    r"(?P<part2>[^?]{1,60}?)\s(?:is|are)\swhat\s(?:percent(?:age)?|%)\sof\s(?P<whole2>[^?]{1,60}?)\s*\??\s*$",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    rf"how\s(?:many|much)\s(?P<unit>{PHRASE.pattern})\s(?:(?:is|are|does|do|make|makes|equals?|go|there|in|up|to|into)\s)+"
    r"(?P<amount>[^?]{1,80}?)\s*(?:make|have|equal)?\s*\??\s*$",
    re.IGNORECASE,
)
_FEET = re.compile(r"(?<!\w)(\d{1,3})\s?['′’]\s?(\d{1,2})\s?(?:\"|″|”|'')")

_IDIOMS = {"24/7", "9/11", "7/7", "50/50", "20/20", "24/7/365"}

# What joins a calculation to its stated result, and whether it says that the result is rounded.
_RELATION = re.compile(
    r"\s*(?:=|≈|≃|~|(?:is|are|equals?|makes?|gives?|comes\sto|amounts\sto|works\sout\s(?:to|at)|totals)\b)\s*"
    r"(?P<hedge>(?:(?:equal\sto|the\ssame\sas|exactly|just|about|approximately|approx\.?|around|roughly|nearly|almost|some|≈|~)"
    r"\s*)*)",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"about|approx|around|roughly|nearly|almost|some|≈|≃|~", re.IGNORECASE)
_FOLLOWS = re.compile(
    r"\s*(?:$|[.!?;:)\]\"”'’](?!\d)|,(?!\s?\d)|[-–—]\s|=|(?:and|but|so|or|which|while|because|since|as|in\stotal|"
    r"altogether|exactly)\b(?!\sa\s(?:half|quarter|third)))",
    re.IGNORECASE,
)
_PRECEDES = re.compile(r"(?:^|[\s(\"“'‘:=,;*_-])$")


@dataclass(frozen=True)
class Checked:
    """A calculation stated in a sentence, at sentence[start:end]: what was calculated, the result it states, the result as
    the calculator prints it, and whether the statement is right.
    """

    start: int
    end: int
    calculation: str
    stated: str
    computed: str
    right: bool


class Calculator:
    """LaMDA's calculator: one string in, the results of its sums out."""

    name = "calculator"
    installed = "built in"

    def __call__(self, text: str) -> list[str]:
        """The results of the sums in a text, in order, in plain digits; [] when there is none. Nothing is raised, and the
        time is bounded: texts of more than 2,000 characters, sums of more than 60 parts and numbers of more than about 500
        digits are not computed.
        """
        if len(text) > _LONGEST or not any(map(str.isalnum, text)):
            return []
        text = _FEET.sub(r"\1 ft \2 in", text.strip())
        rewritten = _rewritten(text)
        if rewritten is not None:
            return [rewritten]
        found = (_asked(text, run) for run in _runs(text))
        return [result.printed for result in found if result is not None]


def _rewritten(text: str) -> str | None:
    """The answer to the two questions that are put the other way round: how many of a unit, and what percentage."""
    if match := _HOW_MANY.search(text):
        try:
            return evaluate(tokens(f"{_bare(match['amount'])} in {match['unit']}")).printed
        except NoSum:
            return None
    if match := _PERCENTAGE.search(text):
        part, whole = match["part"] or match["part2"], match["whole"] or match["whole2"]
        part = _ASK.sub("", part)
        try:
            share = arithmetic.divide(evaluate(tokens(_bare(part))).value, evaluate(tokens(_bare(whole))).value)
        except (NoSum, ArithmeticError):
            return None
        return arithmetic.printed(Percent(share)) if isinstance(share, Fraction) else None
    return None


def _bare(amount: str) -> str:
    return amount.strip().rstrip(".!, ")


def _runs(text: str) -> Iterator[list[Token]]:
    """The longest runs of tokens that could belong to a sum."""
    run: list[Token] = []
    for token in tokens(text):
        if token.kind == "word":
            if run:
                yield run
            run = []
        else:
            run.append(token)
    if run:
        yield run


def _asked(text: str, run: list[Token]) -> Sum | None:
    """The value of a run when the text asks for it or consists of it."""
    before, after = text[: run[0].start], text[run[-1].end :]
    alone = _OPENING.fullmatch(before) is not None and _ENDING.fullmatch(after) is not None
    asked = _ASK.search(before) is not None and _CLOSING.match(after) is not None
    opens = (
        re.search(r"(?:^|[.!?:\n])\s*$", before) is not None
        and re.match(r"\s*(?:=\s*)?(?:\?|=\s*$)", after) is not None
    )
    if not (alone or asked or opens) or _is_name(text, run):
        return None
    # "What is 2 + 3!" exclaims; "What is 5!" and "3! = ?" ask for a factorial.
    if run[-1].text == "!" and not re.match(r"\s*[?=]", after) and not (asked and len(run) == 2):
        run = run[:-1]
    try:
        result = evaluate(run)
    except NoSum:
        return None
    return result if result.steps else None


def _is_name(text: str, run: Sequence[Token]) -> bool:
    """Digits joined by bare hyphens or slashes that are likelier a date, a range of years, a telephone or a part number."""
    written = text[run[0].start : run[-1].end]
    if written in _IDIOMS:
        return True
    if not re.fullmatch(r"\d+(?:[-–−]\d+)+|\d+(?:/\d+)+", written):
        return False
    numbers = re.split(r"\D", written)
    if len(numbers) > 2:
        return True
    if "/" in written:
        return False
    first, second = (int(number) for number in numbers)
    years = 1000 <= first < second < 2200
    telephone = [len(number) for number in numbers] == [3, 4]
    return years or telephone


def check(claim: str) -> Checked | None:
    """The first calculation that a sentence states with its result: "12% of 250 is 30", "3 km is about 1.86 miles".

    None when it states none, or none that can be read beyond doubt: the calculation must be whole, and nothing may follow
    that changes what is stated ("is 30 times more"). A whole number must be exact unless it converts a unit or says
    "about"; a decimal or a percentage must be right as rounded to the places it shows, and never more than a tenth off.
    After "about" the last digit that is not a closing zero may be rounded too, and any result within a hundredth is right.
    """
    if len(claim) > _LONGEST:
        return None
    runs = list(_runs(claim))
    for left in runs:
        relation = _RELATION.match(claim, left[-1].end)
        right = next((run for run in runs if relation and run[0].start == relation.end()), None)
        if relation is None or right is None:
            continue
        checked = _checked(claim, left, relation, right)
        if checked is not None:
            return checked
    return None


def _checked(claim: str, left: list[Token], relation: re.Match[str], right: list[Token]) -> Checked | None:
    if not _PRECEDES.search(claim[: left[0].start]) or not _FOLLOWS.match(claim, right[-1].end):
        return None
    if re.search(r"\d,?\s*$", claim[: left[0].start]) or left[0].kind == "operator":  # the end of a list, or of a sum
        return None
    stated_by_sign = "=" in relation.group() or "equal" in relation.group().lower()
    joined = any(t.kind == "operator" and t.text in "-–−" and not claim[t.end].isspace() for t in left[1:])
    if _is_name(claim, left) or (joined and not stated_by_sign):
        return None
    try:
        computed, stated = evaluate(left), evaluate(right)
    except NoSum:
        return None
    conversion = computed.steps == 0
    compared = _comparable(computed, stated)
    if compared is None or (conversion and not _converts(computed.value, stated.value)):
        return None
    value, result = compared
    hedged = _HEDGE.search(relation.group()) is not None
    written = claim[right[0].start : right[-1].end]
    return Checked(
        start=left[0].start,
        end=right[-1].end,
        calculation=claim[left[0].start : left[-1].end],
        stated=written,
        computed=_as_stated(computed, stated),
        right=_agrees(value, result, "" if stated.steps else written, hedged, conversion),
    )


def _converts(value: Value, stated: Value) -> bool:
    """Whether one quantity can be the other in another unit, of a size that everybody agrees on."""
    if not arithmetic.is_quantity(value) or value.units == stated.units:
        return False
    return not any(VARYING & set(re.findall(r"\w+", str(each.units))) for each in (value, stated))


def _magnitude(value: Value) -> Fraction:
    if isinstance(value, Percent):
        return value.share
    magnitude: Fraction = value.magnitude if arithmetic.is_quantity(value) else value
    return magnitude


def _comparable(computed: Sum, stated: Sum) -> tuple[Fraction, Fraction] | None:
    """Both values in the unit of the stated one; None when they measure different things."""
    import pint

    value = computed.value
    if arithmetic.is_quantity(value) != arithmetic.is_quantity(stated.value):
        return None
    if arithmetic.is_quantity(value):
        try:
            value = arithmetic.convert(value, stated.value.units)
        except (pint.PintError, NoSum):
            return None
    return _magnitude(value), _magnitude(stated.value)


def _as_stated(computed: Sum, stated: Sum) -> str:
    if isinstance(stated.value, Percent) and isinstance(computed.value, Fraction):
        return arithmetic.printed(Percent(computed.value))
    if arithmetic.is_quantity(stated.value):
        return arithmetic.printed(arithmetic.convert(computed.value, stated.value.units), stated.unit)
    return computed.printed


def _agrees(value: Fraction, stated: Fraction, written: str, hedged: bool, conversion: bool) -> bool:
    """Whether a stated number is the value, as far as the digits that it shows go; written "" asks for the value itself."""
    apart = abs(value - stated)
    if apart <= abs(value) / 10**12:
        return True
    figures = re.search(r"\d[\d,]*(?:\.(\d+))?", written)
    places = len(figures[1]) if figures and figures[1] else 0
    percent = 100 if re.search(r"%|per\s?cent", written, re.IGNORECASE) else 1
    if apart > abs(value) / 10:
        return False
    if figures and (places or conversion or percent > 1) and apart <= Fraction(1, 2 * 10**places * percent):
        return True
    if not hedged:
        return False
    whole = figures.group().replace(",", "") if figures else "1"
    closing = 0 if places else len(whole) - len(whole.rstrip("0"))
    step = Fraction(10**closing, 10**places * percent)
    return apart <= max(abs(value) / 100, step / 2)
