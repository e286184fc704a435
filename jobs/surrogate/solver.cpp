// Writes samples of the equation of diffusion.h to an HDF5 file, in parallel: random coefficients, f = 1, and the solutions.
#include <fmt/ostream.h>
#include <hdf5.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <numbers>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "diffusion.h"

namespace {

namespace fs = std::filesystem;
using surrogate::DiffusionSolver;

constexpr int config_error = 78, io_error = 74, internal_error = 70;

/// The same on all ranks: all of them stop.
struct SolverError : std::runtime_error {
  SolverError(int code, const std::string& message) : std::runtime_error(message), exit_code(code) {}
  int exit_code;
};

struct Options {
  std::string file;
  int samples = 1000, cells = 64, seed = 1, ranks_per_solve = 0;
  double tolerance = 1e-8;
};

struct World {
  int rank = 0, size = 1;
  World() { MPI_Comm_rank(MPI_COMM_WORLD, &rank), MPI_Comm_size(MPI_COMM_WORLD, &size); }
};

/// Whether it holds on all ranks. Collective.
bool everywhere(bool holds) {
  int here = holds ? 1 : 0, all = 0;
  MPI_Allreduce(&here, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return all == 1;
}

/// log a is a sum of cosines with random amplitudes, smooth, of mean 0 and variance 1 over the square. A sample depends on the seed and its
/// number alone.
std::vector<double> random_coefficients(const DiffusionSolver& grid, int seed, int sample) {
  constexpr int modes = 6;
  std::seed_seq sequence{seed, sample};
  std::mt19937_64 bits(sequence);
  const auto uniform = [&] { return (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53; };  // std's distributions differ between libraries
  const auto normal = [&] {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  };
  double amplitudes[modes][modes], variance = 0;
  for (int i = 0; i < modes; i++)
    for (int j = 0; j < modes; j++) {
      const double size = i + j == 0 ? 0 : 1 / (1.0 + i * i + j * j);
      amplitudes[i][j] = size * normal();
      variance += size * size * (i == 0 ? 1 : 0.5) * (j == 0 ? 1 : 0.5);
    }
  const int cells = grid.cells();
  std::vector<double> cosines(static_cast<size_t>(modes * cells)), a;
  for (int i = 0; i < modes; i++)
    for (int cell = 0; cell < cells; cell++) cosines[i * cells + cell] = std::cos(std::numbers::pi * i * (cell + 0.5) / cells);
  for (int row = grid.first_row(); row < grid.first_row() + grid.rows(); row++)
    for (int column = 0; column < cells; column++) {
      double sum = 0;
      for (int i = 0; i < modes; i++)
        for (int j = 0; j < modes; j++) sum += amplitudes[i][j] * cosines[i * cells + row] * cosines[j * cells + column];
      a.push_back(std::exp(sum / std::sqrt(variance)));
    }
  return a;
}

/// An object of HDF5.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() { close(); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const noexcept { return id_; }
  bool good() const noexcept { return id_ >= 0; }
  bool close() { return id_ < 0 || close_(std::exchange(id_, -1)) >= 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

/// FILE.partial, which becomes FILE when it is complete. Data sets a and u, float32 [samples, cells, cells]. All calls are collective.
class FieldFile {
 public:
  explicit FieldFile(const Options& options) : path_(options.file), file_(create_file(partial()), H5Fclose) {
    const auto count = static_cast<hsize_t>(options.cells);
    const hsize_t shape[] = {static_cast<hsize_t>(options.samples), count, count};
    const Handle space(H5Screate_simple(3, shape, nullptr), H5Sclose), creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    bool good = H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(creation, false) >= 0 &&
                H5Pset_dxpl_mpio(transfer_, H5FD_MPIO_COLLECTIVE) >= 0;
    for (const auto* name : {"a", "u"}) {
      const Handle set(H5Dcreate2(file_, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose);
      good = good && set.good();
    }
    check(good);
  }

  /// This rank's rows of `samples` samples from `first` on; a rank may have none.
  void write(const DiffusionSolver& grid, int first, int samples, const std::vector<float>& a, const std::vector<float>& u) {
    bool good = true;
    for (const auto& [name, values] : {std::pair("a", &a), std::pair("u", &u)}) {
      const auto size = [](int number) { return static_cast<hsize_t>(number); };
      const hsize_t start[] = {size(first), size(grid.first_row()), 0}, count[] = {size(samples), size(grid.rows()), size(grid.cells())};
      const Handle set(H5Dopen2(file_, name, H5P_DEFAULT), H5Dclose), place(H5Dget_space(set), H5Sclose),
          memory(H5Screate_simple(3, count, nullptr), H5Sclose);
      if (samples == 0)
        H5Sselect_none(place);
      else
        H5Sselect_hyperslab(place, H5S_SELECT_SET, start, nullptr, count, nullptr);
      good = H5Dwrite(set, H5T_NATIVE_FLOAT, memory, place, transfer_, values->data()) >= 0 && good;
    }
    check(good);
  }

  void close() {
    check(file_.close());
    std::error_code error;
    if (World().rank == 0) fs::rename(partial(), path_, error);
    check(!error);
  }

 private:
  static hid_t create_file(const std::string& path) {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // its messages are for programmers
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_fapl_mpio(access, MPI_COMM_WORLD, MPI_INFO_NULL);
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    if (!everywhere(file >= 0))
      throw SolverError(io_error, fmt::format("cannot create {}; see whether its folder exists and is writable", path));
    return file;
  }
  std::string partial() const { return path_ + ".partial"; }
  void check(bool good) const {
    if (!everywhere(good)) throw SolverError(io_error, fmt::format("cannot write {}; see whether the file system is full", partial()));
  }

  std::string path_;
  Handle file_, transfer_{H5Pcreate(H5P_DATASET_XFER), H5Pclose};
};

void run(const Options& options, const World& world) {
  const int group_size = options.ranks_per_solve == 0 ? world.size : options.ranks_per_solve, groups = world.size / group_size;
  MPI_Comm group = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, world.rank / group_size, world.rank, &group);
  const DiffusionSolver solver(group, options.cells);
  FieldFile file(options);
  constexpr int most = 16;  // samples of a group between writes
  int64_t iterations = 0;
  double seconds = 0;
  for (int begin = 0; begin < options.samples; begin += groups * most) {
    const int end = std::min(options.samples, begin + groups * most), share = (end - begin + groups - 1) / groups;
    const int first = std::min(end, begin + world.rank / group_size * share), count = std::min(share, end - first);
    std::vector<float> all_a, all_u;
    bool converged = true;
    for (int sample = first; sample < first + count; sample++) {
      const auto a = random_coefficients(solver, options.seed, sample);
      const double start = MPI_Wtime();
      const auto solution = solver.solve(a, std::vector<double>(a.size(), 1.0), options.tolerance);
      seconds += MPI_Wtime() - start;
      iterations += solution.iterations;
      converged = converged && solution.converged;
      all_a.insert(all_a.end(), a.begin(), a.end());
      all_u.insert(all_u.end(), solution.u.begin(), solution.u.end());
    }
    if (!everywhere(converged))
      throw SolverError(internal_error, fmt::format("a sample of {} to {} does not converge to {}; give a larger --tolerance", begin,
                                                    end - 1, options.tolerance));
    file.write(solver, first, count, all_a, all_u);
  }
  file.close();
  double sums[] = {static_cast<double>(iterations) / group_size, seconds / group_size};  // all ranks of a group count its solves
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  if (world.rank == 0)
    fmt::print("[solver] {}: {} samples of {} x {} cells, {:.1f} iterations and {:.2f} ms a solve on {} ranks\n", options.file,
               options.samples, options.cells, options.cells, sums[0] / options.samples, 1000 * sums[1] / options.samples, group_size);
  MPI_Comm_free(&group);
}

/// Null after --help.
std::optional<Options> parse(int argc, char** argv, const World& world) {
  namespace po = boost::program_options;
  Options options;
  po::options_description description("Options");
  const auto add = [&](const char* name, auto& value, const char* help) { description.add_options()(name, po::value(&value), help); };
  add("file", options.file, "HDF5 file to write; required");
  add("samples", options.samples, "number of samples; 1000");
  add("cells", options.cells, "cells of the grid in each direction; 64");
  add("seed", options.seed, "of the coefficients: another one gives other samples; 1");
  add("tolerance", options.tolerance, "relative residual of a solution; 1e-8");
  add("ranks_per_solve", options.ranks_per_solve, "ranks that share a sample's grid; 0: all");
  description.add_options()("help", "this text");
  po::variables_map given;
  try {
    const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(argc, argv).options(description).style(style).positional({}).run(), given);
    po::notify(given);
  } catch (const po::error& error) {
    throw SolverError(config_error, fmt::format("{}; --help lists the options", error.what()));
  }
  if (given.contains("help")) {
    if (world.rank == 0) fmt::print("solver: samples of -div(a grad u) = 1 with random a\n{}", fmt::streamed(description));
    return std::nullopt;
  }
  const auto refuse = [](bool bad, const std::string& message) {
    if (bad) throw SolverError(config_error, message);
  };
  refuse(options.file.empty(), "no file given; name one with --file");
  refuse(options.samples < 1 || options.samples > 1'000'000'000, fmt::format("samples is {}; give 1 to 1e9", options.samples));
  refuse(options.cells < 2 || options.cells > 4096, fmt::format("cells is {}; give 2 to 4096", options.cells));
  refuse(!(options.tolerance > 0 && options.tolerance < 1),
         fmt::format("tolerance is {}; give more than 0 and less than 1", options.tolerance));
  const int group_size = options.ranks_per_solve == 0 ? world.size : options.ranks_per_solve;
  refuse(group_size < 0 || world.size % group_size != 0,
         fmt::format("ranks_per_solve is {} on {} ranks; give a divisor", options.ranks_per_solve, world.size));
  refuse(group_size > options.cells, fmt::format("{} ranks share {} rows; give a smaller --ranks_per_solve", group_size, options.cells));
  std::error_code unseen;
  refuse(!everywhere(world.rank != 0 || !fs::exists(options.file, unseen)),
         fmt::format("{} exists; remove it, or name another file", options.file));
  return options;
}

int solve(int argc, char** argv) {
  const World world;
  try {
    if (const auto options = parse(argc, argv, world)) run(*options, world);
    return 0;
  } catch (const SolverError& error) {
    if (world.rank == 0) fmt::print(stderr, "[solver] {}\n", error.what());
    return error.exit_code;
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int code = 0;
  try {
    code = solve(argc, argv);
  } catch (const std::exception& error) {  // of this rank alone
    fmt::print(stderr, "[solver] {}\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, internal_error);
  }
  MPI_Finalize();
  return code;
}
