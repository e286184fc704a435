#pragma once
#include "levin/core/config.h"
#include "levin/nn/linear.h"
#include "levin/nn/unit.h"

namespace gpt {

using levin::Tensor;

enum class Activation { gelu, swiglu };
LEVIN_ENUM(Activation, (gelu, "gelu"), (swiglu, "swiglu"))
enum class Positions { rotary, learned };
LEVIN_ENUM(Positions, (rotary, "rotary"), (learned, "learned"))
enum class NormKind { layer_norm, rms_norm };
LEVIN_ENUM(NormKind, (layer_norm, "layer_norm"), (rms_norm, "rms_norm"))

/// The form of a GPT.
struct GptShape {
  int64_t layers = 4;
  int64_t width = 128;
  int64_t heads = 4;
  Activation activation = Activation::gelu;
  Positions positions = Positions::rotary;
  NormKind norm = NormKind::layer_norm;
  bool bias = true;
  double dropout = 0;

  /// ConfigError where the heads do not fit the width.
  void validate() const;
  int64_t head_width() const { return width / heads; }
  /// Of the hidden layer of the MLP: 4 times the width; of SwiGLU, which has three matrices in place of two, 8/3 (a multiple of 8).
  int64_t hidden() const { return activation == Activation::gelu ? 4 * width : (8 * width / 3 + 7) / 8 * 8; }
};
LEVIN_CONFIG(GptShape, (layers, "blocks", at_least(1)), (width, "size of a token's vector", at_least(1)),
             (heads, "parts of the width, each with its own attention", at_least(1)), (activation, "of the hidden layer of the MLP"),
             (positions, "how a token knows its place: rotated queries and keys, or a learned vector"),
             (norm, "what comes before each part"), (bias, "linear layers, and layer_norm, have a bias"),
             (dropout, "part of the activations that is dropped in training", at_least(0), less_than(1)))

/// LayerNorm, or RMSNorm (Zhang and Sennrich, 2019), over the last dimension.
class NormImpl : public torch::nn::Module {
 public:
  explicit NormImpl(const GptShape& shape);
  Tensor forward(const Tensor& x);

 private:
  NormKind kind_;
  Tensor weight_, bias_;
};
TORCH_MODULE(Norm);

/// x [n, T, width] -> x + attention(norm(x)), and of that x + mlp(norm(x)). Weights as GPT-2's: normal with deviation 0.02, those that end
/// a branch with 0.02 / sqrt(2 layers). `angles` [2, T, head width / 2] are the cosines and sines of rotary positions; undefined without.
class BlockImpl : public levin::Unit<Tensor(Tensor, Tensor)> {
 public:
  explicit BlockImpl(const GptShape& shape);

 protected:
  Tensor compute(Tensor x, Tensor angles) override;

 private:
  Tensor attend(const Tensor& x, const Tensor& angles);
  Tensor think(const Tensor& x);
  Tensor drop(const Tensor& x);

  GptShape shape_;
  Norm norm1_, norm2_;
  levin::Linear qkv_{nullptr}, attention_out_{nullptr}, mlp_in_{nullptr}, mlp_out_{nullptr};
};
LEVIN_UNIT(Block);

/// Cosines and sines of rotary positions (Su et al., "RoFormer", 2021), base 10000: [2, length, head_width / 2].
Tensor rotary_angles(int64_t length, int64_t head_width, const at::TensorOptions& options);

}  // namespace gpt
