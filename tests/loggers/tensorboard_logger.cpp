#include "levin/loggers/tensorboard_logger.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <regex>
#include <thread>

#include "../../src/trainer/queued_logger.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "log_folder.h"

using namespace levin::test;
using levin::TensorBoardLogger;
using Values = std::vector<std::pair<int64_t, double>>;

BOOST_AUTO_TEST_SUITE(loggers_tensorboard_logger)

namespace {

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

// Writes to a file that is open in this process block until it is unblocked: its descriptor is that of a full pipe meanwhile.
class BlockedFile {
 public:
  explicit BlockedFile(const std::filesystem::path& file) : file_(file) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code unseen;
      if (std::filesystem::read_symlink(entry.path(), unseen) == file) descriptor_ = std::stoi(entry.path().filename());
    }
    BOOST_REQUIRE(descriptor_ >= 0);
    before_ = dup(descriptor_);
    std::array<int, 2> ends{};
    BOOST_REQUIRE(pipe(ends.data()) == 0);
    out_ = ends[0];
    fill_.assign(static_cast<size_t>(fcntl(ends[1], F_GETPIPE_SZ)), 'x');
    BOOST_REQUIRE(::write(ends[1], fill_.data(), fill_.size()) == static_cast<ssize_t>(fill_.size()));
    dup2(ends[1], descriptor_);
    close(ends[1]);
  }
  void unblock() {
    reader_ = std::thread([this] {
      std::array<char, 4096> part{};
      for (ssize_t bytes = 0; (bytes = ::read(out_, part.data(), part.size())) > 0;) bytes_.append(part.data(), static_cast<size_t>(bytes));
    });
  }
  // The file gets what was written.
  void restore() {
    dup2(before_, descriptor_);
    reader_.join();
    std::ofstream(file_, std::ios::app | std::ios::binary) << bytes_.substr(fill_.size());
    close(before_);
    close(out_);
  }

 private:
  std::filesystem::path file_;
  int descriptor_ = -1, before_ = -1, out_ = -1;
  std::string fill_, bytes_;
  std::thread reader_;
};

}  // namespace

BOOST_AUTO_TEST_CASE(the_real_tensorboard_reads_steps_values_tags_and_times) {
  LogFolder folder;
  const double begin = now();
  TensorBoardLogger logger({.save_dir = folder.path / "events"});
  logger.log_metrics({{"train_loss", 0.1}, {"a \"new\", one/ü", -1e-30}}, 0, 49);
  const double middle = now();
  logger.log_metrics({{"train_loss", 0.0625}}, 3, int64_t{1} << 40);
  logger.finalize();
  const auto events = read_events(folder.path / "events");
  BOOST_TEST(events.size() == 5);
  BOOST_CHECK((scalars_of(events, "train_loss") == Values{{49, 0.1f}, {int64_t{1} << 40, 0.0625}}));
  BOOST_CHECK((scalars_of(events, "a \"new\", one/ü") == Values{{49, -1e-30f}}));
  BOOST_CHECK((scalars_of(events, "epoch") == Values{{49, 0}, {int64_t{1} << 40, 3}}));
  for (const auto& event : events) {
    BOOST_TEST(event.wall_time >= (event.step == 49 ? begin : middle));
    BOOST_TEST(event.wall_time <= (event.step == 49 ? middle : now()));
  }
}

BOOST_AUTO_TEST_CASE(nan_and_infinity_are_kept) {
  LogFolder folder;
  TensorBoardLogger logger({.save_dir = folder.path});
  constexpr double infinity = std::numeric_limits<double>::infinity();
  logger.log_metrics({{"nan", std::nan("")}, {"up", infinity}, {"down", -infinity}, {"epoch", 0.5}}, 7, 0);
  logger.finalize();
  const auto events = read_events(folder.path);
  BOOST_TEST(std::isnan(scalars_of(events, "nan").at(0).second));
  BOOST_TEST(scalars_of(events, "up").at(0).second == infinity);
  BOOST_TEST(scalars_of(events, "down").at(0).second == -infinity);
  // A metric of that name is not mixed with the trainer's epoch.
  BOOST_CHECK((scalars_of(events, "epoch") == Values{{0, 7}}));
  BOOST_CHECK((scalars_of(events, "metrics/epoch") == Values{{0, 0.5}}));
}

