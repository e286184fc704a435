// A plug-in for tests: an accelerator whose memory is the host's under another name. For LibTorch it is an mtia, a kind of device that it
// knows and has no kernels for (Module::to takes no unknown kinds), so what mixes it with host memory fails here as it would on a GPU.
// Operations are LibTorch's for the CPU.
#include <ATen/EmptyTensor.h>
#include <ATen/detail/MTIAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_copy_from.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <ATen/ops/zeros.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "../../src/comm/call_log.h"
#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/device/accelerator.h"
#include "levin/device/plugin.h"

namespace {

using at::Tensor;
const c10::Device the_device(c10::kMTIA, 0);

// Times that the host waits for the device's work of the same step: reads, and waits for events.
std::atomic<int64_t> synchronizations = 0;

// Asynchronous copies to the host, which arrive when their event is waited for: a value that is read before is NaN or nonsense.
class CopyQueue {
 public:
  void add(const Tensor& to, const Tensor& source) {
    const std::lock_guard lock(mutex_);
    copies_.emplace_back(to, source.clone());
    most_in_flight_ = std::max(most_in_flight_, ++queued_ - done_);
    if (to.is_contiguous()) std::memset(to.mutable_data_ptr(), 0xff, to.nbytes());
  }
  int64_t queued() {
    const std::lock_guard lock(mutex_);
    return queued_;
  }
  void run(int64_t until) {
    const std::lock_guard lock(mutex_);
    for (; done_ < until; done_++, copies_.pop_front()) copies_.front().first.copy_(copies_.front().second);
  }
  void begin_step() {
    const std::lock_guard lock(mutex_);
    earlier_ = queued_;
    most_in_flight_ = 0;
  }
  int64_t of_earlier_steps() const { return earlier_; }
  int64_t most_in_flight() {
    const std::lock_guard lock(mutex_);
    return most_in_flight_;
  }

 private:
  std::mutex mutex_;
  std::deque<std::pair<Tensor, Tensor>> copies_;
  int64_t queued_ = 0, done_ = 0, most_in_flight_ = 0;
  std::atomic<int64_t> earlier_ = 0;
};
CopyQueue queue;

// A hash of what launches have as arguments in place of device memory: their operations, and numbers of the host. What is captured once
// may be repeated for a step only if these stay the same.
std::atomic<uint64_t> launches = 0;

// Memory from Communicator::allocate, which a backend registers; and the gathers and scatters that read or wrote other memory.
class Allocations {
 public:
  Tensor add(const Tensor& memory) {
    const auto* begin = static_cast<const std::byte*>(memory.const_data_ptr());
    const std::lock_guard lock(mutex_);
    ranges_[begin] = begin + memory.nbytes();
    return at::for_blob(memory.mutable_data_ptr(), memory.sizes())
        .deleter([this, memory, begin](void*) { remove(begin); })
        .options(memory.options())
        .target_device(memory.device())
        .make_tensor();
  }
  void look_at(const Tensor& output, const Tensor& input) {
    if (!contains(output) || !contains(input)) outside_++;
  }
  int64_t outside() const { return outside_; }

 private:
  void remove(const std::byte* begin) {
    const std::lock_guard lock(mutex_);
    ranges_.erase(begin);
  }
  bool contains(const Tensor& tensor) {
    const auto* data = static_cast<const std::byte*>(tensor.const_data_ptr());
    const std::lock_guard lock(mutex_);
    const auto after = ranges_.upper_bound(data);
    return after != ranges_.begin() && data + tensor.nbytes() <= std::prev(after)->second;
  }

  std::mutex mutex_;
  std::map<const std::byte*, const std::byte*> ranges_;
  std::atomic<int64_t> outside_ = 0;
};
Allocations& allocations = *new Allocations;  // tensors may be freed until the process ends

// Streams have numbers, the default one 0. Work is done at once on all of them.
thread_local c10::StreamId current_stream = 0;
std::atomic<c10::StreamId> last_stream = 0;
std::atomic<c10::StreamId> stream_of_copies = 0;  // of the last asynchronous copy to the host

// ---- the device, for LibTorch ----

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes > 0 ? std::malloc(bytes) : nullptr;
    return {data, data, &std::free, the_device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};
Memory memory;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kMTIA; }
  c10::Device exchangeDevice(c10::Device) const override { return the_device; }
  c10::Device getDevice() const override { return the_device; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::UNSAFE, the_device, current_stream); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override {
    return c10::Stream(c10::Stream::UNSAFE, the_device, ++last_stream % 32 + 1);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return c10::Stream(c10::Stream::UNSAFE, the_device, std::exchange(current_stream, stream.id()));
  }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  // An event is the number of copies to the host that were queued before it.
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    if (!*event) *event = new int64_t;
    *static_cast<int64_t*>(*event) = queue.queued();
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void* event) const override {
    queue.run(*static_cast<int64_t*>(event));
    return true;
  }
  void synchronizeEvent(void* event) const override {
    const int64_t until = *static_cast<int64_t*>(event);
    if (until > queue.of_earlier_steps()) synchronizations++;
    queue.run(until);
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override { delete static_cast<int64_t*>(event); }
};

