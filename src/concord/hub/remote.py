"""Folders that are sent to the Hugging Face hub, and fetched from it; nothing is asked of it unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concord.archive import FORMATS, Kind, read_archive
from concord.errors import CheckpointError, HubError, MissingExtraError
from concord.hub.card import PLACE

README = "README.md"

OURS = (*(FORMATS[kind].record for kind in ("hub", "estimator")), "*.safetensors", "*.skops", "tokenizer/*")
"""What a push takes out of the repository where the new model does not have it."""


def is_name(place: str | Path) -> bool:
    """Whether a place has the form of a repository of the hub, `OWNER/NAME`."""
    text = str(place)
    return isinstance(place, str) and text.count("/") == 1 and not text.startswith((".", "/", "~"))


def located(place: str | Path, *, download: bool = False, revision: str | None = None) -> Path:
    """A folder as it is, or a repository of the hub as the folder in the local cache.

    Args:
        place: A folder; or `OWNER/NAME`.
        download: Whether the hub is asked for what is not in the cache.
        revision: Of the repository: branch, tag or commit.

    Raises:
        CheckpointError: Neither a folder nor in the cache, or it could not be fetched.
        MissingExtraError: A repository, and huggingface_hub is not installed.
    """
    if Path(place).is_dir():
        return Path(place)
    if not is_name(place):
        raise CheckpointError(f"{place} is no folder")
    snapshot = _library(f"{place} is no folder, and models of the hub need").snapshot_download
    patterns = [README, *OURS]
    try:
        return Path(
            snapshot(str(place), revision=revision, local_files_only=not download, allow_patterns=patterns)
        )
    except _failures() as error:
        if download:
            raise CheckpointError(
                f"{place} is no folder, and could not be fetched: {_first(error)}"
            ) from error
        raise CheckpointError(
            f"{place} is no folder, and not in the hub's cache (set download to fetch it): {_first(error)}"
        ) from error


def pushed(
    folder: Path,
    kind: Kind,
    repository: str,
    *,
    readme: bytes | None = None,
    private: bool = True,
    message: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    kept: str | None = None,
) -> str:
    """Send a saved folder to the hub, in one commit: what its digests cover, its record, its model card.

    Args:
        folder: A model or an estimator; it is checked by its digests first.
        kind: What it holds.
        repository: `OWNER/NAME`; made where it does not exist.
        readme: The model card; that of the folder unless given.
        private: Whether the repository is to be seen by its owner alone. A public one is refused where True,
            and one that exists keeps its visibility where False.
        message: Of the commit.
        revision: A branch, made where it does not exist; the main one unless given.
        token: Of the hub; that of `hf auth login` or of HF_TOKEN unless given.
        kept: Where the model stays, for messages; the folder unless given.

    Returns:
        The address of the model.

    Raises:
        CheckpointError: A folder that is damaged, or of another kind.
        HubError: No name of a repository, no token, no network, or a push that was refused; nothing was sent.
        MissingExtraError: huggingface_hub is not installed.
    """
    archive = read_archive(folder, kind)
    archive.verify()
    left = f"; {kept or f'{folder} is whole here, and can be pushed later'}"
    if not is_name(repository):
        raise HubError(f"a repository of the hub is named OWNER/NAME, found {str(repository)!r}{left}")
    library = _library("a push to the hub needs", left)
    names = [FORMATS[kind].record, *archive.files]
    files: dict[str, Any] = {name: archive.folder / name for name in names}
    card = readme if readme is not None else _card(archive.folder)
    if card is not None:
        files[README] = card.replace(PLACE.encode(), f'"{repository}", download=True'.encode())
    try:
        return _sent(library, files, repository, private, message, revision, token, left)
    except HubError:
        raise
    except _failures() as error:
        raise HubError(f"{repository} was not pushed: {_reason(error, repository)}{left}") from error


def _card(folder: Path) -> bytes | None:
    """The model card, which no digest covers: one that is a link could lead to any file of this machine."""
    if (folder / README).is_symlink():
        raise CheckpointError(f"{folder / README} is a link, which is not sent; put the text in its place")
    try:
        return (folder / README).read_bytes()
    except FileNotFoundError:
        return None


def _sent(
    library: Any,
    files: Mapping[str, Any],
    repository: str,
    private: bool,
    message: str | None,
    revision: str | None,
    token: str | None,
    left: str,
) -> str:
    hub = library.HfApi(token=token)
    url = str(hub.create_repo(repository, private=private, exist_ok=True))
    if private and not hub.repo_info(repository).private:
        raise HubError(
            f"{repository} exists and is public, so that nothing was sent: push to another repository, make "
            f"that one private, or say that it may be public (private=False, --public){left}"
        )
    if revision is not None:
        hub.create_branch(repository, branch=revision, exist_ok=True)
    there = hub.list_repo_files(repository, revision=revision)
    gone = [name for name in there if name not in files and _matches(name, OURS)]
    operations = [library.CommitOperationDelete(path_in_repo=name) for name in gone]
    operations += [
        library.CommitOperationAdd(
            path_in_repo=name, path_or_fileobj=data if isinstance(data, bytes) else str(data)
        )
        for name, data in files.items()
    ]
    hub.create_commit(
        repository, operations, commit_message=message or "A model of Concord", revision=revision
    )
    return url if revision is None else f"{url}/tree/{revision}"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    from fnmatch import fnmatch

    return any(fnmatch(name, pattern) for pattern in patterns)


# -- the library -------------------------------------------------------------------------------------


def _library(what_for: str, left: str = "") -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtraError(f"{what_for} huggingface_hub: pip install concord-mtl[hub]{left}") from None
    return huggingface_hub


def _failures() -> tuple[type[BaseException], ...]:
    """What the library raises where the network, the hub or a name fails it."""
    from huggingface_hub.errors import HfHubHTTPError

    # The transport's own errors are siblings of the hub's, below a base that differs by version.
    return (OSError, ValueError, HfHubHTTPError.__bases__[0])


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _reason(error: BaseException, repository: str) -> str:
    """What went wrong and what mends it, in one line."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return "the hub takes it with a token only: `hf auth login`, or HF_TOKEN"
    if status == 403:
        return f"the token may not write to {repository}: take one with the right to, or another owner"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; push without it"
    if status is None and not isinstance(error, ValueError):
        return f"the hub cannot be reached ({_first(error)}); push again with a network"
    return _first(error)
