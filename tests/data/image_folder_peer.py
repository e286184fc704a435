"""image_folder_peer.py RUN_RANKS LEVIN_TESTS: ImageFolder against torchvision's, on random images. Run by tools/peers-python.

torchvision resizes in float32 here. On some processors it resizes 8-bit images in 8 bits, rounds between rows and columns, and is up to
one level away.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

run_ranks, tests = sys.argv[1:]


def write(folder):
    random = numpy.random.default_rng(1)
    for name, count in (("b", 5), ("A", 4), ("a c", 3), ("é", 2)):
        for number in range(count):
            height, width = random.integers(40, 90, 2)
            coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype="uint8")
            image = Image.fromarray(coarse).resize((int(width), int(height)), Image.BICUBIC)
            path = folder / name / ("sub" if number == 2 else ".") / f"{number}.{'png' if number % 2 else 'JPG'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if number == 3:
                image = image.convert("L")
            image.save(path, **({} if number % 2 else {"quality": 85 + number}))


with tempfile.TemporaryDirectory(prefix="image_folder.") as name:
    folder = Path(name)
    write(folder / "images")
    resized = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32), v2.Resize(36, antialias=False), v2.CenterCrop((32, 31))])
    data = ImageFolder(folder / "images", resized)
    numpy.save(folder / "image.npy", torch.stack([image.round().to(torch.uint8) for image, _ in data]).numpy())
    numpy.save(folder / "label.npy", numpy.array([label for _, label in data]))
    (folder / "classes").write_text("".join(f"{name}\n" for name in data.classes))
    sys.exit(subprocess.run([run_ranks, "1", "100", tests, "--run_test=data_image_folder/as_torchvision", "--", str(folder)]).returncode)
