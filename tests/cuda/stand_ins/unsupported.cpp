// What libc10_cuda links, and nothing here calls.
#include <cstdio>

#define UNSUPPORTED(name)                                                         \
  extern "C" int name() {                                                         \
    std::fprintf(stderr, "the stand-in for libcudart does not have " #name "\n"); \
    return 801; /* cudaErrorNotSupported */                                       \
  }

UNSUPPORTED(cudaDeviceGetDefaultMemPool)
UNSUPPORTED(cudaFreeAsync)
UNSUPPORTED(cudaGetDriverEntryPointByVersion)
UNSUPPORTED(cudaGraphNodeGetDependencies)
UNSUPPORTED(cudaIpcCloseMemHandle)
UNSUPPORTED(cudaIpcGetMemHandle)
UNSUPPORTED(cudaIpcOpenMemHandle)
UNSUPPORTED(cudaMallocAsync)
UNSUPPORTED(cudaMemPoolGetAttribute)
UNSUPPORTED(cudaMemPoolSetAccess)
UNSUPPORTED(cudaMemPoolSetAttribute)
UNSUPPORTED(cudaMemPoolTrimTo)