struct Hooks final : at::MTIAHooksInterface {
  explicit Hooks(at::MTIAHooksArgs) {}
  void init() const override {}
  bool hasMTIA() const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

struct Registered {
  Registered() { c10::SetAllocator(c10::kMTIA, &memory); }
} registered;

// The same memory by its other name. Both are contiguous, or have the same strides. A tensor that LibTorch conjugates or negates lazily
// has a bit for that, and its memory the values before.
Tensor on_host(const Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  const Tensor host = at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), at::TensorOptions(tensor.scalar_type()));
  host._set_conj(tensor.is_conj());
  host._set_neg(tensor.is_neg());
  return host;
}

Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
             std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &memory, c10::DispatchKeySet(c10::DispatchKey::MTIA),
                                   c10::dtype_or_default(dtype), format);
}
Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                     std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &memory,
                                           c10::DispatchKeySet(c10::DispatchKey::MTIA), c10::dtype_or_default(dtype));
}
thread_local bool in_fallback = false;

Tensor copy_from(const Tensor& self, const Tensor& to, bool non_blocking) {
  if (!in_fallback && to.is_cpu() && !self.is_cpu()) {
    if (non_blocking) {
      stream_of_copies = current_stream;
      queue.add(to, on_host(self));
      return to;
    }
    synchronizations++;
  }
  on_host(to).copy_(on_host(self));
  return to;
}
// Of outputs: what is in a larger one is of no use yet.
const Tensor& resize(const Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* impl = self.unsafeGetTensorImpl();
  if (const Tensor other = empty(size, self.scalar_type(), {}, {}, {}, {}); other.numel() > self.numel())
    impl->set_storage_keep_dtype(other.storage());
  impl->set_sizes_contiguous(C10_AS_INTARRAYREF_SLOW(size));
  return self;
}
Tensor copy_from_and_resize(const Tensor& self, const Tensor& to) {
  if (to.sizes() != self.sizes()) to.resize_(self.sizes());
  return copy_from(self, to, false);
}
Tensor view(const Tensor& self, c10::SymIntArrayRef size) { return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size)); }
Tensor as_strided(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<c10::SymInt> offset) {
  return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                                           offset ? std::optional(offset->expect_int()) : std::nullopt);
}
Tensor reshape_alias(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}
void note_launch(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  if (op.operator_name().name == "aten::fill_") return;  // it writes a number into device memory
  uint64_t hash = launches;
  const auto add = [&](uint64_t value) { hash = (hash ^ value) * 0x100000001b3u; };
  add(std::hash<std::string>()(op.operator_name().name + "." + op.operator_name().overload_name));
  for (auto value = stack.end() - static_cast<std::ptrdiff_t>(op.schema().arguments().size()); value != stack.end(); ++value)
    if (value->isDouble())
      add(std::bit_cast<uint64_t>(value->toDouble()));
    else if (value->isInt())
      add(static_cast<uint64_t>(value->toInt()));
    else if (value->isTensor() && value->toTensor().defined() && value->toTensor().is_cpu() && value->toTensor().dim() == 0)
      for (const auto number = value->toTensor().item().toComplexDouble(); const double part : {number.real(), number.imag()})
        add(std::bit_cast<uint64_t>(part));
  launches = hash;
}

// LibTorch's fallback copies arguments to the host and back only where the schema says that they change; not the running statistics.
std::tuple<Tensor, Tensor, Tensor> native_batch_norm(const Tensor& input, const std::optional<Tensor>& weight,
                                                     const std::optional<Tensor>& bias, const std::optional<Tensor>& running_mean,
                                                     const std::optional<Tensor>& running_var, bool training, double momentum, double eps) {
  const auto host = [](const std::optional<Tensor>& tensor) { return tensor && tensor->defined() ? on_host(*tensor) : Tensor(); };
  const auto [output, mean, deviation] =
      at::native_batch_norm(on_host(input), host(weight), host(bias), host(running_mean), host(running_var), training, momentum, eps);
  return {output.to(input.device()), mean.to(input.device()), deviation.to(input.device())};
}

