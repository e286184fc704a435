#include <cmath>
#include <limits>
#include <map>
#include <sstream>

#include "../trainer/toy.h"
#include "levin/loggers/csv_logger.h"
#include "levin/loggers/service_loggers.h"
#include "levin/loggers/tensorboard_logger.h"
#include "levin/trainer/find_logger.h"
#include "levin_test.h"
#include "log_folder.h"

using namespace levin::test;

BOOST_AUTO_TEST_SUITE(loggers_several_loggers)

namespace {

// Logs what is hard to write down.
struct NonFinite : Toy {
  levin::Tensor training_step(const levin::Batch& batch) override {
    log("odd, \"name\"", 1.0 / 3);
    log("no_number", std::nan(""));
    log("too_large", -std::numeric_limits<double>::infinity());
    return Toy::training_step(batch);
  }
};

// Adds a picture of its weights after each step.
struct Painter : Toy {
  void on_train_batch_end(const levin::Tensor&, const levin::Batch&, int64_t) override {
    if (levin::find_logger<levin::TensorBoardLogger>(trainer())) found++;
    for (auto* logger : levin::find_loggers<levin::MediaLogger>(trainer())) {
      logger->add_image("weight", net->weight, trainer().global_step());
      logger->add_histogram("weight", net->weight, trainer().global_step());
    }
  }
  int found = 0;
};

struct Row {
  int64_t step, epoch;
  std::string name;
  double value;
};

// The rows of metrics.csv; names may be quoted.
std::vector<Row> rows_of(const std::string& csv) {
  std::vector<Row> rows;
  std::istringstream lines(csv);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::vector<std::string> cells(1);
    bool quoted = false;
    for (size_t i = 0; i < line.size(); i++) {
      if (line[i] == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"')
        cells.back() += line[i++];
      else if (line[i] == '"')
        quoted = !quoted;
      else if (line[i] == ',' && !quoted)
        cells.emplace_back();
      else
        cells.back() += line[i];
    }
    BOOST_REQUIRE(cells.size() == 4);
    rows.push_back({std::stoll(cells[0]), std::stoll(cells[1]), cells[2], std::stod(cells[3])});
  }
  return rows;
}

bool same(double a, float b) { return static_cast<float>(a) == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace

BOOST_AUTO_TEST_CASE(all_loggers_get_the_same_values) {
  LogFolder folder;
  ToyData data;
  levin::Trainer trainer({.max_epochs = 2, .log_every_n_steps = 2}, runtime(), 5);
  const auto memory = std::make_shared<MemoryLogger>();
  trainer.add_logger(std::make_shared<levin::CSVLogger>(folder.path / "metrics.csv"));
  trainer.add_logger(std::make_shared<levin::TensorBoardLogger>(levin::TensorBoardLoggerConfig{.save_dir = folder.path}));
  trainer.add_logger(memory);
  trainer.log_hyperparams("seed_everything: 5\n");
  const auto module = trainer.build<NonFinite>();
  trainer.fit(*module, data);
  trainer.finalize_loggers();

  const auto rows = rows_of(text_of(folder.path / "metrics.csv"));
  size_t values = 0;
  for (const auto& row : memory->rows) values += row.values.size();
  BOOST_TEST(rows.size() == values);
  BOOST_TEST(values == (runtime().rank() == 0 ? 5u * 4 + 2 * 2 : 0u));
  if (runtime().rank() != 0) return;
  const auto events = read_events(folder.path);
  BOOST_TEST(events.size() == values + memory->rows.size() + 1);  // the epoch with each row, and the options

  std::map<std::string, size_t> seen;
  for (const auto& [step, epoch, name, value] : rows) {
    const auto scalars = scalars_of(events, name);
    const size_t index = seen[name]++;
    BOOST_REQUIRE(index < scalars.size());
    BOOST_TEST(scalars[index].first == step);
    BOOST_TEST(same(value, static_cast<float>(scalars[index].second)), name << " is " << value << " and " << scalars[index].second);
  }
  BOOST_TEST(seen["odd, \"name\""] == 5);
  BOOST_TEST(seen["no_number"] == 5);
  BOOST_TEST(std::isinf(scalars_of(events, "too_large").front().second));
  BOOST_TEST(events.back().value == "```yaml\nseed_everything: 5\n```");
}

// A fast_dev_run begins no log: it leaves alone what an earlier training wrote.
BOOST_AUTO_TEST_CASE(a_hook_adds_images_and_histograms_on_rank_0) {
  LogFolder folder;
  ToyData data;
  std::vector<std::string> written;
  for (const bool fast_dev_run : {false, true}) {
    levin::TrainerConfig config{.max_steps = 3};
    config.fast_dev_run.batches = fast_dev_run ? 1 : 0;
    levin::Trainer trainer(config, runtime(), 5);
    if (runtime().rank() == 0) {
      trainer.add_logger(std::make_shared<levin::CSVLogger>(folder.path / "metrics.csv"));
      trainer.add_logger(std::make_shared<levin::TensorBoardLogger>(levin::TensorBoardLoggerConfig{.save_dir = folder.path}));
      trainer.add_logger(std::make_shared<levin::WandbLogger>(levin::WandbLoggerConfig{}, folder.path));
    }
    const auto module = trainer.build<Painter>();
    trainer.fit(*module, data);
    trainer.finalize_loggers();
    BOOST_TEST(module->found == (runtime().rank() == 0 && !fast_dev_run ? 3 : 0));
    if (runtime().rank() == 0) written.push_back(text_of(folder.path / "metrics.csv"));
  }
  if (runtime().rank() != 0) return;
  BOOST_TEST(written.front() == written.back());
  const auto read = read_plugins(folder.path);
  BOOST_TEST(read.at("images").at("weight").size() == 3u);
  BOOST_TEST(read.at("images").at("weight").at(2).at("width") == 4);
  BOOST_TEST(read.at("images").at("weight").at(2).at("step") == 3);
  BOOST_TEST(read.at("histograms").at("weight/histograms").size() == 3u);  // TensorBoard shows one kind of values for a tag
  BOOST_TEST(!read.at("histograms").contains("weight"));
  std::map<std::string, std::vector<int64_t>> steps;
  for (const auto& record : json_lines_of(folder.path / "spool/wandb.jsonl"))
    if (record.contains("name")) steps[record.at("kind").get<std::string>()].push_back(record.at("step").get<int64_t>());
  BOOST_CHECK((steps == std::map<std::string, std::vector<int64_t>>{{"histogram", {1, 2, 3}}, {"image", {1, 2, 3}}}));
}

BOOST_AUTO_TEST_SUITE_END()
