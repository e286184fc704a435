"""hostile_files.py FOLDER: HDF5 files that are no states of checkpoints, each in its own folder, FOLDER/NAME/state.h5.

Writes lines "NAME<tab>what a reader has to say of it". Each could make a reader do harm that looks no further than at names: read other
files, run filters, allocate without limit, never end.
"""
import os
import sys

import h5py
import numpy

folder = sys.argv[1]
data = numpy.arange(100, dtype="float32")


def case(words):
    """Makes the file that the function fills, and says what is wrong with it."""

    def make(fill):
        name = fill.__name__
        os.makedirs(f"{folder}/{name}")
        with h5py.File(f"{folder}/{name}/state.h5", "w", libver=("v110", "v110")) as file:
            fill(file)
        print(f"{name}\t{words}")

    return make


def early(file, name, kind, shape):
    """A data set whose place is given at once, and whose data are not written."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    h5py.h5d.create(file.id, name, kind, h5py.h5s.create_simple(shape), create)


@case('"model/w" has external storage')
def external_storage(file):
    file.create_dataset("model/w", (1000,), "uint8", external=[("/etc/passwd", 0, 1000)])


@case('"model/w" is a link to another file')
def external_link(file):
    file["model/w"] = h5py.ExternalLink("/etc/passwd", "/w")


@case('"model/w" is a soft link')
def soft_link(file):
    file["model/v"] = data
    file["model/w"] = h5py.SoftLink("/model/v")


@case('"model/w" is a soft link')
def soft_link_to_nothing(file):
    file["model/w"] = h5py.SoftLink("/nothing")


@case('"w" is a virtual data set')
def virtual_dataset(file):
    layout = h5py.VirtualLayout((100,), "float32")
    layout[:] = h5py.VirtualSource("/etc/passwd", "w", (100,))
    file.create_virtual_dataset("w", layout)


@case('"w" has filters (gzip)')
def compressed(file):
    file.create_dataset("w", data=data, compression="gzip")


@case('"w" has filters (fletcher32)')
def checked_by_a_filter(file):
    file.create_dataset("w", data=data, fletcher32=True)


@case('"w" is chunked, not contiguous')
def chunked(file):
    file.create_dataset("w", data=data, chunks=(10,))


@case('"w" is compact, not contiguous')
def compact(file):
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), create)


@case('"w" holds references to objects')
def references(file):
    file["v"] = data
    file.create_dataset("w", data=[file["v"].ref], dtype=h5py.ref_dtype)


@case('"w" holds strings, which')
def texts_of_any_length(file):
    file.create_dataset("w", data="text", dtype=h5py.string_dtype())


@case('"w" holds big-endian float32, which')
def big_endian(file):
    file["w"] = data.astype(">f4")


@case('"w" holds compound values (a, b), which')
def compound(file):
    file["w"] = numpy.zeros(3, [("a", "f4"), ("b", "i8")])


@case('"w" holds an enumeration (FALSE, ')
def another_enumeration(file):
    file.create_dataset("w", (3,), h5py.enum_dtype({"FALSE": 0, "TRUE": 1, "MAYBE": 2}, "i1"))


@case('"w" holds strings, which')
def many_texts(file):
    file["w"] = numpy.array([b"ab", b"cd"])


@case('"w" has a null dataspace')
def nothing(file):
    file["w"] = h5py.Empty("float32")


@case('"w" was created and never written: the file has no storage for its 1048576 bytes')
def without_a_place(file):
    file.create_dataset("w", (1 << 18,), "float32")


@case('"w" has more elements than 64 bits count')
def huge(file):
    space = h5py.h5s.create_simple((1 << 40, 1 << 40))
    h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, h5py.h5p.create(h5py.h5p.DATASET_CREATE))


@case('is hard-linked under a second name')
def two_names(file):
    file["v"] = data
    file["w"] = file["v"]


@case('"model/loop" is hard-linked under a second name')
def groups_in_a_circle(file):
    file.create_group("model")
    file["model/loop"] = file["model"]


@case("is nested deeper than 64 groups")
def deep(file):
    file["/".join("abcdefghij" * 10) + "/w"] = data


@case('"w" is neither a group nor a data set')
def a_named_type(file):
    file["w"] = numpy.dtype("float32")


@case('"w" is in the file but not in the manifest')
def more_than_the_manifest(file):
    early(file, b"w", h5py.h5t.IEEE_F32LE, (100,))


# Not HDF5 at all, and an HDF5 file that is cut where its checksum does not help.
for name, content in {"text": b"no HDF5", "empty": b"", "only_the_first_bytes": b"\x89HDF\r\n\x1a\n"}.items():
    os.makedirs(f"{folder}/{name}")
    with open(f"{folder}/{name}/state.h5", "wb") as file:
        file.write(content)
    print(f"{name}\tis not an HDF5 file, or is corrupt")
