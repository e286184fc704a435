#include "../../src/loggers/log_file.h"

#include "levin/core/error.h"
#include "levin_test.h"
#include "log_folder.h"

using levin::detail::LogFile;
using levin::test::FileSizeLimit;
using levin::test::LogFolder;
using levin::test::text_of;

BOOST_AUTO_TEST_SUITE(loggers_log_file)

BOOST_AUTO_TEST_CASE(what_could_not_be_written_is_written_later) {
  LogFolder folder;
  LogFile file(folder.path / "log", LogFile::Mode::append, {1000});
  file.write("first\n");
  file.write("second\n");
  {
    const FileSizeLimit full(8);
    levin::test::check_throws<levin::IoError>([&] { file.flush(); }, {"[loggers]", "log"});
    BOOST_TEST(text_of(file.path()) == "first\nse");
    file.write("third\n");
    BOOST_TEST(file.size() == 19);
  }
  file.flush();
  BOOST_TEST(text_of(file.path()) == "first\nsecond\nthird\n");
}

BOOST_AUTO_TEST_CASE(the_end_writes_what_is_left) {
  LogFolder folder;
  { LogFile(folder.path / "made/log", LogFile::Mode::create_new, {1000}).write("line\n"); }
  BOOST_TEST(text_of(folder.path / "made/log") == "line\n");
  levin::test::check_throws<levin::IoError>([&] { LogFile(folder.path / "made/log", LogFile::Mode::create_new, {1}); }, {"File exists"});
}

BOOST_AUTO_TEST_SUITE_END()
