#pragma once
#include <cstdint>

namespace levin {

class Loader;
class Session;

/// Lets a stop reach ranks of which one waits for its next batch. In the exchange of a step, or of an evaluation's batch, a rank announces
/// that its next batches are not read yet. If any rank does, all ranks meet before the next batch, several times a second, until all have
/// theirs or agree to stop. No rank has begun the batch then, so that the next attempt trains it.
class DataWait {
 public:
  explicit DataWait(Session& session) : session_(session) {}

  /// Before an exchange. `batches`: what is needed next.
  void announce(Loader& loader, int64_t batches);
  /// The same where an epoch of the loader comes next, of which nothing is read yet.
  void announce_epoch(const Loader& loader);
  /// After that exchange.
  void note();
  /// Waits for the batches, where a rank announced that. False: the ranks must exit first. Collective.
  [[nodiscard]] bool wait(Loader& loader, int64_t batches);

 private:
  Session& session_;
  bool meets_ = false;  // agreed
};

}  // namespace levin
