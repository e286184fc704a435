#include "levin/loggers/json_logger.h"

#include <cmath>
#include <limits>

#include "levin/core/error.h"
#include "levin_test.h"
#include "log_folder.h"

using levin::test::json_lines_of;
using levin::test::LogFolder;

BOOST_AUTO_TEST_SUITE(loggers_json_logger)

BOOST_AUTO_TEST_CASE(a_line_has_step_epoch_time_and_values) {
  LogFolder folder;
  const double infinity = std::numeric_limits<double>::infinity();
  {
    levin::JSONLogger logger({.prefix = "run"}, folder.path);
    logger.log_metrics({{"loss", 0.1}, {"odd \"name\"", 1e-300}}, 2, 99);
  }
  {
    levin::JSONLogger logger({}, folder.path);  // continues the file
    logger.log_metrics({{"step", 7}, {"nan", std::nan("")}, {"low", -infinity}, {"high", infinity}, {"bad \xff", 1}}, 3, 100);
  }
  const auto lines = json_lines_of(folder.path / "metrics.jsonl");
  BOOST_REQUIRE(lines.size() == 2);
  BOOST_TEST(lines[0].at("step") == 99);
  BOOST_TEST(lines[0].at("epoch") == 2);
  BOOST_TEST(lines[0].at("time").get<double>() > 1.7e9);
  BOOST_TEST(lines[0].at("run-loss") == 0.1);
  BOOST_TEST(lines[0].at("run-odd \"name\"") == 1e-300);
  BOOST_TEST(lines[1].at("step") == 100);
  BOOST_TEST(lines[1].at("metrics/step") == 7);
  BOOST_TEST(lines[1].at("nan") == "NaN");
  BOOST_TEST(lines[1].at("low") == "-Infinity");
  BOOST_TEST(lines[1].at("high") == "Infinity");
  BOOST_TEST(lines[1].size() == 8u);
}

BOOST_AUTO_TEST_CASE(a_training_keeps_its_past_and_moves_other_lines_aside) {
  LogFolder folder;
  levin::StateDict after_two;
  {
    levin::JSONLogger logger({}, folder.path);
    logger.begin_training(0);
    for (int step = 0; step < 4; step++) {
      if (step == 2) after_two = logger.state_dict();
      logger.log_metrics({{"loss", 10.0 + step}}, 0, step);
    }
  }
  {
    levin::JSONLogger logger({}, folder.path);
    logger.load_state_dict(after_two);
    logger.begin_training(2);
    logger.log_metrics({{"loss", 22}}, 0, 2);
  }
  std::vector<double> kept, moved;
  for (const auto& line : json_lines_of(folder.path / "metrics.jsonl")) kept.push_back(line.at("loss"));
  for (const auto& line : json_lines_of(folder.path / "metrics.abandoned.jsonl")) {
    moved.push_back(line.at("loss"));
    BOOST_TEST(line.at("moved").get<std::string>().size() == 20u);
  }
  BOOST_TEST(kept == (std::vector<double>{10, 11, 22}), boost::test_tools::per_element());
  BOOST_TEST(moved == (std::vector<double>{12, 13}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_written_is_an_error) {
  levin::test::check_throws<levin::IoError>([] { levin::JSONLogger({.save_dir = "/proc/none"}); },
                                            {"[loggers]", "/proc/none/metrics.jsonl", "--run_dir"});
}

BOOST_AUTO_TEST_SUITE_END()
