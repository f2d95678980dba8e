"""The parts of `make evidence`: what is measured, for which page, by which commands, how long, and what it needs.

Commands name the run folder `{run}`, the folder of pages `{docs}` and the number of `{processes}`; `python` is this
interpreter, and a script lies in this folder. A step can be started again at any time and goes on where it stopped;
a page can be written of what is there. Each part has a run folder of its own; its page is written of them together.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import board
import method
import origin
import problems

DATA = board.DATA


@dataclass(frozen=True)
class Part:
    """What is run at one go, on one machine.

    Attributes:
        name: By which it is asked for.
        steps: Commands, one after the other.
        quick: The same in small.
        minutes: About how long the steps take on two cores; two hours at most.
        needs: Packs of the data folder (`pack:NAME`), packages (`package:NAME`), or `gpu`.
        quick_packs: Packs that the small commands need; packages and GPU they need alike.
        outputs: What the steps leave in the run folder when all is done.
        files: Plans and tables of the checkout that the steps read, besides those that they name.
        less: Rooms of the package that cannot move its numbers.
        timed: Whether it measures time, which no run repeats; what others measure comes out the same to the bit.
    """

    name: str
    steps: tuple[str, ...]
    quick: tuple[str, ...]
    minutes: float
    needs: tuple[str, ...] = ()
    quick_packs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    less: tuple[str, ...] = origin.LESS
    timed: bool = False

    def commands(self, quick: bool) -> tuple[str, ...]:
        """What is run; nothing where a quick run leaves the part out."""
        return self.quick if quick else self.steps

    def missing(self, quick: bool = False) -> str:
        """Why it cannot run here; empty where it can."""
        needs = self.needs
        if quick:
            needs = (*(need for need in needs if not need.startswith("pack:")), *self.quick_packs)
        return "; ".join(reason for need in needs if (reason := _missing(need)))

    @property
    def key(self) -> str:
        """The name of its own settings in a version."""
        return f"part {self.name}"

    def reached(self, code: origin.Code, quick: bool = False) -> list[str]:
        """Scripts, plans and tables of the checkout that its commands are made of."""
        words = [shlex.split(step) for step in self.commands(quick)]
        named = [word for step in words for word in step if word.endswith((".yaml", ".csv"))]
        scripts = [f"benchmarks/{step[1]}" for step in words if step[0] == "python"]
        return code.reached([*scripts, *named, *self.files])

    def version(self, quick: bool = False, code: origin.Code | None = None) -> dict[str, str]:
        """Digests of all code that its numbers rest on: the package by room, rivals by name, and its own files."""
        code = code or origin.Code()
        reached = self.reached(code, quick)
        own = json.dumps([self.commands(quick), code.digest(reached)])
        own = hashlib.sha256(own.encode()).hexdigest()[:12]
        return {**code.rooms(self.less), **code.rivals(reached), self.key: own}


@dataclass(frozen=True)
class Page:
    """A page of the documentation, or a section of one, with the parts that it is made of.

    Attributes:
        name: Of the page in records and marks; a section's name.
        file: Under docs.
        write: The command that writes it of what was run.
        parts: What it shows.
        quick_write: The command in small, where it differs.
        section: Whether it is a section of the file, and not the whole.
        beside: Parts of another page that this one compares its own with.
    """

    name: str
    file: str
    write: str
    parts: tuple[Part, ...]
    quick_write: str = ""
    section: bool = False
    beside: tuple[Part, ...] = ()

    @property
    def shown(self) -> tuple[Part, ...]:
        """All parts that are behind its numbers."""
        return (*self.parts, *self.beside)

    def version(self, quick: bool = False, code: origin.Code | None = None) -> dict[str, str]:
        """Digests of all code that its numbers rest on: those of all its parts."""
        found: dict[str, str] = {}
        for part in self.shown:
            found |= part.version(quick, code) if part.commands(quick) else {}
        return found


def _missing(need: str) -> str:
    kind, _, name = need.partition(":")
    if kind == "pack":
        return "" if (DATA / name).is_dir() else f"no pack {name} under {DATA} (CONCORD_DATA)"
    if kind == "package":
        return "" if importlib.util.find_spec(name) else f"{name} is not installed"
    import torch

    return "" if torch.cuda.is_available() else "no GPU is seen"


PACK_FILES = {
    "clothing_fmnist": ("clothing10", "fmnist900"),
    "clothing_networks": ("clothing10", "fmnist900"),
    "clothing_pretrained": ("clothing10", "fmnist900"),
    "clothing_to_fmnist": ("clothing10", "fmnist900"),
    "grocery81_pretrained": ("grocery81",),
    "mnist_images": ("mnist10k_shape",),
    **dict.fromkeys(("digits", "digits_images", "synthetic", "faces", "faces_networks", "identities"), ()),
}
"""Packs of the data folder that a problem reads, where it is not the one of its name."""


def _packs(*names: str) -> tuple[str, ...]:
    """What a part needs, of names of problems."""
    packs = (pack for name in names for pack in PACK_FILES.get(name, (name,)))
    return tuple(f"pack:{pack}" for pack in dict.fromkeys(packs))


# -- the method ----------------------------------------------------------------------------------------

RUN = "python method.py run --out {run} --processes {processes}"
LONG = {"grocery81": 14, "clinc150": 14, "goemotions": 12, "mushroom": 12}
"""Minutes of two regimes, of packs of many labels or classes; others take less."""
MORE = tuple(name for name in method.KINDS["features"][1] if name not in problems.SCARCE)
"""Regimes in which no task is scarce: parts of their own, as what most is asked of comes first."""


def _studies(kind: str, packs: Iterable[str], regimes: Sequence[str] = ()) -> tuple[str, ...]:
    """What a kind of run leaves: a finished study for each pack and regime."""
    regimes = regimes or method.KINDS[kind][1]
    return tuple(f"{kind}/{pack}.{regime}/summary.json" for pack in packs for regime in regimes)


def _kind(kind: str, minutes: float, small: str) -> Part:
    """The part of a kind of run, whose quick one is of a small pack."""
    return Part(
        f"method-{kind}",
        (f"{RUN} --kind {kind}",),
        (f"{RUN} --quick --steps 20 --kind {kind} --packs {small} --regimes few-class",) if small else (),
        minutes,
        _packs(*(method.base(pack) for pack in method.KINDS[kind][0])),
        outputs=_studies(kind, method.KINDS[kind][0]),
    )


def _method(name: str, *parts: Part, beside: tuple[Part, ...] = ()) -> Page:
    """A section of the method's page."""
    command = f"python method_page.py {{run}} --page {{docs}}/method.md --sections {name}"
    return Page(name, "method.md", command, parts, section=True, beside=beside)


