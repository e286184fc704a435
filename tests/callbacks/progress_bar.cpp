#include "levin/callbacks/progress_bar.h"

#include <algorithm>
#include <regex>

#include "../trainer/toy.h"
#include "levin_test.h"

using namespace levin::test;

BOOST_AUTO_TEST_SUITE(callbacks_progress_bar)

BOOST_AUTO_TEST_CASE(progress_is_lines_or_a_bar_on_rank_0) {
  for (bool terminal : {false, true}) {
    std::string text;
    ToyData data;
    levin::Trainer trainer({.max_epochs = 2}, runtime());
    const levin::ProgressBarConfig config{.style = terminal ? levin::ProgressStyle::bar : levin::ProgressStyle::lines,
                                          .refresh_interval = levin::Seconds{0}};
    trainer.add_callback(std::make_shared<levin::ProgressBar>(config, [&](const std::string& part) { text += part; }));
    const auto module = trainer.build<Toy>();
    trainer.fit(*module, data);
    if (runtime().rank() != 0) {
      BOOST_TEST(text.empty());
      continue;
    }
    BOOST_TEST(text.find("epoch 1 training 5/5 step 10 train_loss ") != std::string::npos);
    BOOST_TEST((text.find("[########################] epoch 0") != std::string::npos) == terminal);
    BOOST_TEST((text.find('\r') != std::string::npos) == terminal);
  }
}

BOOST_AUTO_TEST_CASE(a_pass_under_way_has_its_pace_and_the_time_left) {
  BOOST_TEST(levin::ProgressBar::pace_text(0.25, 6) == "4 batches/s, 0:02 left");
  BOOST_TEST(levin::ProgressBar::pace_text(0.001, 90'000) == "1000 batches/s, 1:30 left");
  BOOST_TEST(levin::ProgressBar::pace_text(2, 1830) == "2 s/batch, 1:01:00 left");
  std::string text;
  ToyData data;
  levin::Trainer trainer({.max_epochs = 2, .num_sanity_val_steps = 0}, runtime());
  const levin::ProgressBarConfig config{.style = levin::ProgressStyle::lines, .refresh_interval = levin::Seconds{0}};
  trainer.add_callback(std::make_shared<levin::ProgressBar>(config, [&](const std::string& part) { text += part; }));
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  if (runtime().rank() != 0) return;
  const auto has = [&](const char* line) { return std::regex_search(text, std::regex(line)); };
  BOOST_TEST(has("epoch 0 training 3/5 [0-9.e+]+ (batches/s|s/batch), 0:0[0-9] left step 3 train_loss"), text);
  BOOST_TEST(has("epoch 1 training 4/5 [0-9.e+]+ (batches/s|s/batch), 0:0[0-9] left step 9 train_loss"), text);
  BOOST_TEST(has("epoch 1 training 5/5 step 10 train_loss"), text);
  BOOST_TEST(has("epoch 1 validating 1/2 "), text);
}

BOOST_AUTO_TEST_CASE(plain_lines_are_seconds_apart) {
  std::string text;
  ToyData data;
  levin::Trainer trainer({.max_epochs = 3}, runtime());
  trainer.add_callback(std::make_shared<levin::ProgressBar>(levin::ProgressBarConfig{.style = levin::ProgressStyle::lines},
                                                            [&](const std::string& part) { text += part; }));
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  BOOST_TEST(std::count(text.begin(), text.end(), '\n') == (runtime().rank() == 0 ? 3 : 0));  // the ends of the epochs
}

BOOST_AUTO_TEST_SUITE_END()
