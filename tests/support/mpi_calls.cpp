#include "mpi_calls.h"

#include <mpi.h>

#include <atomic>

namespace {
std::atomic<uint64_t> calls{0};
}

uint64_t levin::test::mpi_calls() noexcept { return calls.load(); }

std::vector<levin::test::OpenedFile>& levin::test::opened_files() {
  static std::vector<OpenedFile> files;
  return files;
}

extern "C" int MPI_File_open(MPI_Comm communicator, const char* name, int mode, MPI_Info info, MPI_File* file) {
  ++calls;
  auto& opened = levin::test::opened_files().emplace_back(levin::test::OpenedFile{name, mode, {}});
  int count = 0;
  if (info != MPI_INFO_NULL) MPI_Info_get_nkeys(info, &count);
  for (int i = 0; i < count; i++) {
    char key[MPI_MAX_INFO_KEY + 1] = "", value[MPI_MAX_INFO_VAL + 1] = "";
    int found = 0;
    MPI_Info_get_nthkey(info, i, key);
    MPI_Info_get(info, key, MPI_MAX_INFO_VAL, value, &found);
    opened.hints[key] = value;
  }
  return PMPI_File_open(communicator, name, mode, info, file);
}

#define COUNT(name, parameters, arguments) \
  extern "C" int MPI_##name parameters {   \
    ++calls;                               \
    return PMPI_##name arguments;          \
  }

using Type = MPI_Datatype;
using Comm = MPI_Comm;
using Request = MPI_Request;
using Status = MPI_Status;
using Op = MPI_Op;
using Win = MPI_Win;

// clang-format off
COUNT(Barrier, (Comm c), (c))
COUNT(Bcast, (void* b, int n, Type t, int root, Comm c), (b, n, t, root, c))
COUNT(Reduce, (const void* s, void* r, int n, Type t, Op o, int root, Comm c), (s, r, n, t, o, root, c))
COUNT(Allreduce, (const void* s, void* r, int n, Type t, Op o, Comm c), (s, r, n, t, o, c))
COUNT(Reduce_scatter, (const void* s, void* r, const int* n, Type t, Op o, Comm c), (s, r, n, t, o, c))
COUNT(Reduce_scatter_block, (const void* s, void* r, int n, Type t, Op o, Comm c), (s, r, n, t, o, c))
COUNT(Scan, (const void* s, void* r, int n, Type t, Op o, Comm c), (s, r, n, t, o, c))
COUNT(Exscan, (const void* s, void* r, int n, Type t, Op o, Comm c), (s, r, n, t, o, c))
COUNT(Allgather, (const void* s, int m, Type u, void* r, int n, Type t, Comm c), (s, m, u, r, n, t, c))
COUNT(Allgatherv, (const void* s, int m, Type u, void* r, const int* n, const int* d, Type t, Comm c), (s, m, u, r, n, d, t, c))
COUNT(Gather, (const void* s, int m, Type u, void* r, int n, Type t, int root, Comm c), (s, m, u, r, n, t, root, c))
COUNT(Gatherv, (const void* s, int m, Type u, void* r, const int* n, const int* d, Type t, int root, Comm c), (s, m, u, r, n, d, t, root, c))
COUNT(Scatter, (const void* s, int m, Type u, void* r, int n, Type t, int root, Comm c), (s, m, u, r, n, t, root, c))
COUNT(Scatterv, (const void* s, const int* m, const int* d, Type u, void* r, int n, Type t, int root, Comm c), (s, m, d, u, r, n, t, root, c))
COUNT(Alltoall, (const void* s, int m, Type u, void* r, int n, Type t, Comm c), (s, m, u, r, n, t, c))
COUNT(Alltoallv, (const void* s, const int* m, const int* d, Type u, void* r, const int* n, const int* e, Type t, Comm c), (s, m, d, u, r, n, e, t, c))
COUNT(Ibarrier, (Comm c, Request* q), (c, q))
COUNT(Ibcast, (void* b, int n, Type t, int root, Comm c, Request* q), (b, n, t, root, c, q))
COUNT(Ireduce, (const void* s, void* r, int n, Type t, Op o, int root, Comm c, Request* q), (s, r, n, t, o, root, c, q))
COUNT(Iallreduce, (const void* s, void* r, int n, Type t, Op o, Comm c, Request* q), (s, r, n, t, o, c, q))
COUNT(Ireduce_scatter, (const void* s, void* r, const int* n, Type t, Op o, Comm c, Request* q), (s, r, n, t, o, c, q))
COUNT(Iallgather, (const void* s, int m, Type u, void* r, int n, Type t, Comm c, Request* q), (s, m, u, r, n, t, c, q))
COUNT(Iallgatherv, (const void* s, int m, Type u, void* r, const int* n, const int* d, Type t, Comm c, Request* q), (s, m, u, r, n, d, t, c, q))
COUNT(Ialltoallv, (const void* s, const int* m, const int* d, Type u, void* r, const int* n, const int* e, Type t, Comm c, Request* q), (s, m, d, u, r, n, e, t, c, q))
COUNT(Ireduce_scatter_block, (const void* s, void* r, int n, Type t, Op o, Comm c, Request* q), (s, r, n, t, o, c, q))
COUNT(Send, (const void* b, int n, Type t, int to, int tag, Comm c), (b, n, t, to, tag, c))
COUNT(Ssend, (const void* b, int n, Type t, int to, int tag, Comm c), (b, n, t, to, tag, c))
COUNT(Recv, (void* b, int n, Type t, int from, int tag, Comm c, Status* s), (b, n, t, from, tag, c, s))
COUNT(Isend, (const void* b, int n, Type t, int to, int tag, Comm c, Request* q), (b, n, t, to, tag, c, q))
COUNT(Irecv, (void* b, int n, Type t, int from, int tag, Comm c, Request* q), (b, n, t, from, tag, c, q))
COUNT(Sendrecv, (const void* s, int m, Type u, int to, int stag, void* r, int n, Type t, int from, int rtag, Comm c, Status* st),
      (s, m, u, to, stag, r, n, t, from, rtag, c, st))
