#include "levin/data/token_file.h"

#include <fmt/std.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <optional>

#include "../core/hdf5_array.h"
#include "../core/hdf5_types.h"
#include "byte_source.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"
#include "levin/data/hdf5_array.h"
#include "text_files.h"

namespace levin {
namespace {

namespace fs = std::filesystem;
using detail::ByteSource;
using detail::File;
using detail::Hdf5Handle;

constexpr int64_t piece_bytes = int64_t{16} << 20;
constexpr auto data_set = "tokens";

// A part of a file, read by one rank.
struct Piece {
  fs::path file;
  bool whole = true;  // compressed, so of unknown length
  int64_t begin = 0, bytes = 0;
};

// The file to make, and its pieces; no pieces where the file exists.
struct Plan {
  fs::path target, partial;
  std::vector<Piece> pieces;
};

Plan make_plan(const std::vector<fs::path>& sources, const fs::path& cache) {
  Plan plan;
  std::string description;
  for (const auto& file : detail::text_files(sources)) {
    const bool compressed = ByteSource::is_compressed(file);  // opens it, so that what is not a readable regular file is refused here
    std::error_code size_error, time_error, path_error;
    const auto bytes = static_cast<int64_t>(fs::file_size(file, size_error));
    const auto time = fs::last_write_time(file, time_error).time_since_epoch().count();
    const auto path = fs::absolute(file, path_error).lexically_normal();
    for (const auto& error : {size_error, time_error, path_error})
      if (error) detail::throw_io_error(fmt::format("cannot look at {}", file.string()), error.value(), "data");
    description += fmt::format("{}\t{}\t{}\n", path.string(), bytes, time);
    if (compressed) {
      plan.pieces.push_back({file});
      continue;
    }
    for (int64_t begin = 0; begin < bytes; begin += piece_bytes)
      plan.pieces.push_back({file, false, begin, std::min(piece_bytes, bytes - begin)});
  }
  const auto name = fmt::format("tokens-{:016x}.h5", XXH3_64bits(description.data(), description.size()));
  plan.target = cache / name;
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  plan.partial = cache / fmt::format(".{}.partial-{:x}-{:x}", name, getpid(), now);
  return plan;
}

bool is_there(const fs::path& target) {
  std::error_code error;
  if (!fs::exists(target, error)) return false;  // where it cannot be looked at, making it says why
  try {
    const Hdf5Array tokens(target, data_set);
    return tokens.dtype() == at::kByte && tokens.shape().size() == 1;
  } catch (const DataError&) {  // damaged: it is made again
    return false;
  }
}

// Fields end with a zero byte, which no path has.
Plan share(const Plan& mine, Communicator& communicator) {
  std::string text = mine.target.string() + '\0' + mine.partial.string() + '\0';
  for (const auto& piece : mine.pieces)
    text += piece.file.string() + '\0' + fmt::format("{} {} {}", int{piece.whole}, piece.begin, piece.bytes) + '\0';
  text = broadcast_text(communicator, text);
  std::vector<std::string> fields;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\0', begin);
    fields.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  Plan plan{fields.at(0), fields.at(1), {}};
  for (size_t i = 2; i + 1 < fields.size(); i += 2) {
    Piece piece{fields[i]};
    std::array<int64_t, 3> numbers{};
    std::string_view rest = fields[i + 1];
    for (auto& number : numbers) {
      const auto end = std::min(rest.find(' '), rest.size());
      const auto parsed = parse_number<int64_t>(rest.substr(0, end));
      if (!parsed) throw UsageError("data", fmt::format("the plan of pieces has the invalid number {}", quote(rest.substr(0, end))));
      number = *parsed;
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    piece.whole = numbers[0] != 0, piece.begin = numbers[1], piece.bytes = numbers[2];
    plan.pieces.push_back(std::move(piece));
  }
  return plan;
}

// Calls take(data, bytes) for all of a piece, in order.
void read_piece(const Piece& piece, const std::function<void(const std::byte*, size_t)>& take) {
  std::vector<std::byte> buffer(size_t{1} << 20);
  if (piece.whole) {
    const auto source = ByteSource::open(piece.file);
    while (const size_t got = source->read(buffer)) take(buffer.data(), got);
    return;
  }
  std::error_code error;
  const auto real = fs::canonical(piece.file, error);
  if (error) detail::throw_io_error(fmt::format("cannot open {}", piece.file.string()), error.value(), "data");
  const auto file = File::open_to_read(real, "data");
  for (int64_t done = 0; done < piece.bytes;) {
    const auto now = std::min<int64_t>(piece.bytes - done, std::ssize(buffer));
    file.read_at(buffer.data(), static_cast<size_t>(now), static_cast<uint64_t>(piece.begin + done));
    take(buffer.data(), static_cast<size_t>(now));
    done += now;
  }
}

// Where each piece goes, and their sum.
std::vector<int64_t> offsets_of(const std::vector<Piece>& pieces, Communicator& communicator) {
  std::vector<int64_t> bytes(pieces.size());
  for (size_t i = 0; i < pieces.size(); i++) {
    if (static_cast<int>(i % static_cast<size_t>(communicator.size())) != communicator.rank()) continue;
    bytes[i] = pieces[i].bytes;
    if (pieces[i].whole) read_piece(pieces[i], [&](const std::byte*, size_t got) { bytes[i] += static_cast<int64_t>(got); });
  }
  bytes = all_sum(communicator, std::move(bytes));
  std::vector<int64_t> offsets{0};
  for (size_t i = 0; i < pieces.size(); i++) offsets.push_back(offsets.back() + bytes[i]);
  return offsets;
}

// A file with room for the tokens; returns where they begin.
int64_t lay_out(const fs::path& file, int64_t tokens) {
  const detail::Hdf5Section section;
  const auto check = [&](bool good) {
    if (!good)
      throw IoError(fmt::format("HDF5 cannot write {}", file.string()), "give data.cache a folder with room that can be written to",
                    "data");
  };
  const auto size = static_cast<hsize_t>(tokens);
  Hdf5Handle out(H5Fcreate(file.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  check(out.good());
  const Hdf5Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose), how(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(how, H5D_FILL_TIME_NEVER);
  Hdf5Handle set(H5Dcreate2(out, data_set, *detail::hdf5_type(at::kByte), space, H5P_DEFAULT, how, H5P_DEFAULT), H5Dclose);
  check(set.good());
  const haddr_t offset = H5Dget_offset(set);
  check(offset != HADDR_UNDEF && set.close() && out.close());
  return static_cast<int64_t>(offset);
}

// Removes an unfinished file.
struct Partial {
  explicit Partial(fs::path file) : path(std::move(file)) {}
  ~Partial() {
    std::error_code gone;
    fs::remove(path, gone);
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  fs::path path;
};

}  // namespace

std::filesystem::path make_token_file(const std::vector<fs::path>& sources, const fs::path& cache, Communicator& ranks) {
  Communicator& communicator = ranks.cpu();
  const bool first = communicator.rank() == 0;
  Plan plan;
  if (first) {
    plan = make_plan(sources, cache);
    if (is_there(plan.target)) plan.pieces.clear(), plan.partial.clear();
  }
  plan = share(plan, communicator);
  if (plan.partial.empty()) return plan.target;

  const auto offsets = offsets_of(plan.pieces, communicator);
  if (offsets.back() == 0) throw DataError("the text files are empty", "give files with text");
  int64_t offset = 0;
  std::optional<Partial> partial;
  if (first) {
    std::error_code error;
    fs::create_directories(cache, error);
    partial.emplace(plan.partial);
    offset = lay_out(plan.partial, offsets.back());
  }
  offset = broadcast_value(communicator, offset);
  auto file = File::open_to_write(plan.partial, "data");
  for (size_t i = static_cast<size_t>(communicator.rank()); i < plan.pieces.size(); i += static_cast<size_t>(communicator.size())) {
    int64_t at = offsets[i];
    read_piece(plan.pieces[i], [&](const std::byte* data, size_t bytes) {
      if (at + static_cast<int64_t>(bytes) > offsets[i + 1])
        throw DataError(fmt::format("{} grows while it is read", plan.pieces[i].file.string()), "start again when it is complete");
      file.write_at(data, bytes, static_cast<uint64_t>(offset + at));
      at += static_cast<int64_t>(bytes);
    });
    if (at != offsets[i + 1])
      throw DataError(fmt::format("{} shrinks while it is read", plan.pieces[i].file.string()), "start again when it is complete");
  }
  file.sync();
  communicator.barrier();
  if (first) {
    std::error_code error;
    fs::rename(plan.partial, plan.target, error);
    if (error) detail::throw_io_error(fmt::format("cannot make {}", plan.target.string()), error.value(), "data");
    detail::sync_directory(cache);
  }
  communicator.barrier();
  return plan.target;
}

}  // namespace levin
