"""safetensors_peer.py read FILE: what Python's safetensors finds in a file, a line for each tensor with name, type, shape and its first values.
safetensors_peer.py write FILE: writes the tensors of a Sample of step 3 (tests/checkpoint/checkpoint_sample.cpp).
safetensors_peer.py hostile FOLDER: writes invalid files, and lines "NAME<tab>error<tab>remedy"; Python's safetensors refuses most, too.
safetensors_peer.py odd FOLDER: writes valid files that are easily refused; Python's safetensors reads all of them.
safetensors_peer.py several FOLDER: writes models in several files, as the hub's cache has them, and invalid ones; lines "INDEX<tab>error".
"""
import json
import os
import struct
import sys

import numpy
import safetensors
import safetensors.numpy

NUMPY = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
SAMPLE = {"model/conv1.weight": ("F32", (8, 3, 5, 5)), "model/conv1.bias": ("F32", (8,)), "model/deep/er/weight": ("F64", (70, 101)),
          "model/half": ("F16", (33,)), "model/bfloat16": ("BF16", (7, 9)), "counts/int64": ("I64", ()), "counts/int32": ("I32", (5,)),
          "counts/int16": ("I16", (2, 2)), "counts/int8": ("I8", (3,)), "rng/state": ("U8", (5056,)), "mask": ("BOOL", (3, 5)),
          "nothing": ("F32", (4, 0, 2)), "model/größer": ("F32", (10,))}
LONG = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16",
        "I8": "int8", "U8": "uint8", "BOOL": "bool"}


def read(path):
    with safetensors.safe_open(path, "numpy") as file:
        print("metadata", json.dumps(file.metadata(), sort_keys=True))
        for name in file.keys():
            if file.get_slice(name).get_dtype() == "F32":
                assert file.get_tensor(name).dtype == numpy.float32
    with open(path, "rb") as file:
        content = file.read()
    assert struct.unpack("<Q", content[:8])[0] % 8 == 0, "the data are not aligned"
    for name, about in safetensors.deserialize(content):
        values = numpy.frombuffer(bytes(about["data"]), NUMPY[about["dtype"]])
        if about["dtype"] == "BF16":
            values = (values.astype("u4") << 16).view("f4")
        assert values.size == numpy.prod(about["shape"], dtype=int)
        print(name, about["dtype"], tuple(about["shape"]), *[f"{value:g}" for value in values[:8].astype("f8")])


def write(path):
    tensors, kept = {}, []
    for name, (dtype, shape) in SAMPLE.items():
        count = int(numpy.prod(shape))
        numbers = (numpy.arange(count) * 7 + 3 * 31) % (2 if dtype == "BOOL" else 101)
        values = numbers.astype("f4").view("u4") >> 16 if dtype == "BF16" else numbers
        kept.append(numpy.ascontiguousarray(values.astype(NUMPY[dtype])))
        tensors[name] = safetensors.TensorSpec(dtype=LONG[dtype], shape=list(shape), data_ptr=kept[-1].ctypes.data, data_len=kept[-1].nbytes)
    safetensors.serialize_file(tensors, path, {"step": "3", "who": "ü"})
    safetensors.numpy.save_file({"a": numpy.arange(6, dtype="f4").reshape(2, 3), "b": numpy.array([True, False])}, path + ".numpy")


