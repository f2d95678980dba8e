"""What a terminal is shown: any text, in any encoding, and no control character from anybody's file."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

# Control characters but tab and line feed; marks that turn the direction of text; line ends of other kinds;
# halves of surrogate pairs.
_RAW = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""The text with control characters as a Python literal has them, such as `\x1b`; line feeds stay."""
    return _RAW.sub(lambda found: ascii(found[0])[1:-1], text)


def plain(text: object) -> Text:
    """Text for a rich table or console, in which nothing is markup and nothing is a control character."""
    from rich.text import Text

    return Text(printable(str(text)))


def columns_of(text: object) -> int:
    """How many columns of a terminal the widest line of a text takes: two for each character of Chinese."""
    from rich.cells import cell_len

    return max(map(cell_len, printable(str(text)).split("\n")))


def whole_table(title: object = None, *, framed: bool = False) -> Table:
    """A rich table that cuts nothing: where the terminal is narrow, names are folded and numbers are whole.

    Columns that are justified to the right hold the numbers; they break between words alone. Only where the
    terminal has no room for the numbers themselves are they folded, too.

    Args:
        title: Above the table; None for none.
        framed: Whether lines are drawn around all columns.
    """
    from rich import box
    from rich.measure import Measurement
    from rich.table import Table

    class Whole(Table):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            measured = [
                [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
                for column in self.columns
            ]
            most = [max(cell.maximum for cell in cells) for cells in measured]
            # The head of a column of numbers is a name, and may be folded as one.
            least = [
                max((cell.minimum for cell in cells[1:]), default=1) if column.justify == "right" else 1
                for column, cells in zip(self.columns, measured, strict=True)
            ]
            # Less the lines at both ends and between columns, and the blanks beside them.
            room = options.max_width - (3 * len(most) + 1 if framed else 2 * len(most))
            widths = None if sum(most) <= room else _shared(room, least, most)
            for k, column in enumerate(self.columns):
                column.width, column.overflow = None if widths is None else widths[k], "fold"
            yield from super().__rich_console__(console, options)

    table = Whole(title=None if title is None else plain(title), title_justify="left")
    if not framed:
        table.box, table.padding, table.pad_edge = box.SIMPLE_HEAD, (0, 1, 0, 0), False
    return table


def _shared(room: int, least: Sequence[int], most: Sequence[int]) -> list[int]:
    """Widths of columns in a room that is too narrow for them: the narrowest is widened first."""
    widths = list(least) if sum(least) <= room else [1] * len(least)
    for _ in range(room - sum(widths)):
        narrow = [k for k, width in enumerate(widths) if width < most[k]]
        widths[min(narrow, key=widths.__getitem__)] += 1
    return widths


_called: dict[str, str] = {}
_diverted = False
_unwritten: OSError | None = None


def divert() -> None:
    """Have all that is said go to standard error: standard output is data from here on."""
    global _diverted  # noqa: PLW0603 -- as there is one standard output
    _diverted = True


def undivert() -> None:
    """What is said goes to standard output again, and places are called as they are."""
    global _diverted, _unwritten
    _diverted, _unwritten = False, None
    _called.clear()


def call(place: str, name: str) -> None:
    """Have what is said call a place by a name that its reader knows."""
    _called[place] = name


def say(text: str, error: bool = False) -> None:
    """Print a line on standard output, or on standard error."""
    for place, name in _called.items():
        text = text.replace(place, name)
    stream = sys.stderr if error or _diverted else sys.stdout
    if stream is not None:  # closed before the start; print would take standard output, which may be data
        print(printable(text), file=stream)


def console(stderr: bool = False) -> Console:
    """A rich console to which text is text: no markup, no names of emoji, no control characters."""
    from rich.console import Console
    from rich.segment import Segment

    class Shown(Console):
        def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    error = stderr or _diverted
    stream = sys.stderr if error else sys.stdout  # None where it was closed before the start
    # Jupyter sets FORCE_COLOR, by which rich would redraw bars and spinners into pipes and files.
    terminal = None if stream is not None and stream.isatty() else False
    return Shown(stderr=error, markup=False, emoji=False, force_terminal=terminal)


class Stream(io.TextIOWrapper):
    """A standard stream that replaces what its encoding lacks, and outlives whoever reads it.

    Attributes:
        failed: What kept the last text from being written, where that was not the reader's choice.
    """

    failed: OSError | None = None

    def write(self, text: str) -> int:
        """Write text; nothing is raised."""
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush; nothing is raised."""
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def put(self, content: bytes) -> None:
        """Write bytes as they are; nothing is raised."""
        self.flush()
        try:
            self.buffer.write(content)
            self.buffer.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.failed = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def put(content: bytes) -> None:
    """Write bytes on standard output as they are; what fails is what `lost_output` tells."""
    global _unwritten  # noqa: PLW0603 -- as there is one standard output
    if sys.stdout is None:
        _unwritten = OSError(errno.EBADF, "it is closed")
    elif isinstance(sys.stdout, Stream):
        sys.stdout.put(content)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)


def open_streams() -> None:
    """Make standard output and standard error take any text, for as long as this process lives."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            lines, through, encoding = stream.line_buffering, stream.write_through, stream.encoding
            made = Stream(
                stream.detach(),
                encoding=encoding,
                errors="replace",
                line_buffering=lines,
                write_through=through,  # standard error in the log of a job is read while the job runs
            )
            setattr(sys, name, made)
            setattr(sys, f"__{name}__", made)


def lost_output() -> OSError | None:
    """What kept standard output from being written, after it was flushed; None where nothing did."""
    if sys.stdout is not None:
        sys.stdout.flush()
    return _unwritten or getattr(sys.stdout, "failed", None)
