#include "levin/callbacks/model_summary.h"

#include <fmt/format.h>

#include "../trainer/toy.h"
#include "levin/callbacks/throughput_monitor.h"
#include "levin_test.h"

using namespace levin::test;

BOOST_AUTO_TEST_SUITE(callbacks_model_summary)

BOOST_AUTO_TEST_CASE(summary_names_children_and_totals) {
  const Toy toy;
  const std::string table = levin::summarize(toy);
  BOOST_TEST(table.find("net") != std::string::npos);
  BOOST_TEST(table.find("Linear") != std::string::npos);
  BOOST_TEST(table.find("LinearImpl") == std::string::npos);
  BOOST_TEST(table.find("5 parameters, 5 of them trained, 0.0 MB") != std::string::npos);
}

namespace {

struct Nested : levin::Module {
  Nested() {
    const auto outer = register_module("outer", std::make_shared<torch::nn::Module>("Outer"));
    const auto inner = outer->register_module("inner", std::make_shared<torch::nn::Module>("Inner"));
    inner->register_module("net", torch::nn::Linear(4, 1));
  }
  levin::Tensor training_step(const levin::Batch& batch) override { return batch["x"].sum(); }
};

std::vector<std::string> lines_with_bars(const std::string& table) {
  std::vector<std::string> lines;
  for (size_t start = 0, end; start < table.size(); start = end + 1) {
    end = std::min(table.find('\n', start), table.size());
    const auto line = table.substr(start, end - start);
    if (line.find(" | ") != std::string::npos) lines.push_back(line);
  }
  return lines;
}

}  // namespace

BOOST_AUTO_TEST_CASE(max_depth_is_how_deep_it_looks) {
  const Nested nested;
  for (const auto& [depth, rows] : std::vector<std::pair<int64_t, size_t>>{{0, 0}, {1, 1}, {2, 2}, {3, 3}, {9, 3}, {-1, 3}})
    BOOST_TEST(lines_with_bars(levin::summarize(nested, depth)).size() == rows + 1, "depth " << depth);
  const auto lines = lines_with_bars(levin::summarize(nested, -1));
  BOOST_TEST(lines[3].find("outer.inner.net | Linear |") != std::string::npos, lines[3]);
  BOOST_TEST(lines[3].find("2 | ") != std::string::npos);
  BOOST_TEST(lines[3].find("| [1, 4] [1]") != std::string::npos, lines[3]);
}

BOOST_AUTO_TEST_CASE(it_is_printed_before_the_training) {
  for (int64_t depth : {0, 1}) {
    std::string printed;
    ToyData data;
    levin::Trainer trainer({.max_epochs = 1}, runtime());
    trainer.add_callback(std::make_shared<levin::ModelSummary>(levin::ModelSummaryConfig{.max_depth = depth},
                                                               [&](const std::string& table) { printed += table; }));
    const auto module = trainer.build<Toy>();
    trainer.fit(*module, data);
    const auto has = [&](const char* part) { return printed.find(part) != std::string::npos; };
    BOOST_TEST(has("5 parameters") == (depth == 1));
    BOOST_TEST(has("this rank holds ") == (depth == 1));
    BOOST_TEST(has("a micro-batch of 8 samples takes ") == (depth == 1), printed);
  }
}

// A product of [8, 4] and [4, 1], and one for the gradient of the weight, of 64 operations each.
BOOST_AUTO_TEST_CASE(operations_of_the_first_micro_batch_are_counted) {
  for (const bool by_model : {false, true}) {
    struct Counted : Toy, levin::CountsWork {
      double flops_per_batch(const levin::Batch&) const override { return flops; }
      double flops = 0;
    };
    std::string printed;
    ToyData data;
    levin::Trainer trainer({.max_epochs = 1}, runtime());
    trainer.add_callback(
        std::make_shared<levin::ModelSummary>(levin::ModelSummaryConfig{}, [&](const std::string& text) { printed = text; }));
    const auto module = trainer.build<Counted>();
    module->flops = by_model ? 2e9 : 0;
    trainer.fit(*module, data);
    BOOST_TEST(printed == fmt::format("a micro-batch of 8 samples takes {}, forward and backward", by_model ? "2 GFLOP" : "128 FLOP"));
  }
}

BOOST_AUTO_TEST_SUITE_END()
