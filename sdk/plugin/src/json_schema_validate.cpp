// Evaluates a compiled schema over an instance, collecting violations and, where needed, what has been evaluated.
#include <set>

#include "json_schema_value.hpp"

namespace caged::schema {
namespace {

using violations = std::vector<json_schema::violation>;
constexpr std::size_t most_reported = 20;
constexpr std::size_t most_collected = 200;
constexpr int most_depth = 1000;

// Where in the instance we are: a list through the stack, made a pointer only when something is wrong.
struct place {
  const place* parent = nullptr;
  const std::string* name = nullptr;
  std::size_t index = 0;

  std::string text() const {
    if (parent == nullptr) return {};
    return parent->text() + "/" + (name ? escape_pointer_token(*name) : std::to_string(index));
  }
};

// Which members and items some subschema has looked at, for unevaluatedProperties and unevaluatedItems.
struct marks {
  std::set<std::string_view> names;
  std::set<std::size_t> items;
  std::size_t first_items = 0;  // all before this
  bool all_names = false, all_items = false;

  void add(const marks& other) {
    names.insert(other.names.begin(), other.names.end());
    items.insert(other.items.begin(), other.items.end());
    first_items = std::max(first_items, other.first_items);
    all_names |= other.all_names;
    all_items |= other.all_items;
  }
};

class evaluator {
 public:
  explicit evaluator(const document_set& set) : set_(set) {}

  // True when `v` fits. Without `out` it stops at the first misfit; `seen` receives marks of what fits.
  bool run(const node& n, const json& v, const place& at, violations* out, marks* seen) {
    if (n.verdict) {
      if (!*n.verdict) say(out, at, "found " + show(v) + ", but no value is allowed here");
      return *n.verdict;
    }
    for (auto it = active_.rbegin(); it != active_.rend() && it->second == &v; ++it)
      if (it->first == &n) return say(out, at, "the schema refers to itself without end");
    if (active_.size() > most_depth) return say(out, at, "the document nests too deeply for the schema");
    active_.emplace_back(&n, &v);
    const bool enters = scope_.empty() || scope_.back() != n.home;
    if (enters) scope_.push_back(n.home);
    marks mine;
    const bool fits = all(n, v, at, out, mine);
    if (enters) scope_.pop_back();
    active_.pop_back();
    if (fits && seen != nullptr) seen->add(mine);
    return fits;
  }

 private:
  using step = bool (evaluator::*)(const node&, const json&, const place&, violations*, marks&);

  bool all(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    // The unevaluated… keywords read the marks of all others, so they come last.
    static constexpr step steps[] = {&evaluator::value,       &evaluator::number,     &evaluator::string,
                                     &evaluator::object,      &evaluator::array,      &evaluator::in_place,
                                     &evaluator::conditional, &evaluator::unevaluated};
    bool fits = true;
    for (const step s : steps) {
      fits = (this->*s)(n, v, at, out, mine) && fits;
      if (!fits && (out == nullptr || out->size() >= most_collected)) return false;
    }
    return fits;
  }

  static bool say(violations* out, const place& at, std::string message) {
    if (out != nullptr && out->size() < most_collected) out->push_back({at.text(), std::move(message)});
    return false;
  }

  static bool within(const limits_of& limits, std::uint64_t count, std::string_view unit, const place& at,
                     violations* out) {
    const auto words = [&](std::string_view bound, std::uint64_t limit) {
      return "found " + std::to_string(count) + " " + std::string(unit) + ", expected " + std::string(bound) + " " +
             std::to_string(limit);
    };
    if (limits.least && count < *limits.least) return say(out, at, words("at least", *limits.least));
    if (limits.most && count > *limits.most) return say(out, at, words("at most", *limits.most));
    return true;
  }

  bool value(const node& n, const json& v, const place& at, violations* out, marks&) {
    if (n.types != 0 && (types_of(v) & n.types) == 0)
      return say(out, at, "found " + show(v) + ", expected " + type_words(n.types));
    if (n.constant != nullptr && !equal(v, *n.constant))
      return say(out, at, "found " + show(v) + ", expected " + to_text(*n.constant));
    if (n.choices == nullptr) return true;
    for (const json& choice : *n.choices)
      if (equal(v, choice)) return true;
    return say(out, at, "found " + show(v) + ", expected one of " + show_list(*n.choices) + suggestion(v, *n.choices));
  }

