#include "levin/device/work_stream.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "stream_order.h"

namespace levin {

WorkStream::WorkStream(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  stream_ = guard.getStreamFromGlobalPool(device);
  detail::wait_for(*stream_, guard.getStream(device));
  before_ = guard.exchangeStream(*stream_);
}

WorkStream::~WorkStream() {
  if (!stream_) return;
  try {
    const c10::impl::VirtualGuardImpl guard(stream_->device_type());
    guard.exchangeStream(*before_);
    detail::wait_for(*before_, *stream_);
  } catch (...) {  // the device is lost: what uses it next reports it
  }
}

}  // namespace levin
