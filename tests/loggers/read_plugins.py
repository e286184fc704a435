"""read_plugins.py FOLDER: what the backends of TensorBoard's pages of hyper-parameters, histograms and images make of a folder of event
files, as JSON: {"hparams": {RUN: {"values": {}, "metrics": {}, "status": "…"}}, "columns": {NAME: TYPE}, "histograms": {TAG: [{step, buckets}]},
"images": {TAG: [{step, width, height, channels, pixels}]}}.
"""
import io
import json
import sys
from urllib.parse import parse_qs

import PIL.Image
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups
from tensorboard.plugins.histogram import histograms_plugin
from tensorboard.plugins.image import images_plugin


def decoded(png):
    image = PIL.Image.open(io.BytesIO(png), formats=["PNG"])
    pixels = image.tobytes()
    return {"width": image.width, "height": image.height, "channels": len(image.getbands()), "pixels": list(pixels)}


multiplexer = plugin_event_multiplexer.EventMultiplexer()
multiplexer.AddRunsFromDirectory(sys.argv[1])
multiplexer.Reload()
provider = data_provider.MultiplexerDataProvider(multiplexer, sys.argv[1])
board = base_plugin.TBContext(data_provider=provider, logdir=sys.argv[1])
request = context.RequestContext()
found = {"hparams": {}, "columns": {}, "histograms": {}, "images": {}}

hparams = backend_context.Context(board)
experiment = get_experiment.Handler(request, hparams, "", api_pb2.GetExperimentRequest()).run()
found["columns"] = {info.name: api_pb2.DataType.Name(info.type) for info in experiment.hparam_infos}
query = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100, allowed_statuses=[0, 1, 2, 3])
query.col_params.extend(api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos)
for group in list_session_groups.Handler(request, hparams, "", query).run().session_groups:
    for session in group.sessions:
        found["hparams"][session.name] = {
            "values": {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()},
            "metrics": {value.name.tag: value.value for value in session.metric_values},
            "status": api_pb2.Status.Name(session.status)}

histograms, images = histograms_plugin.HistogramsPlugin(board), images_plugin.ImagesPlugin(board)
for run, tags in provider.list_tensors(request, experiment_id="", plugin_name="histograms").items():
    for tag in tags:
        values, _ = histograms.histograms_impl(request, tag, run, "")
        found["histograms"][tag] = [{"step": step, "buckets": buckets} for _, step, buckets in values]
for run, tags in provider.list_blob_sequences(request, experiment_id="", plugin_name="images").items():
    for tag in tags:
        shown = images._image_response_for_run(request, "", run, tag, sample=0)
        found["images"][tag] = []
        for image in shown:
            key = parse_qs(image["query"])["blob_key"][0]
            found["images"][tag].append({"step": image["step"], **decoded(images._get_generic_data_individual_image(request, key))})
print("READ " + json.dumps(found))
