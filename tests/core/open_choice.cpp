#include "levin/core/open_choice.h"

#include "levin/core/config_options.h"
#include "levin/core/error.h"
#include "levin_test.h"

// A user's kind of component: what it makes is text.
namespace a_users_job {

struct Tool {
  virtual ~Tool() = default;
  virtual std::string text() const = 0;
};

struct HammerConfig {
  int64_t weight = 3;
  bool soft = false;
  std::map<std::string, double> grips;
};
LEVIN_CONFIG(HammerConfig, (weight, "how heavy", at_least(1)), (soft, "of rubber"), (grips, "by hand"))
LEVIN_CHOICE(HammerConfig, "hammer", "mallet")
struct Hammer : Tool {
  using Config = HammerConfig;
  explicit Hammer(const HammerConfig& config) : weight(config.weight) {}
  std::string text() const override { return fmt::format("hammer {}", weight); }
  int64_t weight;
};

struct SawConfig {
  double teeth = 10;
};
LEVIN_CONFIG(SawConfig, (teeth, "how many"))
LEVIN_CHOICE(SawConfig, "saw")
struct Saw : Tool {
  using Config = SawConfig;
  Saw(const SawConfig& config, const std::string& owner) : described(fmt::format("saw {} of {}", config.teeth, owner)) {}
  std::string text() const override { return described; }
  std::string described;
};

struct Bell : Tool {
  std::string text() const override { return "bell"; }
};

using Tools = levin::Choices<Tool, std::string>;
struct Switched : Tools {
  Switched(bool on = true) : Tools(on) {}
};

struct Box {
  Tools tools;
  Switched lamp;
};
LEVIN_CONFIG(Box, (tools, "what is in it"), (lamp, "and beside it"))

levin::Registry<Tool, std::string> registry() {
  levin::Registry<Tool, std::string> registry;
  registry.add_default<Hammer>();
  registry.add<Saw>();
  registry.add<Bell>("bell");
  return registry;
}

}  // namespace a_users_job

BOOST_AUTO_TEST_SUITE(core_open_choice)

namespace {

using a_users_job::Box;
using levin::ConfigError;
using levin::ConfigValue;
using levin::test::check_throws;

ConfigValue word(const std::string& text) { return ConfigValue::scalar(text); }
ConfigValue list(std::vector<ConfigValue> items) {
  auto value = ConfigValue::sequence();
  value.items = std::move(items);
  return value;
}
ConfigValue map(std::vector<std::pair<std::string, ConfigValue>> entries) {
  auto value = ConfigValue::map();
  for (auto& [key, entry] : entries) value.add(key, std::move(entry));
  return value;
}

struct Filled {
  Box box;
  Filled() {
    box.tools.offer(a_users_job::registry());
    box.lamp.offer(a_users_job::registry());
  }
  Filled& tools(ConfigValue value) { return read("tools", std::move(value)); }
  Filled& lamp(ConfigValue value) { return read("lamp", std::move(value)); }
  Filled& read(const std::string& key, ConfigValue value) {
    levin::read_config(box, map({{key, std::move(value)}}));
    return *this;
  }
  std::string tools_text() const { return joined(box.tools); }
  std::string lamp_text() const { return joined(box.lamp); }
  static std::string joined(const a_users_job::Tools& tools) {
    std::string text;
    for (const auto& tool : tools.make("Ann")) text += (text.empty() ? "" : ", ") + tool->text();
    return text;
  }
};

void refused(ConfigValue value, const std::vector<std::string>& parts) {
  Filled filled;
  filled.tools(word("saw"));
  check_throws<ConfigError>([&] { filled.tools(std::move(value)); }, parts);
  BOOST_TEST(filled.tools_text() == "saw 10 of Ann");
}

}  // namespace

BOOST_AUTO_TEST_CASE(components_are_made_by_name_in_order) {
  BOOST_TEST(Filled().tools_text().empty());
  BOOST_TEST(Filled().tools(word("mallet")).tools_text() == "hammer 3");
  BOOST_TEST(Filled().tools(list({word("bell"), map({{"weight", word("5")}, {"name", word("hammer")}}), word("saw")})).tools_text() ==
             "bell, hammer 5, saw 10 of Ann");
  BOOST_TEST(Filled().tools(map({{"name", word("saw")}, {"teeth", word("2")}})).tools_text() == "saw 2 of Ann");
  BOOST_TEST(Filled().tools(word("saw")).tools(list({})).tools_text().empty());
  BOOST_TEST(Filled().tools(word("saw")).tools(word("null")).tools_text().empty());
  BOOST_TEST(Filled().tools(word("saw")).tools(word("none")).tools_text().empty());
}

