"""A long table as Parquet, and as a page that can be searched and sorted without any other file."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import polars as pl

from concord.files import write_text

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }}
body {{ margin: 1.5rem; }}
input {{ font: inherit; width: min(100%, 40rem); padding: .3rem; }}
table {{ border-collapse: collapse; margin-top: .7rem; }}
th, td {{ padding: .15rem .7rem .15rem 0; text-align: left; border-bottom: 1px solid #8884; }}
th button {{ font: inherit; font-weight: bold; border: 0; padding: 0; background: none; color: inherit; cursor: pointer; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{words}</p>
<label>Rows that hold all of these words: <input id="words" type="search" autofocus></label>
<p id="count" role="status"></p>
<table><thead><tr></tr></thead><tbody></tbody></table>
<script id="rows" type="application/json">{data}</script>
<script>
const {{columns, rows}} = JSON.parse(document.getElementById("rows").textContent);
const most = 500, head = document.querySelector("thead tr"), body = document.querySelector("tbody");
const texts = rows.map(row => row.join(" ").toLowerCase());
let order = rows.map((_, i) => i), by = -1, down = false;
function draw() {{
  const words = document.getElementById("words").value.toLowerCase().split(/\\s+/).filter(Boolean);
  const found = order.filter(i => words.every(word => texts[i].includes(word)));
  body.replaceChildren(...found.slice(0, most).map(i => {{
    const line = document.createElement("tr");
    for (const value of rows[i]) {{
      const cell = line.insertCell();
      cell.textContent = value ?? "";
      if (typeof value === "number") cell.className = "n";
    }}
    return line;
  }}));
  document.getElementById("count").textContent =
    `${{found.length}} of ${{rows.length}} rows` + (found.length > most ? `; the first ${{most}} are shown` : "");
}}
columns.forEach((name, k) => {{
  const cell = document.createElement("th"), button = document.createElement("button");
  button.textContent = name;
  button.onclick = () => {{
    down = by === k && !down; by = k;
    const sign = down ? -1 : 1;
    order.sort((i, j) => sign * (rows[i][k] > rows[j][k] ? 1 : rows[i][k] < rows[j][k] ? -1 : i - j));
    draw();
  }};
  cell.append(button); head.append(cell);
}});
document.getElementById("words").oninput = draw;
draw();
</script>
</body>
</html>
"""


def write(frame: pl.DataFrame, path: Path, title: str, words: str, whole: pl.DataFrame | None = None) -> None:
    """Write `path`.parquet and `path`.html.

    Args:
        frame: Text and numbers; numbers are shown with three digits behind the point, and kept as they are.
        path: Without a suffix.
        title: Heading of the page.
        words: What a row is, in a sentence.
        whole: What the Parquet file holds, where the page shows no more than means of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    (frame if whole is None else whole).write_parquet(path.with_suffix(".parquet"), compression="zstd")
    shown = frame.with_columns(pl.selectors.float().round(3).fill_nan(None))
    data = json.dumps({"columns": shown.columns, "rows": [list(row) for row in shown.iter_rows()]})
    # No text of a name can end the script that it stands in.
    page = PAGE.format(title=escape(title), words=escape(words), data=data.replace("<", "\\u003c"))
    write_text(path.with_suffix(".html"), page)
