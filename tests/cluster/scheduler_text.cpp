#include "../../src/cluster/scheduler_text.h"

#include <cstdlib>
#include <limits>

#include "levin_test.h"

using levin::detail::pbs_job_times;
using levin::detail::slurm_job_state;
using levin::detail::slurm_seconds;

BOOST_AUTO_TEST_SUITE(cluster_scheduler_text)

namespace {

// As Slurm 22.05 prints it.
std::string show_job(const std::string& state, const std::string& requeue = "1", const std::string& preempt_time = "None",
                     const std::string& reason = "None", int restarts = 0) {
  return "JobId=2 JobName=JobState=COMPLETED Reason=TimeLimit Restarts=9 Requeue=0 PreemptTime=now\n   UserId=root(0) GroupId=root(0) "
         "MCS_label=N/A\n   JobState=" +
         state + " Reason=" + reason + " Dependency=(null)\n   Requeue=" + requeue + " Restarts=" + std::to_string(restarts) +
         " BatchFlag=1 Reboot=0 ExitCode=0:0\n   PreemptEligibleTime=2026-11-29T03:21:21 PreemptTime=" + preempt_time +
         "\n   Command=/tmp/Requeue=0 x.sh\n   Power=\n   \n";
}

std::string pbs_record(const std::string& fields) {
  return "{\"timestamp\":1, \"pbs_version\":\"23.06\", \"Jobs\":{\"12.head\":{\"Job_Name\":\"x\", " + fields + "}}}";
}

}  // namespace

BOOST_AUTO_TEST_CASE(time_left_of_slurm) {
  BOOST_TEST(slurm_seconds("4:59").value() == 299);
  BOOST_TEST(slurm_seconds("0:00\n").value() == 0);
  BOOST_TEST(slurm_seconds("1:00:00").value() == 3600);
  BOOST_TEST(slurm_seconds("23:59:59").value() == 86399);
  BOOST_TEST(slurm_seconds("2-00:00:01").value() == 2 * 86400 + 1);
  BOOST_TEST(slurm_seconds("365-23:59:59").value() == 366 * 86400 - 1);
  BOOST_TEST(slurm_seconds(" UNLIMITED\n").value() == std::numeric_limits<double>::infinity());
  for (const char* text : {"",
                           "INVALID",
                           "NOT_SET",
                           "N/A",
                           "59",
                           "4:60",
                           "4:5",
                           "1:60:00",
                           "1:00:60",
                           "1-24:00:00",
                           "1-00:00",
                           "1-",
                           "-1:00:00",
                           "+4:59",
                           "4:59 5:59",
                           "4:59\n5:59",
                           "1:2:3:4",
                           "4:-9",
                           "4: 59",
                           "1.5:00",
                           "9999999999:00",
                           "slurm_load_jobs error: Invalid job id"})
    BOOST_TEST(!slurm_seconds(text), text);
}

BOOST_AUTO_TEST_CASE(state_of_a_slurm_job) {
  const auto running = slurm_job_state(show_job("RUNNING")).value();
  BOOST_TEST(running.state == "RUNNING");  // whatever the job's name pretends
  BOOST_TEST((running.requeue && running.batch && !running.preempted));
  BOOST_TEST(!slurm_job_state(show_job("RUNNING", "0"))->requeue);
  BOOST_TEST(slurm_job_state(show_job("RUNNING", "1", "2026-11-29T03:30:00"))->preempted);
  BOOST_TEST(slurm_job_state(show_job("PREEMPTED"))->preempted);
  BOOST_TEST(slurm_job_state(show_job("CANCELLED"))->state == "CANCELLED");
  BOOST_TEST(!running.timed_out);
  BOOST_TEST(running.restarts == 0);
  BOOST_TEST(slurm_job_state(show_job("COMPLETING", "1", "None", "TimeLimit"))->timed_out);  // as long as its processes run
  BOOST_TEST(slurm_job_state(show_job("COMPLETING", "1", "None", "DeadLine"))->timed_out);
  BOOST_TEST(slurm_job_state(show_job("TIMEOUT"))->timed_out);
  BOOST_TEST(!slurm_job_state(show_job("COMPLETING"))->timed_out);
  BOOST_TEST(slurm_job_state(show_job("COMPLETING", "1", "None", "None", 3))->restarts == 3);
  std::string interactive = show_job("RUNNING");
  interactive.replace(interactive.find("BatchFlag=1"), 11, "BatchFlag=0");
  BOOST_TEST(!slurm_job_state(interactive)->batch);
  for (const char* text :
       {"", "slurm_load_jobs error: Invalid job id specified", "JobId=2", "JobId=2 JobName=x JobState=RUNNING", "JobState=RUNNING"})
    BOOST_TEST(!slurm_job_state(text), text);
}

BOOST_AUTO_TEST_CASE(times_of_a_pbs_job) {
  setenv("TZ", "UTC", 1);
  tzset();
  const auto times = pbs_job_times(
      pbs_record(R"("Resource_List":{"walltime":"01:30:00","ncpus":2}, "stime":"Sun Nov 29 03:00:00 2026", "run_count":2)"), "12.head");
  BOOST_TEST(times->walltime.value() == 5400);
  BOOST_TEST(times->start.value() == 1795921200);
  BOOST_TEST(times->run_count.value() == 2);
  const auto numbers = pbs_job_times(pbs_record(R"("Resource_List":{"walltime":600}, "stime":1795921200, "run_count":"1")"), "12.head");
  BOOST_TEST(numbers->walltime.value() == 600);
  BOOST_TEST(numbers->start.value() == 1795921200);
  BOOST_TEST(numbers->run_count.value() == 1);
  BOOST_TEST(pbs_job_times(pbs_record(R"("Resource_List":{"walltime":"120:00:00"})"), "12.head")->walltime.value() == 120 * 3600);
}

BOOST_AUTO_TEST_CASE(odd_records_of_pbs) {
  const auto queued = pbs_job_times(pbs_record(R"("Resource_List":{})"), "12.head").value();
  BOOST_TEST((!queued.walltime && !queued.start && !queued.run_count));
  for (const char* fields : {R"("Resource_List":{"walltime":"soon"}, "stime":"yesterday", "run_count":"x")",
                             R"("Resource_List":{"walltime":-5}, "stime":-5, "run_count":-1)",
                             R"("Resource_List":{"walltime":"01:60:00"}, "stime":"Sun Nov 29 03:00:00 2026 and more", "run_count":1.5)",
                             R"("Resource_List":{"walltime":null}, "stime":[], "run_count":{})",
                             R"("Resource_List":"walltime=1", "stime":"", "run_count":"")"}) {
    const auto times = pbs_job_times(pbs_record(fields), "12.head").value();
    BOOST_TEST((!times.walltime && !times.start && !times.run_count), fields);
  }
  for (const char* text : {"", "qstat: Unknown Job Id 12.head", "{", "[]", "{\"Jobs\":[]}", "{\"Jobs\":{}}", "{\"Jobs\":{\"12.head\":1}}"})
    BOOST_TEST(!pbs_job_times(text, "12.head"), text);
  BOOST_TEST(!pbs_job_times(pbs_record("\"run_count\":1"), "13.head"));
}

BOOST_AUTO_TEST_SUITE_END()
