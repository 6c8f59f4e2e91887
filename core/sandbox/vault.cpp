#include "core/sandbox/vault.hpp"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <caged/base64.hpp>
#include <caged/random.hpp>
#include <memory>

#include "core/base/file.hpp"
#include "core/base/time.hpp"

namespace caged::sandbox {
namespace {

constexpr const char* kind = "secret";
constexpr std::size_t nonce_bytes = 12, tag_bytes = 16, key_bytes = 32;
constexpr std::size_t longest = 64 * 1024;

const unsigned char* raw(const std::string& text) { return reinterpret_cast<const unsigned char*>(text.data()); }
unsigned char* raw(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

using cipher_context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

error not_found(std::string_view name) {
  return fail(errc::not_found, "secret_not_found", "there is no secret \"" + std::string(name) + "\"",
              "List them with `caged secrets list`; set it with `caged secrets set " + std::string(name) + "`.",
              "/name");
}

result<void> check(const std::string& name, const std::string& value) {
  const auto letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; };
  const bool fits = !name.empty() && name.size() <= 128 && letter(name[0]) &&
                    std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
  if (!fits)
    return fail(errc::invalid_argument, "bad_secret_name", "\"" + name.substr(0, 100) + "\" is no name of a variable",
                "Use letters, digits and underscores, beginning with no digit.", "/name");
  if (value.size() < 8)
    return fail(
        errc::invalid_argument, "secret_too_short",
        "the value has " + std::to_string(value.size()) + " bytes; below 8 it cannot be kept out of the journal",
        "Use a longer secret.", "/value");
  if (value.size() > longest || value.find('\0') != std::string::npos)
    return fail(errc::invalid_argument, "bad_secret", "the value is longer than 64 KiB or holds a zero byte",
                "Put it into a file of the sandbox instead.", "/value");
  return {};
}

}  // namespace

json to_api(const secret_info& s) {
  return {{"name", s.name},
          {"hosts", s.hosts},
          {"created_at", base::format_time(s.created_us)},
          {"updated_at", base::format_time(s.updated_us)}};
}

result<void> vault::read_key(const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    const auto made = random_hex("", key_bytes);
    if (auto ok = base::write_file(file, made + "\n", 0600); !ok) return ok.error();
  }
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0 || (info.st_mode & 077) != 0)
    return fail(errc::permission_denied, "key_exposed", file.string() + " may be read by others than its owner",
                "Run 'chmod 600 " + file.string() + "', and set the secrets anew if others may have read it.");
  auto text = base::read_file(file, 1024);
  if (!text) return text.error();
  key_.clear();
  for (std::size_t i = 0; i + 1 < text->size() && key_.size() < key_bytes; i += 2) {
    unsigned byte = 0;
    if (std::sscanf(text->c_str() + i, "%2x", &byte) != 1) break;
    key_ += static_cast<char>(byte);
  }
  if (key_.size() == key_bytes) return {};
  return fail(errc::invalid_argument, "bad_secrets_key", file.string() + " does not hold 64 hexadecimal digits",
              "Bring the file back from a backup; without it the secrets cannot be read.");
}

// nonce ‖ ciphertext ‖ tag, the name as associated data: a record renamed in the database does not open.
std::string vault::seal(const std::string& name, const std::string& value) const {
  std::string out(nonce_bytes, '\0');
  random_bytes(std::as_writable_bytes(std::span(out)));
  out.resize(nonce_bytes + value.size() + tag_bytes);
  cipher_context c(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int n = 0;
  const bool done =
      c && EVP_EncryptInit_ex(c.get(), EVP_aes_256_gcm(), nullptr, raw(key_), raw(out)) == 1 &&
      EVP_EncryptUpdate(c.get(), nullptr, &n, raw(name), static_cast<int>(name.size())) == 1 &&
      EVP_EncryptUpdate(c.get(), raw(out) + nonce_bytes, &n, raw(value), static_cast<int>(value.size())) == 1 &&
      EVP_EncryptFinal_ex(c.get(), raw(out) + nonce_bytes + n, &n) == 1 &&
      EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_GET_TAG, tag_bytes, raw(out) + nonce_bytes + value.size()) == 1;
  if (!done) throw std::runtime_error("AES-256-GCM failed");
  return out;
}

