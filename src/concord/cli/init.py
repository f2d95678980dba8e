"""`concord init`, `concord schema`: a config or plan to start from, and what it may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from concord.errors import ConfigError
from concord.terminal import say


def init(
    path: Annotated[Path, typer.Argument(help="The config to write (.yaml).")] = Path("concord.yaml"),
    *,
    inputs: Annotated[
        str, typer.Option("--inputs", help="What the inputs are: images, arrays, features, columns or texts.")
    ] = "images",
    study: Annotated[bool, typer.Option("--study", help="A plan of `concord study` instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented config to start from, or a plan: every key with its meaning and default."""
    from concord.config import START, template
    from concord.errors import UnknownNameError
    from concord.files import write_text

    if study and inputs != "images":
        raise ConfigError("--inputs is of a config; a plan of --study names features, or a config")
    if inputs not in START:
        raise UnknownNameError.of("inputs", inputs, START)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"a starting config is YAML; name it .yaml, found {str(path)!r}")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; --force replaces it")
    if study:
        from concord.study import plan_template

        write_text(path, plan_template())
        say(f"wrote {path}; name your manifest and features in it, then: concord study {path} --quick")
        return
    write_text(path, template(inputs))
    say(f"wrote {path}; name your manifests in it, then: concord train {path}")


def schema(
    *,
    study: Annotated[bool, typer.Option("--study", help="Of a plan of `concord study` instead.")] = False,
) -> None:
    """Print the JSON schema of a config, or of a plan, for editors."""
    import json

    if study:
        from concord.study import plan_schema

        say(json.dumps(plan_schema(), indent=1))
        return
    from concord.config import Config

    say(json.dumps(Config.model_json_schema(), indent=1))
