#include "agreement.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "levin/comm/communicator.h"
#include "levin/core/number_text.h"

namespace levin::detail {
namespace {

Tensor view(std::vector<int64_t>& numbers) { return at::from_blob(numbers.data(), {static_cast<int64_t>(numbers.size())}, at::kLong); }

std::string from_rank(Communicator& communicator, std::string text, int rank) {
  std::vector<int64_t> size{static_cast<int64_t>(text.size())};
  communicator.broadcast(view(size), rank).wait();
  text.resize(static_cast<size_t>(size[0]));
  if (!text.empty()) communicator.broadcast(at::from_blob(text.data(), {size[0]}, at::kByte), rank).wait();
  return text;
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "host";
}

/// An error that travels: its code, what happened, and what to do.
std::string pack(const std::exception_ptr& failure) {
  ExitCode code = ExitCode::internal;
  std::string what, remedy;
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    code = error.exit_code();
    what = error.what();
    remedy = error.remedy();
    if (what.starts_with("[checkpoint] ")) what.erase(0, std::strlen("[checkpoint] "));
    if (!remedy.empty()) what.resize(what.size() - remedy.size() - 2);
  } catch (const std::filesystem::filesystem_error& error) {
    code = ExitCode::io_failed;
    what = error.what();
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
    what = "an exception of an unknown kind";
  }
  return std::to_string(static_cast<int>(code)) + '\0' + what + '\0' + remedy;
}

[[noreturn]] void unpack_and_throw(const std::string& packed, const std::string& who) {
  const auto first = packed.find('\0'), second = packed.find('\0', first + 1);
  const auto code = static_cast<ExitCode>(parse_number<int>(packed.substr(0, first)).value_or(static_cast<int>(ExitCode::internal)));
  const auto what = who + packed.substr(first + 1, second - first - 1), remedy = packed.substr(second + 1);
  if (code == ExitCode::io_failed) throw IoError(what, remedy, "checkpoint");
  if (code == ExitCode::bad_data) throw DataError(what, remedy, "checkpoint");
  if (code == ExitCode::internal) throw UsageError("checkpoint", what, remedy);
  throw Error(code, "checkpoint", what, remedy);
}

}  // namespace

void settle(Communicator* communicator, const std::exception_ptr& failure) {
  if (failure) try {
      std::rethrow_exception(failure);
    } catch (const CommunicatorAborted&) {
      throw;  // the others get it, too, wherever they wait
    } catch (...) {
      if (!communicator || communicator->size() == 1) throw;
    }
  if (!communicator || communicator->size() == 1) return;
  std::vector<int64_t> first{failure ? communicator->size() - communicator->rank() : 0};
  communicator->all_reduce(view(first), ReduceOp::max).wait();
  if (first[0] == 0) return;
  const int bad = communicator->size() - static_cast<int>(first[0]);
  const bool me = bad == communicator->rank();
  const auto host = from_rank(*communicator, me ? host_name() : "", bad);
  unpack_and_throw(from_rank(*communicator, me ? pack(failure) : "", bad), fmt::format("rank {} ({}): ", bad, host));
}

std::string from_first(Communicator* communicator, std::string text) {
  return communicator ? from_rank(*communicator, std::move(text), 0) : text;
}

std::vector<int64_t> from_first(Communicator* communicator, std::vector<int64_t> numbers) {
  return from_rank(communicator, std::move(numbers), 0);
}

std::vector<int64_t> from_rank(Communicator* communicator, std::vector<int64_t> numbers, int rank) {
  if (!communicator) return numbers;
  std::vector<int64_t> size{static_cast<int64_t>(numbers.size())};
  communicator->broadcast(view(size), rank).wait();
  numbers.resize(static_cast<size_t>(size[0]));
  if (!numbers.empty()) communicator->broadcast(view(numbers), rank).wait();
  return numbers;
}

std::vector<int64_t> from_all(Communicator* communicator, const std::vector<int64_t>& numbers) {
  if (!communicator) return numbers;
  const auto ranks = static_cast<size_t>(communicator->size());
  std::vector<int64_t> mine_size{static_cast<int64_t>(numbers.size())}, sizes(ranks);
  communicator->all_gather(view(sizes), view(mine_size)).wait();
  const auto most = static_cast<size_t>(*std::max_element(sizes.begin(), sizes.end()));
  if (most == 0) return {};
  auto mine = numbers;
  mine.resize(most);
  std::vector<int64_t> all(most * ranks), result;
  communicator->all_gather(view(all), view(mine)).wait();
  for (size_t rank = 0; rank < ranks; rank++) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(rank * most);
    result.insert(result.end(), begin, begin + sizes[rank]);
  }
  return result;
}

std::vector<double> sum_of_all(Communicator* communicator, std::vector<double> numbers) {
  if (communicator) communicator->all_reduce(at::from_blob(numbers.data(), {static_cast<int64_t>(numbers.size())}, at::kDouble)).wait();
  return numbers;
}

}  // namespace levin::detail
