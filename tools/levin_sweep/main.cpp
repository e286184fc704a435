// levin-sweep SWEEP.yaml: trains many configurations of a program side by side on the ranks of one allocation.
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>

#include "../support/command_line.h"
#include "driver.h"
#include "table.h"

namespace {

namespace po = boost::program_options;
using levin::tools::print, levin::tools::Words;

constexpr const char* tag = "sweep";

struct Request {
  std::string answer = {};  // print it, and end
  std::filesystem::path file = {};
  bool dry_run = false, table = false;
};

Request parse(const Words& words) {
  levin::tools::Program program{
      .name = "levin-sweep",
      .tag = tag,
      .usage =
          "levin-sweep [OPTION …] SWEEP.yaml: trains configurations of a program (a grid, random samples or a list) side by side on "
          "groups of\nranks of one allocation, and prints a table. The same line continues after a restart.\n",
      .options = po::options_description("options"),
      .notes = "keys of SWEEP.yaml, beside parameters {OPTION: [VALUE, …] or {min, max, log, integer}} and configurations:\n"};
  program.options.add_options()("dry_run", "print the command of each configuration that is not finished; start nothing");
  program.options.add_options()("table", "print the results so far; start nothing");
  for (const auto& field : levin::config_type<levin::sweep::SweepConfig>().as_struct()->fields())
    program.notes += fmt::format("  {:<15} {}\n", field.name, field.help);
  const auto line = read_command_line(words, program);
  Request request{.answer = line.answer};
  if (!request.answer.empty()) return request;
  if (line.words.size() != 1) refuse_command_line(program, "give one sweep file");
  request.file = line.words.front();
  request.dry_run = line.options.count("dry_run") > 0;
  request.table = line.options.count("table") > 0;
  if (request.dry_run && request.table) refuse_command_line(program, "--dry_run and --table exclude each other");
  return request;
}

void write_table(const levin::sweep::Sweep& sweep, const std::vector<levin::sweep::Row>& rows) {
  const auto file = sweep.config.sweep_dir / "sweep.csv";
  std::ofstream out(file, std::ios::trunc);
  out << table_csv(sweep, rows);
  out.close();
  if (!out) throw levin::IoError(fmt::format("cannot write {}", file.string()), "check whether the file system is full", tag);
}

int run(const Words& words) {
  const auto request = parse(words);
  if (!request.answer.empty()) {
    print(request.answer, tag);
    return 0;
  }
  const auto sweep = levin::sweep::read_sweep(request.file);
  if (request.table) {
    print(table_text(sweep, make_rows(sweep, levin::sweep::read_results(sweep))), tag);
    return 0;
  }
  const levin::sweep::Launcher launcher(sweep.config, [](const char* name) -> const char* { return std::getenv(name); });
  if (request.dry_run) {
    print(levin::sweep::Driver::commands(sweep, launcher), tag);
    return 0;
  }
  const levin::sweep::Signals signals;
  levin::sweep::Record record(sweep);
  levin::sweep::Driver driver(sweep, launcher, record, signals);
  driver.check_options();
  const auto code = driver.run();
  const auto rows = make_rows(sweep, record.results());
  write_table(sweep, rows);
  print("\n" + table_text(sweep, rows), tag);
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    return levin::tools::report_error(error);
  }
}
