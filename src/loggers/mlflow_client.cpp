#include "mlflow_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace levin::detail {
namespace {

using Json = MLFlowClient::Json;

constexpr size_t longest_name = 250;
constexpr std::string_view api = "/api/2.0/";

std::string of_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

HttpClient::Options http_options(Seconds timeout) {
  const auto insecure = of_environment("MLFLOW_TRACKING_INSECURE_TLS");
  return {.user = of_environment("MLFLOW_TRACKING_USERNAME"),
          .password = of_environment("MLFLOW_TRACKING_PASSWORD"),
          .token = of_environment("MLFLOW_TRACKING_TOKEN"),
          .verify = insecure != "true" && insecure != "True" && insecure != "1",
          .certificates = of_environment("MLFLOW_TRACKING_SERVER_CERT_PATH"),
          .timeout = timeout};
}

// Texts of a reply; whatever another server sends must not throw.
std::string text_of(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Json child(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() ? *found : Json();
}

MLFlowClient::Run run_of(const Json& reply) {
  const auto info = child(reply, "info");
  MLFlowClient::Run run{.id = text_of(info, "run_id"),
                        .status = text_of(info, "status"),
                        .artifact_uri = text_of(info, "artifact_uri"),
                        .active = text_of(info, "lifecycle_stage") != "deleted",
                        .params = {}};
  if (run.id.empty()) throw MLFlowError(0, "", "the reply has no run_id");
  for (const auto& param : child(child(reply, "data"), "params")) run.params.insert(text_of(param, "key"));
  return run;
}

[[noreturn]] void refuse(const std::string& call, const HttpReply& reply) {
  auto answer = Json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  auto message = text_of(answer, "message");
  if (message.empty() && (reply.status == 401 || reply.status == 403))
    message = "see the credentials MLFLOW_TRACKING_TOKEN, or …_USERNAME and …_PASSWORD";
  if (message.empty() && reply.body.find("serve-artifacts") != std::string::npos) message = "the server runs with --no-serve-artifacts";
  throw MLFlowError(reply.status, text_of(answer, "error_code"),
                    fmt::format("{}: HTTP {}{}{}", call, reply.status, message.empty() ? "" : ": ", message));
}

std::string escaped_path(const std::string& path) {
  std::string escaped;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    escaped += (begin == 0 ? "" : "/") + HttpClient::escaped(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return escaped;
}

struct Character {
  char32_t code;
  size_t bytes;
};

// Of text in UTF-8; other bytes are U+FFFD.
Character character_at(std::string_view text, size_t begin) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const char32_t first = byte(begin);
  if (first < 0x80) return {first, 1};
  const size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  char32_t code = first & (0xFFU >> (bytes + 1));
  for (size_t i = 1; i < bytes; i++) {
    if (first < 0xC0 || (byte(begin + i) & 0xC0) != 0x80) return {0xFFFD, 1};
    code = code << 6 | (byte(begin + i) & 0x3F);
  }
  return {code, bytes};
}

// Beyond ASCII: letters that Python's \w, by which MLflow checks names, has in every version. levin-sync has the same table.
constexpr std::array<std::pair<char32_t, char32_t>, 24> letters{
    {{0xAA, 0xAA},     {0xB2, 0xB3},     {0xB5, 0xB5},     {0xB9, 0xBA},     {0xBC, 0xBE},     {0xC0, 0xD6},
     {0xD8, 0xF6},     {0xF8, 0x2C1},    {0x370, 0x374},   {0x376, 0x377},   {0x37B, 0x37D},   {0x388, 0x38A},
     {0x38E, 0x3A1},   {0x3A3, 0x3F5},   {0x3F7, 0x481},   {0x48A, 0x52F},   {0x5D0, 0x5EA},   {0x620, 0x64A},
     {0x3041, 0x3096}, {0x30A1, 0x30FA}, {0x30FC, 0x30FE}, {0x3400, 0x4DB5}, {0x4E00, 0x9FD5}, {0xAC00, 0xD7A3}}};

bool is_name_letter(char32_t code) {
  if (code < 0x80)
    return std::isalnum(static_cast<unsigned char>(code)) != 0 ||
           std::string_view("_/.-: ").find(static_cast<char>(code)) != std::string_view::npos;
  return std::any_of(letters.begin(), letters.end(), [&](const auto& range) { return range.first <= code && code <= range.second; });
}

// MLflow may store names as paths, and refuses those that resolve to others.
bool is_plain_path(const std::string& name) {
  if (name.starts_with("..")) return false;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const auto part = std::string_view(name).substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace

std::string first_bytes(const std::string& text, size_t most_bytes) {
  if (text.size() <= most_bytes) return text;
  size_t size = most_bytes;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) size--;
  return text.substr(0, size);
}

std::string mlflow_name(const std::string& name) {
  const auto text = first_bytes(name, longest_name);
  std::string valid;
  for (size_t i = 0; i < text.size();) {
    const auto [code, bytes] = character_at(text, i);
    valid += is_name_letter(code) ? text.substr(i, bytes) : "_";
    i += bytes;
  }
  if (is_plain_path(valid)) return valid;
  std::replace(valid.begin(), valid.end(), '/', '_');
  for (size_t i = 0; i < valid.size() && valid[i] == '.'; i++) valid[i] = '_';
  return valid.empty() ? "_" : valid;
}

MLFlowClient::MLFlowClient(const std::string& tracking_uri, Seconds timeout) : uri_(tracking_uri), http_(http_options(timeout)) {
  while (uri_.ends_with('/')) uri_.pop_back();
}

HttpReply MLFlowClient::send(const std::string& method, const std::string& path, const std::string& body, const std::string& content_type) {
  try {
    return http_.send(method, uri_ + std::string(api) + path, body, content_type);
  } catch (const NoReply& error) {
    throw MLFlowError(0, "", error.what());
  }
}

Json MLFlowClient::call(const std::string& method, const std::string& path, const Json& body) {
  const auto text = body.is_null() ? std::string() : body.dump(-1, ' ', false, Json::error_handler_t::replace);
  const auto reply = send(method, "mlflow/" + path, text, body.is_null() ? "" : "application/json");
  const auto what = path.substr(0, path.find('?'));
  if (reply.status / 100 != 2) refuse(what, reply);
  auto answer = Json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) throw MLFlowError(0, "", what + ": the reply is not MLflow's");
  return answer;
}

std::string MLFlowClient::experiment_id(const std::string& name) {
  for (int tries = 0;; tries++) {
    try {
      return text_of(child(call("GET", "experiments/get-by-name?experiment_name=" + HttpClient::escaped(name)), "experiment"),
                     "experiment_id");
    } catch (const MLFlowError& error) {
      if (!error.is_unknown() || tries > 0) throw;
    }
    try {
      return text_of(call("POST", "experiments/create", {{"name", name}}), "experiment_id");
    } catch (const MLFlowError& error) {
      if (error.code != "RESOURCE_ALREADY_EXISTS") throw;  // else another run has just created it
    }
  }
}

MLFlowClient::Run MLFlowClient::start_run(const std::string& experiment, const std::string& name, const std::string& id, int64_t time) {
  const auto experiment_id = this->experiment_id(experiment);
  const Json query = {{"experiment_ids", {experiment_id}}, {"filter", fmt::format("tags.`levin.id` = '{}'", id)}, {"max_results", 1}};
  const auto known = child(call("POST", "runs/search", query), "runs");
  if (known.is_array() && !known.empty()) return run_of(known.front());
  const Json create = {{"experiment_id", experiment_id},
                       {"run_name", name},
                       {"start_time", time},
                       {"tags", Json::array({{{"key", "levin.id"}, {"value", id}}})}};
  return run_of(child(call("POST", "runs/create", create), "run"));
}

std::optional<MLFlowClient::Run> MLFlowClient::get_run(const std::string& run_id) {
  try {
    return run_of(child(call("GET", "runs/get?run_id=" + HttpClient::escaped(run_id)), "run"));
  } catch (const MLFlowError& error) {
    if (error.is_unknown()) return std::nullopt;
    throw;
  }
}

void MLFlowClient::set_status(const Run& run, const std::string& status, std::optional<int64_t> end_time) {
  Json update = {{"run_id", run.id}, {"status", status}};
  if (end_time) update["end_time"] = *end_time;
  call("POST", "runs/update", update);
}

void MLFlowClient::log_batch(const Run& run, const std::string& kind, const Json& entries) {
  call("POST", "runs/log-batch", {{"run_id", run.id}, {kind, entries}});
}

void MLFlowClient::put_artifact(const Run& run, const std::string& path, const std::string& bytes) {
  constexpr std::string_view proxied = "mlflow-artifacts:";
  auto folder = run.artifact_uri.starts_with(proxied) ? run.artifact_uri.substr(proxied.size()) : "//elsewhere";
  if (folder.starts_with("//") && !folder.starts_with("///"))
    throw MLFlowError(0, "", fmt::format("the server does not store artifacts itself, {} does", run.artifact_uri));
  folder.erase(0, folder.find_first_not_of('/'));
  const auto place = fmt::format("mlflow-artifacts/artifacts/{}/{}", folder, escaped_path(path));
  const auto reply = send("PUT", place, bytes, "application/octet-stream");
  if (reply.status / 100 != 2) refuse("artifacts", reply);
}

}  // namespace levin::detail