SCARCE_FIRST = (("", problems.SCARCE), ("-more", MORE))
"""Of every pack two parts: where a task is scarce, then the other regimes."""


def _by_pack(
    kind: str,
    name: str,
    command: str,
    times: float,
    parts: Sequence[tuple[str, Sequence[str]]] = SCARCE_FIRST,
) -> tuple[Part, ...]:
    """The parts of a kind of run on features, by pack."""
    return tuple(
        Part(
            f"{name}-{pack}{more}",
            (f"{command} --packs {pack} --regimes {' '.join(regimes)}",),
            (f"{command} --quick --steps 20 --packs {pack} --regimes few-class",)
            if pack == "digits" and not more
            else (),
            times * LONG.get(pack, 8) * len(regimes) / 2,
            _packs(pack),
            outputs=_studies(kind, [pack], regimes),
        )
        for more, regimes in parts
        for pack in problems.PROBLEMS
    )


FEATURES = _by_pack("features", "method", f"{RUN} --kind features", 1)
FRESH = _by_pack(
    "fresh",
    "method-fresh",
    "python method_fresh.py --out {run} --processes {processes}",
    0.7,
    SCARCE_FIRST[:1],
)
RIVALS = tuple(
    part
    for kind, times in (("rivals", 2), ("rivals-wrong", 1))
    for part in _by_pack(
        kind,
        f"method-{kind}",
        f"python method_rivals.py --out {{run}} --processes {{processes}} --kind {kind}",
        times,
    )
)
METHOD = (
    _method(
        "method",
        *FEATURES,
        *(
            _kind(kind, minutes, small)
            for kind, minutes, small in (("fast", 20, "digits"), ("thorough", 40, ""))
        ),
    ),
    _method("method-fresh", *FRESH),
    _method("method-rivals", *RIVALS, beside=FEATURES),
    _method("method-controls", _kind("controls", 20, "digits_nuisance")),
    _method(
        "method-images",
        *(
            Part(
                f"method-{pack.replace('_', '-')}",
                (f"{RUN} --kind images --packs {pack}",),
                (),
                60,
                _packs(pack),
                outputs=_studies("images", [pack]),
            )
            for pack in problems.IMAGE_PROBLEMS
        ),
    ),
)

