#include "levin/cli/devices.h"

#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(cli_devices)

BOOST_AUTO_TEST_CASE(the_lines_to_use) {
  const auto alone = levin::explain_devices(4, 1, {"./job", "fit", "--run_name", "it's a name", "--trainer.devices", "4"});
  BOOST_TEST(static_cast<int>(alone.exit_code()) == 78);
  BOOST_TEST(alone.what() ==
             "[config] trainer.devices asks for 4 ranks, and the program was started alone; a launcher starts the ranks:\n"
             "  mpirun -n 4 ./job fit --run_name 'it'\\''s a name' --trainer.devices 4\n"
             "  srun -n 4 ./job fit --run_name 'it'\\''s a name' --trainer.devices 4");
  BOOST_TEST(std::string(levin::explain_devices(1, 2, {"./job"}).what()).find("asks for 1 rank, and the program was started on 2") !=
             std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