std::optional<std::string> vault::unseal(const std::string& name, const std::string& sealed) const {
  if (sealed.size() < nonce_bytes + tag_bytes) return std::nullopt;
  std::string in = sealed;
  std::string out(sealed.size() - nonce_bytes - tag_bytes, '\0');
  cipher_context c(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int n = 0;
  const bool done =
      c && EVP_DecryptInit_ex(c.get(), EVP_aes_256_gcm(), nullptr, raw(key_), raw(in)) == 1 &&
      EVP_DecryptUpdate(c.get(), nullptr, &n, raw(name), static_cast<int>(name.size())) == 1 &&
      EVP_DecryptUpdate(c.get(), raw(out), &n, raw(in) + nonce_bytes, static_cast<int>(out.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_SET_TAG, tag_bytes, raw(in) + in.size() - tag_bytes) == 1 &&
      EVP_DecryptFinal_ex(c.get(), raw(out) + n, &n) == 1;
  if (!done) return std::nullopt;
  return out;
}

task<void> vault::open(const std::filesystem::path key_file, storage& records, journal::journal& j) {
  records_ = &records;
  journal_ = &j;
  if (auto ok = read_key(key_file); !ok) co_return ok.error();
  std::string after;
  while (true) {
    auto rows = co_await records.list(kind, after, 1000);
    if (!rows) co_return rows.error();
    for (const auto& row : *rows) {
      after = row.id;
      const auto sealed = base64_decode(row.body.value("sealed", ""));
      auto value = sealed ? unseal(row.id, *sealed) : std::nullopt;
      if (!value)
        co_return fail(errc::invalid_argument, "secret_unreadable",
                       "the secret \"" + row.id + "\" does not open with the key in " + key_file.string(),
                       "Bring back the key that it was sealed with.");
      entry e;
      e.info = {row.id, row.body.value("hosts", std::vector<std::string>()),
                row.body.value("created_us", std::int64_t{0}), row.body.value("updated_us", std::int64_t{0})};
      e.value = std::move(*value);
      if (auto hidden = j.add_secret(e.value); !hidden) co_return hidden.error();
      entries_.emplace(row.id, std::move(e));
    }
    if (rows->size() < 1000) co_return result<void>{};
  }
}

task<secret_info> vault::set(std::string name, std::string value, std::vector<std::string> hosts) {
  if (auto ok = check(name, value); !ok) co_return ok.error();
  // Known to the redaction before anything else can see it; an old value stays hidden, boxes may still hold it.
  if (auto hidden = journal_->add_secret(value); !hidden) co_return hidden.error();
  entry e;
  const auto old = entries_.find(name);
  e.info = {name, std::move(hosts), old == entries_.end() ? base::now_us() : old->second.info.created_us,
            base::now_us()};
  e.value = std::move(value);
  write put;
  put.kind = kind;
  put.id = name;
  put.body = {{"sealed", base64_encode(seal(name, e.value))},
              {"hosts", e.info.hosts},
              {"created_us", e.info.created_us},
              {"updated_us", e.info.updated_us}};
  batch b;
  b.writes.push_back(std::move(put));
  if (auto done = co_await records_->commit(std::move(b)); !done) {
    journal_->remove_secret(e.value);
    co_return done.error();
  }
  const secret_info info = e.info;
  entries_.insert_or_assign(name, std::move(e));
  co_return info;
}

task<void> vault::remove(std::string name) {
  if (!entries_.contains(name)) co_return not_found(name);
  write gone;
  gone.what = write::op::erase;
  gone.kind = kind;
  gone.id = name;
  batch b;
  b.writes.push_back(std::move(gone));
  if (auto done = co_await records_->commit(std::move(b)); !done) co_return done.error();
  entries_.erase(name);
  co_return result<void>{};
}

std::vector<secret_info> vault::list() const {
  std::vector<secret_info> all;
  for (const auto& [name, e] : entries_) all.push_back(e.info);
  return all;
}

result<std::string> vault::value(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return not_found(name);
  return found->second.value;
}

const secret_info* vault::find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second.info;
}

}  // namespace caged::sandbox
