"""Public names have whole docstrings: `python tools/check_docstrings.py`, part of `make lint`.

Public is what `concord` and its rooms name in `__all__`, and the couplings of the registry, with the public
methods of its classes. Of each:

- a docstring;
- where it takes arguments, every one is named in it, under `Args:` or in prose, or it says "see `THERE`";
- where its own body raises an error of the package, `Raises:` (of a class: what its construction raises).

Reads the source and imports nothing, so that it answers at once.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "concord"
ROOMS = ("couplings", "data", "relations.literature", "networks.trunks", "errors")

INHERITED = ("loss", "forward", "keys", "load", "get_extra_state", "set_extra_state", "extra_repr")
"""Methods whose arguments the base class, or PyTorch, explains."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(package: Path = PACKAGE) -> int:
    """Print what is missing; the number of public names with a gap."""
    found = [line for where, node in public(package) for line in gaps(where, node)]
    print("\n".join(found) if found else "docstrings of public names: whole")
    return len(found)


def public(package: Path) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Definitions of all public names, each with the name to call it by."""
    seen = set()
    for module in (package / "__init__.py", *(_file(package, *room.split(".")) for room in ROOMS)):
        for name in _all(ast.parse(module.read_text(encoding="utf-8"))):
            home = _home(module, name, package)
            node = _definition(home, name)
            if node is not None and (home, name) not in seen:
                seen.add((home, name))
                yield f"{home.relative_to(package.parent)}:{node.lineno}: {name}", node
    for place in _losses(package):
        module_name, _, name = place.partition(":")
        home = _file(package, *module_name.split(".")[1:])
        node = _definition(home, name)
        assert node is not None, f"the registry of couplings names {place}, which does not exist"
        yield f"{home.relative_to(package.parent)}:{node.lineno}: {name}", node


def gaps(where: str, node: Function | ast.ClassDef) -> Iterator[str]:
    """What the docstrings of a definition, and of the public methods of a class, lack."""
    if isinstance(node, ast.ClassDef):
        made = [member for member in node.body if _named(member, "__init__", "__post_init__")]
        arguments = [name for member in made if _named(member, "__init__") for name in _arguments(member)]
        yield from _of(where, ast.get_docstring(node), arguments, any(map(_raises, made)))
        for member in node.body:
            if isinstance(member, Function) and not member.name.startswith("_") and not _decorated(member):
                name = f"{where}.{member.name}"
                known = member.name in INHERITED
                yield from _of(
                    name, ast.get_docstring(member), [] if known else _arguments(member), _raises(member)
                )
    else:
        yield from _of(where, ast.get_docstring(node), _arguments(node), _raises(node))


def _of(where: str, text: str | None, arguments: list[str], raises: bool) -> Iterator[str]:
    if not text:
        yield f"{where}: no docstring"
        return
    elsewhere = re.search(r"[Ss]ee `[\w.]+`", text) is not None
    unnamed = [] if elsewhere else [name for name in arguments if not re.search(rf"\b{name}\b", text)]
    if unnamed:
        yield f"{where}: says nothing of {', '.join(unnamed)}"
    if raises and not elsewhere and "Raises:" not in text:
        yield f"{where}: does not say what it raises"


def _arguments(node: ast.AST) -> list[str]:
    assert isinstance(node, Function)
    given = node.args
    return [
        a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in ("self", "cls")
    ]


def _raises(node: ast.AST) -> bool:
    """Whether the body itself raises an error by name; `NotImplementedError` and the like do not count."""
    return any(
        re.match(r"[A-Z]\w+Error\b", ast.unparse(inner.exc)) is not None
        and not ast.unparse(inner.exc).startswith(("NotImplementedError", "AttributeError"))
        for inner in ast.walk(node)
        if isinstance(inner, ast.Raise) and inner.exc is not None
    )


def _named(node: ast.AST, *names: str) -> bool:
    return isinstance(node, Function) and node.name in names


def _decorated(node: Function) -> bool:
    """Overloads and setters: the definition beside them has the docstring."""
    return any(ast.unparse(decorator).endswith(("overload", ".setter")) for decorator in node.decorator_list)


def _losses(package: Path) -> list[str]:
    """Module and class of every coupling: `couplings/__init__.py` takes their names from the registry."""
    registry = package / "couplings" / "registry.py"
    if not registry.is_file():  # a package of a test
        return []
    (given,) = (
        node.value
        for node in ast.parse(registry.read_text(encoding="utf-8")).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "LOSSES" and node.value is not None
    )
    return list(ast.literal_eval(given).values())


def _all(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_")
    ]


def _home(module: Path, name: str, package: Path) -> Path:
    """The file that defines a name, through all doors that hand it on."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("concord."):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _home(_file(package, *node.module.split(".")[1:]), alias.name, package)
    return module


def _file(package: Path, *parts: str) -> Path:
    module = package.joinpath(*parts)
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


def _definition(home: Path, name: str) -> Function | ast.ClassDef | None:
    for node in ast.parse(home.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | Function) and node.name == name:
            return node
    return None


if __name__ == "__main__":
    sys.exit(min(main(), 1))
