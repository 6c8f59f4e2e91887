#include "core/network/dns_message.hpp"

#include <algorithm>
#include <cstring>

#include "core/network/rules.hpp"

namespace caged::network::dns {
namespace {

constexpr std::size_t header_size = 12;
constexpr std::uint16_t class_in = 1, type_opt = 41;
constexpr std::size_t most_records = 256;

void put16(std::string& out, std::uint32_t value) {
  out.push_back(static_cast<char>(value >> 8 & 0xff));
  out.push_back(static_cast<char>(value & 0xff));
}
void put32(std::string& out, std::uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}

void put_name(std::string& out, std::string_view name) {
  while (!name.empty()) {
    const auto label = name.substr(0, name.find('.'));
    out.push_back(static_cast<char>(label.size()));
    out.append(label);
    name.remove_prefix(std::min(name.size(), label.size() + 1));
  }
  out.push_back('\0');
}

class reader {
 public:
  explicit reader(std::string_view message) : all_(message) {}
  std::uint32_t number(unsigned size) {
    if (at_ + size > all_.size()) return static_cast<std::uint32_t>(stop());
    std::uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i) value = value << 8 | static_cast<unsigned char>(all_[at_++]);
    return value;
  }
  std::string_view take(std::size_t size) {
    if (size > all_.size() - std::min(at_, all_.size())) {
      stop();
      return {};
    }
    const auto piece = all_.substr(at_, size);
    at_ += size;
    return piece;
  }
  // Follows compression backwards only, so that it ends. "" is the root; a name we do not carry becomes nothing.
  std::optional<std::string> name() {
    std::string out;
    std::size_t at = at_, lowest = at_;
    bool jumped = false, carried = true;
    while (true) {
      if (at >= all_.size()) return fail();
      const auto length = static_cast<unsigned char>(all_[at]);
      if ((length & 0xc0) == 0xc0) {
        if (at + 1 >= all_.size()) return fail();
        const std::size_t to = static_cast<std::size_t>(length & 0x3f) << 8 | static_cast<unsigned char>(all_[at + 1]);
        if (!jumped) at_ = at + 2;
        jumped = true;
        if (to >= lowest) return fail();
        lowest = at = to;
        continue;
      }
      if ((length & 0xc0) != 0 || at + 1 + length > all_.size()) return fail();
      if (length == 0) {
        if (!jumped) at_ = at + 1;
        break;
      }
      const auto label = all_.substr(at + 1, length);
      if (label.find('.') != std::string_view::npos) carried = false;
      if (!out.empty()) out.push_back('.');
      out.append(label);
      if (out.size() > 255) return fail();
      at += 1 + length;
    }
    if (!carried) return std::nullopt;
    return out;
  }
  std::size_t position() const noexcept { return at_; }
  void go(std::size_t at) noexcept { at_ = at; }
  bool ok() const noexcept { return ok_; }

 private:
  int stop() {
    ok_ = false;
    at_ = all_.size();
    return 0;
  }
  std::optional<std::string> fail() {
    stop();
    return std::nullopt;
  }
  std::string_view all_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

// A reverse name ends in numbers' zones; normal_name() takes it, and nothing that could be taken for an address.
std::optional<std::string> carried_name(const std::optional<std::string>& raw) {
  if (!raw || raw->empty()) return std::nullopt;
  return normal_name(*raw);
}

// The data of one record; false when it is not as its type has it.
bool read_data(reader& in, std::size_t length, record& r) {
  const std::size_t end = in.position() + length;
  switch (r.type) {
    case type_a:
    case type_aaaa:
      if (length != (r.type == type_a ? 4u : 16u)) return false;
      r.data = std::string(in.take(length));
      return in.ok();
    case type_txt:
      r.data = std::string(in.take(length));
      return in.ok();
    case type_srv:
      if (length < 7) return false;
      r.data = std::string(in.take(6));
      [[fallthrough]];
    case type_cname:
    case type_ptr: {
      auto target = carried_name(in.name());
      if (!target || in.position() != end) return false;
      r.target = std::move(*target);
      return true;
    }
    default:
      return false;
  }
}

std::string head_of(std::uint16_t id, std::uint16_t flags, std::uint16_t questions, std::uint16_t answers,
                    std::uint16_t additional) {
  std::string out;
  put16(out, id);
  put16(out, flags);
  put16(out, questions);
  put16(out, answers);
  put16(out, 0);
  put16(out, additional);
  return out;
}

void put_record(std::string& out, const record& r) {
  put_name(out, r.name);
  put16(out, r.type);
  put16(out, class_in);
  put32(out, r.ttl);
  std::string data = r.data;
  if (!r.target.empty()) put_name(data, r.target);
  put16(out, static_cast<std::uint32_t>(data.size()));
  out += data;
}

}  // namespace

std::string type_name(std::uint16_t type) {
  switch (type) {
    case type_a:
      return "A";
    case type_cname:
      return "CNAME";
    case type_ptr:
      return "PTR";
    case type_txt:
      return "TXT";
    case type_aaaa:
      return "AAAA";
    case type_srv:
      return "SRV";
    case type_https:
      return "HTTPS";
    default:
      return "TYPE" + std::to_string(type);
  }
}

std::optional<std::uint16_t> query_id(std::string_view message) {
  if (message.size() < header_size || (static_cast<unsigned char>(message[2]) & 0x80) != 0) return std::nullopt;
  reader in(message);
  return static_cast<std::uint16_t>(in.number(2));
}

std::optional<question> parse_question(std::string_view message) {
  if (!query_id(message)) return std::nullopt;
  reader in(message);
  question q;
  q.id = static_cast<std::uint16_t>(in.number(2));
  const auto flags = in.number(2);
  if ((flags & 0x7800) != 0) return std::nullopt;  // another operation than a query
  q.recursion = (flags & 0x0100) != 0;
  const auto questions = in.number(2), answers = in.number(2), authority = in.number(2), additional = in.number(2);
  if (questions != 1 || answers != 0 || authority != 0 || additional > 2) return std::nullopt;
  auto name = carried_name(in.name());
  q.type = static_cast<std::uint16_t>(in.number(2));
  if (!name || in.number(2) != class_in || !in.ok()) return std::nullopt;
  q.name = std::move(*name);
  for (std::uint32_t i = 0; i < additional; ++i) {
    (void)in.name();
    const auto type = in.number(2), size = in.number(2);
    in.number(4);
    in.take(in.number(2));
    if (!in.ok()) return std::nullopt;
    if (type != type_opt) continue;
    q.extended = true;
    q.datagram_limit = std::clamp<std::size_t>(size, 512, 1232);
  }
  return q;
}

ip_address address_of(const record& r) {
  namespace ip = boost::asio::ip;
  if (r.type == type_a) {
    ip::address_v4::bytes_type bytes{};
    std::memcpy(bytes.data(), r.data.data(), std::min(bytes.size(), r.data.size()));
    return ip::address_v4(bytes);
  }
  ip::address_v6::bytes_type bytes{};
  std::memcpy(bytes.data(), r.data.data(), std::min(bytes.size(), r.data.size()));
  return ip::address_v6(bytes);
}

record address_record(std::string name, const ip_address& address, std::uint32_t ttl) {
  record r;
  r.name = std::move(name);
  r.ttl = ttl;
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    r.type = type_a;
    r.data.assign(bytes.begin(), bytes.end());
  } else {
    const auto bytes = address.to_v6().to_bytes();
    r.type = type_aaaa;
    r.data.assign(bytes.begin(), bytes.end());
  }
  return r;
}

