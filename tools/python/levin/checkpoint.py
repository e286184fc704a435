"""Reads the weights of Levin's checkpoints (HDF5 and a manifest) and of safetensors files."""
import json
import math
import os
from pathlib import Path

import torch

from .errors import LoadError, listed

_MANIFEST = "manifest.json"


def found_checkpoint(path, which):
    """The checkpoint, or the safetensors file, that a path stands for."""
    path = Path(path)
    if not path.exists():
        raise LoadError(f"[levin.load] {path} does not exist; give a run's directory, a checkpoint or a safetensors file")
    if path.is_file():
        if path.name == "last":
            return _named_by(path)
        return path
    if (path / _MANIFEST).is_file():
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    found = [(entry, _manifest(entry)) for entry in sorted(folder.iterdir())
             if not entry.name.startswith((".", "abandoned-")) and (entry / _MANIFEST).is_file()]
    if not found:
        raise LoadError(f"[levin.load] {folder} contains no checkpoint; give a run's directory, a checkpoint or a safetensors file")
    if which not in ("auto", "best", "last"):
        names = {entry.name: entry for entry, _ in found}
        if which not in names:
            raise LoadError(f"[levin.load] which is {which}; choose auto, best, last or one of {listed(names, 20)}")
        return names[which]
    if which != "last" and (best := _best(found)):
        return best
    if which == "best":
        raise LoadError(f"[levin.load] no checkpoint in {folder} has a score; use which=\"last\", or a model_checkpoint with a monitor")
    return max(found, key=lambda item: (item[1]["step"], item[1].get("saved_at", 0)))[0]


def _named_by(last):
    name = last.read_text().strip()
    checkpoint = last.parent / name
    if not name or os.sep in name or not (checkpoint / _MANIFEST).is_file():
        raise LoadError(f"[levin.load] {last} names no checkpoint of its directory; give the checkpoint's directory")
    return checkpoint


def _best(found):
    """By score; the manifest says whether lower or higher is better. The earlier one of equal scores."""
    best, best_score = None, 0.0
    for checkpoint, manifest in sorted(found, key=lambda item: item[1]["step"]):
        fields = manifest.get("fields", {})
        try:
            score, mode = float(fields["score"]), fields["mode"]
        except (KeyError, ValueError):
            continue
        if not math.isnan(score) and (best is None or (score < best_score if mode == "min" else score > best_score)):
            best, best_score = checkpoint, score
    return best


def read_weights(path):
    """{name: tensor} of a checkpoint's directory or a safetensors file."""
    if path.is_dir():
        return _read_checkpoint(path)
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise LoadError("[levin.load] the Python package safetensors is missing; install it, or load the checkpoint's directory") from error
    try:
        return load_file(path)
    except Exception as error:
        raise LoadError(f"[levin.load] {path} is not a safetensors file: {error}; give a run's directory, a checkpoint or a safetensors file") from error


def _manifest(checkpoint):
    path = checkpoint / _MANIFEST
    try:
        manifest = json.loads(path.read_text())
        known = manifest["format"] == "levin-checkpoint" and manifest["version"] in (1, 2, 3)
        step = manifest["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadError(f"[levin.load] {path} cannot be read: {error!r}; check it with levin-ckpt verify") from error
    if not known or not isinstance(step, int):
        raise LoadError(f"[levin.load] {path} is not the manifest of a checkpoint, or has a version that this package does not know (1 to 3); update the package")
    return manifest


def _files(checkpoint, manifest):
    if "files" in manifest:
        files = manifest["files"]
    else:  # versions with one file
        files = [{**manifest["file"], "name": "state.h5"}] if isinstance(manifest.get("file"), dict) else []
    paths = []
    for file in files:
        path = checkpoint / file.get("name", "state.h5")
        if path.parent != checkpoint:
            raise LoadError(f"[levin.load] {checkpoint / _MANIFEST} names {file['name']}, outside of the checkpoint")
        size = path.stat().st_size if path.is_file() else None
        if size != file["bytes"]:
            raise LoadError(f"[levin.load] {path} has {size if size is not None else 'no'} bytes, the manifest says {file['bytes']}; the checkpoint is damaged")
        paths.append(path)
    return paths


def _read_checkpoint(checkpoint):
    try:
        import h5py
    except ImportError as error:
        raise LoadError("[levin.load] the Python package h5py is missing; install it, or make a safetensors file with levin-ckpt export") from error
    manifest = _manifest(checkpoint)
    found, filled = {}, {}
    try:
        paths = _files(checkpoint, manifest)
        handles = [h5py.File(path, "r") for path in paths]
        try:
            for data in manifest["datasets"]:
                if data["name"].startswith("model/"):
                    _read_part(handles[data.get("file", 0)], data, found, filled)
        finally:
            for handle in handles:
                handle.close()
    except LoadError:
        raise
    except (OSError, KeyError, TypeError, IndexError, ValueError) as error:
        raise LoadError(f"[levin.load] {checkpoint} cannot be read: {error!r}; check it with levin-ckpt verify") from error
    for name, count in filled.items():
        if count != found[name].numel():
            raise LoadError(f"[levin.load] {checkpoint} has {count} of the {found[name].numel()} elements of {name}; check it with levin-ckpt verify")
    return found


def _read_part(file, data, found, filled):
    """A whole tensor, or elements or a box of it."""
    name = data["name"].removeprefix("model/")
    if "shape" not in data:
        found[name] = torch.as_tensor(file[data["name"]][()])
        return
    shape = data["shape"]
    if "box" in data:
        offset, extent = data["box"]["offset"], data["box"]["extent"]
    else:
        begin, end = data["elements"]
        offset, extent = [begin], [end - begin]
    label = ",".join(f"{o}-{o + e}" for o, e in zip(offset, extent))
    item = file[data["name"]]
    values = torch.as_tensor((item if hasattr(item, "shape") else item[label])[()])
    whole = found.setdefault(name, torch.empty(shape, dtype=values.dtype))
    target = whole.reshape(-1) if "elements" in data else whole
    target[tuple(slice(o, o + e) for o, e in zip(offset, extent))] = values.reshape(extent)
    filled[name] = filled.get(name, 0) + values.numel()
