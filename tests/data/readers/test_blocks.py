"""Files read in parts: the same lines, or the same error, as read whole."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.data.readers._mat import cell_strings, mat_variables
from concord.data.readers._text import read_blocks, read_lines
from concord.errors import DataFormatError, MissingDataError

BYTES = st.lists(
    st.sampled_from(
        [b"a", b"bc 1", b"\n", b"\n\n", b"\r\n", b" ", b"\xc3\xa9", b"\xff", b"\0", b"\xef\xbb\xbf"]
    )
).map(b"".join)


@given(data=BYTES, size=st.integers(1, 12))
def test_parts_are_the_whole(tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.txt"
    path.write_bytes(data)
    fault = ""
    try:
        whole = read_lines(path)
    except DataFormatError as error:
        fault = str(error)
    if fault.endswith("found an empty file"):
        assert not list(read_blocks(path, size=size))
        return
    if fault:
        with pytest.raises(DataFormatError) as info:
            list(read_blocks(path, size=size))
        assert str(info.value).startswith(f"{path}, line ")
        # Faults of different kinds may be found in another order, since a part is read at a time.
        if sum(byte in data for byte in (b"\xff", b"\0", b"\xef\xbb\xbf", b"\n")) < 2:
            assert str(info.value) == fault
        return
    blocks = list(read_blocks(path, size=size))
    assert all(len(block) for block in blocks)
    text = pl.concat([block.text for block in blocks]) if blocks else whole.text
    number = pl.concat([block.number for block in blocks]) if blocks else whole.number
    assert text.to_list() == whole.text.to_list()
    assert number.to_list() == whole.number.to_list()
    if blocks and not data[-1:].isspace():
        assert blocks[-1].complete == whole.complete


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="expected a text file, found none"):
        list(read_blocks(tmp_path / "list.txt"))
    with pytest.raises(MissingDataError, match=r"expected a \.mat file, found none"):
        mat_variables(tmp_path / "GT.mat", ("GT",))


def test_character_matrices_are_texts_too(tmp_path: Path) -> None:
    from scipy.io import savemat

    path = tmp_path / "names.mat"
    savemat(path, {"names": ["open", "pointy at the front"]})
    assert cell_strings(path, "names", mat_variables(path, ("names",))["names"]) == [
        "open",
        "pointy at the front",
    ]
