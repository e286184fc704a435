"""levin_test RUN_RANKS LEVIN FIXTURES GROUP: the program levin, with an exported model and with its C++ models, on files of each format."""
import csv
import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy
from safetensors.numpy import save_file

run_ranks, program, fixtures, group = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), Path(sys.argv[3]).resolve(), sys.argv[4]
failures = []
LIMIT = "60"  # seconds for one run, on a busy machine


def check(what, good, found=""):
    if not good:
        failures.append(what)
        print(f"{what}: {found}", flush=True)


def levin(ranks, *words, status=0, said=(), environment=None):
    process = subprocess.run([run_ranks, str(ranks), LIMIT, program, *map(str, words)], capture_output=True, text=True, errors="replace",
                             env={**os.environ, **(environment or {})})
    name = f"on {ranks}: {' '.join(map(str, words))[-200:]}"
    check(f"status {process.returncode}, not {status}, {name}", process.returncode == status, process.stdout[-1500:] + process.stderr[-2500:])
    text = process.stdout + process.stderr
    for part in said:
        check(f"not said: {part!r}, {name}", part in text, text[-2500:])
    if status in (65, 78):
        messages = re.findall(r"^(?:rank \d+ on \S+: )?\[[a-z]+\] (?!warning|uses ).*$", process.stderr, re.M)
        check(f"{len(messages)} messages, {name}", len(messages) == 1, process.stderr[-2500:])
    return process


def values(folder, name):
    with open(Path(folder) / "metrics.csv", newline="") as lines:
        return [float(row["value"]) for row in csv.DictReader(lines) if row["name"] == name]


def predictions(folder, place="predict"):
    """`place`: of the file in the run directory; "" where that has no training."""
    with h5py.File(Path(folder) / place / "predictions.h5") as file:
        return file["index"][()], file["prediction"][()]


def samples(count, seed):
    """What the fixture mlp.pt2 takes: x [n, 6] and label [n], 0 to 3."""
    x = numpy.random.default_rng(seed).normal(size=(count, 6))
    return x, x[:, :4].argmax(1)


def idx(name, array, zipped=False):
    code = {"uint8": 8, "int32": 12, "float32": 13, "float64": 14}[str(array.dtype)]
    data = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()
    Path(name).write_bytes(gzip.compress(data) if zipped else data)


def write_samples():
    for part, count, seed in [("train", 60, 1), ("val", 21, 2), ("test", 23, 3)]:
        x, label = samples(count, seed)
        numpy.save(f"{part}_x.npy", x)
        numpy.save(f"{part}_label.npy", label)
        save_file({"x": x, "label": label}, f"{part}.safetensors")
        with h5py.File(f"{part}.h5", "w") as file:
            file["inputs/x"], file["label"] = x, label.astype("uint8")
        idx(f"{part}_x.idx", x)
        idx(f"{part}_label.idx.gz", label.astype("uint8"), zipped=True)
        rows = [",".join(map(repr, map(float, row))) + f",{number},text" for row, number in zip(x, label)]
        Path(f"{part}.csv").write_text("\n".join(["a,b,c,d,e,f,class,note", *rows]) + "\n")


FORMATS = {
    "npy": "train: {x: train_x.npy, label: train_label.npy}\n  val: {x: val_x.npy, label: val_label.npy}\n  test: {x: test_x.npy, label: test_label.npy}",
    "safetensors": "train: train.safetensors\n  val: val.safetensors\n  test: test.safetensors\n  batch: {x: x, label: label}",
    "hdf5": "train: train.h5\n  val: val.h5\n  test: test.h5\n  batch: {x: inputs/x, label: label}",
    "idx": "train: {x: train_x.idx, label: train_label.idx.gz}\n  val: {x: val_x.idx, label: val_label.idx.gz}\n"
           "  test: {x: test_x.idx, label: test_label.idx.gz}\n  dtype: {label: int64}",
    "csv": "train: train.csv\n  val: val.csv\n  test: test.csv\n  batch: {x: [a, b, c, d, e, f], label: [class]}\n  dtype: {x: float64, label: int64}",
}


def config(format_, model, more=""):
    text = f"""trainer: {{max_epochs: 4, precision: 64-true, log_every_n_steps: 1}}
model: {{{model}}}
data:
  name: {format_}
  {FORMATS[format_]}
  global_batch_size: 8
optimizer: {{name: adamw, lr: 0.02}}
{more}"""
    Path(f"{format_}.yaml").write_text(text)
    return f"{format_}.yaml"


EXPORTED = f"name: exported, file: {fixtures}/mlp.pt2, loss: loss, metrics: {{acc: 'accuracy(logits, label)'}}, predict: softmax(logits)"
MLP = "name: mlp, inputs: 6, outputs: 4, hidden: [16], loss: 'cross_entropy(output, label)', metrics: {acc: 'accuracy(output, label)'}"


def close(a, b):
    return len(a) == len(b) > 0 and all(abs(x - y) < 1e-9 for x, y in zip(a, b))


