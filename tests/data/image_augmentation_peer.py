"""image_augmentation_peer.py RUN_RANKS LEVIN_TESTS: colors of ImageAugmentation against torchvision's. Run by tools/peers-python."""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from torchvision.transforms.v2 import functional

BITS = (1 << 64) - 1
CASES = {  # brightness, contrast, saturation
    "brightness": (0.9, 0, 0),
    "contrast": (0, 0.9, 0),
    "saturation": (0, 0, 0.9),
    "all": (0.5, 0.6, 0.7),
}


def uniform_numbers(seed, count):
    """The first numbers of a SampleRandom, in [0, 1)."""
    numbers = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & BITS
        bits = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & BITS
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & BITS
        numbers.append(((bits ^ (bits >> 31)) >> 11) * 2.0**-53)
    return numbers


def adjusted(image, seed, widths):
    """The first four numbers of a seed are for flips and places of crops."""
    adjustments = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    for adjust, width, number in zip(adjustments, widths, uniform_numbers(seed, 7)[4:]):
        if width > 0:
            image = adjust(image, 1 - width + 2 * width * number)
    return image


def write(folder):
    """Images from dark to light, so that values are cut at both ends."""
    random = numpy.random.default_rng(1)
    for kind, channels in (("rgb", 3), ("gray", 1)):
        light = numpy.linspace(0.2, 1, 24).reshape(24, 1, 1, 1)
        images = (random.random((24, channels, 9, 7)) * light).astype("float32")
        numpy.save(folder / f"{kind}.npy", images)
        for case, widths in CASES.items():
            if channels == 1 and widths[2] > 0:
                continue  # ImageAugmentation refuses the saturation of gray images
            right = [adjusted(image, 1 + number, widths) for number, image in enumerate(torch.from_numpy(images))]
            numpy.save(folder / f"{kind}_{case}.npy", torch.stack(right).numpy())


if __name__ == "__main__":
    run_ranks, tests = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="image_augmentation.") as name:
        write(Path(name))
        sys.exit(subprocess.run([run_ranks, "1", "100", tests, "--run_test=data_image_augmentation/as_torchvision", "--", name]).returncode)
