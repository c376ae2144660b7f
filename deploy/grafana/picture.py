#!/usr/bin/env python3
"""Draws one of our dashboards without Grafana, as a page and a picture: its panels' numbers and lines, from a Prometheus.

The page is plain HTML and SVG. The picture needs Chromium (Debian: chromium), run headless.
"""

import argparse
import html
import json
import math
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

FOLDER = pathlib.Path(__file__).resolve().parent
WIDTH, COLUMN, LINE = 1320, 55, 22  # of the page; of a column and a row of Grafana's grid, in pixels
POINTS = 120
COLORS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#fade2a", "#ca95e5", "#96d98d"]
STYLE = """
body { margin: 0; width: %dpx; background: #111217; color: #ccccdc; font: 12px sans-serif; }
.panel { position: absolute; box-sizing: border-box; background: #181b1f; border: 1px solid #25282d; border-radius: 2px; padding: 6px 8px;
         overflow: hidden; }
.row { position: absolute; font-size: 15px; font-weight: bold; padding: 5px 8px; }
h2 { margin: 0 0 2px; font-size: 12px; font-weight: 600; }
.number { font-size: 30px; text-align: center; padding-top: 16px; }
.legend span { margin-right: 10px; white-space: nowrap; } .legend { height: 15px; overflow: hidden; font-size: 10.5px; }
.legend i { display: inline-block; width: 12px; height: 3px; margin-right: 4px; vertical-align: middle; }
""" % WIDTH


class Source:
    """A Prometheus, asked for the last `minutes`."""

    def __init__(self, url, minutes):
        self.url, self.end, self.seconds = url, time.time(), minutes * 60
        self.step = max(1, self.seconds / POINTS)

    def series(self, target):
        """(legend, [(time, value)]) of each series of a panel's query."""
        window = f"{max(10, math.ceil(4 * self.step))}s"
        expression = re.sub(r"\$\{?(\w+)\}?", lambda m: window if m[1] == "__rate_interval" else ".*", target["expr"])
        query = {"query": expression, "start": self.end - self.seconds, "end": self.end, "step": self.step}
        with urllib.request.urlopen(
            f"{self.url}/api/v1/query_range?{urllib.parse.urlencode(query)}", timeout=30
        ) as answer:
            found = json.load(answer)["data"]["result"]
        for each in found:
            legend = re.sub(
                r"\{\{(\w+)\}\}", lambda m, labels=each["metric"]: labels.get(m[1], ""), target.get("legendFormat", "")
            )
            points = [(float(t), float(v)) for t, v in each["values"]]
            yield legend, [(t, v) for t, v in points if math.isfinite(v)]


def text_of(value, unit, decimals=None):
    if unit == "percentunit":
        return f"{100 * value:.{2 if decimals is None else decimals}f} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {suffix}" + ("B" if unit in ("bytes", "Bps") else "")
    return f"{value:.3g}"


def draw_number(panel, series):
    config = panel["fieldConfig"]["defaults"]
    if not series or not series[0][1]:
        return '<div class="number">no data</div>'
    value = series[0][1][-1][1]
    color = "green"
    for step in config["thresholds"]["steps"]:
        if step.get("value") is None or value >= step["value"]:
            color = step["color"]
    shade = {"green": COLORS[0], "orange": COLORS[3], "red": COLORS[4]}[color]
    return (
        f'<div class="number" style="color:{shade}">{text_of(value, config.get("unit"), config.get("decimals"))}</div>'
    )


def stack_up(series):
    """Each series on top of those before it."""
    total = {}
    for _, points in series:
        for i, (moment, value) in enumerate(points):
            total[moment] = total.get(moment, 0) + value
            points[i] = (moment, total[moment])
    return series


