// Flat buffers that take turns in the slots of an arena.
#include "../../src/parallel/slot_ring.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../../src/parallel/flat_buffer.h"
#include "../../src/parallel/group_factory.h"
#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin_test.h"

using levin::BufferPool, levin::CollectiveArena, levin::FlatBuffer, levin::MemoryKind, levin::SlotRing, levin::Tensor;

BOOST_AUTO_TEST_SUITE(parallel_slot_ring)

namespace {

constexpr int64_t elements = 100;
constexpr int64_t slot_size = elements * 4;

std::vector<Tensor> slots_of_bytes(size_t slots) {
  std::vector<Tensor> memory;
  for (size_t i = 0; i < slots; i++) memory.push_back(at::empty({slot_size}, at::kByte));
  return memory;
}

// A rank: a ring, its slots, and buffers that use it.
struct Turns {
  Turns(size_t slots, size_t buffers) : memory(slots_of_bytes(slots)), ring(memory) {
    held.reserve(buffers);
    for (size_t i = 0; i < buffers; i++)
      held.emplace_back(elements, at::kFloat, c10::Device(c10::kCPU), MemoryKind::parameters, pool).use_ring(&ring, [this, i] {
        settled.push_back(i);
      });
  }
  // The slot in which a buffer lies; -1: in none.
  int slot_of(size_t buffer) const {
    for (size_t slot = 0; slot < memory.size(); slot++)
      if (held[buffer].tensor().const_data_ptr() == memory[slot].const_data_ptr()) return static_cast<int>(slot);
    return -1;
  }
  int turn(size_t buffer) {
    held[buffer].fill_for_collective();
    return slot_of(buffer);
  }

  levin::MemoryMeter meter;
  BufferPool pool{meter};
  std::vector<Tensor> memory;
  SlotRing ring;
  std::vector<size_t> settled;
  std::vector<FlatBuffer> held;
};

bool all_equal(const Tensor& tensor, float value) { return tensor.eq(value).all().item<bool>(); }

}  // namespace

BOOST_AUTO_TEST_CASE(an_arena_is_cut_into_aligned_zeros) {
  const auto ranks = levin::Communicator::create_cpu(levin::test::runtime());
  CollectiveArena arena(*ranks, CollectiveArena::padded(12) + CollectiveArena::padded(80));
  const Tensor first = arena.cut(3, at::kFloat), second = arena.cut(10, at::kDouble);
  BOOST_TEST(all_equal(first, 0));
  BOOST_TEST(all_equal(second, 0));
  BOOST_TEST(static_cast<const char*>(second.const_data_ptr()) - static_cast<const char*>(first.const_data_ptr()) == 512);
  first.fill_(1);
  BOOST_TEST(all_equal(second, 0));
  BOOST_TEST(second._version() == 0);
  levin::test::check_throws<levin::UsageError>([&] { arena.cut(1, at::kFloat); }, {"arena", "0 of 1024 left"});
}

BOOST_AUTO_TEST_CASE(one_ring_for_each_size_unless_a_common_one_is_smaller) {
  const auto text = [](const std::vector<int64_t>& bytes, size_t at_a_time) {
    std::string result;
    for (const auto& [slot_bytes, slots] : levin::ring_sizes(bytes, at_a_time))
      result += std::to_string(slots) + " of " + std::to_string(slot_bytes) + "; ";
    return result;
  };
  BOOST_TEST(text({}, 3) == "");
  BOOST_TEST(text({100, 100, 100, 100, 500}, 3) == "3 of 100; 1 of 500; ");
  BOOST_TEST(text({100, 100}, 3) == "2 of 100; ");
  BOOST_TEST(text({100, 110, 120, 130, 140}, 2) == "2 of 140; ");
  BOOST_TEST(text({100, 110, 120}, SIZE_MAX) == "1 of 100; 1 of 110; 1 of 120; ");
}

// The head has the first gradients of a backward, the embedding the last.
BOOST_AUTO_TEST_CASE(gradients_outside_of_units_have_their_own_slot) {
  const auto group = [](int unit, int64_t numel) {
    levin::GroupLayout layout;
    layout.unit = unit, layout.numel = numel;
    return layout;
  };
  const std::vector<levin::GroupLayout> layout{group(0, 1000), group(1, 500), group(2, 500), group(3, 300), group(0, 2000)};
  std::vector<levin::GroupSharding> sharding(layout.size());
  for (size_t g = 0; g < layout.size(); g++) {
    sharding[g].reducer = levin::GroupSharding::Reducer::sharded;
    sharding[g].dtype = sharding[g].compute_dtype = sharding[g].reduce_dtype = at::kFloat;
    if (layout[g].unit != 0) sharding[g].store = levin::GroupSharding::Store::sharded;
  }
  const auto text = [&](MemoryKind kind) {
    const auto rings = levin::arena_rings(layout, sharding, kind, {2, 2});
    std::string result;
    for (const auto& [slot_bytes, slots] : rings.sizes) result += std::to_string(slots) + " of " + std::to_string(slot_bytes) + "; ";
    for (const size_t ring : rings.of_group) result += ring == levin::ArenaRings::none ? "-" : std::to_string(ring);
    return result;
  };
  BOOST_TEST(text(MemoryKind::gradients) == "1 of 4096; 1 of 8192; 2 of 2048; 02221");
  BOOST_TEST(text(MemoryKind::parameters) == "2 of 2048; -000-");
}