# -- rivals --------------------------------------------------------------------------------------------

BOARD = Page(
    "board",
    "board.md",
    "python board.py page --out {run} --page {docs}/board.md",
    tuple(
        Part(
            f"board-{pack}",
            (f"python board.py run --out {{run}} --processes {{processes}} --packs {pack}",),
            (
                "python board.py run --out {run} --processes {processes} --packs digits --regimes few-class --seeds 2 "
                "--steps 20 --conditions single-task uncoupled auto logistic extra-trees",
            )
            if pack == "digits"
            else (),
            {"clinc150": 120, "grocery81": 120}.get(pack, 80),
            _packs(pack),
            outputs=(f"{pack}/summary.json",),
            files=(f"configs/studies/{pack}.yaml",),
        )
        for pack in board.ROWS
    ),
)

STUDIES = {
    "faces": 22, "identities": 24, "goemotions": 30, "mushroom": 25, "clothing_fmnist": 12, "clothing_pretrained": 12,
    "grocery81": 10, "grocery81_pretrained": 10, "clinc150": 10, "clothing_networks": 120, "faces_networks": 120,
}  # fmt: skip
"""Case studies on drawn and on open data, and their minutes."""


REAL = ("package:timm", "package:efficientnet_lite_pytorch")
"""What studies of real networks need: the environment of `make test-trunks` has it."""


def _study(name: str, plan: str = "") -> str:
    if name == "faces_networks":  # which draws its files first
        return f"python {name}.py --out {{run}}/{name} --processes {{processes}}"
    plan = plan or (name if name in ("faces", "identities") else f"configs/studies/{name}.yaml")
    return f"concord study {plan} --out {{run}}/{name} --processes {{processes}}"


RESULTS = tuple(
    Page(
        f"study-{name}",
        "results.md",
        "python results.py {run} --page {docs}/results.md",
        (
            Part(
                f"study-{name}",
                (_study(name),),
                (f"{_study(name, 'digits')} --quick --seeds 2",) if name == "faces" else (),
                minutes,
                (*_packs(name), *(REAL if name.endswith("_networks") else ())),
                outputs=(f"{name}/summary.json",),
            ),
        ),
        section=True,
    )
    for name, minutes in STUDIES.items()
)

LIBMTL = Page(
    "libmtl",
    "libmtl.md",
    "python against_libmtl.py --beside {run}/study --out {run}/libmtl.csv --page {docs}/libmtl.md",
    (
        Part(
            "libmtl",
            (
                "concord study benchmarks/libmtl.yaml --out {run}/study --processes {processes}",
                "python against_libmtl.py --beside {run}/study --out {run}/libmtl.csv",
            ),
            (
                "concord study benchmarks/libmtl.yaml --out {run}/study --processes {processes} --quick --seeds 2",
                "python against_libmtl.py --beside {run}/study --out {run}/libmtl.csv --weightings EW",
            ),
            10,
            ("package:LibMTL",),
            outputs=("study/summary.json", "libmtl.csv"),
        ),
    ),
    "python against_libmtl.py --beside {run}/study --out {run}/libmtl.csv --weightings EW --page {docs}/libmtl.md",
)

TARGETS = ("clinc150", "clothing_fmnist", "goemotions", "grocery81", "mnist10k_shape", "mushroom")
WRITTEN_PACKS = _packs(*TARGETS)
WRITTEN = tuple(
    Page(
        name,
        "howto/written-tables.md",
        "python written_tables.py page --out {run} --page {docs}/howto/written-tables.md",
        (Part(name, (f"python written_tables.py {command}",), (f"python written_tables.py {quick}",), minutes,
              WRITTEN_PACKS, ("pack:mushroom",), tuple(left.format(pack=pack) for pack in TARGETS for left in outputs),
              tuple(f"{folder}/{pack}.{kind}" for pack in TARGETS
                    for folder, kind in (("configs/studies", "yaml"), ("examples/tables", "csv")))),),
        section=True,
    )
    for name, command, quick, minutes, outputs in (
        ("written-tables-check", "check --out {run}", "check --out {run} --packs mushroom --steps 20", 10,
         ("{pack}-check.json",)),
        ("written-tables", "run --out {run}",
         "run --out {run} --packs mushroom --regimes few-class --seeds 900 901 --steps 20", 110,
         ("{pack}-written/summary.json", "{pack}-own/summary.json")),
    )
)  # fmt: skip

