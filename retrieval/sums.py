"""A sum as people write it, to its value: "12% of 250", "3 km in miles", "three times seven", "5 ft 11 in in cm".

Knows how sums are spelt. Evaluation is simpleeval's, over the bounded operations of arithmetic.py; no number of the text
reaches Python's own parser. Does not know which part of a text is a sum (calculator.py).
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

from retrieval import arithmetic
from retrieval.arithmetic import NoSum, Percent, Value
from retrieval.units import CURRENCIES, PHRASE, unit

_MOST_TOKENS = 60
_MOST_DIGITS = 60
_OPERANDS = ("number", "close", "after")


@dataclass(frozen=True)
class Token:
    """A piece of a text at text[start:end]. `kind`: number, operator, open, close, root, after (a postfix: factorial or
    power), into (a unit to convert to), or word (whatever is no part of a sum).
    """

    kind: str
    start: int
    end: int
    text: str
    value: Any = None


@dataclass(frozen=True)
class Sum:
    """A computed sum: its value and how the unit of the result was written ("" when it was not). `steps` counts its
    operations and conversions: 0 for a lone number or quantity.
    """

    value: Value
    unit: str
    steps: int

    @property
    def printed(self) -> str:
        """The value in plain digits, with its unit."""
        return arithmetic.printed(self.value, self.unit)


_SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORTH = {word: number for number, word in enumerate(_SMALL.split())}
_WORTH |= {word: 10 * number for number, word in enumerate(_TENS.split(), 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_ONE_WORD = rf"(?:{'|'.join(sorted([*_WORTH, *_SCALES], key=len, reverse=True))})"
_WORDS = re.compile(rf"{_ONE_WORD}(?:(?:\s|-|\sand\s){_ONE_WORD})*(?![^\W_])", re.IGNORECASE)
_NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?|\.\d+")
_SCALE = re.compile(rf"\s?({'|'.join(_SCALES)})(?![^\W_])", re.IGNORECASE)
_SHARE = re.compile(r"\s?%|\s(?:percent|per\scent)\b", re.IGNORECASE)
_SIGN = re.compile(rf"[{re.escape(''.join(CURRENCIES))}]")
_OPERATORS = {
    "**": r"\*\*|\^|(?:raised\s)?to\sthe\spower\s(?:of\s)?",
    "*": r"[*×·⋅]|[xX](?=\s?[\d(.])|times\b|multiplied\sby\b",
    "/": r"[/÷]|divided\sby\b",
    "%": r"mod(?:ulo)?\b",
    "+": r"\+|plus\b",
    "-": r"[-−–]|minus\b",
}
_OPERATOR = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _OPERATORS.items()}
_ROOT = re.compile(r"(?:the\s)?(?:(square|cube)\sroot\s(?:of\s)?|(sqrt|cbrt)\s?(?:of\s)?|([√∛])\s?)", re.IGNORECASE)
_AFTER = re.compile(r"(squared|²)|(cubed|³)|(factorial\b|!(?!=))", re.IGNORECASE)
_INTO = re.compile(r"(?:in|to|into|as)\s", re.IGNORECASE)
_SHARE_OF = re.compile(r"(of|off)\s(?:the\s)?", re.IGNORECASE)
_AND = re.compile(r"and\s", re.IGNORECASE)
_ARTICLE = re.compile(r"an?\s", re.IGNORECASE)
# "135 in total" has no inches; "12 in to cm" has.
_IN_A_SENTENCE = re.compile(
    r"\s(?!(?:in|to|into|as|and|plus|minus|times|multiplied|divided|by|x|is|are|equals?|or)\b)[^\W\d_]", re.IGNORECASE
)
_JUNK = re.compile(r"[^\W_][\w.,'’-]*[^\W_]|\S")
_SPACE = re.compile(r"\s*")

_FUNCTIONS = {"sqrt": arithmetic.root, "cbrt": lambda v: arithmetic.root(v, 3), "factorial": arithmetic.factorial}
_TREE = {
    ast.Add: arithmetic.add,
    ast.Sub: arithmetic.subtract,
    ast.Mult: arithmetic.multiply,
    ast.Div: arithmetic.divide,
    ast.Mod: arithmetic.remainder,
    ast.MatMult: arithmetic.off,
    ast.Pow: arithmetic.power,
    ast.USub: arithmetic.negative,
    ast.UAdd: lambda value: value,
}


@dataclass(frozen=True)
class _Amount:
    """A number as written, before its unit is looked up."""

    number: Fraction
    unit: str = ""
    percent: bool = False

    def value(self) -> Value:
        if self.percent:
            return Percent(self.number / 100)
        return arithmetic.quantity(self.number, unit(self.unit)) if self.unit else self.number


def tokens(text: str) -> list[Token]:
    """The text cut into tokens, white space left out. Any string is accepted; time is linear in its length."""
    found: list[Token] = []
    at = _space(text, 0)
    while at < len(text):
        token = _token(text, at, found[-1] if found else None)
        found.append(token)
        at = _space(text, token.end)
    return found


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _token(text: str, at: int, before: Token | None) -> Token:
    """The token at a place; what a word means depends on what stands before it."""
    after_operand = before is not None and before.kind in _OPERANDS
    token = _between(text, at, before) if after_operand and before is not None else _amount(text, at)
    if token is None and text[at] in "()":
        token = Token("open" if text[at] == "(" else "close", at, at + 1, text[at])
    if token is None:
        token = _root(text, at) or _operator(text, at)
    if token is None and after_operand:  # two amounts in a row: 5 ft 11 in
        token = _amount(text, at)
    if token is None:
        match = _JUNK.match(text, at)
        end = match.end() if match else at + 1
        token = Token("word", at, end, text[at:end])
    return token


def _between(text: str, at: int, before: Token) -> Token | None:
    """What may only follow an operand: a postfix, a unit to convert to, "of" and "off" after a percentage."""
    if match := _AFTER.match(text, at):
        return Token("after", at, match.end(), match.group(), "!" if match[3] else 2 if match[1] else 3)
    if match := _INTO.match(text, at):
        phrase = PHRASE.match(text, match.end())
        if phrase:
            return Token("into", at, phrase.end(), text[at : phrase.end()], phrase.group())
    percent = isinstance(before.value, _Amount) and before.value.percent
    if percent and (match := _SHARE_OF.match(text, at)):
        return Token("operator", at, match.end(), match.group(), "*" if match[1].lower() == "of" else "@")
    if isinstance(before.value, _Amount) and before.value.unit and (match := _AND.match(text, at)):
        amount = _amount(text, match.end())
        if amount is not None and amount.value.unit:
            return Token("number", at, amount.end, text[at : amount.end], amount.value)
    if isinstance(before.value, _Amount) and text[at] == "%" and re.match(r"%\s*[\d(]", text[at : at + 20]):
        return Token("operator", at, at + 1, "%", "%")
    return None


def _root(text: str, at: int) -> Token | None:
    match = _ROOT.match(text, at)
    if match is None:
        return None
    cube = (match[1] or match[2] or match[3]).lower() in ("cube", "cbrt", "∛")
    return Token("root", at, match.end(), match.group(), "cbrt" if cube else "sqrt")


def _operator(text: str, at: int) -> Token | None:
    for name, pattern in _OPERATOR.items():
        if match := pattern.match(text, at):
            return Token("operator", at, match.end(), match.group(), name)
    return None


def _amount(text: str, at: int) -> Token | None:
    """A number with what belongs to it: "$1,250", "3 km", "15%", "two million", "a mile"."""
    sign = _SIGN.match(text, at)
    start = sign.end() if sign else at
    number, end = _figure(text, start) or _in_words(text, start) or (None, start)
    if number is None:
        article = _ARTICLE.match(text, at)
        phrase = PHRASE.match(text, article.end()) if article else None
        # Not "a C" nor "a bar": only units that are plainly spelt out.
        if phrase is None or len(phrase.group()) < 3:
            return None
        return Token("number", at, phrase.end(), text[at : phrase.end()], _Amount(Fraction(1), phrase.group()))
    if match := _SCALE.match(text, end):
        number, end = number * _SCALES[match[1].lower()], match.end()
    if sign:
        named, percent = CURRENCIES[sign.group()], False
    else:
        share = _SHARE.match(text, end)
        # "17 % 5" is a remainder; "15 %" and "15% of" are shares.
        percent = share is not None and not re.match(r"\s+%\s*[\d(]", text[end : end + 20])
        gap = _space(text, end)
        phrase = None if percent or gap > end + 1 else PHRASE.match(text, gap)
        if phrase and phrase.group() == "in" and _IN_A_SENTENCE.match(text, phrase.end()):
            phrase = None
        named = phrase.group() if phrase else ""
        end = phrase.end() if phrase else share.end() if share and percent else end
    if end < len(text) and (text[end].isalnum() or text[end] == "_") and text[end] not in "xX²³":
        return None  # 5th, 3rd, 747s
    return Token("number", at, end, text[at:end], _Amount(number, named, percent))


def _figure(text: str, at: int) -> tuple[Fraction, int] | None:
    """A number in digits. None for what is no quantity: 3.2.1, 007, 1,5, a number glued to a word."""
    match = _NUMBER.match(text, at)
    glued = at > 0 and (text[at - 1].isalnum() or text[at - 1] in "_.,#") and text[at - 1] not in "xX"
    if match is None or glued:
        return None
    figures = match.group().replace(",", "")
    whole = figures.partition(".")[0]
    if (
        len(figures) > _MOST_DIGITS
        or (len(whole) > 1 and whole[0] == "0")
        or re.match(r"[.,]\d", text[match.end() :][:2])
    ):
        return None
    return Fraction(figures), match.end()


def _in_words(text: str, at: int) -> tuple[Fraction, int] | None:
    match = _WORDS.match(text, at)
    if match is None or match.end() - at > 200:
        return None
    total = group = 0
    for word in re.findall(_ONE_WORD, match.group().lower()):
        if word in _WORTH:
            if group % 100 and not (group % 10 == 0 and group % 100 >= 20 and _WORTH[word] < 10):
                return None  # "one two": a count, not a number
            group += _WORTH[word]
        elif word == "hundred":
            group = (group or 1) * 100
        else:
            total, group = total + (group or 1) * _SCALES[word], 0
    return Fraction(total + group), match.end()


def evaluate(parts: Sequence[Token]) -> Sum:
    """The value of a run of tokens. Raises `NoSum` when they make no sum, or one that is too large."""
    if not parts or len(parts) > _MOST_TOKENS:
        raise NoSum("no sum")
    parts, shown = list(parts), ""
    target = parts.pop() if parts[-1].kind == "into" else None
    code, names, steps = _code(parts)
    import pint

    try:
        amounts = {name: amount.value() for name, amount in names.items()}
        value = SimpleEval(operators=_TREE, functions=_FUNCTIONS, names=amounts).eval(code)
        if target is not None:
            value, shown = arithmetic.convert(value, unit(target.value)), target.value
    except (
        InvalidExpression,
        SyntaxError,
        ArithmeticError,
        pint.PintError,
        KeyError,
        RecursionError,
        MemoryError,
    ) as e:
        raise NoSum(f"{type(e).__name__}: {e}") from e
    units = {amount.unit for amount in names.values() if amount.unit}
    if not shown and len(units) == 1:
        (only,) = units
        kept = arithmetic.is_quantity(value) and value.units == unit(only)
        shown = only if kept else ""
    return Sum(value, shown, steps + (target is not None))


def _code(parts: Sequence[Token]) -> tuple[str, dict[str, _Amount], int]:
    """A Python expression over the names n0, n1, …, their amounts, and the number of operations."""
    code: list[str] = []
    names: dict[str, _Amount] = {}
    opened: list[int] = []
    steps = last = 0  # `last`: where in the code the last operand begins
    before: Token | None = None
    for token in parts:
        operand_before = before is not None and before.kind in _OPERANDS
        if before is not None and before.kind == "root" and token.kind not in ("number", "open"):
            raise NoSum("a root of nothing")
        if token.kind == "number":
            name = f"n{len(names)}"
            names[name] = token.value
            if operand_before:
                if not (before and before.kind == "number" and before.value.unit and token.value.unit):
                    raise NoSum("two numbers in a row")
                code[last:] = ["(", *code[last:], "+", name, ")"]
            else:
                rooted = before is not None and before.kind == "root"
                last = len(code) - rooted
                code += ["(", name, ")"] if rooted else [name]
        elif token.kind == "open":
            if operand_before:
                raise NoSum("a number before a bracket")
            opened.append(len(code) - (before is not None and before.kind == "root"))
            code.append("(")
        elif token.kind == "close":
            if not opened or not operand_before:
                raise NoSum("a bracket too many")
            last = opened.pop()
            code.append(")")
        elif token.kind == "root":
            steps += 1
            code.append(token.value)
        elif token.kind == "after":
            steps += 1
            code[last:] = (
                ["factorial", "(", *code[last:], ")"]
                if token.value == "!"
                else ["(", *code[last:], f"**n{len(names)}", ")"]
            )
            if token.value != "!":
                names[f"n{len(names)}"] = _Amount(Fraction(token.value))
        elif token.kind == "operator":
            steps += operand_before
            code.append(token.value)
        else:
            raise NoSum(f"{token.text!r} is no part of a sum")
        before = token
    if before is None or before.kind not in _OPERANDS:
        raise NoSum("the sum breaks off")
    return " ".join(code), names, steps
