"""read_events.py FOLDER: what the real TensorBoard finds in a folder of event files, as JSON: a list of {kind, tag, step, value, wall_time}.

A scalar's value is a string, since JSON knows no NaN. For the other kinds than scalars and texts see read_plugins.py.
"""
import json
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

events = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0})
events.Reload()
found = []
for tag in events.Tags()["scalars"]:
    for one in events.Scalars(tag):
        found.append({"kind": "scalar", "tag": tag, "step": one.step, "value": repr(one.value), "wall_time": one.wall_time})
for tag in events.Tags()["tensors"]:
    kind = events.SummaryMetadata(tag).plugin_data.plugin_name
    for one in events.Tensors(tag) if kind == "text" else []:
        text = tensor_util.make_ndarray(one.tensor_proto)[0].decode()
        found.append({"kind": kind, "tag": tag, "step": one.step, "value": text, "wall_time": one.wall_time})
print(json.dumps(found))
