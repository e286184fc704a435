"""Python's side of Levin: levin.export writes a model that Levin trains without Python; levin.load takes the weights back."""
from .errors import ExportError, LoadError
from .exporting import export
from .loading import load

__all__ = ["ExportError", "LoadError", "export", "load"]
