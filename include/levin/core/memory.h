#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace levin {

/// Bytes that new memory of this machine may take: free or reclaimable, within the limits of this process's control group and of those
/// above it.
int64_t available_memory();
/// The least limit of these control groups, as a batch system sets it for a job; null: none.
std::optional<int64_t> memory_limit();
/// The same of the NUMA domain that the calling thread runs on; the machine's where the system does not report it.
int64_t available_memory_of_domain();

/// "1.25 GB", in powers of 1000.
std::string bytes_text(int64_t bytes);

}  // namespace levin
