"""record_metrics.py [--check]: what torchmetrics computes, for tests/metrics/torchmetrics.cpp to compare with.

Run by tools/peers-python. Predictions and targets come from an integer hash that tests/metrics/reference_samples.h repeats; both name
their data alike. A line of metrics.txt is

    DATA METRIC OPTION=VALUE,... COUNT VALUE ...      - in place of no options

with the metric and the options as a config of Levin's names them. Everything is computed in float64: torchmetrics converts counts by
Tensor.float, which is Tensor.double here. The line `terms sum` is math.fsum of the terms, which rounds once.

--check records again and compares with the file: 1e-12, relative to the value where it is above 1.
"""
import math
import pathlib
import sys

import torch
import torchmetrics

MASK = (1 << 64) - 1
SAMPLES = 200


def bits(stream, index):
    """23 bits of splitmix64."""
    z = (stream * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return (z ^ (z >> 31)) >> 41


def uniform(index, *shape):
    """In [-1, 1)."""
    values = [bits(100 + index, i) / 2.0**22 - 1.0 for i in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float64).view(shape)


def integers(index, below, *shape):
    return ((uniform(index, *shape) + 1) / 2 * below).floor().long()


def ignored(labels, index):
    """Every seventh label is `index`."""
    flat = labels.clone().flatten()
    flat[::7] = index
    return flat.view(labels.shape)


def samples():
    """Predictions and targets by name; an easy half and a hard half."""
    found = {}
    classes = integers(0, 5, SAMPLES)
    logits = 3 * uniform(1, SAMPLES, 5) + 1.5 * torch.nn.functional.one_hot(classes, 5)
    found["classes"] = logits, classes
    found["classes_ignored"] = logits, ignored(classes, -1)
    found["classes_tied"] = ((uniform(2, SAMPLES, 5) + 1) * 8).floor() / 16, classes
    found["chosen"] = integers(3, 5, SAMPLES), classes
    found["images"] = 2 * uniform(4, 20, 5, 2, 5), integers(5, 5, 20, 2, 5)
    found["rare"] = 2 * uniform(6, SAMPLES, 6), classes  # class 5 has no samples
    ones = integers(7, 2, SAMPLES)
    found["binary"] = ((uniform(8, SAMPLES) + 1 + ones) * 8).floor() / 32, ones
    found["binary_ignored"] = found["binary"][0], ignored(ones, -1)
    found["binary_logits"] = 4 * uniform(9, SAMPLES) + ones, ones
    found["binary_chosen"] = integers(10, 2, SAMPLES), ones
    several = integers(11, 2, SAMPLES, 3)
    found["labels"] = ((uniform(12, SAMPLES, 3) + 1 + several) * 8).floor() / 32, several
    found["labels_ignored"] = found["labels"][0], ignored(several, -1)
    found["labels_logits"] = 4 * uniform(13, SAMPLES, 3) + several, several
    targets = uniform(14, SAMPLES, 2) + 3
    found["outputs"] = targets + uniform(15, SAMPLES, 2) / 4, targets
    found["values"] = found["outputs"][0][:, 0], targets[:, 0]
    tokens = integers(16, 11, 40, 5)
    found["tokens"] = 3 * uniform(17, 40, 5, 11), tokens
    found["tokens_ignored"] = found["tokens"][0], ignored(tokens, -100)
    return found


def terms():
    """Of both signs, from 2^-300 to 2^300."""
    values, exponents = uniform(18, 1000), integers(19, 600, 1000)
    return [math.ldexp(value, exponent - 300) for value, exponent in zip(values.tolist(), exponents.tolist())]


METRICS = {
    "accuracy": torchmetrics.Accuracy,
    "precision": torchmetrics.Precision,
    "recall": torchmetrics.Recall,
    "f1": torchmetrics.F1Score,
    "confusion_matrix": torchmetrics.ConfusionMatrix,
    "auroc": torchmetrics.AUROC,
    "average_precision": torchmetrics.AveragePrecision,
    "mae": torchmetrics.MeanAbsoluteError,
    "mse": torchmetrics.MeanSquaredError,
    "r2": torchmetrics.R2Score,
    "perplexity": torchmetrics.text.Perplexity,
}
COUNTS = ["accuracy", "precision", "recall", "f1"]
AVERAGES = ["micro", "macro", "weighted", "none"]


def cases():
    """(data, metric, options)."""
    multiclass, multilabel = dict(task="multiclass", num_classes=5), dict(task="multilabel", num_labels=3)
    for metric in COUNTS:
        for average in AVERAGES:
            yield "classes", metric, dict(multiclass, average=average)
            yield "classes_ignored", metric, dict(multiclass, average=average, ignore_index=-1)
            yield "classes", metric, dict(multiclass, average=average, ignore_index=2)
            yield "classes", metric, dict(multiclass, average=average, top_k=2)
            yield "chosen", metric, dict(multiclass, average=average)
            yield "images", metric, dict(multiclass, average=average)
            yield "rare", metric, dict(task="multiclass", num_classes=6, average=average)
            yield "rare", metric, dict(task="multiclass", num_classes=6, average=average, top_k=3)
            yield "labels", metric, dict(multilabel, average=average)
            yield "labels_ignored", metric, dict(multilabel, average=average, ignore_index=-1)
            yield "labels_logits", metric, dict(multilabel, average=average, logits=True, threshold=0.7)
        yield "binary", metric, dict(task="binary")
        yield "binary", metric, dict(task="binary", threshold=0.25)
        yield "binary_ignored", metric, dict(task="binary", ignore_index=-1)
        yield "binary_logits", metric, dict(task="binary", logits=True)
        yield "binary_chosen", metric, dict(task="binary")
    for normalize in ["none", "true", "pred", "all"]:
        yield "classes", "confusion_matrix", dict(multiclass, normalize=normalize)
        yield "rare", "confusion_matrix", dict(task="multiclass", num_classes=6, normalize=normalize)
        yield "classes_ignored", "confusion_matrix", dict(multiclass, normalize=normalize, ignore_index=-1)
        yield "binary", "confusion_matrix", dict(task="binary", normalize=normalize)
        yield "labels_ignored", "confusion_matrix", dict(multilabel, normalize=normalize, ignore_index=-1)
    for metric in ["auroc", "average_precision"]:
        for thresholds in [{}, dict(thresholds=20)]:
            for average in AVERAGES[1:]:
                yield "classes", metric, dict(multiclass, average=average, logits=True, **thresholds)
                yield "classes_tied", metric, dict(multiclass, average=average, **thresholds)
                yield "classes_ignored", metric, dict(multiclass, average=average, logits=True, ignore_index=-1, **thresholds)
                yield "rare", metric, dict(task="multiclass", num_classes=6, average=average, logits=True, **thresholds)
            for average in AVERAGES:
                yield "labels", metric, dict(multilabel, average=average, **thresholds)
                yield "labels_ignored", metric, dict(multilabel, average=average, ignore_index=-1, **thresholds)
            yield "binary", metric, dict(task="binary", **thresholds)
            yield "binary_ignored", metric, dict(task="binary", ignore_index=-1, **thresholds)
            yield "binary_logits", metric, dict(task="binary", logits=True, **thresholds)
    for metric in ["mae", "mse", "r2"]:
        yield "values", metric, {}
    yield "outputs", "mae", {}
    yield "outputs", "mse", dict(squared=False)
    for multioutput in ["uniform_average", "variance_weighted", "raw_values"]:
        yield "outputs", "r2", dict(num_outputs=2, multioutput=multioutput)
        yield "outputs", "r2", dict(num_outputs=2, multioutput=multioutput, adjusted=3)
    yield "tokens", "perplexity", {}
    yield "tokens_ignored", "perplexity", dict(ignore_index=-100)


def text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def record():
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    data = samples()
    yield f"terms sum - 1 {math.fsum(terms()):.17g}"
    for name, metric, options in cases():
        # Names that torchmetrics lacks: it sees from the scores that they are logits, and from their shape the number of outputs.
        known = {key: value for key, value in options.items() if key not in ("logits", "num_outputs")}
        computed = METRICS[metric](**known)
        computed.set_dtype(torch.float64)
        predictions, targets = data[name]
        computed.update(predictions, targets)
        values = computed.compute().double().flatten().tolist()
        described = ",".join(f"{key}={text(value)}" for key, value in options.items()) or "-"
        yield f"{name} {metric} {described} {len(values)} " + " ".join(format(value, ".17g") for value in values)


def same(before, now):
    a, b = before.split(), now.split()
    if a[:4] != b[:4] or len(a) != len(b):
        return False
    values = [(float(x), float(y)) for x, y in zip(a[4:], b[4:])]
    return all(abs(x - y) <= 1e-12 * max(1, abs(x)) or (math.isnan(x) and math.isnan(y)) for x, y in values)


def main():
    torch.set_num_threads(1)
    path = pathlib.Path(__file__).parent / "metrics.txt"
    lines = list(record())
    header = f"# Recorded by record_metrics.py: torchmetrics {torchmetrics.__version__}, float64."
    if "--check" not in sys.argv[1:]:
        path.write_text("\n".join([header, *lines]) + "\n")
        return 0
    known = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    wrong = [f"{before[:90]} …\n  now {now[:90]} …" for before, now in zip(known, lines) if not same(before, now)]
    if len(known) != len(lines):
        wrong.append(f"{len(known)} lines, now {len(lines)}")
    print("\n".join(wrong) or f"{len(lines)} lines are as recorded")
    return 1 if wrong else 0


sys.exit(main())