def trains():
    write_samples()
    # A model from Python, on one and two ranks: it learns, and predicts every sample once, in the file's order.
    for ranks in (1, 2):
        folder = f"exported{ranks}"
        file = config("npy", EXPORTED, "lr_scheduler: {name: cosine}\n")
        levin(ranks, "fit", "--config", file, "--run_dir", folder, said=["val_acc"])
        train_losses = values(folder, "train_loss")
        val_losses = values(folder, "val_loss")
        check("it does not learn", len(train_losses) == 4 * 8 and sum(train_losses[-8:]) < 0.85 * sum(train_losses[:8]) and val_losses[-1] < val_losses[0],
              (train_losses, val_losses))
        levin(ranks, "test", "--config", file, "--run_dir", folder, "--ckpt_path", "last", said=["test_acc", "test_loss"])
        levin(ranks, "predict", "--config", file, "--run_dir", folder, "--ckpt_path", "last")
        index, rows = predictions(folder)
        check("not every sample once, in order", list(index) == list(range(23)) and rows.shape == (23, 4), (index, rows.shape))
        check("no probabilities", numpy.allclose(rows.sum(1), 1))
        right = (rows.argmax(1) == numpy.load("test_label.npy")).mean()
        check("predictions are not those of the test's accuracy", abs(right - values(f"{folder}/test", "test_acc")[-1]) < 1e-12, right)
    # Its weights have Python's names.
    with h5py.File(Path("exported1/checkpoints", Path("exported1/checkpoints/last").read_text().strip(), "state.h5")) as file:
        names = set(file["model"])
        check("not Python's names", {"input.weight", "norm.running_mean", "output.bias"} <= names, names)
    # A model in C++, without BatchNorm: two ranks as one; stopped and resumed as unbroken.
    file = config("npy", MLP)
    for ranks in (1, 2):
        levin(ranks, "fit", "--config", file, "--run_dir", f"mlp{ranks}")
    check("two ranks learn otherwise", close(values("mlp1", "train_loss"), values("mlp2", "train_loss")), values("mlp1", "train_loss"))
    levin(2, "fit", "--config", file, "--run_dir", "resumed", "--trainer.max_epochs", 2)
    levin(2, "fit", "--config", file, "--run_dir", "resumed", "--trainer.max_epochs", 4, said=["resumes from"])
    check("not as unbroken", values("resumed", "train_loss") == values("mlp2", "train_loss"))
    # The same samples from a file of each format.
    for format_ in FORMATS:
        levin(1, "fit", "--config", config(format_, MLP), "--run_dir", f"in_{format_}", "--trainer.max_epochs", 1)
        check(f"other samples from {format_}", close(values(f"in_{format_}", "train_loss"), values("mlp1", "train_loss")[:8]),
              (values(f"in_{format_}", "train_loss"), values("mlp1", "train_loss")[:8]))
    # And from tables with tabs: by the name of the file, or by an option.
    for part in ("train", "val", "test"):
        tabs = Path(f"{part}.csv").read_text().replace(",", "\t")
        Path(f"{part}.tsv").write_text(tabs)
        Path(f"{part}.tsv.gz").write_bytes(gzip.compress(tabs.encode()))
        Path(f"{part}.txt").write_text(tabs)
    file = config("csv", MLP)
    Path("tabs.yaml").write_text(Path(file).read_text().replace("name: csv", 'name: csv\n  separator: "\\t"'))
    for end, config_ in ((".tsv", file), (".tsv.gz", file), (".txt", "tabs.yaml")):
        files = [word for part in ("train", "val", "test") for word in (f"--data.{part}", part + end)]
        levin(1, "fit", "--config", config_, *files, "--run_dir", f"in{end}", "--trainer.max_epochs", 1)
        check(f"other samples from {end}", losses(f"in{end}") == losses("in_csv"), losses(f"in{end}"))
    levin(1, "fit", "--config", file, "--data.train", "train.txt", "--run_dir", "commas", status=65, said=["train.txt:1: the column", "is missing"])


def losses(folder):
    return values(folder, "train_loss"), values(folder, "val_loss")


