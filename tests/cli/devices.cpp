#include "levin/cli/devices.h"

#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(cli_devices)

BOOST_AUTO_TEST_CASE(the_lines_to_use) {
  const auto alone = levin::explain_devices(4, 1, {"./job", "fit", "--run_name", "it's a name", "--trainer.devices", "4"});
  BOOST_TEST(static_cast<int>(alone.exit_code()) == 78);
  BOOST_TEST(alone.what() ==
             "[config] trainer.devices is 4, but the program was started as 1 rank; start it with a launcher:\n"
             "  mpirun -n 4 ./job fit --run_name 'it'\\''s a name' --trainer.devices 4\n"
             "  srun -n 4 ./job fit --run_name 'it'\\''s a name' --trainer.devices 4");
  BOOST_TEST(std::string(levin::explain_devices(1, 2, {"./job"}).what()).find("is 1, but the program was started as 2 ranks") !=
             std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
