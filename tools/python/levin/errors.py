"""Errors of this package."""


class ExportError(ValueError):
    """The model cannot be exported for training without changing what it computes. The message says what to write instead."""


class LoadError(ValueError):
    """The weights do not fit the model, or the checkpoint cannot be read."""


def listed(names, limit=5):
    """The first names of a list, and how many more there are."""
    names = list(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
