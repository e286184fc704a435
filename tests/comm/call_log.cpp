#include "../../src/comm/call_log.h"

#include "levin/comm/communicator.h"
#include "levin_test.h"

using levin::detail::Call, levin::detail::CallLog, levin::detail::Kind;

BOOST_AUTO_TEST_SUITE(comm_call_log)

namespace {

void add(CallLog& log, uint64_t sequence, std::string_view label, int64_t count = 10) {
  Call call(Kind::all_gather, label, at::kFloat, count);
  call.header.sequence = sequence;
  log.add(call);
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_hash_of_all_calls_in_their_order) {
  CallLog same, again, swapped, other_count;
  BOOST_TEST(same.hash() == 0U);
  add(same, 1, "a"), add(same, 2, "b");
  add(again, 1, "a"), add(again, 2, "b");
  add(swapped, 1, "b"), add(swapped, 2, "a");
  add(other_count, 1, "a"), add(other_count, 2, "b", 11);
  BOOST_TEST(same.hash() == again.hash());
  BOOST_TEST(same.hash() != swapped.hash());
  BOOST_TEST(same.hash() != other_count.hash());
  BOOST_TEST(same.last_calls() == "1 all_gather number 1 of 10 Float for a\n2 all_gather number 2 of 10 Float for b\n");
}

BOOST_AUTO_TEST_CASE(the_first_different_call_of_two_ranks) {
  CallLog first, other;
  for (uint64_t i = 1; i <= 100; i++) {
    add(first, i, i == 90 ? "x" : "a");
    add(other, i, i == 90 ? "y" : "a");
  }
  const auto difference = levin::detail::first_difference(first.last_calls(), other.last_calls());
  BOOST_TEST(difference.first == "all_gather number 90 of 10 Float for x");
  BOOST_TEST(difference.other == "all_gather number 90 of 10 Float for y");
  add(first, 101, "more");
  CallLog shorter = {};
  add(shorter, 100, "a");
  const auto extra = levin::detail::first_difference(first.last_calls(), shorter.last_calls());
  BOOST_TEST(extra.first == "all_gather number 101 of 10 Float for more");
  BOOST_TEST(extra.other == "no call");
  BOOST_TEST(levin::detail::first_difference(first.last_calls(), first.last_calls()).first.empty());
}

BOOST_AUTO_TEST_SUITE_END()
