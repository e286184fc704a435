#pragma once
#include <optional>
#include <string>
#include <variant>

#include "levin/core/config.h"

namespace levin {

/// Stochastic gradient descent with momentum; a parameter's momentum buffer starts as its first gradient, without dampening.
struct SGD {
  double lr = 0.01;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  void validate() const;
};
LEVIN_CONFIG(SGD, (lr, "learning rate", at_least(0)), (momentum, "part of the last update that is kept", between(0, 1)),
             (dampening, "part of the gradient that the momentum leaves out", between(0, 1)),
             (weight_decay, "L2 penalty, added to the gradient", at_least(0)), (nesterov, "Nesterov momentum"))
LEVIN_CHOICE(SGD, "sgd")

/// Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015; weight decay is added to the gradient.
struct Adam {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};
LEVIN_CONFIG(Adam, (lr, "learning rate", at_least(0)), (beta1, "decay of the mean of gradients", at_least(0), less_than(1)),
             (beta2, "decay of the mean of squared gradients", at_least(0), less_than(1)),
             (eps, "added to the denominator", greater_than(0)), (weight_decay, "L2 penalty, added to the gradient", at_least(0)))
LEVIN_CHOICE(Adam, "adam")

/// Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
struct AdamW {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
};
LEVIN_CONFIG(AdamW, (lr, "learning rate", at_least(0)), (beta1, "decay of the mean of gradients", at_least(0), less_than(1)),
             (beta2, "decay of the mean of squared gradients", at_least(0), less_than(1)),
             (eps, "added to the denominator", greater_than(0)), (weight_decay, "decay of the weights, times lr", at_least(0)))
LEVIN_CHOICE(AdamW, "adamw")

/// Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", 2011.
struct Adagrad {
  double lr = 1e-2;
  double lr_decay = 0;
  double eps = 1e-10;
  double weight_decay = 0;
};
LEVIN_CONFIG(Adagrad, (lr, "learning rate", at_least(0)), (lr_decay, "lr is divided by 1 + lr_decay * steps", at_least(0)),
             (eps, "added to the denominator", at_least(0)), (weight_decay, "L2 penalty, added to the gradient", at_least(0)))
LEVIN_CHOICE(Adagrad, "adagrad")

/// Tieleman and Hinton, lecture 6.5 of "Neural Networks for Machine Learning", 2012; centered as in Graves, "Generating Sequences With
/// Recurrent Neural Networks", 2013.
struct RMSprop {
  double lr = 1e-2;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  bool centered = false;
};
LEVIN_CONFIG(RMSprop, (lr, "learning rate", at_least(0)), (alpha, "decay of the mean of squared gradients", between(0, 1)),
             (eps, "added to the denominator", greater_than(0)), (weight_decay, "L2 penalty, added to the gradient", at_least(0)),
             (momentum, "part of the last update that is kept", between(0, 1)),
             (centered, "divide by the standard deviation of the gradient instead of its root mean square"))
LEVIN_CHOICE(RMSprop, "rmsprop")

/// Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, with gradient g, momentum m and parameter p:
///     p <- p - lr (sign(beta1 m + (1 - beta1) g) + weight_decay p),   m <- beta2 m + (1 - beta2) g
struct Lion {
  double lr = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double weight_decay = 0;
};
LEVIN_CONFIG(Lion, (lr, "learning rate", at_least(0)), (beta1, "part of the momentum in the update", at_least(0), less_than(1)),
             (beta2, "decay of the momentum", at_least(0), less_than(1)), (weight_decay, "decay of the weights, times lr", at_least(0)))
LEVIN_CHOICE(Lion, "lion")

/// You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", 2020. With Adam's bias-corrected moments m, v:
///     r = m / (sqrt(v) + eps) + weight_decay p,   p <- p - lr (|p| / |r|) r
/// Norms are those of whole parameters, over all shards. Where |p| or |r| is 0 the factor |p| / |r| is 1.
struct LAMB {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-6;
  double weight_decay = 0.01;
};
LEVIN_CONFIG(LAMB, (lr, "learning rate", at_least(0)), (beta1, "decay of the mean of gradients", at_least(0), less_than(1)),
             (beta2, "decay of the mean of squared gradients", at_least(0), less_than(1)),
             (eps, "added to the denominator", greater_than(0)), (weight_decay, "part of the weights in the direction", at_least(0)))
LEVIN_CHOICE(LAMB, "lamb")

using OptimizerConfig = std::variant<SGD, Adam, AdamW, Adagrad, RMSprop, Lion, LAMB>;

double base_lr(const OptimizerConfig& config);
double base_weight_decay(const OptimizerConfig& config);
/// Momentum, or beta1 where there are betas; nothing for an optimizer without.
std::optional<double> base_momentum(const OptimizerConfig& config);
/// "AdamW".
std::string optimizer_name(const OptimizerConfig& config);

}  // namespace levin
