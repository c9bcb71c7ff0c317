"""The HTML of reports. Everything that comes from a run's files may be a stranger's, and is escaped here."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

HERE = Path(__file__).parent


class Link(NamedTuple):
    """A cell of a table that leads elsewhere."""

    text: str
    address: str


Value = str | float | int | None
Cell = Value | Link


def page(kind: str, title: str, lead: str, sections: Iterable[str], version: str, date: str) -> str:
    """The whole page.

    Args:
        kind, title, lead, version, date: text.
        sections: HTML.
    """
    text = {"kind": kind, "title": title, "lead": lead, "version": version, "date": date}
    return Template((HERE / "report.html").read_text(encoding="utf-8")).substitute(
        {name: escape(value) for name, value in text.items()},
        style=(HERE / "report.css").read_text(encoding="utf-8").rstrip(),
        sections="\n".join(sections),
    )


def section(heading: str, text: str, *parts: str) -> str:
    """A section with its heading, one or two sentences of text, and HTML below; "" without any."""
    body = "\n".join(part for part in parts if part)
    if not body:
        return ""
    return f"<section>\n<h2>{escape(heading)}</h2>\n<p>{escape(text)}</p>\n{body}\n</section>"


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Large numbers with what they are."""
    shown = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in facts
    )
    return f'<div class="tiles">{"".join(shown)}</div>'


def figures(charts: Iterable[tuple[str, tuple[str, str]]], *more: str) -> str:
    """Charts, each with what it shows and its data URIs for light and for dark pages, and other HTML."""
    shown = [f"<figure>{_picture(text, *uris)}</figure>" for text, uris in charts]
    parts = "\n".join([*shown, *more])
    return f'<div class="figures">\n{parts}\n</div>' if parts else ""


def _picture(text: str, light: str, dark: str) -> str:
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{escape(text)}" src="{light}"></picture>'
    )


def video(uri: str, caption: str, kind: str = "") -> str:
    """A video that its viewer starts."""
    css = f' class="{kind}"' if kind else ""
    return (
        f'<figure><video{css} controls loop muted playsinline preload="auto" aria-label="{escape(caption)}" '
        f'src="{uri}"></video><figcaption>{escape(caption)}</figcaption></figure>'
    )


def table(names: Sequence[str], rows: Iterable[Sequence[Cell]], own: Iterable[int] = ()) -> str:
    """A table. Numbers are on the right of their columns.

    Args:
        names: of the columns.
        rows: their cells.
        own: indices of rows that stand out.
    """
    rows = [list(row) for row in rows]
    numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(names))]
    css = [' class="number"' if each else "" for each in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(names, css, strict=True)
    )
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(
            f"<td{kind or _long(cell)}>{_content(cell)}</td>" for cell, kind in zip(row, css, strict=True)
        )
        lines.append(f"<tr{' class=own' * (i in own)}>{cells}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _content(cell: Cell) -> str:
    if isinstance(cell, Link):
        return f'<a href="{escape(cell.address)}" rel="noreferrer">{escape(cell.text)}</a>'
    return escape(number(cell))


def _long(cell: Cell) -> str:
    return ' class="long"' if isinstance(cell, str) and len(cell) > 30 else ""


def moment(image: str, actions: Sequence[str], values: Sequence[float], alt: str) -> str:
    """What the network looked at, and its values of the actions; the best one stands out."""
    best = max(range(len(values)), key=lambda i: values[i], default=0)
    rows = ""
    for i, (name, value) in enumerate(zip(actions, values, strict=False)):
        css = " class=own" if i == best else ""
        rows += f"<tr{css}><th scope=row>{escape(name)}</th><td class=number>{value:.3f}</td></tr>"
    return f'<figure><img alt="{escape(alt)}" src="{image}"><table>{rows}</table></figure>'


def moments(parts: Iterable[str]) -> str:
    """Several of `moment`."""
    shown = "\n".join(parts)
    return f'<div class="moments">\n{shown}\n</div>' if shown else ""


def code(text: str, wrap: bool = True) -> str:
    """Text as it is."""
    return f"<pre{' class=wrap' * wrap}>{escape(text)}</pre>"


def folded(summary: str, body: str) -> str:
    """HTML that is shown on demand."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>"


def number(value: Value) -> str:
    """As a reader expects it: 12,345 or 0.0123; a dash for what is not known."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
