#include "levin/session/state_dict.h"

#include <ATen/ops/ones.h>

#include <cmath>
#include <limits>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::StateDict;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(session_state_dict)

BOOST_AUTO_TEST_CASE(values_come_back_as_they_were) {
  StateDict state;
  constexpr double infinity = std::numeric_limits<double>::infinity(), smallest = std::numeric_limits<double>::denorm_min();
  state.set("truth", true);
  state.set("whole", int64_t{1} << 62);
  state.set("small", 3);
  state.set("third", 1.0 / 3);
  state.set("five", 5.0);
  state.set("smallest", smallest);
  state.set("nan", std::nan(""));
  state.set("inf", infinity);
  state.set("-inf", -infinity);
  state.set("text", "line\n\"two\" ä");
  state.set("tensor", at::Tensor(at::ones({2})));
  StateDict back;
  back.add_json(state.to_json(), "here");
  BOOST_TEST(back.get<bool>("truth"));
  BOOST_TEST(back.get<int64_t>("whole") == int64_t{1} << 62);
  BOOST_TEST(back.get<int64_t>("small") == 3);
  BOOST_TEST(back.get<double>("third") == 1.0 / 3);
  BOOST_TEST(back.get<double>("five") == 5.0);
  BOOST_TEST(back.get<double>("smallest") == smallest);
  BOOST_TEST(std::isnan(back.get<double>("nan")));
  BOOST_TEST(back.get<double>("inf") == infinity);
  BOOST_TEST(back.get<double>("-inf") == -infinity);
  BOOST_TEST(back.get<std::string>("text") == "line\n\"two\" ä");
  BOOST_TEST(!back.contains("tensor"));  // those go another way
}

BOOST_AUTO_TEST_CASE(a_text_that_is_not_utf8_is_refused) {
  for (const char* bytes : {"\xff", "a\xc3", "\xc0\x80 overlong", "\xed\xa0\x80 a surrogate"}) {
    StateDict state;
    state.set("good", "ä");
    state.set("archive", bytes);
    check_throws<levin::UsageError>([&] { state.to_json(); }, {"\"archive\"", "UTF-8", "uint8"});
    StateDict named;
    named.set(bytes, 1);
    check_throws<levin::UsageError>([&] { named.to_json(); }, {"UTF-8"});
  }
  StateDict state, back;
  const std::string control("\0\x01\x7f", 3);  // valid UTF-8
  state.set("control", control);
  back.add_json(state.to_json(), "here");
  BOOST_TEST(back.get<std::string>("control") == control);
}

BOOST_AUTO_TEST_CASE(a_missing_value_is_an_error) {
  StateDict state;
  state.set("number", 1.5);
  check_throws<levin::DataError>([&] { state.get<double>("other"); }, {"\"other\""});
  check_throws<levin::DataError>([&] { state.get<int64_t>("number"); }, {"\"number\"", "unexpected type"});
  for (const char* text : {"", "[]", "{\"a\": [1]}", "{\"a\": null}", "{\"a\": {\"number\": \"huge\"}}", "{\"a\": 1"})
    check_throws<levin::DataError>([&] { StateDict().add_json(text, "state/loop"); }, {"state/loop"});
}

BOOST_AUTO_TEST_SUITE_END()
