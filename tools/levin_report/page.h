#pragma once
#include <string>
#include <vector>

#include "charts.h"
#include "run_data.h"

namespace levin::report {

/// One HTML page with the charts as SVG, their values as JSON (#report-data) and a script that shows values at the pointer. It loads
/// nothing, and its content security policy allows no other script. No text of a run is read as HTML. `written`: when, for the page's foot.
std::string html_page(const std::vector<RunData>& runs, const std::vector<Chart>& charts, const std::string& written);

}  // namespace levin::report