BOOST_AUTO_TEST_CASE(the_name_of_a_class_is_accepted) {
  BOOST_TEST(Filled().tools(list({word("Hammer"), word("Saw")})).tools_text() == "hammer 3, saw 10 of Ann");
  BOOST_TEST(Filled().tools(map({{"name", word("Hammer")}, {"weight", word("5")}})).tools_text() == "hammer 5");
  Filled filled;
  filled.tools(word("hammer")).tools(map({{"Hammer", map({{"weight", word("7")}})}}));  // it is the same component
  BOOST_TEST(filled.tools_text() == "hammer 7");
  BOOST_TEST(levin::to_yaml_line(levin::write_config(filled.box)).find("name: hammer,") != std::string::npos);
  refused(word("Hamer"), {"\"Hamer\" is unknown, did you mean hammer?"});
  refused(word("NoOptions"), {"\"NoOptions\" is unknown"});  // a bell has no class of options
  auto twins = a_users_job::registry();
  twins.add<a_users_job::Saw>("second_saw");
  Box box;
  box.tools.offer(std::move(twins));
  check_throws<ConfigError>(
      [&] {
        levin::read_config(box, map({{"tools", word("Saw")}}));
      },
      {"\"Saw\" is unknown", "hammer, saw, bell, second_saw"});
}

BOOST_AUTO_TEST_CASE(fields_are_set_by_name_or_number) {
  Filled filled;
  filled.tools(list({word("bell"), word("hammer")}));
  const auto before = filled.box;  // copies share what is chosen
  filled.tools(map({{"hammer", map({{"weight", word("7")}})}}));
  BOOST_TEST(filled.tools_text() == "bell, hammer 7");
  BOOST_TEST(Filled::joined(before.tools) == "bell, hammer 3");
  filled.tools(map({{"1", map({{"weight", word("8")}})}}));
  BOOST_TEST(filled.tools_text() == "bell, hammer 8");
  filled.tools(map({{"saw", map({{"teeth", word("4")}})}}));  // what was not chosen is added
  BOOST_TEST(filled.tools_text() == "bell, hammer 8, saw 4 of Ann");
  filled.tools(map({{"0", ConfigValue()}}));
  BOOST_TEST(filled.tools_text() == "bell, hammer 8, saw 4 of Ann");
}

BOOST_AUTO_TEST_CASE(a_switch_has_defaults) {
  BOOST_TEST(Filled().lamp_text() == "hammer 3");
  BOOST_TEST(Filled().box.lamp.by_default());
  BOOST_TEST(!Filled().lamp(word("false")).box.lamp.enabled());
  BOOST_TEST(Filled().lamp(word("false")).lamp(word("true")).lamp_text() == "hammer 3");
  BOOST_TEST(Filled().lamp(word("bell")).lamp_text() == "bell");
  BOOST_TEST(!Filled().lamp(word("bell")).box.lamp.by_default());
  BOOST_TEST(!Filled().lamp(list({})).box.lamp.enabled());
  BOOST_TEST(!Filled().lamp(word("none")).box.lamp.enabled());
  BOOST_TEST(Filled().lamp(map({{"saw", map({{"teeth", word("4")}})}})).lamp_text() == "hammer 3, saw 4 of Ann");
  BOOST_TEST(Filled().lamp(word("false")).lamp(map({{"saw", map({})}})).lamp_text() == "saw 10 of Ann");
  refused(word("true"), {"\"true\" is unknown", "one of: hammer, saw, bell"});
}

