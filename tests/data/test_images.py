"""Images: every mode, orientation and damage; boxes, landmarks; paths that lead out."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from concord.data.alignment import TEMPLATE, five_points, similarity
from concord.data.augment import Augment, step_generator
from concord.data.images import BOX, IMAGENET, Images, normalize
from concord.data.manifest import Manifest
from concord.data.mixture import Mixture
from concord.data.paths import DataRoot, check_relative
from concord.data.source import Source
from concord.errors import (
    ConcordError,
    DataFormatError,
    MissingDataError,
    RangeError,
    ShapeError,
    UnknownNameError,
    UnsafePathError,
)

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def load(root, *paths, columns=None, **options):
    """Pixels as uint8 (n, size, size, 3), and failures."""
    options = {"size": 8, "normalize": None, **options}
    images = Images(**options)
    manifest = Manifest(pl.DataFrame({"path": list(paths), **(columns or {})}), (), root, "m")
    out = images.load(images.keys(manifest)(np.arange(len(paths))))
    return out.values.permute(0, 2, 3, 1).numpy(), out.failures


def one(root, image, name="a.png", columns=None, options=None, **save):
    image.save(root / name, **save)
    pixels, failures = load(root, name, columns=columns, **(options or {}))
    assert not failures
    return pixels[0]


def quarters(mode="RGB", size=8):
    """Top left 40, top right 120, bottom left 180, bottom right 250, in grey."""
    values = np.kron(np.array([[40, 120], [180, 250]], dtype=np.uint8), np.ones((size // 2,) * 2, np.uint8))
    return Image.fromarray(values).convert(mode)


CORNERS = [[40, 120], [180, 250]]


# -- modes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA"])
def test_every_mode_of_a_png_becomes_rgb(tmp_path, mode):
    pixels = one(tmp_path, quarters(mode))
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all()
    assert pixels[::7, ::7, 0].tolist() == CORNERS


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L", "RGB"])
def test_jpeg_and_tiff_in_other_colour_spaces(tmp_path, mode):
    for name, slack in (("a.jpg", 6), ("a.tif", 2)):
        pixels = one(tmp_path, quarters(mode), name, quality=95)
        np.testing.assert_allclose(pixels[::7, ::7, 0].astype(int), CORNERS, atol=slack)


def test_one_bit_images(tmp_path):
    pixels = one(tmp_path, quarters().convert("1", dither=Image.Dither.NONE))
    assert pixels[::7, ::7, 0].tolist() == [[0, 0], [255, 255]]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_keeps_its_shades(tmp_path, name):
    values = np.asarray(quarters("L")).astype(np.uint16) * 257
    pixels = one(tmp_path, Image.fromarray(values), name)
    assert pixels[::7, ::7, 0].tolist() == CORNERS


def test_pixels_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(np.full((8, 8), 2**20, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(DataFormatError, match=r"f\.tif: floating-point"):
        load(tmp_path, "f.tif")
    with pytest.raises(DataFormatError, match=r"i\.tif: 16-bit pixels"):
        load(tmp_path, "i.tif")


def test_transparent_pixels_show_the_fill(tmp_path):
    image = Image.new("RGBA", (8, 8), (*RED, 255))
    image.paste((9, 9, 9, 0), (0, 0, 4, 8))
    pixels = one(tmp_path, image, options={"fill": (1, 2, 3)})
    assert pixels[0, 0].tolist() == [1, 2, 3]
    assert pixels[0, 7].tolist() == list(RED)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([10, 20, 30, *RED])
    palette.paste(0, (0, 0, 4, 8))
    pixels = one(tmp_path, palette, transparency=0)
    assert pixels[0, 0].tolist() == list(WHITE)
    assert pixels[0, 7].tolist() == list(RED)
    keyed = one(tmp_path, Image.new("RGB", (8, 8), (5, 6, 7)), transparency=(5, 6, 7))
    assert keyed[0, 0].tolist() == list(WHITE)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, name, orientation):
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = quarters(size=16)
    if orientation in turns:
        stored = stored.transpose(turns[orientation])
    pixels = one(tmp_path, stored, name, exif=exif, options={"size": 16})
    np.testing.assert_allclose(pixels[::15, ::15, 0].astype(int), CORNERS, atol=8)


# -- geometry --------------------------------------------------------------------------------------


def test_padding_cropping_and_stretching_to_a_square(tmp_path):
    wide = Image.new("RGB", (16, 8), RED)
    wide.paste(BLACK, (0, 0, 4, 8))
    padded = one(tmp_path, wide, options={"fit": "pad", "size": 16})
    assert (padded[:4] == 255).all()
    assert (padded[12:] == 255).all()
    assert padded[8, 15].tolist() == list(RED)
    assert padded[8, 0].tolist() == list(BLACK)
    cropped = one(tmp_path, wide, options={"fit": "crop"})
    assert (cropped == RED).all()
    stretched = one(tmp_path, wide, options={"fit": "stretch"})
    assert stretched[0, 0].tolist() == list(BLACK)
    assert stretched[7, 7].tolist() == list(RED)


def boxed(root, box, **options):
    columns = {name: [value] for name, value in zip(BOX, box, strict=True)}
    image = Image.new("RGB", (20, 20), BLACK)
    image.paste(RED, (4, 6, 12, 14))
    return one(root, image, columns=columns, options={"region": "box", **options})


def test_boxes_are_cut_out_widened_and_padded(tmp_path):
    assert (boxed(tmp_path, (4, 6, 8, 8)) == RED).all()
    assert (boxed(tmp_path, (4, 8, 8, 4)) == RED).all()  # widened to a square
    wide = boxed(tmp_path, (4, 6, 8, 8), margin=0.5, size=16)
    assert (wide[:3] == 0).all()
    assert (wide[8, 8] == RED).all()
    corner = boxed(tmp_path, (-4, -4, 8, 8), fill=(7, 7, 7))
    assert (corner[:4] == 7).all()
    assert (corner[4:, 4:] == 0).all()
    stretched = boxed(tmp_path, (4, 10, 8, 4), fit="stretch")
    assert (stretched == RED).all()
    for box, match in [
        ((0, 0, 0, 5), "> 0"),
        ((30, 0, 5, 5), "outside"),
        ((0, 0, 1e6, 1e6), "max_pixels"),
        ((0, 0, np.nan, 1), "> 0"),
    ]:
        with pytest.raises(DataFormatError, match=rf"a\.png: .*{match}"):
            boxed(tmp_path, box)


angles = st.floats(-3, 3)


@given(angles, st.floats(0.05, 20), st.floats(-50, 50), st.floats(-50, 50))
def test_a_similarity_is_found_again(angle, scale, x, y):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = TEMPLATE * 40
    found = similarity(points, points @ turn.T + [x, y])
    np.testing.assert_allclose(found, np.column_stack([turn, [x, y]]), atol=1e-8 * scale + 1e-8)


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.6, 1.5), (-2.0, 6.0)])
def test_landmarks_bring_faces_to_one_place(tmp_path, angle, scale):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([150.0, 160.0])
    points = (TEMPLATE * 32 - 16) @ turn.T + centre
    canvas = np.zeros((320, 300, 3), dtype=np.uint8)
    ys, xs = np.mgrid[:320, :300]
    for number, (x, y) in enumerate(points):
        near = (xs + 0.5 - x) ** 2 + (ys + 0.5 - y) ** 2 <= (2.5 * scale) ** 2
        canvas[near] = [0, 0, 0]
        canvas[near, number % 3] = 250
    columns = {"landmarks": [points.ravel().tolist()]}
    face = one(
        tmp_path, Image.fromarray(canvas), columns=columns, options={"region": "landmarks", "size": 32}
    )
    for number, (x, y) in enumerate(TEMPLATE * 32):
        assert face[int(y), int(x), number % 3] > 200


def test_68_landmarks_give_five_points():
    points = np.random.default_rng(0).normal(size=(68, 2))
    points[36:42] = [[1, 2]] * 3 + [[3, 4]] * 3
    five = five_points(points.ravel().tolist())
    assert five[0].tolist() == [2, 3]
    np.testing.assert_array_equal(five[2:], points[[30, 48, 54]])
    with pytest.raises(ShapeError, match="found 4 numbers"):
        five_points([1, 2, 3, 4])
    with pytest.raises(ShapeError, match="one point"):
        similarity(np.ones((5, 2)), TEMPLATE)


def test_a_row_without_landmarks_is_named(tmp_path):
    quarters().save(tmp_path / "a.png")
    columns = {"landmarks": [[0.0, 1.0]]}
    with pytest.raises(DataFormatError, match=r"a\.png: landmarks are x and y of 5 or 68"):
        load(tmp_path, "a.png", columns=columns, region="landmarks")
    columns = {"landmarks": [[0.0] * 10, None]}
    with pytest.raises(UnknownNameError, match="1 have none"):
        load(tmp_path, "a.png", "a.png", columns=columns, region="landmarks")


# -- normalisation and memory ----------------------------------------------------------------------


def test_normalisation_and_memory_format(tmp_path):
    quarters().save(tmp_path / "a.png")
    raw, _ = load(tmp_path, "a.png")
    images = Images(tmp_path, 8)
    manifest = Manifest(pl.DataFrame({"path": ["a.png"]}), ())
    values = images.load(images.keys(manifest)(np.array([0]))).values
    assert values.dtype == torch.float32
    assert values.is_contiguous(memory_format=torch.channels_last)
    expected = (raw / 255 - np.array(IMAGENET[0])) / np.array(IMAGENET[1])
    np.testing.assert_allclose(values.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    again = normalize(torch.from_numpy(raw).permute(0, 3, 1, 2).double() / 255, IMAGENET)
    np.testing.assert_allclose(again.permute(0, 2, 3, 1).numpy(), expected, atol=1e-12)


# -- damage ----------------------------------------------------------------------------------------


def encoded(format_: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, format_)
    return out.getvalue()


FILES = {name: encoded(name) for name in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")}


@pytest.mark.filterwarnings("ignore::UserWarning")  # pillow's, on metadata
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_files_are_named_or_read_and_nothing_else(tmp_path_factory, format_, data):
    content = bytearray(FILES[format_])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    root = tmp_path_factory.getbasetemp()
    (root / "a.bin").write_bytes(content)
    try:
        pixels, _ = load(root, "a.bin", max_pixels=100_000)
    except DataFormatError as error:
        message = str(error)
    else:
        message = f"{root}/a.bin: " * (pixels.shape == (1, 8, 8, 3))
    assert message.startswith(f"{root}/a.bin: ")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_truncated_file_is_an_error_or_left_out_as_asked(tmp_path, format_):
    (tmp_path / "whole").write_bytes(FILES[format_])
    (tmp_path / "torn").write_bytes(FILES[format_][: len(FILES[format_]) * 2 // 3])
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(
        DataFormatError, match=r"/torn: cannot be decoded, .*; on_error: skip leaves out images"
    ):
        load(tmp_path, "whole", "torn")
    paths = ("torn", "whole", "empty", "gone", "whole")
    pixels, failures = load(tmp_path, *paths, on_error="skip")
    whole, _ = load(tmp_path, "whole")
    assert [(f.position, f.path) for f in failures] == [(0, "torn"), (2, "empty"), (3, "gone")]
    np.testing.assert_array_equal(pixels, np.concatenate([whole, whole]))
    assert "no file 'gone'" in failures[2].reason


def test_skipped_images_leave_their_batch(tmp_path):
    quarters().save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    manifest = Manifest(pl.DataFrame({"path": ["a.png", "b.png"]}), (), tmp_path, "faces")
    source = Source(manifest, Images(size=8, on_error="skip"))
    with pytest.warns(UserWarning, match=r"source 'faces': row 1 is skipped, b\.png: .*cannot be decoded"):
        (batch,) = Mixture([source], batch_size=2, workers=1)
    assert batch.index.tolist() == [0]
    assert batch.inputs.shape == (1, 3, 8, 8)


def test_a_decompression_bomb_is_refused(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataFormatError, match=r"bomb\.png: refused, 9000 x 9000 pixels .*64,000,000"):
        load(tmp_path, "bomb.png")
    Image.new("1", (14000, 14000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataFormatError, match=r"bomb\.png: refused"):
        load(tmp_path, "bomb.png")
    Image.new("1", (10000, 9000)).save(tmp_path / "bomb.png")  # where pillow itself warns
    with pytest.raises(DataFormatError, match=r"bomb\.png: refused"):
        load(tmp_path, "bomb.png")


def test_formats_that_run_programs_are_closed(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    with pytest.raises(DataFormatError, match="no image of JPEG"):
        load(tmp_path, "a.eps")


# -- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../a.png", "/etc/passwd", "a/../../b", "", "a\\..\\b", "c:/x", "a\0b"])
def test_paths_that_leave_the_root_are_refused(tmp_path, path):
    with pytest.raises(UnsafePathError, match="inside it"):
        check_relative(path)
    with pytest.raises(UnsafePathError, match="inside it"):
        DataRoot(tmp_path).open(path)


@given(st.lists(st.sampled_from(["..", ".", "a", "", "b.zip", "..."]), min_size=1, max_size=5).map("/".join))
def test_no_path_opens_anything_outside(tmp_path_factory, path):
    root = tmp_path_factory.getbasetemp() / "deep" / "root"
    root.mkdir(parents=True, exist_ok=True)
    for folder in (root, root.parent):
        for name in ("a", "..."):
            (folder / name).write_bytes(b"in" if folder == root else b"out")
    try:
        with DataRoot(root).open(path) as file:
            assert file.read() == b"in"
    except ConcordError:
        pass


def test_symbolic_links_out_of_the_root_are_not_followed(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (root / "sub").mkdir(parents=True)
    quarters().save(outside / "a.png")
    quarters().save(root / "sub" / "b.png")
    os.symlink(outside / "a.png", root / "file.png")
    os.symlink(outside, root / "folder")
    os.symlink(root / "sub", root / "inner")
    os.symlink(root / "sub" / "b.png", root / "inner.png")
    os.symlink(root / "nowhere", root / "dangling")
    for path in ("file.png", "folder/a.png"):
        for policy in ("raise", "skip"):  # never skipped: somebody may be reading what they should not
            with pytest.raises(UnsafePathError, match="symbolic link"):
                load(root, path, on_error=policy)
    assert load(root, "inner.png", "inner/b.png")[0].shape[0] == 2
    with pytest.raises(MissingDataError, match="dangling"):
        load(root, "dangling")
    with pytest.raises(MissingDataError, match="below"):
        load(root, "inner.png/below")
    with pytest.raises(UnsafePathError, match="no regular file"):
        load(root, "sub")
    os.mkfifo(root / "pipe")
    with pytest.raises(UnsafePathError, match="no regular file"):
        load(root, "pipe")


def test_members_of_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.ZIP", "w") as archive:
        out = io.BytesIO()
        quarters().save(out, "PNG")
        archive.writestr("a/1.png", out.getvalue())
        archive.writestr("2.png", b"no image")
        archive.writestr("big", b"\0" * 2000, zipfile.ZIP_DEFLATED)
    (tmp_path / "folder.zip").mkdir()
    quarters().save(tmp_path / "folder.zip" / "b.png")
    pixels, _ = load(tmp_path, "photos.ZIP/a/1.png", "folder.zip/b.png")
    np.testing.assert_array_equal(pixels[0], pixels[1])
    with pytest.raises(MissingDataError, match=r"'3\.png' in 'photos\.ZIP'"):
        load(tmp_path, "photos.ZIP/3.png")
    with pytest.raises(DataFormatError, match=r"photos\.ZIP/2\.png"):
        load(tmp_path, "photos.ZIP/2.png")
    with pytest.raises(UnsafePathError, match=r"big' holds 2,000 bytes"):
        DataRoot(tmp_path, max_bytes=1000).open("photos.ZIP/big")
    (tmp_path / "large").write_bytes(b"0" * 1001)
    with pytest.raises(UnsafePathError, match=r"'large' holds 1,001 bytes"):
        DataRoot(tmp_path, max_bytes=1000).open("large")
    (tmp_path / "torn.zip").write_bytes(b"PK nothing")
    with pytest.raises(DataFormatError, match=r"torn\.zip/1\.png: cannot be decoded"):
        load(tmp_path, "torn.zip/1.png")
    root = DataRoot(tmp_path)
    root.open("photos.ZIP/2.png")
    copy = pickle.loads(pickle.dumps(root))  # as into a worker: handles stay behind
    assert not copy._archives
    root._process = -1  # as after a fork
    assert root.open("photos.ZIP/2.png").read() == b"no image"


def test_options_are_checked(tmp_path):
    for options, error, match in [
        ({"fit": "padd"}, UnknownNameError, "'pad'"),
        ({"region": "face"}, UnknownNameError, "region"),
        ({"on_error": "ignore"}, UnknownNameError, "on_error"),
        ({"size": 0}, RangeError, "size"),
        ({"margin": -1}, RangeError, "margin"),
        ({"fill": (0, 0, 256)}, RangeError, "fill"),
        ({"max_pixels": 10**9}, RangeError, "MAX_IMAGE_PIXELS"),
    ]:
        with pytest.raises(error, match=match):
            Images(tmp_path, **options)
    manifest = Manifest(pl.DataFrame({"path": ["a"]}), (), name="m")
    with pytest.raises(MissingDataError, match="root"):
        Images().keys(manifest)
    with pytest.raises(MissingDataError, match="no data folder"):
        Images(tmp_path / "none").keys(manifest)
    with pytest.raises(UnknownNameError, match="'box_x'"):
        Images(tmp_path, region="box").keys(manifest)
    with pytest.raises(UnknownNameError, match="'path'"):
        Images(tmp_path).keys(Manifest(pl.DataFrame({"row": [0]}), ()))
    assert repr(Images("x", 8)) == "Images(root='x', size=8, region='whole')"


# -- augmentation ----------------------------------------------------------------------------------


def pictures(n=6, size=9):
    values = np.random.default_rng(1).integers(0, 256, (n, 3, size, size), dtype=np.uint8)
    return torch.from_numpy(values)


def test_flips_are_drawn_by_sample_and_repeat_with_the_generator():
    images = pictures(200)
    out = Augment(flip=0.3)(images, step_generator(0, 5))
    plain, mirrored = normalize(images, IMAGENET), normalize(images.flip(-1), IMAGENET)
    was = [torch.equal(o, p) for o, p in zip(out, plain, strict=True)]
    flipped = [torch.equal(o, m) for o, m in zip(out, mirrored, strict=True)]
    assert all(a != b for a, b in zip(was, flipped, strict=True))
    assert 30 < sum(flipped) < 90
    assert torch.equal(out, Augment(flip=0.3)(images, step_generator(0, 5)))
    assert not torch.equal(out, Augment(flip=0.3)(images, step_generator(0, 6)))
    assert torch.equal(Augment(flip=0)(images, step_generator(0, 5)), plain)
    assert torch.equal(Augment(flip=1)(plain, step_generator(0, 5)), mirrored)


def test_shifts_match_mirrored_padding():
    images = pictures()
    out = Augment(flip=0, shift=3)(images.float(), step_generator(0, 1))
    padded = torch.nn.functional.pad(images.float(), (3, 3, 3, 3), mode="reflect")
    for image, own in zip(out, padded, strict=True):
        windows = [own[:, y : y + 9, x : x + 9] for y in range(7) for x in range(7)]
        assert any(torch.equal(image, window) for window in windows)
    assert Augment(shift=2)(pictures(size=1), step_generator(0, 1)).shape == (6, 3, 1, 1)
    assert Augment(shift=2)(pictures(0), step_generator(0, 1)).shape == (0, 3, 9, 9)


def test_brightness_and_contrast_stay_in_their_ranges():
    one = ((0.0,) * 3, (1.0,) * 3)
    flat = torch.full((400, 3, 4, 4), 100, dtype=torch.uint8)
    out = Augment(flip=0, brightness=0.2, normalize=one)(flat, step_generator(0, 0)) * 255 / 100
    factors = out.mean(dim=(1, 2, 3))
    assert torch.allclose(out, factors.view(-1, 1, 1, 1).expand_as(out))
    assert 0.8 <= factors.min() < 0.83
    assert 1.17 < factors.max() <= 1.2001
    images = pictures()
    out = Augment(flip=0, contrast=0.3, normalize=one)(images // 2 + 64, step_generator(0, 0))
    means = (images // 2 + 64).float().mean(dim=(1, 2, 3)) / 255
    torch.testing.assert_close(out.mean(dim=(1, 2, 3)), means, atol=1e-5, rtol=0)
    assert out.min() >= 0
    assert out.max() <= 1


def test_augmentation_names_its_mistakes():
    for options in ({"flip": 1.1}, {"shift": -1}, {"brightness": 2}, {"contrast": -0.1}):
        with pytest.raises(RangeError, match=next(iter(options))):
            Augment(**options)
    with pytest.raises(ShapeError, match="uint8"):
        Augment(brightness=0.1)(pictures().float(), step_generator(0, 0))
    with pytest.raises(ShapeError, match=r"\(6, 3\)"):
        Augment()(torch.zeros(6, 3), step_generator(0, 0))
