#include "levin/cluster/batch_job.h"

#include <map>

#include "levin_test.h"

using levin::BatchSystem;

BOOST_AUTO_TEST_SUITE(cluster_batch_job)

namespace {

levin::BatchJob detect(const std::map<std::string, std::string>& variables) {
  return levin::detect_batch_job([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

}  // namespace

BOOST_AUTO_TEST_CASE(slurm) {
  const auto job =
      detect({{"SLURM_JOB_ID", "42"}, {"ENVIRONMENT", "BATCH"}, {"SLURM_RESTART_COUNT", "2"}, {"SLURM_JOB_END_TIME", "1700000000"}});
  BOOST_TEST((job.system == BatchSystem::slurm));
  BOOST_TEST(job.id == "42");
  BOOST_TEST(job.restart_count == 2);
  BOOST_TEST(job.end_time.value() == 1700000000);
  BOOST_TEST(!job.array_index);
  BOOST_TEST(!job.interactive);
  BOOST_TEST(job.describe() == "Slurm job 42");
  BOOST_TEST(detect({{"SLURM_JOBID", "42"}}).id == "42");
  BOOST_TEST(detect({{"SLURM_JOB_ID", "42"}}).interactive);
}

BOOST_AUTO_TEST_CASE(a_task_of_a_slurm_array_is_never_named_as_the_array) {
  const auto first = detect({{"SLURM_JOB_ID", "42"}, {"SLURM_ARRAY_JOB_ID", "42"}, {"SLURM_ARRAY_TASK_ID", "0"}});
  BOOST_TEST(first.id == "42_0");
  BOOST_TEST(first.unique_id == "42");
  BOOST_TEST(first.array_index.value() == 0);
  BOOST_TEST(detect({{"SLURM_JOB_ID", "43"}, {"SLURM_ARRAY_JOB_ID", "42"}, {"SLURM_ARRAY_TASK_ID", "7"}}).id == "42_7");
}

BOOST_AUTO_TEST_CASE(pbs) {
  const auto pro = detect({{"PBS_JOBID", "12[3].head"}, {"PBS_ARRAY_INDEX", "3"}, {"PBS_ENVIRONMENT", "PBS_BATCH"}});
  BOOST_TEST((pro.system == BatchSystem::pbs));
  BOOST_TEST(pro.id == "12[3].head");
  BOOST_TEST(pro.array_index.value() == 3);
  BOOST_TEST(!pro.interactive);
  const auto torque = detect({{"PBS_JOBID", "12-3.head"}, {"PBS_ARRAYID", "3"}, {"PBS_WALLTIME", "3600"}});
  BOOST_TEST(torque.array_index.value() == 3);
  BOOST_TEST(torque.time_limit.value() == 3600);
  BOOST_TEST(detect({{"PBS_JOBID", "1.head"}, {"PBS_ENVIRONMENT", "PBS_INTERACTIVE"}}).interactive);
}

BOOST_AUTO_TEST_CASE(lsf_and_flux) {
  const auto lsf = detect({{"LSB_JOBID", "5"}, {"LSB_JOBINDEX", "0"}});
  BOOST_TEST((lsf.system == BatchSystem::lsf));
  BOOST_TEST(!lsf.array_index);
  const auto element = detect({{"LSB_JOBID", "5"}, {"LSB_JOBINDEX", "9"}, {"LSB_RESTART", "Y"}});
  BOOST_TEST(element.id == "5[9]");
  BOOST_TEST(element.restart_count == 1);
  const auto flux = detect({{"FLUX_JOB_ID", "f23"}, {"FLUX_JOB_CC", "4"}, {"SLURM_JOB_ID", "1"}});  // Flux in a job of Slurm
  BOOST_TEST((flux.system == BatchSystem::flux));
  BOOST_TEST(flux.array_index.value() == 4);
}

BOOST_AUTO_TEST_CASE(odd_variables) {
  BOOST_TEST(!detect({}).exists());
  BOOST_TEST(detect({}).describe() == "no batch system");
  BOOST_TEST(!detect({{"SLURM_JOB_ID", ""}, {"PBS_JOBID", ""}}).exists());
  for (const char* text : {"", "-1", "1x", " 3", "0x3", "99999999999999999999"}) {
    const auto job =
        detect({{"SLURM_JOB_ID", "42"}, {"SLURM_ARRAY_TASK_ID", text}, {"SLURM_RESTART_COUNT", text}, {"SLURM_JOB_END_TIME", text}});
    BOOST_TEST((!job.array_index && job.restart_count == 0 && !job.end_time), text);
  }
}

BOOST_AUTO_TEST_SUITE_END()
