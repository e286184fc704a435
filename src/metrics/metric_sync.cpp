#include "levin/metrics/metric_sync.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <array>

namespace levin {
namespace {

using States = std::vector<MetricState*>;

// Sums, or minima and maxima, of all metrics as one float64 vector. A minimum is the negative of a maximum of negatives.
class Packed {
 public:
  Packed(const States& states, bool sums) {
    std::vector<Tensor> flat;
    for (auto* state : states) {
      if (state->reduction == StateReduction::concatenate || (state->reduction == StateReduction::sum) != sums) continue;
      states_.push_back(state);
      const auto values = state->value.to(at::kCPU, at::kDouble).flatten();
      flat.push_back(state->reduction == StateReduction::min ? values.neg() : values);
    }
    if (flat.empty()) return;
    all_ = at::cat(flat);
    op_ = sums ? ReduceOp::sum : ReduceOp::max;
  }

  Work start(Communicator& communicator) { return all_.defined() ? communicator.all_reduce(all_, op_) : Work(); }

  void unpack() {
    int64_t offset = 0;
    for (auto* state : states_) {
      auto values = all_.narrow(0, offset, state->value.numel()).view(state->value.sizes());
      offset += state->value.numel();
      if (state->reduction == StateReduction::min) values = values.neg();
      state->value = values.to(state->value.options(), /*non_blocking=*/false, /*copy=*/true);
    }
  }

 private:
  States states_;
  Tensor all_;
  ReduceOp op_ = ReduceOp::sum;
};

// A rank's description of one state of rows: a rank without rows gets shape and dtype from the others.
struct RowsHeader {
  static constexpr int64_t most_dims = 8;
  int64_t rows = 0, dtype = 0, dims = 0;
  std::array<int64_t, most_dims> shape{};

  static RowsHeader of(const Tensor& tensor, const std::string& name) {
    if (tensor.dim() == 0 || tensor.dim() > most_dims)
      throw UsageError("metrics", fmt::format("state \"{}\" has rows of {} dimensions, can be 1 to {}", name, tensor.dim(), most_dims));
    RowsHeader header{tensor.size(0), static_cast<int64_t>(tensor.scalar_type()), tensor.dim(), {}};
    std::copy(tensor.sizes().begin(), tensor.sizes().end(), header.shape.begin());
    return header;
  }
  at::ScalarType scalar_type() const { return static_cast<at::ScalarType>(dtype); }
  at::IntArrayRef sizes() const { return {shape.data(), static_cast<size_t>(dims)}; }
  int64_t bytes() const {
    int64_t total = static_cast<int64_t>(c10::elementSize(scalar_type()));
    for (const auto length : sizes()) total *= length;
    return total;
  }
  // Each state starts at a multiple of 16 bytes, which serves all dtypes.
  int64_t words() const { return (bytes() + 15) / 16 * 2; }
  bool fits(const RowsHeader& other) const {
    return dtype == other.dtype && dims == other.dims && std::equal(shape.begin() + 1, shape.end(), other.shape.begin() + 1);
  }
  std::string text() const { return fmt::format("{} {}", c10::str(sizes()), c10::toString(scalar_type())); }
};
static_assert(sizeof(RowsHeader) == (3 + RowsHeader::most_dims) * sizeof(int64_t));

void gather_rows(const States& states, Communicator& communicator) {
  States rows;
  for (auto* state : states)
    if (state->reduction == StateReduction::concatenate) rows.push_back(state);
  if (rows.empty()) return;
  const auto words = at::TensorOptions(at::kLong);
  const auto ranks = static_cast<size_t>(communicator.size()), count = rows.size();
  const auto header_words = static_cast<int64_t>(count * sizeof(RowsHeader) / sizeof(int64_t));

  std::vector<Tensor> own;
  const auto own_headers = at::empty({header_words}, at::kLong);
  for (size_t i = 0; i < count; ++i) {
    own.push_back(rows[i]->joined().to(at::kCPU).contiguous());
    reinterpret_cast<RowsHeader*>(own_headers.mutable_data_ptr<int64_t>())[i] = RowsHeader::of(own.back(), rows[i]->name);
  }
  const auto gathered = at::empty({communicator.size() * header_words}, words);
  communicator.all_gather(gathered, own_headers).wait();
  const std::span headers(reinterpret_cast<const RowsHeader*>(gathered.const_data_ptr<int64_t>()), ranks * count);

  // The ranks' rows as bytes, padded to the longest.
  int64_t most_words = 0;
  for (size_t rank = 0; rank < ranks; ++rank) {
    int64_t mine = 0;
    for (size_t i = 0; i < count; ++i) mine += headers[rank * count + i].words();
    most_words = std::max(most_words, mine);
  }
  if (most_words == 0) return;
  const auto sent = at::zeros({most_words}, words), received = at::empty({communicator.size() * most_words}, words);
  int64_t offset = 0;
  for (const auto& tensor : own) {
    const auto header = RowsHeader::of(tensor, {});
    if (header.bytes() > 0) sent.view(at::kByte).narrow(0, offset * 8, header.bytes()).copy_(tensor.flatten().view(at::kByte));
    offset += header.words();
  }
  communicator.all_gather(received, sent).wait();

  std::vector<std::vector<Tensor>> parts(count);
  std::vector<const RowsHeader*> first(count);
  for (size_t rank = 0; rank < ranks; ++rank) {
    offset = static_cast<int64_t>(rank) * most_words;
    for (size_t i = 0; i < count; ++i) {
      const auto& header = headers[rank * count + i];
      if (header.rows == 0) continue;
      if (first[i] && !first[i]->fits(header))
        throw UsageError(
            "metrics",
            fmt::format("state \"{}\" is {} on rank {} and {} on a rank before it", rows[i]->name, header.text(), rank, first[i]->text()),
            "rows have the same shape and dtype on all ranks");
      first[i] = &header;
      const auto bytes = received.view(at::kByte).narrow(0, offset * 8, header.bytes());
      parts[i].push_back(bytes.view(header.scalar_type()).view(header.sizes()).to(rows[i]->initial.device()));
      offset += header.words();
    }
  }
  for (size_t i = 0; i < count; ++i) rows[i]->parts = std::move(parts[i]);
}

}  // namespace

// The values are small and needed on the host.
MetricSync::MetricSync(std::span<Metric* const> metrics, Communicator& ranks) : metrics_(metrics.begin(), metrics.end()) {
  Communicator& communicator = ranks.cpu();
  for (auto* metric : metrics_)
    if (!metric->enabled()) throw UsageError("metrics", "a metric is synchronised while it is disabled");
  States states;
  for (auto* metric : metrics_) {
    own_.push_back(metric->values());
    for (auto& state : metric->states_) states.push_back(&state);
  }
  if (communicator.size() == 1) return;
  try {
    Packed sums(states, true), extremes(states, false);
    auto first = sums.start(communicator), second = extremes.start(communicator);
    first.wait();
    second.wait();
    sums.unpack();
    extremes.unpack();
    gather_rows(states, communicator);
  } catch (...) {
    for (size_t i = 0; i < metrics_.size(); ++i) metrics_[i]->set_values(std::move(own_[i]));
    throw;
  }
}

MetricSync::~MetricSync() {
  for (size_t i = 0; i < metrics_.size(); ++i) metrics_[i]->set_values(std::move(own_[i]));
}

std::vector<Tensor> compute_synchronised(std::span<Metric* const> metrics, Communicator& communicator) {
  const MetricSync sync(metrics, communicator);
  std::vector<Tensor> results;
  for (const auto* metric : metrics) results.push_back(metric->compute());
  return results;
}

}  // namespace levin
