"""surrogate_test RUN_RANKS SURROGATE SOLVER GROUP: the programs of jobs/surrogate: samples that solve the equation, the same on any number of
ranks, and an operator that learns them."""
import sys
from pathlib import Path

import h5py
import numpy

sys.dont_write_bytecode = True
from program import Program, check, finish, values

surrogate, solver, group = Program(sys.argv[1], sys.argv[2]), Program(sys.argv[1], sys.argv[3]), sys.argv[4]
FIT = {"data.train": "train.h5", "data.val": "val.h5", "data.test": "test.h5", "data.batch": "{a: a, u: u}", "data.global_batch_size": 16,
       "model.width": 12, "model.modes": 5, "model.layers": 3, "model.lr": 0.01, "trainer.max_epochs": 12, "trainer.log_every_n_steps": 1}


def samples(name):
    with h5py.File(name) as file:
        return file["a"][()].astype("float64"), file["u"][()].astype("float64")


def residual(a, u):
    """Relative, of the fluxes through the faces of each cell, in numpy alone."""
    cells = a.shape[-1]
    a, u = numpy.pad(a, ((0, 0), (1, 1), (1, 1)), mode="edge"), numpy.pad(u, ((0, 0), (1, 1), (1, 1)))

    def flux(axis):
        lower, upper = [slice(None)] * 3, [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        lower, upper = tuple(lower), tuple(upper)
        face = 2 / (1 / a[lower] + 1 / a[upper])
        ends = [0, -1]
        index = [slice(None)] * 3
        index[axis] = ends
        face[tuple(index)] *= 2  # half a cell from the boundary
        return face * (u[upper] - u[lower]) * cells

    through = numpy.diff(flux(1), axis=1)[:, :, 1:-1] + numpy.diff(flux(2), axis=2)[:, 1:-1, :]
    return numpy.abs(through * cells + 1).max()


def solves():
    options = {"samples": 21, "cells": 20, "seed": 5, "tolerance": 1e-9}
    for name, ranks, more in (("one", 1, {}), ("two", 2, {}), ("three", 3, {}), ("apart", 3, {"ranks_per_solve": 1}), ("pairs", 4, {"ranks_per_solve": 2})):
        solver.run(ranks, options, more, {"file": f"{name}.h5"}, said=[f"{name}.h5: 21 samples of 20 x 20 cells"])
        check(f"another file by {name}", Path(f"{name}.h5").read_bytes() == Path("one.h5").read_bytes())
    a, u = samples("one.h5")
    check("not 21 fields", a.shape == u.shape == (21, 20, 20), (a.shape, u.shape))
    check("the fields do not solve the equation", residual(a, u) < 1e-2, residual(a, u))  # of float32
    check("the check cannot fail", residual(a, u * 1.1) > 5e-2, residual(a, u * 1.1))
    check("two samples are the same", len({row.tobytes() for row in a}) == 21)
    check("log a is not of mean 0 and deviation 1", abs(numpy.log(a).mean()) < 0.01 and abs(numpy.log(a).std() - 1) < 0.3, numpy.log(a).std())
    solver.run(2, {**options, "seed": 6, "file": "seed.h5"})
    check("another seed, the same samples", not (samples("seed.h5")[0] == a).all((1, 2)).any())
    solver.run(1, {**options, "samples": 4, "file": "four.h5"})
    check("a sample depends on their number", (samples("four.h5")[1] == u[:4]).all())
    check("parts of files are left", not list(Path(".").glob("*.partial")))


def refused():
    Path("there.h5").write_text("mine")
    options = {"file": "new.h5", "samples": 2, "cells": 8}
    for ranks in (1, 2):
        solver.run(ranks, options, {"file": "there.h5"}, status=78, said=["there.h5 exists"])
        solver.run(ranks, options, {"file": "gone/new.h5"}, status=74, said=["cannot create gone/new.h5"])
    check("a file was replaced", Path("there.h5").read_text() == "mine")
    solver.run(1, status=78, said=["no file given"])
    for option, value in (("samples", 0), ("samples", "3x"), ("cells", 1), ("tolerance", 0), ("tolerance", "nan"), ("ranks_per_solve", 3), ("sample", 3)):
        solver.run(2, options, {option: value}, status=78, said=[option])
    solver.run(3, options, {"cells": 2}, status=78, said=["3 ranks share 2 rows"])
    solver.run(1, options, {"tolerance": 1e-300}, status=70, said=["does not converge"])
    check("a file without all samples", not Path("new.h5").exists())
    solver.run(1, options, {"file": "train.h5"})
    fit = {**FIT, "data.val": "train.h5"}
    surrogate.run(2, "fit", fit, {"model.modes": 5}, status=78, said=["model.modes is 5, and the fields a have the shape [", ", 8, 8]"])
    surrogate.run(1, "fit", fit, {"model.width": 0}, status=78, said=["model.width"])
    surrogate.run(1, "fit", fit, {"data.train": "gone.h5"}, status=65, said=["gone.h5"])
    surrogate.run(1, "fit", fit, {"data.batch": "{a: a, u: v}"}, status=65, said=["v"])


def trains():
    for number, (name, count) in enumerate((("train", 256), ("val", 32), ("test", 64))):
        solver.run(1, {"samples": count, "cells": 16, "seed": number, "file": f"{name}.h5"})
    u = samples("test.h5")[1]
    mean = samples("train.h5")[1].mean(0)

    def errors(found):
        return numpy.sqrt(((found - u) ** 2).sum((1, 2)) / (u**2).sum((1, 2)))

    check("the mean solution is a good guess", errors(mean).mean() > 0.3, errors(mean).mean())
    for ranks in (1, 2):
        folder = {"run_dir": f"run{ranks}"}
        surrogate.run(ranks, "fit", FIT, folder)
        losses = values(f"run{ranks}", "train_error")
        check("it does not learn", len(losses) == 192 and sum(losses[-16:]) / 16 < losses[0] / 5, losses)
        surrogate.run(ranks, "test", FIT, folder, {"ckpt_path": "last"}, said=["test_error"])
        surrogate.run(ranks, "predict", FIT, folder, {"ckpt_path": "last"})
        with h5py.File(f"run{ranks}/predict/predictions.h5") as file:
            found = errors(file["prediction"][()].astype("float64").reshape(u.shape))
        check(f"on {ranks}, the error of held-out samples is not below 0.15", found.mean() < 0.15, found.mean())
        for name, expected in (("test_error", found.mean()), ("test_largest_error", found.max())):
            (logged,) = values(f"run{ranks}/test", name)
            check(f"{name} is not that of the predictions", abs(logged - expected) < 1e-4, (logged, expected))
    solver.run(1, {"samples": 32, "cells": 24, "seed": 2, "file": "finer.h5"})
    surrogate.run(2, "test", FIT, {"run_dir": "run1", "data.test": "finer.h5", "ckpt_path": "last"})
    finer = values("run1/test", "test_error")[-1]  # of the second test
    check("the weights do not fit a finer grid", finer < 0.25, finer)


finish({"solves": solves, "refused": refused, "trains": trains}[group])
