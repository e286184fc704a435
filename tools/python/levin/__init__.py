"""Python's side of Levin: levin.export writes a model that Levin trains without Python."""
from .errors import ExportError
from .exporting import export

__all__ = ["ExportError", "export"]
