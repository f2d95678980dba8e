"""Files that are written whole or not at all, and read within limits. Nothing here is heavy to import."""

from concord.files.arrays import UNREADABLE, bytes_of, read_arrays, read_header, write_arrays
from concord.files.cells import FORMULA, NUMBER, guarded, unguarded
from concord.files.figures import figure_file
from concord.files.limits import check_unpacked, most_unpacked, parse_json, read_json
from concord.files.writing import check_place, flush, whole, write_bytes, write_csv, write_flushed, write_text

__all__ = [
    "FORMULA",
    "NUMBER",
    "UNREADABLE",
    "bytes_of",
    "check_place",
    "check_unpacked",
    "figure_file",
    "flush",
    "guarded",
    "most_unpacked",
    "parse_json",
    "read_arrays",
    "read_header",
    "read_json",
    "unguarded",
    "whole",
    "write_arrays",
    "write_bytes",
    "write_csv",
    "write_flushed",
    "write_text",
]
