#include "../../src/core/status_line.h"

#include <cstdlib>

#include "levin/core/log.h"
#include "levin_test.h"
#include "terminal.h"

using levin::detail::cut_to_columns, levin::detail::StatusLine, levin::detail::terminal_columns;
using levin::test::PseudoTerminal;

BOOST_AUTO_TEST_SUITE(core_status_line)

using Lines = std::vector<std::string>;

BOOST_AUTO_TEST_CASE(lines_shown_stay_below_those_printed) {
  PseudoTerminal terminal(20);
  StatusLine status(terminal.file());
  status.print("before\n");
  status.show({"training 1/5"});
  status.print("a line of the log that is wider than the terminal\n");
  status.show({"training 2/5", "  validating 10/10"});
  status.print("another\n");
  status.show({"training 2/5", "  validating 1/1"});
  status.show({"training 3"});
  status.finish();
  status.print("after\n");
  status.show({"testing"});
  status.show({});
  status.print("end\n");
  status.finish();
  const Lines expected{"before", "a line of the log th", "at is wider than the", " terminal", "another", "training 3", "after", "end", ""};
  BOOST_TEST(terminal.lines() == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(wide_lines_are_cut) {
  PseudoTerminal terminal(16);
  StatusLine status(terminal.file());
  for (int i = 0; i < 50; i++) status.show({"größe of all that is " + std::to_string(i), "two\nlines\033[2A"});
  status.finish();
  BOOST_TEST(terminal.lines() == (Lines{"größe of all th", "two?lines?[2A", ""}), boost::test_tools::per_element());
  BOOST_TEST(cut_to_columns("\xE6\xB8\xA9\xE5\xBA\xA6 1", 4) == "\xE6\xB8\xA9\xE5\xBA\xA6");  // two columns each
  BOOST_TEST(cut_to_columns("\xE6\xB8\xA9\xE5\xBA\xA6 1", 3) == "\xE6\xB8\xA9");
  BOOST_TEST(cut_to_columns("\xC3", 5) == "\xC3");
}

BOOST_AUTO_TEST_CASE(the_width_is_that_of_the_terminal_or_of_the_environment) {
  PseudoTerminal terminal(47);
  BOOST_TEST(terminal_columns(terminal.file()) == 47u);
  const int no_terminal = open("/dev/null", O_WRONLY);
  const char* before = std::getenv("COLUMNS");
  const std::string kept = before ? before : "";
  for (const auto& [text, columns] : {std::pair{"132", 132u}, {"", 80u}, {"wide", 80u}, {"0", 80u}, {"-5", 80u}}) {
    setenv("COLUMNS", text, 1);
    BOOST_TEST(terminal_columns(no_terminal) == columns, text);
  }
  before ? setenv("COLUMNS", kept.c_str(), 1) : unsetenv("COLUMNS");
  close(no_terminal);
}

BOOST_AUTO_TEST_CASE(the_log_prints_above_what_is_shown) {
  PseudoTerminal terminal(40);
  {
    const levin::test::StandardErrorAs terminal_as_standard_error(terminal.file());
    const auto log = levin::Log::to_stderr(0);
    const levin::Log copy = log;
    log.info("first");
    copy.status_line()->show({"epoch 0"});
    copy.warning("second");
    copy.status_line()->show({"epoch 1"});
    copy.status_line()->finish();
  }
  BOOST_TEST(terminal.lines() == (Lines{"first", "warning: second", "epoch 1", ""}), boost::test_tools::per_element());
  BOOST_TEST(!levin::Log().status_line());
}

BOOST_AUTO_TEST_SUITE_END()
