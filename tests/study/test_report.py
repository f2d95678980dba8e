"""The report: complete in itself, true to its files, deaf to markup in names, clear about damaged folders."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import DictLoader, TemplateNotFound
from study_folders import CONDITIONS, NASTY, edit, write_study
from typer.testing import CliRunner

from concord.cli import app
from concord.errors import DataFormatError, DuplicateNameError, EmptyDataError, MissingDataError, StudyError
from concord.study.pages.listing import VERDICT_WORDS, listing, span, written
from concord.study.pages.outcome import Outcome
from concord.study.pages.plots import points
from concord.study.pages.report import write_comparison, write_report
from concord.study.pages.views.tables import flat
from concord.study.pages.views.verdict import board

EMPTY = {"meta", "link", "br", "img", "input", "line", "path", "circle", "rect", "option", "hr"}


class Page(HTMLParser):
    """Elements with their attributes and text; complains of tags that do not match."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements, self.open = [], []
        self.feed(self.source)
        self.close()
        assert not self.open, f"not closed: {[e['tag'] for e in self.open]}"

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in EMPTY - {"option"}:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        if tag in EMPTY - {"option"}:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1]["tag"] == tag, f"</{tag}> closes <{self.open[-1]['tag']}>"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **wanted):
        return [
            e
            for e in self.elements
            if e["tag"] == tag and all(e.get(k.rstrip("_")) == v for k, v in wanted.items())
        ]

    def having(self, tag, look):
        return [e for e in self.elements if e["tag"] == tag and look in (e.get("class") or "").split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study") / "first")


@pytest.fixture(scope="module")
def page(folder):
    return Page(write_report(folder))


def summary(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


class TestSelfContained:
    def test_nothing_is_loaded(self, page):
        for element in page.elements:
            for key in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
                value = element.get(key)
                assert value is None or value.startswith(("#", "data:")), element
        assert not re.search(r"https?://", page.source)
        assert "url(" not in page.source.replace("url(#hatch)", "")
        assert "@import" not in page.source

    def test_the_policy_allows_this_script_alone(self, page):
        policy = next(e["content"] for e in page.all("meta") if e.get("http-equiv"))
        scripts = [e for e in page.all("script") if e.get("type") != "application/json"]
        assert len(scripts) == 1
        digest = base64.b64encode(hashlib.sha256(scripts[0]["text"].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none'")

    def test_both_themes_phones_and_paper(self, page):
        for rule in ("prefers-color-scheme: dark", "max-width: 640px", "@media print"):
            assert rule in page.source
        assert any(e.get("name") == "viewport" for e in page.all("meta"))


class TestContent:
    def test_verdict_comes_first_in_words(self, page):
        lead = page.having("p", "lead")[0]
        assert lead["text"] == "posterior does best."
        assert "\N{MINUS SIGN}55.0 points" in page.having("p", "then")[0]["text"]
        assert page.elements.index(lead) < page.elements.index(page.having("svg", "plot")[0])

    def test_sections(self, page):
        ids = [e["id"] for e in page.all("section")]
        assert ids == [
            "verdict", "differences", "curves", "efficiency", "relation", "confusion", "gallery", "tables",
            "setup", "rows",
        ]  # fmt: skip
        links = {e["href"][1:] for e in page.all("a")}
        assert links == set(ids) - {"rows"}

    def test_accounts_are_told_with_how_many_seeds_said_a_sentence(self, tmp_path):
        folder = write_study(tmp_path / "told")
        often, once = f"the table says cat shows {NASTY}", "digit takes the network of its own"
        told = {"regime": "few-class", "condition": "posterior", "seeds": 4, "sentences": [once, often]}
        silent = {**told, "regime": "balanced", "sentences": []}
        edit(folder / "summary.json", lambda held: held.update(accounts=[told, silent]))
        shared = Page(write_report(folder))  # without the records of its runs
        section = next(e for e in shared.all("section") if e["id"] == "accounts")
        assert once in section["text"]
        assert often in section["text"]
        (folder / "runs").mkdir()
        for seed, said in enumerate(([once, often], [often, often], [often], [])):
            record = json.dumps({"account": {"sentences": said}})
            (folder / "runs" / f"few-class~posterior~{seed}.json").write_text(record)
        page = Page(write_report(folder))
        section = next(e for e in page.all("section") if e["id"] == "accounts")
        assert f"{often} 3 of 4{once} 1 of 4" in section["text"]
        assert "balanced" not in section["text"]
        assert NASTY not in page.source
        assert "#accounts" in {e["href"] for e in page.all("a")}

    def test_every_verdict_is_on_the_board_and_in_a_picture(self, folder, page):
        keys = ("regime", "condition", "task", "metric", "baseline")
        on_board = {tuple(e.get(f"data-{k}") for k in keys): e for e in page.all("td") if "data-regime" in e}
        drawn = {tuple(e.get(f"data-{k}") for k in keys): e for e in page.having("g", "effect")}
        verdicts = summary(folder)["verdicts"]
        assert len(on_board) == len(drawn) == len(verdicts)
        for row in verdicts:
            key = tuple(row[k] for k in keys)
            assert on_board[key]["text"] == f"{points(row['difference'])} {VERDICT_WORDS[row['verdict']]}"
            assert on_board[key]["class"] == f"v-{row['verdict']}"
            assert drawn[key]["class"] == f"effect v-{row['verdict']}"
            assert points(row["difference"]) in drawn[key]["text"]

    def test_harm_is_shown_as_harm(self, page):
        harmed = [e for e in page.having("g", "v-inferior") if e.get("data-condition") == "paper"]
        assert harmed
        assert all("\N{MINUS SIGN}5" in e["text"] for e in harmed)
        tile = page.having("div", "v-inferior")[0]
        assert "Shown to do harm" in tile["text"]
        assert "paper" in tile["text"]
        assert "posterior" not in tile["text"]

    def test_numbers_lead_to_the_rows_of_the_results(self, folder, page):
        held = json.loads(page.all("script", id="results")[0]["text"])
        with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
            wanted = list(csv.DictReader(file))
        assert len(held["rows"]) == len(wanted)
        for line, (row, given) in enumerate(zip(held["rows"], wanted, strict=True), 2):
            found = dict(zip(held["columns"], row, strict=True))
            assert found.pop("line") == line
            assert {k: str(v) for k, v in found.items()} == given
        assert held["judged"] == {"digit": "accuracy", "segments": "mean_f1"}

    def test_each_condition_has_one_colour_everywhere(self, page):
        colours = {}
        for curve in page.having("g", "curve"):
            colours.setdefault(curve["text"].partition(":")[0], set()).add(curve["class"])
        assert set(colours) == set(CONDITIONS)
        assert all(len(found) == 1 for found in colours.values())
        assert len(set.union(*colours.values())) == len(CONDITIONS)

    def test_relation_given_estimated_and_where_they_disagree(self, folder, page):
        text = " ".join(e["text"] for e in page.all("section", id="relation"))
        for part in (
            "As given",
            "As estimated",
            "Estimate minus table",
            "c0 and c1",
            "nothing of the class: l0",
        ):
            assert part in text
        table = json.loads((folder / "relation.json").read_text())[0]["table"]
        widest = max(abs(v - 0.5) for row in table for v in row if v is not None)
        first = re.search(r"given ([\d.]+), estimated ([\d.]+)", text)
        assert abs(float(first[1]) - float(first[2])) == pytest.approx(widest, abs=0.01)

    def test_confusions_say_how_many_are_right(self, page):
        text = page.all("section", id="confusion")[0]["text"]
        assert text.count("86.7 % of 30 right") == 8

    def test_samples_say_who_is_right(self, page):
        cards = page.having("article", "card")
        assert [c["data-agree"] for c in cards[:4]] == ["no", "yes", "no", "yes"]
        whos = {e["data-who"] for e in page.all("tr") if "data-who" in e}
        assert whos >= {"all heads right", "no head right"}
        sample = next(e for e in page.all("tr", **{"data-who": "all heads right"}))
        assert sample["data-eye"] == "single-task"

    def test_what_was_run(self, page):
        text = page.all("section", id="setup")[0]["text"]
        for part in (
            "made-up",
            "weight = 0.3",
            "torch",
            "2.13.0",
            "2026-01-02 03:04 UTC",
            "0.002",
            "3.5 s",
            "61.0 s",
        ):
            assert part in text


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    out = write_study(
        tmp_path_factory.mktemp("nasty") / "s",
        tasks=(NASTY, "</script><script>alert(1)</script>"),
        title=NASTY,
        sentence="</p><script>alert(2)</script>",
        regimes={'"><img src=x onerror=alert(3)>': (50, 600)},
    )
    return Page(write_report(out))


class TestEscaping:
    def test_no_name_becomes_markup(self, nasty):
        assert not nasty.all("b")
        assert len(nasty.all("script")) == 2
        assert all(e["src"].startswith("data:image/png") for e in nasty.all("img"))
        assert not [e for e in nasty.elements if any(key.startswith("on") for key in e)]

    def test_names_are_shown_as_they_are(self, nasty):
        assert nasty.all("h1")[0]["text"] == NASTY
        assert any(e.get("data-task") == NASTY for e in nasty.all("td"))
        held = json.loads(nasty.all("script", id="results")[0]["text"])
        assert NASTY in held["judged"]

    def test_no_control_character_and_no_turn_of_direction_is_in_the_page(self, tmp_path):
        raw = "\x1b[2J\u202egpj\x07"
        out = write_study(tmp_path, tasks=(f"t{raw}", "marks"), title=raw, regimes={f"r{raw}": (50, 600)})
        page = Page(write_report(out))
        assert not set(page.source) & set("\x1b\u202e\x07")
        held = json.loads(page.all("script", id="results")[0]["text"])
        [task] = {e["data-task"] for e in page.all("td") if e.get("data-task", "").startswith("t")}
        assert task == "t\\x1b[2J\\u202egpj\\x07"
        assert task in held["judged"], "numbers lead to their rows by what is shown"

    def test_a_picture_from_outside_is_not_fetched(self, tmp_path):
        out = write_study(tmp_path)
        edit(out / "gallery.json", lambda held: held[0].update(image="https://example.org/a.png"))
        assert "example.org" not in write_report(out).read_text(encoding="utf-8")


def _keys(page):
    """Buttons of the conditions, each with the line and the mark of its sample."""
    at = [i for i, e in enumerate(page.elements) if e["tag"] == "button" and "data-c" in e]
    return [(page.elements[i], page.elements[i + 2], page.elements[i + 3]) for i in at]


class TestShapesOfStudies:
    def test_one_seed(self, tmp_path):
        page = Page(write_report(write_study(tmp_path, seeds=1)))
        assert not page.having("line", "interval")
        assert page.having("circle", "seed")

    def test_one_baseline_and_nothing_else(self, tmp_path):
        page = Page(write_report(write_study(tmp_path, conditions=("single-task",))))
        assert "differences" not in [e["id"] for e in page.all("section")]
        assert page.having("g", "curve")

    def test_many_conditions_are_named_and_no_two_look_alike_in_grey(self, tmp_path):
        names = ("single-task", "uncoupled", *(f"peer-{i}" for i in range(12)))
        page = Page(write_report(write_study(tmp_path, conditions=names, seeds=2)))
        assert {e["text"] for e in page.having("text", "end")} == set(names)
        looks = {
            (key["data-c"], line.get("stroke-dasharray"), mark["tag"], mark.get("d"))
            for key, line, mark in _keys(page)
        }
        assert len({look[1:] for look in looks}) == len(names)

    def test_a_seed_without_a_number_is_a_gap_and_told(self, tmp_path):
        out = write_study(tmp_path, seeds=2)
        lines = (out / "curves.csv").read_text(encoding="utf-8").splitlines()
        for i, line in enumerate(lines):
            cells = line.split(",")
            if cells[:5] == ["posterior", "1", "balanced", "digit", "accuracy"] and cells[5] in (
                "200",
                "250",
            ):
                lines[i] = ",".join([*cells[:6], "nan"])
        (out / "curves.csv").write_text("\n".join(lines), encoding="utf-8")
        page = Page(write_report(out))
        assert "No number: posterior at 2 of 10 points." in page.all("section", id="curves")[0]["text"]
        broken = [line for line in page.having("path", "line") if line["d"].count("M") == 2]
        assert len(broken) == 1

    def test_groups_budgets_and_cost_are_told(self, tmp_path):
        out = write_study(tmp_path, seeds=2)
        splits = [{"split": "train", "rows": 650, "groups": 31}, {"split": "test", "rows": 90, "groups": 7}]
        edit(
            out / "summary.json",
            lambda held: held.update(
                splits=splits, cost=[{"condition": c, "seconds": 100.0, "memory": 512.3} for c in CONDITIONS]
            ),
        )
        edit(
            out / "config.json",
            lambda held: held.update(tuning={"steps": [1, 2], "learning_rate": [1, 2, 3]}),
        )
        text = Page(write_report(out)).all("section", id="setup")[0]["text"]
        for part in (
            "31 in train, 7 in test",
            "500 steps for each network",
            "among 6 budgets",
            "1.7 min",
            "512 MiB",
        ):
            assert part in text

    def test_without_estimate_gallery_curves_and_extras(self, tmp_path):
        out = write_study(tmp_path, estimated=False, labels=2)
        (out / "gallery.json").write_text("[]")
        (out / "confusion.json").write_text("[]")
        (out / "curves.csv").write_text("condition,seed,regime,task,metric,step,value\n")
        edit(
            out / "summary.json",
            lambda held: [held.pop(key) for key in ("ranks", "cost", "delta_m", "worst_task")],
        )
        page = Page(write_report(out))
        ids = {e["id"] for e in page.all("section")}
        assert not ids & {"gallery", "curves", "confusion"}
        assert "nothing to compare it with" in page.all("section", id="relation")[0]["text"]

    def test_it_says_what_of_the_data_it_holds(self, tmp_path):
        out = write_study(tmp_path)
        assert "holds 12 samples of the test rows with their annotations, and 12 images" in write_report(
            out
        ).read_text(encoding="utf-8")
        edit(out / "gallery.json", lambda held: held[0].update(image="https://example.org/a.png"))
        assert "holds 12 samples of the test rows with their annotations, and 11 images" in write_report(
            out
        ).read_text(encoding="utf-8")
        (out / "gallery.json").write_text("[]")
        assert "no sample of the data" in Page(write_report(out)).all("section", id="setup")[0]["text"]

    def test_metrics_of_which_less_is_better(self, tmp_path):
        out = write_study(tmp_path, metrics=("ece", "mean_f1"))
        held = json.loads(Page(write_report(out)).all("script", id="results")[0]["text"])
        assert held["lower"] == ["ece"]

    def test_regimes_that_differ_in_one_size_make_a_clean_curve(self, tmp_path):
        out = write_study(tmp_path, regimes={"a": (50, 600), "b": (200, 600), "c": (800, 600), "d": (50, 50)})
        section = Page(write_report(out)).all("section", id="efficiency")[0]["text"]
        assert "with 600 segments" in section
        assert "with 50 digit" in section
        assert "More than these rows changes" not in section

    def test_regimes_that_differ_in_all_sizes_say_so(self, page):
        assert "More than these rows changes" in page.all("section", id="efficiency")[0]["text"]

    def test_networks_are_not_averaged_in_a_clean_curve(self, tmp_path):
        regimes = {"s.tiny": (10, 100), "s.wide": (10, 100), "l.tiny": (90, 100), "l.wide": (90, 100)}
        out = write_study(tmp_path, regimes=regimes)

        def networks(held):
            for each in held["regimes"]:
                each["network"] = {"kind": "mlp", "hidden": [8 if each["name"].endswith("tiny") else 64]}

        edit(out / "config.json", networks)
        section = Page(write_report(out)).all("section", id="efficiency")[0]["text"]
        assert "with 100 segments, network kind mlp hidden [8]" in section
        assert "with 100 segments, network kind mlp hidden [64]" in section
        assert "More than these rows changes" not in section

    def test_the_metric_is_that_of_the_plan_and_sizes_are_those_of_all_seeds(self, tmp_path):
        out = write_study(tmp_path, conditions=("uncoupled",))
        rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
        rows += [{**row, "metric": "b", "value": "0.25"} for row in rows if row["metric"] == "accuracy"]
        for row in rows:
            row["n_digit"] = str(50 + int(row["seed"]))
        with (out / "results.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        edit(
            out / "summary.json",
            lambda held: held.update(verdicts=[], metrics={"digit": "b", "segments": "other"}),
        )
        held = Outcome.read(out)
        assert (held.metric("digit"), held.metric("segments")) == ("b", "other")
        assert held.described("few-class") == "50 to 53 digit, 600 segments"

    def test_one_size_makes_no_curve(self, tmp_path):
        page = Page(write_report(write_study(tmp_path, regimes={"only": (50, 600)})))
        assert "efficiency" not in [e["id"] for e in page.all("section")]

    def test_long_trainings_are_thinned_to_both_ends(self, tmp_path):
        page = Page(write_report(write_study(tmp_path, steps=20_000, seeds=1, conditions=CONDITIONS[:2])))
        lines = page.having("path", "line")
        assert max(line["d"].count(",") for line in lines) <= 122


class TestDamage:
    @pytest.fixture
    def out(self, tmp_path):
        return write_study(tmp_path, seeds=2)

    def test_no_folder(self, tmp_path):
        with pytest.raises(MissingDataError, match="no such folder"):
            write_report(tmp_path / "nowhere")

    @pytest.mark.parametrize(
        "name", ["config.json", "summary.json", "results.csv", "curves.csv", "relation.json", "gallery.json"]
    )
    def test_a_file_is_missing(self, out, name):
        (out / name).unlink()
        with pytest.raises(MissingDataError, match=f"no {name} .*run the same `concord study` again"):
            write_report(out)
        assert not (out / "report.html").exists()

    @pytest.mark.parametrize(
        ("name", "text", "match"),
        [
            ("summary.json", '{"title":\n oops}', r"summary\.json, line 2: expected JSON"),
            ("summary.json", "[]", "expected an object, found list"),
            ("summary.json", "{}", "'title' is missing"),
            ("gallery.json", "{}", "expected a list"),
            ("relation.json", '[{"name": "a"}]', "entry 0 of the file has no 'rows'"),
            ("relation.json", "[3]", "has no 'name'"),
            ("results.csv", "a,b\n1,2\n", r"line 1: expected a column 'condition'"),
            ("results.csv", "condition,seed,regime,task,metric,value\n", "found no row"),
            ("results.csv", "condition,seed,regime,task,metric,value\na,0,r,t,m,x\n", "line 2: .*'value'"),
            ("results.csv", "condition,seed,regime,task,metric,value\na,0,r\n", "line 2: expected a number"),
        ],
    )  # fmt: skip
    def test_a_file_is_damaged(self, out, name, text, match):
        (out / name).write_text(text, encoding="utf-8")
        with pytest.raises(DataFormatError, match=match):
            write_report(out)

    @pytest.mark.parametrize(
        ("name", "change", "raised"),
        [
            ("confusion.json", lambda held: held[0].update(classes=[1, 2]), "TypeError"),
            ("confusion.json", lambda held: held[0].update(matrix=[[1]]), "IndexError"),
            ("relation.json", lambda held: held[0].update(rows={"a": 1}), "KeyError"),
            ("relation.json", lambda held: held[0]["table"][0].__setitem__(0, 10**400), "OverflowError"),
            ("environment.json", lambda held: held.update(versions=["1.0"]), "AttributeError"),
        ],
    )
    def test_a_value_deep_inside_is_of_another_shape(self, out, name, change, raised):
        edit(out / name, change)
        with pytest.raises(DataFormatError, match=f"not as `concord study` writes it .{raised}"):
            write_report(out)

    def test_a_missing_template_is_no_fault_of_the_files(self, out, monkeypatch):
        nothing = DictLoader({"report.css": "", "report.js": ""})
        monkeypatch.setattr("jinja2.PackageLoader", lambda package: nothing)
        with pytest.raises(TemplateNotFound):
            write_report(out)

    def test_not_text_at_all(self, out):
        (out / "results.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataFormatError, match="expected UTF-8"):
            write_report(out)

    def test_a_verdict_lacks_a_field(self, out):
        edit(out / "summary.json", lambda held: held["verdicts"][1].pop("low"))
        with pytest.raises(DataFormatError, match="entry 1 of verdicts has no 'low'"):
            write_report(out)

    def test_verdicts_of_other_results(self, out):
        edit(out / "summary.json", lambda held: held["verdicts"][0].update(difference=12.0))
        with pytest.raises(StudyError, match=r"results\.csv gives .* summary\.json says \+12\.00"):
            write_report(out)

    def test_verdicts_without_results(self, out):
        edit(out / "summary.json", lambda held: held["verdicts"][0].update(regime="elsewhere"))
        with pytest.raises(StudyError, match="judge again"):
            write_report(out)


class TestOutcome:
    def test_order_is_the_plans_even_where_rows_are_not(self, tmp_path):
        out = write_study(tmp_path)
        edit(out / "config.json", lambda held: held["conditions"].reverse())
        assert Outcome.read(out).conditions == list(reversed(CONDITIONS))

    def test_what_the_plan_does_not_name_comes_last(self, tmp_path):
        out = write_study(tmp_path)
        edit(
            out / "config.json",
            lambda held: held.update(conditions=[{"name": "posterior"}, {"name": "planned"}]),
        )
        assert Outcome.read(out).conditions == ["posterior", "single-task", "uncoupled", "paper"]


class TestSeveral:
    def test_studies_side_by_side(self, tmp_path):
        first = write_study(tmp_path / "first")
        second = write_study(
            tmp_path / "second", steps=900, conditions=("single-task", "uncoupled", "posterior")
        )
        page = Page(write_comparison([first, second], tmp_path / "pages" / "both.html"))
        assert "2 studies" in page.all("h1")[0]["text"]
        studies = {e["data-study"] for e in page.having("g", "effect")}
        assert studies == {"first", "second"}
        plans = page.all("figure", id="table-plans")[0]["text"]
        assert "budget.steps" in plans
        assert "budget.learning_rate" not in plans
        held = json.loads(page.all("script", id="results")[0]["text"])
        assert {row[0] for row in held["rows"]} == {"first", "second"}
        both = len(summary(first)["verdicts"]) + len(summary(second)["verdicts"])
        assert len(page.having("g", "effect")) == both

    def test_tallies_count_every_verdict_once(self, tmp_path):
        folders = [write_study(tmp_path / name) for name in ("a", "b")]
        page = Page(write_comparison(folders, tmp_path / "p.html"))
        board = page.all("section", id="tally")[0]["text"]
        paper = re.search(r"paper\s*0\s*0\s*0\s*8\s*8", re.sub(r"\s+", " ", board))
        assert paper, board

    def test_folders_of_one_name_are_told_apart(self, tmp_path):
        folders = [write_study(tmp_path / name / "same") for name in ("a", "b")]
        page = Page(write_comparison(folders, tmp_path / "p.html"))
        assert {e["data-study"] for e in page.having("g", "effect")} == {str(f) for f in folders}

    def test_a_study_counts_once(self, tmp_path, monkeypatch):
        write_study(tmp_path / "a")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DuplicateNameError, match="named twice"):
            write_comparison([Path("a"), tmp_path / "a"], tmp_path / "p.html")
        assert not (tmp_path / "p.html").exists()

    def test_intervals_of_several_levels_are_said_to_be(self, tmp_path):
        folders = [write_study(tmp_path / name) for name in ("a", "b")]
        alike = Page(write_comparison(folders, tmp_path / "p.html")).all("p", **{"class": "how"})
        assert any("the bar its 95 % interval," in each["text"] for each in alike)
        edit(folders[0] / "summary.json", lambda held: held.update(level=0.9))
        told = Page(write_comparison(folders, tmp_path / "p.html")).all("p", **{"class": "how"})
        assert any("the bar its 90 % or 95 % interval, as its study has it," in each["text"] for each in told)
        assert any("the widest margin of the studies" in each["text"] for each in told)

    def test_none(self, tmp_path):
        with pytest.raises(EmptyDataError, match="name at least one folder"):
            write_comparison([], tmp_path / "p.html")


class TestCommand:
    def test_one_folder(self, tmp_path):
        out = write_study(tmp_path / "s")
        found = CliRunner().invoke(app, ["report", str(out)])
        assert found.exit_code == 0
        assert (out / "report.html").is_file()
        assert str(out / "report.html") in found.output.replace("\n", "")

    def test_several(self, tmp_path):
        folders = [str(write_study(tmp_path / name)) for name in ("a", "b")]
        found = CliRunner().invoke(app, ["report", *folders, "--out", str(tmp_path / "both.html")])
        assert found.exit_code == 0
        assert "2 studies" in (tmp_path / "both.html").read_text(encoding="utf-8")

    def test_no_study_there(self, tmp_path):
        found = CliRunner().invoke(app, ["report", str(tmp_path)])
        assert isinstance(found.exception, MissingDataError)


class TestListing:
    def test_how_values_are_written(self):
        assert written("p", 0.0004) == "< .001"
        assert written("p_holm", 0.25) == ".250"
        assert written("mean", 0.953) == "95.3"
        assert written("rate", 0.25) == "25 %"
        assert written("difference", -1.25) == "\N{MINUS SIGN}1.2"
        assert written("anything", True) == "yes"
        assert written("anything", float("nan")) == written("anything", None) == "\N{EN DASH}"
        assert [span(s) for s in (3, 600, 7200)] == ["3.0 s", "10.0 min", "2.0 h"]

    def test_columns_are_all_keys_and_gaps_sort_apart(self):
        held = listing("t", "T", [{"a": "x", "n": 1}, {"a": "y", "n": None, "b": 2.0}])
        assert [(c.key, c.number, c.facet) for c in held.columns] == [
            ("a", False, True),
            ("n", True, False),
            ("b", True, False),
        ]
        assert [cell.order for cell in held.rows[1].cells] == ["y", "", "2.0"]


def test_a_loss_that_is_not_shown_is_no_harm():
    rows = [
        {
            "condition": name,
            "regime": "r",
            "task": "t",
            "baseline": "uncoupled",
            "difference": d,
            "verdict": v,
        }
        for name, d, v in [("a", -9.0, "undecided"), ("b", -5.0, "inferior"), ("c", 3.0, "superior")]
    ]
    held = SimpleNamespace(verdicts=rows, regimes=["r"], tasks=["t"], conditions=["a", "b", "c", "left out"])
    found = board(held, "uncoupled")["rows"]
    assert [(row["condition"], row["worst"], row["harm"]) for row in found] == [
        ("a", -9.0, False), ("b", -5.0, True), ("c", 3.0, False),
    ]  # fmt: skip


def test_a_plan_is_listed_by_dotted_names():
    plan = {"problem": {"relations": [{"source": "a"}, {"source": "b"}], "rows": [1, 2]}, "seeds": []}
    assert flat(plan) == [
        ("problem.relations.1.source", "a"),
        ("problem.relations.2.source", "b"),
        ("problem.rows", "1, 2"),
        ("seeds", written("", None)),
    ]
