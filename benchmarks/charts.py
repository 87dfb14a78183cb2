"""A chart of how cost grows, as SVG: both axes logarithmic, so that a straight line is a power law.

Knows geometry and markup. Does not know what was measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 40, 78
COLOURS = ("#0b5fa5", "#b3541e", "#3d7a35")
DASHES = ("", "6 4", "2 3")
"""Lines are told apart without colour too."""


@dataclass(frozen=True)
class Line:
    """`points`: (x, median, least, most), all above 0, by x."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Chart:
    title: str
    across: str
    up: str
    lines: tuple[Line, ...]

    def svg(self) -> str:
        """Raises ValueError where a point is not above 0, or there is none."""
        points = [point for line in self.lines for point in line.points]
        if not points or min(min(point) for point in points) <= 0:
            raise ValueError(f"{self.title!r}: a logarithmic chart needs points above 0")
        xs = _Scale(min(p[0] for p in points), max(p[0] for p in points), LEFT + 12, WIDTH - RIGHT - 12)
        ys = _Scale(min(p[2] for p in points), max(p[3] for p in points), HEIGHT - BOTTOM - 8, TOP + 8)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(self.title)}">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            _text(WIDTH / 2, 22, self.title, size=14),
        ]
        for y in ticks(ys.least, ys.most):
            at = ys(y)
            parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#d8d8d8"/>')
            parts.append(_text(LEFT - 6, at + 4, short(y), "end"))
        for x in sorted({point[0] for point in points}):
            parts.append(_text(xs(x), HEIGHT - BOTTOM + 18, short(x)))
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 38, self.across))
        middle = (TOP + HEIGHT - BOTTOM) / 2
        turn = f'transform="rotate(-90 16 {middle})"'
        parts.append(f'<text x="16" y="{middle}" text-anchor="middle" fill="#222222" {turn}>{escape(self.up)}</text>')
        for number, line in enumerate(self.lines):
            parts += _drawn(line, number, xs, ys)
        return "\n".join([*parts, "</svg>", ""])


class _Scale:
    """Numbers from `least` to `most` to places from `first` to `last`, by their logarithms."""

    def __init__(self, least: float, most: float, first: float, last: float) -> None:
        self.least, self.most, self._first, self._last = least, most, first, last

    def __call__(self, value: float) -> float:
        whole = math.log(self.most / self.least)
        return self._first + (self._last - self._first) * (math.log(value / self.least) / whole if whole else 0.5)


def ticks(least: float, most: float) -> list[float]:
    """The numbers 1, 2 and 5 times a power of ten that lie between; the ends where fewer than two do."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    found = [float(f"{m}e{power}") for power in powers for m in (1, 2, 5)]
    within = [value for value in found if least <= value <= most]
    return within if len(within) > 1 else sorted({least, most})


def short(value: float) -> str:
    """At most three significant digits; thousands grouped."""
    return f"{float(f'{value:.3g}'):,g}" if value < 1e6 else f"{value:,.0f}"


def _drawn(line: Line, number: int, xs: _Scale, ys: _Scale) -> Sequence[str]:
    colour = COLOURS[number % len(COLOURS)]
    path = " ".join(f"{xs(x):.1f},{ys(y):.1f}" for x, y, *_ in line.points)
    dash = f' stroke-dasharray="{DASHES[number % len(DASHES)]}"' if DASHES[number % len(DASHES)] else ""
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>']
    for x, y, least, most in line.points:
        at = xs(x)
        parts.append(f'<line x1="{at:.1f}" y1="{ys(least):.1f}" x2="{at:.1f}" y2="{ys(most):.1f}" stroke="{colour}"/>')
        parts.append(f'<circle cx="{at:.1f}" cy="{ys(y):.1f}" r="4" fill="{colour}"><title>{short(y)}</title></circle>')
    left, base = LEFT + 200 * number, HEIGHT - 14
    parts.append(
        f'<line x1="{left}" y1="{base - 4}" x2="{left + 26}" y2="{base - 4}" stroke="{colour}" stroke-width="2"{dash}/>'
    )
    parts.append(_text(left + 32, base, line.name, "start"))
    return parts


def _text(x: float, y: float, words: str, anchor: str = "middle", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222222">{escape(words)}</text>'
    )
