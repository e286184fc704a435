#include "levin/loggers/service_loggers.h"

#include <cmath>
#include <fstream>

#include "levin/core/error.h"
#include "levin_test.h"
#include "log_folder.h"

using levin::test::json_lines_of;
using levin::test::LogFolder;
using levin::test::text_of;

BOOST_AUTO_TEST_SUITE(loggers_service_loggers)

BOOST_AUTO_TEST_CASE(a_spool_has_all_that_a_run_logged) {
  LogFolder folder;
  {
    levin::WandbLogger logger({.project = "fields", .tags = {"a", "b"}, .prefix = "run"}, folder.path / "first");
    logger.log_hyperparams("trainer:\n  max_epochs: 6\n  callbacks: [timer, {name: early_stopping}]\nmodel: {lr: 1.0e-3}\n");
    logger.begin_training(0);
    logger.log_metrics({{"loss", 0.5}, {"nan", std::nan("")}}, 1, 9);
    logger.finalize();
  }
  const auto records = json_lines_of(folder.path / "first/spool/wandb.jsonl");
  BOOST_REQUIRE(records.size() == 5);
  BOOST_TEST(records[0].at("kind") == "run");
  BOOST_TEST(records[0].at("service") == "wandb");
  BOOST_TEST(records[0].at("version") == 1);
  BOOST_TEST(records[0].at("id").get<std::string>().size() == 16u);
  BOOST_TEST(records[0].at("settings").at("name") == "first");
  BOOST_TEST(records[0].at("settings").at("project") == "fields");
  BOOST_TEST(records[0].at("settings").at("tags") == nlohmann::json({"a", "b"}));
  BOOST_TEST(records[1].at("values").at("trainer.max_epochs") == "6");
  BOOST_TEST(records[1].at("values").at("trainer.callbacks") == "[timer, {name: early_stopping}]");
  BOOST_TEST(records[1].at("values").at("model.lr") == "1.0e-3");
  BOOST_TEST(records[2].at("kind") == "start");
  BOOST_TEST(records[3].at("step") == 9);
  BOOST_TEST(records[3].at("values").at("run-loss") == 0.5);
  BOOST_TEST(records[3].at("values").at("run-nan") == "NaN");
  BOOST_TEST(records[4].at("kind") == "end");
}

BOOST_AUTO_TEST_CASE(a_run_that_resumes_keeps_its_id) {
  LogFolder folder;
  const auto file = folder.path / "spool/comet.jsonl";
  for (int start : {0, 5}) {
    levin::CometLogger logger({}, folder.path);
    logger.begin_training(start);
    logger.log_metrics({{"loss", start}}, 0, start);
  }
  std::ofstream(file, std::ios::app) << R"({"kind":"metr)";  // a process that was killed while it wrote
  levin::CometLogger({}, folder.path).finalize();
  const auto text = text_of(file);
  BOOST_TEST(text.find(R"("kind":"run")") == text.rfind(R"("kind":"run")"));
  BOOST_TEST(text.find("{\"kind\":\"metr\n{\"kind\":\"end\"") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(each_service_has_its_file) {
  LogFolder folder;
  levin::MLFlowLogger({.tracking_uri = "http://localhost:5000"}, folder.path).finalize();
  levin::NeptuneLogger({.project = "team/fields"}, folder.path).finalize();
  BOOST_TEST(json_lines_of(folder.path / "spool/mlflow.jsonl")[0].at("settings").at("tracking_uri") == "http://localhost:5000");
  BOOST_TEST(json_lines_of(folder.path / "spool/neptune.jsonl")[0].at("settings").at("project") == "team/fields");
}

BOOST_AUTO_TEST_CASE(another_file_is_refused) {
  LogFolder folder;
  std::filesystem::create_directories(folder.path / "spool");
  for (const auto* text : {"{}\n", "[1]\n", "hello\n", R"({"kind":"run","service":"mlflow"})"}) {
    std::ofstream(folder.path / "spool/wandb.jsonl") << text;
    levin::test::check_throws<levin::DataError>([&] { levin::WandbLogger({}, folder.path); }, {"[loggers]", "not a spool of wandb"});
  }
}

BOOST_AUTO_TEST_SUITE_END()
