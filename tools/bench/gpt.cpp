// A GPT as jobs/gpt has it, with AdamW, one thread a rank; on the CPU one of 25 M parameters, on GPUs one of 125 M:
//   gpt speed STRATEGY STEPS [PRECISION [ACCELERATOR [NAME=NUMBER ...]]]   tokens a second over all ranks
//   gpt memory STRATEGY                                                    the most bytes a rank holds for parameters, gradients and
//                                                                          the optimizer's state
//   gpt blocked STRATEGY STEPS [...]                                       how long a checkpoint in the background keeps the training
//   gpt profile STRATEGY STEPS [...]                                       the time of a step by kernel (on the CPU by operation)
// STRATEGY: single, ddp, zero1, zero2, fsdp, and ddp-private to fsdp-private, which share no memory.
// NAME: layers, width, heads, context, batch, vocabulary, clip, the largest norm of the gradient, and tf32=1 for products of fp32 in TF32.
// GPT-2 with 124 M parameters: layers=12 width=768 heads=12 context=1024 batch=16 vocabulary=50304.
#include "../../jobs/gpt/gpt.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "levin/core/number_text.h"
#include "levin/parallel/strategy.h"
#include "levin/session/checkpoints.h"
#include "levin/session/session.h"

namespace {

struct Size {
  int64_t layers, width, heads, context, batch_size, vocabulary = 256;
};
constexpr Size for_cpus{8, 512, 8, 256, 4}, for_gpus{10, 1024, 16, 1024, 16};

gpt::GptConfig model_config(const Size& size) {
  gpt::GptConfig config;
  config.shape = {.layers = size.layers, .width = size.width, .heads = size.heads, .positions = gpt::Positions::learned};
  config.context = size.context;
  config.vocabulary = size.vocabulary;
  return config;
}

class Steps {
 public:
  Steps(levin::MpiRuntime& mpi, const levin::SessionConfig& config, const Size& size)
      : size_(size), session_(mpi, config), model_(session_.build<gpt::Gpt>(model_config(size))) {
    session_.setup(*model_);
    session_.progress().total_steps = 1000;
    const auto tokens = at::randint(size.vocabulary, {size.batch_size, size.context + 1}, at::kLong);
    batch_.set("input", tokens.narrow(1, 0, size.context).contiguous());
    batch_.set("target", tokens.narrow(1, 1, size.context).contiguous());
  }

  void step() {
    levin::Batch batch = batch_;
    session_.receive(batch);
    session_.expect_step();
    levin::Tensor loss;
    {
      const auto autocast = session_.autocast();
      loss = model_->training_step(batch);
    }
    session_.backward(loss, static_cast<double>(size_.batch_size));
    session_.step();
  }

  // All ranks have done their work.
  void synchronize() {
    session_.accelerator().synchronize();
    session_.communicator().barrier();
  }

  double tokens_of_a_step() const { return static_cast<double>(session_.size() * size_.batch_size * size_.context); }
  int64_t parameters() const { return gpt::Gpt::parameters_of(model_config(size_)); }
  levin::Session& session() { return session_; }

 private:
  Size size_;
  levin::Session session_;
  std::shared_ptr<gpt::Gpt> model_;
  levin::Batch batch_;
};

levin::StrategyConfig strategy_of(const std::string& text) {
  const bool own = text.ends_with("-private");
  const std::string name = text.substr(0, text.find('-'));
  const auto share = own ? levin::ShareParameters::none : levin::ShareParameters::automatic;
  const levin::ShardingOptions sharding{.share_parameters = share};
  if (name == "ddp") return levin::DDP{share};
  if (name == "zero1") return levin::Zero1{sharding};
  if (name == "zero2") return levin::Zero2{sharding};
  if (name == "fsdp") return levin::FSDP{.sharding = sharding};
  return levin::SingleDevice{};
}

void speed(Steps& steps, int64_t count, const std::string& label) {
  for (int i = 0; i < 3; i++) steps.step();
  steps.synchronize();
  const auto began = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < count; i++) steps.step();
  steps.synchronize();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (steps.session().rank() == 0)
    fmt::print("{{\"case\": \"{}\", \"value\": {}, \"unit\": \"tokens/s\", \"parameters\": {}}}\n", label,
               static_cast<double>(count) * steps.tokens_of_a_step() / seconds, steps.parameters());
}

// Proportional set size of the mappings of shared windows, in bytes.
double windows_pss() {
  std::ifstream maps("/proc/self/smaps");
  double bytes = 0;
  bool window = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < line.find(' ')) window = line.find(" rw-s ") != std::string::npos;  // the line that begins a mapping
    if (window && line.starts_with("Pss:")) bytes += 1024 * std::atof(line.c_str() + 4);
  }
  return bytes;
}

void memory(Steps& steps, const std::string& label) {
  for (int i = 0; i < 2; i++) steps.step();
  auto& session = steps.session();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto& meter = session.strategy().memory();
  const at::Tensor most = at::full({2}, static_cast<double>(meter.peak()), at::kDouble),
                   windows = at::full({1}, windows_pss(), at::kDouble);
  most[1] = static_cast<double>(usage.ru_maxrss) * 1024;
  session.communicator().all_reduce(most, levin::ReduceOp::max).wait();
  session.communicator().all_reduce(windows).wait();
  if (session.rank() != 0) return;
  fmt::print("{{\"case\": \"{}\", \"value\": {}, \"unit\": \"bytes\", \"parameters\": {}, \"resident\": {}, \"windows\": {}}}\n", label,
             most[0].item<double>(), steps.parameters(), most[1].item<double>(), windows.item<double>());
}

