"""A model behind a server: what a request holds is data, and a bad one spoils no other."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import concord as cc
from asserts import raises
from concord.deploy import Service, export_folder, from_pretrained
from concord.errors import CheckpointError, ConfigError, UnknownNameError
from concord.runs import train
from config_worlds import SIDE, config_of, world
from forging import forge

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "serve.md"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            data = tmp_path_factory.mktemp(kind)
            run = train(config_of(world(data, kind, n=24), training__steps=3))
            run.decoder.decoders[0].target_strength = 0.5
            made[kind] = export_folder(run, data / "hub")
        return made[kind]

    return of


def same(answer: Any, model: Any, given: Any) -> None:
    frame, decided = model.predict_frame(given), model.predict(given)
    assert answer["shape"]["class"] == decided["shape"][0]
    for task in model.tasks:
        for name, p in answer[task.name]["probabilities"].items():
            np.testing.assert_allclose(p, frame[f"{task.name}.joint.{name}"][0], atol=1e-6)
    labels = np.asarray(["m1", "m2"])[decided["marks"][0] == 1].tolist()
    assert answer["marks"]["labels"] == labels
    expected = frame["shape->marks.disagreement"][0]
    assert answer["disagreement"]["shape->marks"] == pytest.approx(expected)
    json.dumps(answer)


@pytest.mark.parametrize("kind", ["features", "texts", "columns"])
def test_answers_are_the_predictions_of_the_model(kind: str, folders: Any) -> None:
    service, row = Service(folders(kind)), {"size": 3.0, "word": "boxy", "one": 1, "two": 0}
    x = np.random.default_rng(0).normal(100, 10, (2, 6))
    requests = {"features": x.tolist(), "texts": ["a round thing", "m1"], "columns": [row, row | {"size": 9}]}
    for answer, request in zip(service.answers(requests[kind]), requests[kind], strict=True):
        given = {name: [value] for name, value in request.items()} if kind == "columns" else [request]
        same(answer, service.model, given)
    assert service.answers([]) == []


def test_images_come_as_bytes_or_in_base64(folders: Any) -> None:
    images = folders("images").parent / "images0"
    contents = [path.read_bytes() for path in sorted(images.iterdir())[:3]]
    service = Service(folders("images"))
    found = service.answers([contents[0], base64.b64encode(contents[1]).decode(), bytearray(contents[2])])
    for answer, content in zip(found, contents, strict=True):
        same(answer, service.model, content)


def test_a_bad_request_spoils_no_other(folders: Any) -> None:
    images = Service(folders("images"))
    good = (folders("images").parent / "images0" / "000.png").read_bytes()
    path = str(folders("images").parent / "images0" / "000.png")
    found = images.answers([good, b"no image", good, path, 7])
    assert [set(answer) == {"error"} for answer in found] == [False, True, False, True, True]
    assert found[0] == found[2] == images.answers([good])[0]
    assert "base64" in found[3]["error"]
    features = Service(folders("features"))
    fine = [0.0] * 6
    found = features.answers([fine, [0.0] * 5, [float("nan")] * 6, "/etc/passwd", None, fine])
    assert ["error" in answer for answer in found] == [False, True, True, True, True, False]
    texts = Service(folders("texts"))
    assert ["error" in answer for answer in texts.answers(["a", 5])] == [False, True]


@pytest.mark.filterwarnings("ignore:.*training did not have")
def test_no_answer_depends_on_its_company(folders: Any) -> None:
    row = {"size": 3.0, "word": "boxy", "one": 1, "two": 0}
    columns, features = Service(folders("columns")), Service(folders("features"))
    turned = dict(reversed([*row.items()]))
    for service, requests in (
        (columns, [row | {"word": None}, row, turned, row | {"word": "7"}, row | {"word": 7}, {}, [1.0] * 4]),
        (features, [[2**60 + 1] * 6, [0.5] * 6, [True] * 6, {str(i): 0.0 for i in range(6)}]),
        (features, [{"a": 1, "b": 2, "c": 3}, {"b": 2, "a": 1, "c": 3}]),
    ):
        alone = [service.answers([request])[0] for request in requests]
        for shift in range(len(requests)):
            for answer, expected in zip(
                service.answers(requests[shift:] + requests[:shift]),
                alone[shift:] + alone[:shift],
                strict=True,
            ):
                assert set(answer) == set(expected)
                if "error" not in answer:
                    for p, of in zip(
                        answer["shape"]["probabilities"].values(),
                        expected["shape"]["probabilities"].values(),
                        strict=True,
                    ):
                        assert p == pytest.approx(of, abs=1e-6)
    assert "error" not in columns.answers([row | {"word": None}])[0]
    for order in ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]):
        (answer,) = features.answers([{f"f{i}": float(i) for i in order}])
        assert "columns have no names" in answer["error"]


def test_half_a_pair_of_surrogates_spoils_its_own_request(folders: Any) -> None:
    texts, columns = Service(folders("texts")), Service(folders("columns"))
    row = {"size": 3.0, "word": "boxy", "one": 1, "two": 0}
    found = texts.answers(["a round thing", "half \ud800", "boxy"])
    assert ["error" in answer for answer in found] == [False, True, False]
    assert "row 0 holds text that UTF-8 cannot write" in found[1]["error"]
    found = columns.answers([row, row | {"word": "\udc80"}, row | {"\ud800": 1}, row])
    assert ["error" in answer for answer in found] == [False, True, True, False]


def test_one_request_is_no_list_of_them(folders: Any) -> None:
    service = Service(folders("texts"))
    for one in ("a round thing", b"bytes", bytearray(b"bytes"), {"text": "a"}, None, 7):
        with raises(ConfigError, "requests are a list"):
            service.answers(one)


def test_a_source_is_named_where_the_training_had_several_kinds(folders: Any, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    shutil.copytree(folders("images"), folder)
    pixels = {"kind": "arrays", "size": SIDE, "white": 255.0, "key": "x", "invert": True}
    photos = {"kind": "images", "size": SIDE}
    both = {"inputs": {"pixels": pixels, "photos": photos}, "vocabulary": {}, "columns": None}
    forge(folder, "hub", preprocessing=both)
    with raises(ConfigError, "several kinds", "'pixels' (arrays) or 'photos' (images)"):
        Service(folder)
    with raises(UnknownNameError, "unknown source 'photo'"):
        Service(folder, source="photo")
    content = (folders("images").parent / "images0" / "000.png").read_bytes()
    service = Service(folder, source="photos")
    assert service.kind == "images"
    assert service.answers([content]) == Service(folders("images")).answers([content])
    assert "error" not in Service(folder, source="pixels").answers([[[0] * SIDE] * SIDE])[0]


def test_pictures_cut_out_by_a_table_are_refused_at_the_start(folders: Any, tmp_path: Path) -> None:
    shutil.copytree(folders("images"), tmp_path / "boxes")
    for region, needed in (("box", "cut pictures out by a table (box)"), ("landmarks", "(landmarks)")):
        plan = {"kind": "images", "size": SIDE, "region": region}
        only = {"inputs": {"faces": plan}, "vocabulary": {}, "columns": None}
        forge(tmp_path / "boxes", "hub", preprocessing=only)
        with raises(ConfigError, needed, "from_pretrained(...).predict"):
            Service(tmp_path / "boxes")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(categories=["L", "N", "P", "Z", "C", "Cs"]), max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.filterwarnings("ignore:.*training did not have")
@pytest.mark.parametrize("kind", ["images", "arrays", "features", "columns", "texts"])
def test_whatever_is_asked_is_answered(kind: str, folders: Any) -> None:
    service = Service(folders(kind))
    columns = st.fixed_dictionaries(dict.fromkeys(("size", "word", "one", "two"), ANYTHING))

    @given(st.lists(ANYTHING | columns | st.lists(st.floats(), min_size=6, max_size=6), max_size=3))
    @settings(max_examples=max(25, settings().max_examples // 2))
    def check(requests: list[Any]) -> None:
        answers = service.answers(requests)
        assert len(answers) == len(requests)
        for answer in answers:
            assert set(answer) in ({"error"}, {"shape", "marks", "disagreement"})
            json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()

    check()


def test_a_path_is_never_opened(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    services = [Service(folders(kind)) for kind in ("images", "features", "columns", "arrays")]
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was opened"))
    for service in services:
        for request in ("secret.npy", Path("secret.npy"), "secret.csv", "QUJD"):
            assert set(service.answers([request])[0]) == {"error"}


def test_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded(
    folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = BytesIO()
    Image.new("1", (9000, 9000)).save(content, "PNG")
    assert len(content.getvalue()) < 100_000
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    (answer,) = Service(folders("images")).answers([content.getvalue()])
    assert "9000 x 9000 pixels are more than max_pixels" in answer["error"]


@pytest.mark.parametrize("name", ["disagreement", "error"])
def test_a_task_that_answers_could_not_tell_from_a_key_is_refused(
    name: str, folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concord.deploy import service

    def renamed(*given: Any, **options: Any) -> Any:
        model = from_pretrained(*given, **options)
        first = cc.MulticlassTask(name, model.tasks[0].outputs)
        return dataclasses.replace(model, tasks=(first, *model.tasks[1:]))

    monkeypatch.setattr(service, "from_pretrained", renamed)
    with raises(ConfigError, f"task {name!r} has the name of a key"):
        Service(folders("features"))


def test_a_folder_without_preprocessing_is_refused_at_the_start(folders: Any, tmp_path: Path) -> None:
    shutil.copytree(folders("features"), tmp_path / "old")
    forge(tmp_path / "old", "hub", preprocessing=...)
    with raises(CheckpointError, "concord export RUN --hub"):
        Service(tmp_path / "old")


def block() -> str:
    return re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[1]


def test_the_page_does_with_a_stand_in_for_the_server_what_it_says(
    folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = ModuleType("litserve")
    stand_in.LitAPI = type("LitAPI", (), {})
    monkeypatch.setitem(sys.modules, "litserve", stand_in)
    monkeypatch.setenv("MODEL", str(folders("texts")))
    names: dict[str, Any] = {"__name__": "serve"}
    exec(compile(block(), "serve.md", "exec"), names)
    door = names["Door"]()
    door.setup("cpu")
    decoded = [door.decode_request({"input": text}) for text in ("a round thing", "a boxy thing m1")]
    found = door.predict(decoded)
    assert found == Service(folders("texts")).answers(decoded)
    odd = [door.decode_request(request) for request in ({"inputs": "a"}, {}, None, ["a"], "a")]
    assert [set(answer) for answer in door.predict(odd)] == [{"error"}] * 5


@pytest.mark.docs
@pytest.mark.filterwarnings("ignore")  # of a server, which is not ours
def test_the_page_serves(folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ls = pytest.importorskip(
        "litserve", reason="litserve is not installed: pip install concord-mtl[litserve]"
    )
    pytest.importorskip("httpx", reason="the test client of FastAPI needs httpx")
    from fastapi import testclient
    from litserve.utils import wrap_litserve_start

    # Workers are processes of their own: what they run lies in a file.
    (tmp_path / "serve.py").write_text(block(), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MODEL", str(folders("images")))
    import serve

    content = (folders("images").parent / "images0" / "000.png").read_bytes()
    server = ls.LitServer(serve.Door(max_batch_size=4, batch_timeout=0.01), accelerator="cpu")
    with wrap_litserve_start(server) as started, testclient.TestClient(started.app) as client:
        good = client.post("/predict", json={"input": base64.b64encode(content).decode()})
        bad = client.post("/predict", json={"input": "/etc/passwd"})
    assert good.status_code == bad.status_code == 200
    same(good.json(), cc.from_pretrained(folders("images")), content)
    assert set(bad.json()) == {"error"}