# -- measured by one script each -----------------------------------------------------------------------


def _alone(
    name: str,
    file: str,
    script: str,
    settings: str,
    quick: str,
    minutes: float,
    needs: tuple[str, ...] = (),
    less: tuple[str, ...] = origin.LESS,
    more: Sequence[Part] = (),
    written: str = "",
    timed: bool = True,
) -> Page:
    """A page or section that one script measures, keeps in a file, and writes."""
    command = f"python {script} --out {{run}}/{name}.jsonl"
    page = f"--page {{docs}}/{file}"
    outputs = (f"{name}.jsonl",)
    part = Part(
        name,
        (f"{command} {settings}",),
        (f"{command} {quick}",),
        minutes,
        needs,
        outputs=outputs,
        less=less,
        timed=timed,
    )
    return Page(
        name,
        file,
        f"{command} {written or settings} {page}",
        (part, *more),
        f"{command} {quick} {page}",
        file != f"{name}.md",
    )


AUDIT = _alone(
    "audit", "audit.md", "audit.py", "", "--packs synthetic --regimes few-class --seeds 1 --steps 20", 60,
    _packs("mushroom", "mnist10k_shape", "goemotions"), timed=False,
)  # fmt: skip
SAFETY = _alone(
    "safety", "harm.md", "safety.py", "--rows test", "--worlds digits/few-class --seeds 340:341", 20,
    _packs("clothing_to_fmnist", "mnist10k_shape", "goemotions"), timed=False,
)  # fmt: skip
LEVEL = _alone("guard-level", "harm.md", "guard_level.py", "--draws 500", "--draws 2", 10, timed=False)
SCALE = _alone(
    "relation-scale", "relation-scale.md", "relation_scale.py", "", "--quick --only dense", 20,
)  # fmt: skip
GIVEN = "--threads 1 --pairs 16 --loop-pairs 9 --loop-steps 100"
STEP = _alone(
    "step-cost", "benchmarks.md", "step_cost.py", f"{GIVEN} --only default mlp resnet",
    "--threads 1 --pairs 2 --loop-pairs 1 --loop-steps 10 --only default", 30,
    written=f"{GIVEN} --only default mlp resnet resnet50 vit --measured",
    more=(Part("step-cost-gpu", (f"python step_cost.py --out {{run}}/step-cost.jsonl {GIVEN} --only resnet50 vit",), (), 8,
               ("gpu", "package:transformers"), timed=True),),
)  # fmt: skip
ROWS = _alone(
    "many-rows", "benchmarks.md", "many_rows.py", "--rows 500 5000 50000", "--rows 200 400 --forms logistic auto --steps 50", 60,
    written="--rows 500 5000 50000 500000 --measured",
    more=(Part("many-rows-million", ("python many_rows.py --out {run}/many-rows.jsonl --rows 500000 --forms logistic auto",), (), 60,
               timed=True),),
)  # fmt: skip
DATA_PAGE = _alone("data", "benchmarks.md", "data.py", "", "--rows 50000 --images 100 --tiny-files 400", 20)
SIDE = _alone(
    "side-by-side", "benchmarks.md", "side_by_side.py", "--jobs 2 --pairs 3 --rows 600", "--pairs 1 --rows 60", 15,
)  # fmt: skip
SPEED = _alone(
    "libmtl-throughput", "benchmarks.md", "libmtl_throughput.py", "--pairs 9", "--pairs 1 --only default", 5, ("package:LibMTL",),
)  # fmt: skip
START = _alone(
    "start", "benchmarks.md", "performance.py", "--only start", "--only start --repeats 1", 2, less=()
)
IMAGES = _alone(
    "images", "benchmarks.md", "performance.py", "--only images", "--only images --images 128 --steps 4 --repeats 1", 20,
)  # fmt: skip
MEMORY = _alone(
    "streamed-memory", "benchmarks.md", "streamed_memory.py", "", "--images 1000 1200 --steps 2", 10,
)  # fmt: skip

PAGES: tuple[Page, ...] = (
    *METHOD, BOARD, *RESULTS, LIBMTL, AUDIT, SAFETY, LEVEL, *WRITTEN, SCALE, STEP, ROWS, DATA_PAGE, SIDE, SPEED, START, IMAGES, MEMORY,
)  # fmt: skip
"""In the order in which they are run: what decides most comes first."""
