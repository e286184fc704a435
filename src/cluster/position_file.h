#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hang_report.h"

namespace levin::detail {

/// The positions of all ranks of a job that hangs, in one file with a slot for each rank, so that the number of files does not grow with
/// the number of ranks. Every access opens and closes the file: between the hosts of a network file system that makes writes visible.
class PositionFile {
 public:
  /// `token` is the attempt's. Touches no file.
  PositionFile(const std::filesystem::path& folder, const std::string& token, int ranks);

  /// Removes what a job left that was killed while it reported.
  static void remove_leftovers(const std::filesystem::path& folder) noexcept;
  /// Whether any rank has written.
  bool exists() const noexcept;
  /// Writes a position into its slot, cut to the slot's size. False if the file system refuses it.
  bool write(RankPosition position) const noexcept;
  /// Reads the slots of those that are null in `positions`, by rank; they stay null where not, or not yet completely, written.
  void read(std::vector<std::optional<RankPosition>>& positions) const;
  /// True for the first caller of all ranks: it is the one that reports.
  bool claim() const noexcept;
  /// Makes `report` the folder's hang.txt, and removes the other files. By the caller of claim.
  std::filesystem::path finish(const std::string& report) const noexcept;

 private:
  std::filesystem::path positions_, claim_, report_;
  int ranks_;
};

}  // namespace levin::detail
