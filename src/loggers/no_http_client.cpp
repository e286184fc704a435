// In place of http_client.cpp where libcurl is not installed.
#include "http_client.h"
#include "levin/core/error.h"

namespace levin::detail {

struct HttpClient::Handle {};

HttpClient::HttpClient(const Options&) {
  throw ConfigError("this Levin was built without libcurl, so it cannot send to a server",
                    "leave tracking_uri out and upload with levin-sync, or build Levin where libcurl's headers are installed", "loggers");
}

HttpClient::~HttpClient() = default;

HttpReply HttpClient::send(const std::string&, const std::string&, const std::string&, const std::string&) { return {}; }

void HttpClient::cancel() noexcept {}

std::string HttpClient::escaped(const std::string& text) { return text; }

}  // namespace levin::detail
