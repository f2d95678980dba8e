"""Trees of the licensed data sets in their native layouts, with pictures, large enough to train on.

The writers are those of the readers' own tests, given more rows.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import test_affectnet
import test_affwild2
import test_bp4d
import test_celeba
import test_clothing_attributes
import test_cub200
import test_deepfashion
import test_disfa
import test_emotionet
import test_rafdb
import test_shoes
import test_ut_zappos50k
from _face_mutations import touch, write
from PIL import Image

SIDE = 10


def paint(root: Path) -> None:
    """A small picture, each another, in the place of every empty image."""
    for number, path in enumerate(sorted(root.rglob("*.jpg"))):
        if path.stat().st_size == 0:
            pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path, "JPEG")


def affectnet(root: Path) -> None:
    for name, copies in (("training", 12), ("validation", 4)):
        lines, images = [test_affectnet.HEADER], []
        for code in range(8):
            for k in range(copies):
                line = test_affectnet.line(name[0], code).replace("ff.jpg", f"{k}.jpg")
                lines.append(line)
                images.append(f"Manually_Annotated_Images/{line.partition(',')[0]}")
        write(root / test_affectnet.LISTS / f"{name}.csv", lines)
        touch(root, images)


def affwild2(root: Path) -> None:
    videos = {("train", f"video{k}"): [*range(7), *range(7)] for k in range(10)}
    videos |= {("val", f"video{k}"): [*range(7), *range(7)] for k in range(10, 13)}
    crops = {video: range(1, 15) for _, video in videos}
    with patch.multiple(test_affwild2, EXPRESSIONS=videos, CROPS=crops, VIDEO="video0"):
        test_affwild2.make(root, "2022")


def bp4d(root: Path) -> None:
    def code(subject: str, frame: int, unit: int) -> str:
        return "01"[(int(subject[1:]) + frame // (unit % 3 + 1)) % 2]

    with patch.multiple(test_bp4d, FRAMES=8, code=code):
        test_bp4d.make(root, {(f"F{k:03d}", "T1"): 1 for k in range(1, 13)})


def celeba(root: Path) -> None:
    count = 90
    images = [f"{k:06d}.jpg" for k in range(1, count + 1)]
    people = [k % 4 + 1 for k in range(count)]
    with patch.multiple(test_celeba, IMAGES=images, PEOPLE=people, PARTS=[0] * count):
        test_celeba.make(root)


def clothing_attributes(root: Path) -> None:
    with patch.object(test_clothing_attributes, "COUNT", 90):
        test_clothing_attributes.make(root)


def cub200(root: Path) -> None:
    classes = [i % 3 for i in range(90)]
    names = test_cub200.SPECIES
    paths = [f"{c + 1:03d}.{names[c]}/{names[c].title()}_{i:04d}_{i}.jpg" for i, c in enumerate(classes, 1)]
    train = [int(i % 9 > 2) for i in range(90)]
    with patch.multiple(test_cub200, CLASS_OF=classes, TRAIN=train, PATHS=paths):
        test_cub200.make(root)


def deepfashion(root: Path) -> None:
    images = [f"img/Sheer_{i % 7}/img_{i:08d}.jpg" for i in range(1, 97)]
    parts = [("train", "train", "val", "test")[i // 4 % 4] for i in range(96)]
    with patch.multiple(
        test_deepfashion, IMAGES=images, CATEGORY=[i % 4 + 1 for i in range(96)], PARTS=parts
    ):
        test_deepfashion.make(root)


def disfa(root: Path) -> None:
    test_disfa.make(root, tuple(f"SN{k:03d}" for k in range(1, 14)))


def emotionet(root: Path) -> None:
    images = [f"N_{i:04d}/N_{i:04d}_1.jpg" for i in range(60)]
    lines = []
    for i, image in enumerate(images):
        codes = [str(int((i * (u % 5 + 1) + u) % 7 % 2)) for u in range(1, 61)]
        lines.append("\t".join([f"{test_emotionet.BASE}/{image}", f"http://old/{i}.jpg", *codes]))
    write(root / "dataFile_0001.txt", lines)
    touch(root, [f"images/{image}" for image in images])


def rafdb(root: Path) -> None:
    names = [test_rafdb.BASIC[stem] for stem in test_rafdb.BASIC]
    basic = {f"train_{i:05d}": names[i % 7] for i in range(1, 85)}
    basic |= {f"test_{i:04d}": names[i % 7] for i in range(1, 29)}
    with patch.object(test_rafdb, "BASIC", basic):
        test_rafdb.make(root)


def shoes(root: Path) -> None:
    names = [f"womens_{kind}" for kind in test_shoes.TYPES]
    images = {f"img_{names[i % 3]}_{i}.jpg": f"{names[i % 3]}/0" for i in range(90)}
    types = {image: place.split("/")[0].removeprefix("womens_") for image, place in images.items()}
    scores = np.array([[(5 * i + 7 * k) % 11 for k in range(3)] for i in range(90)], dtype=float)
    with patch.multiple(test_shoes, IMAGES=images, TYPE=types, SCORES=scores):
        test_shoes.make(root)
    for extra in (root / "shoes" / "womens_clogs" / "0").glob("descr_*"):
        extra.unlink()


def ut_zappos50k(root: Path) -> None:
    kinds = [("Shoes", "Oxfords"), ("Boots", "Ankle"), ("Sandals", "Flat")]
    files, labels = {}, dict.fromkeys(test_ut_zappos50k.LABELS, "")
    for i in range(90):
        kind, inner = kinds[i % 3]
        files[f"{100000 + i}-1"] = f"{kind}/{inner}/Brand/{100000 + i}.1.jpg"
        for k, name in enumerate(labels):
            labels[name] += str((i * (k + 1) + k) % 5 % 2)
    with patch.multiple(
        test_ut_zappos50k,
        FILES=files,
        CATEGORY=[kinds[i % 3][0] for i in range(90)],
        SUBCATEGORY=[kinds[i % 3][1] for i in range(90)],
        LABELS=labels,
    ):
        test_ut_zappos50k.make(root)


TREES = {
    "affectnet": affectnet,
    "affwild2": affwild2,
    "bp4d": bp4d,
    "bp4d_plus": bp4d,
    "celeba": celeba,
    "clothing_attributes": clothing_attributes,
    "cub200": cub200,
    "deepfashion": deepfashion,
    "disfa": disfa,
    "emotionet": emotionet,
    "rafdb": rafdb,
    "shoes": shoes,
    "ut_zappos50k": ut_zappos50k,
}


def make(name: str, root: Path) -> None:
    """Write a data set, by the name of its folder."""
    TREES[name](root)
    paint(root)
