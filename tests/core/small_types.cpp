// Seconds, Bytes, Limit, AutoCount and the text of numbers.
#include "levin/core/auto_count.h"
#include "levin/core/bytes.h"
#include "levin/core/limit.h"
#include "levin/core/number_text.h"
#include "levin/core/seconds.h"
#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(core_small_types)

BOOST_AUTO_TEST_CASE(seconds) {
  using levin::Seconds;
  for (const auto& [text, value] : std::vector<std::pair<std::string, double>>{{"30", 30},
                                                                               {"30 s", 30},
                                                                               {"0.5s", 0.5},
                                                                               {"500 ms", 0.5},
                                                                               {"10 min", 600},
                                                                               {"2 h", 7200},
                                                                               {"1 d", 86400},
                                                                               {"01:30:00", 5400},
                                                                               {"30:00:00", 108000},
                                                                               {"2-00:00:01", 172801},
                                                                               {"02:00:00:01", 172801}}) {
    BOOST_TEST(Seconds::from_text(text).has_value(), text);
    BOOST_TEST(Seconds::from_text(text).value_or(Seconds{-1}).value == value, text);
    BOOST_TEST(Seconds::from_text(Seconds{value}.to_text()).value_or(Seconds{-1}).value == value, text);
  }
  for (const auto* text :
       {"", "s", "30 parsec", "30  s", "01:30", "1:2:3:4:5", "00:60:00", "00:00:60", "1-24:00:00", "::", "-1:00:00", "1e999", "nan", "x"})
    BOOST_TEST(!Seconds::from_text(text), text);
}

BOOST_AUTO_TEST_CASE(bytes) {
  using levin::Bytes;
  for (const auto& [text, value] : std::vector<std::pair<std::string, int64_t>>{{"4096", 4096},
                                                                                {"64 MiB", 64 << 20},
                                                                                {"1.5 GB", 1'500'000'000},
                                                                                {"2.3 GB", 2'300'000'000},
                                                                                {"1kB", 1000},
                                                                                {"7 B", 7},
                                                                                {"0", 0}}) {
    BOOST_TEST(Bytes::from_text(text).value_or(Bytes{-1}).value == value, text);
    BOOST_TEST(Bytes::from_text(Bytes{value}.to_text()).value_or(Bytes{-1}).value == value, text);
  }
  for (const auto* text : {"", "MiB", "-1", "1 mib", "1e30", "9999999999 GiB", "1 MiBB", "inf", "1 MiB x"})
    BOOST_TEST(!Bytes::from_text(text), text);
}

BOOST_AUTO_TEST_CASE(limit) {
  using levin::Limit;
  BOOST_TEST(Limit{}.of(7) == 7);
  BOOST_TEST(Limit::batches(3).of(7) == 3);
  BOOST_TEST(Limit::batches(30).of(7) == 7);
  BOOST_TEST(Limit::fraction(0.5).of(7) == 3);
  BOOST_TEST(Limit::from_text("1")->of(7) == 1);
  BOOST_TEST(Limit::from_text("1.0")->of(7) == 7);
  BOOST_TEST(Limit::from_text("1.0")->to_text() == "1.0");
  for (const auto* text : {"-1", "1.5", "nan", "inf", "all", "", "-0.5"}) BOOST_TEST(!Limit::from_text(text), text);
}

BOOST_AUTO_TEST_CASE(auto_count) {
  using levin::AutoCount;
  BOOST_TEST(!AutoCount::from_text("auto")->value);
  BOOST_TEST(AutoCount::from_text("4")->value.value() == 4);
  BOOST_TEST(AutoCount{}.to_text() == "auto");
  BOOST_TEST(AutoCount{4}.to_text() == "4");
  for (const auto* text : {"Auto", "", "4.0", "auto 4"}) BOOST_TEST(!AutoCount::from_text(text), text);
}

BOOST_AUTO_TEST_CASE(numbers) {
  BOOST_TEST(levin::number_text(1.0) == "1.0");
  BOOST_TEST(levin::number_text(1e-5) == "1.0e-05");
  BOOST_TEST(levin::number_text(0.1f) == "0.1");
  BOOST_TEST(levin::parse_number<int64_t>("+5").value() == 5);
  for (const auto* text : {"5 ", " 5", "5x", "", "+", "+-5", "0x10", "1_000"}) BOOST_TEST(!levin::parse_number<int64_t>(text), text);
}

BOOST_AUTO_TEST_SUITE_END()
