#include <core/config/yaml.hpp>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

namespace caged::config {
namespace {

// Thrown inside the parser's callbacks, which have no other way to stop it; never leaves this file.
struct refusal {
  error what;
};

[[noreturn]] void refuse(const std::string& where, std::string reason, std::string message, std::string action) {
  throw refusal{fail(errc::invalid_argument, std::move(reason), where + " " + message, std::move(action))};
}

// Builds the tree from parse events. Using events rather than yaml-cpp's own tree keeps aliases unexpanded (they are
// refused), sees duplicate keys (the tree hides them) and knows which scalars were quoted.
class builder final : public YAML::EventHandler {
 public:
  explicit builder(std::string name) : name_(std::move(name)) {}

  yaml_node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    yaml_node n;
    n.line = line_of(mark);
    add(std::move(n));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(at(line_of(mark)), "yaml_refused", "found an alias ('*name'), which is not accepted here",
           "Write the value out where it is used.");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    yaml_node n;
    n.what = yaml_node::kind::scalar;
    n.plain = tag != "!";
    n.text = value;
    n.line = line_of(mark);
    if (n.plain && (value == "~" || value == "null" || value == "Null" || value == "NULL")) {
      n.what = yaml_node::kind::null;
    }
    add(std::move(n));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, yaml_node::kind::sequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, yaml_node::kind::mapping);
  }
  void OnMapEnd() override { close(); }

 private:
  struct frame {
    yaml_node node;
    std::string key;        // of the member being read
    int key_line = 0;
    bool has_key = false;
    std::map<std::string, int> seen;  // keys so far, with their lines: linear search would be quadratic
  };

  std::string at(int line) const { return name_ + ":" + std::to_string(line) + ":"; }
  static int line_of(const YAML::Mark& mark) { return mark.line + 1; }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) {
      refuse(at(line_of(mark)), "yaml_refused", "found an anchor ('&name'), which is not accepted here",
             "Write the value out where it is used.");
    }
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    refuse(at(line_of(mark)), "yaml_refused", "found the tag '" + tag.substr(0, 60) + "'; tags are not accepted here",
           "Remove the tag; quote the value when it is to be text.");
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, yaml_node::kind what) {
    refuse_anchor(mark, anchor);
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    if (stack_.size() >= static_cast<std::size_t>(max_yaml_depth)) {
      refuse(at(line_of(mark)), "yaml_too_large", "is nested deeper than " + std::to_string(max_yaml_depth) + " levels",
             "Make the document flatter.");
    }
    frame f;
    f.node.what = what;
    f.node.line = line_of(mark);
    stack_.push_back(std::move(f));
  }

  void close() {
    yaml_node n = std::move(stack_.back().node);
    stack_.pop_back();
    add(std::move(n));
  }

  void add(yaml_node n) {
    if (++count_ > max_yaml_nodes) {
      refuse(at(n.line), "yaml_too_large", "has more than " + std::to_string(max_yaml_nodes) + " values",
             "Make the document smaller.");
    }
    if (stack_.empty()) {
      root_ = std::move(n);
      return;
    }
    frame& f = stack_.back();
    if (f.node.what == yaml_node::kind::sequence) {
      f.node.items.push_back(std::move(n));
    } else if (!f.has_key) {
      take_key(f, std::move(n));
    } else {
      f.has_key = false;
      f.node.members.push_back({std::move(f.key), f.key_line, std::move(n)});
    }
  }

  void take_key(frame& f, yaml_node n) const {
    if (n.what != yaml_node::kind::scalar) {
      refuse(at(n.line), "malformed_yaml", "found " + n.describe() + " as a key, expected a name",
             "Write 'name: value'.");
    }
    const auto [it, fresh] = f.seen.emplace(n.text, n.line);
    if (!fresh) {
      refuse(at(n.line), "duplicate_key",
             "key '" + n.text.substr(0, 100) + "' is given twice, first in line " + std::to_string(it->second),
             "Keep one of them.");
    }
    f.key = std::move(n.text);
    f.key_line = n.line;
    f.has_key = true;
  }

  std::string name_;
  std::vector<frame> stack_;
  std::size_t count_ = 0;
  yaml_node root_;
};

