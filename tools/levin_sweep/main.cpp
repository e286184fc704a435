// levin-sweep SWEEP.yaml: trains many configurations of a program side by side on the ranks of one allocation.
#include <fmt/format.h>

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/variables_map.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "driver.h"
#include "levin/core/text.h"
#include "levin/core/version.h"
#include "table.h"

namespace {

namespace po = boost::program_options;
using levin::ConfigError, levin::ExitCode;
using Words = std::vector<std::string>;

struct Request {
  std::string answer = {};  // print it, and end
  std::filesystem::path file = {};
  bool dry_run = false, table = false;
};

Request parse(const Words& words) {
  const auto fail = [](const std::string& why) { throw ConfigError(why, "levin-sweep --help lists the options", "sweep"); };
  po::options_description known("options");
  known.add_options()("dry_run", "print the command of each configuration that is not finished; start nothing");
  known.add_options()("table", "print the results so far; start nothing");
  known.add_options()("help", "this text")("version", "of Levin");
  po::options_description all;
  all.add(known).add_options()("file", po::value<Words>());
  po::positional_options_description positions;
  positions.add("file", -1);
  po::variables_map given;
  try {
    using namespace po::command_line_style;
    po::store(
        po::command_line_parser(words).options(all).positional(positions).style(allow_long | long_allow_next | long_allow_adjacent).run(),
        given);
  } catch (const po::error& error) {
    fail(levin::sanitized(error.what()));
  }
  Request request;
  std::ostringstream help;
  help << "levin-sweep [OPTION …] SWEEP.yaml: trains configurations of a program (a grid, random samples or a list) side by side on groups "
          "of\n"
          "ranks of one allocation, and prints a table. The same line continues after a restart.\n"
       << known << "keys of SWEEP.yaml, beside parameters {OPTION: [VALUE, …] or {min, max, log, integer}} and configurations:\n";
  for (const auto& field : levin::config_type<levin::sweep::SweepConfig>().as_struct()->fields())
    help << fmt::format("  {:<15} {}\n", field.name, field.help);
  if (given.count("help"))
    request.answer = help.str();
  else if (given.count("version"))
    request.answer = fmt::format("levin-sweep {}\n", levin::version);
  if (!request.answer.empty()) return request;
  if (!given.count("file") || given["file"].as<Words>().size() != 1) fail("give one sweep file");
  request.file = given["file"].as<Words>().front();
  request.dry_run = given.count("dry_run") > 0;
  request.table = given.count("table") > 0;
  if (request.dry_run && request.table) fail("--dry_run and --table exclude each other");
  return request;
}

void print(const std::string& text) {
  std::cout << text;
  if (!std::cout.flush()) throw levin::IoError("the output cannot be written", "is the disk full, or the pipe closed?", "sweep");
}

void write_table(const levin::sweep::Sweep& sweep, const std::vector<levin::sweep::Row>& rows) {
  const auto file = sweep.config.sweep_dir / "sweep.csv";
  std::ofstream out(file, std::ios::trunc);
  out << table_csv(sweep, rows);
  out.close();
  if (!out) throw levin::IoError(fmt::format("cannot write {}", file.string()), "look for a full disk", "sweep");
}

int run(const Words& words) {
  const auto request = parse(words);
  if (!request.answer.empty()) {
    print(request.answer);
    return 0;
  }
  const auto sweep = levin::sweep::read_sweep(request.file);
  if (request.table) {
    print(table_text(sweep, make_rows(sweep, levin::sweep::read_results(sweep))));
    return 0;
  }
  const levin::sweep::Launcher launcher(sweep.config, [](const char* name) -> const char* { return std::getenv(name); });
  if (request.dry_run) {
    print(levin::sweep::Driver::commands(sweep, launcher));
    return 0;
  }
  const levin::sweep::Signals signals;
  levin::sweep::Record record(sweep);
  levin::sweep::Driver driver(sweep, launcher, record, signals);
  driver.check_options();
  const auto code = driver.run();
  const auto rows = make_rows(sweep, record.results());
  write_table(sweep, rows);
  print("\n" + table_text(sweep, rows));
  return static_cast<int>(code);
}

int report(const std::string& message, ExitCode code) {
  std::cerr << message << "\n";
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const levin::Error& error) {
    return report(error.what(), error.exit_code());
  } catch (const std::exception& error) {
    return report(error.what(), ExitCode::internal);
  }
}
