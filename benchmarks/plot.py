"""Plots as SVG, readable on light and on dark ground: bars of programs by case, and lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#2a78d6", "#e07b28", "#2f9e6e", "#9a6bd0", "#8a8f98", "#c2476b")
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f; } .faint { fill: #57606a; font-size: 11px; }
.title { font-weight: 600; font-size: 13px; } .rule { stroke: #d0d7de; stroke-width: 1; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .faint { fill: #9198a1; } .rule { stroke: #3d444d; } }
</style>"""
WIDTH = 760


def _said(value: float) -> str:
    if value >= 10_000 and value % 1000 == 0:
        return f"{value / 1000:g}k" if value < 1e6 else f"{value / 1e6:g}M"
    return f"{value:.0f}" if value >= 10 else f"{value:.3g}"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _whole(height: float, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, _text(8, 18, title, "title"), *parts, "</svg>\n"])


def bars(title: str, cases: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> str:
    """Horizontal bars, a group for each case; a value is (median, least, most). Each group has a scale of its own."""
    names = list(dict.fromkeys(name for values in cases.values() for name in values))
    colours = dict(zip(names, COLOURS * 2, strict=False))
    parts, y, left, room = [], 34.0, 250, WIDTH - 250 - 60
    for case, values in cases.items():
        parts.append(_text(8, y + 12, case))
        y += 18
        most = max((high for _, _, high in values.values()), default=0) or 1
        for name, (middle, low, high) in values.items():
            end, from_, to = (left + room * value / most for value in (middle, low, high))
            parts.append(_text(left - 8, y + 11, name, "faint", "end"))
            width = max(1, end - left)
            parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="13" rx="2" fill="{colours[name]}"/>')
            if high > low:
                parts.append(f'<path d="M{from_:.1f} {y + 6.5}H{to:.1f}" class="rule" style="stroke-width:2"/>')
            parts.append(_text(max(end, to) + 6, y + 11, _said(middle), "faint"))
            y += 16
        y += 8
    return _whole(y + 4, title, parts)


def lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
    up: str,
    logarithmic: bool = False,
    height: float = 260,
) -> str:
    """Lines through (x, y) points, y from 0; with `logarithmic` the x axis is log10(1 + x)."""
    points = [point for line in series.values() for point in line] or [(0.0, 0.0)]
    scale = (lambda x: math.log10(1 + x)) if logarithmic else (lambda x: x)
    low, high = min(scale(x) for x, _ in points), max(scale(x) for x, _ in points)
    step = _step(max(y for _, y in points))
    most = step * math.ceil(max(y for _, y in points) / step) or step
    left, right, top, bottom = 60.0, WIDTH - 20.0, 52.0, height - 44

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * (scale(x) - low) / ((high - low) or 1), bottom - (bottom - top) * y / most

    parts = [_text(8, 36, up, "faint"), _text((left + right) / 2, height - 8, across, "faint", "middle")]
    for number in range(round(most / step) + 1):
        y = place(points[0][0], number * step)[1]
        parts.append(f'<path d="M{left} {y:.1f}H{right}" class="rule"/>')
        parts.append(_text(left - 6, y + 4, _said(number * step), "faint", "end"))
    marks = sorted({x for x, _ in points})
    for x in marks if len(marks) <= 8 else [marks[len(marks) * part // 8] for part in range(8)] + [marks[-1]]:
        parts.append(_text(place(x, 0)[0], bottom + 16, _said(x), "faint", "middle"))
    for number, (name, line) in enumerate(series.items()):
        parts += _line(
            name, [place(*point) for point in line], COLOURS[number % len(COLOURS)], number, len(marks) <= 12
        )
    return _whole(height, title, parts)


def _line(name: str, places: Sequence[tuple[float, float]], colour: str, number: int, dots: bool) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    if dots:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    x = 200 + 180 * (number % 3)
    y = 36 + 14 * (number // 3)
    parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" rx="2" fill="{colour}"/>')
    return [*parts, _text(x + 15, y, name, "faint")]


def _step(most: float) -> float:
    if most <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(most / 4))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * 5 >= most)
