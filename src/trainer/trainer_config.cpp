#include "levin/trainer/trainer_config.h"

#include <charconv>

#include "levin/core/error.h"

namespace levin {

std::optional<FastDevRun> FastDevRun::from_text(std::string_view text) {
  if (text == "true") return FastDevRun{1};
  if (text == "false") return FastDevRun{0};
  FastDevRun run;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), run.batches);
  if (error != std::errc() || end != text.data() + text.size() || run.batches < 0) return std::nullopt;
  return run;
}

std::string FastDevRun::to_text() const { return batches == 0 ? "false" : batches == 1 ? "true" : std::to_string(batches); }

void TrainerConfig::validate() const {
  if (val_check_interval == Limit::batches(0) || val_check_interval == Limit::fraction(0))
    throw ConfigError("val_check_interval is 0", "give a number of batches, or a part of an epoch such as 0.5; 1.0 is once an epoch",
                      "trainer");
}

}  // namespace levin
