// Numbers from text and to text, in every spelling and locale.
#include "levin/core/number_text.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <locale>
#include <random>
#include <sstream>

#include "levin/core/bytes.h"
#include "levin/core/config.h"
#include "levin/core/error.h"
#include "levin/core/limit.h"
#include "levin/core/seconds.h"
#include "levin_test.h"

using levin::parse_number;

BOOST_AUTO_TEST_SUITE(core_number_text)

namespace {

struct Numbers {
  double real = 0;
  float single = 0;
  int64_t whole = 0;
  uint8_t small = 0;
};
LEVIN_CONFIG(Numbers, (real, "a number", infinite_allowed), (single, "a float", infinite_allowed), (whole, "an integer"), (small, "a byte"))

Numbers read(const std::string& field, const std::string& text) {
  Numbers numbers;
  levin::read_config(numbers, levin::ConfigValue::at_path({field}, levin::ConfigValue::scalar(text)));
  return numbers;
}

/// As the German locale has them, whether or not it is installed: 1.234,5.
struct German : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

class GermanLocale {
 public:
  GermanLocale() : before_(std::locale::global(std::locale(std::locale::classic(), new German))) {}
  ~GermanLocale() { std::locale::global(before_); }

 private:
  std::locale before_;
};

// All ways to write the same digits: a sign, zeros before, no zero before the point, no digit behind it.
std::vector<std::string> spellings(const std::string& text) {
  std::vector<std::string> all{text};
  const bool negative = text.starts_with('-');
  const std::string digits = negative ? text.substr(1) : text, sign = negative ? "-" : "";
  if (!negative) all.push_back("+" + text);
  all.push_back(sign + "00" + digits);
  if (digits.starts_with("0.")) all.push_back(sign + digits.substr(1));
  if (digits.find_first_of(".e") == std::string::npos) all.push_back(sign + digits + "."), all.push_back(sign + digits + ".0");
  return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_leading_point_counts) {
  for (const auto& [text, value] : std::vector<std::pair<std::string, double>>{
           {".001", 0.001}, {".500", 0.5}, {".250", 0.25}, {".5", 0.5}, {"-.125", -0.125}, {"+.75", 0.75}, {".1e3", 100}, {"5.", 5}}) {
    BOOST_TEST(parse_number<double>(text).value() == value, text);
    BOOST_TEST(read("real", text).real == value, text);
    BOOST_TEST(read("single", text).single == static_cast<float>(value), text);
  }
  BOOST_TEST(levin::Seconds::from_text(".250 s")->value == 0.25);
  BOOST_TEST(levin::Seconds::from_text(".500")->value == 0.5);
  BOOST_TEST(levin::Bytes::from_text(".500 kB")->value == 500);
  BOOST_TEST(levin::Limit::from_text(".500")->number() == 0.5);
  for (const auto* field : {"whole", "small"})
    for (const auto* text : {".123", ".001", "1.", "1.0", "1e3"})
      levin::test::check_throws<levin::ConfigError>([&] { read(field, text); },
                                                    {std::string(field) + ": \"" + text + "\" is not allowed", "allowed: integer"});
}

BOOST_AUTO_TEST_CASE(every_spelling_of_a_double_reads_as_the_same_double) {
  std::mt19937_64 random(7);
  for (int trial = 0; trial < 20000; trial++) {
    auto value = std::bit_cast<double>(random());
    if (trial % 2) value = std::ldexp(static_cast<double>(static_cast<int64_t>(random())), -static_cast<int>(random() % 100));
    if (!std::isfinite(value)) continue;
    char fixed[400], scientific[64];
    std::snprintf(scientific, sizeof scientific, trial % 3 ? "%.17e" : "%.16E", value);
    std::snprintf(fixed, sizeof fixed, "%.*f", 340, value);
    for (const auto& spelling : spellings(scientific)) BOOST_REQUIRE_MESSAGE(parse_number<double>(spelling) == value, spelling);
    BOOST_REQUIRE_MESSAGE(parse_number<double>(levin::number_text(value)) == value, levin::number_text(value));
    if (std::abs(value) > 1e-300)
      for (const auto& spelling : spellings(fmt::format("{:f}", value)))
        if (std::abs(value) > 1e17) BOOST_REQUIRE_MESSAGE(parse_number<double>(spelling) == value, spelling);
    if (std::abs(value) > 1e-20)
      for (const auto& spelling : spellings(fixed)) BOOST_REQUIRE_MESSAGE(parse_number<double>(spelling) == value, spelling);
  }
  for (double value : {0.0, -0.0, 1.0, 5e-324, 1.7976931348623157e308, 0.1, 1e22, 123456789.125})
    for (const auto& spelling : spellings(levin::number_text(value)))
      BOOST_TEST(std::bit_cast<uint64_t>(parse_number<double>(spelling).value()) == std::bit_cast<uint64_t>(value), spelling);
}

BOOST_AUTO_TEST_CASE(every_spelling_of_an_integer_reads_as_the_same_integer) {
  std::mt19937_64 random(8);
  for (int trial = 0; trial < 20000; trial++) {
    const auto value = static_cast<int64_t>(random()) >> (random() % 64);
    for (const auto& spelling : spellings(std::to_string(value))) {
      const bool whole = spelling.find('.') == std::string::npos;
      BOOST_REQUIRE_MESSAGE(parse_number<int64_t>(spelling) == (whole ? std::optional(value) : std::nullopt), spelling);
    }
    BOOST_REQUIRE(read("whole", std::to_string(value)).whole == value);
  }
  BOOST_TEST(parse_number<uint64_t>("18446744073709551615").value() == ~uint64_t{0});
  BOOST_TEST(!parse_number<uint64_t>("-1"));
  BOOST_TEST(!parse_number<int64_t>("9223372036854775808"));
  BOOST_TEST(!parse_number<uint8_t>("256"));
}

BOOST_AUTO_TEST_CASE(all_else_is_refused) {
  for (const auto* text :
       {"",      " ",     " 1",     "1 ",      "1\t",   "\n1",   "+",      "-",      ".",      "+.",      "-.",      "e5",
        ".e5",   "1e",    "1e+",    "1e3x",    "1e3.5", "1.2.3", "++1",    "--1",    "+-1",    "-+1",     "0x10",    "0x1p3",
        "1_000", "1,5",   "1'000",  "1.000,5", "1d",    "1f",    "one",    "\u0663", "\uff11", "\u00a03", "\u22121", "infinity",
        "-nan",  "+-inf", "nan(1)", "..inf",   ".nano", "1e999", "-1e999", "1e-999", "true"}) {
    BOOST_TEST(!parse_number<double>(text), text);
    BOOST_TEST(!parse_number<float>(text), text);
    BOOST_TEST(!parse_number<int64_t>(text), text);
    if (*text) levin::test::check_throws<levin::ConfigError>([&] { read("real", text); }, {"real: ", "is not allowed", "allowed: number"});
  }
  BOOST_TEST(!parse_number<float>("1e39"));
  for (const auto* text : {"nan", "inf", ".inf", "1e3"}) BOOST_TEST(!parse_number<int64_t>(text), text);
}

BOOST_AUTO_TEST_CASE(special_numbers) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (const auto* text : {"inf", ".inf", "Inf", ".Inf", "INF", ".INF", "+inf", "+.inf"})
    BOOST_TEST(parse_number<double>(text).value() == infinity, text);
  for (const auto* text : {"-inf", "-.inf", "-Inf", "-.INF"}) BOOST_TEST(parse_number<float>(text).value() == -infinity, text);
  for (const auto* text : {"nan", ".nan", "NaN", ".NaN", "NAN", ".NAN"}) BOOST_TEST(std::isnan(parse_number<double>(text).value()), text);
  for (double value : {infinity, -infinity}) BOOST_TEST(read("real", levin::number_text(value)).real == value);
  BOOST_TEST(std::isnan(read("real", levin::number_text(std::nan(""))).real));
}