def hdf5():
    """Layouts, several files and texts: what a plain file of the same numbers gives, bit for bit."""
    write_samples()
    plain = config("hdf5", MLP)
    short = ["--trainer.max_epochs", 2]
    levin(1, "fit", "--config", plain, "--run_dir", "plain", *short)
    x, label = samples(60, 1)
    words = numpy.array(["ant", "bee", "cat", "dog"])
    with h5py.File("first.h5", "w") as file:
        file.create_dataset("x", data=x[:37], chunks=(7, 4), compression="gzip", shuffle=True, maxshape=(None, 6))
        file.create_dataset("label", data=label[:37].astype("uint8"), chunks=(5,), compression="gzip", fletcher32=True)
        file.create_dataset("word", data=words[label[:37]].astype(object), dtype=h5py.string_dtype(), chunks=(6,), compression="gzip")
    with h5py.File("second.h5", "w") as file:
        file["x"], file["label"], file["word"] = x[37:].astype(">f8"), label[37:].astype("uint8"), words[label[37:]].astype("S8")
    options = {"train": "[first.h5, second.h5]", "batch": "{x: x, label: label}", "val": "val_of.h5", "test": "[val_of.h5]"}

    def data(**changed):
        return [word for name, value in {**options, **changed}.items() for word in (f"--data.{name}", value)]

    files = data()
    val_x, val_label = samples(21, 2)
    with h5py.File("val_of.h5", "w") as file:
        file.create_dataset("x", data=val_x.astype(">f8"), chunks=(21, 1))
        file.create_dataset("label", data=val_label.astype("uint8"), maxshape=(None,))
    for more in ([], ["--data.num_workers", 2, "--data.chunk_cache", 100]):
        levin(1, "fit", "--config", plain, *files, *short, *more, "--run_dir", f"layouts{len(more)}")
        check("another trajectory from other layouts", losses(f"layouts{len(more)}") == losses("plain") and len(losses("plain")[0]) == 16,
              losses(f"layouts{len(more)}"))
    levin(2, "fit", "--config", plain, *short, "--run_dir", "plain2")
    levin(2, "fit", "--config", plain, *files, *short, "--run_dir", "layouts_of_2")
    check("another trajectory on two ranks", losses("layouts_of_2") == losses("plain2"), losses("layouts_of_2"))
    # The validation data have two of the four classes: they are numbered as in the training.
    some = numpy.flatnonzero(val_label % 2)
    with h5py.File("some.h5", "w") as file:
        file["x"], file["label"], file["word"] = val_x[some], val_label[some].astype("uint8"), words[val_label[some]].astype("S3")
    levin(1, "fit", "--config", plain, *data(val="some.h5"), *short, "--run_dir", "numbers")
    texts = {"batch": "{x: x, label: word}", "val": "some.h5"}
    levin(1, "fit", "--config", plain, *data(**texts), *short, "--run_dir", "texts")
    check("texts are numbered otherwise", losses("texts") == losses("numbers") and len(losses("texts")[1]) == 2, losses("texts"))
    texts["test"] = "some.h5"
    levin(1, "test", "--config", plain, *data(**texts), "--run_dir", "texts", "--ckpt_path", "last")
    levin(1, "test", "--config", plain, *data(**texts, train="", classes="{label: [ant, bee, cat, dog]}"), "--run_dir", "texts", "--ckpt_path", "last")
    of_test = values("texts/test", "test_loss")
    check("given classes are numbered otherwise", of_test[0] == of_test[-1] == losses("texts")[1][-1], of_test)
    levin(1, "predict", "--config", plain, *files, "--data.predict", "[first.h5, second.h5]", "--run_dir", "texts", "--ckpt_path", "last")
    index, rows = predictions("texts")
    levin(1, "predict", "--config", plain, "--data.predict", "train.h5", "--run_dir", "texts", "--ckpt_path", "last")
    check("predictions in another order", list(index) == list(range(60)) and (rows == predictions("texts")[1]).all())
    # The data to predict have the texts, here the model's input, in another data set: they are numbered as in the training.
    with h5py.File("asked.h5", "w") as file:
        file["asked"] = words[val_label[some]].astype("S3")
    by_text = [*data(batch="{x: word, label: label}", dtype="{x: float64}", shape="{x: [1]}"), "--model.inputs", 1, "--ckpt_path", "none"]
    levin(1, "predict", "--config", plain, *by_text, "--data.predict", "some.h5", "--run_dir", "words")
    rows = predictions("words", place="")[1]
    levin(1, "predict", "--config", plain, *by_text, "--data.predict", "asked.h5", "--data.predict_batch", "{x: asked}", "--run_dir", "asked")
    asked = predictions("asked", place="")[1]
    check("texts to predict are numbered otherwise", len(set(rows[:, 0])) == 2 and numpy.array_equal(rows, asked), (rows, asked))
    levin(1, "predict", "--config", plain, *by_text, "--data.predict", "asked.h5", "--data.predict_batch", "{x: asked, other: asked}", "--run_dir", "other",
          status=78, said=['"other" is text', "data.batch does not have it", "--data.classes '{other: [A, B]}'"])
    printed = levin(1, "fit", "--print_config", "--config", plain, "--data.train", "first.h5").stdout
    check("not written as it was given", re.search(r"train: \S*first\.h5$", printed, re.M), printed[:2000])
    # What does not fit.
    with h5py.File("narrow.h5", "w") as file:
        file["x"], file["label"] = x[:5, :5], label[:5].astype("uint8")
    with h5py.File("eel.h5", "w") as file:
        file["x"], file["word"], file["away"] = val_x[:2], numpy.array([b"bee", b"eel"]), h5py.ExternalLink("train.h5", "label")
    with h5py.File("first.h5") as file:
        place = file["x"].id.get_chunk_info_by_coord((0, 0))
    damaged = bytearray(Path("first.h5").read_bytes())
    damaged[place.byte_offset + place.size // 2] ^= 255
    Path("damaged.h5").write_bytes(damaged)
    for status, changed, said in [
        (65, {"train": "[first.h5, narrow.h5]"}, ['"x" has rows of Double and [5] in', "narrow.h5", "of Double and [6] in the first file"]),
        (65, {"train": "[first.h5, val_of.h5, eel.h5]"}, ['eel.h5: "label" is missing']),
        (65, {"train": "[first.h5, gone.h5]"}, ["gone.h5 is missing"]),
        (65, {"train": "[first.h5, train_x.npy]"}, ["train_x.npy is not an HDF5 file"]),
        (65, {"train": "damaged.h5"}, ['damaged.h5: "x"', "[0, 0]", "corrupt"]),
        (65, {"val": "eel.h5", "batch": "{x: x, label: word}"}, ['eel.h5: "word" has the text "eel" in row 1', "4 given classes"]),
        (65, {"train": "eel.h5", "val": "eel.h5", "batch": "{x: x, label: away}"}, ['"away" leads over an external link']),
        (78, {"train": "[first.h5, '']"}, ["data.train", "has an empty path"]),
        (78, {"train": "{a: first.h5}"}, ["data.train", "allowed: a path, or a list"]),
        (78, {"classes": "{labels: [a]}"}, ["data.classes", '"labels"', "name one of: label, x"]),
        (78, {"classes": "{label: [a, b, a]}"}, ["data.classes.label has a text twice"]),
    ]:
        levin(1, "fit", "--config", plain, *data(**changed), *SHORT, "--run_dir", "refused", status=status, said=said)
    levin(1, "test", "--config", plain, *data(**texts, train=""), "--run_dir", "texts", "--ckpt_path", "last", status=78,
          said=['"label" is text', "data.train names no file", "--data.classes '{label: [A, B]}'"])


def hdf5_filters():
    """Compression that a plug-in of HDF5's undoes: what a plain file of the same numbers gives, bit for bit."""
    import hdf5plugin  # not in the other groups: a machine's own Python may lack it
    write_samples()
    x, label = samples(60, 1)
    with h5py.File("lz4.h5", "w") as file:
        file.create_dataset("inputs/x", data=x, chunks=(7, 4), shuffle=True, **hdf5plugin.LZ4())
        file.create_dataset("label", data=label.astype("uint8"), chunks=(5,), **hdf5plugin.LZ4())
        for name in ("inputs/x", "label"):
            check(f"{name} is not compressed by lz4", "lz4" in str(file[name].id.get_create_plist().get_filter_by_id(32004)).lower() and
                  file[name].id.get_chunk_info(0).filter_mask == 0)
    words = ["--config", config("hdf5", MLP), "--trainer.max_epochs", 2]
    with_plugin = {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    for ranks, more in ((1, []), (2, ["--data.num_workers", 2, "--data.chunk_cache", 100])):
        levin(ranks, "fit", *words, "--run_dir", f"plain{ranks}")
        levin(ranks, "fit", *words, *more, "--data.train", "lz4.h5", "--run_dir", f"lz4_{ranks}", environment=with_plugin)
        check(f"another trajectory from lz4 on {ranks}", losses(f"lz4_{ranks}") == losses(f"plain{ranks}") and len(losses("plain1")[0]) == 16,
              losses(f"lz4_{ranks}"))
    Path("no_plugins").mkdir()
    levin(1, "fit", *words, "--data.train", "lz4.h5", "--run_dir", "refused", environment={"HDF5_PLUGIN_PATH": os.path.abspath("no_plugins")}, status=65,
          said=["lz4.h5: ", "has the filter lz4, which this HDF5 library lacks", "set HDF5_PLUGIN_PATH"])


def safetensors():
    """A model's files by their index, and fp8."""
    write_samples()
    x, label = samples(60, 1)
    # Bytes of F8_E4M3 whose values are 1 to 1.875: 8 + mantissa, in eighths.
    eighths = numpy.random.default_rng(4).integers(8, 16, size=(60, 6))
    numpy.save("eighths.npy", eighths / 8)
    header = json.dumps({"__metadata__": None, "x": {"dtype": "F8_E4M3", "shape": [60, 6], "data_offsets": [0, 360]}}).encode()
    Path("x-2.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + (0x38 + eighths - 8).astype("uint8").tobytes())
    save_file({"label": label}, "x-1.safetensors")
    Path("x.safetensors.index.json").write_text(json.dumps({"weight_map": {"label": "x-1.safetensors", "x": "x-2.safetensors"}}))
    words = ["--config", config("safetensors", MLP), *SHORT, "--data.train", "x.safetensors.index.json", "--data.val", ""]
    levin(1, "fit", *words, "--data.dtype", "{x: float64}", "--run_dir", "fp8")
    levin(1, "fit", "--config", config("npy", MLP), *SHORT, "--data.train", "{x: eighths.npy, label: train_label.npy}", "--data.val", "{}",
          "--run_dir", "npy")
    check("fp8 has other values", len(values("fp8", "train_loss")) == 3 and values("fp8", "train_loss") == values("npy", "train_loss"),
          values("fp8", "train_loss"))
    levin(1, "fit", *words, status=65, said=['x.safetensors.index.json: "x" has the dtype Float8_e4m3fn', "data.dtype: float32"])
    levin(1, "fit", *words, "--data.dtype", "{x: int64}", status=65, said=['"x" has the dtype Float8_e4m3fn'])
    levin(1, "fit", *words, "--data.batch", "{x: y, label: label}", status=65, said=['x.safetensors.index.json: "y" is missing', "name one of: label, x"])
    Path("x-1.safetensors").unlink()
    levin(1, "fit", *words, "--data.dtype", "{x: float32}", status=65, said=["x-1.safetensors is missing"])


def png(path, pixels):
    """Rows of 8 bits, gray [height, width] or RGB [height, width, 3]."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)) +
                           chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def image_folder():
    """Images in a folder for each class: what an array of the same pixels gives, bit for bit."""
    random = numpy.random.default_rng(1)
    pixels, labels = [], []
    for label, name in enumerate(["dark", "light", "mixed"]):
        for number in range(8):
            pixels.append((random.integers(0, 128, size=(10, 9)) + 64 * label).astype("uint8"))
            labels.append(label)
            png(f"train/{name}/{number}.png", pixels[-1])
            if label != 1:
                png(f"val/{name}/{number}.png", pixels[-1])
            png(f"flat/{name}{number}.png", pixels[-1])
    Path("train/light/notes.txt").write_text("no image")
    pixels, labels = numpy.stack(pixels), numpy.array(labels)
    for part, chosen in (("train", labels >= 0), ("val", labels != 1)):
        numpy.save(f"{part}_image.npy", (pixels[chosen].astype("float32") / numpy.float32(255))[:, None, 1:9, :8])  # (10 - 8) / 2, round(0.5) is 0
        numpy.save(f"{part}_label.npy", labels[chosen])
    model = ["--model", "resnet", "--model.channels", 1, "--model.classes", 3, "--model.width", 4, "--model.blocks", "[1, 1]", "--data.batch_size", 4,
             "--trainer.max_epochs", 2, "--trainer.log_every_n_steps", 1]
    folders = ["--data", "image_folder", "--data.train", "train", "--data.val", "val", "--data.channels", 1, "--data.crop", "[8]"]
    arrays = ["--data", "npy", "--data.train", "{image: train_image.npy, label: train_label.npy}", "--data.val",
              "{image: val_image.npy, label: val_label.npy}"]
    for ranks in (1, 2):
        levin(ranks, "fit", *model, *arrays, "--run_dir", f"arrays{ranks}")
        levin(ranks, "fit", *model, *folders, "--data.num_workers", ranks - 1, "--run_dir", f"folders{ranks}")
        check(f"another trajectory from images on {ranks}", losses(f"folders{ranks}") == losses(f"arrays{ranks}") and len(losses("arrays1")[1]) == 2,
              losses(f"folders{ranks}"))
    changes = ["--data.augmentation", "{flip_horizontal: 0.5, crop_padding: 2, contrast: 0.5}"]
    levin(2, "fit", *model, *arrays, "--data.augmentation.flip_horizontal", 0.5, "--data.augmentation.crop_padding", 2, "--data.augmentation.contrast", 0.5,
          "--run_dir", "changed_arrays")
    levin(2, "fit", *model, *folders, *changes, "--data.num_workers", 2, "--run_dir", "changed_folders")
    check("another trajectory from augmented images", losses("changed_folders") == losses("changed_arrays") and
          losses("changed_folders")[0] != losses("folders2")[0], losses("changed_folders"))
    levin(1, "fit", *model, *folders, "--data.batch", "{picture: image, label: label}", "--model.input", "picture", "--data.dtype", "{picture: uint8}",
          "--data.shift", "{picture: 1}", "--run_dir", "refused", status=78, said=["data.scale or data.shift", '"picture"'])
    levin(1, "fit", *model, *folders, "--data.batch", "{picture: image, label: label}", "--model.input", "picture", "--run_dir", "renamed")
    check("another trajectory by another name", losses("renamed") == losses("folders1"), losses("renamed"))
    levin(2, "predict", *model, *folders, "--data.predict", "flat", "--run_dir", "folders2", "--ckpt_path", "last")
    index, rows = predictions("folders2")
    levin(2, "predict", *model, *folders, "--data.predict", "train", "--run_dir", "folders2", "--ckpt_path", "last")
    check("not every image once, in order", list(index) == list(range(24)) and rows.shape == (24, 3) and numpy.array_equal(rows, predictions("folders2")[1]))
    # What does not fit.
    png("sizes/a/a.png", pixels[0])
    png("sizes/a/b.png", pixels[0][:7])
    png("other/eel/a.png", pixels[0])
    png("webp/a/a.png", pixels[0])
    Path("webp/a/b.webp").write_bytes(b"RIFF")
    Path("broken/a").mkdir(parents=True)
    Path("broken/a/x.jpg").write_bytes((fixtures.parent.parent / "data/fixtures/color.jpg").read_bytes()[:500])
    for status, words, said in [
        (65, ["--data.train", "broken"], ["broken/a/x.jpg is corrupt: ", "copy the image again"]),
        (65, ["--data.train", "webp"], ["webp/a/b.webp is a .webp file"]),
        (65, ["--data.train", "gone"], ["cannot list the folder", "gone"]),
        (65, ["--data.train", "flat"], ["flat has no folders; each class has a folder"]),
        (65, ["--data.val", "other"], ['has the class "eel", which is not one of the 3 given classes']),
        (65, ["--data.train", "sizes", "--data.val", ""], ["a/b.png has 7 x 9 pixels, fewer than the crop of 8 x 8"]),
        (65, ["--data.train", "sizes", "--data.val", "", "--data.crop", "[]"], ["a/b.png has 7 x 9 pixels, a/a.png has 10 x 9", "give a crop"]),
        (78, ["--data.channels", 2], ["data.channels is 2"]),
        (78, ["--data.augmentation.fields", "[picture]"], ['data.augmentation.fields has "picture"', "name one of: image, label"]),
        (78, ["--data.augmentation.saturation", 0.5], ['data.augmentation: "image" is [1, 1, 8, 8] Float', "saturation needs 3 channels"]),
        (78, ["--data.dtype", "{image: uint8}", "--data.augmentation.noise", 0.1], ['data.augmentation: "image" is [1, 1, 8, 8] Byte', "float32"]),
        (78, ["--data.resize", "[1, 2, 3]"], ["data.resize has 3 numbers"]),
        (78, ["--data.batch", "{image: picture}"], ['data.batch.image is "picture"', "give image or label"]),
        (78, ["--data.train", ""], ["the classes of the images are unknown", "--data.classes"]),
        (78, ["--data.batch", "{image: image, raw: image, label: label}", "--data.dtype", "{raw: uint8}"],
         ['data.dtype is uint8 for "raw", and not for "image"', "give uint8 to both"]),
        (78, ["--data.batch", "{image: image, raw: image, label: label}", "--data.dtype", "{raw: uint8, image: float32}"],
         ['data.dtype is uint8 for "raw", and not for "image"']),
    ]:
        levin(2 if "gone" in words else 1, "fit", *model, *folders, *words, *SHORT, "--run_dir", "refused", status=status, said=said)


CHANGES = "flip_horizontal: 0.5, crop_padding: 2, brightness: 0.3, contrast: 0.3, saturation: 0.3, noise: 0.05"


def augmentation():
    """Random changes of the images to train on: of those alone, alike on any number of ranks, from any format and after a restart."""
    pixels = numpy.random.default_rng(1).integers(0, 256, size=(40, 3, 8, 8), dtype="uint8")
    labels = numpy.arange(40) % 3
    numpy.save("image.npy", pixels)
    numpy.save("label.npy", labels)
    numpy.save("last_image.npy", pixels[-9:])
    numpy.save("last_label.npy", labels[-9:])
    save_file({"image": pixels, "label": labels}, "images.safetensors")
    with h5py.File("images.h5", "w") as file:
        file.create_dataset("pixels", data=pixels, chunks=(7, 3, 8, 8), compression="gzip")
        file["label"] = labels
    idx("image.idx.gz", pixels, zipped=True)
    idx("label.idx", labels.astype("uint8"))
    last = "{image: last_image.npy, label: last_label.npy}"

    def written(name, files, field="image", changes=CHANGES):
        Path(f"{name}.yaml").write_text(f"""trainer: {{max_epochs: 3, precision: 64-true, log_every_n_steps: 1}}
model: {{name: mlp, input: {field}, inputs: 192, outputs: 3, hidden: [8], loss: 'cross_entropy(output, label)'}}
data:
  {files}
  dtype: {{label: int64}}
  scale: {{{field}: 0.00392156862745098}}
  global_batch_size: 8
  augmentation: {{fields: [{field}], {changes}}}
optimizer: {{name: adamw, lr: 0.02}}
""")
        return f"{name}.yaml"

    npy = "name: npy\n  train: {image: image.npy, label: label.npy}"
    file = written("npy", npy)
    printed = levin(1, "--print_config", "--config", file).stdout
    Path("printed.yaml").write_text(printed)
    check("another augmentation after a round trip", "crop_padding: 2" in printed and
          levin(1, "--print_config", "--config", "printed.yaml").stdout == printed, printed[:3000])
    for ranks in (1, 2):
        levin(ranks, "fit", "--config", file, "--data.val", last, "--run_dir", f"changed{ranks}")
    for name in ("train_loss", "val_loss"):
        check(f"two ranks augment otherwise: {name}", close(values("changed1", name), values("changed2", name)), values("changed2", name))
    levin(1, "fit", "--config", file, "--data.val", last, "--data.augmentation", "null", "--run_dir", "plain")
    changed = values("changed1", "train_loss")
    check("the training is not augmented", len(changed) == 15 and changed[0] != values("plain", "train_loss")[0], changed)
    # Data to validate and to test are as they are in their files.
    levin(1, "test", "--config", file, "--data.augmentation", "null", "--data.test", last, "--run_dir", "changed1", "--ckpt_path", "last")
    levin(1, "test", "--config", file, "--data.test", last, "--run_dir", "changed1", "--ckpt_path", "last")
    of_test = values("changed1/test", "test_loss")
    check("data to test are augmented", len(of_test) == 2 and of_test[0] == of_test[1], of_test)
    check("data to validate are augmented", close(of_test[:1], values("changed1", "val_loss")[-1:]), (of_test, values("changed1", "val_loss")))
    # Neither is the end of the training data that is kept for validation.
    levin(1, "fit", "--config", file, "--data.val_samples", 9, "--run_dir", "kept")
    levin(1, "test", "--config", file, "--data.augmentation", "null", "--data.test", last, "--run_dir", "kept", "--ckpt_path", "last")
    check("kept samples are augmented", close(values("kept/test", "test_loss"), values("kept", "val_loss")[-1:]), values("kept", "val_loss"))
    # Stopped in the middle of an epoch and resumed, as unbroken, by threads that read ahead, too.
    levin(2, "fit", "--config", file, "--data.val", last, "--run_dir", "resumed", "--trainer.max_steps", 7)
    levin(2, "fit", "--config", file, "--data.val", last, "--run_dir", "resumed", "--data.num_workers", 2, "--trainer.max_steps", 15, said=["resumes from"])
    check("not as unbroken", values("resumed", "train_loss") == values("changed2", "train_loss"), values("resumed", "train_loss"))
    # The same images from a file of each format.
    short = ["--trainer.max_epochs", 1]
    for name, files, field in [("hdf5", "name: hdf5\n  train: images.h5\n  batch: {x: pixels, label: label}", "x"),
                               ("safetensors", "name: safetensors\n  train: images.safetensors\n  batch: {image: image, label: label}", "image"),
                               ("idx", "name: idx\n  train: {image: image.idx.gz, label: label.idx}", "image")]:
        levin(1, "fit", "--config", written(name, files, field), *short, "--run_dir", name)
        check(f"other images from {name}", close(values(name, "train_loss"), changed[:5]), values(name, "train_loss"))
    # What does not fit.
    for words, said in [
        (["--data.augmentation.fields", "[picture]"], ['data.augmentation.fields has "picture"', "name one of: image, label"]),
        (["--data.augmentation.fields", "[]"], ["data.augmentation", "no fields"]),
        (["--data.augmentation.fields", "[label]"], ['data.augmentation: "label" is [1] Long', "[n, channels, height, width]"]),
        (["--data.augmentation.flip_horizontal", 2], ["data.augmentation.flip_horizontal", "0 to 1"]),
        (["--data.augmentation.noise", -1], ["data.augmentation.noise", "at least 0"]),
        (["--data.augmentation.crop_height", 13], ['data.augmentation: "image" is [1, 3, 8, 8] Float', "4 pixels of padding"]),
        (["--data.augmentation.rotation", 5], ["--data.augmentation.rotation: unknown option"]),
        (["--data.shape", "{image: [192]}"], ['data.augmentation: "image" is [1, 192] Float', "data.shape"]),
        (["--data.shape", "{image: [1, 24, 8]}"], ["data.augmentation", "saturation needs 3 channels"]),
        (["--data.scale", "{}"], ['data.augmentation: "image" is [1, 3, 8, 8] Byte', "colors and noise need float32"]),
        (["--data.scale", "{}", "--data.dtype", "{image: float32, label: int64}"], ['data.augmentation: "image" has values from', "from 0 to 1"]),
    ]:
        levin(1, "fit", "--config", file, *words, *SHORT, "--run_dir", "refused", status=78, said=said)
    levin(1, "fit", "--config", written("unknown", npy, changes="rotation: 5"), status=78, said=["data.augmentation.rotation", "unknown key"])
    levin(2, "fit", "--config", file, "--data.scale", "{}", *SHORT, "--run_dir", "refused", status=78, said=["data.augmentation"])


SHORT = ["--trainer.max_steps", 3, "--trainer.limit_val_batches", 1, "--ckpt_path", "none"]


def images():
    """Bytes that data.shape and data.scale make images of, and the other C++ models."""
    bytes_ = numpy.random.default_rng(1).integers(0, 256, size=(20, 8, 8), dtype="uint8")
    labels = (bytes_.reshape(20, -1).mean(1) > 127).astype("uint8")
    idx("images.idx.gz", bytes_, zipped=True)
    idx("labels.idx", labels)
    with h5py.File("images.h5", "w") as file:
        file["image"], file["target"] = bytes_, bytes_[:, ::-1].astype("float32") / 255
    shape = ["--data.shape", "{image: [1, 8, 8]}", "--data.scale", "{image: 0.00392156862745098}", "--data.val_samples", 5]
    resnet = ["--model", "resnet", "--model.channels", 1, "--model.classes", 2, "--model.width", 4, "--model.blocks", "[1, 1]"]
    idx_data = ["--data", "idx", "--data.train", "{image: images.idx.gz, label: labels.idx}", *shape]
    levin(2, "fit", *resnet, *idx_data, *SHORT, "--trainer.strategy", "fsdp", "--trainer.activation_checkpointing", "units", said=["val_acc"])
    h5 = ["--data", "hdf5", "--data.train", "images.h5", "--data.batch", "{image: image, target: target}", *shape]
    h5[h5.index("--data.shape") + 1] = "{image: [1, 8, 8], target: [1, 8, 8]}"
    levin(2, "fit", "--model", "unet", "--model.width", 4, "--model.depth", 2, *h5, *SHORT, "--run_dir", "unet")
    h5[h5.index("--data.shape") + 1] = "{image: [1, 8, 8]}"
    levin(1, "predict", "--model", "unet", "--model.width", 4, "--model.depth", 2, *h5, "--data.predict", "images.h5", "--run_dir", "unet",
          "--ckpt_path", "none", "--data.predict_batch", "{image: image}")
    index, rows = predictions("unet")
    check("not all images", list(index) == list(range(20)) and rows.shape == (20, 64), rows.shape)
    Path("text.txt").write_text("the cat sat on a mat and saw the moon rise " * 200)
    tokens = ["--data", "tokens", "--data.files", "[text.txt]", "--data.cache", "cache", "--data.context", 16]
    gpt = ["--model", "gpt", "--model.layers", 1, "--model.width", 16, "--model.heads", 2]
    levin(2, "fit", *gpt, *tokens, *SHORT, said=["train_loss"])
    numpy.save("tokens.npy", numpy.random.default_rng(1).integers(0, 11, 3000).astype("uint16"))
    levin(1, "fit", "--model.file", fixtures / "gpt.pt2", "--data", "tokens", "--data.tokens", "tokens.npy", "--data.context", 6, *SHORT,
          "--data.batch", "{tokens: input, targets: target}", "--data.val_part", 0.1, said=["train_loss"])


def edited_archive(name, record, before, after):
    """The fixture mlp.pt2, whose checksums are right, after a change of one of its entries."""
    with zipfile.ZipFile(fixtures / "mlp.pt2") as good, zipfile.ZipFile(name, "w") as changed:
        for entry in good.namelist():
            content = good.read(entry)
            if entry.endswith(record):
                check(f"{record} has no {before}", before.encode() in content)
                content = content.replace(before.encode(), after.encode())
            changed.writestr(entry, content)
    return name


def exported():
    """A model of Python's with dropout: restarts, and recomputed units that are sharded; and archives that were changed."""
    write_samples()
    words = ["--config", config("npy", EXPORTED.replace("mlp.pt2", "mlp_dropout.pt2"))]
    levin(2, "fit", *words, "--run_dir", "unbroken")
    unbroken = values("unbroken", "train_loss")
    levin(2, "fit", *words, "--run_dir", "resumed", "--trainer.max_epochs", 2)
    levin(2, "fit", *words, "--run_dir", "resumed", "--trainer.max_epochs", 4, said=["resumes from"])
    check("not as unbroken", len(unbroken) == 4 * 8 and losses("resumed") == losses("unbroken"), losses("resumed"))
    levin(2, "fit", *words, "--run_dir", "units", "--trainer.strategy", "fsdp", "--model.units", "input, dropout, output",
          "--trainer.activation_checkpointing", "units")
    check("recomputed units draw other numbers", close(values("units", "train_loss"), unbroken), values("units", "train_loss"))
    # Hostile archives are refused before the first step.
    for status, record, before, after, said in [
        (78, "models/train.json", "aten.relu.default", "aten.rely.default", ["no operator aten::rely", "models.py:"]),
        (78, "models/eval.json", "aten.relu.default", "aten.from_file.default", ["aten::from_file may not run", "models.py:"]),
        (78, "models/train.json", '"schema_version": {"major": 8', '"schema_version": {"major": 9', ["hostile.pt2: models/train.json, schema_version is 9."]),
        (65, "models/train.json", '"outputs": [{"as_tensor": {"name": "relu"}}]', '"outputs": [{"as_tensor": {"name": "batch_norm"}}]',
         ["hostile.pt2: models/train.json", 'makes "batch_norm" again']),
        (65, "weights/train_weights_config.json", '"sizes": [{"as_int": 12}]', '"sizes": [{"as_int": 1234567890123}]', ["hostile.pt2: data/weights/", "bytes from element 0 on"]),
        (65, "weights/train_weights_config.json", '"path_name": "weight_1"', '"path_name": "../../weight_1"', ["../../weight_1", "missing"]),
        (65, "weights/train_weights_config.json", '"dtype": 8', '"dtype": 7', ["models/train.json", "is stored as Float"]),
    ]:
        file = edited_archive("hostile.pt2", record, before, after)
        levin(2, "fit", *words, "--model.file", file, *SHORT, "--run_dir", "refused", status=status, said=said)


def refused():
    write_samples()
    good = ["--config", config("npy", EXPORTED)]
    for words, said in [
        ([], ["model.file is empty"]),
        (["--model", "mpl"], ['"mpl"', "did you mean mlp?"]),
        (["--data", "hdf"], ['"hdf"', "did you mean hdf5?"]),
        (["--model", "mlp"], ["model.inputs", "at least 1"]),
        ([*good, "--model.loss", "cross_entropi(logits, label)"], ["model.loss", "did you mean cross_entropy?"]),
        ([*good, "--model.loss", "cross_entropy(logit, label)"], ["model.loss", 'no output "logit"', "logits"]),
        ([*good, "--model.loss", "cross_entropy(logits, lable)"], ["model.loss", '"lable"', "has: label, x"]),
        ([*good, "--model.metrics", "{acc: 'acuracy(logits, label)'}"], ["model.metrics.acc", "did you mean accuracy?"]),
        ([*good, "--model.units", "nothing.*"], ["nothing.*"]),
        ([*good, "--model.units", "a,,b"], ["model.units", "empty pattern"]),
        ([*good, "--model.rules", "[{pattern: '*.bia', weight_decay: 0}]"], ["*.bia"]),
        ([*good, "--data.train", "{y: train_x.npy, label: train_label.npy}"], ['the exported model names "x"', "has: label, y"]),
        ([*good, "--data.dtype", "{labels: int64}"], ["data.dtype", '"labels"', "name one of: label, x"]),
        ([*good, "--data.scale", "{label: 2}", "--data.dtype", "{label: int64}"], ["data.scale or data.shift", '"label"']),
        ([*good, "--data.val_samples", 5], ["data.val is given", "data.val_samples is 5"]),
        ([*good, "--data.val", "{}", "--data.val_samples", 60], ["data.val_samples is 60, of 60"]),
        ([*good, "--data", "csv"], ["data"]),
        (["--model", "mlp", "--model.inputs", 6, "--data", "hdf5"], ["data.batch is empty"]),
        (["--model", "mlp", "--model.inputs", 6, "--data", "npy"], ["data.train names no file"]),
        (["--model", "mlp", "--model.inputs", 5, "--data", "npy", "--data.train", "{x: train_x.npy, y: train_x.npy}"], ["model.inputs is 5", "6 values"]),
        (["--model", "mlp", "--model.inputs", 6, "--data", "tokens"], ["neither data.files nor data.tokens"]),
    ]:
        levin(1, "fit", *words, *SHORT, "--run_dir", "refused", status=78, said=said)
    levin(1, "fit", "--config", config("csv", MLP), "--data.separator", ";;", *SHORT, "--run_dir", "refused", status=78,
          said=['data.separator is ";;"', "give one character"])
    levin(2, "fit", *good, "--model.loss", "cross_entropy(logits, lable)", status=78, said=['"lable"'])
    Path("cut.pt2").write_bytes((fixtures / "mlp.pt2").read_bytes()[:20000])
    Path("cut.npy").write_bytes(Path("train_x.npy").read_bytes()[:-8])
    for words, said in [
        (["--model.file", "cut.pt2"], ["cut.pt2"]),
        (["--model.file", "gone.pt2"], ["gone.pt2"]),
        (["--data.train", "{x: cut.npy, label: train_label.npy}"], ["cut.npy", "bytes of values"]),
        (["--data.train", "{x: gone.npy, label: train_label.npy}"], ["gone.npy"]),
        (["--data.train", "{x: val_x.npy, label: train_label.npy}"], ["val_x.npy has 21 rows"]),
        (["--data.shape", "{x: [7]}"], ['samples of "x" have the shape [6]', "[7]"]),
        (["--data.dtype", "{x: int64}"], ['"x" has values that', "cannot hold"]),
    ]:
        levin(1, "fit", *good, *words, *SHORT, "--run_dir", "refused", status=65, said=said)


def options():
    write_samples()
    names = "exported, mlp, resnet, unet, gpt"

    def text(*words):
        return " ".join(levin(1, *words).stdout.split())

    short = text("fit", "--help")
    check("components are not listed", names in short and "hdf5, safetensors, npy, idx, csv, image_folder, tokens" in short, short[:3000])
    check("options of the default model are missing", "--model.units " in short and "--model.file " in short)
    check("options of other models", "--model.hidden " not in short and "--data.separator " not in short)
    chosen = text("fit", "--model", "mlp", "--help", "--data", "csv")
    check("not the chosen one's options", "--model.hidden " in chosen and "--data.separator " in chosen and "--model.units " not in chosen)
    images_ = text("fit", "--help", "--data", "npy")
    check("not the options of augmentation", "--data.augmentation.flip_horizontal " in images_ and "--data.augmentation.fields " in images_)
    file = config("csv", MLP)
    from_file = text("fit", "--config", file, "--help")
    check("not what the file chooses", "--model.hidden " in from_file and "--optimizer.beta1 " in from_file and "--optimizer.alpha " not in from_file)
    whole, of_model = text("--help", "all"), text("--help", "model")
    check("not all models", all(f"with --model {name}" in part for name in names.split(", ") for part in (whole, of_model)))
    one = text("--help", "callbacks.EarlyStopping")
    check("not one component", "--trainer.callbacks.early_stopping.patience " in one and len(one) < 3000, one[:3000])
    levin(1, "--help", "callbacks.early_stoping", status=78, said=["did you mean", "early_stopping"])
    printed = levin(1, "--print_config", "--config", file).stdout
    Path("printed.yaml").write_text(printed)
    check("another config after a round trip", levin(1, "--print_config", "--config", "printed.yaml").stdout == printed and "name: mlp" in printed)
    by_environment = levin(1, "--print_config", "--data", "npy", environment={"LEVIN_MODEL": "resnet", "LEVIN_MODEL__WIDTH": "7"}).stdout
    check("not by environment", "name: resnet" in by_environment and "width: 7" in by_environment, by_environment[:2000])
    context = levin(1, "--print_config", "--model", "gpt", "--data", "tokens", "--data.context", 48).stdout
    check("the context is not linked", context.count("context: 48") == 1 and "context: 128" not in context)
    for model in (MLP, EXPORTED):
        planned = levin(1, "plan", "--config", config("npy", model), "--plan.nodes", 2, "--plan.devices_per_node", 2).stdout
        check("no plan", "parameters; a rank computes" in planned and "fsdp" in planned, planned[:1500])


with tempfile.TemporaryDirectory(prefix="levin_test.") as folder_:
    os.chdir(folder_)
    {"trains": trains, "images": images, "hdf5": hdf5, "hdf5_filters": hdf5_filters, "safetensors": safetensors,
     "image_folder": image_folder, "augmentation": augmentation, "exported": exported, "refused": refused, "options": options}[group]()
    os.chdir("/")
sys.exit(f"{len(failures)} failed" if failures else 0)