def draw_lines(panel, series, source, width, height):
    config = panel["fieldConfig"]["defaults"]
    unit = config.get("unit")
    stacked = config.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    # Nothing on top of something hides it.
    hidden = {i for i, (_, points) in enumerate(series) if stacked and not any(v for _, v in points)}
    series = stack_up(series) if stacked else series
    top = max([v for _, points in series for _, v in points] + [0]) * 1.1 or 1
    if config.get("max") is not None:
        top = config["max"]
    left, right, bottom = 52, width - 4, height - 16
    begin = source.end - source.seconds
    out = [f'<svg width="{width}" height="{height}">']
    for i in range(5):
        y = bottom - (bottom - 4) * i / 4
        out.append(
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#2c3036"/>'
            f'<text x="{left - 5}" y="{y + 4:.1f}" fill="#9a9aa8" font-size="10" text-anchor="end">{text_of(top * i / 4, unit)}</text>'
        )
    for i in range(5):
        moment = time.strftime("%H:%M:%S", time.localtime(begin + source.seconds * i / 4))
        anchor = "start" if i == 0 else "end" if i == 4 else "middle"
        x = left + (right - left) * i / 4
        out.append(
            f'<text x="{x:.0f}" y="{height - 3}" fill="#9a9aa8" font-size="10" text-anchor="{anchor}">{moment}</text>'
        )
    for i, (_, points) in reversed(list(enumerate(series))):
        if i in hidden:
            continue
        place = [
            (left + (right - left) * (t - begin) / source.seconds, bottom - (bottom - 4) * min(v / top, 1))
            for t, v in points
        ]
        course = " ".join(f"{'L' if n else 'M'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(place))
        color = COLORS[i % len(COLORS)]
        if place and stacked:
            out.append(
                f'<path d="{course} L{place[-1][0]:.1f} {bottom} L{place[0][0]:.1f} {bottom} Z" fill="{color}" fill-opacity="0.25"/>'
            )
        out.append(f'<path d="{course}" fill="none" stroke="{color}" stroke-width="1.3"/>')
    legend = "".join(
        f'<span><i style="background:{COLORS[i % len(COLORS)]}"></i>{html.escape(name)}</span>'
        for i, (name, _) in enumerate(series)
    )
    return "".join(out) + f'</svg><div class="legend">{legend}</div>'


def draw_panel(panel, source, top):
    place = panel["gridPos"]
    box = f'left:{place["x"] * COLUMN}px;top:{top}px;width:{place["w"] * COLUMN - 6}px;height:{place["h"] * LINE - 6}px'
    if panel["type"] == "row":
        return f'<div class="row" style="left:0;top:{top}px">{html.escape(panel["title"])}</div>'
    series = [s for target in panel["targets"] for s in source.series(target)]
    if panel["type"] == "stat":
        inside = draw_number(panel, series)
    else:
        inside = draw_lines(panel, series, source, place["w"] * COLUMN - 24, place["h"] * LINE - 58)
    return f'<div class="panel" style="{box}"><h2>{html.escape(panel["title"])}</h2>{inside}</div>'


def draw(board, source):
    """The page, and its height in pixels."""
    panels = [p for panel in board["panels"] for p in [panel, *panel.get("panels", [])]]
    head = 40
    parts = [draw_panel(panel, source, head + panel["gridPos"]["y"] * LINE) for panel in panels]
    height = head + max((p["gridPos"]["y"] + p["gridPos"]["h"]) * LINE for p in panels) + 4
    title = f'<div class="row" style="left:0;top:4px;font-size:18px">{html.escape(board["title"])}</div>'
    page = f'<!doctype html><meta charset="utf-8"><title>{html.escape(board["title"])}</title><style>{STYLE}</style>{title}'
    return page + "\n".join(parts), height


def photograph(page, height, png):
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={WIDTH},{height}",
                f"--screenshot={pathlib.Path(png).resolve()}",
                pathlib.Path(page).resolve().as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--dashboard", default="overview", help="one of the JSON files beside this script")
    parser.add_argument("--minutes", type=float, default=60, help="how far back")
    parser.add_argument("--html", required=True, help="the page to write")
    parser.add_argument("--png", help="the picture to write")
    flags = parser.parse_args()
    board = json.loads((FOLDER / f"{flags.dashboard}.json").read_text(encoding="utf-8"))
    page, height = draw(board, Source(flags.prometheus, flags.minutes))
    pathlib.Path(flags.html).write_text(page, encoding="utf-8")
    if flags.png:
        photograph(flags.html, height, flags.png)


if __name__ == "__main__":
    main()
