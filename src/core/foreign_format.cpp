#include "foreign_format.h"

#include <array>

namespace levin::detail {
namespace {

constexpr auto convert = "convert it in Python: safetensors.torch.save_file(torch.load(IN, weights_only=True), OUT)";

struct Magic {
  std::string_view bytes, kind, remedy;
};

constexpr std::array formats{
    Magic{"PK\3\4", "a zip archive, as torch.save writes", convert},
    Magic{"\x80\2", "a pickle, as torch.save writes", convert},
    Magic{"\x89HDF\r\n\x1a\n", "an HDF5 file", "give the directory of a checkpoint, or convert the weights to safetensors"},
    Magic{"GGUF", "a GGUF file", "use the weights from which it was converted"},
    Magic{"version ", "a Git LFS pointer, not the file itself", "fetch the file: git lfs pull"},
    Magic{"{", "JSON", "give the safetensors file itself; the index of a model in several files is named model.safetensors.index.json"},
};

}  // namespace

ForeignFormat foreign_format(std::string_view first_bytes) {
  for (const auto& format : formats)
    if (first_bytes.starts_with(format.bytes)) return {std::string(format.kind), std::string(format.remedy)};
  return {};
}

}  // namespace levin::detail