  static std::string suggestion(const json& v, const json& choices) {
    if (!v.is_string()) return {};
    std::vector<std::string> words;
    for (const json& choice : choices)
      if (choice.is_string()) words.push_back(choice.get<std::string>());
    const std::string near = nearest(v.get_ref<const std::string&>(), words);
    return near.empty() ? std::string() : "; did you mean \"" + near + "\"?";
  }

  bool number(const node& n, const json& v, const place& at, violations* out, marks&) {
    if (!v.is_number()) return true;
    const auto wrong = [&](std::string_view bound, const json& limit) {
      return say(out, at, "found " + show(v) + ", expected " + std::string(bound) + " " + plain_number(limit));
    };
    if (n.minimum && compare_numbers(v, *n.minimum) < 0) return wrong("at least", *n.minimum);
    if (n.maximum && compare_numbers(v, *n.maximum) > 0) return wrong("at most", *n.maximum);
    if (n.above && compare_numbers(v, *n.above) <= 0) return wrong("more than", *n.above);
    if (n.below && compare_numbers(v, *n.below) >= 0) return wrong("less than", *n.below);
    if (n.multiple_of && !is_multiple(v, *n.multiple_of)) return wrong("a multiple of", *n.multiple_of);
    return true;
  }

  bool string(const node& n, const json& v, const place& at, violations* out, marks&) {
    if (!v.is_string()) return true;
    const auto& text = v.get_ref<const std::string&>();
    if ((n.length.least || n.length.most) && !within(n.length, code_points(text), "characters", at, out)) return false;
    if (n.text_pattern && !n.text_pattern->matches(text))
      return say(out, at, "found " + show(v) + ", expected text that matches the pattern " + n.text_pattern->text);
    return true;
  }

  bool object(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    if (!v.is_object()) return true;
    bool fits = within(n.properties_count, v.size(), "properties", at, out);
    for (const std::string& name : n.required)
      if (!v.contains(name)) fits = say(out, at, "the property \"" + name + "\" is missing");
    for (const auto& [name, others] : n.dependent_required) {
      if (!v.contains(name)) continue;
      for (const std::string& other : others)
        if (!v.contains(other))
          fits = say(out, at, "the property \"" + other + "\" is missing; \"" + name + "\" needs it");
    }
    if (!fits && out == nullptr) return false;
    for (const auto& [name, member] : v.items()) {
      fits = property(n, v, name, member, at, out, mine) && fits;
      if (!fits && out == nullptr) return false;
    }
    return fits;
  }

  bool property(const node& n, const json& owner, const std::string& name, const json& member, const place& at,
                violations* out, marks& mine) {
    const place below{&at, &name, 0};
    bool fits = true, known = false;
    if (n.names != nullptr) fits = run(*n.names, json(name), below, out, nullptr);
    if (const auto it = n.properties.find(name); it != n.properties.end()) {
      known = true;
      fits = run(*it->second, member, below, out, nullptr) && fits;
    }
    for (const auto& [expression, inner] : n.pattern_properties) {
      if (!expression.matches(name)) continue;
      known = true;
      fits = run(*inner, member, below, out, nullptr) && fits;
    }
    if (!known && n.additional != nullptr) {
      known = true;
      if (n.additional->verdict == false)
        fits = say(out, below, unknown(n, owner, name));
      else
        fits = run(*n.additional, member, below, out, nullptr) && fits;
    }
    if (known && set_.tracks_unevaluated) mine.names.insert(name);
    return fits;
  }

