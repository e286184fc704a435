#include "levin/cli/program_options.h"

#include <cctype>
#include <chrono>

#include "levin/cli/yaml_reader.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "program.h"

BOOST_AUTO_TEST_SUITE(cli_program_options)

namespace {

using cli_test::Program;
using cli_test::TemporaryFile;
using levin::ConfigError;
using levin::quote;
using levin::test::check_throws;

void refused(std::vector<std::string> arguments, const std::vector<std::string>& parts, std::vector<std::string> environment = {}) {
  Program program;
  arguments.insert(arguments.begin(), "fit");
  check_throws<ConfigError>([&] { program.parse(arguments, environment); }, parts);
}

// What a file with this text is refused for.
void file_refused(const std::string& text, const std::vector<std::string>& parts) {
  const TemporaryFile file(text);
  refused({"--config", file.path()}, parts);
}

std::string in_one_line(const std::string& text) {
  std::string line;
  for (char c : text)
    if (!std::isspace(static_cast<unsigned char>(c)))
      line += c;
    else if (!line.ends_with(' '))
      line += ' ';
  return line;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_CASE(both_ways_to_write_an_option) {
  Program program;
  const auto command =
      program.parse({"fit", "--trainer.max_epochs", "-1", "--model.hidden=7", "--trainer.fast_dev_run", "--trainer.max_time", "01:30:00",
                     "--run_name="
                     "first run"});
  BOOST_TEST(command.subcommand == "fit");
  BOOST_TEST(command.text.empty());
  BOOST_TEST(program.trainer.max_epochs == -1);
  BOOST_TEST(program.model.hidden == 7);
  BOOST_TEST(program.trainer.fast_dev_run);
  BOOST_TEST(program.trainer.max_time->value == 5400);
  BOOST_TEST(program.root.run_name.value() == "first run");
  BOOST_TEST(command.set.contains("trainer.max_epochs"));
  BOOST_TEST(!command.set.contains("trainer.devices"));
}

BOOST_AUTO_TEST_CASE(flags) {
  for (const auto& [arguments, expected] :
       std::vector<std::pair<std::vector<std::string>, bool>>{{{"--trainer.fast_dev_run", "fit"}, true},
                                                              {{"--trainer.fast_dev_run", "true", "fit"}, true},
                                                              {{"--trainer.fast_dev_run", "false", "fit"}, false},
                                                              {{"--trainer.fast_dev_run=false", "fit"}, false}}) {
    Program program;
    program.trainer.fast_dev_run = !expected;
    BOOST_TEST(program.parse(arguments).subcommand == "fit");
    BOOST_TEST(program.trainer.fast_dev_run == expected);
  }
}

BOOST_AUTO_TEST_CASE(lists_and_maps_on_the_command_line) {
  Program program;
  program.parse({"fit", "--model.widths", "[1, 2, 3]", "--model.class_weights.cat", "2", "--model.class_weights.a-dog=3"});
  BOOST_TEST(program.model.widths == (std::vector<int64_t>{1, 2, 3}));
  BOOST_TEST(program.model.class_weights.at("cat") == 2);
  BOOST_TEST(program.model.class_weights.at("a-dog") == 3);
  Program group;  // the fields that a map does not name are kept
  group.parse({"fit", "--trainer.max_epochs", "8", "--trainer", "{max_epochs: 7, fast_dev_run: true}", "--model.widths", "[4]"},
              {"LEVIN_MODEL={widths: [5, 6]}"});
  BOOST_TEST(group.trainer.max_epochs == 8);
  BOOST_TEST(group.trainer.fast_dev_run);
  BOOST_TEST(group.model.widths == (std::vector<int64_t>{4}));
  refused({"--trainer", "{max_epoch: 7}"}, {"command line: trainer.max_epoch: unknown key", "did you mean trainer.max_epochs?"});
  refused({"--trainer", "7"}, {"command line: trainer: \"7\" is not a group of keys"});
}

BOOST_AUTO_TEST_CASE(choices_on_the_command_line) {
  Program program;
  // The fields may stand before the name.
  program.parse(
      {"fit", "--trainer.strategy.bucket", "1 MiB", "--trainer.strategy", "fsdp", "--optimizer", "adamw", "--optimizer.lr", "0.5"});
  BOOST_TEST(std::get<cli_test::Fsdp>(program.trainer.strategy).bucket.value == 1 << 20);
  BOOST_TEST(std::get<cli_test::AdamW>(*program.optimizer).lr == 0.5);
  Program other;
  other.parse({"fit", "--trainer.strategy", "{name: fsdp, prefetch: 5}", "--trainer.strategy.prefetch", "6", "--optimizer.name", "sgd"});
  BOOST_TEST(std::get<cli_test::Fsdp>(other.trainer.strategy).prefetch == 6);
  BOOST_TEST(std::get<cli_test::Sgd>(*other.optimizer).lr == 0.1);
  refused({"--trainer.strategy.bucket", "1 MiB"}, {"command line: trainer.strategy.bucket: unknown key", "chosen: ddp"});
  refused({"--optimizer.lr", "1"}, {"optimizer: no alternative is chosen", "sgd, adamw"});
  refused({"--trainer.strategy", "fsdp", "--trainer.strategy.name", "ddp"}, {"--trainer.strategy is given twice"});
}

BOOST_AUTO_TEST_CASE(components_on_the_command_line) {
  const auto patience = [](const Program& program, size_t index) {
    return dynamic_cast<const cli_test::Early&>(*program.trainer.callbacks.make().at(index)).config.patience;
  };
  Program single;
  single.parse({"fit", "--trainer.callbacks.early_stopping.patience", "5", "--trainer.callbacks", "early_stopping"});
  BOOST_TEST(patience(single, 0) == 5);
  Program several;
  several.parse({"fit", "--trainer.callbacks", "[quiet, {name: early_stopping, patience: 4}]", "--trainer.callbacks.1.weights.cat", "2",
                 "--trainer.callbacks.early_stopping.strict=false"});
  BOOST_TEST(several.trainer.callbacks.items().size() == 2u);
  BOOST_TEST(patience(several, 1) == 4);
  const TemporaryFile file("trainer:\n  callbacks:\n    - quiet\n    - name: early_stopping\n      patience: 9\n");
  Program files;
  files.parse(
      {"fit", "--config", file.path(), "--trainer.callbacks.early_stopping.strict", "--trainer.callbacks.early_stopping.weights.a", "1"},
      {"LEVIN_TRAINER__CALLBACKS__EARLY_STOPPING__PATIENCE=2"});
  BOOST_TEST(patience(files, 1) == 9);
  const auto printed = files.parse({"--print_config", "--config", file.path()}).text;
  BOOST_TEST(contains(printed, "one or a list of: early_stopping, quiet"));
  const TemporaryFile written(printed);
  Program again;
  BOOST_TEST(again.parse({"--print_config", "--config", written.path()}).text == printed);
  const TemporaryFile more("trainer: {callbacks: {early_stopping: {patience: 6}}}\n");
  Program merged;
  merged.parse({"fit", "--config", file.path(), "--config", more.path()});
  BOOST_TEST(patience(merged, 1) == 6);
  const auto help = merged.parse({"--help"}).text;
  BOOST_TEST(contains(help, "with --trainer.callbacks early_stopping"));
  BOOST_TEST(contains(help, "--trainer.callbacks [NAME, ...]"));
  refused({"--trainer.callbacks", "early_stoping"},
          {"command line: trainer.callbacks: \"early_stoping\" is unknown, did you mean early_stopping?", "early_stopping, quiet"});
  refused({"--trainer.callbacks.early_stopping.patienc", "3"},
          {"trainer.callbacks.early_stopping.patienc: unknown key", "did you mean trainer.callbacks.early_stopping.patience?"});
  refused({"--trainer.callbacks.quite.x", "3"}, {"\"quite\" is unknown, did you mean quiet?"});
  refused({"--trainer.callbacks.0.patience", "3"}, {"trainer.callbacks.0: no component has this number, 0 are chosen"});
  refused({"--trainer.callback", "quiet"}, {"did you mean --trainer.callbacks?"});
}

BOOST_AUTO_TEST_CASE(linked_fields_are_no_options) {
  int64_t known_later = 0;
  bool holds = true;
  Program program;
  program.options.add_link({.source = "trainer.max_epochs",
                            .target = "model.hidden",
                            .alternative = {},
                            .holds = [&] { return holds; },
                            .apply = [&] { program.model.hidden = program.trainer.max_epochs; }});
  program.options.add_link({.source = "Data::rate",
                            .target = "optimizer.lr",
                            .alternative = "sgd",
                            .holds = [&] { return program.optimizer && program.optimizer->index() == 0; },
                            .apply = [&] { std::get<cli_test::Sgd>(*program.optimizer).lr = static_cast<double>(known_later); },
                            .late = true});
  const auto printed = program.parse({"--print_config", "--trainer.max_epochs", "12", "--optimizer", "sgd"}).text;
  BOOST_TEST(program.model.hidden == 12);
  BOOST_TEST(!contains(printed, "hidden"));
  BOOST_TEST(!contains(printed, "  lr:"));
  BOOST_TEST(program.options.has_late_links());
  BOOST_TEST(program.options.write(true).find("model")->find("hidden")->text == "12");
  check_throws<ConfigError>([&] { program.options.apply_late_links(); }, {"optimizer.lr: \"0.0\" is too small", "greater than 0"});
  known_later = 2;
  program.options.apply_late_links();
  BOOST_TEST(std::get<cli_test::Sgd>(*program.optimizer).lr == 2);
  check_throws<ConfigError>(
      [&] {
        program.parse({"fit", "--model.hidden", "3"});
      },
      {"[config] command line: model.hidden: is linked from trainer.max_epochs", "set trainer.max_epochs instead"});
  check_throws<ConfigError>(
      [&] {
        program.parse({"fit", "--optimizer", "sgd", "--optimizer.lr", "3"});
      },
      {"optimizer.lr: is linked from Data::rate", "leave it out"});
  program.parse({"fit", "--optimizer", "adamw", "--optimizer.lr", "3"});
  BOOST_TEST(!program.options.has_late_links());
  const auto help = in_one_line(program.parse({"--help", "all"}).text);
  BOOST_TEST(contains(help, "(linked from trainer.max_epochs)"));
  BOOST_TEST(contains(help, "(linked from Data::rate)"));
  holds = false;  // another model, say
  program.parse({"fit", "--model.hidden", "3"});
  BOOST_TEST(program.model.hidden == 3);
}

BOOST_AUTO_TEST_CASE(fields_of_a_replaced_alternative_are_unset) {
  const TemporaryFile file("trainer: {strategy: {name: fsdp, prefetch: 7}}\n");
  Program program;
  const auto command = program.parse({"fit", "--config", file.path(), "--trainer.strategy", "ddp"});
  BOOST_TEST(!command.set.contains("trainer.strategy.prefetch"));
  BOOST_TEST(command.set.contains("trainer.strategy"));
}

BOOST_AUTO_TEST_CASE(later_wins) {
  const TemporaryFile first("trainer: {max_epochs: 3, strategy: {name: fsdp, prefetch: 7}}\nmodel:\n  hidden: 3\n");
  const TemporaryFile second("trainer:\n  max_epochs: 4\n  strategy:\n    bucket: 1 MiB\noptimizer: sgd\n# all of it a comment\nmodel:\n");
  const std::vector<std::string> environment{
      "LEVIN_TRAINER__MAX_EPOCHS=2", "LEVIN_MODEL__ACTIVATION=tanh",        "LEVIN_CACHE=/x",          "HOME=/root",
      "LEVIN_RUN_DIR=here",          "LEVIN_TRAINER__STRATEGY__PREFETCH=9", "LEVIN_MODEL__WIDTHS=[9]", "LEVIN_BUILD=/y"};
  Program program;
  program.parse({"fit"}, environment);
  BOOST_TEST(program.trainer.max_epochs == 2);
  BOOST_TEST(program.model.activation == "tanh");
  BOOST_TEST(program.root.run_dir.string() == "here");
  BOOST_TEST(program.model.widths == std::vector<int64_t>{9});
  BOOST_TEST(std::get<cli_test::Ddp>(program.trainer.strategy).prefetch == 9);
  Program files;
  const auto command =
      files.parse({"fit", "--config", first.path(), fmt::format("--config={}", second.path()), "--model.hidden", "5"}, environment);
  BOOST_TEST(files.trainer.max_epochs == 4);
  BOOST_TEST(files.model.hidden == 5);
  BOOST_TEST(std::get<cli_test::Fsdp>(files.trainer.strategy).prefetch == 7);
  BOOST_TEST(std::get<cli_test::Fsdp>(files.trainer.strategy).bucket.value == 1 << 20);
  BOOST_TEST(files.optimizer->index() == 0u);
  BOOST_TEST(command.set.at("trainer.max_epochs").text() == second.path() + ":2:15");
  BOOST_TEST(command.set.at("model.hidden").text() == "command line");
  BOOST_TEST(command.set.at("model.activation").text() == "environment LEVIN_MODEL__ACTIVATION");
  Program based;  // a resumed run's config ranks below the environment
  based.options.parse({{"fit"}, {"LEVIN_MODEL__HIDDEN=8"}, {first.path()}});
  BOOST_TEST(based.trainer.max_epochs == 3);
  BOOST_TEST(based.model.hidden == 8);
}

BOOST_AUTO_TEST_CASE(printed_config_loads_again_to_the_same) {
  Program program;
  const auto command = program.parse({"--print_config", "--trainer.strategy", "fsdp", "--run_name", "a: #b", "--model.class_weights.x",
                                      "1e-5", "--optimizer", "adamw", "--trainer.max_time", "90", "--model.activation", "true"});
  BOOST_TEST(command.subcommand.empty());
  BOOST_TEST(contains(command.text, "max_epochs: 1000  # stop after this many epochs; -1: no limit (integer, at least -1)\n"));
  BOOST_TEST(contains(command.text, "seed_everything: null"));
  const TemporaryFile file(command.text);
  Program again;
  BOOST_TEST(again.parse({"--print_config", "--config", file.path()}).text == command.text);
  BOOST_TEST(again.root.run_name.value() == "a: #b");
  BOOST_TEST(again.model.activation == "true");
  const TemporaryFile plain(program.options.to_yaml(false));
  Program third;
  BOOST_TEST(third.parse({"--print_config", "--config", plain.path()}).text == command.text);
}

BOOST_AUTO_TEST_CASE(help_lists_every_option) {
  Program program;
  const auto text = program.parse({"--nonsense", "--help", "all"}).text;
  for (const auto& option : program.options.options())
    if (!option.is_struct) BOOST_TEST(contains(text, fmt::format("--{} ", option.path)), option.path);
  for (const auto* part : {"fit", "validate", "test", "predict", "trainer: how to train", "stop after this many epochs", "at least -1;",
                           "with --trainer.strategy fsdp", "usage: job "})
    BOOST_TEST(contains(text, part), part);
  for (const auto* narrowed : {"trainer", "model"}) {
    const auto help = program.parse({"--help", narrowed}).text;
    BOOST_TEST(contains(help, "--trainer.max_epochs") == (narrowed == std::string("trainer")));
    BOOST_TEST(contains(help, "--model.hidden") == (narrowed == std::string("model")));
  }
  BOOST_TEST(program.parse({"--version"}).text == "job 1.2.3\n");
  for (size_t start = 0; start < text.size();) {
    const auto end = text.find('\n', start);
    BOOST_TEST(end - start <= 120u);
    start = end + 1;
  }
}

// Of the choices the fields of what the same line and its files choose, even where another option is invalid.
BOOST_AUTO_TEST_CASE(help_of_a_subcommand_shows_what_is_chosen) {
  const auto shown = [](const std::vector<std::string>& words) { return in_one_line(Program().parse(words).text); };
  const auto by_default = shown({"fit", "--help"});
  BOOST_TEST(contains(by_default, "with --trainer.strategy ddp"));
  BOOST_TEST(!contains(by_default, "with --trainer.strategy fsdp"));
  BOOST_TEST(!contains(by_default, "with --trainer.callbacks early_stopping"));
  BOOST_TEST(contains(by_default, "single, ddp, fsdp"));
  BOOST_TEST(contains(by_default, "--trainer.max_epochs "));
  const TemporaryFile file("trainer: {strategy: fsdp, callbacks: [early_stopping]}\n");
  for (const auto& words : {std::vector<std::string>{"fit", "--help", "--config", file.path()},
                            {"fit", "--config", file.path(), "--model.hidden", "many", "-h"}}) {
    const auto chosen = shown(words);
    BOOST_TEST(contains(chosen, "with --trainer.strategy fsdp"));
    BOOST_TEST(!contains(chosen, "with --trainer.strategy ddp"));
    BOOST_TEST(contains(chosen, "with --trainer.callbacks early_stopping"));
  }
  for (const auto& words : {std::vector<std::string>{"--help", "fit"}, {"-h"}, {"fit", "--help", "trainer"}})
    BOOST_TEST(!contains(shown(words), "with --trainer.strategy fsdp"));
  BOOST_TEST(contains(shown({"--help", "--trainer.strategy", "fsdp"}), "with --trainer.strategy fsdp"));
}

BOOST_AUTO_TEST_CASE(help_of_a_name) {
  const auto shown = [](const std::string& name) { return in_one_line(Program().parse({"fit", "--help", name}).text); };
  for (const auto* name : {"trainer.callbacks.early_stopping", "callbacks.early_stopping", "early_stopping", "callbacks.Early"}) {
    const auto text = shown(name);
    BOOST_TEST(contains(text, "with --trainer.callbacks early_stopping"), name);
    BOOST_TEST(contains(text, "--trainer.callbacks.early_stopping.patience INTEGER how long to wait"), name);
    BOOST_TEST(!contains(text, "usage"), name);
    BOOST_TEST(!contains(text, "max_epochs"), name);
  }
  BOOST_TEST(contains(shown("quiet"), "trainer.callbacks.quiet: no options"));
  for (const auto* name : {"strategy", "trainer.strategy"}) {  // a choice: all of its components
    BOOST_TEST(contains(shown(name), "with --trainer.strategy ddp"), name);
    BOOST_TEST(contains(shown(name), "with --trainer.strategy fsdp"), name);
    BOOST_TEST(!contains(shown(name), "max_epochs"), name);
  }
  const auto fsdp = shown("strategy.deepspeed_stage_3");  // another name of fsdp
  BOOST_TEST(contains(fsdp, "bytes of a bucket"));
  BOOST_TEST(!contains(fsdp, "buckets ahead"));
  const auto optimizer = shown("optimizer");  // a group that is a choice
  BOOST_TEST(contains(optimizer, "with --optimizer sgd"));
  BOOST_TEST(contains(optimizer, "with --optimizer adamw"));
  const auto option = shown("max_epochs");
  BOOST_TEST(contains(option, "--trainer.max_epochs INTEGER"));
  BOOST_TEST(!contains(option, "max_time"));
  BOOST_TEST(contains(shown("run_name"), "--run_name TEXT"));
  BOOST_TEST(Program().parse({"--help=run_name"}).text == Program().parse({"-h", "run_name"}).text);
  refused({"--help", "early_stoping"}, {"[config] command line: --help \"early_stoping\"", "did you mean --help early_stopping?"});
  refused({"--help", "callbacks.early_stoping"}, {"did you mean --help callbacks.early_stopping?"});
  refused({"--help", "zzzzzzzzzz"}, {"--help lists all"});
}

BOOST_AUTO_TEST_CASE(bad_command_lines) {
  Program program;
  check_throws<ConfigError>([&] { program.parse({}); }, {"[cli] no subcommand given; choose one of: fit, validate, test, predict"});
  check_throws<ConfigError>([&] { program.parse({"fti"}); }, {"\"fti\" is unknown, did you mean fit?"});
  refused({"test"}, {"\"fit\" and \"test\""});
  refused({"--trainer.max_epoch", "3"},
          {"[config] command line: --trainer.max_epoch: unknown option", "did you mean --trainer.max_epochs?"});
  refused({"--trainer.max_epoch=3"}, {"--trainer.max_epoch: unknown option", "did you mean --trainer.max_epochs?"});
  refused({"--trainer.max_epochs"}, {"--trainer.max_epochs has no value", "allowed: integer, at least -1"});
  refused({"--trainer.max_epochs", "--trainer.devices", "2"}, {"--trainer.max_epochs has no value"});
  refused({"--trainer.max_epochs", "3", "--trainer.max_epochs", "4"}, {"--trainer.max_epochs is given twice, as \"3\" and as \"4\""});
  refused({"--trainer.max_epochs", "3abc"}, {"command line: trainer.max_epochs: \"3abc\" is not allowed", "integer, at least -1"});
  refused({"--trainer.max_epochs", "-2"}, {"is too small"});
  refused({"--trainer.gradient_clip_val", "nan"}, {"is not finite"});
  refused({"--trainer.gradient_clip_val", "inf"}, {"is not finite"});
  refused({"--trainer.devices", "0"}, {"too small", "auto or an integer, at least 1"});
  refused({"--trainer.fast_dev_run=maybe"}, {"true or false"});
  refused({"--model.widths", "[1, 2"}, {"command line: model.widths:1:1"});
  refused({"--model.widths", "3"}, {"model.widths: \"3\" is not allowed", "a list [a, b]"});
  refused({"--model.activation", "\xff"}, {"UTF-8"});
  refused({"--model.activation", std::string("a\0b", 3)}, {"UTF-8"});
  refused({"--config", "/nowhere/config.yaml"}, {"\"/nowhere/config.yaml\": no such file"});
  refused({"--config"}, {"--config has no value"});
  refused({"-x"}, {"-x"});
  refused({""}, {"\"fit\" and \"\""});
  Program twice;
  twice.parse({"fit", "--trainer.max_epochs", "3", "--trainer.max_epochs=3"});
  BOOST_TEST(twice.trainer.max_epochs == 3);
}

// One parser for all sources; what none of them may take for a number is refused by all.
BOOST_AUTO_TEST_CASE(numbers_from_every_source) {
  const auto clip_of = [](const std::string& text, int source) {
    Program program;
    const TemporaryFile file("trainer:\n  gradient_clip_val: " + text + "\n");
    if (source == 0) program.parse({"fit", "--trainer.gradient_clip_val", text});
    if (source == 1) program.parse({"fit"}, {"LEVIN_TRAINER__GRADIENT_CLIP_VAL=" + text});
    if (source == 2) program.parse({"fit", "--config", file.path()});
    return *program.trainer.gradient_clip_val;
  };
  for (int source : {0, 1, 2}) {
    for (const auto& [text, value] : std::vector<std::pair<std::string, double>>{
             {".001", 0.001}, {".500", 0.5}, {".250", 0.25}, {"+.5", 0.5}, {"1e-3", 1e-3}, {"5.", 5}})
      BOOST_TEST(clip_of(text, source) == value, text);
    for (const auto* text : {"1e3x", "0x10", "1_000", "1,5", "\u0663"})
      check_throws<ConfigError>([&] { clip_of(text, source); }, {"trainer.gradient_clip_val", quote(text), "is not allowed", "number"});
  }
  refused({"--trainer.max_epochs", ".123"}, {"command line: trainer.max_epochs: \".123\" is not allowed", "integer, at least -1"});
  refused({}, {"environment LEVIN_TRAINER__MAX_EPOCHS: trainer.max_epochs: \".123\" is not allowed"}, {"LEVIN_TRAINER__MAX_EPOCHS=.123"});
  file_refused("trainer:\n  max_epochs: .123\n", {"config.yaml:2:15: trainer.max_epochs: \".123\" is not allowed"});
  refused({"--trainer.max_epochs", " 3"}, {"\" 3\" is not allowed"});
  refused({"--trainer.max_epochs", "\u00a03"}, {"\"<U+00A0>3\" is not allowed"});
}

BOOST_AUTO_TEST_CASE(relative_paths_become_absolute) {
  Program program;
  program.parse({"fit", "--run_dir", "some/where/../run"});
  program.options.make_paths_absolute("/base");
  BOOST_TEST(program.root.run_dir == "/base/some/run");
  program.options.make_paths_absolute("/other");
  BOOST_TEST(program.root.run_dir == "/base/some/run");
  Program empty;
  empty.parse({"fit"});
  empty.options.make_paths_absolute("/base");
  BOOST_TEST(empty.root.run_dir.empty());
}

BOOST_AUTO_TEST_CASE(keys_with_x_hold_what_anchors_name) {
  Program program;
  const TemporaryFile file("x-small: &small {max_epochs: 3}\ntrainer:\n  <<: *small\n  devices: 2\n");
  program.parse({"fit", "--config", file.path()});
  BOOST_TEST(program.trainer.max_epochs == 3);
  BOOST_TEST(*program.trainer.devices.value == 2);
  file_refused("y-small: {max_epochs: 3}\n", {"config.yaml:1:1: y-small: unknown key"});
}

BOOST_AUTO_TEST_CASE(bad_environments) {
  refused({}, {"environment LEVIN_TRAINER__MAX_EPOCHS: trainer.max_epochs: \"x\" is not allowed"}, {"LEVIN_TRAINER__MAX_EPOCHS=x"});
  refused({}, {"environment LEVIN_TRAINER__MAX_EPOCH: trainer.max_epoch: unknown key", "did you mean trainer.max_epochs?"},
          {"LEVIN_TRAINER__MAX_EPOCH=1"});
  refused({}, {"environment LEVIN_TRAINER_MAX_EPOCHS: unknown option", "did you mean LEVIN_TRAINER__MAX_EPOCHS?"},
          {"LEVIN_TRAINER_MAX_EPOCHS=1"});
  refused({}, {"UTF-8"}, {"LEVIN_MODEL__ACTIVATION=\xff"});
}

BOOST_AUTO_TEST_CASE(bad_files) {
  file_refused("trainer:\n  max_epoch: 3\n", {"config.yaml:2:3: trainer.max_epoch: unknown key", "did you mean trainer.max_epochs?"});
  file_refused("max_epochs: 3\n", {"config.yaml:1:1: max_epochs: unknown key", "did you mean trainer.max_epochs?"});
  file_refused("trainer:\n  max_epochs: three\n", {"config.yaml:2:15: trainer.max_epochs: \"three\" is not allowed"});
  file_refused("trainer:\n  max_epochs: 3\n  max_epochs: 4\n", {"config.yaml:3:3: the key \"max_epochs\" is given twice", "line 2"});
  file_refused("trainer: 3\n", {"config.yaml:1:10: trainer: \"3\" is not a group of keys"});
  file_refused("trainer: [1]\n", {"trainer: \"[1]\" is not a group of keys"});
  file_refused("trainer: {max_epochs: .nan}\n", {"trainer.max_epochs"});
  file_refused("trainer: {max_epochs: [1]}\n", {"trainer.max_epochs", "allowed: integer"});
  file_refused("trainer: {gradient_clip_val: .nan}\n", {"is not finite"});
  file_refused("model: {widths: [1, 2x]}\n", {"model.widths[1]: \"2x\""});
  file_refused("optimizer: {lr: 1}\n", {"optimizer: no alternative is chosen"});
  file_refused("- 1\n", {"not a map of keys"});
}

BOOST_AUTO_TEST_CASE(bad_input_is_refused_at_once) {
  std::string deep = "trainer: ";
  for (int i = 0; i < 300'000; ++i) deep += '[';
  std::string many = "model: {class_weights: {";
  for (int i = 0; many.size() < 1'000'000; ++i) many += fmt::format("k{}: 1, ", i);
  for (const auto& text : {deep, many.append("}}"), std::string(1 << 20, '-'), std::string(1 << 20, ' '), std::string(1 << 20, '?')}) {
    const auto start = std::chrono::steady_clock::now();
    Program program;
    const TemporaryFile file(text);
    try {
      program.parse({"fit", "--config", file.path()});
    } catch (const ConfigError&) {
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    BOOST_TEST(took.count() < 2.0, text.substr(0, 30) << " took " << took.count());
  }
}

BOOST_AUTO_TEST_SUITE_END()
