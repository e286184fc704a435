#include "diffusion.h"

#include <cmath>
#include <numeric>
#include <utility>

namespace surrogate {

// Fields have a row of halo above and below the rank's own rows: row r is at (r + 1) * cells.
struct DiffusionSolver::Faces {
  std::vector<double> columns;   // [rows, cells + 1]: left of each cell, and right of the last one
  std::vector<double> rows;      // [rows + 1, cells]: above each cell, and below the last row
  std::vector<double> diagonal;  // a field: their sum around a cell
};

DiffusionSolver::DiffusionSolver(MPI_Comm communicator, int cells) : communicator_(communicator), cells_(cells) {
  int rank = 0, size = 1;
  MPI_Comm_rank(communicator, &rank);
  MPI_Comm_size(communicator, &size);
  for (int each = 0, begin = 0; each < size; each++) {
    counts_.push_back(cells / size + (each < cells % size ? 1 : 0));
    offsets_.push_back(begin);
    begin += counts_.back();
  }
  first_row_ = offsets_[static_cast<size_t>(rank)];
  rows_ = counts_[static_cast<size_t>(rank)];
  if (rank > 0) above_ = rank - 1;
  if (rank + 1 < size) below_ = rank + 1;
}

std::vector<double> DiffusionSolver::padded(const std::vector<double>& rows) const {
  std::vector<double> field(static_cast<size_t>(cells_of(rows_ + 2)));
  std::copy(rows.begin(), rows.end(), field.begin() + cells_);
  return field;
}

void DiffusionSolver::exchange_halo(std::vector<double>& field) const {
  double *first = field.data() + cells_, *last = field.data() + cells_of(rows_);
  MPI_Sendrecv(first, cells_, MPI_DOUBLE, above_, 0, last + cells_, cells_, MPI_DOUBLE, below_, 0, communicator_, MPI_STATUS_IGNORE);
  MPI_Sendrecv(last, cells_, MPI_DOUBLE, below_, 1, first - cells_, cells_, MPI_DOUBLE, above_, 1, communicator_, MPI_STATUS_IGNORE);
}

// A face on the boundary is half a cell from the centre: twice the coefficient.
DiffusionSolver::Faces DiffusionSolver::faces_of(std::vector<double> a) const {
  exchange_halo(a);
  const auto mean = [](double one, double other) { return 2 * one * other / (one + other); };
  Faces faces;
  faces.diagonal.resize(a.size());
  for (int row = 0; row <= rows_; row++)
    for (int column = 0; column < cells_; column++) {
      const double upper = a[cells_of(row) + column], lower = a[cells_of(row + 1) + column];
      const int global = first_row_ + row;
      faces.rows.push_back(global == 0 ? 2 * lower : global == cells_ ? 2 * upper : mean(upper, lower));
    }
  for (int row = 0; row < rows_; row++)
    for (int column = 0; column <= cells_; column++) {
      const double* cell = &a[cells_of(row + 1) + column];
      faces.columns.push_back(column == 0 ? 2 * cell[0] : column == cells_ ? 2 * cell[-1] : mean(cell[-1], cell[0]));
    }
  for (int row = 0; row < rows_; row++)
    for (int column = 0; column < cells_; column++)
      faces.diagonal[cells_of(row + 1) + column] = faces.rows[cells_of(row) + column] + faces.rows[cells_of(row + 1) + column] +
                                                   faces.columns[cells_of(row) + row + column] +
                                                   faces.columns[cells_of(row) + row + column + 1];
  return faces;
}

void DiffusionSolver::apply(const Faces& faces, std::vector<double>& u, std::vector<double>& result) const {
  exchange_halo(u);
  for (int row = 0; row < rows_; row++) {
    const double *upper = &faces.rows[cells_of(row)], *lower = upper + cells_, *left = &faces.columns[cells_of(row) + row];
    const double *centre = &u[cells_of(row + 1)], *above = centre - cells_, *below = centre + cells_;
    const double* diagonal = &faces.diagonal[cells_of(row + 1)];
    double* out = &result[cells_of(row + 1)];
    for (int column = 0; column < cells_; column++) {
      const double beside =
          (column > 0 ? left[column] * centre[column - 1] : 0) + (column + 1 < cells_ ? left[column + 1] * centre[column + 1] : 0);
      out[column] = diagonal[column] * centre[column] - upper[column] * above[column] - lower[column] * below[column] - beside;
    }
  }
}

// Sums of rows are added in the order of the rows, wherever they were made: the same bits on any number of ranks.
double DiffusionSolver::dot(const std::vector<double>& x, const std::vector<double>& y) const {
  std::vector<double> sums(static_cast<size_t>(cells_));
  for (int row = 0; row < rows_; row++) {
    const auto begin = static_cast<size_t>(cells_of(row + 1));
    sums[first_row_ + row] = std::inner_product(&x[begin], &x[begin] + cells_, &y[begin], 0.0);
  }
  MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, sums.data(), counts_.data(), offsets_.data(), MPI_DOUBLE, communicator_);
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

DiffusionSolver::Solution DiffusionSolver::solve(const std::vector<double>& a, const std::vector<double>& f, double tolerance) const {
  const Faces faces = faces_of(padded(a));
  auto residual = padded(f);
  for (auto& value : residual) value /= static_cast<double>(cells_) * cells_;
  std::vector<double> u(residual.size()), scaled(residual.size()), image(residual.size());
  const auto precondition = [&] {
    for (int64_t i = cells_; i < cells_of(rows_ + 1); i++) scaled[i] = residual[i] / faces.diagonal[i];
  };
  precondition();
  auto direction = scaled;
  double square = dot(residual, scaled);
  const double enough = tolerance * tolerance * square;
  Solution solution;
  const int most = 100 + 20 * cells_;
  while (!(square <= enough) && solution.iterations < most) {
    apply(faces, direction, image);
    const double length = square / dot(direction, image);
    for (int64_t i = cells_; i < cells_of(rows_ + 1); i++) {
      u[i] += length * direction[i];
      residual[i] -= length * image[i];
    }
    precondition();
    const double previous = std::exchange(square, dot(residual, scaled));
    for (int64_t i = cells_; i < cells_of(rows_ + 1); i++) direction[i] = scaled[i] + square / previous * direction[i];
    solution.iterations++;
  }
  solution.converged = square <= enough;
  if (solution.converged) solution.u.assign(u.begin() + cells_, u.begin() + cells_of(rows_ + 1));
  return solution;
}

}  // namespace surrogate