  static std::string unknown(const node& n, const json& owner, const std::string& name) {
    std::vector<std::string> free;
    std::string list;
    for (const auto& entry : n.properties) {
      if (!owner.contains(entry.first)) free.push_back(entry.first);
      if (list.size() < 200)
        list += (list.empty() ? "" : ", ") + entry.first;
      else if (list.back() != '.')
        list += " ...";
    }
    std::string message = "the property \"" + name.substr(0, 60) + "\" is not known here";
    if (const std::string near = nearest(name, free); !near.empty())
      return message + "; did you mean \"" + near + "\"?";
    return list.empty() ? message + "; none is" : message + "; known are: " + list;
  }

  bool array(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    if (!v.is_array()) return true;
    bool fits = within(n.items_count, v.size(), "items", at, out);
    if (!fits && out == nullptr) return false;
    if (n.unique && !distinct(v, at, out)) fits = false;
    for (std::size_t i = 0; i < v.size() && (fits || out != nullptr); ++i) {
      const node* rule = i < n.prefix.size() ? n.prefix[i] : n.items;
      if (rule == nullptr) break;
      fits = run(*rule, v[i], place{&at, nullptr, i}, out, nullptr) && fits;
    }
    mine.first_items = std::max(mine.first_items, std::min(n.prefix.size(), v.size()));
    if (n.items != nullptr) mine.all_items = true;
    return (n.contains == nullptr || contains(n, v, at, out, mine)) && fits;
  }

  static bool distinct(const json& v, const place& at, violations* out) {
    std::unordered_map<std::string, std::size_t> known;
    for (std::size_t i = 0; i < v.size(); ++i) {
      const auto [it, fresh] = known.emplace(canonical(v[i]), i);
      if (!fresh)
        return say(out, place{&at, nullptr, i},
                   "found " + show(v[i]) + " a second time (first at index " + std::to_string(it->second) +
                       "), expected distinct items");
    }
    return true;
  }

  bool contains(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < v.size(); ++i) {
      if (!run(*n.contains, v[i], place{&at, nullptr, i}, nullptr, nullptr)) continue;
      ++count;
      if (set_.tracks_unevaluated) mine.items.insert(i);
    }
    const limits_of limits{n.contains_count.least.value_or(1), n.contains_count.most};
    return within(limits, count, "items of the kind that is asked for", at, out);
  }

  bool in_place(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    bool fits = true;
    if (n.reference != nullptr) fits = run(*n.reference, v, at, out, &mine);
    if (n.dynamic_reference != nullptr) fits = run(*dynamic_target(n), v, at, out, &mine) && fits;
    for (const node* inner : n.all_of) {
      if (!fits && out == nullptr) return false;
      fits = run(*inner, v, at, out, &mine) && fits;
    }
    if (!n.any_of.empty()) fits = any_of(n, v, at, out, mine) && fits;
    if (!n.one_of.empty()) fits = one_of(n, v, at, out, mine) && fits;
    if (n.negated != nullptr && run(*n.negated, v, at, nullptr, nullptr))
      fits = say(out, at, "found " + show(v) + ", which is just what is not allowed here");
    return fits;
  }

  // The outermost resource on the way here that has a dynamic anchor of the name decides.
  const node* dynamic_target(const node& n) const {
    if (!n.dynamic_name.empty()) {
      for (const resource* r : scope_) {
        const auto it = r->dynamic_nodes.find(n.dynamic_name);
        if (it != r->dynamic_nodes.end()) return it->second;
      }
    }
    return n.dynamic_reference;
  }

  bool any_of(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    bool fits = false;
    for (const node* inner : n.any_of) {
      fits = run(*inner, v, at, nullptr, &mine) || fits;
      if (fits && !set_.tracks_unevaluated) return true;
    }
    return fits || explain(n.any_of, v, at, out);
  }

  bool one_of(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    std::vector<std::size_t> fitting;
    for (std::size_t i = 0; i < n.one_of.size(); ++i)
      if (run(*n.one_of[i], v, at, nullptr, &mine)) fitting.push_back(i);
    if (fitting.size() == 1) return true;
    if (fitting.empty()) return explain(n.one_of, v, at, out);
    return say(out, at,
               "found " + show(v) + ", which fits alternatives " + std::to_string(fitting[0] + 1) + " and " +
                   std::to_string(fitting[1] + 1) + ", expected exactly one");
  }