// As on a GPU: of host memory operands are numbers, or indices.
void refuse_mixed(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  const std::string& name = op.operator_name().name;
  if (name.starts_with("aten::index") || name.starts_with("aten::_index")) return;
  bool host = false, device = false;
  const auto look = [&](const Tensor& tensor) {
    if (!tensor.defined()) return;
    device = device || !tensor.is_cpu();
    host = host || (tensor.is_cpu() && tensor.dim() > 0);
  };
  for (auto value = stack.end() - static_cast<std::ptrdiff_t>(op.schema().arguments().size()); value != stack.end(); ++value)
    if (value->isTensor())
      look(value->toTensor());
    else if (value->isTensorList())
      for (const auto& tensor : value->toTensorVector()) look(tensor);
  TORCH_CHECK(!host || !device, "Expected all tensors to be on the same device, but ", name, " got some of ", the_device,
              " and some of host memory");
}

// The fallback resizes outputs, of which LibTorch warns.
struct Silent : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};
void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& name = op.operator_name().name;
  if (name == "aten::_local_scalar_dense" || name == "aten::equal") synchronizations++;
  refuse_mixed(op, *stack);
  note_launch(op, *stack);
  const bool outer = std::exchange(in_fallback, true);
  Silent silent;
  const c10::WarningUtils::WarningHandlerGuard guard(&silent);
  at::native::cpu_fallback(op, stack);
  in_fallback = outer;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int64_t host_memory_synchronizations() { return synchronizations; }
extern "C" __attribute__((visibility("default"))) int64_t host_memory_stream() { return current_stream; }
extern "C" __attribute__((visibility("default"))) int64_t host_memory_stream_of_copies() { return stream_of_copies; }
// The most asynchronous copies that were queued at a time since host_memory_begin_step.
extern "C" __attribute__((visibility("default"))) int64_t host_memory_copies_in_flight() { return queue.most_in_flight(); }
extern "C" __attribute__((visibility("default"))) int64_t host_memory_collectives_outside() { return allocations.outside(); }
// Waits for events that are recorded after it count as synchronizations.
extern "C" __attribute__((visibility("default"))) void host_memory_begin_step() {
  queue.begin_step();
  launches = 0;
}
extern "C" __attribute__((visibility("default"))) uint64_t host_memory_launches() { return launches; }

C10_REGISTER_GUARD_IMPL(MTIA, Guard)
namespace at {
C10_REGISTER_CLASS(MTIAHooksRegistry, MTIAHooks, Hooks)
}

TORCH_LIBRARY_IMPL(aten, MTIA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("resize_", &resize);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("view", &view);
  library.impl("view_as_real", &at::native::view_as_real);
  library.impl("view_as_complex", &at::native::view_as_complex);
  library.impl("as_strided", &as_strided);
  library.impl("_reshape_alias", &reshape_alias);
  library.impl("native_batch_norm", &native_batch_norm);
}
TORCH_LIBRARY_IMPL(_, MTIA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }
// copy_from knows the bits of conjugated and negated tensors. LibTorch would resolve them before by a clone, which is a copy, which would
// resolve them before: until the stack overflows.
TORCH_LIBRARY_IMPL(aten, Conjugate, library) {
  library.impl("_copy_from", torch::CppFunction::makeFallthrough());
  library.impl("_copy_from_and_resize", torch::CppFunction::makeFallthrough());
}
TORCH_LIBRARY_IMPL(aten, Negative, library) {
  library.impl("_copy_from", torch::CppFunction::makeFallthrough());
  library.impl("_copy_from_and_resize", torch::CppFunction::makeFallthrough());
}

// ---- the accelerator, for Levin ----

