#include "levin/comm/host_values.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <numeric>

#include "../core/host_name.h"
#include "levin/comm/mpi_runtime.h"

namespace levin {
namespace {

Tensor view(void* data, size_t count, at::ScalarType dtype) { return at::from_blob(data, {static_cast<int64_t>(count)}, dtype); }

/// An error in a form that can be sent to other ranks.
struct Report {
  ExitCode code = ExitCode::internal;
  std::string component, remedy, message;
};

Report report_of(const std::exception_ptr& failure, std::string_view component) {
  Report report{ExitCode::internal, std::string(component), "", ""};
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    report = {error.exit_code(), error.tag(), error.remedy(), error.what()};
    const std::string prefix = fmt::format("[{}] ", error.tag()), suffix = "; " + error.remedy();
    if (report.message.starts_with(prefix)) report.message.erase(0, prefix.size());
    if (!error.remedy().empty() && report.message.ends_with(suffix)) report.message.resize(report.message.size() - suffix.size());
  } catch (const std::filesystem::filesystem_error& error) {
    report.code = ExitCode::io_failed, report.message = error.what();
  } catch (const std::exception& error) {
    report.message = error.what();
  } catch (...) {
    report.message = "an exception of an unknown class";
  }
  return report;
}

[[noreturn]] void throw_report(const Report& report, const std::string& source) {
  const auto& [code, component, remedy, message] = report;
  const std::string text = source + message;
  switch (code) {
    case ExitCode::io_failed: throw IoError(text, remedy, component);
    case ExitCode::bad_data: throw DataError(text, remedy, component);
    case ExitCode::bad_config: throw ConfigError(text, remedy, component);
    case ExitCode::internal: throw UsageError(component, text, remedy);
    default: throw Error(code, component, text, remedy);
  }
}

/// Throws the error of the lowest failed rank, by two collectives: a maximum over the ranks, and a broadcast of a text.
void rethrow(int rank, int size, const std::exception_ptr& failure, std::string_view component, const std::function<int(int)>& largest,
             const std::function<std::string(std::string, int)>& broadcast_from) {
  if (failure) try {
      std::rethrow_exception(failure);
    } catch (const CommunicatorAborted&) {
      throw;
    } catch (...) {
      if (size == 1) throw;
    }
  if (size == 1) return;
  const int source = size - largest(failure ? size - rank : 0);
  if (source == size) return;
  // One text to broadcast: exit code and lengths, then the strings of the error.
  std::string text;
  if (source == rank) {
    const auto [code, tag, remedy, message] = report_of(failure, component);
    const auto host = detail::host_name();
    text = fmt::format("{} {} {} {}\n{}{}{}{}", static_cast<int>(code), tag.size(), host.size(), remedy.size(), tag, host, remedy, message);
  }
  text = broadcast_from(std::move(text), source);
  std::array<size_t, 4> numbers{};  // exit code, lengths
  const char* next = text.c_str();
  for (auto& number : numbers) {
    char* end = nullptr;
    number = std::strtoul(next, &end, 10);
    next = end + 1;
  }
  auto at = static_cast<size_t>(next - text.c_str());
  const auto take = [&](size_t length) { return text.substr(std::exchange(at, at + length), length); };
  const std::string tag = take(numbers[1]), host = take(numbers[2]), remedy = take(numbers[3]);
  throw_report({static_cast<ExitCode>(numbers[0]), tag, remedy, text.substr(at)}, fmt::format("rank {} ({}): ", source, host));
}

}  // namespace

namespace detail {

void reduce_values(ValueRanks ranks, void* data, size_t count, at::ScalarType dtype, ReduceOp op) {
  if (ranks.size() > 1) ranks.communicator()->all_reduce(view(data, count, dtype), op, "host values").synchronize();
}

void broadcast_bytes(ValueRanks ranks, void* data, size_t bytes, int root) {
  if (ranks.size() > 1) ranks.communicator()->broadcast(view(data, bytes, at::kByte), root, "host values").synchronize();
}

std::vector<std::byte> all_gather_bytes(ValueRanks ranks, std::span<const std::byte> mine, std::vector<int64_t>& sizes) {
  sizes.assign(static_cast<size_t>(ranks.size()), static_cast<int64_t>(mine.size()));
  if (ranks.size() == 1) return {mine.begin(), mine.end()};
  auto& communicator = *ranks.communicator();
  auto size = static_cast<int64_t>(mine.size());
  communicator.all_gather(view(sizes.data(), sizes.size(), at::kLong), view(&size, 1, at::kLong), "host values").synchronize();
  const auto most = static_cast<size_t>(*std::max_element(sizes.begin(), sizes.end()));
  std::vector<std::byte> padded(most), all(most * sizes.size());
  std::copy(mine.begin(), mine.end(), padded.begin());
  if (most > 0)
    communicator.all_gather(view(all.data(), all.size(), at::kByte), view(padded.data(), most, at::kByte), "host values").synchronize();
  auto end = all.begin();
  for (size_t rank = 0; rank < sizes.size(); rank++) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(rank * most);
    end = std::copy(begin, begin + sizes[rank], end);  // compacts in place: the target never lies behind the source
  }
  all.erase(end, all.end());
  return all;
}

}  // namespace detail

std::string broadcast_text(ValueRanks ranks, std::string text, int root) {
  text.resize(broadcast_value(ranks, text.size(), root));
  detail::broadcast_bytes(ranks, text.data(), text.size(), root);
  return text;
}

std::string broadcast_text(MPI_Comm ranks, std::string text, int root) {
  uint64_t bytes = text.size();
  check_mpi(MPI_Bcast(&bytes, 1, MPI_UINT64_T, root, ranks), "MPI_Bcast");
  text.resize(bytes);
  check_mpi(MPI_Bcast(text.data(), static_cast<int>(bytes), MPI_CHAR, root, ranks), "MPI_Bcast");
  return text;
}

void rethrow_on_all_ranks(ValueRanks ranks, const std::exception_ptr& failure, std::string_view component) {
  rethrow(
      ranks.rank(), ranks.size(), failure, component, [&](int number) { return all_max(ranks, number); },
      [&](std::string text, int root) { return broadcast_text(ranks, std::move(text), root); });
}

void rethrow_on_all_ranks(MPI_Comm ranks, const std::exception_ptr& failure, std::string_view component) {
  int rank = 0, size = 1;
  MPI_Comm_rank(ranks, &rank);
  MPI_Comm_size(ranks, &size);
  rethrow(
      rank, size, failure, component,
      [&](int number) {
        int largest = 0;
        check_mpi(MPI_Allreduce(&number, &largest, 1, MPI_INT, MPI_MAX, ranks), "MPI_Allreduce");
        return largest;
      },
      [&](std::string text, int root) { return broadcast_text(ranks, std::move(text), root); });
}

}  // namespace levin
