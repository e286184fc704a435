// The solver of jobs/surrogate on any number of ranks, without Levin.
#define BOOST_TEST_MODULE diffusion
#include "../../jobs/surrogate/diffusion.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

using surrogate::DiffusionSolver;

namespace {

constexpr double pi = std::numbers::pi;

struct Mpi {
  Mpi() { MPI_Init(nullptr, nullptr); }
  ~Mpi() { MPI_Finalize(); }
};
BOOST_TEST_GLOBAL_FIXTURE(Mpi);

using Function = std::function<double(double x, double y)>;

std::vector<double> values(const DiffusionSolver& grid, const Function& function) {
  std::vector<double> result;
  for (int row = grid.first_row(); row < grid.first_row() + grid.rows(); row++)
    for (int column = 0; column < grid.cells(); column++)
      result.push_back(function((column + 0.5) / grid.cells(), (row + 0.5) / grid.cells()));
  return result;
}

// u = sin(pi x) sin(2 pi y) with a = exp(x - y / 2): f = -a (laplace u + du/dx - du/dy / 2).
double coefficient(double x, double y) { return std::exp(x - y / 2); }
double exact(double x, double y) { return std::sin(pi * x) * std::sin(2 * pi * y); }
double source(double x, double y) {
  const double dx = pi * std::cos(pi * x) * std::sin(2 * pi * y), dy = 2 * pi * std::sin(pi * x) * std::cos(2 * pi * y);
  return coefficient(x, y) * (5 * pi * pi * exact(x, y) - dx + dy / 2);
}

double error_of(int cells) {
  const DiffusionSolver solver(MPI_COMM_WORLD, cells);
  const auto solution = solver.solve(values(solver, coefficient), values(solver, source), 1e-12);
  BOOST_REQUIRE(solution.converged);
  const auto expected = values(solver, exact);
  BOOST_REQUIRE(solution.u.size() == expected.size());
  double squares = 0;
  for (size_t i = 0; i < expected.size(); i++) squares += std::pow(solution.u[i] - expected[i], 2);
  MPI_Allreduce(MPI_IN_PLACE, &squares, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  return std::sqrt(squares) / cells;
}

// Rough, unlike the coefficients of the training data; the same for each cell.
double rough(double x, double y) { return std::exp(2 * std::sin(50 * x * x + 31 * y) + std::cos(70 * x * y)); }

}  // namespace

BOOST_AUTO_TEST_CASE(second_order) {
  double previous = error_of(8);
  BOOST_TEST(previous < 0.05);
  for (const int cells : {16, 32, 64}) {
    const double error = error_of(cells), order = std::log2(previous / error);
    BOOST_TEST(order > 1.9);
    BOOST_TEST(order < 2.2);
    previous = error;
  }
}

BOOST_AUTO_TEST_CASE(rows_and_columns_are_not_exchanged) {
  const DiffusionSolver solver(MPI_COMM_WORLD, 32);
  const auto f = values(solver, [](double, double) { return 1.0; });
  const auto u = solver.solve(values(solver, [](double x, double) { return x < 0.5 ? 1.0 : 100.0; }), f, 1e-10).u;
  const auto mirrored = solver.solve(values(solver, [](double x, double) { return x < 0.5 ? 100.0 : 1.0; }), f, 1e-10).u;
  for (int row = 0; row < solver.rows(); row++)
    for (int column = 0; column < 32; column++) BOOST_REQUIRE(std::abs(u[row * 32 + column] - mirrored[row * 32 + 31 - column]) < 1e-9);
}

BOOST_AUTO_TEST_CASE(the_same_bits_as_on_one_rank) {
  for (const int cells : {3, 7, 32}) {
    const DiffusionSolver together(MPI_COMM_WORLD, cells), alone(MPI_COMM_SELF, cells);
    const auto f = [](double x, double y) { return x - 2 * y; };
    const auto found = together.solve(values(together, rough), values(together, f), 1e-10);
    const auto expected = alone.solve(values(alone, rough), values(alone, f), 1e-10);
    BOOST_TEST(expected.converged);
    BOOST_TEST(expected.u.size() == static_cast<size_t>(cells * cells));
    BOOST_TEST(found.iterations == expected.iterations);
    const auto begin = expected.u.begin() + together.first_row() * cells;
    BOOST_TEST((found.u == std::vector<double>(begin, begin + together.rows() * cells)));
  }
}

BOOST_AUTO_TEST_CASE(nothing_to_iterate_on) {
  const DiffusionSolver solver(MPI_COMM_WORLD, 8);
  const auto a = values(solver, coefficient), zero = values(solver, [](double, double) { return 0.0; });
  const auto found = solver.solve(a, zero, 1e-10);
  BOOST_TEST(found.converged);
  BOOST_TEST(found.iterations == 0);
  BOOST_TEST((found.u == zero));
}

BOOST_AUTO_TEST_CASE(no_convergence) {
  const DiffusionSolver solver(MPI_COMM_WORLD, 8);
  const auto a = values(solver, coefficient);
  const auto f = values(solver, [](double, double y) { return y < 0.2 ? std::numeric_limits<double>::quiet_NaN() : 1.0; });  // first rank's
  const auto found = solver.solve(a, f, 1e-10);
  BOOST_TEST(!found.converged);
  BOOST_TEST(found.u.empty());
}
