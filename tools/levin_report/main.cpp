// levin-report RUN_DIR …: a training's curves, restarts and times, in the terminal or as one HTML page. Reads text files, without LibTorch.
#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "../support/command_line.h"
#include "charts.h"
#include "levin/core/error.h"
#include "page.h"
#include "run_data.h"
#include "terminal.h"

namespace {

namespace po = boost::program_options;
using levin::ExitCode, levin::tools::print, levin::tools::Words;

constexpr const char* tag = "report";

struct Request {
  std::string answer = {};  // print it, and end
  std::vector<std::filesystem::path> folders = {};
  std::filesystem::path output = {};
  bool text = false;
};

Request parse(const Words& words) {
  levin::tools::Program program{
      .name = "levin-report",
      .tag = tag,
      .usage =
          "levin-report [OPTION …] RUN_DIR [RUN_DIR …]: curves of metrics, learning rate, throughput, memory and time of a training, "
          "with its\nrestarts, as one HTML page that needs no network, or in the terminal. Several runs share their charts.\n",
      .options = po::options_description("options")};
  program.options.add_options()("text", "print curves to the terminal, write no page");
  program.options.add_options()("output", po::value<std::string>(),
                                "the HTML page; by default RUN_DIR/report.html, of several runs report.html in the working directory");
  const auto fail = [&](const std::string& why) { refuse_command_line(program, why); };
  const auto line = read_command_line(words, program);
  Request request{.answer = line.answer};
  if (!request.answer.empty()) return request;
  if (line.words.empty()) fail("no run directory given");
  request.folders.assign(line.words.begin(), line.words.end());
  request.text = line.options.count("text") > 0;
  if (line.options.count("output")) request.output = line.options["output"].as<std::string>();
  if (request.text && !request.output.empty()) fail("--text writes no file: --output has no meaning with it");
  if (line.options.count("output") && request.output.empty()) fail("--output is empty");
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
  throw levin::IoError(fmt::format("cannot write {}", path.string()),
                       "give another file with --output, or check whether the file system is full", tag);
}

int run(const Words& words) {
  const auto request = parse(words);
  if (!request.answer.empty()) {
    print(request.answer, tag);
    return 0;
  }
  const auto runs = levin::report::read_runs(request.folders);
  const auto charts = levin::report::make_charts(runs);
  if (request.text) {
    print(levin::report::terminal_text(runs, charts, levin::report::options_of_terminal()), tag);
  } else {
    auto output = request.output;
    if (output.empty()) output = runs.size() == 1 ? request.folders.front() / "report.html" : std::filesystem::path("report.html");
    const auto page = levin::report::html_page(runs, charts, time_now());
    write_file(output, page);
    print(output.string() + "\n", tag);
  }
  int code = 0;
  for (const auto& each : runs)
    for (const auto& problem : each.problems) {
      std::cerr << problem << "\n";
      code = static_cast<int>(ExitCode::bad_data);
    }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    return levin::tools::report_error(error);
  }
}
