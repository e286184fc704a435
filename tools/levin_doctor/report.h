#pragma once
#include <functional>
#include <string>
#include <vector>

#include "levin/cluster/outliers.h"
#include "levin/comm/communicator.h"
#include "levin/comm/topology.h"

namespace levin::doctor {

/// A rank's own number, or why there is none.
using Measure = std::function<double()>;

/// The printed report: rank 0 prints each line at once, and the findings at the end.
class Report {
 public:
  Report(Communicator& communicator, const Topology& topology) : communicator_(communicator), topology_(topology) {}

  /// One line, or several: the name stands before the first. Local; ranks but 0 print nothing.
  void line(const std::string& name, const std::string& text) const;
  /// A mistake, named with rank or host. The same on all ranks.
  void finding(std::string text) { findings_.push_back(std::move(text)); }
  /// Mean and range of the values, of which NaN is not measured; outliers become findings, by their labels.
  void spread(const std::string& name, const std::vector<double>& values, const std::vector<std::string>& labels, const std::string& unit,
              Better better, const std::string& note = {});
  /// Runs `measure` on this rank and gathers the values of all ranks; what it throws becomes a finding, and NaN. Collective.
  std::vector<double> gather(const std::string& name, const Measure& measure);

  /// "rank 3 on hostb"
  std::string rank_name(int rank) const;
  std::vector<std::string> rank_names() const;
  /// Prints the findings. Returns the exit code: 1 if there are some.
  int end() const;

 private:
  Communicator& communicator_;
  const Topology& topology_;
  std::vector<std::string> findings_;
};

}  // namespace levin::doctor