// With an optimizer's state of two numbers for each parameter, in memory that the file system gives.
void blocked(Steps& steps, int64_t count, const std::string& label) {
  auto& session = steps.session();
  std::string folder = (std::filesystem::temp_directory_path() / "levin-bench-XXXXXX").string();
  if (!mkdtemp(folder.data())) throw std::runtime_error("cannot make " + folder);
  std::vector<double> seconds;
  {
    levin::Checkpoints checkpoints(session);
    checkpoints.use(folder);
    checkpoints.begin_training();
    for (int64_t i = 0; i <= count; i++) {
      steps.step();
      session.count_step();
      steps.synchronize();
      const auto began = std::chrono::steady_clock::now();
      checkpoints.request({.folder = folder, .name = "newest", .in_background = true});
      checkpoints.at_boundary([&] {
        levin::StateDict state;
        session.add_progress(state);
        return state;
      });
      if (i > 0) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
      checkpoints.finish();
    }
  }
  std::filesystem::remove_all(folder);
  std::sort(seconds.begin(), seconds.end());
  if (session.rank() == 0)
    fmt::print("{{\"case\": \"{}\", \"value\": {}, \"unit\": \"ms blocked\", \"parameters\": {}}}\n", label,
               1e3 * seconds[seconds.size() / 2], steps.parameters());
}

void profile(Steps& steps, int64_t count, const std::string& label) {
  using torch::profiler::impl::ActivityType;
  const bool on_cpu = steps.session().device().is_cpu();
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  const std::set<ActivityType> activities{on_cpu ? ActivityType::CPU : ActivityType::CUDA};
  for (int i = 0; i < 3; i++) steps.step();
  steps.synchronize();
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
  for (int64_t i = 0; i < count; i++) steps.step();
  steps.synchronize();
  const auto result = torch::autograd::profiler::disableProfiler();
  std::map<std::string, std::pair<double, int64_t>> sums;  // ms and number, by name
  double all = 0;
  for (const auto& event : result->events()) {
    if ((event.deviceType() == at::kCPU) != on_cpu) continue;
    const double ms = static_cast<double>(event.durationNs()) / 1e6 / static_cast<double>(count);
    sums[event.name()].first += ms, sums[event.name()].second++;
    all += ms;
  }
  std::vector<std::pair<double, std::string>> lines;
  for (const auto& [name, sum] : sums)
    lines.emplace_back(sum.first, fmt::format("{:8.3f} ms {:6.1f} x {}", sum.first,
                                              static_cast<double>(sum.second) / static_cast<double>(count), name.substr(0, 100)));
  std::sort(lines.rbegin(), lines.rend());
  if (steps.session().rank() != 0) return;
  for (size_t i = 0; i < std::min<size_t>(lines.size(), 25); i++) fmt::print("{}\n", lines[i].second);
  fmt::print("{{\"case\": \"{}\", \"value\": {}, \"unit\": \"ms of {} a step\"}}\n", label, all, on_cpu ? "operations" : "kernels");
}

// A word NAME=NUMBER; false for an unknown name or an invalid number.
bool set_option(const std::string& word, Size& size, levin::SessionConfig& config) {
  const std::map<std::string, int64_t*> sizes{{"layers", &size.layers},   {"width", &size.width},      {"heads", &size.heads},
                                              {"context", &size.context}, {"batch", &size.batch_size}, {"vocabulary", &size.vocabulary}};
  const auto equals = word.find('=');
  if (equals == std::string::npos) return false;
  const std::string name = word.substr(0, equals), number = word.substr(equals + 1);
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || !(value > 0)) return false;
  if (name == "clip")
    config.gradient_clip_val = value;
  else if (name == "tf32")
    at::globalContext().setFloat32MatmulPrecision("high");
  else if (const auto found = sizes.find(name); found != sizes.end())
    *found->second = static_cast<int64_t>(value);
  else
    return false;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr const char* usage =
      "gpt speed|blocked|profile STRATEGY STEPS [PRECISION [ACCELERATOR [NAME=NUMBER ...]]] | gpt memory STRATEGY\n";
  if (argc < 3) return std::fputs(usage, stderr), 78;
  const std::string mode = argv[1], strategy = argv[2];
  levin::MpiRuntime mpi;
  levin::SessionConfig config;
  const std::string precision = argc > 4 ? argv[4] : "32-true";
  config.strategy = strategy_of(strategy);
  config.precision = precision == "bf16-mixed" ? levin::Precision::bfloat16_mixed : levin::Precision::float32;
  config.num_threads = 1;
  config.accelerator = argc > 5 ? argv[5] : "cpu";
  Size size = config.accelerator == "cpu" ? for_cpus : for_gpus;
  for (int i = 6; i < argc; i++)
    if (!set_option(argv[i], size, config)) return fmt::print(stderr, "invalid option {}; {}", argv[i], usage), 78;
  Steps steps(mpi, config, size);
  const std::string label =
      fmt::format("{}{} on {} ranks", strategy, precision == "32-true" ? "" : ", " + precision, steps.session().size());
  const int64_t count = argc > 3 ? levin::parse_number<int64_t>(argv[3]).value() : 5;
  if (mode == "speed")
    speed(steps, count, label);
  else if (mode == "blocked")
    blocked(steps, count, label);
  else if (mode == "profile")
    profile(steps, count, label);
  else
    memory(steps, label);
}
