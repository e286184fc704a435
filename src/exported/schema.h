#pragma once
// A validated program of torch.export, with its weights and description.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "graph.h"

namespace levin::exported {

/// A symbol of sizes, such as the batch size, and the range for which the program was exported.
struct Symbol {
  std::string name;  ///< "s24"
  int64_t min = 0, max = INT64_MAX;
};

enum class InputKind : uint8_t { user, parameter, buffer, constant, literal };
/// The role of an input of the program's graph: one for each of Graph::inputs, in their order.
struct Input {
  InputKind kind = InputKind::user;
  std::string name;  ///< user: of the batch's tensor; else Python's name of the parameter, buffer or constant
  Slot slot = no_slot;
  int weight = -1;  ///< parameter, buffer: index in Model::weights; constant: in Program::constants
  Item literal;     ///< literal: the example's value
};

enum class OutputKind : uint8_t { user, loss, buffer_mutation, input_mutation };
/// The role of an output of the program's graph: one for each of Graph::outputs, in their order.
struct Output {
  OutputKind kind = OutputKind::user;
  /// user, loss: the key in the result of forward, or "output_0", "output_1" of a tuple; else the name of the buffer or input that changes
  std::string name;
  int weight = -1;  ///< buffer_mutation: index in Model::weights
  int input = -1;   ///< input_mutation: index in Program::inputs
};

/// A tensor of the archive: a parameter, a buffer or a constant. Archive::load reads its bytes.
struct Weight {
  std::string name;                  ///< the first of Python's names
  std::vector<std::string> aliases;  ///< other names of a tied weight
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  std::vector<int64_t> sizes, strides;  ///< all elements lie within the entry
  std::string record;                   ///< the archive's entry that holds the bytes; empty for a tensor without elements
  uint64_t begin = 0;                   ///< offset of the first element in the entry, in bytes
  bool parameter = false, persistent = true, requires_grad = false;
};

struct Program {
  std::string name;  ///< of the graph in the archive
  Graph graph;
  std::vector<Symbol> symbols;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::vector<Weight> constants;
};

/// levin.json, which Levin's Python package writes; made of the graphs for an archive of torch.export.save.
struct Description {
  std::string main, eval;                    ///< names of the graphs
  std::vector<std::string> inputs, outputs;  ///< by their names in the batch and in the result of forward
  std::string loss;                          ///< the output that is the loss; empty: none
  std::vector<std::string> units;            ///< patterns of module paths, such as "blocks.*"
};

struct Model {
  Description description;
  std::vector<Weight> weights;                 ///< parameters and buffers of both programs, each once, in Python's order
  std::shared_ptr<const Program> train, eval;  ///< one object if the archive has one graph
};

}  // namespace levin::exported
