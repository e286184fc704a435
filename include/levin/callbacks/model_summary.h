#pragma once
#include <functional>
#include <string>

#include "levin/trainer/callback.h"

namespace levin {

/// A table of a module's children with their types and numbers of parameters, and the totals with their size in memory.
std::string summarize(const Module& module);

/// Prints the table before the training starts, on rank 0.
class ModelSummary : public Callback {
 public:
  explicit ModelSummary(std::function<void(const std::string&)> print) : print_(std::move(print)) {}
  void on_fit_start() override;

 private:
  std::function<void(const std::string&)> print_;
};

}  // namespace levin
