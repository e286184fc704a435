#include "levin/cluster/batch_job.h"

#include <fmt/core.h>

#include "levin/core/number_text.h"

namespace levin {
namespace {

class Variables {
 public:
  explicit Variables(const GetVariable& get_variable) : get_variable_(get_variable) {}
  std::string text(const char* name) const {
    const char* value = get_variable_(name);
    return value ? value : "";
  }
  std::string first(const char* name, const char* otherwise) const {
    auto value = text(name);
    return value.empty() ? text(otherwise) : value;
  }
  std::optional<int64_t> count(const char* name) const {
    const auto number = parse_number<int64_t>(text(name));
    return number && *number >= 0 ? number : std::nullopt;
  }

 private:
  const GetVariable& get_variable_;
};

BatchJob slurm_job(const Variables& variables) {
  BatchJob job{.system = BatchSystem::slurm, .id = variables.first("SLURM_JOB_ID", "SLURM_JOBID")};
  if (job.id.empty()) return {};
  job.unique_id = job.id;
  job.array_index = variables.count("SLURM_ARRAY_TASK_ID");
  // The first task's own number is that of the whole array: a command with it would mean all tasks.
  if (const auto array = variables.text("SLURM_ARRAY_JOB_ID"); job.array_index && !array.empty())
    job.id = fmt::format("{}_{}", array, *job.array_index);
  job.restart_count = variables.count("SLURM_RESTART_COUNT").value_or(0);
  job.interactive = variables.text("ENVIRONMENT") != "BATCH";
  job.end_time = variables.count("SLURM_JOB_END_TIME");
  return job;
}

BatchJob pbs_job(const Variables& variables) {
  BatchJob job{.system = BatchSystem::pbs, .id = variables.text("PBS_JOBID")};
  if (job.id.empty()) return {};
  job.unique_id = job.id;
  job.array_index = variables.count("PBS_ARRAY_INDEX");
  if (!job.array_index) job.array_index = variables.count("PBS_ARRAYID");  // Torque
  job.interactive = variables.text("PBS_ENVIRONMENT") == "PBS_INTERACTIVE";
  job.time_limit = variables.count("PBS_WALLTIME");  // Torque
  return job;
}

BatchJob lsf_job(const Variables& variables) {
  BatchJob job{.system = BatchSystem::lsf, .id = variables.text("LSB_JOBID")};
  if (job.id.empty()) return {};
  job.array_index = variables.count("LSB_JOBINDEX");
  if (job.array_index == 0) job.array_index.reset();  // not an array
  if (job.array_index) job.id = fmt::format("{}[{}]", job.id, *job.array_index);
  job.unique_id = job.id;
  job.restart_count = variables.text("LSB_RESTART") == "Y" ? 1 : 0;
  job.interactive = variables.text("LSB_INTERACTIVE") == "Y";
  return job;
}

BatchJob flux_job(const Variables& variables) {
  BatchJob job{.system = BatchSystem::flux, .id = variables.text("FLUX_JOB_ID")};
  if (job.id.empty()) return {};
  job.unique_id = job.id;
  job.array_index = variables.count("FLUX_JOB_CC");
  return job;
}

}  // namespace

const char* batch_system_name(BatchSystem system) noexcept {
  switch (system) {
    case BatchSystem::none: return "no batch system";
    case BatchSystem::slurm: return "Slurm";
    case BatchSystem::pbs: return "PBS";
    case BatchSystem::lsf: return "LSF";
    case BatchSystem::flux: return "Flux";
  }
  return "?";
}

std::string BatchJob::describe() const {
  return exists() ? fmt::format("{} job {}", batch_system_name(system), id) : batch_system_name(system);
}

// Flux may run inside a job of Slurm; Slurm's plug-in for PBS users sets both kinds of variables.
BatchJob detect_batch_job(const GetVariable& get_variable) {
  const Variables variables(get_variable);
  for (const auto detect : {flux_job, slurm_job, pbs_job, lsf_job})
    if (auto job = detect(variables); job.exists()) return job;
  return {};
}

}  // namespace levin
