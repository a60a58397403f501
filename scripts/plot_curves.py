#!/usr/bin/env python3
"""Draws AP over epochs of several runs as an SVG picture.

    python scripts/plot_curves.py OUT.svg "TITLE: LABEL=RUN LABEL=RUN ..." ...

Each argument behind the first is a panel: its title, then curves, each the label and
the folder of a run, whose metrics.jsonl has the evaluations. Needs Python alone.
"""

import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 380, 280
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 34, 40
COLOURS = ("#0b6e99", "#c4572f", "#4b8b3b", "#7a5195")
STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
MOST_LINES = 6
STEP_OF_HUNDREDTHS = 0.01


def evaluations(run):
    """Epoch and AP of every evaluation of a run."""
    lines = (json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines())
    return [(line["epoch"], line["eval"]["AP"]) for line in lines if "eval" in line]


def panel(title, curves, left):
    """A panel whose left side is at `left`."""
    data = {label: evaluations(run) for label, run in curves}
    last = max(epoch for points in data.values() for epoch, _ in points)
    highest = max(ap for points in data.values() for _, ap in points)
    step = next((step for step in STEPS if highest / step <= MOST_LINES), STEPS[-1])
    top = step * (int(highest / step) + 1)
    x = lambda epoch: left + LEFT + (WIDTH - LEFT - RIGHT) * epoch / last
    y = lambda ap: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ap / top
    text = lambda px, py, words, more="": f'<text x="{px:.1f}" y="{py:.1f}" {more}>{escape(words)}</text>'
    digits = ".2f" if step >= STEP_OF_HUNDREDTHS else ".3f"
    parts = [text(left + LEFT, TOP - 14, title, 'font-weight="bold"')]
    for i in range(int(top / step + 0.5) + 1):
        ap = i * step
        parts.append(f'<path d="M{x(0):.1f} {y(ap):.1f}H{x(last):.1f}" stroke="#ddd"/>')
        parts.append(text(x(0) - 6, y(ap) + 4, f"{ap:{digits}}", 'text-anchor="end"'))
    for epoch in (0, last / 2, last):
        parts.append(text(x(epoch), HEIGHT - BOTTOM + 16, f"{epoch:g}", 'text-anchor="middle"'))
    parts.append(text((x(0) + x(last)) / 2, HEIGHT - 8, "epoch", 'text-anchor="middle"'))
    parts.append(text(left + 6, TOP - 14, "AP"))
    for (label, points), colour in zip(data.items(), COLOURS):
        line = " ".join(f"{x(epoch):.1f},{y(ap):.1f}" for epoch, ap in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        epoch, ap = points[-1]
        words = f"{label} {ap:.3f}"
        parts.append(text(x(epoch) - 4, y(ap) - 7, words, f'text-anchor="end" fill="{colour}"'))
    return parts


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    out, *panels = sys.argv[1:]
    parts = []
    for i, words in enumerate(panels):
        title, _, curves = words.partition(":")
        curves = [curve.partition("=")[::2] for curve in curves.split()]
        parts += panel(title, [(label.replace("_", " "), run) for label, run in curves], i * WIDTH)
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n<rect {size} fill="white"/>'
    Path(out).write_text("\n".join([head, *parts, "</svg>\n"]))


if __name__ == "__main__":
    main()
