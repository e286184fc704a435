#include "http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <utility>

namespace levin::detail {
namespace {

constexpr double longest_connect = 5;  // seconds
constexpr size_t most_reply_bytes = size_t{16} << 20;

// curl_global_init is called once in a process, before the first handle.
void start_curl() {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) throw NoReply(curl_easy_strerror(started));
}

size_t append_reply(const char* bytes, size_t size, size_t count, void* body) {
  auto& text = *static_cast<std::string*>(body);
  if (text.size() + size * count > most_reply_bytes) return 0;
  text.append(bytes, size * count);
  return size * count;
}

int is_cancelled(void* cancelled, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(cancelled)->load() ? 1 : 0;
}

long milliseconds(double seconds) { return std::max(1L, static_cast<long>(1000 * seconds)); }

struct Headers {
  curl_slist* list = nullptr;
  ~Headers() { curl_slist_free_all(list); }
  void add(const std::string& line) { list = curl_slist_append(list, line.c_str()); }
};

}  // namespace

struct HttpClient::Handle {
  CURL* curl = nullptr;
  Options options;
  std::atomic<bool> cancelled = false;
  ~Handle() { curl_easy_cleanup(curl); }
};

HttpClient::HttpClient(const Options& options) : handle_(std::make_unique<Handle>()) { handle_->options = options; }

HttpClient::~HttpClient() = default;

HttpReply HttpClient::send(const std::string& method, const std::string& url, const std::string& body, const std::string& content_type) {
  start_curl();
  auto*& curl = handle_->curl;
  if (!curl) curl = curl_easy_init();
  if (!curl) throw NoReply("libcurl has no memory");
  const auto& options = handle_->options;
  curl_easy_reset(curl);
  HttpReply reply;
  char reason[CURL_ERROR_SIZE] = "";
  Headers headers;
  headers.add("Expect:");  // a server that ignores "100-continue" would cost a second
  if (!content_type.empty()) headers.add("Content-Type: " + content_type);
  const bool basic = !options.user.empty() && !options.password.empty();
  if (!basic && !options.token.empty()) headers.add("Authorization: Bearer " + options.token);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);  // its signals are not for programs with threads
  // On a connection that was used before, libcurl repeats a request whose reply is lost: the server might create two runs.
  curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
  curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  if (method != "GET") {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.list);
  if (basic) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
    curl_easy_setopt(curl, CURLOPT_USERNAME, options.user.c_str());
    curl_easy_setopt(curl, CURLOPT_PASSWORD, options.password.c_str());
  }
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, options.verify ? 1L : 0L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, options.verify ? 2L : 0L);
  std::error_code unseen;
  const bool folder = std::filesystem::is_directory(options.certificates, unseen);
  if (!options.certificates.empty()) curl_easy_setopt(curl, folder ? CURLOPT_CAPATH : CURLOPT_CAINFO, options.certificates.c_str());
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(std::min(longest_connect, options.timeout.value)));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, milliseconds(options.timeout.value));
#if LIBCURL_VERSION_NUM >= 0x075700
  curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);  // else it waits for a resolver that hangs, beyond the limits
#endif
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "levin");
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append_reply);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply.body);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_cancelled);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &handle_->cancelled);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
  const CURLcode result = curl_easy_perform(curl);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
  if (result != CURLE_OK) throw NoReply(reason[0] != '\0' ? reason : curl_easy_strerror(result));
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  reply.status = status;
  return reply;
}

void HttpClient::cancel() noexcept { handle_->cancelled = true; }

std::string HttpClient::escaped(const std::string& text) {
  std::string url;
  for (const char letter : text) {
    const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9') ||
                       letter == '-' || letter == '.' || letter == '_' || letter == '~';
    if (plain)
      url += letter;
    else
      url += fmt::format("%{:02X}", static_cast<unsigned char>(letter));
  }
  return url;
}

}  // namespace levin::detail
