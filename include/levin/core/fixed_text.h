#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace levin {

/// Text in memory that is there already, for signal handlers, which must not allocate. What does not fit is cut.
class FixedText {
 public:
  FixedText(char* memory, size_t bytes) noexcept : memory_(memory), room_(bytes) {}
  FixedText(const FixedText&) = delete;
  FixedText& operator=(const FixedText&) = delete;

  FixedText& operator<<(std::string_view words) noexcept {
    const size_t length = std::min(words.size(), room_ - size_);
    std::copy_n(words.data(), length, memory_ + size_);
    size_ += length;
    return *this;
  }
  FixedText& operator<<(int64_t number) noexcept {
    if (number < 0) *this << "-";
    return digits(number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number), 10);
  }
  FixedText& hex(uint64_t number) noexcept { return (*this << "0x").digits(number, 16); }

  std::string_view view() const noexcept { return {memory_, size_}; }
  size_t size() const noexcept { return size_; }
  void cut(size_t size) noexcept { size_ = std::min(size_, size); }

 private:
  FixedText& digits(uint64_t number, unsigned base) noexcept {
    char text[20];
    size_t begin = sizeof(text);
    do text[--begin] = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    return *this << std::string_view(text + begin, sizeof(text) - begin);
  }

  char* memory_;
  size_t room_, size_ = 0;
};

}  // namespace levin
