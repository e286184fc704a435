#pragma once
#include <set>
#include <vector>

#include "graph.h"

namespace levin::exported {

/// How a node uses the values of its graph.
struct NodeUse {
  std::vector<Slot> reads;     ///< all of its arguments
  std::vector<Slot> writes;    ///< arguments that it changes in place
  std::vector<Slot> returned;  ///< arguments whose memory its results may share
};
/// ConfigError, which names the node, as of find_operator and match_arguments.
NodeUse use_of(const Node& node);

/// The slots of a graph's output, or of an argument other than a graph.
void append_slots(std::vector<Slot>& slots, const std::variant<Item, List>& value);
std::vector<Slot> slots_made_by(const Node& node);

/// Which values of a graph may share memory.
class SharedMemory {
 public:
  explicit SharedMemory(const Graph& graph);
  /// By node; see use_of.
  const std::vector<NodeUse>& uses() const noexcept { return uses_; }
  /// The values with separate memory that this one may be a view of, itself included.
  const std::set<Slot>& origins(Slot slot) const { return origins_[static_cast<size_t>(slot)]; }
  /// Origins of all values that nodes change in place.
  std::set<Slot> written() const;

 private:
  std::vector<NodeUse> uses_;
  std::vector<std::set<Slot>> origins_;
};

/// Positions of the inputs that a graph changes in place.
std::set<size_t> written_inputs(const Graph& graph);

}  // namespace levin::exported