// The line of the first byte that is not text, 0 when all is well. yaml-cpp replaces bad UTF-8 silently; a name that
// reads differently than it was written must not reach a policy.
int first_bad_line(std::string_view text) {
  int line = 1;
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\n') ++line;
    if (c == 0) return line;
    if (c < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || i + length > text.size()) return line;
    const auto second = static_cast<unsigned char>(text[i + 1]);
    const bool overlong = (c == 0xE0 && second < 0xA0) || (c == 0xF0 && second < 0x90);
    const bool beyond = (c == 0xED && second > 0x9F) || (c == 0xF4 && second > 0x8F);
    if (overlong || beyond) return line;
    for (std::size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return line;
    }
    i += length;
  }
  return 0;
}

}  // namespace

const yaml_node* yaml_node::find(std::string_view name) const noexcept {
  for (const member& m : members) {
    if (m.name == name) return &m.value;
  }
  return nullptr;
}

std::string yaml_node::describe() const {
  switch (what) {
    case kind::null:
      return "nothing";
    case kind::sequence:
      return "a list";
    case kind::mapping:
      return "a mapping";
    default:
      break;
  }
  const std::string shown = text.size() > 60 ? text.substr(0, 57) + "..." : text;
  const json value = to_json(*this);
  if (value.is_number()) return "the number " + shown;
  if (value.is_boolean()) return "the truth value " + shown;
  return "the text '" + shown + "'";
}

result<yaml_node> parse_yaml(std::string_view text, std::string_view name) {
  const std::string file(name);
  if (text.size() > max_yaml_bytes) {
    return fail(errc::invalid_argument, "yaml_too_large",
                file + ": is " + std::to_string(text.size()) + " bytes long; at most 1 MiB is read",
                "Make the file smaller.");
  }
  if (const int line = first_bad_line(text); line != 0) {
    return fail(errc::invalid_argument, "malformed_yaml",
                file + ":" + std::to_string(line) + ": found a byte that is not UTF-8 text", "Save the file as UTF-8.");
  }
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    builder first(file);
    if (!parser.HandleNextDocument(first)) return yaml_node{};
    builder second(file);
    if (parser.HandleNextDocument(second)) {
      return fail(errc::invalid_argument, "malformed_yaml", file + ": holds more than one document ('---')",
                  "Keep one document per file.");
    }
    return first.take();
  } catch (const refusal& r) {
    return r.what;
  } catch (const YAML::Exception& e) {
    return fail(errc::invalid_argument, "malformed_yaml",
                file + ":" + std::to_string(e.mark.line + 1) + ": is not YAML: " + e.msg + " (column " +
                    std::to_string(e.mark.column + 1) + ")",
                "Check indentation, quotes and colons near that line.");
  } catch (const std::exception& e) {
    return fail(errc::invalid_argument, "malformed_yaml", file + ": is not YAML: " + e.what(), "Check the file.");
  }
}

result<std::string> read_config_file(const std::filesystem::path& file) {
  // O_NONBLOCK: a FIFO somebody put there must not hang us.
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno_error(errno, "read " + file.string(), "Check the path and its permissions.");
  struct closer {
    int fd;
    ~closer() { ::close(fd); }
  } guard{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0) return errno_error(errno, "stat " + file.string());
  if (S_ISDIR(info.st_mode)) {
    return fail(errc::invalid_argument, "is_a_directory", file.string() + " is a folder, expected a file",
                "Name the file.");
  }
  std::string text;
  char piece[65536];
  for (;;) {
    const ssize_t n = ::read(fd, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read " + file.string());
    if (n == 0) return text;
    text.append(piece, static_cast<std::size_t>(n));
    if (text.size() > max_yaml_bytes) {
      return fail(errc::invalid_argument, "yaml_too_large", file.string() + ": is longer than 1 MiB",
                  "Make the file smaller.");
    }
  }
}

}  // namespace caged::config
