#include "mlflow_client.h"

#include <fmt/format.h>

#include <algorithm>
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
  const auto answer = Json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  auto message = text_of(answer, "message");
  if (message.empty() && (reply.status == 401 || reply.status == 403))
    message = "see the credentials MLFLOW_TRACKING_TOKEN, or …_USERNAME and …_PASSWORD";
  if (message.empty() && reply.body.find("serve-artifacts") != std::string::npos) message = "the server runs with --no-serve-artifacts";
  throw MLFlowError(reply.status, text_of(answer, "error_code"),
                    fmt::format("{}: HTTP {}{}{}", call, reply.status, message.empty() ? "" : ": ", message));
}

bool is_name_letter(char letter) {
  const auto byte = static_cast<unsigned char>(letter);
  return byte >= 0x80 || std::isalnum(byte) != 0 || std::string_view("_/.-: ").find(letter) != std::string_view::npos;
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
  std::string valid = first_bytes(name, longest_name);
  for (auto& letter : valid)
    if (!is_name_letter(letter)) letter = '_';
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
  const auto answer = Json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
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
  const auto reply = send("PUT", fmt::format("mlflow-artifacts/artifacts/{}/{}", folder, path), bytes, "application/octet-stream");
  if (reply.status / 100 != 2) refuse("artifacts", reply);
}

}  // namespace levin::detail
