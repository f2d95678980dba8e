"""A study of the user's own data: manifest, features and table, named by a plan in YAML."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from concord.cli import app
from concord.errors import (
    ConcordError,
    DataFormatError,
    MissingDataError,
    NotFiniteError,
    ShapeError,
    StudyError,
    UnknownNameError,
)
from concord.study.plan import as_plan, read_plan
from concord.study.problems.load import problem_of
from concord.study.problems.problem import check_problem

PETS, TRAITS = ["cat", "dog", "cow"], ["purrs", "barks", "horns"]
TABLE = "pet,purrs,barks,horns\ncat,0.9,0,0\ndog,0,0.9,0\ncow,0,0,0.8\n"
PLAN = {
    "title": "pets",
    "problem": {
        "manifest": "pets.csv",
        "features": "pets.npz",
        "array": "features",
        "relations": [{"source": "pet", "target": "trait", "table": "table.csv"}],
    },
    "regimes": [
        {"name": "apart", "rows": {"pet": 20, "trait": 40}},
        {"name": "half", "rows": {"pet": 20, "trait": 40}, "overlap": "50 %", "table": "estimated"},
        {"name": "wrong", "rows": {"pet": 20, "trait": 40}, "table": "shuffled"},
    ],
    "conditions": ["uncoupled", "posterior"],
    "seeds": 1,
    "networks": {"small": {"hidden": [8]}, "wide": {"hidden": [16]}},
    "budget": {"steps": 6, "rows_per_task": 8, "log_every": 3},
    "resamples": 20,
}


@pytest.fixture
def folder(tmp_path):
    """180 animals, features in another order than the manifest's rows."""
    rng = np.random.default_rng(0)
    y = np.arange(180) % 3
    a = (rng.random((180, 3)) < 0.9 * np.eye(3)[y]).astype(int)
    order = rng.permutation(180)
    x = np.zeros((180, 5), dtype=np.float32)
    x[order] = np.hstack([np.eye(3)[y], rng.normal(size=(180, 2))]) * 4 + 1
    np.savez(tmp_path / "pets.npz", features=x)
    split = np.repeat(["train", "val", "test"], [120, 30, 30])
    header = "row,split,pet," + ",".join(f"trait.{name}" for name in TRAITS)
    lines = [f"{order[i]},{split[i]},{PETS[y[i]]},{a[i, 0]},{a[i, 1]},{a[i, 2]}" for i in range(180)]
    (tmp_path / "pets.csv").write_text("\n".join([header, *lines]) + "\n")
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path


def written(folder, **changes):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **changes}))
    return path


def of(folder, **changes):
    return problem_of(as_plan({**PLAN, "problem": {**PLAN["problem"], **changes}, "folder": str(folder)}))


def test_features_follow_the_manifests_rows(folder):
    found = problem_of(read_plan(written(folder)))
    assert [len(found.splits[name]) for name in ("train", "val", "test")] == [120, 30, 30]
    pet = found.task("pet")
    names = np.array(pet.classes)[found.targets["pet"]]
    assert names[:3].tolist() == PETS
    # Features 0 to 2 say the class: the greatest of them is the row's own.
    assert (np.array(PETS)[found.inputs[:, :3].argmax(axis=1)] == names).all()
    train = found.inputs[found.splits["train"]]
    assert np.allclose(train.mean(axis=0), 0, atol=1e-4)
    assert np.allclose(train.std(axis=0), 1, atol=1e-3)
    cell = dict(zip(found.relations[0].source.classes, found.relations[0].table, strict=True))
    assert cell["cow"][list(found.relations[0].target.labels).index("horns")] == 0.8


def test_images_are_taken_as_they_are(folder):
    x = np.random.default_rng(1).integers(0, 255, (180, 1, 4, 4))
    np.save(folder / "images.npy", x)
    found = of(folder, features="images.npy")
    assert found.inputs.shape == (180, 1, 4, 4)
    assert found.inputs.max() > 100


