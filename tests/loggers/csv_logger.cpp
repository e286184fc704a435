#include "levin/loggers/csv_logger.h"

#include <cmath>
#include <limits>
#include <locale>

#include "levin/core/error.h"
#include "levin_test.h"
#include "log_folder.h"

using levin::test::LogFolder;
using levin::test::text_of;

BOOST_AUTO_TEST_SUITE(loggers_csv_logger)

BOOST_AUTO_TEST_CASE(appends_and_never_rewrites) {
  LogFolder folder;
  const auto file = folder.path / "metrics.csv";
  {
    levin::CSVLogger logger(file);
    logger.log_metrics({{"train_loss", 0.5}}, 0, 49);
    logger.finalize();
  }
  const std::string first = text_of(file);
  BOOST_TEST(first == "step,epoch,name,value\n49,0,train_loss,0.5\n");
  {
    levin::CSVLogger logger(file);
    logger.log_metrics({{"train_loss", 0.1}, {"a \"new\", one", 1e-300}}, 1, 99);
    logger.finalize();
  }
  BOOST_TEST(text_of(file) == first + "99,1,train_loss,0.1\n99,1,\"a \"\"new\"\", one\",1e-300\n");
}

BOOST_AUTO_TEST_CASE(values_are_the_same_in_every_locale_and_nan_has_no_sign) {
  struct German : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
  };
  LogFolder folder;
  const auto before = std::locale::global(std::locale(std::locale::classic(), new German));
  levin::CSVLogger logger(folder.path / "metrics.csv");
  const double infinity = std::numeric_limits<double>::infinity();
  logger.log_metrics({{"loss", 1234567.5}, {"nan", std::copysign(std::nan(""), -1.0)}, {"low", -infinity}}, 1000, 1234567);
  logger.finalize();
  std::locale::global(before);
  BOOST_TEST(text_of(folder.path / "metrics.csv") ==
             "step,epoch,name,value\n1234567,1000,loss,1234567.5\n1234567,1000,nan,nan\n1234567,1000,low,-inf\n");
}

BOOST_AUTO_TEST_CASE(a_training_keeps_its_past_and_moves_other_lines_aside) {
  LogFolder folder;
  const auto file = folder.path / "metrics.csv", aside = folder.path / "metrics.abandoned.csv";
  const std::string header = "step,epoch,name,value\n";
  levin::StateDict after_two;
  {
    levin::CSVLogger logger(file);
    logger.begin_training(0);
    for (int step = 0; step < 4; step++) {
      if (step == 2) after_two = logger.state_dict();
      logger.log_metrics({{"loss", 10.0 + step}}, 0, step);
    }
  }
  BOOST_TEST(!std::filesystem::exists(aside));
  {
    levin::CSVLogger logger(file);
    logger.log_metrics({{"early", 1}}, 0, 1);  // before the training begins
    logger.load_state_dict(after_two);
    logger.begin_training(2);
    logger.log_metrics({{"loss", 22}}, 0, 2);
  }
  BOOST_TEST(text_of(file) == header + "0,0,loss,10\n1,0,loss,11\n1,0,early,1\n2,0,loss,22\n");
  std::string moved = text_of(aside);
  const std::string time = moved.substr(moved.find('\n') + 1, 20);
  BOOST_TEST(moved == "moved,step,epoch,name,value\n" + time + ",2,0,loss,12\n" + time + ",3,0,loss,13\n");
  BOOST_TEST((time.size() == 20 && time[10] == 'T' && time.back() == 'Z'));
  {
    levin::CSVLogger logger(file);  // a fit that begins anew
    logger.begin_training(0);
    logger.log_metrics({{"loss", 30}}, 0, 0);
    logger.begin_training(1);  // and another in the same program
    logger.log_metrics({{"loss", 31}}, 0, 1);
  }
  BOOST_TEST(text_of(file) == header + "0,0,loss,30\n1,0,loss,31\n");
  BOOST_TEST(text_of(aside).starts_with(moved));
  BOOST_TEST(text_of(aside).find("2,0,loss,22\n") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(fields_set_folder_and_format) {
  LogFolder folder;
  levin::CSVLogger plain(levin::CSVLoggerConfig{}, folder.path);
  const auto other = folder.path / "made" / "for it";
  levin::CSVLogger placed({.save_dir = other, .prefix = "run", .flush_interval = {0}}, folder.path);
  for (auto* logger : {&plain, &placed}) logger->log_metrics({{"loss", 2}}, 0, 1);
  BOOST_TEST(text_of(other / "metrics.csv") == "step,epoch,name,value\n1,0,run-loss,2\n");  // at once
  BOOST_TEST(text_of(folder.path / "metrics.csv") == "step,epoch,name,value\n");            // within a second
  plain.finalize();
  BOOST_TEST(text_of(folder.path / "metrics.csv") == "step,epoch,name,value\n1,0,loss,2\n");
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_written_is_an_error) {
  levin::test::check_throws<levin::IoError>([] { levin::CSVLogger("/proc/none/metrics.csv"); },
                                            {"[loggers]", "/proc/none/metrics.csv", "--run_dir"});
  levin::test::check_throws<levin::IoError>([] { levin::CSVLogger("/dev/full"); }, {"/dev/full", "No space left"});
}

BOOST_AUTO_TEST_SUITE_END()
