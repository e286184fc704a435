#include "levin/comm/communicator.h"

#include "hosts_communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "make_on_all.h"
#include "node_communicator.h"

namespace levin {

std::unique_ptr<Communicator> Communicator::create_cpu(const MpiRuntime& runtime, const std::string& window_directory) {
  auto group = detail::make_on_all(runtime.communicator(), window_directory,
                                   [&] { return NodeGroup::create(runtime.communicator(), window_directory); });
  if (group->size() != runtime.size())
    return std::make_unique<detail::HostsCommunicator>(runtime.communicator(), std::move(group),
                                                       runtime.thread_level() == MPI_THREAD_MULTIPLE);
  return std::make_unique<detail::NodeCommunicator>(std::move(group));
}

std::unique_ptr<Communicator> Communicator::create_in_parts(const MpiRuntime& runtime, Communicator& whole, int part) {
  auto& host = *whole.node();
  auto group = detail::make_on_all(runtime.communicator(), "", [&] { return host.split(part, host.rank()); });
  const int mine = group->size() < host.size() ? 1 : 0;
  int any = 0;
  check_mpi(MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, runtime.communicator()), "MPI_Allreduce");
  if (!any) return nullptr;
  return std::make_unique<detail::HostsCommunicator>(runtime.communicator(), std::move(group),
                                                     runtime.thread_level() == MPI_THREAD_MULTIPLE);
}

}  // namespace levin
