#include "levin/data/csv.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::CsvField;
using levin::DataError;
using levin::read_csv;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(data_csv)

namespace {

struct CsvFile {
  std::filesystem::path path;
  explicit CsvFile(const std::string& text, const std::string& suffix = "")
      : path(std::filesystem::temp_directory_path() / ("levin_csv_" + std::to_string(getpid()) + suffix)) {
    std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
  }
  ~CsvFile() { std::filesystem::remove(path); }
};

}  // namespace

BOOST_AUTO_TEST_CASE(columns_by_name) {
  for (const std::string text : {"a,name,b,c\n1,x,2.5,-3\n4,y z,+5e-1,6\n", "a,name,b,c\r\n1,x,2.5,-3\r\n4,y z,+5e-1,6",
                                 "\xEF\xBB\xBF\"a\",name,\"b\",c\n\"1\",\"x, \"\"y\"\"\",2.5,-3\n4,,\".5\",6\n"}) {
    const CsvFile file(text);
    const auto fields = read_csv(file.path, {{{"b", "a"}}, {{"c"}, at::kLong}, {{"a"}, at::kDouble}});
    BOOST_TEST(at::equal(fields[0], at::tensor({2.5F, 1.F, 0.5F, 4.F}).view({2, 2})));
    BOOST_TEST(at::equal(fields[1], at::tensor({-3, 6}, at::kLong)));
    BOOST_TEST(at::equal(fields[2], at::tensor({1.0, 4.0}, at::kDouble)));
  }
  const CsvFile semicolons("a;b\n1;9007199254740993\n");
  BOOST_TEST(read_csv(semicolons.path, {{{"b"}, at::kLong}}, ';')[0].item<int64_t>() == 9007199254740993);  // not through a double
}

BOOST_AUTO_TEST_CASE(separators_by_the_name_of_the_file) {
  const std::string tabs = "a,b\tc\n1\t2.5\n3\t\".5\"\n";  // a comma is part of a name
  for (const std::string suffix : {".tsv", ".TSV", ".csv.tsv"}) BOOST_TEST_CONTEXT(suffix) {
      const CsvFile file(tabs, suffix);
      const auto fields = read_csv(file.path, {{{"c"}}, {{"a,b"}, at::kLong}});
      BOOST_TEST(at::equal(fields[0], at::tensor({2.5F, 0.5F})));
      BOOST_TEST(at::equal(fields[1], at::tensor({1, 3}, at::kLong)));
    }
  for (const std::string suffix : {"", ".csv", ".tsv.csv"}) {
    const CsvFile file(tabs, suffix);
    check_throws<DataError>([&] { read_csv(file.path, {{{"c"}}}); }, {":1: the column \"c\" is missing"});
    BOOST_TEST(read_csv(file.path, {{{"a,b"}, at::kLong}}, '\t')[0][1].item<int64_t>() == 3);
  }
  const CsvFile commas("a,b\n1,2\n", ".tsv");
  BOOST_TEST(read_csv(commas.path, {{{"b"}, at::kLong}}, ',')[0].item<int64_t>() == 2);
  check_throws<DataError>([&] { read_csv(commas.path, {{{"b"}}}); }, {".tsv:1: the column \"b\" is missing"});
}

// Text, and what the message says; the columns a (float32) and b (int64) are read.
BOOST_AUTO_TEST_CASE(broken_files) {
  const std::vector<std::array<std::string, 2>> cases{
      {"", "is empty"},
      {"a,b\n", "has no rows"},
      {"a,c\n1,2\n", ":1: the column \"b\" is missing; name one of: a, c"},
      {"a,b,a\n1,2,3\n", "two columns are named \"a\""},
      {"a,b\n1\n", ":2: the line has 1 values, and the first line has 2 names"},
      {"a,b\n1,2,3\n", ":2: the line has 3 values"},
      {"a,b\n1,2\n\n3,4\n", ":3: the line has 1 values, and the first line has 2 names; remove the empty line"},
      {"a,b\n1,2\nx,4\n", ":3: \"x\" in the column \"a\" is not a number"},
      {"a,b\n,2\n", "\"\" in the column \"a\""},
      {"a,b\n 1,2\n", "in the column \"a\""},
      {"a,b\n1_000,2\n", "in the column \"a\""},
      {"a,b\n1e999,2\n", "in the column \"a\""},
      {"a,b\n1,2.0\n", "\"2.0\" in the column \"b\" is not an integer"},
      {"a,b\n1,9223372036854775808\n", "in the column \"b\""},
      {"a,b\n\"1,2\n", ":2: a quotation mark is not closed"},
      {"a,b\n\"1\"x,2\n", ":2: text follows a closed quotation mark"},
  };
  for (const auto& [text, message] : cases) BOOST_TEST_CONTEXT(text) {
      const CsvFile file(text);
      check_throws<DataError>([&] { read_csv(file.path, {{{"a"}}, {{"b"}, at::kLong}}); }, {"[data] " + file.path.string(), message});
    }
  check_throws<levin::IoError>([] { read_csv("/nowhere/x.csv", {{{"a"}}}); }, {"/nowhere/x.csv"});
}

BOOST_AUTO_TEST_SUITE_END()