BOOST_AUTO_TEST_CASE(options_are_a_text_and_names_have_a_prefix) {
  LogFolder folder;
  TensorBoardLogger logger({.save_dir = folder.path, .prefix = "big"});
  logger.log_hyperparams("trainer:\n  max_epochs: 5\n");
  logger.log_metrics({{"val_acc", 0.5}}, 0, 1);
  logger.finalize();
  const auto events = read_events(folder.path);
  BOOST_CHECK((scalars_of(events, "big-val_acc") == Values{{1, 0.5}}));
  BOOST_TEST(events.back().kind == "text");
  BOOST_TEST(events.back().tag == "big-config");
  BOOST_TEST(events.back().value == "```yaml\ntrainer:\n  max_epochs: 5\n```");
}

BOOST_AUTO_TEST_CASE(hyper_parameters_texts_histograms_and_images_reach_tensorboards_pages) {
  LogFolder folder;
  {
    TensorBoardLogger logger({}, folder.path / "first");
    logger.log_hyperparams("model: {lr: 1.0e-3, deep: true, act: gelu}\ntrainer:\n  callbacks: [timer, {name: early_stopping}]\n");
    logger.log_hyperparams("note: '5'\n");
    logger.begin_training(0);
    logger.log_metrics({{"loss", 0.5}}, 0, 3);
    logger.log_metrics({{"loss", 0.25}}, 0, 4);
    logger.add_text("notes", "*better*", 4);
    logger.add_histogram("weights", at::tensor({-1.0, 2.0, 0.5, 0.5}, at::kFloat).view({2, 2}), 4);
    logger.add_histogram("constant", at::full({7}, 3, at::kLong), 5);
    logger.add_histogram("nothing", at::full({3}, std::nan("")), 6);
    logger.add_image("grey", at::tensor({0.0, 0.5, 1.0, 2.0, -1.0, std::nan("")}, at::kFloat).view({2, 3}), 7);
    logger.add_image("rgb", at::arange(12, at::kByte).view({3, 1, 4}), 8);
    logger.add_image("rgb", at::arange(24, at::kByte).view({3, 2, 4}), 9);
    logger.add_image("mask", at::tensor({0, 1}, at::kInt).to(at::kBool).view({1, 1, 2}), 9);
    logger.finalize();
  }
  {
    TensorBoardLogger logger({}, folder.path / "second");
    logger.log_hyperparams("model: {lr: 0.1, wide: false}\n");
    logger.log_metrics({{"accuracy", 0.75}}, 0, 0);
    logger.set_end(levin::RunEnd::failed);
    logger.finalize();
  }
  const auto read = read_plugins(folder.path);
  const nlohmann::json first = {{"values",
                                 {{"model.lr", 1e-3},
                                  {"model.deep", true},
                                  {"model.act", "gelu"},
                                  {"trainer.callbacks", "[timer, {name: early_stopping}]"},
                                  {"note", "5"}}},
                                {"metrics", {{"epoch", 0.0}, {"loss", 0.25}}},
                                {"status", "STATUS_SUCCESS"}};
  const nlohmann::json second = {{"values", {{"model.lr", 0.1}, {"model.wide", false}}},
                                 {"metrics", {{"accuracy", 0.75}, {"epoch", 0.0}}},
                                 {"status", "STATUS_UNKNOWN"}};
  BOOST_TEST(read.at("hparams").at("first") == first);
  BOOST_TEST(read.at("hparams").at("second") == second);
  BOOST_TEST(read.at("columns").at("model.lr") == "DATA_TYPE_FLOAT64");
  BOOST_TEST(read.at("columns").at("model.wide") == "DATA_TYPE_BOOL");

  const auto& weights = read.at("histograms").at("weights").at(0);
  BOOST_TEST(weights.at("step") == 4);
  BOOST_TEST(weights.at("buckets").size() == 30);
  double count = 0;
  for (const auto& bucket : weights.at("buckets")) {
    const double left = bucket[0], right = bucket[1];
    double expected = left == -1 ? 1 : 0;
    if (left <= 0.5 && 0.5 < right) expected = 2;
    if (right == 2) expected = 1;
    BOOST_TEST(bucket[2] == expected, "[" << left << ", " << right << ") has " << bucket[2]);
    count += bucket[2].get<double>();
  }
  BOOST_TEST(count == 4);
  BOOST_TEST(read.at("histograms").at("constant").at(0).at("buckets").back() == nlohmann::json({3.0, 3.0, 7.0}));
  BOOST_TEST(read.at("histograms").at("nothing").at(0).at("buckets").empty());

  const auto image = [&](const char* tag, size_t index) { return read.at("images").at(tag).at(index); };
  const nlohmann::json grey = {{"step", 7}, {"width", 3}, {"height", 2}, {"channels", 1}, {"pixels", {0, 128, 255, 255, 0, 0}}};
  BOOST_TEST(image("grey", 0) == grey);
  const nlohmann::json rgb = {
      {"step", 8}, {"width", 4}, {"height", 1}, {"channels", 3}, {"pixels", {0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}}};
  BOOST_TEST(image("rgb", 0) == rgb);
  BOOST_TEST(image("rgb", 1).at("step") == 9);
  BOOST_TEST(image("mask", 0).at("pixels") == nlohmann::json({0, 255}));
  const auto events = read_events(folder.path / "first");
  BOOST_TEST(std::count_if(events.begin(), events.end(), [](const auto& event) {
               return event.kind == "text" && event.tag == "notes" && event.value == "*better*" && event.step == 4;
             }) == 1);
}

