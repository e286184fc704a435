#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "levin/core/seconds.h"

namespace levin::detail {

struct HttpReply {
  int64_t status = 0;
  std::string body;
};

/// No reply: the server cannot be reached or did not answer in time, or the client was cancelled.
struct NoReply : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Sends requests, one after the other, each once and on its own connection.
class HttpClient {
 public:
  struct Options {
    std::string user, password;               ///< basic authentication, where both are given
    std::string token;                        ///< else a bearer's, where one is given
    bool verify = true;                       ///< certificates
    std::filesystem::path certificates = {};  ///< a file or folder of those that are trusted; empty: the system's
    Seconds timeout = {10};                   ///< of a whole request
  };
  /// ConfigError in a Levin that was built without libcurl.
  explicit HttpClient(const Options& options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Blocks for `timeout` at most. NoReply; every reply is returned, errors of the server, too.
  HttpReply send(const std::string& method, const std::string& url, const std::string& body = {}, const std::string& content_type = {});
  /// From any thread: ends the request under way, and all later ones, with NoReply within a second.
  void cancel() noexcept;
  /// "a b" as "a%20b".
  static std::string escaped(const std::string& text);

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace levin::detail
