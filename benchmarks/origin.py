"""What made a number: the commit, the code of the rooms that it rests on, and the machine."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import platform
import re
import subprocess
import tarfile
import tokenize
from collections.abc import Collection, Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MEASURING = ("src/concord", "benchmarks", "configs", "examples")
"""Folders of the checkout that may move a number."""

READ = (".py", ".csv", ".json", ".yaml")
"""Kinds of files of the package that code is, and that it reads."""

LESS = (
    "__init__", "_lazy", "_version", "cli", "deploy", "displays", "errors", "hub", "study/pages", "study/template",
    "terminal",
)  # fmt: skip
"""Rooms of `src/concord` that move no number but the time of a start: what is typed, shown, served and sent."""

RIVALS = "study/peers"
"""The room of what studies compare with, each a module that a condition of its name loads."""

WRITERS = ("board_page", "findings", "held", "marks", "method_page", "origin", "page", "search_table")
"""Scripts that keep and show numbers and measure none: they run again with every page that is written."""


def commit(root: Path = ROOT) -> str:
    """The commit of a checkout, with `-dirty` where code that measures differs from it; `unknown` without git."""
    told = _git(root, "rev-parse", "--short", "HEAD")
    if told is None:
        return "unknown"
    folders = [folder for folder in MEASURING if (root / folder).is_dir()]
    same = _git(root, "diff", "--quiet", "HEAD", "--", *folders) is not None
    return told.decode().strip() + ("" if same else "-dirty")


def _git(root: Path, *words: str) -> bytes | None:
    """What git says; None where it refuses or is not there."""
    try:
        told = subprocess.run(["git", *words], cwd=root, capture_output=True, check=False)
    except OSError:
        return None
    return None if told.returncode else told.stdout


class Code:
    """Files that measure: of a checkout, as they lie there when they are first asked for, or of one of its commits.

    Args:
        commit: Which; the files as they lie there unless given.
        root: Of the checkout.

    Raises:
        LookupError: The checkout has no such commit.
    """

    def __init__(self, commit: str | None = None, root: Path = ROOT) -> None:
        self.root = root
        self._held = None if commit is None else _files_of(commit, root)
        self._rooms: dict[str, str] | None = None

    def __contains__(self, name: str) -> bool:
        return (self.root / name).is_file() if self._held is None else name in self._held

    def read(self, name: str) -> str:
        """What a file holds; empty where it is not there."""
        if self._held is not None:
            return self._held.get(name, b"").decode(errors="replace")
        path = self.root / name
        return _text_at(path, path.stat().st_mtime_ns) if path.is_file() else ""

    def digest(self, names: Iterable[str]) -> str:
        """A short digest of files, by their paths: of Python the code alone counts, of any other all."""
        found = hashlib.sha256()
        for name in sorted(names):
            text = self.read(name)
            found.update(f"{name}\n{code_of(text) if name.endswith('.py') else text}\n".encode())
        return found.hexdigest()[:12]

    def rooms(self, less: Collection[str] = LESS) -> dict[str, str]:
        """A digest of each room of the package but some, by its name; a room of studies by itself, but for rivals."""
        every = self._digests().items()
        return {
            room: value for room, value in every if room not in less and not room.startswith(f"{RIVALS}/")
        }

    def rivals(self, names: Iterable[str]) -> dict[str, str]:
        """A digest of each rival that files name, with what rivals share; of all where they ask for every condition.

        A rival may name others in turn: those that it chooses from.
        """
        rivals = {room: value for room, value in self._digests().items() if room.startswith(f"{RIVALS}/")}
        found: dict[str, str] = {}
        texts = list(names)
        while texts:
            named = {word for name in texts for word in self._words(name)}
            new = [
                room
                for room in rivals
                if room not in found and ("condition_names" in named or room.rpartition("/")[2] in named)
            ]
            found |= {room: rivals[room] for room in new}
            texts = [f"src/concord/{room}.py" for room in new]
        return found

    def _words(self, name: str) -> set[str]:
        """Words of a file that may be names of conditions."""
        text = self.read(name)
        text = code_of(text) if text and name.endswith(".py") else text
        return {word.replace("-", "_") for word in re.findall(r"[a-z]+(?:[_-][a-z]+)*", text or "")}

    def _digests(self) -> dict[str, str]:
        """A digest of each room, and of each rival with what rivals share; made once."""
        if self._rooms is None:
            rooms: dict[str, list[str]] = {}
            for name in self._package():
                parts = Path(name).with_suffix("").parts[2:]
                rooms.setdefault("/".join(parts[: 2 if parts[0] == "study" else 1]), []).append(name)
            own = rooms.pop(RIVALS, [])
            shared = [name for name in own if Path(name).name.startswith("_")]
            rooms |= {f"{RIVALS}/{Path(name).stem}": [name, *shared] for name in own if name not in shared}
            self._rooms = {room: self.digest(names) for room, names in rooms.items()}
        return self._rooms

    def _package(self) -> list[str]:
        if self._held is None:
            paths = (self.root / "src" / "concord").rglob("*")
            names = [path.relative_to(self.root).as_posix() for path in paths]
        else:
            names = [name for name in self._held if name.startswith("src/concord/")]
        return sorted(name for name in names if name.endswith(READ))

    def reached(self, names: Iterable[str]) -> list[str]:
        """Files, and those of benchmarks that they import, and plans and tables that these name."""
        found, left = set(), list(names)
        while left:
            name = left.pop()
            if name not in found and name in self:
                found.add(name)
                left += _imports(self.read(name)) if name.endswith(".py") else self._named(name)
        return sorted(found)

    def _named(self, name: str) -> list[str]:
        folder = os.path.dirname(name)
        words = re.findall(r"[\w./-]+\.(?:ya?ml|csv)\b", self.read(name)) if name.endswith("ml") else []
        return [os.path.normpath(os.path.join(folder, word)) for word in words]


@cache
def _imports(text: str) -> tuple[str, ...]:
    """Scripts of this folder that a script imports, inside functions, too."""
    modules = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return tuple(f"benchmarks/{name}.py" for name in sorted(modules) if name not in WRITERS)


@cache
def _files_of(commit: str, root: Path) -> dict[str, bytes]:
    told = _git(root, "archive", "--format=tar", commit)
    if told is None:
        raise LookupError(f"the checkout has no commit {commit}; fetch it first")
    with tarfile.open(fileobj=io.BytesIO(told)) as archive:
        members = [each for each in archive if each.isfile() and each.name.startswith(MEASURING)]
        return {each.name: file.read() for each in members if (file := archive.extractfile(each))}


def exported(commit: str, into: Path, root: Path = ROOT) -> Path:
    """Write the files that measure, as they are in a commit, into a folder; returns it.

    Raises:
        LookupError: The checkout has no such commit.
    """
    for name, content in _files_of(commit, root).items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return into


@cache
def _text_at(path: Path, time: int) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def code_of(text: str) -> str:
    """The lines of a module without docstrings, comments and empty lines; text that the code holds stays whole."""
    words: set[int] = set()
    held: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        # A string that stands alone does nothing, whether it documents a module, a function or an attribute.
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            words.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.Constant | ast.JoinedStr) and (node.end_lineno or 0) > node.lineno:
            held.update(range(node.lineno, node.end_lineno or 0))  # the last line may have a comment
    remarks = {
        token.start[0]: token.start[1]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if number in words:
            continue
        if number in held:
            lines.append(line)
        elif kept := line[: remarks.get(number)].rstrip():
            lines.append(kept)
    return "\n".join(lines)


def machine(threads: int | None = None) -> dict[str, Any]:
    """Processor, cores, memory in GiB, versions, and threads of each process where given."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "not installed"
    found = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory": memory(),
        "python": platform.python_version(),
        "torch": torch,
    }
    return found if threads is None else {**found, "threads": threads}


KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
"""Environment in which torch, oneDNN, OpenBLAS and NumPy compute by AVX2 where a processor has AVX-512, too."""


def kernels() -> dict[str, str] | None:
    """Environment in which this machine computes the bits of all x86-64 processors with AVX2; None where it has none.

    Without it libraries pick what the processor has, and last digits of trained networks differ between processors.
    """
    flags = _cpuinfo("flags").split()
    if "avx2" not in flags:
        return None
    return KERNELS if "avx512f" in flags else {}


def processor() -> str:
    """The processor's name; the architecture where the system does not tell."""
    return _cpuinfo("model name") or platform.machine()


def _cpuinfo(key: str) -> str:
    """What Linux says of the first core; empty where it does not."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def memory() -> int | None:
    """Memory of this machine in GiB; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None