BOOST_AUTO_TEST_CASE(an_image_of_another_shape_or_dtype_is_an_error) {
  LogFolder folder;
  TensorBoardLogger logger({}, folder.path);
  check_throws<levin::UsageError>([&] { logger.add_image("a", at::zeros({2, 5, 5}), 0); }, {"[loggers]", "[2, 5, 5]", "channels"});
  check_throws<levin::UsageError>([&] { logger.add_image("a", at::zeros({1, 3, 5, 5}), 0); }, {"[1, 3, 5, 5]"});
  check_throws<levin::UsageError>([&] { logger.add_image("a", at::zeros({5, 5}, at::kLong), 0); }, {"Long", "uint8"});
  check_throws<levin::UsageError>([&] { logger.add_image("a", at::zeros({0, 5}), 0); }, {"[0, 5]"});
}

BOOST_AUTO_TEST_CASE(a_resumed_run_adds_a_file) {
  LogFolder folder;
  for (int64_t start : {0, 1}) {
    TensorBoardLogger logger({}, folder.path);
    logger.log_metrics({{"loss", static_cast<double>(start)}}, 0, 10 * start);
    BOOST_TEST(logger.file().parent_path() == folder.path);
    BOOST_TEST(std::regex_match(logger.file().filename().string(),
                                std::regex("events\\.out\\.tfevents\\.[0-9]{10}\\..+\\." + std::to_string(getpid()) + "\\.[01]")));
  }
  BOOST_TEST(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 2);
  BOOST_CHECK((scalars_of(read_events(folder.path), "loss") == Values{{0, 0}, {10, 1}}));
}

BOOST_AUTO_TEST_CASE(a_training_that_resumes_replaces_later_points) {
  LogFolder folder;
  for (const int64_t start : {0, 10, 15}) {  // all in one second, which TensorBoard must not confuse
    TensorBoardLogger logger({}, folder.path);
    logger.begin_training(start);
    for (int64_t step = start; step < (start == 10 ? 17 : 20); step++)
      logger.log_metrics({{"loss", static_cast<double>(100 * start + step)}}, 0, step);
  }
  Values expected;
  for (int64_t step = 0; step < 20; step++) expected.emplace_back(step, (step < 10 ? 0 : step < 15 ? 1000 : 1500) + step);
  BOOST_CHECK((scalars_of(read_events(folder.path), "loss") == expected));
}

BOOST_AUTO_TEST_CASE(a_logger_without_values_leaves_no_file) {
  LogFolder folder;
  {
    TensorBoardLogger logger({}, folder.path);
    BOOST_TEST(std::filesystem::exists(logger.file()));
    logger.log_hyperparams("a: 1\n");
    logger.finalize();
  }
  BOOST_TEST(std::filesystem::is_empty(folder.path));
}

