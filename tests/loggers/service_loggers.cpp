#include "levin/loggers/service_loggers.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>

#include <cmath>
#include <fstream>

#include "../../src/loggers/mlflow_client.h"
#include "../../src/loggers/spool.h"
#include "../../src/loggers/spool_progress.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "log_folder.h"
#include "test_paths.h"

using levin::test::FileSizeLimit;
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

BOOST_AUTO_TEST_CASE(a_spool_has_texts_histograms_images_and_files) {
  LogFolder folder;
  std::ofstream(folder.path / "fields.txt") << "content";
  {
    levin::WandbLogger logger({.prefix = "run"}, folder.path);
    logger.begin_training(0);
    logger.add_text("notes", "*better*", 4);
    logger.add_histogram("weights", at::full({2, 3}, 0.5), 5);
    logger.add_histogram("nothing", at::full({3}, std::nan("")), 5);
    logger.add_image("pixels", at::arange(24, at::kByte).view({3, 2, 4}), 6);
    logger.add_file("data/fields.txt", folder.path / "fields.txt", 7);
    levin::test::check_throws<levin::DataError>([&] { logger.add_file("a", folder.path / "none", 7); }, {"[loggers]", "none is missing"});
    logger.finalize();
  }
  const auto records = json_lines_of(folder.path / "spool/wandb.jsonl");
  BOOST_REQUIRE(records.size() == 7);
  const char* const kinds[] = {"text", "histogram", "image", "file"};
  const char* const names[] = {"run-notes", "run-weights", "run-pixels", "data/fields.txt"};
  for (size_t i = 0; i < 4; i++) {
    BOOST_TEST(records[2 + i].at("kind") == kinds[i]);
    BOOST_TEST(records[2 + i].at("name") == names[i]);
    BOOST_TEST(records[2 + i].at("step") == 4 + i);
    BOOST_TEST(records[2 + i].at("time").get<double>() > 1e9);
  }
  BOOST_TEST(records[2].at("text") == "*better*");
  BOOST_TEST(records[3].at("buckets").size() == 30u);
  BOOST_TEST(records[3].at("buckets").back() == nlohmann::json({0.5, 0.5, 6.0}));
  const auto content_of = [&](const nlohmann::json& record) {
    return text_of(folder.path / "spool/wandb.files" / record.at("file").get<std::string>());
  };
  BOOST_TEST(content_of(records[4]).starts_with(std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\4\0\0\0\2", 24)));
  BOOST_TEST(records[4].at("file").get<std::string>().ends_with(".png"));
  BOOST_TEST(content_of(records[5]) == "content");
}

BOOST_AUTO_TEST_CASE(images_and_files_wait_until_they_can_be_written) {
  LogFolder folder;
  std::ofstream(folder.path / "first") << std::string(9000, '1');
  const auto pixels = at::randint(256, {64, 64}, at::kByte);  // no image of it is smaller than the limit
  {
    levin::CometLogger logger({}, folder.path);
    logger.begin_training(0);
    {
      const FileSizeLimit full(4096);
      BOOST_CHECK_NO_THROW(logger.add_image("pixels", pixels, 1));
      BOOST_CHECK_NO_THROW(logger.add_file("data", folder.path / "first", 2));
      std::filesystem::remove(folder.path / "first");
      BOOST_CHECK_NO_THROW(logger.log_metrics({{"loss", 0.5}}, 0, 3));
    }
    BOOST_TEST(std::filesystem::is_empty(folder.path / "spool/comet.files"));
    logger.finalize();
  }
  const auto records = json_lines_of(folder.path / "spool/comet.jsonl");
  BOOST_REQUIRE(records.size() == 6);
  const char* const kinds[] = {"run", "start", "metrics", "image", "file", "end"};
  for (size_t i = 0; i < records.size(); i++) BOOST_TEST(records[i].at("kind") == kinds[i]);
  const auto content_of = [&](size_t i) { return text_of(folder.path / "spool/comet.files" / records[i].at("file").get<std::string>()); };
  BOOST_TEST(content_of(3).size() > 4096u);
  BOOST_TEST(content_of(4) == std::string(9000, '1'));
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

BOOST_AUTO_TEST_CASE(a_spool_has_the_end_of_the_run) {
  LogFolder folder;
  const auto log = [&](const char* name, levin::RunEnd end, bool finalize) {
    levin::CometLogger logger({}, folder.path / name);
    logger.log_hyperparams("a: 1\n");
    logger.begin_training(0);
    logger.set_end(end);
    if (finalize) logger.finalize();
  };
  log("finished", levin::RunEnd::finished, true);
  log("stopped", levin::RunEnd::stopped, true);
  log("failed", levin::RunEnd::failed, false);  // as an exception leaves it
  for (const auto* name : {"finished", "stopped", "failed"}) {
    const auto records = json_lines_of(folder.path / name / "spool/comet.jsonl");
    BOOST_REQUIRE(records.size() == 4);
    BOOST_TEST(records[1].at("yaml") == "a: 1\n");
    BOOST_TEST(records[3].at("kind") == "end");
    BOOST_TEST(records[3].at("status") == name);
  }
}

BOOST_AUTO_TEST_CASE(late_options_cost_no_record) {
  LogFolder folder;
  using Json = nlohmann::ordered_json;
  {
    levin::detail::Spool spool(folder.path, "wandb", Json::object(), {0});
    {
      const FileSizeLimit full(spool.size());
      BOOST_CHECK_NO_THROW(spool.params("a: 1\n"));
      BOOST_CHECK_THROW(spool.metrics(Json({{"loss", 0.5}}), 0, 1), levin::IoError);
      BOOST_CHECK_NO_THROW(spool.params("b: 2\n"));
      BOOST_CHECK_THROW(spool.start(2), levin::IoError);
    }
    spool.metrics(Json({{"loss", 0.25}}), 0, 2);
  }
  const auto records = json_lines_of(folder.path / "spool/wandb.jsonl");
  BOOST_REQUIRE(records.size() == 6);
  const char* const kinds[] = {"run", "params", "metrics", "params", "start", "metrics"};
  for (size_t i = 0; i < records.size(); i++) BOOST_TEST(records[i].at("kind") == kinds[i]);
  BOOST_TEST(records[2].at("step") == 1);
  BOOST_TEST(records[3].at("values").at("b") == "2");
}

BOOST_AUTO_TEST_CASE(options_that_cannot_be_read_cost_no_record) {
  LogFolder folder;
  {
    levin::CometLogger logger({}, folder.path);
    logger.begin_training(0);
    BOOST_CHECK_THROW(logger.log_hyperparams("a: ["), std::exception);
    BOOST_CHECK_NO_THROW(logger.log_metrics({{"loss", 0.5}}, 0, 1));
  }
  const auto records = json_lines_of(folder.path / "spool/comet.jsonl");
  BOOST_REQUIRE(records.size() == 4);
  BOOST_TEST(records[2].at("step") == 1);
}

BOOST_AUTO_TEST_CASE(an_attempt_that_is_refused_leaves_no_trace) {
  LogFolder folder;
  {
    levin::CometLogger logger({}, folder.path);
    logger.log_hyperparams("a: 1\n");
    logger.set_end(levin::RunEnd::failed);
    logger.finalize();
  }
  BOOST_TEST(json_lines_of(folder.path / "spool/comet.jsonl").size() == 1u);
}

BOOST_AUTO_TEST_CASE(names_become_those_that_mlflow_takes) {
  using levin::detail::mlflow_name;
  BOOST_TEST(mlflow_name("val_loss/dataloader_idx_0 a-b.c:d") == "val_loss/dataloader_idx_0 a-b.c:d");
  BOOST_TEST(mlflow_name("größe") == "größe");
  BOOST_TEST(mlflow_name("odd, \"name\"") == "odd_ _name_");
  BOOST_TEST(mlflow_name("/a//b/") == "_a__b_");
  BOOST_TEST(mlflow_name("a/../b") == "a_.._b");
  BOOST_TEST(mlflow_name("..a") == "__a");
  BOOST_TEST(mlflow_name(".") == "_");
  BOOST_TEST(mlflow_name("") == "_");
  BOOST_TEST(mlflow_name(std::string(249, 'a') + "ü") == std::string(249, 'a'));
  BOOST_TEST(mlflow_name("a\xFF\xC3") == "a__");                                         // not UTF-8
  std::ifstream names(std::filesystem::path(LEVIN_TESTS) / "loggers/mlflow_names.txt");  // levin-sync makes the same
  int count = 0;
  for (std::string line; std::getline(names, line); count++) {
    const auto tab = line.find('\t');
    BOOST_TEST(mlflow_name(line.substr(0, tab)) == line.substr(tab + 1));
  }
  BOOST_TEST(count == 13);
}

BOOST_AUTO_TEST_CASE(progress_of_another_spool_is_not_used) {
  using levin::detail::SpoolProgress;
  LogFolder folder;
  const auto spool = folder.path / "mlflow.jsonl", file = folder.path / "mlflow.synced.json";
  SpoolProgress{.bytes = 70, .spool_id = "0f", .run_id = "r1"}.save(spool);
  const auto load = [&](const char* id, int64_t size) {
    const auto progress = SpoolProgress::load(spool, id, size);
    BOOST_TEST(progress.spool_id == id);
    BOOST_TEST((progress.run_id == "r1") == (progress.bytes > 0));
    return progress.bytes;
  };
  BOOST_TEST(load("0f", 70) == 70);
  BOOST_TEST(load("0f", 69) == 0);
  BOOST_TEST(load("ab", 70) == 0);
  std::ofstream(file) << R"({"bytes": 70, "remote": {"run_id": "r1"}})";  // of an earlier version
  BOOST_TEST(load("0f", 70) == 70);
  BOOST_TEST(load("0f", 69) == 0);
  for (const auto* text : {"", "{", "[1]", R"({"bytes": -1, "remote": {"run_id": "r1"}})", R"({"spool": 5, "bytes": 70})"}) {
    std::ofstream(file) << text;
    BOOST_TEST(load("0f", 70) == 0, text);
  }
  std::filesystem::remove(file);
  std::filesystem::create_directory(file);
  BOOST_TEST(load("0f", 70) == 0);
}

BOOST_AUTO_TEST_CASE(a_tracking_uri_with_a_password_is_refused) {
  LogFolder folder;
  levin::test::check_throws<levin::ConfigError>([&] { levin::MLFlowLogger({.tracking_uri = "https://me:secret@host/"}, folder.path); },
                                                {"[loggers]", "MLFLOW_TRACKING_PASSWORD"});
  levin::MLFlowLogger({.tracking_uri = "http://127.0.0.1:9/a@b"}, folder.path);
  levin::test::check_throws<levin::ConfigError>([&] { levin::MLFlowLogger({.timeout = {0}}, folder.path); }, {"timeout"});
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
