#include "levin/nn/build_context.h"

namespace levin {
namespace {
thread_local BuildContext* innermost = nullptr;
}

BuildContext::BuildContext() : outer_(innermost) { innermost = this; }
BuildContext::~BuildContext() { innermost = outer_; }
BuildContext* BuildContext::current() noexcept { return innermost; }

}  // namespace levin
