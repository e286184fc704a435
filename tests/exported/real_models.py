"""real_models.py STEP_PROGRAM [NAME ...]: models of torchvision and transformers in small sizes, in float64: the loss, gradients and buffers of
a step, Levin as eager PyTorch to 1e-9. Run by tools/peers-python. With "-" for STEP_PROGRAM it only exports."""
import sys
import tempfile
import warnings

sys.dont_write_bytecode = True
warnings.simplefilter("ignore")
import torch
import torch.nn.functional as F
import torchvision
import transformers
from torch import nn

import steps
import levin

TEXT = {"vocab_size": 50, "use_cache": False}


class Classifier(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image, label):
        logits = self.network(image)
        return {"loss": F.cross_entropy(logits, label), "logits": logits}


def vision(make, size):
    return lambda: Classifier(make()), lambda: {"image": torch.randn(4, 3, size, size, dtype=torch.float64), "label": torch.randint(0, 10, (4,))}


def text(kind, config, **options):
    def make():
        return getattr(transformers, kind)(getattr(transformers, config)(**{**TEXT, **options}))

    return make, lambda: {name: torch.randint(3, 50, (4, 12)) for name in ("input_ids", "labels")}


llama = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
MODELS = {
    "resnet18": vision(lambda: torchvision.models.resnet18(num_classes=10), 64),
    "mobilenet_v3_small": vision(lambda: torchvision.models.mobilenet_v3_small(num_classes=10), 64),
    "vit": vision(lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10), 32),
    "swin": vision(lambda: torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=10), 32),
    "gpt2": text("GPT2LMHeadModel", "GPT2Config", n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2),
    "llama": text("LlamaForCausalLM", "LlamaConfig", tie_word_embeddings=True, **llama),
    "qwen2": text("Qwen2ForCausalLM", "Qwen2Config", **llama),
    "bert": text("BertForMaskedLM", "BertConfig", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64),
    "t5": text("T5ForConditionalGeneration", "T5Config", d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0),
    "mamba": text("MambaForCausalLM", "MambaConfig", hidden_size=32, state_size=4, num_hidden_layers=2),
}


def main(program, names):
    torch.set_num_threads(1)
    problems, wanted = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or MODELS:
            make, batch = MODELS[name]
            torch.manual_seed(3)
            batch = batch()
            double = lambda: make().double()
            try:
                steps.export(folder, name, double, batch)
            except levin.ExportError as error:
                problems.append(f"{name}: not exported: {error}")
                continue
            print(name, "exported", flush=True)
            wanted[name] = steps.expected(double, batch)
        return steps.compare(program, folder, wanted, 600, problems, "models")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