COUNT(Probe, (int from, int tag, Comm c, Status* s), (from, tag, c, s))
COUNT(Iprobe, (int from, int tag, Comm c, int* flag, Status* s), (from, tag, c, flag, s))
COUNT(Wait, (Request* q, Status* s), (q, s))
COUNT(Waitall, (int n, Request q[], Status s[]), (n, q, s))
COUNT(Waitany, (int n, Request q[], int* i, Status* s), (n, q, i, s))
COUNT(Test, (Request* q, int* flag, Status* s), (q, flag, s))
COUNT(Testall, (int n, Request q[], int* flag, Status s[]), (n, q, flag, s))
COUNT(Testany, (int n, Request q[], int* i, int* flag, Status* s), (n, q, i, flag, s))
COUNT(Cancel, (Request* q), (q))
COUNT(Request_free, (Request* q), (q))
COUNT(Comm_dup, (Comm c, Comm* d), (c, d))
COUNT(Comm_split, (Comm c, int color, int key, Comm* d), (c, color, key, d))
COUNT(Comm_split_type, (Comm c, int type, int key, MPI_Info i, Comm* d), (c, type, key, i, d))
COUNT(Comm_create_group, (Comm c, MPI_Group g, int tag, Comm* d), (c, g, tag, d))
COUNT(Comm_free, (Comm* c), (c))
COUNT(Win_allocate_shared, (MPI_Aint n, int unit, MPI_Info i, Comm c, void* b, Win* w), (n, unit, i, c, b, w))
COUNT(Win_create, (void* b, MPI_Aint n, int unit, MPI_Info i, Comm c, Win* w), (b, n, unit, i, c, w))
COUNT(Win_free, (Win* w), (w))
COUNT(Win_fence, (int a, Win w), (a, w))
COUNT(Win_sync, (Win w), (w))
COUNT(File_close, (MPI_File* f), (f))
COUNT(File_read_at, (MPI_File f, MPI_Offset o, void* b, int n, Type t, Status* s), (f, o, b, n, t, s))
COUNT(File_read_at_all, (MPI_File f, MPI_Offset o, void* b, int n, Type t, Status* s), (f, o, b, n, t, s))
COUNT(File_write_at, (MPI_File f, MPI_Offset o, const void* b, int n, Type t, Status* s), (f, o, b, n, t, s))
COUNT(File_write_at_all, (MPI_File f, MPI_Offset o, const void* b, int n, Type t, Status* s), (f, o, b, n, t, s))
// clang-format on
