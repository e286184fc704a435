// Damaged and random input is refused with a ConfigError or read; it never does anything else. Seeded, so that a failure comes again.
#include <chrono>
#include <random>

#include "levin/cli/yaml_reader.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "program.h"

BOOST_AUTO_TEST_SUITE(cli_fuzz)

namespace {

using cli_test::Program;
using Random = std::mt19937_64;

constexpr double seconds_each = 1.5;

size_t below(Random& random, size_t limit) { return limit == 0 ? 0 : random() % limit; }

std::string random_text(Random& random, size_t longest) {
  static const std::string alphabet = "[]{}:,-?&*!|>'\"%@`#~ \n\t\\abx019.<=_\xc3\xa9\xff";
  std::string text(below(random, longest), ' ');
  const bool any_byte = below(random, 4) == 0;
  for (char& c : text) c = any_byte ? static_cast<char>(random()) : alphabet[below(random, alphabet.size())];
  return text;
}

std::string damaged(std::string text, Random& random) {
  for (size_t hits = 1 + below(random, 6); hits > 0 && !text.empty(); --hits) {
    const size_t at = below(random, text.size()), length = below(random, 30);
    switch (below(random, 5)) {
      case 0: text[at] = static_cast<char>(random()); break;
      case 1: text.erase(at, length); break;
      case 2: text.insert(at, random_text(random, 8)); break;
      case 3: text.insert(at, text.substr(below(random, text.size()), length)); break;
      default: text.resize(at);
    }
  }
  return text;
}

// Runs `attempt` until the time is over; every attempt must end well or in a ConfigError.
template <class Attempt>
void try_many(Attempt&& attempt) {
  Random random(20240229);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds_each);
  size_t read = 0, refused = 0;
  while (std::chrono::steady_clock::now() < end) {
    std::string input;
    try {
      attempt(random, input);
      ++read;
    } catch (const levin::ConfigError& error) {
      ++refused;
      BOOST_REQUIRE_MESSAGE(levin::first_bad_byte(error.what()) == std::string::npos, "not text: " << error.what() << " for: " << input);
      BOOST_REQUIRE_MESSAGE(std::string(error.what()).size() < 5000,
                            "a message of " << std::string(error.what()).size() << " bytes for: " << input);
    } catch (const std::exception& error) {
      BOOST_FAIL("not a ConfigError: " << error.what() << " for: " << input);
    }
  }
  BOOST_TEST_MESSAGE(read << " read, " << refused << " refused");
  BOOST_TEST(refused > 100u);
}

}  // namespace

BOOST_AUTO_TEST_CASE(random_yaml) {
  try_many([](Random& random, std::string& input) {
    input = random_text(random, 200);
    levin::parse_yaml(input, "fuzz.yaml");
  });
}

BOOST_AUTO_TEST_CASE(damaged_config_files) {
  Program valid;
  const std::string text = valid
                               .parse({"--print_config", "--trainer.strategy", "fsdp", "--optimizer", "adamw", "--model.class_weights.cat",
                                       "2", "--trainer.callbacks", "[quiet, early_stopping]"})
                               .text;
  try_many([&](Random& random, std::string& input) {
    input = damaged(text, random);
    Program program;
    const cli_test::TemporaryFile file(input);
    program.parse({"fit", "--config", file.path()});
    // What was accepted is written so that it is accepted again.
    const cli_test::TemporaryFile written(program.options.to_yaml(true));
    Program again;
    again.parse({"fit", "--config", written.path()});
    BOOST_REQUIRE(again.options.to_yaml(false) == program.options.to_yaml(false));
  });
}

BOOST_AUTO_TEST_CASE(random_command_lines) {
  const std::vector<std::string> words{"fit",       "--trainer.max_epochs",
                                       "3",         "--trainer.strategy",
                                       "fsdp",      "--trainer.strategy.prefetch",
                                       "--help",    "--config",
                                       "=",         "--model.widths",
                                       "[1,2]",     "--model.class_weights.x",
                                       "--version", "{a: b}",
                                       "--trainer", "-1",
                                       "null",      "--optimizer.lr",
                                       "[quiet]",   "--trainer.callbacks",
                                       "{}",        "--trainer.callbacks.early_stopping.patience"};
  try_many([&](Random& random, std::string& input) {
    std::vector<std::string> arguments{"fit"}, environment;
    for (size_t i = below(random, 6); i > 0; --i) {
      const auto& word = words[below(random, words.size())];
      arguments.push_back(below(random, 3) == 0 ? damaged(word, random) : below(random, 8) == 0 ? random_text(random, 40) : word);
      input += arguments.back() + " | ";
    }
    if (below(random, 4) == 0) environment.push_back("LEVIN_" + random_text(random, 20) + "=" + random_text(random, 20));
    Program program;
    program.parse(arguments, environment);
  });
}

BOOST_AUTO_TEST_SUITE_END()
