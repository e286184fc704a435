/* A step that plan_steps wrote, played on a simulated cluster: smpirun … simulated_step FILE. Each rank is four processes of one host: one that
   computes, and one for each communicator, as the threads of HostsCommunicator. The collectives are done as there, message by message; memory
   traffic is work of the host's only core, whose speed is the memory's. */
#include <mpi.h>
#include <smpi/smpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { all_reduce, reduce_scatter, all_gather, gather_shared, read_peers, exchange, barrier };
enum { most_events = 1 << 16, start_tag = 1, done_tag = 2 };

static struct {
  int ranks, local, own_memory;
  double latency_in_node;
} cluster;

static struct Event {
  char kind;
  int index, op, among, background, in_window;
  double amount, bytes, wide;
} events[most_events];
static int event_count;

/* A communicator as one of its processes sees it. */
static struct Group {
  MPI_Comm ranks, node, leaders;
  int size, hosts, host, local_rank, local;
} group;

static char *sent, *received;

static void pause_for(double seconds) {
  const struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  if (seconds > 0) nanosleep(&time, NULL);
}
static void move(double bytes) {
  if (bytes > 0) smpi_execute_flops(bytes);
}
static void meet_in_node(void) {
  if (group.local > 1) MPI_Barrier(group.node);
  pause_for(cluster.latency_in_node);
}

static struct Group group_of(MPI_Comm ranks, int host) {
  struct Group made;
  int rank;
  made.ranks = ranks;
  MPI_Comm_size(ranks, &made.size);
  MPI_Comm_rank(ranks, &rank);
  MPI_Comm_split(ranks, host, rank, &made.node);
  MPI_Comm_rank(made.node, &made.local_rank);
  MPI_Comm_size(made.node, &made.local);
  MPI_Comm_split(ranks, made.local_rank == 0 ? 0 : MPI_UNDEFINED, rank, &made.leaders);
  made.hosts = made.size / made.local;
  made.host = 0;
  if (made.local_rank == 0) MPI_Comm_rank(made.leaders, &made.host);
  MPI_Bcast(&made.host, 1, MPI_INT, 0, made.node);
  return made;
}

/* Leaders: each sends a part of `bytes` to each other one. */
static void all_to_all(double bytes) {
  int counts[1024], begins[1024], part = (int)(bytes / group.hosts);
  for (int i = 0; i < group.hosts; i++) counts[i] = i == group.host ? 0 : part, begins[i] = i * part;
  MPI_Request request;
  MPI_Ialltoallv(sent, counts, begins, MPI_BYTE, received, counts, begins, MPI_BYTE, group.leaders, &request);
  MPI_Wait(&request, MPI_STATUS_IGNORE);
}
static void gather_parts(double bytes) {
  MPI_Request requests[2048];
  int count = 0, part = (int)(bytes / group.hosts);
  for (int i = 0; i < group.hosts; i++)
    if (i != group.host) MPI_Irecv(received + (size_t)i * part, part, MPI_BYTE, i, 0, group.leaders, &requests[count++]);
  for (int step = 1; step < group.hosts; step++)
    MPI_Isend(sent, part, MPI_BYTE, (group.host + step) % group.hosts, 0, group.leaders, &requests[count++]);
  MPI_Waitall(count, requests, MPI_STATUSES_IGNORE);
}

/* Each rank copies its n bytes where it must, and sums a slice. */
static void sum_in_node(const struct Event* what, double n, double wide) {
  if (!what->in_window) {
    move(2 * n);
    meet_in_node();
  }
  move(n + wide / group.local);
  meet_in_node();
}

