#include "levin/core/config_value.h"

#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(core_config_value)

BOOST_AUTO_TEST_CASE(yaml_text) {
  using levin::ConfigValue;
  auto root = ConfigValue::map();
  auto trainer = ConfigValue::map();
  trainer.add("max_epochs", ConfigValue::scalar("5"), "how many");
  trainer.add("name", ConfigValue::scalar("5", true));
  trainer.add("a key", ConfigValue::scalar("a: b", true));
  trainer.add("nothing", ConfigValue());
  auto item = ConfigValue::map();
  item.add("width", ConfigValue::scalar("1"), "not repeated in a list");
  item.add("name", ConfigValue::scalar("true", true));
  auto list = ConfigValue::sequence();
  list.items = {item, item};
  trainer.add("list", list);
  trainer.add("empty", ConfigValue::map());
  root.add("trainer", trainer, "the trainer");
  BOOST_TEST(levin::to_yaml(root, true) ==
             "trainer:  # the trainer\n"
             "  max_epochs: 5  # how many\n"
             "  name: \"5\"\n"
             "  \"a key\": \"a: b\"\n"
             "  nothing: null\n"
             "  list:\n"
             "    - width: 1\n"
             "      name: \"true\"\n"
             "    - width: 1\n"
             "      name: \"true\"\n"
             "  empty: {}\n");
  const auto leaves = levin::flatten(root);
  BOOST_TEST(leaves.size() == 6u);
  BOOST_TEST(leaves[0].first == "trainer.max_epochs");
  BOOST_TEST(leaves[0].second == "5");
}

BOOST_AUTO_TEST_SUITE_END()