BOOST_AUTO_TEST_CASE(nan_has_no_sign) {
  const double negative = std::copysign(std::nan(""), -1.0);
  BOOST_TEST(levin::value_text(negative) == "nan");
  BOOST_TEST(levin::value_text(negative, 4) == "nan");
  BOOST_TEST(levin::number_text(negative) == ".nan");
  BOOST_TEST(levin::value_text(-std::numeric_limits<double>::infinity(), 4) == "-inf");
  BOOST_TEST(levin::value_text(1234.5678, 6) == "1234.57");
  BOOST_TEST(levin::value_text(0.1) == "0.1");
}

BOOST_AUTO_TEST_CASE(a_locale_with_commas_changes_nothing) {
  const GermanLocale german;
  std::ostringstream stream;
  stream << 1234.5;
  BOOST_REQUIRE(stream.str() == "1.234,5");  // so that this test can fail
  BOOST_TEST(levin::number_text(1234.5) == "1234.5");
  BOOST_TEST(levin::value_text(1234567.5) == "1234567.5");
  BOOST_TEST(levin::value_text(1234.5, 5) == "1234.5");
  BOOST_TEST(parse_number<double>("1234.5").value() == 1234.5);
  BOOST_TEST(!parse_number<double>("1.234,5"));
  BOOST_TEST(parse_number<int64_t>("123456").value() == 123456);
  BOOST_TEST(!parse_number<int64_t>("123.456"));
  BOOST_TEST(levin::Seconds::from_text("1.5 h")->value == 5400);
  BOOST_TEST(levin::Seconds{0.25}.to_text() == "0.25 s");
  BOOST_TEST(levin::to_yaml(levin::write_config(Numbers{.real = 1234.5, .single = 0.5f, .whole = 1234567, .small = 7})) ==
             "real: 1234.5\nsingle: 0.5\nwhole: 1234567\nsmall: 7\n");
}

BOOST_AUTO_TEST_SUITE_END()
