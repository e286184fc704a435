"""features_test.py STEP_PROGRAM [NAME ...]: the features of features.py, a step each: Levin as eager PyTorch to 1e-9. Run by tools/peers-python.

With "-" for STEP_PROGRAM it only exports, and checks what levin.export refuses.
"""
import sys
import tempfile
import warnings

sys.dont_write_bytecode = True
warnings.simplefilter("ignore")
import torch

import steps
import levin
from features import features, outside


def main(program, names):
    torch.set_num_threads(1)
    problems, wanted = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, feature in features.items():
            if names and name not in names:
                continue
            torch.manual_seed(3)
            batch = feature.batch()
            try:
                steps.export(folder, name, feature.make, batch, dynamic=feature.dynamic)
            except levin.ExportError as error:
                problems.append(f"{name}: not exported: {error}")
                continue
            print(name, "exported", flush=True)
            wanted[name] = steps.expected(feature.make, batch)
        for name, (feature, part) in outside.items():
            if names and name not in names:
                continue
            torch.manual_seed(3)
            try:
                steps.export(folder, name, feature.make, feature.batch())
                problems.append(f"{name}: exported, although it is to be refused")
            except levin.ExportError as error:
                if part not in str(error):
                    problems.append(f"{name}: refused with another message: {error}")
        # Exported in float64: nothing of the graph promotes a module in another dtype.
        for dtype, tolerance in (("float32", 1e-5), ("bfloat16", 0.05), ("float16", 0.01)):
            for name in wanted.keys() & {"literals"} if program != "-" else ():
                problems += [f"{name}: {text}" for text in steps.differences_in(program, folder, name, wanted[name], dtype, tolerance)]
        return steps.compare(program, folder, wanted, 300, problems, "features")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
