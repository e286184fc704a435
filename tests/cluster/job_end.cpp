#include "levin/cluster/job_end.h"

#include "levin_test.h"

using levin::BatchJob;
using levin::BatchSystem;
using levin::decide_job_end;
using levin::JobConfig;
using levin::JobEnd;
using levin::JobFate;
using levin::JobStatus;
using levin::Requeue;
using levin::StopFacts;

BOOST_AUTO_TEST_SUITE(cluster_job_end)

namespace {

const BatchJob slurm{.system = BatchSystem::slurm, .id = "12"};
const StopFacts at_step_9{.first_step = 4, .last_step = 9};

StopFacts terminated(std::optional<double> seconds_left = {}) {
  auto facts = at_step_9;
  facts.terminated = true;
  facts.seconds_left = seconds_left;
  return facts;
}

StopFacts without_progress(const std::vector<levin::EarlierAttempt>& earlier) {
  auto facts = at_step_9;
  facts.last_step = facts.first_step;
  facts.earlier = earlier;
  return facts;
}

bool says(const JobEnd& end, const std::string& part) { return end.note.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_CASE(who_starts_it_again) {
  const auto by_slurm = decide_job_end(at_step_9, {}, slurm, {});
  BOOST_TEST((by_slurm.code == 75 && by_slurm.requeue && by_slurm.note.empty()));
  for (const auto how : {Requeue::exit_code, Requeue::none}) {
    const auto by_others = decide_job_end(at_step_9, {.requeue = how}, slurm, {});
    BOOST_TEST((by_others.code == 75 && !by_others.requeue));
  }
  for (const auto system : {BatchSystem::none, BatchSystem::pbs, BatchSystem::lsf, BatchSystem::flux}) {
    const auto by_script = decide_job_end(at_step_9, {.stop_exit_code = 0}, {.system = system, .id = "1"}, {});
    BOOST_TEST((by_script.code == 0 && !by_script.requeue && by_script.note.empty()));
  }
  const auto refused = decide_job_end(at_step_9, {}, slurm, {.fate = JobFate::running, .may_requeue = false});
  BOOST_TEST((refused.code == 75 && !refused.requeue && says(refused, "--no-requeue")));
  auto unnamed = at_step_9;
  unnamed.named = false;
  BOOST_TEST((!decide_job_end(unnamed, {}, slurm, {}).requeue && says(decide_job_end(unnamed, {}, slurm, {}), "--run_name")));
}

BOOST_AUTO_TEST_CASE(a_cancelled_job_stays_cancelled) {
  for (const auto& status : {JobStatus{}, JobStatus{.fate = JobFate::running}, JobStatus{.fate = JobFate::cancelled}}) {
    const auto end = decide_job_end(terminated(3000), {}, slurm, status);
    BOOST_TEST((end.code == 143 && !end.requeue));
  }
  const auto near_the_limit = decide_job_end(terminated(20), {}, slurm, {.fate = JobFate::cancelled});
  BOOST_TEST((near_the_limit.code == 143 && !near_the_limit.requeue));
  BOOST_TEST(decide_job_end(terminated(), {}, {}, {}).code == 143);
}

// Its TERM may arrive after the ranks have agreed on the reasons for their stop.
BOOST_AUTO_TEST_CASE(a_job_that_is_cancelled_while_it_stops_stays_cancelled) {
  const auto end = decide_job_end(at_step_9, {}, slurm, {.fate = JobFate::cancelled});
  BOOST_TEST((end.code == 143 && !end.requeue));
}

BOOST_AUTO_TEST_CASE(an_end_that_was_announced) {
  auto facts = terminated();
  facts.announced = true;
  for (const auto fate : {JobFate::unknown, JobFate::running, JobFate::timed_out}) {
    const auto end = decide_job_end(facts, {}, slurm, {.fate = fate});
    BOOST_TEST((end.code == 75 && end.requeue));
  }
  BOOST_TEST(decide_job_end(facts, {}, {.system = BatchSystem::pbs, .id = "1"}, {}).code == 75);
  BOOST_TEST(decide_job_end(facts, {}, slurm, {.fate = JobFate::cancelled}).code == 143);
  facts.resumable = false;
  BOOST_TEST(decide_job_end(facts, {}, slurm, {}).code == 74);
}

BOOST_AUTO_TEST_CASE(the_batch_system_ends_a_job) {
  BOOST_TEST(decide_job_end(terminated(20), {}, slurm, {}).requeue);
  BOOST_TEST(decide_job_end(terminated(-5), {}, {.system = BatchSystem::pbs, .id = "1"}, {}).code == 75);
  for (const auto fate : {JobFate::timed_out, JobFate::preempted, JobFate::requeued})
    BOOST_TEST(decide_job_end(terminated(3000), {}, slurm, {.fate = fate}).code == 75);
  const auto requeued = decide_job_end(terminated(3000), {}, slurm, {.fate = JobFate::requeued});
  BOOST_TEST((!requeued.requeue && requeued.note.empty()));  // Slurm, or who asked it, has done so
  auto slow_save = terminated(500);
  slow_save.seconds_needed = 600;
  BOOST_TEST(decide_job_end(slow_save, {}, slurm, {}).code == 75);
}

BOOST_AUTO_TEST_CASE(an_interrupt_comes_first) {
  auto facts = terminated(20);
  facts.interrupted = true;
  const auto end = decide_job_end(facts, {}, slurm, {});
  BOOST_TEST((end.code == 130 && !end.requeue));
}

BOOST_AUTO_TEST_CASE(without_a_checkpoint) {
  auto facts = at_step_9;
  facts.resumable = false;
  const auto failed = decide_job_end(facts, {}, slurm, {});
  BOOST_TEST((failed.code == 74 && !failed.requeue));
  facts.checkpointing = false;
  const auto none = decide_job_end(facts, {}, slurm, {});
  BOOST_TEST((none.code == 77 && !none.requeue && says(none, "enable_checkpointing")));
  facts.terminated = true;
  BOOST_TEST(decide_job_end(facts, {}, slurm, {}).code == 143);
}

BOOST_AUTO_TEST_CASE(three_attempts_without_progress) {
  const auto code = [](const std::vector<levin::EarlierAttempt>& earlier) {
    return decide_job_end(without_progress(earlier), {}, slurm, {}).code;
  };
  BOOST_TEST(code({{4, 75}, {4, 75}}) == 77);
  BOOST_TEST(code({{4, 75}, {4, {}}}) == 77);  // the second was killed
  BOOST_TEST(code({{0, 0}, {4, 75}, {4, 75}}) == 77);
  BOOST_TEST(code({{4, 75}}) == 75);
  BOOST_TEST(code({}) == 75);
  BOOST_TEST(code({{4, 75}, {4, 0}}) == 75);    // finished; its user has raised a limit
  BOOST_TEST(code({{4, 143}, {4, 75}}) == 75);  // cancelled
  BOOST_TEST(code({{2, 75}, {4, 75}}) == 75);   // the first got from 2 to 4
  BOOST_TEST(code({{4, 75}, {2, 75}}) == 75);
  const auto end = decide_job_end(without_progress({{4, 75}, {4, 75}}), {}, slurm, {});
  BOOST_TEST((!end.requeue && says(end, "3 attempts in a row ended at step 4")));
  auto progress = without_progress({{4, 75}, {4, 75}});
  progress.last_step = 5;
  BOOST_TEST(decide_job_end(progress, {}, slurm, {}).code == 75);
  BOOST_TEST(decide_job_end(without_progress({{4, 75}, {4, 75}}), {.requeue = Requeue::none}, slurm, {}).code == 75);
  BOOST_TEST(decide_job_end(without_progress({{4, 9}, {4, 9}}), {.stop_exit_code = 9}, slurm, {}).code == 77);
}

BOOST_AUTO_TEST_CASE(a_cap_on_restarts) {
  auto facts = at_step_9;
  facts.earlier = {{0, 75}, {0, 143}, {0, 75}, {2, {}}};
  BOOST_TEST(decide_job_end(facts, {.max_restarts = 3}, slurm, {}).code == 75);  // two since it was cancelled
  const auto end = decide_job_end(facts, {.max_restarts = 2}, slurm, {});
  BOOST_TEST((end.code == 77 && !end.requeue && says(end, "restarted 2 times")));
  BOOST_TEST(decide_job_end(at_step_9, {.max_restarts = 0}, slurm, {}).code == 77);
}

BOOST_AUTO_TEST_SUITE_END()
