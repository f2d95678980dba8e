"""What can go wrong, by name.

Every error of the package is a `ConcordError` and also the builtin that a user would catch
without knowing the package (`ValueError`, `LookupError`, `FileNotFoundError`, ...). A message says in
one line what was expected, what was found, and how to mend it. What one line cannot say stands on a page
of the documentation, which every class names as its `page`; the command line prints it below the message.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from concord.names import spelling


class ConcordError(Exception):
    """Base of all errors raised on purpose.

    `page` is where the documentation explains the mistake: a page, and where the page is long a heading of it
    behind `#`. `concord explain PAGE` shows it.
    """

    page: str = "howto/refused"

    def __str__(self) -> str:
        # KeyError and OSError format themselves differently: a message is shown as it was written.
        return " ".join(str(argument) for argument in self.args)


class DuplicateNameError(ConcordError, ValueError):
    """A task, class, label or column name occurs twice."""

    page = "howto/refused#a-name-that-occurs-twice"


class UnknownNameError(ConcordError, LookupError):
    """An unknown name; the message offers the nearest known one."""

    page = "howto/refused#an-unknown-name"

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[object]) -> UnknownNameError:
        """Build the error for an unknown `name` of a `kind`, with the nearest of the `known` names."""
        return cls(f"unknown {kind} {str(name)!r}; {cls.hint(name, known)}")

    @staticmethod
    def hint(name: object, known: Iterable[object]) -> str:
        """The nearest of the `known` names to an unknown `name`, or the first few of them."""
        names = [str(k) for k in known]
        first = f"known: {', '.join(names[:12])}" + (", ..." if len(names) > 12 else "")
        return UnknownNameError.near(name, names) or first

    @staticmethod
    def near(name: object, known: Iterable[object]) -> str:
        """The question whether `name` meant the nearest of the `known` names; empty where none is near."""
        names = [str(k) for k in known]
        alike = [known for known in names if spelling(known) == spelling(str(name))]
        near = alike or get_close_matches(str(name), names, n=1)
        same = " It is the same name in another spelling." if alike else ""
        return f"did you mean {near[0]!r}?{same}" if near else ""


class ShapeError(ConcordError, ValueError):
    """An array or tensor of another shape than its task or relation has."""

    page = "howto/refused#another-shape-than-expected"


class DenseOnlyError(ConcordError, TypeError):
    """A sparse relation where every cell is needed; nothing is made dense in silence."""

    page = "howto/refused#a-sparse-table-where-all-cells-are-needed"


class RangeError(ConcordError, ValueError):
    """A number outside the range that its meaning allows."""

    page = "howto/refused#a-number-out-of-range"


class AnnotationError(ConcordError, ValueError):
    """A target that is neither an annotation of its task nor a gap."""

    page = "howto/refused#a-target-that-is-no-annotation"


class NoAnnotationError(ConcordError, ValueError):
    """A task without a single annotation where at least one is needed."""

    page = "howto/refused#no-annotation-no-rows"


class EmptyDataError(ConcordError, ValueError):
    """No rows at all."""

    page = "howto/refused#no-annotation-no-rows"


class EstimatorError(ConcordError, ValueError):
    """An estimator of scikit-learn that refuses what it is given; the message says whose rows, and why."""

    page = "howto/refused#an-estimator-that-refuses-its-rows"


class NotFittedError(ConcordError, ValueError):
    """Something is asked for that needs a fit first."""

    page = "howto/refused#not-fitted"


class NotFiniteError(ConcordError, FloatingPointError, ValueError):
    """NaN or infinity where a finite number is needed."""

    page = "howto/refused#nan-or-infinity"


class DataFormatError(ConcordError, ValueError):
    """A file that is not in the format of its data set; the message names file and line."""

    page = "howto/data-sets#a-file-that-is-refused"


class TableFormatError(DataFormatError):
    """A table of a relation that cannot be read; the message names file, line and column."""

    page = "howto/my-table#a-table-that-cannot-be-read"


class MissingDataError(ConcordError, FileNotFoundError):
    """A file or folder of a data set that is not where it should be."""

    page = "howto/data-sets#a-file-that-is-not-found"


class UnsafePathError(ConcordError, PermissionError):
    """A path that leaves the data root."""

    page = "howto/data-sets#a-path-that-is-refused"


class MissingExtraError(ConcordError, ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""

    page = "faq#what-is-installed-here-and-what-is-missing"


class ConfigError(ConcordError, ValueError):
    """A configuration, or the options of a command, that cannot be run as written."""

    page = "howto/config"


class OutputError(ConcordError, OSError):
    """A file that cannot be written; an older one of its name is as it was."""

    page = "howto/refused#a-file-that-cannot-be-written"

    @classmethod
    def of(cls, path: object, error: BaseException) -> OutputError:
        """Build the error for a `path` that an `error` of the system kept from being written."""
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return cls(f"cannot write {path}: {reason}")


class CheckpointError(ConcordError, OSError):
    """A checkpoint that is missing, incomplete, tampered with or of another model."""

    page = "howto/refused#a-folder-that-cannot-be-resumed"


class HubError(ConcordError, OSError):
    """A push that the Hugging Face hub did not take; the model is whole where it was saved."""

    page = "howto/deploy#a-push-that-is-refused"


class ExportError(ConcordError, RuntimeError):
    """A network that cannot be exported, or whose export computes something else."""

    page = "howto/deploy#an-export-that-is-refused"


class ProcessError(ConcordError, RuntimeError):
    """Work that cannot be handed to another process, or whose process was ended."""

    page = "howto/refused#a-process-that-was-ended"


class StudyError(ConcordError, ValueError):
    """A study plan that cannot be run as written."""

    page = "howto/study"


class ConcordWarning(UserWarning):
    """Something that a user should know and that stops nothing."""


class SourceShiftWarning(ConcordWarning):
    """The rows of two sources differ in their inputs or classes; the message says by how much."""
