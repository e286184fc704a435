#include "levin/core/config.h"

#include "levin/core/error.h"
#include "levin_test.h"

// A namespace that is not Levin's, as a user's is.
namespace a_users_job {

enum class Reduce { sum, mean };
LEVIN_ENUM(Reduce, (sum, "sum"), (mean, "mean"))

struct Clip {
  double clip_val = 0.5;
  std::string clip_algorithm = "norm";
};
LEVIN_CONFIG(Clip, (clip_val, "largest norm", greater_than(0)), (clip_algorithm, "norm or value", one_of({"norm", "value"})))

struct Layer {
  int32_t width = 8;
  std::string name = "relu";
};
LEVIN_CONFIG(Layer, (width, "outputs", at_least(1)), (name, "activation"))

struct Plain {};
LEVIN_CONFIG(Plain)
LEVIN_CHOICE(Plain, "single", "single_device")

struct Sharded {
  int64_t prefetch = 1;
  levin::Bytes bucket{25 << 20};
};
LEVIN_CONFIG(Sharded, (prefetch, "units ahead", between(0, 8)), (bucket, "bytes of a bucket", at_least(levin::Bytes{4096})))
LEVIN_CHOICE(Sharded, "fsdp", "deepspeed_stage_3")

struct Replicated {
  int64_t prefetch = 3;
};
LEVIN_CONFIG(Replicated, (prefetch, "buckets ahead"))
LEVIN_CHOICE(Replicated, "ddp")

struct Everything {
  bool flag = false;
  int64_t whole = 7;
  uint8_t small = 1;
  double real = 1.0;
  float single = 0.1f;
  std::string text = "a: b # c";
  std::filesystem::path path = "runs/x";
  levin::Seconds time{90};
  levin::Bytes size{4096};
  levin::Limit limit;
  Reduce reduce = Reduce::mean;
  std::optional<int64_t> maybe;
  std::optional<std::string> word;
  std::vector<int64_t> list{1, 2};
  std::vector<Layer> layers{{}, {16, "tanh"}};
  std::map<std::string, double> weights{{"cat", 1}, {"a dog", 2}};
  Layer layer;
  Clip clip;
  std::variant<Plain, Sharded, Replicated> strategy;
  std::optional<std::variant<Sharded, Replicated>> extra;
  double open = 0;

  void validate() const {
    if (whole == 13) throw levin::ConfigError("whole must not be 13", "take 14");
  }
};
LEVIN_CONFIG(Everything, (flag, "a flag"), (whole, "an integer", at_least(-1)), (small, "a byte"), (real, "a number", at_most(10)),
             (single, "a float"), (text, "text"), (path, "a path"), (time, "a duration", at_least(levin::Seconds{1})), (size, "a size"),
             (limit, "batches"), (reduce, "how to reduce"), (maybe, "perhaps", at_least(0)), (word, "perhaps a word"),
             (list, "numbers", at_least(0)), (layers, "the layers"), (weights, "by class", at_least(0)), (layer, "a layer"),
             (clip, "clipping", flattened), (strategy, "the strategy"), (extra, "another"), (open, "may be infinite", infinite_allowed))

struct Outer {
  Everything inner;
};
LEVIN_CONFIG(Outer, (inner, "all of it"))

struct Hundred {
#define FIVE(n) int64_t n##0 = 0, n##1 = 0, n##2 = 0, n##3 = 0, n##4 = 0;
  // clang-format off
  FIVE(a) FIVE(b) FIVE(c) FIVE(d) FIVE(e) FIVE(f) FIVE(g) FIVE(h) FIVE(i) FIVE(j)
  FIVE(k) FIVE(l) FIVE(m) FIVE(n) FIVE(o) FIVE(p) FIVE(q) FIVE(r) FIVE(s) FIVE(t)
  // clang-format on
};
#undef FIVE
#define FIVE(n) (n##0, "x"), (n##1, "x"), (n##2, "x"), (n##3, "x"), (n##4, "x")
LEVIN_CONFIG(Hundred, FIVE(a), FIVE(b), FIVE(c), FIVE(d), FIVE(e), FIVE(f), FIVE(g), FIVE(h), FIVE(i), FIVE(j), FIVE(k), FIVE(l), FIVE(m),
             FIVE(n), FIVE(o), FIVE(p), FIVE(q), FIVE(r), FIVE(s), FIVE(t))

}  // namespace a_users_job

BOOST_AUTO_TEST_SUITE(core_config)

