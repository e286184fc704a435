#pragma once
#include <mpi.h>

#include <cstdint>
#include <vector>

namespace surrogate {

/// Solves -div(a grad u) = f on the unit square, with u = 0 on its boundary, by finite volumes on cells x cells equal cells: second order.
/// Values are those of the cells' centres, x = (column + 1/2) / cells, y = (row + 1/2) / cells; a face has the harmonic mean of its two
/// cells' coefficients. The ranks have strips of rows, larger ones first, and exchange the rows beside them.
class DiffusionSolver {
 public:
  struct Solution {
    std::vector<double> u;  ///< this rank's rows; empty where the iteration did not converge
    int iterations = 0;
    bool converged = false;
  };

  /// Collective, as is solve. `communicator` has at most as many ranks as the grid has rows, and is not freed.
  DiffusionSolver(MPI_Comm communicator, int cells);

  int cells() const noexcept { return cells_; }
  int first_row() const noexcept { return first_row_; }
  int rows() const noexcept { return rows_; }

  /// `a` (positive) and `f` are this rank's rows, [rows, cells]. Conjugate gradients with Jacobi's preconditioner, until the residual, in
  /// the preconditioner's norm, is `tolerance` times that of u = 0. All ranks get the same iterations and converged; u has the same bits on
  /// any number of ranks.
  Solution solve(const std::vector<double>& a, const std::vector<double>& f, double tolerance) const;

 private:
  struct Faces;  // coefficients between cells
  int64_t cells_of(int64_t rows) const noexcept { return rows * cells_; }
  std::vector<double> padded(const std::vector<double>& rows) const;
  void exchange_halo(std::vector<double>& field) const;
  Faces faces_of(std::vector<double> a) const;
  void apply(const Faces& faces, std::vector<double>& u, std::vector<double>& result) const;
  double dot(const std::vector<double>& x, const std::vector<double>& y) const;

  MPI_Comm communicator_;
  int cells_, first_row_ = 0, rows_ = 0, above_ = MPI_PROC_NULL, below_ = MPI_PROC_NULL;
  std::vector<int> counts_, offsets_;  // rows of all ranks
};

}  // namespace surrogate