def test_a_plan_is_walked_from_yaml_to_the_report(folder):
    out = folder / "out"
    result = CliRunner().invoke(app, ["study", str(written(folder)), "--out", str(out), "--processes", "1"])
    assert result.exit_code == 0, result.output
    held = json.loads((out / "config.json").read_text())
    assert [r["name"] for r in held["regimes"]] == [
        f"{regime}.{network}" for regime in ("apart", "half", "wrong") for network in ("small", "wide")
    ]
    records = {p.stem: json.loads(p.read_text()) for p in (out / "runs").glob("*.json")}
    assert len(records) == 3 * 2 * 2
    assert records["half.small~posterior~0"]["total"] == 20 + 40 - 10
    assert records["apart.small~posterior~0"]["relations"] == {}
    wrong = np.array(records["wrong.wide~posterior~0"]["relations"]["pet->trait"])
    assert sorted(wrong.max(axis=1)) == [0.8, 0.9, 0.9]
    estimated = np.array(records["half.small~posterior~0"]["relations"]["pet->trait"])
    assert (
        estimated.argmax(axis=0).tolist()
        == np.array(
            [list(problem_of(read_plan(folder / "mine.yaml")).task("pet").classes).index(n) for n in PETS]
        ).tolist()
    )
    assert (out / "report.html").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": ["uncoupled", "posteriour"]}, "did you mean 'posterior'"),
        (
            {"regimes": [{"name": "huge", "rows": {"pet": 90, "trait": 90}}]},
            "'huge.small' needs 90 training",
        ),
        ({"seeds": [0, 1, 0]}, "seed 0 occurs twice"),
        ({"seeds": 0}, "seeds: 1 to 10,000 seeds are possible, found 0"),
        ({"sedes": 3}, "unknown key 'sedes'; did you mean 'seeds'"),
        ({"metrics": {"pet": "mean_f1"}}, "metric of task 'pet'"),
        ({"regimes": [{"name": "a", "rows": {"pet": 9, "trai": 9}}]}, "unknown task 'trai'"),
        ({"networks": {"net": {"kind": "resnet"}}}, "no images"),
    ],
)
def test_bad_plans_are_one_line_and_leave_nothing(folder, changes, message):
    out = folder / "out"
    result = CliRunner().invoke(app, ["study", str(written(folder, **changes)), "--out", str(out)])
    assert isinstance(result.exception, ConcordError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not out.exists()


def test_a_ready_table_takes_no_normalisation(folder):
    relation = {"source": "pet", "target": "trait", "table": "expressions", "normalize": True}
    with pytest.raises(ConcordError, match=r"pet->trait: normalize changes nothing of table 'expressions'"):
        of(folder, relations=[relation])


def test_a_key_given_twice_is_refused(folder):
    path = written(folder)
    path.write_text(path.read_text() + "title: again\n")
    with pytest.raises(StudyError, match=r"key 'title' is given twice, first in line \d+"):
        read_plan(path)


def test_a_trainings_folder_is_said_to_be_one(folder):
    (folder / "out" / "checkpoints").mkdir(parents=True)
    (folder / "out" / "config.json").write_text("{}")
    result = CliRunner().invoke(app, ["study", str(written(folder)), "--out", str(folder / "out")])
    assert isinstance(result.exception, StudyError)
    assert "out holds a training; choose another --out" in str(result.exception)


def test_a_split_without_a_class_is_refused(folder):
    lines = (folder / "pets.csv").read_text().splitlines()
    kept = [line for line in lines if ",test,cow" not in line]
    (folder / "pets.csv").write_text("\n".join(kept) + "\n")
    plan = read_plan(written(folder))
    with pytest.raises(StudyError, match="split 'test' has no row of 'cow'"):
        check_problem(problem_of(plan), plan)


def test_the_folder_of_another_plan_is_left_alone(folder):
    out = folder / "out"
    first = written(folder, seeds=1, networks={"small": {"hidden": [8]}}, regimes=PLAN["regimes"][:1])
    assert (
        CliRunner().invoke(app, ["study", str(first), "--out", str(out), "--processes", "1"]).exit_code == 0
    )
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    other = written(folder, seeds=1, networks={"small": {"hidden": [9]}}, regimes=PLAN["regimes"][:1])
    result = CliRunner().invoke(app, ["study", str(other), "--out", str(out)])
    assert isinstance(result.exception, StudyError)
    assert "holds another plan" in str(result.exception)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_data_that_do_not_fit_are_refused(folder):
    with pytest.raises(MissingDataError, match="no feature file at"):
        of(folder, features="none.npz")
    with pytest.raises(UnknownNameError, match=r"array in .*pets.npz 'feature'; did you mean 'features'"):
        of(folder, array="feature")
    (folder / "text.npy").write_text("no numbers")
    with pytest.raises(DataFormatError, match=r"expected a \.npy, \.npz"):
        of(folder, features="text.npy")
    np.save(folder / "flat.npy", np.zeros(180))
    with pytest.raises(ShapeError, match=r"shape \(n, \.\.\.\)"):
        of(folder, features="flat.npy")
    np.save(folder / "text.npy", np.full((180, 2), "x"))
    with pytest.raises(DataFormatError, match="features are numbers"):
        of(folder, features="text.npy")
    (folder / "cut.npz").write_bytes((folder / "pets.npz").read_bytes()[:900])
    with pytest.raises(DataFormatError, match=r"cut\.npz"):
        of(folder, features="cut.npz")
    np.save(folder / "nan.npy", np.full((180, 2), np.nan))
    with pytest.raises(NotFiniteError, match="found NaN or infinity in row"):
        of(folder, features="nan.npy")
    np.save(folder / "few.npy", np.zeros((20, 3)))
    with pytest.raises(ShapeError, match=r"names row 179, but .* has rows 0 \.\. 19"):
        of(folder, features="few.npy")
    turned = {"source": "trait", "target": "pet", "table": "table.csv"}
    with pytest.raises(StudyError, match="its source must be a class task"):
        of(folder, relations=[turned])
    built_in = {"source": "pet", "target": "trait", "table": "expressions"}
    with pytest.raises(UnknownNameError, match="no class or label in common with task 'pet'"):
        of(folder, relations=[built_in])
    text = (folder / "pets.csv").read_text()
    (folder / "pets.csv").write_text(text.replace(",val,", ",train,"))
    with pytest.raises(StudyError, match="no row of split 'val'"):
        of(folder)
    (folder / "pets.csv").write_text(text.replace("row,split", "path,split"))
    with pytest.raises(StudyError, match="a column 'row' is needed"):
        of(folder)


def test_a_built_in_table_fits_tasks_of_its_names(folder):
    from concord.relations.literature import expressions

    built = expressions()
    names = [f"units.{label}" for label in built.target.labels]
    lines = [",".join(["row", "split", "face", *names])]
    for i in range(42):
        split = ("train", "val", "test")[i // 14]
        on = [str(int(value > 0.4)) for value in built.table[i % 7]]
        lines.append(",".join([str(i), split, built.source.classes[i % 7], *on]))
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    relation = {"source": "face", "target": "units", "table": "expressions"}
    found = of(folder, manifest="faces.csv", relations=[relation]).relations[0]
    assert found.source.classes != built.source.classes  # a manifest has an order of its own
    for c, k in ((0, 0), (1, 9), (3, 16), (6, 5)):
        face, unit = built.source.classes[c], built.target.labels[k]
        i, j = found.source.classes.index(face), found.target.labels.index(unit)
        assert found.table[i, j] == built.table[c, k]
