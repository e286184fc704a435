"""package_test.py: pip installs tools/python without a network, and the jobs' models are exported with what it installed. Run by
tools/peers-python, whose PyTorch, setuptools and wheel it uses."""
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

root = Path(__file__).resolve().parents[2]


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=400, **options)
    if done.returncode:
        raise SystemExit(f"package_test: {words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        shutil.copytree(root / "tools/python", folder / "python", ignore=shutil.ignore_patterns("__pycache__"))  # pip builds in the folder
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        python = folder / "venv/bin/python"
        packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        (packages / "peers.pth").write_text(sysconfig.get_path("purelib") + "\n")  # PyTorch
        run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet", folder / "python")
        installed = run(python, "-c", "import levin; print(levin.__file__)", cwd=folder).strip()
        if Path(installed) != packages / "levin/__init__.py":
            raise SystemExit(f"package_test: levin is imported from {installed}")
        requires = run(python, "-c", "import importlib.metadata; print(importlib.metadata.requires('levin'))", cwd=folder)
        if "torch" not in requires or "h5py; extra" not in requires:
            raise SystemExit(f"package_test: the package requires {requires}")
        for name, units, inputs in (("classifier", ["layer1.*", "layer2.*", "layer3.*", "layer4.*"], ["image"]), ("gpt2", ["transformer.h.*"], ["input_ids", "labels"])):
            run(python, root / "jobs/exported/export.py", name, folder / (name + ".pt2"), cwd=folder, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1"))
            with zipfile.ZipFile(folder / (name + ".pt2")) as archive:
                found = json.loads(archive.read(name + "/extra/levin.json"))
            if found["units"] != units or [item["name"] for item in found["inputs"]] != inputs:
                raise SystemExit(f"package_test: the archive of {name} describes {found}")
    print("the installed package exports the jobs' models")


if __name__ == "__main__":
    main()
