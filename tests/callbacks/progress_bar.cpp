#include "levin/callbacks/progress_bar.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <regex>

#include "../trainer/toy.h"
#include "counting_stream.h"
#include "levin/core/log.h"
#include "levin_test.h"
#include "terminal.h"

using namespace levin::test;

BOOST_AUTO_TEST_SUITE(callbacks_progress_bar)

namespace {

// Warns in its third step, shows a value of each stage, and may look at the terminal after a batch of a validation.
struct Talking : Toy {
  levin::Tensor training_step(const levin::Batch& batch) override {
    if (trainer().global_step() == 2) trainer().session().runtime().log().warning("a line of the log");
    return Toy::training_step(batch);
  }
  void validation_step(const levin::Batch&) override { log("val_bar", 0.5, {.prog_bar = true}); }
  void test_step(const levin::Batch&) override { log("test_bar", 0.25, {.prog_bar = true}); }
  void on_validation_batch_end(const levin::Batch&, int64_t batch_idx) override {
    if (after_validation_batch) after_validation_batch(batch_idx);
  }
  std::function<void(int64_t)> after_validation_batch;
};

struct StreamData : levin::DataModule {
  levin::DataLoaderSpec train_dataloader() override {
    const std::vector<int64_t> samples(static_cast<size_t>(runtime().size()), 9);
    return {std::make_shared<CountingStream>(samples), levin::DataLoaderOptions{.batch_size = 3}};
  }
};

std::shared_ptr<levin::ProgressBar> eager_bar(levin::ProgressStyle style, levin::ProgressBar::Write write = {}) {
  return std::make_shared<levin::ProgressBar>(levin::ProgressBarConfig{.style = style, .refresh_interval = levin::Seconds{0}},
                                              std::move(write));
}

void check_lines(const std::vector<std::string>& lines, const std::vector<std::string>& patterns) {
  std::string all;
  for (const auto& line : lines) all += "  |" + line + "|\n";
  BOOST_TEST(lines.size() == patterns.size(), "\n" << all);
  for (size_t i = 0; i < std::min(lines.size(), patterns.size()); i++)
    BOOST_TEST(std::regex_match(lines[i], std::regex(patterns[i])), "line " << i << " is not " << patterns[i] << "\n" << all);
}

}  // namespace

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

BOOST_AUTO_TEST_CASE(a_terminal_has_a_line_for_each_epoch_and_pass_below_the_log) {
  const char* before = std::getenv("TERM");
  const std::string kept = before ? before : "";
  setenv("TERM", "xterm", 1);
  for (const uint16_t columns : {100, 40}) {
    PseudoTerminal terminal(columns);
    {
      const StandardErrorAs terminal_as_standard_error(terminal.file());
      levin::MpiRuntime noisy(runtime().communicator());
      if (noisy.rank() == 0) noisy.set_log(levin::Log::to_stderr(0, levin::LogLevel::warning));
      ToyData data;
      levin::Trainer trainer({.max_epochs = 2}, noisy);
      trainer.add_callback(eager_bar(levin::ProgressStyle::automatic));
      const auto module = trainer.build<Talking>();
      trainer.fit(*module, data);
      trainer.validate(*module, data);
      trainer.test(*module, data);
      trainer.predict(*module, data);
    }
    const auto lines = terminal.lines();
    if (runtime().rank() != 0) {
      check_lines(lines, {""});
      continue;
    }
    const std::string bar = columns == 100 ? "\\[#{24}\\] " : "";
    const std::string end = columns == 100 ? "train_loss [0-9.e+-]+ val_bar 0.5" : "train_l.*";
    check_lines(lines,
                {"warning: a line of the log", bar + "epoch 0 training 5/5 step 5 " + end, bar + "epoch 1 training 5/5 step 10 " + end,
                 bar + "validating 2/2 val_bar 0.5", bar + "testing 2/2 test_bar 0.25", bar + "predicting 2/2", ""});
    for (const auto& line : lines) BOOST_TEST(line.size() < columns, line);
  }
  before ? setenv("TERM", kept.c_str(), 1) : unsetenv("TERM");
}

BOOST_AUTO_TEST_CASE(a_validation_inside_the_training_is_below_it) {
  std::string text;
  const auto screen = [&] { return lines_on_terminal(text, std::numeric_limits<size_t>::max()); };
  std::vector<std::vector<std::string>> seen;
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1, .val_check_interval = levin::Limit::batches(3)}, runtime());
  trainer.add_callback(eager_bar(levin::ProgressStyle::bar, [&](const std::string& part) { text += part; }));
  const auto module = trainer.build<Talking>();
  module->after_validation_batch = [&](int64_t) { seen.push_back(screen()); };
  trainer.fit(*module, data);
  if (runtime().rank() != 0) return;
  BOOST_REQUIRE(seen.size() == 4);
  check_lines(seen[1], {"\\[#{24}\\] sanity check 2/2 val_bar 0.5"});
  const std::string training = "\\[#{14}\\.{10}\\] epoch 0 training 3/5 .*0:0[0-9] left step 3 train_loss [0-9.e+-]+";
  check_lines(seen[2], {training, "  \\[#{12}\\.{12}\\] validating 1/2 val_bar 0.5"});
  check_lines(seen[3], {training, "  \\[#{24}\\] validating 2/2 val_bar 0.5"});
  check_lines(screen(), {"\\[#{24}\\] epoch 0 training 5/5 step 5 train_loss [0-9.e+-]+ val_bar 0.5", ""});
}

BOOST_AUTO_TEST_CASE(an_error_leaves_the_last_state) {
  std::string text;
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1, .num_sanity_val_steps = 0}, runtime());
  trainer.add_callback(eager_bar(levin::ProgressStyle::bar, [&](const std::string& part) { text += part; }));
  const auto module = trainer.build<Toy>();
  if (runtime().rank() == 0) module->fail_at_step = 2;  // the others lose their communicator
  BOOST_CHECK_THROW(trainer.fit(*module, data), std::exception);
  if (runtime().rank() != 0) return;
  check_lines(lines_on_terminal(text, std::numeric_limits<size_t>::max()), {"\\[#{9}\\.{15}\\] epoch 0 training 2/5 .*", ""});
}

BOOST_AUTO_TEST_CASE(data_of_unknown_length_have_the_time_so_far) {
  std::string text;
  StreamData data;
  levin::Trainer trainer({.max_epochs = 1}, runtime());
  trainer.add_callback(eager_bar(levin::ProgressStyle::lines, [&](const std::string& part) { text += part; }));
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  if (runtime().rank() != 0) return;
  BOOST_TEST(text.find("epoch 0 training 1/? step 1 train_loss ") != std::string::npos, text);
  BOOST_TEST(std::regex_search(text, std::regex("epoch 0 training 2/\\? [0-9.e+]+ (batches/s|s/batch), 0:0[0-9] so far step 2 train_loss")),
             text);
  BOOST_TEST(text.find("epoch 0 training 3/3 step 3 train_loss ") != std::string::npos, text);
}

BOOST_AUTO_TEST_SUITE_END()
