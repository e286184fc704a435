#include "size_functions.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>

namespace levin::exported {
namespace {

int64_t size_value(const IValue& value) {
  TORCH_CHECK(value.isInt() || value.isBool(), "a size is not an integer");
  return value.isBool() ? int64_t{value.toBool()} : value.toInt();
}
double real(const IValue& value) { return value.isDouble() ? value.toDouble() : static_cast<double>(size_value(value)); }
bool truth(const IValue& value) { return value.isBool() ? value.toBool() : real(value) != 0; }

void check_overflow(bool overflow) { TORCH_CHECK(!overflow, "the arithmetic of sizes overflows"); }
int64_t add(int64_t a, int64_t b) {
  int64_t result = 0;
  check_overflow(__builtin_add_overflow(a, b, &result));
  return result;
}
int64_t subtract(int64_t a, int64_t b) {
  int64_t result = 0;
  check_overflow(__builtin_sub_overflow(a, b, &result));
  return result;
}
int64_t multiply(int64_t a, int64_t b) {
  int64_t result = 0;
  check_overflow(__builtin_mul_overflow(a, b, &result));
  return result;
}
void check_divisor(double divisor) { TORCH_CHECK(divisor != 0, "a size is divided by zero"); }
// Rounds down, as Python does.
int64_t floor_divide(int64_t a, int64_t b) {
  check_divisor(static_cast<double>(b));
  if (b == -1) return subtract(0, a);
  return a / b - static_cast<int64_t>(a % b != 0 && (a < 0) != (b < 0));
}
int64_t modulo(int64_t a, int64_t b) {
  check_divisor(static_cast<double>(b));
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
double modulo(double a, double b) {
  check_divisor(b);
  return a - b * std::floor(a / b);
}
int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result = multiply(result, base);
    if (exponent > 1) base = multiply(base, base);
  }
  return result;
}
int64_t rounded(double value) {
  constexpr double limit = 9223372036854775808.0;  // 2^63
  TORCH_CHECK(value >= -limit && value < limit, "a size is not a number that fits into 64 bits");
  return static_cast<int64_t>(value);
}

const IValue& argument(const Stack& stack, size_t i) {
  TORCH_CHECK(i < stack.size(), "a function of sizes has too few arguments");
  return stack[i];
}

template <class Result>
Function unary(Result result) {
  return [result](Stack& stack) { stack = {IValue(result(argument(stack, 0)))}; };
}
// Python computes with integers unless an argument is a float.
template <class Integers, class Reals>
Function binary(Integers integers, Reals reals) {
  return [=](Stack& stack) {
    const IValue &a = argument(stack, 0), &b = argument(stack, 1);
    stack = {a.isDouble() || b.isDouble() ? IValue(reals(real(a), real(b))) : IValue(integers(size_value(a), size_value(b)))};
  };
}
template <class Both>
Function compare(Both both) {
  return binary([both](int64_t a, int64_t b) -> bool { return both(a, b); }, [both](double a, double b) -> bool { return both(a, b); });
}
template <class Pick>
Function reduce(Pick pick) {
  return [pick](Stack& stack) {
    IValue result = argument(stack, 0);
    for (size_t i = 1; i < stack.size(); i++)
      result = result.isDouble() || stack[i].isDouble() ? IValue(pick(real(result), real(stack[i])))
                                                        : IValue(pick(size_value(result), size_value(stack[i])));
    stack = {result};
  };
}
Function rounding(double (*round)(double)) {
  return unary([round](const IValue& a) { return a.isDouble() ? rounded(round(a.toDouble())) : size_value(a); });
}
template <class Property>
Function of_dimension(Property property) {
  return [property](Stack& stack) {
    const int64_t dimension = size_value(argument(stack, 1));
    stack = {IValue(property(stack[0].toTensor(), dimension))};
  };
}

struct Add {
  int64_t operator()(int64_t a, int64_t b) const { return add(a, b); }
  double operator()(double a, double b) const { return a + b; }
};

std::map<std::string, Function> make_functions() {
  return {
      {"_operator.add", binary(add, std::plus<double>())},
      {"_operator.sub", binary(subtract, std::minus<double>())},
      {"_operator.mul", binary(multiply, std::multiplies<double>())},
      {"_operator.floordiv", binary(floor_divide,
                                    [](double a, double b) {
                                      check_divisor(b);
                                      return std::floor(a / b);
                                    })},
      {"_operator.truediv", binary(
                                [](int64_t a, int64_t b) {
                                  check_divisor(static_cast<double>(b));
                                  return static_cast<double>(a) / static_cast<double>(b);
                                },
                                [](double a, double b) {
                                  check_divisor(b);
                                  return a / b;
                                })},
      {"_operator.mod", binary([](int64_t a, int64_t b) { return modulo(a, b); }, [](double a, double b) { return modulo(a, b); })},
      {"_operator.pow",
       binary([](int64_t a,
                 int64_t b) { return b < 0 ? IValue(std::pow(static_cast<double>(a), static_cast<double>(b))) : IValue(power(a, b)); },
              [](double a, double b) { return IValue(std::pow(a, b)); })},
      {"_operator.eq", compare(std::equal_to<>())},
      {"_operator.ne", compare(std::not_equal_to<>())},
      {"_operator.lt", compare(std::less<>())},
      {"_operator.le", compare(std::less_equal<>())},
      {"_operator.gt", compare(std::greater<>())},
      {"_operator.ge", compare(std::greater_equal<>())},
      {"_operator.and_", [](Stack& stack) { stack = {IValue(truth(argument(stack, 0)) && truth(argument(stack, 1)))}; }},
      {"_operator.or_", [](Stack& stack) { stack = {IValue(truth(argument(stack, 0)) || truth(argument(stack, 1)))}; }},
      {"_operator.neg", unary([](const IValue& a) { return a.isDouble() ? IValue(-a.toDouble()) : IValue(subtract(0, size_value(a))); })},
      {"_operator.pos", unary([](const IValue& a) { return a; })},
      {"torch.sym_max", reduce([](auto a, auto b) { return std::max(a, b); })},
      {"torch.sym_min", reduce([](auto a, auto b) { return std::min(a, b); })},
      {"torch.sym_sum", reduce(Add())},
      {"torch.sym_not", unary([](const IValue& a) { return !truth(a); })},
      {"torch.sym_int", rounding(std::trunc)},
      {"torch.sym_float", unary(real)},
      {"torch.sym_ite", [](Stack& stack) { stack = {IValue(truth(argument(stack, 0)) ? argument(stack, 1) : argument(stack, 2))}; }},
      {"torch._sym_sqrt", unary([](const IValue& a) { return std::sqrt(real(a)); })},
      {"math.trunc", rounding(std::trunc)},
      {"math.floor", rounding(std::floor)},
      {"math.ceil", rounding(std::ceil)},
      {"torch.ops.aten.sym_size.int", of_dimension([](const at::Tensor& tensor, int64_t dimension) { return tensor.size(dimension); })},
      {"torch.ops.aten.sym_stride.int", of_dimension([](const at::Tensor& tensor, int64_t dimension) { return tensor.stride(dimension); })},
      {"torch.ops.aten.sym_numel.default", unary([](const IValue& a) { return a.toTensor().numel(); })},
      {"torch.ops.aten.sym_storage_offset.default", unary([](const IValue& a) { return a.toTensor().storage_offset(); })},
  };
}

}  // namespace

const Function* size_function(const std::string& target) {
  static const auto functions = make_functions();
  const auto found = functions.find(target);
  return found == functions.end() ? nullptr : &found->second;
}

}  // namespace levin::exported
