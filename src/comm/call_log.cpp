#include "call_log.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <sstream>

#include "levin/comm/host_values.h"

namespace levin::detail {
namespace {

// The words of each call by its number. A line is "NUMBER words".
std::map<uint64_t, std::string> numbered_lines(const std::string& text) {
  std::map<uint64_t, std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    uint64_t number = 0;
    const auto end = std::from_chars(line.data(), line.data() + line.size(), number).ptr;
    lines[number] = line.substr(std::min(line.size(), static_cast<size_t>(end - line.data()) + 1));
  }
  return lines;
}

std::vector<const Communicator*> distinct(const std::vector<const Communicator*>& communicators) {
  std::vector<const Communicator*> result;
  for (const auto* communicator : communicators)
    if (communicator && std::find(result.begin(), result.end(), communicator) == result.end()) result.push_back(communicator);
  return result;
}

}  // namespace

void CallLog::add(const Call& call) {
  const std::lock_guard lock(mutex_);
  hash_ = XXH3_64bits_withSeed(&call.header, sizeof(call.header), hash_);
  calls_.push_back(call);
  if (calls_.size() > calls_kept) calls_.pop_front();
}

uint64_t CallLog::hash() const {
  const std::lock_guard lock(mutex_);
  return hash_;
}

std::string CallLog::last_calls() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const auto& call : calls_) text += fmt::format("{} {}\n", call.header.sequence, call.describe());
  return text;
}

std::optional<Call> CallLog::find(uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(calls_.begin(), calls_.end(), [&](const Call& call) { return call.header.sequence == sequence; });
  return found == calls_.end() ? std::nullopt : std::optional(*found);
}

CallDifference first_difference(const std::string& first, const std::string& other) {
  const auto ours = numbered_lines(first), theirs = numbered_lines(other);
  // Calls before the oldest that both sides know cannot be compared.
  const uint64_t begin = ours.empty() || theirs.empty() ? 0 : std::max(ours.begin()->first, theirs.begin()->first);
  const auto words = [](const auto& lines, uint64_t number) {
    const auto found = lines.find(number);
    return found == lines.end() ? std::string("no call") : found->second;
  };
  auto all = ours;
  all.insert(theirs.begin(), theirs.end());
  for (auto line = all.lower_bound(begin); line != all.end(); ++line)
    if (words(ours, line->first) != words(theirs, line->first)) return {words(ours, line->first), words(theirs, line->first)};
  return {};
}

double combined_call_hash(const std::vector<const Communicator*>& communicators) {
  uint64_t hash = 0;
  for (const auto* communicator : distinct(communicators)) {
    const uint64_t next = communicator->call_hash();
    hash = next == 0 ? hash : XXH3_64bits_withSeed(&next, sizeof(next), hash);
  }
  return static_cast<double>(hash >> 12);
}

void throw_call_disagreement(Communicator& ranks, const std::vector<const Communicator*>& communicators, double hash) {
  const auto hashes = all_gather_value(ranks, hash);
  const auto mismatch = std::find_if(hashes.begin(), hashes.end(), [&](double other) { return other != hashes.front(); });
  const auto other = static_cast<size_t>(mismatch == hashes.end() ? 0 : mismatch - hashes.begin());
  CallDifference difference;
  for (const auto* communicator : distinct(communicators)) {
    const std::string mine = communicator->last_calls();
    std::vector<int64_t> counts;
    const auto all = all_gather_values(ranks, std::vector<char>(mine.begin(), mine.end()), &counts);
    std::vector<std::string> texts;
    for (auto begin = all.begin(); const int64_t count : counts) texts.emplace_back(begin, begin + count), begin += count;
    if (difference.first.empty()) difference = first_difference(texts.front(), texts[other]);
  }
  const std::string sides = difference.first.empty()
                                ? fmt::format("the calls of rank 0 and rank {} differ; the log has overwritten the first difference", other)
                                : fmt::format("rank 0 called {}, rank {} called {}", difference.first, other, difference.other);
  throw CommunicatorError("the ranks disagree: " + sides, "make the same calls in the same order on all ranks");
}

}  // namespace levin::detail
