#include "levin/cli/yaml_reader.h"

#include "levin/core/error.h"
#include "program.h"

BOOST_AUTO_TEST_SUITE(cli_yaml_reader)

namespace {

using cli_test::TemporaryFile;
using levin::ConfigError;
using levin::parse_yaml;
using levin::test::check_throws;

void refused(const std::string& text, const std::vector<std::string>& parts) {
  check_throws<ConfigError>([&] { parse_yaml(text, "c.yaml"); }, parts);
}

}  // namespace

BOOST_AUTO_TEST_CASE(values_have_places) {
  const auto root = parse_yaml("a: 1\nb:\n  c: [x, 'null', null]\n", "c.yaml");
  BOOST_TEST(root.entries.size() == 2u);
  BOOST_TEST(root.find("a")->source.text() == "c.yaml:1:4");
  const auto& list = root.find("b")->find("c")->items;
  BOOST_TEST(list.size() == 3u);
  BOOST_TEST(list[0].text == "x");
  BOOST_TEST(!list[1].is_null());
  BOOST_TEST(list[2].is_null());
  BOOST_TEST(root.entries[1].source.text() == "c.yaml:2:1");
  BOOST_TEST(parse_yaml("", "c.yaml").is_null());
  BOOST_TEST(parse_yaml("\xEF\xBB\xBF"
                        "a: 1",
                        "c.yaml")
                 .entries.size() == 1u);
}

BOOST_AUTO_TEST_CASE(aliases_are_expanded) {
  const auto root = parse_yaml("a: &x {k: [1, 2]}\nb: *x\n", "c.yaml");
  BOOST_TEST(root.find("b")->find("k")->items.size() == 2u);
  BOOST_TEST(root.find("b")->find("k")->items[1].source.line == 1);
}

BOOST_AUTO_TEST_CASE(merge_keys) {
  const auto text_of = [](const std::string& text) { return levin::to_yaml_line(*parse_yaml(text, "c.yaml").find("c")); };
  BOOST_TEST(text_of("a: &a {k: 1, l: [2]}\nc: {<<: *a}\n") == "{k: 1, l: [2]}");
  BOOST_TEST(text_of("a: &a {k: 1, l: 2}\nc: {<<: *a, k: 3, m: 4}\n") == "{l: 2, k: 3, m: 4}");  // the map's own keys win
  BOOST_TEST(text_of("a: &a {k: 1, l: 2}\nc: {k: 3, <<: *a}\n") == "{k: 3, l: 2}");
  BOOST_TEST(text_of("a: &a {k: 1}\nb: &b {k: 2, l: 2}\nc:\n  <<: [*a, *b]\n  m: 3\n") ==
             "{k: 1, l: 2, m: 3}");                                                           // the first of a list wins
  BOOST_TEST(text_of("a: &a {k: {x: 1, y: 2}}\nc: {<<: *a, k: {x: 3}}\n") == "{k: {x: 3}}");  // not deep, as YAML has it
  BOOST_TEST(text_of("a: &a {k: 1}\nb: &b {<<: *a, l: 2}\nc: {<<: *b}\n") == "{k: 1, l: 2}");
  BOOST_TEST(text_of("c: {<<: {k: 1}, <: 2}\n") == "{k: 1, \"<\": 2}");
  BOOST_TEST(text_of("c: {\"<<\": 1}\n") == "{\"<<\": 1}");  // in quotes it is a key as others
  const auto merged = parse_yaml("a: &a\n  k: 1\nc:\n  <<: *a\n", "c.yaml");
  BOOST_TEST(merged.find("c")->find("k")->source.text() == "c.yaml:2:6");  // where it was written
  refused("c: {<<: 3}\n", {"c.yaml:1:5: the merge key << needs a map", "<<: *name"});
  refused("c: {<<: [3]}\n", {"merge key"});
  refused("c: {<<: }\n", {"merge key"});
  refused("a: &a {k: 1}\nc:\n  <<: *a\n  <<: *a\n", {"c.yaml:4:3: the key \"<<\" is given twice"});
}

