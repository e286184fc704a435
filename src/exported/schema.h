#pragma once
// A validated program of torch.export, and what belongs to it in the archive.
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
/// What an input of the program's graph is. One for each of Graph::inputs, in its order.
struct Input {
  InputKind kind = InputKind::user;
  std::string name;  ///< user: of the batch's tensor; else Python's name of the parameter, buffer or constant
  Slot slot = no_slot;
  int weight = -1;  ///< parameter, buffer: index in Model::weights; constant: in Program::constants
  Item literal;     ///< what Python gave for the example
};

enum class OutputKind : uint8_t { user, loss, buffer_mutation, input_mutation };
/// What an output of the program's graph is. One for each of Graph::outputs, in its order.
struct Output {
  OutputKind kind = OutputKind::user;
  std::string
      name;  ///< user, loss: its key in what forward returns, "output_0", "output_1" of a tuple; else the name of what is to be changed
  int weight = -1;  ///< buffer_mutation: index in Model::weights
  int input = -1;   ///< input_mutation: index in Program::inputs
};

/// A tensor of the archive: a parameter, a buffer or a constant. Its bytes are read by Archive::load.
struct Weight {
  std::string name;                  ///< the first of Python's names
  std::vector<std::string> aliases;  ///< other names that Python ties to it
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  std::vector<int64_t> sizes, strides;  ///< all elements lie within the entry
  std::string record;                   ///< the archive's entry that holds the bytes; empty for a tensor without elements
  uint64_t begin = 0;                   ///< of the first element, in bytes from the begin of the entry
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

/// levin.json, which Levin's Python package writes. For an archive of torch.export.save: what the graph says.
struct Description {
  int version = 0;
  std::string main, eval;                    ///< names of the graphs
  std::vector<std::string> inputs, outputs;  ///< by their names in the batch and in what forward returns
  std::string loss;                          ///< the output that is the loss; empty: none
  std::vector<std::string> units;            ///< patterns of module paths, such as "blocks.*"
  std::string torch;                         ///< the version of PyTorch that exported the archive
};

struct Model {
  Description description;
  std::vector<Weight> weights;                 ///< parameters and buffers of both programs, each once, in Python's order
  std::shared_ptr<const Program> train, eval;  ///< the same object where the archive has one graph
};

}  // namespace levin::exported