namespace {

using a_users_job::Everything;
using levin::ConfigError;
using levin::ConfigValue;
using levin::test::check_throws;

ConfigValue word(const std::string& text) { return ConfigValue::scalar(text); }

// {key: text}, for a key with dots nested.
ConfigValue with_value(const std::string& path, ConfigValue value) {
  std::vector<std::string> parts{""};
  for (char c : path)
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  return ConfigValue::at_path(parts, std::move(value));
}

Everything with(const std::string& path, ConfigValue value) {
  Everything config;
  levin::read_config(config, with_value(path, std::move(value)));
  return config;
}
Everything with(const std::string& path, const std::string& text) { return with(path, word(text)); }

void refused(const std::string& path, ConfigValue value, const std::vector<std::string>& parts) {
  check_throws<ConfigError>([&] { with(path, std::move(value)); }, parts);
}
void refused(const std::string& path, const std::string& text, const std::vector<std::string>& parts) { refused(path, word(text), parts); }

}  // namespace

BOOST_AUTO_TEST_CASE(every_kind_of_scalar_is_read) {
  BOOST_TEST(with("flag", "true").flag);
  BOOST_TEST(with("whole", "-1").whole == -1);
  BOOST_TEST(with("small", "255").small == 255);
  BOOST_TEST(with("real", "2.5e-1").real == 0.25);
  BOOST_TEST(with("single", "0.25").single == 0.25f);
  BOOST_TEST(with("text", "001").text == "001");
  BOOST_TEST(with("path", "/tmp/a b").path == std::filesystem::path("/tmp/a b"));
  BOOST_TEST(with("time", "01:30:00").time.value == 5400);
  BOOST_TEST(with("size", "64 MiB").size.value == 64 << 20);
  BOOST_TEST(with("limit", "1").limit.of(50) == 1);
  BOOST_TEST(with("limit", "0.5").limit.of(50) == 25);
  BOOST_TEST(int(with("reduce", "sum").reduce) == int(a_users_job::Reduce::sum));
  BOOST_TEST(with("maybe", "3").maybe.value() == 3);
  BOOST_TEST(!with("maybe", "null").maybe);
  BOOST_TEST(!with("word", "null").word);
  BOOST_TEST(with("word", ConfigValue::scalar("null", true)).word.value() == "null");
  BOOST_TEST(with("open", "inf").open == std::numeric_limits<double>::infinity());
  BOOST_TEST(with("clip_val", "2").clip.clip_val == 2);
  BOOST_TEST(with("layer.width", "3").layer.width == 3);
}

