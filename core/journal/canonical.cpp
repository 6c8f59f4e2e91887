#include "core/journal/canonical.hpp"

#include <openssl/evp.h>
#include <array>
#include <stdexcept>

#include "core/base/time.hpp"

namespace caged::journal {
namespace {

// EVP_sha256() is looked up again at each use (OpenSSL 3); a fetched one is not, which halves the time of a short hash.
class hasher {
 public:
  hasher() : method_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
    if (method_ == nullptr || context_ == nullptr) throw std::runtime_error("this OpenSSL has no SHA-256");
  }
  hasher(const hasher&) = delete;
  hasher& operator=(const hasher&) = delete;
  ~hasher() {
    EVP_MD_CTX_free(context_);
    EVP_MD_free(method_);
  }
  std::string hex(std::string_view bytes) {
    static constexpr char digits[] = "0123456789abcdef";
    std::array<unsigned char, 32> digest{};
    unsigned length = 0;
    if (EVP_DigestInit_ex2(context_, method_, nullptr) != 1 ||
        EVP_DigestUpdate(context_, bytes.data(), bytes.size()) != 1 ||
        EVP_DigestFinal_ex(context_, digest.data(), &length) != 1)
      throw std::runtime_error("SHA-256 failed");
    std::string out(64, '0');
    for (std::size_t i = 0; i < digest.size(); ++i) {
      out[2 * i] = digits[digest[i] >> 4];
      out[2 * i + 1] = digits[digest[i] & 15];
    }
    return out;
  }

 private:
  EVP_MD* method_;
  EVP_MD_CTX* context_;
};

std::string json_text(std::string_view text) { return json(text).dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

const std::string genesis_hash(64, '0');

void normalise(json& data) {
  try {
    (void)data.dump();
  } catch (const json::exception&) {
    // Also two member names may become one by it; parsing keeps the last, as every later reader will see it.
    data = json::parse(to_text(data));
  }
}

std::string canonical_text(const event& e, std::string_view previous_hash) {
  std::string out = "[\"caged.event.1\",\"";
  out += previous_hash;
  out += "\"," + std::to_string(e.id) + "," + json_text(e.session_id) + "," + std::to_string(e.sequence) + "," +
         json_text(e.sandbox_id) + "," + json_text(e.type) + "," + std::to_string(e.time_us) + "," +
         std::to_string(e.duration_us) + ",";
  out += to_text(e.data);
  out += ']';
  return out;
}

std::string hash_text(std::string_view text) {
  static thread_local hasher h;
  return h.hex(text);
}

std::string link_hash(const event& e, std::string_view previous_hash) {
  return hash_text(canonical_text(e, previous_hash));
}

json to_json(const event& e) {
  json j = json::object();
  j["id"] = e.id;
  j["session_id"] = e.session_id;
  j["sequence"] = e.sequence;
  j["sandbox_id"] = e.sandbox_id;
  j["type"] = e.type;
  j["timestamp"] = base::format_time(e.time_us);
  j["time_us"] = e.time_us;
  j["duration_ms"] = static_cast<double>(e.duration_us) / 1000;
  j["duration_us"] = e.duration_us;
  j["data"] = e.data;
  j["hash"] = e.hash;
  return j;
}

}  // namespace caged::journal