BOOST_AUTO_TEST_CASE(tensorboard_would_notice_a_wrong_checksum) {
  LogFolder folder;
  std::filesystem::path file;
  {
    TensorBoardLogger logger({.save_dir = folder.path});
    logger.log_metrics({{"loss", 0.5}}, 0, 0);
    file = logger.file();
  }
  BOOST_TEST(scalars_of(read_events(folder.path), "loss").size() == 1);
  std::string bytes = text_of(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  std::ofstream(file) << bytes;
  BOOST_TEST(scalars_of(read_events(folder.path), "loss").empty());
}

BOOST_AUTO_TEST_CASE(written_values_are_readable_soon) {
  LogFolder folder;
  TensorBoardLogger logger({.flush_interval = {0.2}}, folder.path);
  const auto before = std::filesystem::file_size(logger.file());
  BOOST_TEST(before > 0);  // TensorBoard shows the run at once
  const double begin = now();
  while (now() < begin + 0.3) logger.log_metrics({{"loss", 1}}, 0, 0);
  BOOST_TEST(std::filesystem::file_size(logger.file()) > before);
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_written_is_an_error) {
  check_throws<levin::IoError>([] { TensorBoardLogger({.save_dir = "/proc/none"}); }, {"[loggers]", "/proc/none", "run_dir"});
  LogFolder folder;
  std::ofstream(folder.path / "file") << "no folder";
  check_throws<levin::IoError>([&] { TensorBoardLogger({.save_dir = folder.path / "file"}); },
                               {"[loggers]", (folder.path / "file").string()});
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_grow_is_an_error) {
  LogFolder folder;
  TensorBoardLogger logger({}, folder.path);
  const FileSizeLimit small(4096);
  check_throws<levin::IoError>(
      [&] {
        for (int step = 0; step < 1000; step++) logger.log_metrics({{"loss", 1}}, 0, step);
        logger.finalize();
      },
      {"[loggers]", logger.file().string(), "File too large"});
}

// Hooks add these: their error would end the training.
BOOST_AUTO_TEST_CASE(what_hooks_add_to_a_file_that_cannot_grow_is_written_later) {
  LogFolder folder;
  TensorBoardLogger logger({.flush_interval = {0}}, folder.path);
  logger.log_hyperparams("a: 1\n");
  const auto add_all = [&](int64_t step) {
    logger.add_text("notes", std::string(3000, 'x'), step);
    logger.add_histogram("weights", at::arange(1000, at::kFloat), step);
    logger.add_image("image", at::arange(64, at::kByte).view({8, 8}), step);
  };
  {
    const FileSizeLimit small(4096);
    BOOST_CHECK_NO_THROW(add_all(1));
    BOOST_CHECK_NO_THROW(add_all(2));
    BOOST_CHECK_THROW(logger.log_metrics({{"loss", 0.5}}, 0, 3), levin::IoError);  // its caller warns
  }
  logger.finalize();
  const auto read = read_plugins(folder.path);
  for (const auto* page : {"images", "histograms"})
    for (const auto& [tag, values] : read.at(page).items()) BOOST_TEST(values.size() == 2u, page << " " << tag);
  BOOST_TEST(read.at("images").contains("image"));
  BOOST_TEST(read.at("histograms").contains("weights"));
  const auto events = read_events(folder.path);
  BOOST_TEST(std::count_if(events.begin(), events.end(), [](const auto& event) { return event.tag == "notes"; }) == 2);
  BOOST_CHECK((scalars_of(events, "loss") == Values{{3, 0.5}}));
}

BOOST_AUTO_TEST_CASE(a_file_that_blocks_does_not_block_hooks) {
  LogFolder folder;
  const auto logger = std::make_shared<TensorBoardLogger>(levin::TensorBoardLoggerConfig{.flush_interval = {0}}, folder.path);
  BlockedFile file(logger->file());
  {
    levin::QueuedLogger queue(logger, {});
    queue.log_metrics({{"loss", 0.5}}, 0, 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the logger's thread writes, and waits
    const auto pixels = at::full({2, 2}, 7, at::kByte), weights = at::full({40'000}, 3.0);
    logger->add_text("notes", "*better*", 2);
    logger->add_image("image", pixels, 2);
    logger->add_histogram("weights", weights, 2);
    pixels.fill_(0);  // the next step changes them
    weights.fill_(0);
    queue.log_metrics({{"loss", 0.25}}, 0, 3);
    check_throws<levin::UsageError>([&] { logger->add_image("a", at::zeros({2, 5, 5}), 0); }, {"[2, 5, 5]"});
    file.unblock();  // else this line is not reached
    queue.finalize();
  }
  logger->add_text("later", "without a queue", 4);
  file.restore();
  const auto read = read_plugins(folder.path);
  BOOST_TEST(read.at("images").at("image").at(0).at("pixels") == nlohmann::json({7, 7, 7, 7}));
  BOOST_TEST(read.at("histograms").at("weights").at(0).at("buckets").back() == nlohmann::json({3.0, 3.0, 40'000.0}));
  const auto events = read_events(folder.path);
  BOOST_CHECK((scalars_of(events, "loss") == Values{{1, 0.5}, {3, 0.25}}));
  const auto bytes = text_of(logger->file());
  BOOST_TEST(bytes.find("loss") < bytes.find("notes"));
  BOOST_TEST(bytes.find("notes") < bytes.find("weights"));
  BOOST_TEST(bytes.find("weights") < bytes.rfind("loss"));
  BOOST_TEST(bytes.rfind("loss") < bytes.find("later"));
}

BOOST_AUTO_TEST_SUITE_END()
