"""Folders that are sent to the Hugging Face hub, and fetched from it; nothing is asked of it unasked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord.archive import FORMATS, Kind, read_archive
from concord.errors import CheckpointError, HubError, MissingExtraError
from concord.hub.card import PLACE

README = "README.md"

OURS = (
    *(FORMATS[kind].record for kind in ("hub", "estimator")),
    *("model.safetensors", "weights.safetensors", "estimators.skops"),
)
"""Files of a model or an estimator, at the top of a repository."""

OUR_FOLDER = "tokenizer/"
"""What lies in it is a model's, too."""

LONGEST = 400
"""Characters of another's message that are quoted."""


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
    patterns = [README, *OURS, f"{OUR_FOLDER}*"]
    try:
        return Path(
            snapshot(str(place), revision=revision, local_files_only=not download, allow_patterns=patterns)
        )
    except _failures() as error:
        reason = _reason(error, str(place), reading=True) if download else _line(error)
    # Raised outside of the handler: the library's error may hold a token, and is not kept as the cause.
    if download:
        raise CheckpointError(f"{place} is no folder, and could not be fetched: {reason}")
    raise CheckpointError(
        f"{place} is no folder, and not in the hub's cache (set download to fetch it): {reason}"
    )


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
        HubError: No name of a repository, no token or a damaged one, no network, or a push that was refused;
            no file was sent, though the repository and its branch may have been made.
        MissingExtraError: huggingface_hub is not installed.
    """
    archive = read_archive(folder, kind)
    archive.verify()
    left = f"; {kept or f'{folder} is whole here, and can be pushed later'}"
    if not is_name(repository):
        raise HubError(f"a repository of the hub is named OWNER/NAME, found {str(repository)!r}{left}")
    library = _library("a push to the hub needs", left)
    _check_token(token, left)
    names = [FORMATS[kind].record, *archive.files]
    files: dict[str, Any] = {name: archive.folder / name for name in names}
    card = readme if readme is not None else _card(archive.folder)
    if card is not None:
        branch = "" if revision is None else f', revision="{revision}"'
        files[README] = card.replace(PLACE.encode(), f'"{repository}", download=True{branch}'.encode())
    try:
        return _sent(library, files, repository, private, message, revision, token, left)
    except HubError:
        raise
    except _failures() as error:
        reason = _reason(error, repository, token)
    # Raised outside of the handler: the library's error may hold the token, and is not kept as the cause.
    raise HubError(f"{repository} was not pushed, no file was sent: {reason}{left}")


def _check_token(token: str | None, left: str) -> None:
    """Refuse a token that no header can hold, without repeating it."""
    if token is None:
        return
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        raise HubError(
            "token is no token of the hub: it is empty, or holds a blank, a line end or another character "
            f"than ASCII's; copy it anew, without what is around it{left}"
        )


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
            f"{repository} exists and is public, so that no file was sent: push to another repository, make "
            f"that one private, or say that it may be public (private=False, --public){left}"
        )
    if revision is not None:
        hub.create_branch(repository, branch=revision, exist_ok=True)
    there = hub.list_repo_files(repository, revision=revision)
    gone = [name for name in there if name not in files and _is_ours(name)]
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


def _is_ours(name: str) -> bool:
    """Whether a file of a repository is of a model: those in other folders are somebody else's."""
    return name in OURS or name.startswith(OUR_FOLDER)


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


def _line(error: BaseException, token: str | None = None) -> str:
    """What an error says, in one line, without a token that it may quote."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    secrets = [token, *(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))]
    for secret in filter(None, secrets):
        text = text.replace(secret, "TOKEN")
    text = re.sub(r"Bearer [^'\"]+", "Bearer TOKEN", text)
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def _reason(error: BaseException, repository: str, token: str | None = None, *, reading: bool = False) -> str:
    """What went wrong and what mends it, in one line."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # why it was not fetched, rather than that it is not in the cache
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set; {'fetch it' if reading else 'push'} without it"
    if isinstance(error, errors.GatedRepoError) and reading:
        return "its owner asks for terms to be accepted: do so on its page, then `hf auth login`, or HF_TOKEN"
    if reading and (isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403)):
        return "no such repository, or a private one: `hf auth login`, or HF_TOKEN of who may read it"
    if isinstance(error, errors.LocalTokenNotFoundError) or status == 401:
        return "the hub takes it with a token only: `hf auth login`, or HF_TOKEN"
    if status == 403:
        return f"the token may not write to {repository}: take one with the right to, or another owner"
    if status is None and _is_transport(error):
        again = "fetch it again" if reading else "push again"
        return f"the hub cannot be reached ({_line(error, token)}); {again} with a network"
    return _line(error, token)


def _is_transport(error: BaseException) -> bool:
    """Whether the network failed, rather than a file or a name."""
    import socket

    from huggingface_hub.errors import HfHubHTTPError

    # The library's transport is another package in another version; its errors share no name.
    package = HfHubHTTPError.__bases__[0].__module__.partition(".")[0]
    return isinstance(error, ConnectionError | TimeoutError | socket.gaierror) or any(
        kind.__module__.partition(".")[0] == package for kind in type(error).__mro__
    )
