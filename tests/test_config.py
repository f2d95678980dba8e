"""Configs: what they say, what they refuse, and where overrides come from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import concord as cc
from concord.config import differences
from concord.config.load import as_config, read_config
from concord.config.schema import Config
from concord.config.templates import START, example, template
from concord.config.yaml_text import parsed_yaml
from concord.errors import ConfigError, MissingDataError, UnknownNameError
from concord.study.schema import plan_schema

SMALL = {"sources": {"mine": {"manifest": "m.csv", "inputs": {"kind": "texts"}}}}


def small(**changes):
    return {**json.loads(json.dumps(SMALL)), **changes}


def written(tmp_path: Path, values=None, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(SMALL if values is None else values))
    return path


# -- what a config says ------------------------------------------------------------------------------


@pytest.mark.parametrize("start", START)
def test_the_starting_config_is_the_schema_in_words(start):
    text = template(start)
    assert as_config(yaml.safe_load(text)) == as_config(example(start))
    for field in Config.model_fields.values():
        assert field.description.split("\n")[0][:40] in text
    assert yaml.safe_load(text)["training"] == as_config(SMALL).training.model_dump(mode="json")


def test_shares_of_splits_have_a_key_of_their_own():
    values = json.loads(json.dumps(SMALL))
    name, source = next(iter(values["sources"].items()))
    source["splits"] = {"train": 0.6, "val": 0.2, "test": 0.2}
    said = rf"sources\.{name}\.splits: .*; write shares: {{train: 0.6, val: 0.2, test: 0.2}}"
    with pytest.raises(ConfigError, match=said):
        as_config(values)
    source["splits"] = {"shares": source["splits"]}
    assert as_config(values).sources[name].splits.shares["train"] == 0.6


def objects(schema):
    yield schema
    yield from schema.get("$defs", {}).values()


def test_every_key_of_the_json_schema_is_explained():
    schema = Config.model_json_schema()
    properties = [(name, p) for each in objects(schema) for name, p in each.get("properties", {}).items()]
    assert len(properties) > 50
    assert [name for name, p in properties if not p.get("description")] == []
    assert not any(each.get("additionalProperties", False) for each in objects(schema))


def test_ranges_of_the_json_schema_are_in_its_own_words():
    def keys(part):
        if isinstance(part, dict):
            yield from (key for key in part if not isinstance(part.get("properties"), dict))
            for value in part.values():
                yield from keys(value)
        for value in part if isinstance(part, list) else ():
            yield from keys(value)

    for schema in (Config.model_json_schema(), plan_schema()):
        assert {"minimum", "exclusiveMinimum"} <= set(keys(schema))
        assert not {"ge", "gt", "le", "lt"} & set(keys(schema))
    training = Config.model_json_schema()["$defs"]["Training"]["properties"]
    assert (training["batch_size"]["minimum"], training["learning_rate"]["exclusiveMinimum"]) == (1, 0)


def test_every_coupling_is_taken_by_name_with_or_without_more():
    for name in cc.couplings.coupling_names():
        values = small(
            relations=[{"source": "a", "target": "b", "table": "t.csv"}],
            couplings=[name, {"name": name, "weight": 2}],
        )
        read = as_config(values).couplings
        assert [(each.name, each.weight) for each in read] == [(name, 1.0), (name, 2.0)]
    plan = Config.model_json_schema()["$defs"]["CouplingPlan"]
    assert {name for side in plan["anyOf"] for name in side.get("enum", ())} == set(
        cc.couplings.coupling_names()
    )


def test_yaml_toml_and_json_say_the_same(tmp_path):
    toml = tmp_path / "mine.toml"
    toml.write_text(
        '[sources.mine]\nmanifest = "m.csv"\ninputs = {kind = "texts"}\n[training]\nlearning_rate = 1e-3\n'
        "[trunk.options]\ndropout = 1e-05\n"
    )
    values = small(training={"learning_rate": 1e-3})
    values["trunk"] = {"options": {"dropout": 1e-05}}
    (tmp_path / "mine.json").write_text(json.dumps(values, indent="\t"))
    read = [read_config(p, environment={}) for p in (toml, written(tmp_path, values), tmp_path / "mine.json")]
    assert read[0] == read[1] == read[2]
    assert read[0].training.learning_rate == 1e-3
    assert read[2].trunk.options == {"dropout": 1e-05}


# -- what it refuses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainng": {}}, "unknown key 'trainng'; did you mean 'training'?"),
        ({"training": {"stpes": 3}}, "unknown key 'training.stpes'; did you mean 'steps'?"),
        ({"tasks": {"x": {"clases": []}}}, "unknown key 'tasks.x.clases'; did you mean 'classes'?"),
        ({"couplings": [{"nam": "x"}]}, "unknown key 'couplings.0.nam'; did you mean 'name'?"),
        ({"trunk": {"zzz": 1}}, "unknown key 'trunk.zzz'; known: name, options"),
        (
            {"sources": {"a": {"manifest": "m.csv", "inputs": {"kind": "texts", "sise": 2}}}},
            "unknown key 'sources.a.inputs.sise'; did you mean 'size'?",
        ),
        (
            {"sources": {"a": {"manifest": "m", "inputs": {"kind": "texts"}, "splits": {"x": 1}}}},
            "unknown key 'sources.a.splits.x'; known: rename, shares, keep, stratify",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest(change, message):
    with pytest.raises(UnknownNameError) as caught:
        as_config(small(**change))
    assert str(caught.value).startswith(f"the config: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"steps": 0}}, "training.steps: input should be greater than or equal to 1"),
        ({"training": {"devices": "many"}}, "training.devices: input should be"),
        ({"training": {"steps": True}}, "training.steps: a whole number is needed, found true"),
        ({"training": {"devices": False}}, "training.devices: a whole number is needed, found false"),
        ({"mixing": {"workers": True}}, "mixing.workers: a whole number is needed, found true"),
        ({"augmentation": {"flip": True}}, "augmentation.flip: a number is needed, found true"),
        ({"training": {"average": False}}, "training.average: a number is needed, found false"),
        ({"training": {"clip": True}}, "training.clip: a number is needed, found true"),
        ({"training": {"learning_rate": True}}, "training.learning_rate: a number is needed, found true"),
        ({"tasks": {"x": {"weight": True}}}, "tasks.x.weight: a number is needed, found true"),
        ({"trunk": {"layer_decay": True}}, "trunk.layer_decay: a number is needed, found true"),
        (
            {"sources": {"a": {"manifest": "m", "inputs": {"kind": "texts"}, "share": True}}},
            "sources.a.share: a number is needed, found true",
        ),
        (
            {
                "sources": {
                    "a": {"manifest": "m", "inputs": {"kind": "texts"}, "splits": {"shares": {"train": True}}}
                }
            },
            "sources.a.splits.shares.train: a number is needed, found true",
        ),
        ({"training": {"learning_rate": float("inf")}}, "training.learning_rate: input should be a finite"),
        ({"mixing": {"temperature": float("nan")}}, "mixing.temperature: input should be"),
        ({"training": {"average": 1}}, "training.average: input should be less than 1"),
        ({"sources": {}}, "sources: "),
        ({"sources": {"a": {"manifest": "m.csv"}}}, "sources.a.inputs: is missing"),
        ({"sources": {"a": {"inputs": {"kind": "texts"}}}}, "sources.a: a source has a manifest or a reader"),
        (
            {"sources": {"a": {"reader": "pack", "inputs": {"kind": "texts"}}}},
            "sources.a: a reader needs a root",
        ),
        (
            {"sources": {"a": {"manifest": "m", "options": {"x": 1}, "inputs": {"kind": "texts"}}}},
            "sources.a: options are a reader's",
        ),
        (
            {"sources": {"a": {"manifest": "m", "inputs": {"kind": "texts", "size": 3}}}},
            "sources.a.inputs: inputs of kind texts have no size, they have no further fields",
        ),
        (
            {"sources": {"a": {"manifest": "m", "inputs": {"kind": "features", "region": "box"}}}},
            "inputs of kind features have no region, they have file, key",
        ),
        ({"sources": {"a": {"manifest": "m", "inputs": {"kind": "features"}}}}, "features need a file"),
        ({"sources": {"a": {"manifest": "m", "inputs": {"kind": "columns"}}}}, "need columns, at least one"),
        ({"tasks": {"x": {"classes": ["a"], "labels": ["b"]}}}, "tasks.x: a task has classes or labels"),
        ({"couplings": [{"name": "posterior"}]}, "coupling posterior has no relation to work on"),
        ({"couplings": ["posterio"]}, "unknown coupling 'posterio'; did you mean 'posterior'"),
        (
            {"couplings": [{"name": "posterior", "options": {"exponent": 1}}]},
            "posterior is a recipe and takes no options, found exponent; name its losses instead: post",
        ),
        (
            {
                "couplings": [{"name": "posterior", "relation": "a->c"}],
                "relations": [{"source": "a", "target": "b", "table": "t.csv"}],
            },
            "coupling posterior: no relation a->c; known: a->b",
        ),
        (
            {
                "sources": {
                    "a": {"manifest": "m", "inputs": {"kind": "texts"}, "share": 2},
                    "b": {"manifest": "m", "inputs": {"kind": "texts"}},
                }
            },
            "source b needs a share, as a has one",
        ),
        ({"stages": {"folds": 3}}, "stages: stages of kind single have no folds; it is kind: two-stage that"),
        (
            {"stages": {"kind": "two-stage", "folds": 1}},
            "stages.folds: input should be greater than or equal",
        ),
        ({"stages": {"kind": "two-stage"}}, "stages: two-stage teaches through relations; give relations"),
        (
            {
                "stages": {"kind": "two-stage"},
                "couplings": [{"name": "posterior"}],
                "relations": [{"source": "a", "target": "b", "table": "t.csv"}],
            },
            "stages: two-stage is itself a coupling, through every relation; leave posterior out",
        ),
    ],
)
def test_what_cannot_be_is_named_with_its_key(change, message):
    with pytest.raises(ConfigError) as caught:
        as_config(small(**change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def paths(values, path=()):
    """Every key of plain data that the schema fixes."""
    for key, value in values.items():
        free = path in {("sources",), ("tasks",)} or "options" in path
        if not free:
            yield (*path, key)
        if isinstance(value, dict) and key != "options":
            yield from paths(value, (*path, key))


WHOLE = as_config(example("images")).model_dump(mode="json", exclude={"relations", "couplings"})
PATHS = sorted(paths({**WHOLE, "sources": {"first": WHOLE["sources"]["first"]}}))


@given(st.sampled_from(PATHS), st.integers(0, 30), st.sampled_from("xqz_"))
def test_any_slip_of_a_key_is_refused_by_its_path(path, place, letter):
    values = json.loads(json.dumps(WHOLE))
    inner = values
    for part in path[:-1]:
        inner = inner[part]
    wrong = path[-1][: place % len(path[-1])] + letter + path[-1][place % len(path[-1]) :]
    inner[wrong] = inner.pop(path[-1])
    with pytest.raises(UnknownNameError, match=r"\.".join([*path[:-1], wrong])):
        as_config(values)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", "a: [1", "cannot be read"),
        ("a.yaml", "- 1\n", "a config is a mapping of keys, found list"),
        ("a.toml", "a = = 1", "cannot be read"),
        ("a.yaml", b"\xff\xfe\x00", "cannot be read"),
        ("a.yaml", "a: 1\nb:\n  c: 2\n  d: 3\n  c: 4\n", "line 5: key 'c' is given twice, first in line 3"),
        ("a.json", '{"a": 1, "a": 2}', "key 'a' is given twice"),
        ("a.json", '{"a": 1,', "cannot be read"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.yaml", "data: 5\n", "data: the name of a folder is needed, found 5"),
        ("a.yaml", "data: [a]\n", r"data: the name of a folder is needed, found \['a'\]"),
        ("a.yaml", "output: 5\n", "output: the name of a folder is needed, found 5"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(MissingDataError, match=r"concord init .*none\.yaml` writes one"):
        read_config(tmp_path / "none.yaml")
    for name in ("none", "runs/none", "none.toml", "none.json"):
        with pytest.raises(MissingDataError) as caught:
            read_config(tmp_path / name)
        assert str(caught.value) == f"no config and no output folder at {tmp_path / name}"


def test_keys_that_are_merged_are_not_given_twice():
    text = "base: &b {<<: &a {x: 1, y: 1}, y: 2}\nmine: {<<: *b, x: 3}\nagain: *b\n"
    assert parsed_yaml(text) == {
        "base": {"x": 1, "y": 2},
        "mine": {"x": 3, "y": 2},
        "again": {"x": 1, "y": 2},
    }


# -- overrides ---------------------------------------------------------------------------------------


def test_the_command_line_comes_after_the_environment_and_that_after_the_file(tmp_path):
    path = written(tmp_path, small(training={"steps": 1, "batch_size": 1, "seed": 1, "warmup": 1}))
    environment = {
        "CONCORD_TRAINING__STEPS": "2",
        "CONCORD_TRAINING__BATCH_SIZE": "2",
        "CONCORD_TRUNK__OPTIONS": "{hidden: [4, 4]}",
        "OTHER_TRAINING__SEED": "9",
        "CONCORD_SOMETHING": "of another program",
    }
    config = read_config(path, ["training.steps=3", "training.clip=1.5"], environment)
    assert (config.training.steps, config.training.batch_size, config.training.seed) == (3, 2, 1)
    assert config.training.clip == 1.5
    assert config.trunk.options == {"hidden": [4, 4]}
    assert config.training.warmup == 1


def test_an_override_reaches_names_with_capitals_and_elements_of_lists(tmp_path):
    values = small(
        relations=[{"source": "a", "target": "b", "table": "t.csv"}],
        couplings=[{"name": "posterior"}, {"name": "matching"}],
    )
    values["sources"]["Mine"] = values["sources"].pop("mine")
    path = written(tmp_path, values)
    config = read_config(
        path,
        ["couplings.1.weight=0.25"],
        {"CONCORD_SOURCES__MINE__SHARE": "2", "CONCORD_TASKS__X__WEIGHT": "3"},
    )
    assert [coupling.weight for coupling in config.couplings] == [1.0, 0.25]
    assert config.sources["Mine"].share == 2
    assert config.tasks["x"].weight == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "an override is KEY.KEY=VALUE"),
        ("=3", "an override is KEY.KEY=VALUE"),
        ("training.steps=[1", "--set training.steps: cannot read the value"),
        ("training.stps=3", "unknown key 'training.stps'; did you mean 'steps'?"),
        ("couplings.0.weight=1", "couplings is a list of 0, counted from 0, found '0'"),
        ("training.steps.more=1", "training.steps holds a value and has no 'more'"),
    ],
)
def test_an_override_that_leads_nowhere(tmp_path, override, message):
    path = written(tmp_path, small(couplings=[], training={"steps": 3}))
    with pytest.raises((ConfigError, UnknownNameError)) as caught:
        read_config(path, [override], {})
    assert message in str(caught.value)


def test_a_misspelt_variable_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match=r"'training\.stpes'; did you mean 'steps'"):
        read_config(written(tmp_path), (), {"CONCORD_TRAINING__STPES": "3"})


def test_places_are_relative_to_the_file_or_to_where_they_were_overridden(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = written(tmp_path, small(data="packs"))
    assert read_config(path, (), {}).data == str(tmp_path / "packs")
    assert read_config(written(tmp_path), (), {}).data == str(tmp_path)
    assert read_config(path, (), {"CONCORD_DATA": "other"}).data == str(tmp_path / "here" / "other")
    assert read_config(path, ["data=other"], {"CONCORD_DATA": "x"}).data == str(tmp_path / "here" / "other")
    assert read_config(path, (), {}).output == "runs/mine"
    assert read_config(path, ["output=1e3"], {}).output == "1e3"


def test_places_may_begin_at_home_and_be_left_blank(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = written(tmp_path, small(data="~/packs", output="~/runs/x"))
    read = read_config(path, (), {})
    assert (read.data, read.output) == (str(tmp_path / "home/packs"), str(tmp_path / "home/runs/x"))
    read = read_config(path, ["output=~/y"], {"CONCORD_OUTPUT": "z", "CONCORD_DATA": "~"})
    assert (read.data, read.output) == (str(tmp_path / "home"), str(tmp_path / "home/y"))
    assert read_config(path, (), {"CONCORD_OUTPUT": ""}).output == str(tmp_path / "home/runs/x")
    assert read_config(path, (), {"CONCORD_DATA": ""}).data == read_config(path, (), {}).data
    blank = read_config(written(tmp_path, small(data=None, output=None)), (), {})
    assert (blank.data, blank.output) == (str(tmp_path), "runs/mine")


def test_identity_is_what_results_depend_on():
    first = as_config(small())
    same = [
        {"data": "elsewhere"},
        {"output": "o"},
        {"watching": {"every": 7}},
        {"checkpoints": {"keep": 9}},
        {"training": {"devices": 2, "accelerator": "cpu"}},
        {"mixing": {"workers": 3}},
    ]
    for change in same:
        assert as_config(small(**change)).identity() == first.identity()
    other = as_config(small(training={"seed": 4}, tasks={"x": {}})).identity()
    assert [key for key, _, _ in differences(first.identity(), other)] == ["tasks.x", "training.seed"]
    assert ("training.seed", 0, 4) in list(differences(first.identity(), other))


def test_a_difference_is_named_by_its_path():
    def plan(*conditions, **more):
        return {"conditions": [{"name": name, "weight": weight} for name, weight in conditions], **more}

    one = plan(("a", 1), ("b", 2), seeds=[0, 1])
    assert not list(differences(one, json.loads(json.dumps(one))))
    assert list(differences(one, plan(("a", 1), ("b", 3), seeds=[0, 4]))) == [
        ("conditions.b.weight", 2, 3),
        ("seeds.1", 1, 4),
    ]
    assert list(differences(one, plan(("b", 2), ("c", 1)))) == [
        ("conditions", ["a", "b"], ["b", "c"]),
        ("seeds", [0, 1], None),
    ]
    assert list(differences([{"x": 1}], [{"x": 1}, {"x": 2}])) == [("", [{"x": 1}], [{"x": 1}, {"x": 2}])]


def test_a_mistake_in_a_config_imports_nothing_heavy(tmp_path):
    path = written(tmp_path, small(training={"stpes": 3}))
    for arguments in (["train", str(path)], ["schema"], ["init", str(tmp_path / "new.yaml")]):
        code = (
            "import sys\nfrom concord.cli import main\n"
            f"sys.argv = ['concord', *{arguments!r}]\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "print('heavy:', {'torch', 'polars', 'scipy', 'sklearn'} & set(sys.modules))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.endswith("heavy: set()\n")
        if arguments[0] == "train":
            assert "unknown key 'training.stpes'; did you mean 'steps'?" in done.stderr
