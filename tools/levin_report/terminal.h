#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "charts.h"
#include "run_data.h"

namespace levin::report {

struct TerminalOptions {
  size_t columns = 80;
  bool utf8 = true;     ///< braille dots; else ASCII alone
  bool colors = false;  ///< without them curves of one chart have marks
};

/// The charts, restarts and times for a terminal.
std::string terminal_text(const std::vector<RunData>& runs, const std::vector<Chart>& charts, const TerminalOptions& options);

/// Of the terminal that standard output is: its width (else COLUMNS, or 80), the locale's encoding, colors unless NO_COLOR is set.
TerminalOptions options_of_terminal();

}  // namespace levin::report
