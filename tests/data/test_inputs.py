"""Feature rows and texts: every kind of file, and what is wrong with it."""

from __future__ import annotations

import pickle

import numpy as np
import polars as pl
import pytest
import torch

from concord.data.features import FeatureRows
from concord.data.inputs import Texts, concatenate
from concord.data.manifest import Manifest
from concord.errors import DataFormatError, MissingDataError, NotFiniteError, ShapeError, UnknownNameError

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def manifest(**columns) -> Manifest:
    return Manifest(pl.DataFrame(columns), (), name="m")


def loaded(features: FeatureRows, rows) -> torch.Tensor:
    keys = features.keys(manifest(row=list(range(len(features)))))
    return features.load(keys(np.asarray(rows))).values


def write(path, values):
    if path.suffix == ".npz":
        save = np.savez_compressed if "small" in path.stem else np.savez
        save(path, other=np.zeros(3), x=values)
    elif path.suffix == ".npy":
        np.save(path, values)
    else:
        frame = pl.DataFrame({f"f{i}": values[:, i] for i in range(values.shape[1])})
        frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x_small.npz", "x.parquet", "x.csv"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8])
def test_every_file_gives_the_same_rows(tmp_path, name, dtype):
    write(tmp_path / name, VALUES.astype(dtype))
    features = FeatureRows(tmp_path / name)
    assert features.shape == (4, 3)
    assert len(features) == 4
    for held in (features, pickle.loads(pickle.dumps(features))):
        out = loaded(held, [2, 0, 2])
        assert out.dtype == torch.float32
        np.testing.assert_array_equal(out.numpy(), VALUES[[2, 0, 2]])
    assert name in repr(features)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_uncompressed_files_are_mapped_not_read(tmp_path, name):
    write(tmp_path / name, np.asfortranarray(VALUES))
    features = FeatureRows(tmp_path / name)
    np.testing.assert_array_equal(loaded(features, [3, 1]).numpy(), VALUES[[3, 1]])
    base = features._array
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert len(pickle.dumps(features)) < 1000


def test_arrays_tensors_frames_and_other_byte_orders():
    for values in (VALUES, VALUES.tolist(), torch.from_numpy(VALUES), VALUES.astype(">f4")):
        np.testing.assert_array_equal(loaded(FeatureRows(values), [1, 3]).numpy(), VALUES[[1, 3]])
    pictures = np.zeros((5, 8, 8, 3), dtype=np.uint8)
    assert loaded(FeatureRows(pictures), [0, 4]).shape == (2, 8, 8, 3)
    assert loaded(FeatureRows(VALUES, dtype=torch.float64), [0]).dtype == torch.float64
    assert pickle.loads(pickle.dumps(FeatureRows(VALUES))).shape == (4, 3)


def test_tables_turn_lists_and_text_into_features():
    frame = pl.DataFrame(
        {
            "cap": ["b", None, "a", " "],
            "size": [1.5, 2.5, 3.5, 4.5],
            "ring": [True, False, True, False],
            "vector": [[1.0, 2.0]] * 4,
        }
    )
    expected = [[0, 1, 1.5, 1, 1, 2], [0, 0, 2.5, 0, 1, 2], [1, 0, 3.5, 1, 1, 2], [0, 0, 4.5, 0, 1, 2]]
    np.testing.assert_array_equal(loaded(FeatureRows(frame), range(4)).numpy(), expected)
    chosen = FeatureRows(frame, columns=["ring", "cap"])
    np.testing.assert_array_equal(loaded(chosen, [2]).numpy(), [[1, 1, 0]])
    with pytest.raises(UnknownNameError, match="'ring'"):
        FeatureRows(frame, columns=["rings"])
    with pytest.raises(DataFormatError, match="'v'"):
        FeatureRows(pl.DataFrame({"v": [[1.0], [1.0, 2.0]]}))
    with pytest.raises(DataFormatError, match="'v'"):
        FeatureRows(pl.DataFrame({"v": [{"a": 1}]}))


def test_missing_numbers_and_infinity_are_found_with_their_row():
    values = VALUES.copy()
    values[2, 1] = np.nan
    features = FeatureRows(values)
    assert loaded(features, [0, 1]).shape == (2, 3)
    with pytest.raises(NotFiniteError, match="in row 2"):
        loaded(features, [0, 2])
    with pytest.raises(NotFiniteError, match="in row 1"):
        loaded(FeatureRows(pl.DataFrame({"a": [1.0, None]})), [1])


def test_mistakes_in_files_are_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.npy"):
        FeatureRows(tmp_path / "none.npy")
    write(tmp_path / "x.npz", VALUES)
    with pytest.raises(UnknownNameError, match="known: other, x"):
        FeatureRows(tmp_path / "x.npz", key="features")
    for name in ("torn.npz", "torn.npy", "torn.parquet"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 this is no array")
        with pytest.raises(DataFormatError, match=name):
            FeatureRows(tmp_path / name)
    write(tmp_path / "cut.npz", VALUES)
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataFormatError, match=r"cut\.npz"):
        FeatureRows(tmp_path / "cut.npz")
    for name in ("objects.npy", "objects.npz", "objects_small.npz"):
        write(tmp_path / name, np.array([[object()], ["x"]], dtype=object))
        with pytest.raises(DataFormatError, match=name):
            FeatureRows(tmp_path / name)


def test_shapes_and_rows_are_checked():
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        FeatureRows([1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match=r"\(0, 2\)"):
        FeatureRows(np.zeros((0, 2)))
    with pytest.raises(ShapeError):
        FeatureRows(pl.DataFrame({"a": [1.0]}), columns=[])
    with pytest.raises(DataFormatError, match="numbers"):
        FeatureRows(np.array([["a"]]))
    features = FeatureRows(VALUES)
    with pytest.raises(ShapeError, match=r"row 4.*0 \.\. 3"):
        features.keys(manifest(row=[0, 4]))
    with pytest.raises(UnknownNameError, match="'row'"):
        features.keys(manifest(text=["a"]))
    with pytest.raises(UnknownNameError, match="1 have none"):
        features.keys(manifest(row=[0, None], text=["a", "b"]))


def test_texts():
    keys = Texts().keys(manifest(text=["a", "b", "c"]))
    assert Texts().load(keys(np.array([2, 0]))).values == ["c", "a"]
    with pytest.raises(UnknownNameError, match="'text'"):
        Texts().keys(manifest(row=[0]))
    assert repr(Texts()) == "Texts()"


def test_parts_of_a_batch_must_be_alike():
    one = torch.zeros(2, 3)
    assert concatenate([one, one + 1], "ab").shape == (4, 3)
    with pytest.raises(ShapeError, match=r"'b' gives torch\.float64"):
        concatenate([one, one.double()], "ab")
    with pytest.raises(ShapeError, match="mapping of ids, mask"):
        concatenate([{"ids": one}, {"ids": one, "mask": one}], "ab")


def test_the_only_array_of_a_file_is_read_whatever_it_is_called(tmp_path):
    np.savez(tmp_path / "one.npz", features=np.ones((2, 3)))
    assert FeatureRows(tmp_path / "one.npz").shape == (2, 3)
    np.savez(tmp_path / "two.npz", features=np.ones((2, 3)), ids=np.ones(2))
    with pytest.raises(UnknownNameError, match=r"unknown array in .*'x'; known: features, ids"):
        FeatureRows(tmp_path / "two.npz")
    with pytest.raises(UnknownNameError, match=r"unknown array in .*'y'"):  # another name was asked for
        FeatureRows(tmp_path / "one.npz", key="y")