BOOST_AUTO_TEST_CASE(blanks_that_are_no_indentation_are_named) {
  for (const auto* text : {"a:\n\tb: 1\n", "a: 1\n\tb: 2\n", "a:\n\t- 1\n"})
    refused(text, {"c.yaml:2:1: the line is indented with a tab", "indent with spaces"});
  refused("a:\n  b: 1\n\tc: 2\n", {"c.yaml:3:1: the line is indented with a tab"});
  refused("a:\n  \tb: 1\n", {"c.yaml:2:3: the line is indented with a tab"});
  refused("a:\n\u00a0\u00a0b: 1\n",
          {"c.yaml:2:1: the key \"<U+00A0><U+00A0>b\" begins with a no-break space (U+00A0)", "indent with spaces"});
  refused("a:\n  b: 1\n  \u00a0c: 1\n", {"c.yaml:3:3", "no-break space (U+00A0)"});
  refused("a:\n\u00a0 - b\n", {"c.yaml:2:1", "no-break space (U+00A0)"});
  BOOST_TEST(parse_yaml("a: [1,\n\t2]\nb: \"x\n\ty\"\nc:\t3\n", "c.yaml").find("c")->text == "3");  // where YAML allows tabs
}

BOOST_AUTO_TEST_CASE(bad_yaml) {
  refused("a: 1\na: 2\n", {"c.yaml:2:1: the key \"a\" is given twice", "line 1"});
  refused("{a: 1, b: {c: 1, c: 1}}", {"\"c\" is given twice"});
  refused("a: !!python/object:os.system x\n", {"c.yaml:1:4", "the tag", "is not allowed"});
  refused("a: !!str 5\n", {"the tag"});
  refused("a: !!map {}\n", {"the tag"});
  refused("a: 1\n---\nb: 2\n", {"a second document"});
  refused("a: [1\n", {"c.yaml:2:1: invalid YAML"});
  refused("a: \"x\\\"\n", {"c.yaml:1:4: a quoted scalar is not closed"});
  refused("a: 'x\n", {"not closed"});
  refused("a: *nowhere\n", {"c.yaml:1:", "invalid YAML"});
  refused("a: &x [*x]\n", {"refers to a value that contains it"});
  refused("? [a]\n: 1\n", {"a key must be a scalar"});
  refused("&k a: 1\n", {"anchor on a key"});
  refused(": 1\n", {"key is missing"});
  refused("a: 1\nb: \xff\n", {"c.yaml:2: byte 0xff is not valid UTF-8"});
  refused("a: \xed\xa0\x80\n", {"UTF-8"});
  refused("a: \xc0\xaf\n", {"UTF-8"});
  refused("a: \xf4\x90\x80\x80\n", {"UTF-8"});
  refused(std::string("a: \0b\n", 6), {"UTF-8"});
  refused("a: \xe2\x82", {"UTF-8"});
}

BOOST_AUTO_TEST_CASE(limits) {
  std::string deep;
  for (int i = 0; i < 64; ++i) deep += "[";
  const std::string close(64, ']');
  BOOST_TEST(parse_yaml(deep + close, "c.yaml").items.size() == 1u);
  refused(fmt::format("[{}{}]", deep, close), {"nested deeper than 64"});
  refused(fmt::format("a: &a [{}{}]\nb: {}*a{}\n", deep.substr(8), close.substr(8), deep.substr(32), close.substr(32)),
          {"nested deeper than 64"});
  // A billion laughs: 10^9 values in 300 bytes.
  std::string laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 10; ++i) {
    laughs += fmt::format("a{0}: &a{0} [", i);
    for (int k = 0; k < 10; ++k) laughs += fmt::format("{}*a{}", k ? ", " : "", i - 1);
    laughs += "]\n";
  }
  refused(laughs, {"more than 100000 values"});
  std::string long_text = fmt::format("a: &a {}\nb: [", std::string(1 << 19, 'x'));
  for (int i = 0; i < 100; ++i) long_text += "*a, ";
  refused(long_text.append("]\n"), {"bytes of text"});
}

BOOST_AUTO_TEST_CASE(bad_files) {
  const TemporaryFile file("a: 1\n");
  BOOST_TEST(levin::load_yaml(file.path()).entries.size() == 1u);
  check_throws<ConfigError>([&] { levin::load_yaml(file.directory()); }, {"is a directory"});
  check_throws<ConfigError>([&] { levin::load_yaml(file.path() + "x"); }, {"no such file", "config.yamlx"});
  check_throws<ConfigError>([&] { levin::load_yaml("/dev/zero"); }, {"not a regular file"});
  const TemporaryFile large(std::string((1 << 20) + 1, '#'));
  check_throws<ConfigError>([&] { levin::load_yaml(large.path()); }, {"larger than 1048576 bytes"});
  const TemporaryFile list("- 1\n- 2\n");
  check_throws<ConfigError>([&] { levin::load_yaml(list.path()); }, {":1:1: the file is not a map"});
}

BOOST_AUTO_TEST_SUITE_END()