BOOST_AUTO_TEST_CASE(written_values_read_back_unchanged) {
  for (auto value : {list({}), word("bell"), list({word("bell"), map({{"name", word("hammer")}, {"weight", word("9")}})})}) {
    Filled filled, again;
    filled.tools(value).lamp(value);
    const auto written = levin::write_config(filled.box);
    levin::read_config(again.box, written);
    BOOST_TEST(levin::to_yaml(levin::write_config(again.box)) == levin::to_yaml(written));
    BOOST_TEST(again.tools_text() == filled.tools_text());
    BOOST_TEST(again.lamp_text() == filled.lamp_text());
  }
  BOOST_TEST(levin::to_yaml(levin::write_config(Filled().box)) == "tools: []\nlamp: true\n");
  Filled filled;
  filled.tools(list({word("bell"), word("hammer")})).lamp(word("false"));
  BOOST_TEST(levin::to_yaml(levin::write_config(filled.box)) ==
             "tools:\n  - bell\n  - name: hammer\n    weight: 3\n    soft: false\n    grips: {}\nlamp: false\n");
}

BOOST_AUTO_TEST_CASE(bad_values_are_refused) {
  refused(word("hamer"), {"tools: \"hamer\" is unknown, did you mean hammer?", "allowed: one of: hammer, saw, bell"});
  refused(list({word("saw"), word("bel")}), {"tools[1]: \"bel\" is unknown, did you mean bell?"});
  refused(list({map({{"name", word("hammer")}, {"wieght", word("2")}})}),
          {"tools[0].wieght: unknown key", "did you mean tools[0].weight?"});
  refused(list({map({{"name", word("hammer")}, {"weight", word("0")}})}), {"tools[0].weight: \"0\" is too small"});
  refused(map({{"hammer", map({{"weight", word("x")}})}}), {"tools.hammer.weight: \"x\" is not allowed"});
  refused(map({{"hamer", map({})}}), {"tools: \"hamer\" is unknown, did you mean hammer?"});
  refused(map({{"hammer", word("3")}}), {"tools.hammer: \"3\" is not a group of keys", "weight, soft, grips"});
  refused(map({{"1", map({})}}), {"tools.1: no component has this number, 1 are chosen"});
  refused(list({list({word("saw")})}), {"tools[0]: \"[saw]\" has no name"});
  refused(list({map({{"weight", word("2")}})}), {"tools[0]", "has no name", "{name: …}"});
  refused(list({map({{"name", list({})}})}), {"has no name"});
  Filled twice;
  check_throws<ConfigError>([&] { twice.tools(list({word("saw"), word("saw")})); }, {"tools[1]: saw is chosen twice with the same fields"});
  Filled both;
  both.tools(list({word("saw"), map({{"name", word("saw")}, {"teeth", word("3")}})}));
  check_throws<ConfigError>([&] { both.tools(map({{"saw", map({})}})); }, {"tools.saw: is chosen more than once", "its number"});
  Box nothing_offered;
  check_throws<ConfigError>(
      [&] {
        levin::read_config(nothing_offered, map({{"tools", word("saw")}}));
      },
      {"tools: \"saw\" is unknown", "there is nothing to choose from"});
}

BOOST_AUTO_TEST_CASE(names_must_fit_beside_others) {
  auto registry = a_users_job::registry();
  check_throws<levin::UsageError>([&] { registry.add<a_users_job::Bell>("mallet"); },
                                  {"two alternatives of a choice have the name mallet"});
  for (const auto* name : {"", "1st", "a.b", "true", "none", "name", "a b"})
    check_throws<levin::UsageError>([&] { registry.add<a_users_job::Bell>(name); }, {"cannot be the name of a component"});
}

BOOST_AUTO_TEST_CASE(fields_of_all_that_can_be_chosen_are_options) {
  Filled filled;
  filled.tools(map({{"name", word("hammer")}, {"weight", word("9")}}));
  std::vector<std::string> lines;
  for (const auto& option : levin::list_options(levin::config_type<Box>(), &filled.box, "box"))
    if (option.path.starts_with("box.tools"))
      lines.push_back(fmt::format("{} = {}{}", option.path, option.value,
                                  option.alternative.empty() ? "" : fmt::format(" of {} {}", option.choice, option.alternative)));
  const std::vector<std::string> expected{"box.tools = [{name: hammer, weight: 9, soft: false, grips: {}}]",
                                          "box.tools.hammer.weight = 9 of box.tools hammer",
                                          "box.tools.hammer.soft = false of box.tools hammer",
                                          "box.tools.hammer.grips = {} of box.tools hammer", "box.tools.saw.teeth = 10.0 of box.tools saw"};
  BOOST_TEST(lines == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
