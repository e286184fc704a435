#pragma once

namespace levin {

class Trainer;
struct InitialWeights;

namespace detail {

/// Gives the model its first weights. Collective. DataError, which lists names, where they do not fit; ConfigError for a rename that fits
/// no name, or makes one name of two.
void load_initial_weights(Trainer& trainer, const InitialWeights& init);

}  // namespace detail
}  // namespace levin
