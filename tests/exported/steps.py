"""One step of models by eager PyTorch and by step_program, compared."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "..", "tools", "python"))
sys.path.insert(0, here)
import torch
from safetensors.torch import load_file, save_file

import levin


def real(tensor):
    tensor = tensor.detach().to_dense()
    return (torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor).contiguous().clone()


def eager_step(model, batch):
    """What step_program writes, by eager PyTorch."""
    from levin.naming import named_outputs
    found = {}
    model.train()
    torch.manual_seed(11)
    outputs = named_outputs(model(**batch))
    outputs["loss"].sum().backward()
    found |= {f"output/{name}": real(value) for name, value in outputs.items()}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.grad is not None:
            found["gradient/" + name] = real(parameter.grad)
    found |= {"state/" + name: real(value) for name, value in model.state_dict().items()}
    model.eval()
    torch.manual_seed(11)
    with torch.no_grad():
        found |= {f"eval/{name}": real(value) for name, value in named_outputs(model(**batch)).items()}
    return found


def export(folder, name, make, batch, **options):
    """The archive, made with one sample less, and the batch."""
    torch.manual_seed(5)
    example = {key: value[:-1].clone() for key, value in batch.items()}
    levin.export(make(), example, os.path.join(folder, name + ".pt2"), **options)
    save_file({key: value.contiguous() for key, value in batch.items()}, os.path.join(folder, name + ".batch.safetensors"))


def expected(make, batch):
    torch.manual_seed(5)
    return eager_step(make(), batch)


def run(program, folder, names, timeout, dtype=None):
    """{name: "done", or the error of step_program}."""
    options = [f"--dtype={dtype}"] if dtype else []
    done = subprocess.run([program, *options, folder, *names], capture_output=True, text=True, timeout=timeout)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    if missing := [name for name in names if name not in found]:
        found[missing[0]] = f"step_program ended with {done.returncode} {done.stderr[-2000:]}"
    return found


def differences(folder, name, wanted, tolerance):
    """Texts of what differs. A gradient may be missing where it is zero, a tied one be under one of its names."""
    found = load_file(os.path.join(folder, name + ".step.safetensors"))
    problems = []
    for key, value in wanted.items():
        if key not in found:
            if not key.startswith("gradient/") or (value.abs().max() > 0 and not any(key_ not in wanted and key_.startswith("gradient/") for key_ in found)):
                problems.append(f"{key} is missing")
            continue
        other = found[key]
        if other.shape != value.shape or other.dtype != value.dtype:
            problems.append(f"{key} is {other.dtype} {list(other.shape)} instead of {value.dtype} {list(value.shape)}")
            continue
        scale = max(1.0, float(value.double().abs().max()) if value.numel() else 0.0)
        difference = float((value.double() - other.double()).abs().max()) if value.numel() else 0.0
        if not difference <= tolerance * scale:
            problems.append(f"{key} differs by {difference:.1e}")
    for key, value in found.items():
        if key.startswith("gradient/") and key not in wanted and value.abs().max() > 0:
            problems.append(f"{key} is not zero; eager PyTorch has no gradient")
    return problems


def differences_in(program, folder, name, wanted, dtype, tolerance):
    """The same for a step in another dtype than the export's."""
    said = run(program, folder, [name], 100, dtype)[name]
    if said != "done":
        return [said]
    expected = {key: value.to(getattr(torch, dtype)) if value.is_floating_point() else value for key, value in wanted.items()}
    return [f"in {dtype}: {text}" for text in differences(folder, name, expected, tolerance)]


def compare(program, folder, wanted, timeout, problems, kind):
    """Takes the wanted steps by step_program ("-": none), prints what differs beside the problems so far, and returns the exit status."""
    if program != "-":
        for name, said in run(program, folder, list(wanted), timeout=timeout).items():
            found = differences(folder, name, wanted[name], 1e-9) if said == "done" else [said]
            problems += [f"{name}: {text}" for text in found]
    done = "exported" if program == "-" else "the same"
    print("\n".join([f"{len(wanted)} {kind} {done}" if not problems else f"{len(problems)} problems", *problems]))
    return 1 if problems else 0
