"""Write a self-contained HTML page: styles and images are embedded, and it follows the reader's light or dark theme.

Every function returns HTML; text arguments are escaped.
"""

import base64
import io
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from person_reid.data.bank import Pixels
from person_reid.show.style import INK, RIGHT, WRONG

THUMBNAIL = (96, 192)  # width and height in pixels: sharp on screens with two pixels per CSS pixel
STYLE = f"""
:root {{ color-scheme: light dark; --paper: #fff; --card: #f5f7fa; --ink: {INK}; --faint: #5b6879; --line: #d5dce5;
  --right: {RIGHT}; --wrong: {WRONG}; --asked: #475569; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #0f172a; --card: #1b2740; --ink: #e2e8f0; --faint: #9fb0c5;
  --line: #334155; --right: #2fc79a; --wrong: #f0744f; --asked: #94a3b8; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 68rem; padding: 1.2rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.7rem; margin: 0; line-height: 1.2; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.25rem; margin: 2.4rem 0 .6rem; }}
h3 {{ font-size: 1rem; margin: 1.4rem 0 0; }}
p {{ margin: .3rem 0 .8rem; }}
.faint {{ color: var(--faint); }}
.numbers {{ display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.2rem 0; padding: 0; list-style: none; }}
.numbers li {{ flex: 1 1 6rem; background: var(--card); border-radius: .6rem; padding: .6rem .8rem; }}
.numbers b {{ display: block; font-size: 1.35rem; line-height: 1.4; white-space: nowrap; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; color: var(--faint); padding-bottom: .3rem; }}
th, td {{ padding: .35rem 0 .35rem .9rem; text-align: right; border-bottom: 1px solid var(--line); }}
td {{ white-space: nowrap; }}
th {{ vertical-align: bottom; line-height: 1.25; }}
th:first-child, td:first-child {{ min-width: 4.7rem; padding-left: 0; text-align: left; white-space: normal; }}
@media (max-width: 32rem) {{ table {{ font-size: .85rem; }} th, td {{ padding-left: .45rem; }} }}
figure {{ margin: .4rem 0 1.2rem; }}
figure img {{ width: 100%; min-width: var(--least); max-width: var(--most); height: auto; display: block; }}
.tiles {{ display: flex; gap: .5rem; margin: .5rem 0 1rem; padding: 0 0 .4rem; list-style: none; overflow-x: auto; }}
.tiles li {{ flex: 0 0 4.6rem; font-size: .8rem; line-height: 1.35; text-align: center; color: var(--mark); }}
.tiles img {{ display: block; width: 100%; aspect-ratio: 1 / 2; border: 3px solid var(--mark); margin-bottom: .3rem; }}
.right {{ --mark: var(--right); }}
.wrong {{ --mark: var(--wrong); }}
.asked {{ --mark: var(--asked); margin-right: .6rem; }}
summary {{ cursor: pointer; font-weight: 600; margin-top: 2rem; }}
"""


def page(title: str, subtitle: str, body: Iterable[str]) -> str:
    """Return the whole page. title and subtitle are text, body is HTML."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="faint">{escape(subtitle)}</p>
</header>
<main>
{chr(10).join(body)}
</main>
</body>
</html>
"""


def section(title: str, *content: str, remark: str = "") -> str:
    """Return a heading, a remark (text) below it, and content (HTML)."""
    words = f'<p class="faint">{escape(remark)}</p>' if remark else ""
    return "\n".join([f"<section>\n<h2>{escape(title)}</h2>", words, *content, "</section>"])


def numbers(values: Mapping[str, str]) -> str:
    """Return a row of large figures. values: {name: text}."""
    items = (f"<li><b>{escape(value)}</b>{escape(name)}</li>" for name, value in values.items())
    return f'<ul class="numbers">{"".join(items)}</ul>'


def table(header: Iterable[object], rows: Iterable[Iterable[object]], caption: str = "") -> str:
    """Return a table of text; the first column names the rows."""
    head = "".join(f'<th scope="col">{escape(str(name)).replace("@", "<wbr>@")}</th>' for name in header)
    lines = ("".join(f"<td>{escape(str(value))}</td>" for value in row) for row in rows)
    words = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table>{words}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def details(summary: str, content: str) -> str:
    """Return content that is hidden until the reader clicks on the summary."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def chart(draw: Callable[[Path, bool], None], description: str, widest: int = 68, narrowest: int = 0) -> str:
    """Return a drawing in both themes; the reader's screen picks one.

    draw(path, dark) writes an SVG; description: the text for screen readers; widest, narrowest: width in rem.
    """
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for dark in (False, True):
            path = Path(folder, f"{dark}.svg")
            draw(path, dark)
            sources.append(data_uri(path.read_bytes(), "image/svg+xml"))
    light, dark_one = sources
    return (
        f'<figure class="scroll" style="--least: {narrowest}rem; --most: {widest}rem"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark_one}">'
        f'<img src="{light}" alt="{escape(description, quote=True)}"></picture></figure>'
    )


def tiles(items: Iterable[tuple[Iterable[Pixels], str, Sequence[str]]]) -> str:
    """Return a row of framed photographs, each (images from top to bottom, kind, caption lines).

    kind: "asked", "right" or "wrong".
    """
    lines = []
    for images, kind, caption in items:
        text = escape(" ".join(caption), quote=True)
        pictures = "".join(f'<img src="{photograph(pixels)}" alt="{text}">' for pixels in images)
        lines.append(f'<li class="{kind}">{pictures}{"<br>".join(map(escape, caption))}</li>')
    return '<ol class="tiles">\n' + "\n".join(lines) + "\n</ol>"


def photograph(pixels: Pixels) -> str:
    """Return pixels (H, W, 3) as the data URI of a small JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(THUMBNAIL, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=82)
    return data_uri(buffer.getvalue(), "image/jpeg")


def data_uri(content: bytes, media_type: str) -> str:
    """Return `data:image/jpeg;base64,…`."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
