/* The exchange between hosts of an all-reduce, played on a simulated cluster: smpirun … simulated_all_reduce BYTES CHUNK DIRECT_HOSTS.
   Each process is the leader of a host. Prints the messages that a leader sends and the seconds of Levin's exchange, and the seconds of the
   quicker of MPI_Allreduce's usual algorithms for large data, on all bytes at once.
   Levin's InterNodeLink itself cannot run here: in SimGrid's nonblocking collectives, unlike in Open MPI's, every process sends to every
   other, so that its MPI_Iallreduce would not be the ring that is played. */
#include <mpi.h>
#include <smpi/smpi.h>
#include <stdio.h>
#include <stdlib.h>

static int rank, size;
static long messages;
static char *sent, *received;

static double least(double a, double b) { return a < b ? a : b; }

static void exchange(int to, int from, double bytes) {
  messages++;
  MPI_Sendrecv(sent, (int)bytes, MPI_BYTE, to, 0, received, (int)bytes, MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* Open MPI's MPI_Iallreduce above 64 KiB: sums go once around the ring, then results. */
static void ring(double bytes) {
  for (int step = 0; step < 2 * (size - 1); step++) exchange((rank + 1) % size, (rank + size - 1) % size, bytes / size);
}

/* Rabenseifner's, for a power of two of processes. */
static void halving_and_doubling(double bytes) {
  for (int distance = size / 2; distance > 0; distance /= 2) exchange(rank ^ distance, rank ^ distance, bytes = bytes / 2);
  for (int distance = 1; distance < size; distance *= 2, bytes *= 2) exchange(rank ^ distance, rank ^ distance, bytes);
}

/* Few hosts: each sends each its part, and then the finished one. */
static void direct(double bytes) {
  MPI_Request* requests = malloc(2 * (size_t)size * sizeof(MPI_Request));
  for (int round = 0; round < 2; round++) {
    int count = 0;
    for (int step = 1; step < size; step++) {
      messages++;
      MPI_Irecv(received, (int)(bytes / size), MPI_BYTE, (rank + step) % size, 0, MPI_COMM_WORLD, &requests[count++]);
      MPI_Isend(sent, (int)(bytes / size), MPI_BYTE, (rank + size - step) % size, 0, MPI_COMM_WORLD, &requests[count++]);
    }
    MPI_Waitall(count, requests, MPI_STATUSES_IGNORE);
  }
  free(requests);
}

static double seconds_of(void (*algorithm)(double), double bytes, double chunk) {
  MPI_Barrier(MPI_COMM_WORLD);
  const double start = MPI_Wtime();
  for (double done = 0; done < bytes; done += chunk) algorithm(least(chunk, bytes - done));
  MPI_Barrier(MPI_COMM_WORLD);
  return MPI_Wtime() - start;
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const double bytes = atof(argv[1]), chunk = atof(argv[2]);
  sent = SMPI_SHARED_MALLOC((size_t)bytes);
  received = SMPI_SHARED_MALLOC((size_t)bytes);
  messages = 0;
  const double ours = seconds_of(size <= atoi(argv[3]) ? direct : ring, bytes, chunk);
  const long ours_messages = messages;
  const double reference = least(seconds_of(ring, bytes, bytes), seconds_of(halving_and_doubling, bytes, bytes));
  if (rank == 0) printf("result %ld %.9f %.9f\n", ours_messages, ours, reference);
  SMPI_SHARED_FREE(sent);
  SMPI_SHARED_FREE(received);
  MPI_Finalize();
  return 0;
}
