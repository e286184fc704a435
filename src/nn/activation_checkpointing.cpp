#include "levin/nn/activation_checkpointing.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/engine.h>

#include <memory>
#include <mutex>

#include "levin/core/error.h"

namespace levin::detail {
namespace {

// The random generators of the host and of a GPU.
class Generators {
 public:
  explicit Generators(c10::Device device) : generators_{at::detail::getDefaultCPUGenerator()} {
    if (device.is_cuda()) generators_.push_back(at::globalContext().defaultGenerator(device));
    for (auto& generator : generators_) {
      const std::scoped_lock lock(generator.mutex());
      states_.push_back(generator.get_state());
    }
  }
  void restore() {
    for (size_t i = 0; i < generators_.size(); i++) {
      const std::scoped_lock lock(generators_[i].mutex());
      generators_[i].set_state(states_[i]);
    }
  }

 private:
  std::vector<at::Generator> generators_;
  std::vector<Tensor> states_;
};

struct Autocast {
  explicit Autocast(c10::DeviceType device)
      : device(device),
        enabled(at::autocast::is_autocast_enabled(device)),
        cache(at::autocast::is_autocast_cache_enabled()),
        dtype(at::autocast::get_autocast_dtype(device)) {}
  void restore() const {
    at::autocast::set_autocast_enabled(device, enabled);
    at::autocast::set_autocast_cache_enabled(cache);
    at::autocast::set_autocast_dtype(device, dtype);
  }
  c10::DeviceType device;
  bool enabled, cache;
  at::ScalarType dtype;
};

template <class State>
class Restored {
 public:
  explicit Restored(State now) : now_(std::move(now)) {}
  ~Restored() { now_.restore(); }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;

 private:
  State now_;
};

// What the backward needs, beside the inputs.
struct Record {
  Repeatable computation;
  std::vector<c10::Device> devices;  // of the inputs
  std::vector<bool> require_grad;
  c10::Device device = c10::Device(c10::kCPU);
  std::unique_ptr<Generators> generators;
  std::unique_ptr<Autocast> autocast;
};

struct Twice : torch::autograd::Function<Twice> {
  using Context = torch::autograd::AutogradContext;
  using List = torch::autograd::variable_list;

  // `anchor` requires a gradient, so that there is a backward where no input does.
  static List forward(Context* context, const Tensor& /*anchor*/, at::TensorList inputs, const std::shared_ptr<Record>& record,
                      bool offload) {
    List outputs = record->computation.compute(inputs.vec());
    List whole;
    for (const Tensor& output : outputs)
      if (!output.is_floating_point()) whole.push_back(output);
    context->mark_non_differentiable(whole);
    List kept;
    for (const Tensor& input : inputs) kept.push_back(offload && !input.is_cpu() ? input.detach().cpu() : input);
    context->save_for_backward(kept);
    context->saved_data["record"] = c10::IValue::make_capsule(c10::make_intrusive<Holder>(record));
    return outputs;
  }

  static List backward(Context* context, const List& gradients) {
    const auto holder = context->saved_data["record"].toCapsule();
    const auto record = static_cast<Holder&>(*holder).record;
    // The graph of a backward that is to be differentiated ends at the repeated computation's inputs, and autograd::grad would add to the
    // .grad of every parameter inside.
    if (at::GradMode::is_enabled() || !torch::autograd::Engine::get_default_engine().is_checkpoint_valid())
      throw UsageError("nn", "activation checkpointing with autograd::grad, or with a gradient of a gradient (create_graph)",
                       "use activation_checkpointing: none for a loss that contains gradients");
    List inputs;
    const auto kept = context->get_saved_variables();
    for (size_t i = 0; i < kept.size(); i++)
      inputs.push_back(kept[i].to(record->devices[i]).detach().requires_grad_(record->require_grad[i]));
    List outputs;
    {
      const Restored<Generators> generators{Generators(record->device)};
      const Restored<Autocast> autocast{Autocast(record->autocast->device)};
      record->generators->restore();
      record->autocast->restore();
      const at::AutoGradMode with_graph(true);
      outputs = record->computation.compute(inputs);
    }
    List roots, seeds;
    for (size_t i = 0; i < outputs.size(); i++)
      if (gradients[i].defined() && outputs[i].requires_grad()) roots.push_back(outputs[i]), seeds.push_back(gradients[i]);
    if (!roots.empty()) torch::autograd::backward(roots, seeds);
    record->computation.repeated();
    List found{Tensor()};  // of the anchor
    for (const Tensor& input : inputs) found.push_back(input.grad());
    found.resize(found.size() + 2);  // of what is no tensor
    return found;
  }

  struct Holder : torch::CustomClassHolder {
    explicit Holder(std::shared_ptr<Record> record) : record(std::move(record)) {}
    std::shared_ptr<Record> record;
  };
};

}  // namespace

std::vector<Tensor> compute_twice(const std::vector<Tensor>& inputs, Repeatable computation, ActivationCheckpointing keep) {
  auto record = std::make_shared<Record>();
  record->computation = std::move(computation);
  for (const Tensor& input : inputs) {
    record->devices.push_back(input.device());
    record->require_grad.push_back(input.requires_grad());
    if (!input.is_cpu()) record->device = input.device();
  }
  record->generators = std::make_unique<Generators>(record->device);
  record->autocast = std::make_unique<Autocast>(record->device.type());
  const Tensor anchor = at::empty({0}).requires_grad_();
  return Twice::apply(anchor, at::TensorList(inputs), record, keep == ActivationCheckpointing::offload);
}

}  // namespace levin::detail
