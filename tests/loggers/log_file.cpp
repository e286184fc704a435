#include "../../src/loggers/log_file.h"

#include <sys/resource.h>

#include <csignal>

#include "levin/core/error.h"
#include "levin_test.h"
#include "log_folder.h"

using levin::detail::LogFile;
using levin::test::LogFolder;
using levin::test::text_of;

BOOST_AUTO_TEST_SUITE(loggers_log_file)

namespace {

// No file of this process grows beyond this size.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_;
};

}  // namespace

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
