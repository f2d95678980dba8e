"""Drawn faces: expressions, action units, identities, and two data sets that look different.

A picture is made in three steps: people are drawn at random, a face (expression, action units, pose, light)
is put on each, and a camera takes it in the manner of a database. Each step depends on a seed alone.
"""

from concord.study.drawn_faces.camera import render
from concord.study.drawn_faces.datasets import FaceData, databases, identities
from concord.study.drawn_faces.people import ATTRIBUTES, People, attribute_table, attributes, draw_people
from concord.study.drawn_faces.poses import Faces, draw_faces
from concord.study.drawn_faces.styles import FIELD, LABORATORY, STYLES, Style

__all__ = [
    "ATTRIBUTES",
    "FIELD",
    "LABORATORY",
    "STYLES",
    "FaceData",
    "Faces",
    "People",
    "Style",
    "attribute_table",
    "attributes",
    "databases",
    "draw_faces",
    "draw_people",
    "identities",
    "render",
]