namespace {

using levin::ReduceOp, levin::UsageError, levin::Work, levin::detail::Kind;

// Collectives of the host on the device's memory. Results arrive at wait(), as from a device that is still at work. As NCCL, it compares
// no labels before data move; a log has them.
class DeviceCommunicator : public levin::Communicator {
 public:
  DeviceCommunicator(std::unique_ptr<Communicator> host, std::unique_ptr<Communicator> device_lane)
      : host_(std::move(host)), device_lane_(std::move(device_lane)) {
    rank_ = host_->rank();
    size_ = host_->size();
  }
  uint64_t sequence() const noexcept override { return device_lane_->sequence(); }
  Work all_reduce(const Tensor& tensor, ReduceOp op, std::string_view label) override {
    log(Kind::all_reduce, tensor, label, op);
    return into(tensor, [&](const Tensor& result) { device_lane_->all_reduce(result, op).wait(); });
  }
  Work reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op, std::string_view label) override {
    log(Kind::reduce_scatter, input, label, op);
    allocations.look_at(output, input);
    return into(output, [&](const Tensor& result) { device_lane_->reduce_scatter(result, mine(input), op).wait(); });
  }
  Work all_gather(const Tensor& output, const Tensor& input, std::string_view label) override {
    log(Kind::all_gather, output, label);
    allocations.look_at(output, input);
    return into(output, [&](const Tensor& result) { device_lane_->all_gather(result, mine(input)).wait(); });
  }
  Work gather_shared(const Tensor&, std::string_view) override { throw UsageError("host_memory", "no two ranks share this memory"); }
  Work broadcast(const Tensor& tensor, int root, std::string_view label) override {
    log(Kind::broadcast, tensor, label, ReduceOp::sum, root);
    return into(tensor, [&](const Tensor& result) { device_lane_->broadcast(result, root).wait(); });
  }
  Work all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input, std::span<const int64_t> input_counts,
                  std::string_view label) override {
    return into(output,
                [&](const Tensor& result) { device_lane_->all_to_all(result, output_counts, mine(input), input_counts, label).wait(); });
  }
  Work transfer(std::span<const levin::Transfer> transfers, std::string_view label) override {
    std::vector<levin::Transfer> copies(transfers.begin(), transfers.end());
    for (auto& copy : copies) copy.tensor = mine(copy.tensor).clone();
    device_lane_->transfer(copies, label).wait();
    return Work([copies, originals = std::vector<levin::Transfer>(transfers.begin(), transfers.end())] {
      for (size_t i = 0; i < copies.size(); i++)
        if (copies[i].direction == levin::Transfer::Direction::recv) on_host(originals[i].tensor).copy_(copies[i].tensor);
    });
  }
  void barrier(std::string_view label) override { device_lane_->barrier(label); }
  Tensor allocate(int64_t numel, at::ScalarType dtype) override {
    return allocations.add(at::zeros({numel}, at::TensorOptions(the_device).dtype(dtype)));
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    return std::make_unique<DeviceCommunicator>(host_->split(color, key), device_lane_->split(color, key));
  }
  void abort(const std::string& reason) noexcept override { host_->abort(reason); }
  c10::Device device() const noexcept override { return the_device; }
  Communicator& cpu() noexcept override { return *host_; }
  uint64_t call_hash() const noexcept override { return log_.hash(); }
  std::string last_calls() const override { return log_.last_calls(); }

 private:
  void log(Kind kind, const Tensor& tensor, std::string_view label, ReduceOp op = ReduceOp::sum, int root = -1) {
    levin::detail::Call call(kind, label, tensor.scalar_type(), tensor.numel(), op, root);
    call.header.sequence = ++calls_;
    log_.add(call);
  }
  static Tensor mine(const Tensor& tensor) {
    if (tensor.device() != the_device || !tensor.is_contiguous())
      throw UsageError("host_memory", "a collective on a tensor of " + tensor.device().str(), "give contiguous ones of this device");
    return on_host(tensor);
  }
  template <class Collective>
  static Work into(const Tensor& tensor, const Collective& collective) {
    Tensor result = mine(tensor).clone();
    collective(result);
    return Work([tensor, result] { on_host(tensor).copy_(result); });
  }

  std::unique_ptr<Communicator> host_, device_lane_;
  levin::detail::CallLog log_;
  uint64_t calls_ = 0;
};

class HostMemory : public levin::Accelerator {
 public:
  std::string name() const override { return "host_memory"; }
  // As many as a launcher names for CUDA.
  int device_count() const override {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    const std::string_view names = visible ? visible : "";
    return 1 + static_cast<int>(std::count(names.begin(), names.end(), ','));
  }
  c10::Device device(int, int) const override { return the_device; }
  std::unique_ptr<levin::Communicator> communicator(const levin::MpiRuntime& runtime, const levin::CommunicatorOptions& options,
                                                    c10::Device) const override {
    auto host = levin::Communicator::create_cpu(runtime, options.window_directory);
    auto device_lane = host->split(0, host->rank());
    return std::make_unique<DeviceCommunicator>(std::move(host), std::move(device_lane));
  }
  int64_t alignment_bytes() const override { return 256; }
  void seed(uint64_t seed) const override { cpu_->seed(seed); }
  void synchronize() const override {
    synchronizations++;
    queue.run(queue.queued());
  }

 private:
  std::unique_ptr<levin::Accelerator> cpu_ = levin::make_cpu_accelerator();
};

}  // namespace

LEVIN_ACCELERATOR_PLUGIN(HostMemory)
