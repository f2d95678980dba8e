"""Whether a copy is whole."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from concord.cli import app
from concord.data.published import NO_NUMBER, PUBLISHED, check_copy
from concord.data.registry import reader_names


def rafdb(root: Path, train: int = 12_271, test: int = 3_068) -> Path:
    file = root / "basic/EmoLabel/list_patition_label.txt"
    file.parent.mkdir(parents=True)
    lines = [f"train_{k:05d}.jpg {k % 7 + 1}" for k in range(1, train + 1)]
    lines += [f"test_{k:04d}.jpg {k % 7 + 1}" for k in range(1, test + 1)]
    file.write_text("\n".join(lines) + "\n")
    return root


def found(root: Path) -> dict[str, tuple[int, int | None, int | None]]:
    table = check_copy("rafdb", root)
    return {what: (n, p, d) for what, n, p, d in table.drop("source").iter_rows()}


def test_a_whole_list(tmp_path: Path) -> None:
    assert found(rafdb(tmp_path)) == {
        "rows": (15_339, None, None),
        "rows in train": (12_271, 12_271, 0),
        "rows in test": (3_068, 3_068, 0),
        "classes of expression": (7, None, None),
        "images that are not there": (15_339, None, None),
    }


def test_a_list_cut_at_a_line_end_is_found_by_its_count(tmp_path: Path) -> None:
    assert found(rafdb(tmp_path, test=3_067))["rows in test"] == (3_067, 3_068, -1)


def test_a_split_that_is_gone(tmp_path: Path) -> None:
    assert found(rafdb(tmp_path, test=0))["rows in test"] == (0, 3_068, -3_068)


def test_every_number_is_of_a_reader_and_has_a_source() -> None:
    assert set(PUBLISHED) <= set(reader_names())
    assert all(number.source and number.count > 0 for some in PUBLISHED.values() for number in some)


def test_the_command_says_what_differs(tmp_path: Path) -> None:
    rafdb(tmp_path, test=3_067)
    result = CliRunner().invoke(app, ["data", "check", "rafdb", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "1 fewer" in result.output
    assert NO_NUMBER in result.output
    whole = rafdb(tmp_path / "whole")
    assert CliRunner().invoke(app, ["data", "check", "rafdb", str(whole)]).exit_code == 0