static void between_nodes(const struct Event* what) {
  const double chunk = 4 << 20, width = what->wide / what->bytes, local = group.local, hosts = group.hosts;
  const int leads = group.local_rank == 0, direct = group.local == 1 && what->in_window && width == 1;
  const int sums = what->op == all_reduce || what->op == reduce_scatter;
  meet_in_node();
  if (leads) {
    double mine[7] = {0}, all[7 * 1024];
    MPI_Request request;
    MPI_Iallgather(mine, 7, MPI_DOUBLE, all, 7, MPI_DOUBLE, group.leaders, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
  }
  meet_in_node();
  if (what->op == barrier) return;
  const double step = sums ? chunk / width : chunk;
  for (double begin = 0; begin < what->bytes; begin += step) {
    const double n = what->bytes - begin < step ? what->bytes - begin : step;
    if (sums) {
      if (!direct) sum_in_node(what, n, n * width);
      if (leads) {
        all_to_all(n * width);
        move(n * width + n * width / hosts);
        if (what->op == all_reduce) gather_parts(n);
      }
      meet_in_node();
      if (!direct) move(what->op == all_reduce ? 2 * n : 2 * n / hosts / local);
    } else {
      const int as_it_is = direct && what->op == gather_shared;
      if (!as_it_is) {
        move(2 * n / hosts / local);
        meet_in_node();
      }
      if (leads) gather_parts(n);
      if (as_it_is) continue;
      meet_in_node();
      move(what->op == gather_shared ? 2 * n * (hosts - 1) / hosts / local : 2 * n);
      meet_in_node();
    }
  }
}

static void in_node(const struct Event* what) {
  const double n = what->bytes, ranks = group.size;
  meet_in_node();
  if (what->op == barrier || what->op == exchange || what->op == gather_shared) return;
  if (!what->in_window && what->op != all_gather && what->op != read_peers) {
    move(2 * n);
    meet_in_node();
  }
  if (what->op == all_reduce)
    move(what->in_window ? 2 * n : n + n / ranks);
  else if (what->op == reduce_scatter || what->op == read_peers)
    move(n + n / ranks);
  else
    move((what->in_window ? 0 : 2 * n / ranks) + 2 * n);
  if (what->op == read_peers) return;
  meet_in_node();
  if (what->op == all_reduce && !what->in_window) move(2 * n);
}

/* Devices with memory of their own: a ring, as NCCL's. */
static void ring(const struct Event* what) {
  int rank;
  MPI_Comm_rank(group.ranks, &rank);
  const int rounds = what->op == all_reduce ? 2 : what->op == barrier ? 0 : 1, part = (int)(what->bytes / group.size);
  const int next = (rank + 1) % group.size, previous = (rank + group.size - 1) % group.size;
  for (int i = 0; i < rounds * (group.size - 1); i++)
    MPI_Sendrecv(sent, part, MPI_BYTE, next, 0, received, part, MPI_BYTE, previous, 0, group.ranks, MPI_STATUS_IGNORE);
}

static void collective(const struct Event* what) {
  if (cluster.own_memory && what->op != exchange)
    ring(what);
  else if (group.hosts > 1)
    between_nodes(what);
  else
    in_node(what);
}

static void load(const char* path) {
  FILE* file = fopen(path, "r");
  if (!file || fscanf(file, "%d %d %d %lf", &cluster.ranks, &cluster.local, &cluster.own_memory, &cluster.latency_in_node) != 4) exit(2);
  struct Event event;
  memset(&event, 0, sizeof event);
  while (fscanf(file, " %c", &event.kind) == 1) {
    int good = 0;
    if (event.kind == 'c' || event.kind == 'm') good = fscanf(file, "%lf", &event.amount) == 1;
    if (event.kind == 'w') good = fscanf(file, "%d", &event.index) == 1;
    if (event.kind == 's')
      good = fscanf(file, "%d %d %d %d %d %lf %lf", &event.index, &event.op, &event.among, &event.background, &event.in_window, &event.bytes,
                    &event.wide) == 7;
    if (!good || event_count == most_events) exit(2);
    events[event_count++] = event;
  }
  fclose(file);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int self, shard;
  MPI_Comm_rank(MPI_COMM_WORLD, &self);
  load(argv[1]);
  shard = atoi(argv[2]);
  const int role = self / cluster.ranks, rank = self % cluster.ranks; /* role 0 computes, 1 + AMONG serves a communicator */
  sent = SMPI_SHARED_MALLOC(16 << 20);
  received = SMPI_SHARED_MALLOC(16 << 20);
  /* The processes that compute have communicators, too, for what is not done beside them. */
  struct Group groups[3];
  const int colors[3] = {0, rank / shard, rank % shard};
  for (int among = 0; among < 3; among++) {
    MPI_Comm part = MPI_COMM_NULL;
    for (int its_role = 0; its_role < 4; its_role++) {
      MPI_Comm made;
      MPI_Comm_split(MPI_COMM_WORLD, role == its_role ? colors[among] : MPI_UNDEFINED, rank, &made);
      if (role == its_role) part = made;
    }
    groups[among] = group_of(part, rank / cluster.local);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  const double began = MPI_Wtime();
  for (int i = 0; i < event_count; i++) {
    const struct Event* event = &events[i];
    int token = 0;
    if (role > 0) {
      if (event->kind != 's' || !event->background || event->among != role - 1) continue;
      MPI_Recv(&token, 1, MPI_INT, rank, start_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      group = groups[event->among];
      collective(event);
      MPI_Send(&event->index, 1, MPI_INT, rank, done_tag, MPI_COMM_WORLD);
    } else if (event->kind == 'c') {
      pause_for(event->amount);
    } else if (event->kind == 'm') {
      move(event->amount);
    } else if (event->kind == 's' && event->background) {
      MPI_Send(&token, 1, MPI_INT, rank + cluster.ranks * (1 + event->among), start_tag, MPI_COMM_WORLD);
    } else if (event->kind == 's') {
      group = groups[event->among];
      collective(event);
    } else {
      static char done[most_events];
      int among = -1;
      for (int k = 0; k < i; k++)
        if (events[k].kind == 's' && events[k].index == event->index && events[k].background) among = events[k].among;
      while (among >= 0 && !done[event->index]) {
        MPI_Recv(&token, 1, MPI_INT, rank + cluster.ranks * (1 + among), done_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        done[token] = 1;
      }
    }
  }
  double mine = role == 0 ? MPI_Wtime() - began : 0, longest;
  MPI_Reduce(&mine, &longest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  if (self == 0) printf("seconds %.9g\n", longest);
  MPI_Finalize();
  return 0;
}
