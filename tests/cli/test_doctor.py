"""`concord doctor` says what is there, what is missing and how to get it."""

from __future__ import annotations

import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch

from concord import __version__, cli
from concord.cli.doctor import requirements
from concord.networks.trunks import library


@pytest.fixture
def concord(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["concord", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capsys.readouterr().out

    return run


@pytest.fixture
def lacking(monkeypatch):
    """Make packages look as if they were not installed, whatever this machine's are."""
    real = metadata.version
    extras = ["timm; extra == 'timm'", "torchvision; extra == 'timm'", "onnx; extra == 'onnx'"]
    extras += ["onnxscript; extra == 'onnx'", "ray; extra == 'ray'", "sphinx; extra == 'docs'"]
    monkeypatch.setattr(metadata, "requires", lambda name: ["polars>=1.30", "torch", *extras])

    def lack(*names):
        def version(name):
            if name in names:
                raise metadata.PackageNotFoundError(name)
            return "1.0" if name in ("onnx", "ray", "timm", "torchvision") else real(name)

        monkeypatch.setattr(metadata, "version", version)

    return lack


def test_it_names_versions_and_the_processor(concord, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    status, out = concord("doctor")
    assert status == 0
    assert out.startswith(f"concord {__version__}, Python {sys.version_info.major}.")
    assert f"torch {torch.__version__}".split("+")[0] in out
    assert "accelerator: none is seen" in out
    assert "extra dev" not in out
    assert "extra docs" not in out


def test_missing_extras_come_with_the_way_to_get_them(concord, lacking):
    lacking("timm", "onnxscript")
    status, out = concord("doctor")
    assert status == 0
    assert "extra timm: missing timm; pip install 'concord-mtl[timm]'\n" in out
    assert "extra onnx: missing onnxscript; pip install 'concord-mtl[onnx]'\n" in out
    assert "extra ray: ray 1.0\n" in out


def test_a_library_that_does_not_fit_this_torch_is_told_from_one_that_is_missing(
    concord, lacking, monkeypatch
):
    def imported(name):
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    lacking()
    monkeypatch.setattr(library, "import_module", imported)
    status, out = concord("doctor")
    assert status == 0
    assert (
        "extra timm: timm 1.0, torchvision 1.0; installed, but timm does not fit this torch (operator "
        "torchvision::nms does not exist): install releases of one build\n"
    ) in out
    assert "missing" not in out


def test_something_always_needed_is_missing(concord, lacking):
    lacking("torch", "polars")
    status, out = concord("doctor")
    assert status == 1
    assert "accelerator: unknown without torch" in out
    assert out.endswith("missing: polars, torch; pip install concord-mtl brings them\n")


def test_accelerators_are_named(concord, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    card = SimpleNamespace(name="Some GPU", total_memory=16 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: card)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    _, out = concord("doctor")
    assert "accelerator: cuda:0 Some GPU, 16 GiB, cuda:1 Some GPU, 16 GiB, mps\n" in out


def test_requirements_by_extra():
    lines = [
        "numpy>=1.26",
        "onnx>=1.17; extra == 'onnx'",
        'ray; extra == "ray"',
        "concord-mtl[onnx]; extra == 'dev'",
    ]
    assert requirements(lines) == {"": ["numpy"], "onnx": ["onnx"], "ray": ["ray"]}
