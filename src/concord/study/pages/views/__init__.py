"""What a page of a study shows, section by section: plain data for the templates, one section a file."""

from concord.study.pages.views.across import levels_of, listings_across, margin_of, pictures_across, tallies
from concord.study.pages.views.choices import accounts
from concord.study.pages.views.confusion import confusions
from concord.study.pages.views.curves import colours, efficiency, learning
from concord.study.pages.views.differences import against, pictures, ranks
from concord.study.pages.views.galleries import embedded, gallery
from concord.study.pages.views.relations import relation
from concord.study.pages.views.tables import listings, setup, told
from concord.study.pages.views.verdict import board, facts, sentences, tiles

__all__ = [
    "accounts",
    "against",
    "board",
    "colours",
    "confusions",
    "efficiency",
    "embedded",
    "facts",
    "gallery",
    "learning",
    "levels_of",
    "listings",
    "listings_across",
    "margin_of",
    "pictures",
    "pictures_across",
    "ranks",
    "relation",
    "sentences",
    "setup",
    "tallies",
    "tiles",
    "told",
]