  // The alternative that was meant is the one that went wrong deepest inside; where none got inside, all are named.
  bool explain(const std::vector<const node*>& alternatives, const json& v, const place& at, violations* out) {
    if (out == nullptr) return false;
    const std::string here = at.text();
    violations best;
    std::size_t inside = 0;
    std::string reasons;
    for (std::size_t i = 0; i < alternatives.size(); ++i) {
      violations found;
      run(*alternatives[i], v, at, &found, nullptr);
      if (found.empty()) continue;
      const bool deeper = std::all_of(found.begin(), found.end(), [&](const auto& one) { return one.path != here; });
      const bool typed = v.is_object() && alternatives[i]->types == type_object;
      if (deeper || typed) {
        if (++inside == 1 || found.size() < best.size()) best = found;
      }
      if (reasons.size() < 400) add_reason(reasons, found.front().message);
    }
    if (inside > 0) {
      for (auto& one : best)
        if (out->size() < most_collected) out->push_back(std::move(one));
      return false;
    }
    const bool several = reasons.find("; or: ") != std::string::npos;
    return say(out, at, several ? "none of the alternatives fits: " + reasons : reasons);
  }

  // "found 900, expected 0" and "found 900, expected at most 8" are one sentence.
  static void add_reason(std::string& reasons, const std::string& next) {
    if (reasons.empty()) {
      reasons = next;
      return;
    }
    constexpr std::string_view hinge = ", expected ";
    const std::size_t at = next.find(hinge);
    const bool same = at != std::string::npos && reasons.find("; ") == std::string::npos &&
                      reasons.starts_with(std::string_view(next).substr(0, at + hinge.size()));
    reasons += same ? " or " + next.substr(at + hinge.size()) : "; or: " + next;
  }

  bool conditional(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    bool fits = true;
    if (n.condition != nullptr) {
      const bool holds = run(*n.condition, v, at, nullptr, &mine);
      const node* branch = holds ? n.then : n.otherwise;
      if (branch != nullptr) fits = run(*branch, v, at, out, &mine);
    }
    if (!v.is_object()) return fits;
    for (const auto& [name, inner] : n.dependent_schemas)
      if (v.contains(name)) fits = run(*inner, v, at, out, &mine) && fits;
    return fits;
  }

  bool unevaluated(const node& n, const json& v, const place& at, violations* out, marks& mine) {
    bool fits = true;
    if (n.unevaluated_properties != nullptr && v.is_object() && !mine.all_names) {
      for (const auto& [name, member] : v.items()) {
        if (mine.names.count(name) != 0) continue;
        const place below{&at, &name, 0};
        if (n.unevaluated_properties->verdict == false)
          fits = say(out, below, unknown(n, v, name));
        else
          fits = run(*n.unevaluated_properties, member, below, out, nullptr) && fits;
      }
      mine.all_names = true;
    }
    if (n.unevaluated_items != nullptr && v.is_array() && !mine.all_items) {
      for (std::size_t i = mine.first_items; i < v.size(); ++i)
        if (mine.items.count(i) == 0)
          fits = run(*n.unevaluated_items, v[i], place{&at, nullptr, i}, out, nullptr) && fits;
      mine.all_items = true;
    }
    return fits;
  }

  const document_set& set_;
  std::vector<const resource*> scope_;
  std::vector<std::pair<const node*, const json*>> active_;
};

}  // namespace

std::vector<json_schema::violation> evaluate(const document_set& set, const node& root, const json& instance) {
  violations out;
  evaluator e(set);
  // Most documents fit: the first run collects nothing.
  if (e.run(root, instance, place{}, nullptr, nullptr)) return out;
  e.run(root, instance, place{}, &out, nullptr);
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return pointer_less(a.path, b.path); });
  const auto same = [](const auto& a, const auto& b) { return a.path == b.path && a.message == b.message; };
  out.erase(std::unique(out.begin(), out.end(), same), out.end());
  if (out.size() > most_reported) out.resize(most_reported);
  return out;
}

}  // namespace caged::schema
