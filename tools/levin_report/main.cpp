// levin-report RUN_DIR …: a training's curves, restarts and times, in the terminal or as one HTML page. Reads text files, without LibTorch.
#include <fmt/format.h>

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/variables_map.hpp>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "charts.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/core/version.h"
#include "page.h"
#include "run_data.h"
#include "terminal.h"

namespace {

namespace po = boost::program_options;
using levin::ConfigError, levin::ExitCode;
using Words = std::vector<std::string>;

struct Request {
  std::string answer = {};  // print it, and end
  std::vector<std::filesystem::path> folders = {};
  std::filesystem::path output = {};
  bool text = false;
};

Request parse(const Words& words) {
  const auto fail = [](const std::string& why) { throw ConfigError(why, "levin-report --help lists the options", "report"); };
  po::options_description known("options");
  known.add_options()("text", "print curves to the terminal, write no page");
  known.add_options()("output", po::value<std::string>(),
                      "the HTML page; by default RUN_DIR/report.html, of several runs report.html in the working directory");
  known.add_options()("help", "this text")("version", "of Levin");
  po::options_description all;
  all.add(known).add_options()("folders", po::value<Words>());
  po::positional_options_description positions;
  positions.add("folders", -1);
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
  help << "levin-report [OPTION …] RUN_DIR [RUN_DIR …]: curves of metrics, learning rate, throughput, memory and time of a training, with "
          "its\n"
          "restarts, as one HTML page that needs no network, or in the terminal. Several runs share their charts.\n"
       << known;
  if (given.count("help"))
    request.answer = help.str();
  else if (given.count("version"))
    request.answer = fmt::format("levin-report {}\n", levin::version);
  if (!request.answer.empty()) return request;
  if (!given.count("folders")) fail("no run directory given");
  for (const auto& folder : given["folders"].as<Words>()) request.folders.emplace_back(folder);
  request.text = given.count("text") > 0;
  if (given.count("output")) request.output = given["output"].as<std::string>();
  if (request.text && !request.output.empty()) fail("--text writes no file: --output has no meaning with it");
  if (given.count("output") && request.output.empty()) fail("--output is empty");
  return request;
}

std::string time_now() {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

void print(const std::string& text) {
  std::cout << text;
  if (!std::cout.flush()) throw levin::IoError("the output cannot be written", "is the disk full, or the pipe closed?", "report");
}

// A page that a browser shows is replaced at once, or stays.
void write_file(const std::filesystem::path& path, const std::string& text) {
  const std::filesystem::path partial = path.string() + ".partial";
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(partial, path, error);
  if (out && !error) return;
  std::filesystem::remove(partial, error);
  throw levin::IoError(fmt::format("cannot write {}", path.string()), "give another file with --output, or look for a full disk", "report");
}

int run(const Words& words) {
  const auto request = parse(words);
  if (!request.answer.empty()) {
    print(request.answer);
    return 0;
  }
  const auto runs = levin::report::read_runs(request.folders);
  const auto charts = levin::report::make_charts(runs);
  if (request.text) {
    print(levin::report::terminal_text(runs, charts, levin::report::options_of_terminal()));
  } else {
    auto output = request.output;
    if (output.empty()) output = runs.size() == 1 ? request.folders.front() / "report.html" : std::filesystem::path("report.html");
    const auto page = levin::report::html_page(runs, charts, time_now());
    write_file(output, page);
    print(output.string() + "\n");
  }
  int code = 0;
  for (const auto& each : runs)
    for (const auto& problem : each.problems) {
      std::cerr << problem << "\n";
      code = static_cast<int>(ExitCode::bad_data);
    }
  return code;
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
