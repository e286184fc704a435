"""read_h5py.py FILE: what h5py finds in an HDF5 file: a line for each data set, with name, type, shape and its first values, or its text."""
import sys

import h5py


def show(name, item):
    if not isinstance(item, h5py.Dataset):
        return
    if item.dtype.kind == "S":
        print(name, "text", item[()].decode())
    else:
        print(name, item[()].dtype, item.shape, *item[()].flatten()[:8].tolist() if item.dtype.kind == "b" else [f"{value:g}" for value in item[()].flatten()[:8]])


with h5py.File(sys.argv[1], "r") as file:
    file.visititems(show)