BOOST_AUTO_TEST_CASE(lists_and_maps_are_read) {
  auto list = ConfigValue::sequence();
  list.items = {word("4"), word("5"), word("6")};
  BOOST_TEST(with("list", list).list == (std::vector<int64_t>{4, 5, 6}));
  auto layers = ConfigValue::sequence();
  layers.items = {with_value("width", word("5"))};
  BOOST_TEST(with("layers", layers).layers.size() == 1u);
  BOOST_TEST(with("layers", layers).layers[0].width == 5);
  // A dotted name sets one entry, a map replaces all.
  BOOST_TEST(with("weights.cat", "3").weights.at("cat") == 3);
  BOOST_TEST(with("weights.cat", "3").weights.size() == 2u);
  auto map = ConfigValue::map();
  map.add("cat", word("3"));
  BOOST_TEST(with("weights", map).weights.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_choice_is_made_by_name) {
  using a_users_job::Sharded;
  BOOST_TEST(with("strategy", "fsdp").strategy.index() == 1u);
  BOOST_TEST(with("strategy", "deepspeed_stage_3").strategy.index() == 1u);
  auto map = ConfigValue::map();
  map.add("prefetch", word("5"));  // the name may stand after the fields
  map.add("name", word("fsdp"));
  Everything config = with("strategy", map);
  BOOST_TEST(std::get<Sharded>(config.strategy).prefetch == 5);
  levin::read_config(config, with_value("strategy.bucket", word("1 MiB")));  // merges with what is chosen
  BOOST_TEST(std::get<Sharded>(config.strategy).prefetch == 5);
  BOOST_TEST(std::get<Sharded>(config.strategy).bucket.value == 1 << 20);
  levin::read_config(config, with_value("strategy", word("fsdp")));  // the same name keeps the fields
  BOOST_TEST(std::get<Sharded>(config.strategy).prefetch == 5);
  levin::read_config(config, with_value("strategy", word("ddp")));  // another one begins with its own defaults
  BOOST_TEST(std::get<a_users_job::Replicated>(config.strategy).prefetch == 3);
  refused("strategy", "fdsp", {"strategy: \"fdsp\" is unknown, did you mean fsdp?", "allowed: one of: single, fsdp, ddp"});
  refused("strategy.prefetch", "2", {"strategy.prefetch: unknown key", "chosen: single"});
  refused("extra.prefetch", "2", {"extra: no alternative is chosen", "one of: fsdp, ddp"});
  BOOST_TEST(with("extra", "ddp").extra->index() == 1u);
}

BOOST_AUTO_TEST_CASE(bad_values_are_refused) {
  refused("whole", "3abc", {"[config] whole: \"3abc\" is not allowed", "allowed: integer, at least -1"});
  refused("whole", "3.0", {"allowed: integer"});
  refused("whole", "", {"has no value"});
  refused("whole", "99999999999999999999", {"whole", "allowed: integer"});
  refused("whole", "-2", {"\"-2\" is too small", "at least -1"});
  refused("small", "256", {"integer of 0 to 255"});
  refused("small", "-1", {"integer of 0 to 255"});
  refused("real", "nan", {"is not finite"});
  refused("real", ".nan", {"is not finite"});
  refused("real", "inf", {"is not finite"});
  refused("real", "1e999", {"allowed: number, at most 10"});
  refused("real", " 1", {"is not allowed"});
  refused("real", "11", {"is too large", "at most 10"});
  refused("flag", "yes", {"allowed: true or false"});
  refused("time", "30 parsecs", {"allowed: a duration", "at least 1 s"});
  refused("time", "0", {"is too small"});
  refused("size", "-1", {"allowed: a size"});
  refused("limit", "1.5", {"a fraction of all"});
  refused("reduce", "men", {"did you mean mean?", "one of: sum, mean"});
  refused("maybe", "-1", {"is too small", "at least 0"});
  refused("clip_val", "0", {"greater than 0"});
  refused("clip_algorithm", "nrom", {"is unknown, did you mean norm?", "one of: norm, value"});
  refused("path", std::string("a\0b", 3), {"NUL"});
  refused("list", "3", {"a list [a, b] of: integer, at least 0"});
  auto list = ConfigValue::sequence();
  list.items = {word("1"), word("-5")};
  refused("list", list, {"list[1]: \"-5\" is too small"});
  refused("whole", list, {"\"[1, -5]\" is not allowed"});
  refused("weights.cat", "-1", {"weights.cat: \"-1\" is too small"});
  refused("weights", "3", {"a map {key: value}"});
  refused("layer", "3", {"layer: \"3\" is not a group of keys", "width, name"});
  refused("layer.widht", "3", {"layer.widht: unknown key", "did you mean layer.width?"});
  refused("clip.clip_val", "3", {"clip: unknown key", "clip_val"});
  refused("whole", "13", {"whole must not be 13", "take 14"});
}

BOOST_AUTO_TEST_CASE(an_error_names_file_and_field) {
  auto value = word("x");
  value.source = levin::ConfigSource::named("run.yaml");
  value.source.line = 3;
  value.source.column = 9;
  refused("whole", value, {"[config] run.yaml:3:9: whole: \"x\" is not allowed"});
  a_users_job::Outer outer;
  outer.inner.whole = 13;
  check_throws<ConfigError>([&] { levin::check_config(outer); }, {"[config] inner: whole must not be 13; take 14"});
  outer.inner.whole = -7;
  check_throws<ConfigError>([&] { levin::check_config(outer); }, {"[config] inner.whole: \"-7\" is too small"});
}

BOOST_AUTO_TEST_CASE(a_refused_value_leaves_the_object) {
  Everything config;
  check_throws<ConfigError>([&] { levin::read_config(config, with_value("whole", word("-9"))); }, {"too small"});
  BOOST_TEST(config.whole == 7);
  check_throws<ConfigError>([&] { levin::read_config(config, with_value("extra", word("nothing"))); }, {"is unknown"});
  BOOST_TEST(!config.extra);
}

BOOST_AUTO_TEST_CASE(written_values_read_back_unchanged) {
  Everything config;
  config.whole = -1;
  config.text = "line\nbreak \"quoted\" \\ é";
  config.maybe = 5;
  config.strategy = a_users_job::Sharded{4, {1 << 20}};
  config.extra = a_users_job::Replicated{9};
  config.weights = {{"x", 1e-5}};
  config.layers.clear();
  const auto written = levin::write_config(config);
  Everything again;
  levin::read_config(again, written);
  BOOST_TEST(levin::to_yaml(levin::write_config(again)) == levin::to_yaml(written));
  BOOST_TEST(again.text == config.text);
  BOOST_TEST(again.weights == config.weights);
  BOOST_TEST(again.layers.empty());
}

BOOST_AUTO_TEST_CASE(flattened_fields_stand_in_the_parent) {
  const auto written = levin::write_config(Everything());
  BOOST_TEST(written.find("clip") == nullptr);
  BOOST_TEST(written.find("clip_val")->text == "0.5");
}

BOOST_AUTO_TEST_CASE(a_hundred_fields) {
  const auto& type = *levin::config_type<a_users_job::Hundred>().as_struct();
  BOOST_TEST(type.fields().size() == 100u);
  BOOST_TEST(type.fields()[99].name == "t4");
  a_users_job::Hundred config;
  levin::read_config(config, with_value("t4", word("8")));
  BOOST_TEST(config.t4 == 8);
}

BOOST_AUTO_TEST_SUITE_END()