// Forward and backward of six units, of which two are unsharded at a time, in three slots.
BOOST_AUTO_TEST_CASE(buffers_that_fit_never_move) {
  Turns rank(3, 6);
  int turns = 0;
  for (const int direction : {1, -1})
    for (int i = 0; i < 6; i++) {
      const auto unit = static_cast<size_t>(direction > 0 ? i : 5 - i);
      BOOST_TEST(rank.turn(unit) == turns++ % 3);
      const auto last = static_cast<int>(unit) - direction;
      if (last >= 0 && last < 6) rank.held[static_cast<size_t>(last)].drop();
      if (i == 5) rank.held[unit].drop();
    }
  BOOST_TEST(rank.settled.empty());
  BOOST_TEST(rank.meter.peak() == 0);
}

// A rank that holds buffers for longer, or fills them in another order, takes the same slots.
BOOST_AUTO_TEST_CASE(slots_depend_on_turns_alone) {
  Turns early(2, 4), late(2, 4);
  for (size_t unit = 0; unit < 4; unit++) {
    const int slot = early.turn(unit);
    BOOST_TEST(late.turn(unit) == slot);
    early.held[unit].tensor().fill_(static_cast<float>(unit));
    late.held[unit].tensor().fill_(static_cast<float>(unit));
    early.held[unit].drop();
  }
  BOOST_TEST(late.slot_of(0) == -1);
  BOOST_TEST(late.slot_of(3) == 1);
  for (size_t unit = 0; unit < 4; unit++) BOOST_TEST(all_equal(late.held[unit].tensor(), static_cast<float>(unit)));
  BOOST_TEST(late.settled == (std::vector<size_t>{0, 1}), boost::test_tools::per_element());
  BOOST_TEST(late.meter.now(MemoryKind::parameters) == 2 * slot_size);
  for (auto& buffer : late.held) buffer.drop();
  BOOST_TEST(late.turn(0) == 0);
  BOOST_TEST(late.turn(1) == 1);
}

// Gradients are collected before their reduction starts.
BOOST_AUTO_TEST_CASE(buffers_filled_ahead_lie_where_their_turn_will_be) {
  Turns rank(3, 4);
  for (int round = 0; round < 3; round++)
    for (size_t unit = 0; unit < 4; unit += 2) {
      rank.held[unit].fill();
      rank.held[unit + 1].fill();
      for (const size_t next : {unit, unit + 1}) {
        const int ahead = rank.slot_of(next);
        BOOST_TEST(ahead >= 0);
        BOOST_TEST(rank.turn(next) == ahead);
      }
      rank.held[unit].drop();
      rank.held[unit + 1].drop();
    }
  BOOST_TEST(rank.settled.empty());
}

BOOST_AUTO_TEST_CASE(buffers_filled_in_another_order_move_into_their_slot) {
  Turns rank(2, 3);
  for (const size_t unit : {size_t{2}, size_t{1}, size_t{0}}) {
    rank.held[unit].fill();
    rank.held[unit].tensor().fill_(static_cast<float>(unit));
  }
  BOOST_TEST(rank.slot_of(0) == -1);  // both slots are held
  for (size_t unit = 0; unit < 3; unit++) {
    BOOST_TEST(rank.turn(unit) == static_cast<int>(unit % 2));
    for (size_t other = 0; other < 3; other++) BOOST_TEST(all_equal(rank.held[other].tensor(), static_cast<float>(other)));
  }
}

BOOST_AUTO_TEST_CASE(a_buffer_dropped_before_its_turn_takes_none) {
  Turns rank(2, 2);
  rank.held[0].fill();
  rank.held[0].drop();
  BOOST_TEST(rank.turn(1) == 0);
  rank.held[1].drop();
  rank.held[0].fill();
  BOOST_TEST(rank.slot_of(0) == 1);
  BOOST_TEST(rank.turn(0) == 1);
}

// Views stay valid: a model's parameters are some.
BOOST_AUTO_TEST_CASE(views_move_with_their_buffer) {
  Turns rank(1, 2);
  rank.turn(0);
  const Tensor view = rank.held[0].tensor().narrow(0, 50, 10);
  view.fill_(3);
  rank.turn(1);
  rank.held[1].tensor().fill_(4);
  BOOST_TEST(all_equal(view, 3));
  BOOST_TEST(rank.turn(0) == 0);
  BOOST_TEST(all_equal(view, 3));
  BOOST_TEST(all_equal(rank.held[1].tensor(), 4));
}

BOOST_AUTO_TEST_SUITE_END()
