#pragma once
#include <memory>

namespace levin {

class UnitBase;

/// Open while a model is built: a unit is handed to it as soon as it is finished, in the order of building, so that a strategy can act
/// before the next one is made. Contexts nest; each thread has its own.
class BuildContext {
 public:
  BuildContext();
  virtual ~BuildContext();
  BuildContext(const BuildContext&) = delete;
  BuildContext& operator=(const BuildContext&) = delete;

  virtual void adopt(const std::shared_ptr<UnitBase>& unit) = 0;
  /// The innermost open context of this thread, or null.
  static BuildContext* current() noexcept;

 private:
  BuildContext* outer_;
};

}  // namespace levin
