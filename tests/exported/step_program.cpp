// step_program [--dtype=float32|bfloat16|float16] FOLDER NAME...: a step of exported models, by default in the dtype of their export. Of
// each it reads FOLDER/NAME.pt2 and FOLDER/NAME.batch.safetensors, and writes FOLDER/NAME.step.safetensors: output/…, gradient/… and
// state/… of a step in training after manual_seed(11), and eval/…, the outputs in evaluation afterwards. Complex tensors have a last
// dimension of 2. A line of output for each: "NAME done" or "NAME CODE MESSAGE".
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/view_as_real.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "levin/checkpoint/safetensors.h"
#include "levin/core/batch.h"
#include "levin/core/error.h"
#include "levin/exported/exported_program.h"

namespace {

using levin::Tensor;

levin::Batch read_batch(const std::filesystem::path& file) {
  const levin::SafetensorsReader source(file);
  levin::Batch batch;
  for (const auto& entry : source.tensors()) {
    const Tensor tensor = at::empty(entry.shape, entry.dtype);
    source.read(entry.name, 0, tensor.numel(), tensor.data_ptr());
    batch.set(entry.name, tensor);
  }
  return batch;
}

using Named = std::map<std::string, Tensor>;

void put(Named& named, const std::string& name, const Tensor& tensor) {
  const Tensor value = tensor.detach();
  named[name] = (value.is_complex() ? at::view_as_real(value.resolve_conj()) : value).contiguous().clone();
}

void write(const std::filesystem::path& file, const Named& named) {
  std::vector<levin::TensorEntry> entries;
  std::vector<const Tensor*> tensors;
  for (const auto& [name, tensor] : named) {
    entries.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
    tensors.push_back(&tensor);
  }
  levin::write_safetensors(file, entries, {}, [&](size_t i, int64_t begin, int64_t end, void* memory) {
    const auto size = static_cast<int64_t>(tensors[i]->element_size());
    std::memcpy(memory, static_cast<const char*>(tensors[i]->const_data_ptr()) + begin * size, static_cast<size_t>((end - begin) * size));
  });
}

// Of floating-point tensors; Undefined: their own.
void convert(levin::ExportedProgram& program, levin::Batch& batch, at::ScalarType dtype) {
  if (dtype == at::ScalarType::Undefined) return;
  const auto convert_all = [&](const auto& tensors) {
    for (const auto& item : tensors)
      if (item.value().is_floating_point()) item.value().set_data(item.value().to(dtype));
  };
  convert_all(program.named_parameters());
  convert_all(program.named_buffers());
  const auto tensors = batch.tensors();
  for (const auto& [name, tensor] : tensors)
    if (tensor.is_floating_point()) batch.set(name, tensor.to(dtype));
}

void step(const std::filesystem::path& folder, const std::string& name, at::ScalarType dtype) {
  levin::ExportedProgram program(folder / (name + ".pt2"));
  levin::Batch batch = read_batch(folder / (name + ".batch.safetensors"));
  convert(program, batch, dtype);
  Named found;
  at::manual_seed(11);
  const auto outputs = program.forward(batch, true);
  const auto loss = outputs.find(program.description().loss);
  if (loss == outputs.end()) throw levin::DataError("the archive names no loss", "export one");
  loss->second.sum().backward();
  for (const auto& [key, value] : outputs) put(found, "output/" + key, value);
  for (const auto& item : program.named_parameters()) {
    if (item.value().grad().defined()) put(found, "gradient/" + item.key(), item.value().grad());
    put(found, "state/" + item.key(), item.value());
  }
  for (const auto& item : program.named_buffers()) put(found, "state/" + item.key(), item.value());
  const c10::NoGradGuard no_grad;
  at::manual_seed(11);
  for (const auto& [key, value] : program.forward(batch, false)) put(found, "eval/" + key, value);
  write(folder / (name + ".step.safetensors"), found);
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, at::ScalarType> dtypes = {
      {"--dtype=float32", at::kFloat}, {"--dtype=bfloat16", at::kBFloat16}, {"--dtype=float16", at::kHalf}};
  const auto given = argc > 1 ? dtypes.find(argv[1]) : dtypes.end();
  const auto dtype = given == dtypes.end() ? at::ScalarType::Undefined : given->second;
  const int folder = given == dtypes.end() ? 1 : 2;
  if (argc < folder + 2) return std::cerr << "step_program [--dtype=NAME] FOLDER NAME...\n", 78;
  at::set_num_threads(1);
  for (int i = folder + 1; i < argc; ++i) {
    std::string line = "done";
    try {
      step(argv[folder], argv[i], dtype);
    } catch (const levin::Error& error) {
      line = std::to_string(static_cast<int>(error.exit_code())) + " " + error.what();
    } catch (const std::exception& error) {
      line = std::string("70 ") + error.what();
    }
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::cout << argv[i] << " " << line << std::endl;
  }
  return 0;
}
