"""Models sent to the hub: in one commit, private unless told; whatever fails, the folder is whole here."""

from __future__ import annotations

import inspect
import shutil
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import concord as cc
from asserts import raises
from concord.cli import app
from concord.deploy import export_folder, push_to_hub
from concord.errors import CheckpointError, ConfigError, HubError, MissingExtraError
from concord.runs import Run, train
from config_worlds import config_of, world
from test_archive import KIND, TRAITS, Words, save_hub

hub = pytest.importorskip("huggingface_hub")
API = hub.HfApi


class FakeHub:
    """What `HfApi` does, in memory: repositories with files, who sees them, and what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.fails: BaseException | None = None

    def __call__(self, token: str | None = None) -> FakeHub:
        self.tokens.append(token)
        return self

    def __getattribute__(self, name: str) -> Any:
        """Its methods, which take nothing that those of the real library do not take."""
        found, real = object.__getattribute__(self, name), getattr(API, name, None)
        if real is None or name.startswith("_"):
            return found

        def call(*given: Any, **named: Any) -> Any:
            inspect.signature(real).bind(self, *given, **named)
            return found(*given, **named)

        return call

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> str:
        if self.fails is not None:
            raise self.fails
        assert exist_ok
        self.private.setdefault(name, private)
        self.files.setdefault(name, {".gitattributes": b""})
        return f"https://hub.example/{name}"

    def repo_info(self, name: str) -> Any:
        return SimpleNamespace(private=self.private[name])

    def create_branch(self, name: str, *, branch: str, exist_ok: bool) -> None:
        assert exist_ok
        self.files.setdefault(f"{name}@{branch}", dict(self.files[name]))

    def list_repo_files(self, name: str, *, revision: str | None) -> list[str]:
        return list(self.files[name if revision is None else f"{name}@{revision}"])

    def create_commit(
        self, name: str, operations: list[Any], *, commit_message: str, revision: str | None
    ) -> None:
        there = self.files[name if revision is None else f"{name}@{revision}"]
        for operation in operations:
            if isinstance(operation, hub.CommitOperationDelete):
                del there[operation.path_in_repo]
            else:
                given = operation.path_or_fileobj
                there[operation.path_in_repo] = (
                    given if isinstance(given, bytes) else Path(given).read_bytes()
                )
        self.commits.append({"name": name, "message": commit_message, "revision": revision})

    def snapshot(self, folder: Path, name: str) -> Path:
        """What `snapshot_download` would give."""
        for path, content in self.files[name].items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    made = FakeHub()
    monkeypatch.setattr(hub, "HfApi", made)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_hub(tmp_path / "model", Words())
    return tmp_path / "model"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(config_of(world(tmp_path_factory.mktemp("runs"), "features"), training__steps=3))


def estimator() -> cc.CoupledClassifier:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), {"kind": rng.integers(0, 3, 30), "traits": rng.integers(0, 2, (30, 2))}
    return cc.CoupledClassifier([KIND, TRAITS], coupling=None, steps=2, hidden=(4,), random_state=0).fit(x, y)


def test_a_folder_is_sent_in_one_commit_with_what_its_digests_cover(fake: FakeHub, model: Path) -> None:
    (model / "notes.txt").write_text("of nobody's business")
    url = push_to_hub(model, "me/pets", message="first")
    assert url == "https://hub.example/me/pets"
    assert fake.private == {"me/pets": True}
    assert fake.commits == [{"name": "me/pets", "message": "first", "revision": None}]
    assert set(fake.files["me/pets"]) == {
        *(".gitattributes", "README.md", "config.json", "model.safetensors"),
        *("tokenizer/merges.txt", "tokenizer/vocabulary.json"),
    }
    card = fake.files["me/pets"]["README.md"].decode()
    assert 'concord.from_pretrained("me/pets", download=True)' in card
    assert "FOLDER" not in card
    assert '"FOLDER"' in (model / "README.md").read_text()


def test_what_is_fetched_is_what_was_sent(
    fake: FakeHub, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub(run, "me/shapes", license="cc0-1.0")
    assert b"license: cc0-1.0" in fake.files["me/shapes"]["README.md"]
    asked: dict[str, Any] = {}

    def snapshot(name: str, **options: Any) -> str:
        asked.update(options)
        return str(fake.snapshot(tmp_path / "cache", name))

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    fetched = cc.from_pretrained("me/shapes", download=True, revision="main")
    assert (asked["revision"], asked["local_files_only"]) == ("main", False)
    x = np.random.default_rng(0).normal(100, 10, (4, 6))
    here = cc.from_pretrained(run.folder / "hub").predict_proba(x)
    for task, p in fetched.predict_proba(x).items():
        np.testing.assert_array_equal(p, here[task])


def test_an_edited_card_is_sent_and_never_written_over(fake: FakeHub, run: Run, tmp_path: Path) -> None:
    folder = export_folder(run, tmp_path / "mine", license="mit")
    export_folder(run, folder, license="cc0-1.0")  # its own card it writes anew
    card = folder / "README.md"
    card.write_text(card.read_text().replace("not stated", "cc-by-4.0"))
    with raises(ConfigError, f"{card} was edited", f"push {folder}"):
        export_folder(run, folder)
    assert "cc-by-4.0" in card.read_text()
    push_to_hub(folder, "me/shapes")
    assert b"cc-by-4.0" in fake.files["me/shapes"]["README.md"]
    push_to_hub(run, "me/again")
    card = run.folder / "hub" / "README.md"
    written = card.read_bytes()
    card.write_bytes(written + b"more")
    with raises(ConfigError, f"{card} was edited"):
        push_to_hub(run.folder, "me/again", license="mit")
    card.write_bytes(written)


def test_a_source_is_no_data_set_of_the_hub(run: Run, tmp_path: Path) -> None:
    sources = {"face/emotion": run.config.sources["classed"]}
    config = run.config.model_copy(update={"sources": sources})
    card = (export_folder(replace(run, config=config), tmp_path / "mine") / "README.md").read_text()
    assert "datasets" not in card
    assert "| face / emotion | not stated |" in card


def test_a_public_repository_is_refused_unless_that_is_meant(fake: FakeHub, model: Path) -> None:
    fake.private["me/pets"], fake.files["me/pets"] = False, {}
    with raises(HubError, "me/pets exists and is public", "no file was sent", f"{model} is whole here"):
        push_to_hub(model, "me/pets")
    assert fake.commits == []
    assert fake.files["me/pets"] == {}
    push_to_hub(model, "me/pets", private=False)
    assert len(fake.commits) == 1
    push_to_hub(model, "me/new", private=False)
    assert fake.private["me/new"] is False


def test_files_of_an_earlier_model_go_and_others_stay(fake: FakeHub, model: Path, tmp_path: Path) -> None:
    push_to_hub(model, "me/pets")
    others = {"paper.pdf", "adapters/lora.safetensors", "other.skops", "old/config.json", "my.safetensors"}
    fake.files["me/pets"] |= dict.fromkeys(others, b"stays")
    fake.files["me/pets"]["tokenizer/deep/one.txt"] = b"goes"
    save_hub(tmp_path / "plain")  # without a tokenizer
    push_to_hub(tmp_path / "plain", "me/pets")
    assert set(fake.files["me/pets"]) == {
        *(".gitattributes", "README.md", "config.json", "model.safetensors"),
        *others,
    }
    fetched = fake.snapshot(tmp_path / "cache", "me/pets")
    assert cc.from_pretrained(fetched).tasks == (KIND, TRAITS)


def test_a_branch_and_a_token(fake: FakeHub, model: Path) -> None:
    url = push_to_hub(model, "me/pets", revision="v2", token="secret")
    assert url == "https://hub.example/me/pets/tree/v2"
    assert fake.commits[0]["revision"] == "v2"
    assert set(fake.files["me/pets"]) == {".gitattributes"}
    assert "config.json" in fake.files["me/pets@v2"]
    assert b'"me/pets", download=True, revision="v2")' in fake.files["me/pets@v2"]["README.md"]
    assert fake.tokens == ["secret"]


@pytest.mark.parametrize("token", ["hf_SECRET\n", "hf_SEC RET", " hf_SECRET", "hf_SECR\u00c9T", "", 7])
def test_a_damaged_token_is_refused_and_not_repeated(token: Any, fake: FakeHub, model: Path) -> None:
    with pytest.raises(HubError, match="token is no token of the hub") as caught:
        push_to_hub(model, "me/pets", token=token)
    told = "".join(traceback.format_exception(caught.value))
    assert "SEC" not in told
    assert fake.tokens == []


def test_no_message_holds_a_token(fake: FakeHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, other, third = (f"hf_{name}" for name in ("GIVEN", "OTHER", "THIRD"))
    monkeypatch.setenv("HF_TOKEN", other)

    def fails(*_: Any, **__: Any) -> None:
        raise ValueError(f"Illegal header value b'Bearer {third} x\\n', or of {other}")

    fake.fails = ConnectionError(f"no route for {given} with b'Bearer {third}', {other}")
    monkeypatch.setattr(hub, "snapshot_download", fails)
    with pytest.raises(HubError) as pushing:
        push_to_hub(model, "me/pets", token=given)
    with pytest.raises(CheckpointError) as loading:
        cc.from_pretrained("me/pets", download=True)
    with pytest.raises(CheckpointError) as looking:
        cc.from_pretrained("me/pets")
    for caught in (pushing, loading, looking):
        told = "".join(traceback.format_exception(caught.value))
        assert not any(secret in told for secret in (given, other, third))
        assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_fitted_estimator_is_sent_and_loaded(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = estimator()
    assert fitted.push_to_hub("me/traits", license="mit") == "https://hub.example/me/traits"
    card = fake.files["me/traits"]["README.md"].decode()
    assert 'concord.CoupledClassifier.load("me/traits", download=True).predict(X)' in card
    assert "license: mit" in card
    assert "perceptron" in card.lower()
    monkeypatch.setattr(
        hub, "snapshot_download", lambda name, **_: str(fake.snapshot(tmp_path / "cache", name))
    )
    x = np.random.default_rng(1).normal(size=(5, 3))
    loaded = cc.CoupledClassifier.load("me/traits", download=True)
    np.testing.assert_array_equal(loaded.predict_proba(x)["kind"], fitted.predict_proba(x)["kind"])
    with raises(CheckpointError, "a fitted estimator", "CoupledClassifier.load"):
        cc.from_pretrained("me/traits", download=True)
    fitted.save(tmp_path / "kept")
    push_to_hub(tmp_path / "kept", "me/again")
    assert set(fake.files["me/again"]) == set(fake.files["me/traits"])
    push_to_hub(fitted, "me/third")
    assert set(fake.files["me/third"]) == set(fake.files["me/traits"])


def http_error(kind: type[Any], status: int) -> BaseException:
    made = kind.__new__(kind)
    made.args = (f"{status} Client Error\nRequest ID: 7",)
    made.response = SimpleNamespace(status_code=status)
    return made


def test_failures_are_one_line_that_says_what_to_do(fake: FakeHub, model: Path) -> None:
    from huggingface_hub import errors

    transport = type("ConnectError", (errors.HfHubHTTPError.__bases__[0],), {})
    for failure, words in (
        (errors.LocalTokenNotFoundError("no token\nat all"), "`hf auth login`, or HF_TOKEN"),
        (http_error(errors.HfHubHTTPError, 401), "`hf auth login`, or HF_TOKEN"),
        (http_error(errors.HfHubHTTPError, 403), "the token may not write to me/pets"),
        (http_error(errors.HfHubHTTPError, 500), "500 Client Error"),
        (errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set"),
        (transport("Name or service not known"), "cannot be reached (Name or service not known)"),
        (ConnectionError("Network is unreachable"), "push again with a network"),
        (FileNotFoundError(2, "No such file", "a.bin"), "sent: [Errno 2] No such file"),
        (ValueError("Invalid metadata in README.md.\n- license is not allowed"), "license is not allowed"),
        (errors.HFValidationError("Repo id must use alphanumeric chars"), "alphanumeric"),
    ):
        fake.fails = failure
        with raises(HubError, "me/pets was not pushed, no file was sent", words, f"{model} is whole here"):
            push_to_hub(model, "me/pets")
    with raises(HubError, "token", "save(FOLDER) keeps the model here"):
        fake.fails = errors.LocalTokenNotFoundError("none")
        estimator().push_to_hub("me/pets")


def test_a_model_that_cannot_be_fetched_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import errors

    transport = type("ConnectError", (errors.HfHubHTTPError.__bases__[0],), {})
    missing = errors.LocalEntryNotFoundError("An error happened.\nPlease check your connection")
    missing.__cause__ = transport("Name or service not known")
    for failure, words in (
        (http_error(errors.RepositoryNotFoundError, 401), "no such repository, or a private one: `hf auth"),
        (http_error(errors.RepositoryNotFoundError, 404), "no such repository, or a private one: `hf auth"),
        (http_error(errors.GatedRepoError, 403), "terms to be accepted"),
        (http_error(errors.RevisionNotFoundError, 404), "404 Client Error Request ID: 7"),
        (missing, "cannot be reached (Name or service not known); fetch it again with a network"),
        (OSError(28, "No space left on device"), "fetched: [Errno 28] No space left on device"),
    ):

        def fails(*_: Any, failure: BaseException = failure, **__: Any) -> None:
            raise failure

        monkeypatch.setattr(hub, "snapshot_download", fails)
        with raises(CheckpointError, "me/pets is no folder, and could not be fetched", words):
            cc.from_pretrained("me/pets", download=True)


def test_the_names_of_a_models_files_are_known_to_a_push() -> None:
    from concord.estimator.saving import ESTIMATORS, WEIGHTS
    from concord.hub import remote
    from concord.runs import TOKENIZER, WEIGHTS_FILE

    assert set(remote.OURS) == {"config.json", "model.json", WEIGHTS_FILE, WEIGHTS, ESTIMATORS}
    assert f"{TOKENIZER}/" == remote.OUR_FOLDER


def test_what_cannot_be_sent_is_refused_before_anything_is_asked(
    fake: FakeHub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raises(HubError, "named OWNER/NAME", "'pets'"):
        push_to_hub(model, "pets")
    with raises(ConfigError, "README.md"):
        push_to_hub(model, "me/pets", license="mit")
    with raises(CheckpointError, "nothing to push"):
        push_to_hub(tmp_path, "me/pets")
    (tmp_path / "config.json").write_text('{"sources": {}}')  # of a training that is not finished
    with raises(CheckpointError, "nothing to push"):
        push_to_hub(tmp_path, "me/pets")
    shutil.copytree(model, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"")
    with raises(CheckpointError, "model.safetensors is truncated"):
        push_to_hub(tmp_path / "damaged", "me/pets")
    (tmp_path / "secret").write_text("key")
    shutil.copytree(model, tmp_path / "linked")
    (tmp_path / "linked" / "README.md").unlink()
    (tmp_path / "linked" / "README.md").symlink_to(tmp_path / "secret")
    with raises(CheckpointError, "README.md is a link, which is not sent"):
        push_to_hub(tmp_path / "linked", "me/pets")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with raises(MissingExtraError, "pip install concord-mtl[hub]", f"{model} is whole here"):
        push_to_hub(model, "me/pets")
    assert fake.tokens == []


def test_the_command(fake: FakeHub, run: Run, tmp_path: Path) -> None:
    def call(*words: str) -> str:
        return CliRunner().invoke(app, ["push", *words], catch_exceptions=False).output

    shutil.rmtree(run.folder / "hub", ignore_errors=True)
    said = call(str(run.folder), "me/shapes", "--license", "mit", "--message", "m", "--revision", "dev")
    assert said.startswith("https://hub.example/me/shapes/tree/dev")
    assert fake.private["me/shapes"] is True
    assert fake.commits == [{"name": "me/shapes", "message": "m", "revision": "dev"}]
    assert cc.from_pretrained(run.folder / "hub").tasks == run.tasks
    export_folder(run, tmp_path / "mine")
    call(str(tmp_path / "mine"), "me/open", "--public")
    assert fake.private["me/open"] is False
    with raises(HubError, "exists and is public", "--public"):
        call(str(tmp_path / "mine"), "me/open")


def test_no_network_is_asked_when_the_library_is_told_to_stay_offline(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library itself, without a fake: it raises before it opens a connection."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with raises(HubError, "me/pets was not pushed", f"{model} is whole here"):
        push_to_hub(model, "me/pets", token="hf_none")
    with raises(CheckpointError, "nobody/nothing is no folder"):
        cc.from_pretrained("nobody/nothing", download=True)
