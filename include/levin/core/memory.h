#pragma once
#include <cstdint>
#include <string>

namespace levin {

/// Bytes that new memory of this machine may take: free or reclaimable, within the limit of the control group.
int64_t available_memory();
/// The same of the NUMA domain that the calling thread runs on; the machine's where the system does not report it.
int64_t available_memory_of_domain();

/// "1.25 GB", in powers of 1000.
std::string bytes_text(int64_t bytes);

}  // namespace levin
