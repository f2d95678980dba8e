"""Any text is a name in a model card: no markup, no heading, no link, and a header that claims nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
import yaml
from markdown_it import MarkdownIt  # rich brings it

import concord as cc
from concord.deploy import Card, save_pretrained
from concord.networks import mlp

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "[click](https://evil.example)",
    "![](https://evil.example/x.png)",
    "__x__ *y* ~~z~~ `code`",
    "a\n\n## Licence\n\nmit",
    "# forged",
    "b\\|c",
    "|",
    "\\",
    "&lt;b&gt;",
    "```",
    "\u202egpj\x1b[2J",
    "---",
    "$x$",
]


def rendered(text: str) -> tuple[list[tuple[str, str]], list[str], set[str]]:
    """Headings with their level, cells of tables, and all kinds of what is not text."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(text.split("---\n", 2)[2])
    headings, cells, kinds = [], [], set()
    for before, token in pairwise(tokens):
        if token.type == "inline":
            inner = token.children or []
            shown = "".join(child.content for child in inner)
            kinds |= {child.type for child in inner}
            if before.type == "heading_open":
                headings.append((before.tag, shown))
            if before.type in ("td_open", "th_open"):
                cells.append(shown)
        kinds |= {token.type} if token.type.startswith(("html", "image", "hr")) else set()
    return headings, cells, kinds


def shown(name: str) -> str:
    from concord.terminal import printable

    return " ".join(printable(" ".join(name.split())).split())


def test_names_are_text_in_a_card(tmp_path: Any) -> None:
    kind = cc.MulticlassTask("## kind\n# x", HOSTILE)
    marks = cc.MultilabelTask("<b>marks</b>", HOSTILE)
    relation = cc.Relation(kind, marks, np.full((len(HOSTILE),) * 2, 0.5))
    network = cc.MultiTaskNetwork(mlp(3), (kind, marks), torch.zeros(1, 3))
    decoder = cc.JointDecoder(relation)
    decoder.target_strength = decoder.class_strength = 0.5
    card = Card(
        name="<script>x</script>\n# second",
        license="# mit [x](y)",
        data=dict.fromkeys([*HOSTILE, "me/toys"], "<i>free</i>"),
        metrics={name: {f"{name}!": 0.5} for name in HOSTILE},
        evaluated_on="*all*",
    )
    folder = save_pretrained(
        tmp_path, network, (kind, marks), example=torch.zeros(1, 3), decoders=[decoder], card=card
    )
    text = (folder / "README.md").read_text(encoding="utf-8")
    headings, cells, kinds = rendered(text)
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}
    assert headings == [
        ("h1", "<script>x</script> # second"),
        *(("h2", name) for name in ("Use", "Tasks", "Trunk", "Relation", "Joint decoding")),
        *(("h2", name) for name in ("Data", "Metrics", "Licence")),
    ]
    for name in HOSTILE:
        assert shown(name) in cells
        assert f"{shown(name)}!" in cells
    assert yaml.safe_load(text.split("---\n", 2)[1])["datasets"] == ["me/toys"]


def test_an_estimators_own_text_is_fenced() -> None:
    from concord.hub import fenced

    (token,) = MarkdownIt("commonmark").parse(fenced("Base(\n```\n# x, '``````')"))
    assert token.type == "fence"
    assert token.content == "Base(\n```\n# x, '``````')\n"