std::string encode_question(std::uint16_t id, std::string_view name, std::uint16_t type) {
  std::string out = head_of(id, 0x0100, 1, 0, 1);
  put_name(out, name);
  put16(out, type);
  put16(out, class_in);
  out.push_back('\0');  // EDNS: we take datagrams of this size
  put16(out, type_opt);
  put16(out, 1232);
  put32(out, 0);
  put16(out, 0);
  return out;
}

std::optional<answer> parse_answer(std::string_view message, std::uint16_t id, std::string_view name,
                                   std::uint16_t type) {
  if (message.size() < header_size) return std::nullopt;
  reader in(message);
  if (in.number(2) != id) return std::nullopt;
  const auto flags = in.number(2);
  const auto questions = in.number(2), answers = in.number(2);
  in.number(4);
  if ((flags & 0x8000) == 0 || questions != 1) return std::nullopt;
  const auto asked = in.name();
  const auto asked_type = in.number(2), asked_class = in.number(2);
  if (!in.ok() || !asked || lower(*asked) != name || asked_type != type || asked_class != class_in) return std::nullopt;
  answer out;
  out.code = static_cast<response_code>(flags & 0x0f);
  out.truncated = (flags & 0x0200) != 0;
  for (std::uint32_t i = 0; i < answers && i < most_records; ++i) {
    record r;
    const auto owner = carried_name(in.name());
    r.type = static_cast<std::uint16_t>(in.number(2));
    const auto klass = in.number(2);
    r.ttl = in.number(4);
    const auto length = in.number(2);
    const std::size_t end = in.position() + length;
    if (!in.ok() || end > message.size()) break;
    if (owner && klass == class_in && read_data(in, length, r)) {
      r.name = *owner;
      out.records.push_back(std::move(r));
    }
    in.go(end);
  }
  return out;
}

std::string encode_answer(const question& q, const answer& a, std::size_t limit, std::string_view why) {
  std::string tail;
  if (q.extended) {
    std::string option;
    if (!why.empty()) {
      put16(option, 15);  // extended error
      put16(option, static_cast<std::uint32_t>(2 + std::min<std::size_t>(why.size(), 200)));
      put16(option, 15);  // blocked
      option.append(why.substr(0, 200));
    }
    tail.push_back('\0');
    put16(tail, type_opt);
    put16(tail, 1232);
    put32(tail, 0);
    put16(tail, static_cast<std::uint32_t>(option.size()));
    tail += option;
  }
  std::string body;
  put_name(body, q.name);
  put16(body, q.type);
  put16(body, class_in);
  std::uint16_t count = 0;
  bool cut = a.truncated;
  for (const auto& r : a.records) {
    std::string one;
    put_record(one, r);
    if (header_size + body.size() + one.size() + tail.size() > limit) {
      cut = true;
      break;
    }
    body += one;
    ++count;
  }
  // answer, recursion available
  std::uint32_t flags = 0x8080u | (q.recursion ? 0x0100u : 0u) | (cut ? 0x0200u : 0u) | a.code;
  return head_of(q.id, static_cast<std::uint16_t>(flags), 1, count, q.extended ? 1 : 0) + body + tail;
}

std::string encode_error(std::uint16_t id, response_code code) {
  return head_of(id, static_cast<std::uint16_t>(0x8080u | code), 0, 0, 0);
}

}  // namespace caged::network::dns
