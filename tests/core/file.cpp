// What the system refuses is an error whose remedy fits the operation.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "levin/checkpoint/safetensors.h"
#include "levin/core/error.h"
#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(core_file)

namespace {

namespace fs = std::filesystem;

/// A user who may not read what belongs to others; root gives its rights away for as long as this lives.
class PlainUser {
 public:
  PlainUser() {
    if (geteuid() == 0) BOOST_REQUIRE(seteuid(65534) == 0);
  }
  ~PlainUser() { BOOST_CHECK(getuid() != 0 || seteuid(0) == 0); }
};

}  // namespace

BOOST_AUTO_TEST_CASE(the_remedy_for_an_unreadable_file_is_about_reading) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("levin_core_file_{}", getpid());
  fs::create_directories(folder);
  const auto file = folder / "weights.safetensors";
  std::ofstream(file) << "secret";
  chmod(file.c_str(), 0);
  try {
    const PlainUser user;
    levin::SafetensorsReader reader(file);
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::IoError& error) {
    const std::string message = error.what();
    for (const auto& part : {"cannot open " + file.string(), std::string("Permission denied"), std::string("read permission")})
      BOOST_TEST(message.find(part) != std::string::npos, message);
    for (const char* part : {"save", "written"}) BOOST_TEST(message.find(part) == std::string::npos, message);
  }
  fs::remove_all(folder);
}

BOOST_AUTO_TEST_SUITE_END()