def hostile(folder):
    def case(name, content, words, python_refuses=True, remedy="copy or download the file again"):
        path = f"{folder}/{name}.safetensors"
        with open(path, "wb") as file:
            file.write(content)
        try:
            safetensors.safe_open(path, "numpy")
            assert not python_refuses, f"Python reads {name}"
        except safetensors.SafetensorError:
            pass
        print(f"{name}\t{words}\t{remedy}")

    def of(header, data=b"", **more):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", more.get("length", len(text))) + text + data

    def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
        return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}

    four = b"\0" * 4
    case("empty", b"", "has 0 bytes, too few for a safetensors file")
    case("short", b"\0" * 7, "has 7 bytes, too few for a safetensors file")
    case("hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "is an HDF5 file, not a safetensors file", remedy="give the directory of a checkpoint")
    case("huge_header", of(b"{}", length=1 << 63), "is not a safetensors file: its header would have 9223372036854775808 bytes, more than 100000000", remedy="give a safetensors file")
    case("all_of_64_bits", of(b"{}", length=(1 << 64) - 1), "its header would have 18446744073709551615 bytes", remedy="give a safetensors file")
    case("longer_than_the_file", of(b"{}", length=3), "is truncated: it has 10 bytes, its header has 3")
    case("no_header", of(b""), "does not begin with {")
    case("a_list", of(b"[]"), "does not begin with {")
    case("a_space", of(b" {}"), "does not begin with {", python_refuses=False, remedy="save it again")
    case("no_json", of(b"{nothing}"), "has a header that is not JSON")
    case("two_objects", of(b"{}{}"), "has a header that is not JSON")
    case("no_utf8", of(b'{"\xff": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), "has a header that is not JSON")
    case("zero_in_a_name", of({"a\0b": tensor()}, four), 'a tensor named "a?b"; a name is one line of text', python_refuses=False, remedy="rename the tensor")
    case("no_name", of({"": tensor()}, four), 'has a tensor named ""; a name is one line of text', python_refuses=False, remedy="rename the tensor")
    case("deep", of(b'{"a":' + b"[" * 1000000), 'in which "a" is not an object')
    case("deep_shape", of(b'{"a":{"dtype":"F32","shape":' + b"[" * 1000000), 'is nested too deeply in "a"')
    case("deep_object", of({"a": {"dtype": {"b": {}}}}), 'is nested too deeply in "a"')
    case("numbers", of({"a": 1}), 'has a header in which "a" is not an object')
    case("many_numbers", of({"a": tensor(shape=[1] * 1000000)}, four), 'has "a" with more than 32 dimensions', python_refuses=False, remedy="reshape it")
    case("twice", of(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
         'has "a" twice', python_refuses=False, remedy="write each tensor once")
    case("shape_twice", of(b'{"a":{"dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0]}}'), 'has "shape" twice', remedy="write each tensor once")
    case("unknown_member", of({"a": {**tensor(), "b": 1}}, four), 'has an unknown member "b" in "a"', python_refuses=False, remedy="save it again")
    case("no_dtype", of({"a": {"shape": [1], "data_offsets": [0, 4]}}, four), 'has "a" without a dtype')
    case("dtype_of_another_kind", of({"a": tensor(dtype=32)}, four), 'has "a" without a dtype')
    case("unknown_dtype", of({"a": tensor(dtype="F31")}, four), 'has "a" of dtype "F31", which Levin does not know', remedy="convert it to another dtype")
    case("no_shape", of({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, four), 'has "a" without a list "shape"')
    case("no_offsets", of({"a": {"dtype": "F32", "shape": [1]}}, four), 'has "a" without a list "data_offsets"')
    case("one_offset", of({"a": tensor(offsets=[0])}, four), 'has "a" with 1 offsets, not 2')
    case("negative_size", of({"a": tensor(shape=[-1])}, four), "with a size that is not an integer")
    case("fraction", of({"a": tensor(shape=[1.0])}, four), "with a size that is not an integer")
    case("size_of_65_bits", of({"a": tensor(shape=[1 << 64])}, four), "with a size that is not an integer")
    case("more_bytes_than_64_bits", of({"a": tensor(shape=[1 << 62, 4])}, four), "with a size that overflows")
    case("negative_offset", of({"a": tensor(offsets=[-4, 0])}, four), "with an offset that is not an integer")
    case("backwards", of({"a": tensor(offsets=[4, 0])}, four), 'has "a" at bytes [4, 0) of 4 bytes of data')
    case("outside", of({"a": tensor(shape=[2], offsets=[0, 8])}, four), 'has "a" at bytes [0, 8) of 4 bytes of data')
    case("far_outside", of({"a": tensor(offsets=[(1 << 63) - 5, (1 << 63) - 1])}, four), "of 4 bytes of data")
    case("another_size", of({"a": tensor(shape=[2])}, four), 'has "a" in 4 bytes, but its shape and dtype need 8')
    case("overlapping", of({"a": tensor(), "b": tensor(dtype="U8", shape=[2], offsets=[3, 5])}, four + b"\0"),
         'has "b" at byte 3, inside the tensor before it')
    case("the_same_bytes", of({"a": tensor(), "b": tensor()}, four), 'has "b" at byte 0, inside the tensor before it')
    case("a_hole", of({"a": tensor(), "b": tensor(offsets=[8, 12])}, four * 3), 'has 4 bytes before "b" that belong to no tensor')
    case("a_tail", of({"a": tensor()}, four * 2), "has 4 bytes at its end that belong to no tensor")
    case("metadata_of_numbers", of({"__metadata__": {"step": 1}}), 'has metadata in which "step" is not a string', remedy="write metadata as strings")
    case("metadata_no_object", of({"__metadata__": "text"}), 'in which "__metadata__" is not an object')
    case("nul_padding", of(b"{}\0\0"), "has a header with a zero byte at 2", remedy="pad the header with spaces")
    case("zip", b"PK\3\4" + b"\0\0\xff\xff" * 9, "is a zip archive, as torch.save writes, not a safetensors file", remedy="torch.load")
    case("pickle", b"\x80\2}q\0X\1\0" + b"\0" * 9, "is a pickle, as torch.save writes, not", remedy="torch.load")
    case("gguf", b"GGUF\3\0\0\0" + b"\0" * 99, "is a GGUF file, not a safetensors file", remedy="use the weights from which it was converted")
    case("pointer", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer", remedy="git lfs pull")
    case("index", b'{"metadata": {"total_size": 1}, "weight_map": {"w": "model-00001-of-00002.safetensors"}}', "is JSON, not a safetensors file",
         remedy="the index of a model in several files is named model.safetensors.index.json")
    os.symlink("empty.safetensors", f"{folder}/link.safetensors")
    print("link\tis a symbolic link\tname the file that it links to")
    os.mkfifo(f"{folder}/pipe.safetensors")
    print("pipe\tis not a regular file\tuse another checkpoint")


def odd(folder):
    def put(name, header, data):
        text = json.dumps(header).encode()
        with open(f"{folder}/{name}.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + data)
        safetensors.safe_open(f"{folder}/{name}.safetensors", "numpy")

    four, w = b"\0\0\x80\x3f", {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    put("null_metadata", {"__metadata__": None, "w": w}, four)
    put("empty_metadata", {"__metadata__": {}, "w": w}, four)
    put("fp8", {"w": w, "q": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [4, 8]}, "s": {"dtype": "F8_E5M2", "shape": [2], "data_offsets": [8, 10]},
                "e": {"dtype": "F8_E8M0", "shape": [], "data_offsets": [10, 11]}}, four + b"\x38" * 7)
    put("complex", {"c": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}, "w": {**w, "data_offsets": [8, 12]}}, four * 3)


def several(folder):
    """A snapshot is a folder of links to files whose names are hashes."""
    tensors = {name: numpy.arange(first, first + 6, dtype="f4").reshape(2, 3) for name, first in [("a", 0), ("b", 6), ("c", 12)]}
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}
    os.makedirs(f"{folder}/blobs")

    def put(case, error="", files=names, **index):
        os.makedirs(f"{folder}/{case}")
        for number, part in enumerate(sorted(set(files.values()))):
            blob = f"{folder}/blobs/{case}{number}"
            safetensors.numpy.save_file({name: tensors[name] for name in files if files[name] == part}, blob, {"format": "pt", f"part{number}": part})
            os.symlink(f"../blobs/{case}{number}", f"{folder}/{case}/{part}")
        text = index.get("text", json.dumps({"metadata": {"total_size": 72, "more": [[1, {}]]}, "weight_map": index.get("map", names)}))
        with open(f"{folder}/blobs/{case}", "w") as file:
            file.write(text)
        os.symlink(f"../blobs/{case}", f"{folder}/{case}/model.safetensors.index.json")
        if error:
            print(f"{case}\t{error}")

    put("good")
    put("lacks", 'has "c" in "model-00001-of-00002.safetensors", which lacks it', {name: names["a"] for name in "ab"}, map={name: names["a"] for name in "abc"})
    put("unlisted", 'does not have "b" in "model-00001-of-00002.safetensors", but that file has it', map={name: names[name] for name in "ac"})
    put("swapped", 'does not have "b" in "model-00001-of-00002.safetensors"', map={**names, "b": names["c"]})
    put("gone", "model-00003-of-00003.safetensors is missing", map={**names, "d": "model-00003-of-00003.safetensors"})
    put("outside", 'has "a" in "../good/model-00001-of-00002.safetensors", which is not the name of a safetensors file in its folder',
        map={"a": "../good/model-00001-of-00002.safetensors"})
    put("absolute", "which is not the name of a safetensors file", map={"a": f"{folder}/good/model-00001-of-00002.safetensors"})
    put("other", 'has "a" in "model.bin", which is not the name of a safetensors file', map={"a": "model.bin"})
    put("number", 'has no file name for "a"', map={"a": 1})
    put("nested", 'has no file name for "a"', map={"a": {"b": names["a"]}})
    put("twice", 'has "a" twice', text='{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')
    put("two_maps", 'has "weight_map" twice', text='{"weight_map": {"a": "x.safetensors"}, "weight_map": {}}')
    put("list", 'has a "weight_map" that is not an object', text='{"weight_map": ["a"]}')
    put("no_map", 'lists no tensors in "weight_map"', text='{"metadata": {"weight_map": {"a": "x.safetensors"}}}')
    put("no_object", "is not a JSON object", text="[]")
    put("no_json", "is not JSON", text="{nothing}")
    put("deep", "is not JSON", text='{"metadata": ' + "[" * 1000000)
    put("zero", "has a zero byte", text="{}\0")


globals()[sys.argv[1]](sys.argv[2])
