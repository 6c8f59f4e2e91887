#include <core/policy/lua_json.hpp>

#include <cmath>
#include <core/policy/lua_state.hpp>

namespace caged::policy {
namespace {

error refuse(std::string message, const std::string& path) {
  return fail(errc::invalid_argument, "policy_value", std::move(message),
              "keep plain values: strings, finite numbers, booleans, sequences, tables with string keys", path);
}

class reader {
 public:
  reader(lua_State* state, const json_limits& limits) : state_(state), limits_(limits) {}

  result<json> read(int index, std::size_t depth, std::string path) {
    index = lua_absindex(state_, index);
    if (depth > limits_.depth) return refuse("tables are nested deeper than " + std::to_string(limits_.depth), path);
    switch (lua_type(state_, index)) {
      case LUA_TNIL:
        return json(nullptr);
      case LUA_TBOOLEAN:
        return take(6, json(lua_toboolean(state_, index) != 0), path);
      case LUA_TNUMBER:
        return number(index, path);
      case LUA_TSTRING:
        return text(index, path);
      case LUA_TTABLE:
        return table(index, depth, path);
      default:
        return refuse("found a " + std::string(luaL_typename(state_, index)) + " where plain values are expected",
                      path);
    }
  }

 private:
  result<json> take(std::size_t bytes, json value, const std::string& path) {
    if ((used_ += bytes) > limits_.bytes) {
      return refuse("the value is larger than " + std::to_string(limits_.bytes) + " bytes", path);
    }
    return value;
  }

  result<json> number(int index, const std::string& path) {
    if (lua_isinteger(state_, index)) return take(10, json(lua_tointeger(state_, index)), path);
    const double value = lua_tonumber(state_, index);
    if (!std::isfinite(value)) return refuse("found a number that is not finite", path);
    return take(10, json(value), path);
  }

  result<json> text(int index, const std::string& path) {
    std::size_t size = 0;
    const char* bytes = lua_tolstring(state_, index, &size);
    if (size > limits_.bytes) return refuse("a string is longer than " + std::to_string(limits_.bytes), path);
    return take(size + 3, json(std::string(bytes, size)), path);
  }

  result<json> table(int index, std::size_t depth, const std::string& path) {
    if (!lua_checkstack(state_, 8)) return refuse("tables are nested too deep", path);
    if (lua_getmetatable(state_, index)) {
      lua_pop(state_, 1);
      return refuse("found a read-only table of the host where a plain one is expected: copy it", path);
    }
    const auto length = static_cast<lua_Integer>(lua_rawlen(state_, index));
    json out = length > 0 ? json::array() : json::object();
    lua_Integer seen = 0;
    const int top = lua_gettop(state_);
    lua_pushnil(state_);
    while (lua_next(state_, index) != 0) {
      ++seen;
      auto done = length > 0 ? element(out, length, depth, path) : member(out, depth, path);
      if (!done) {
        lua_settop(state_, top);
        return done.error();
      }
      lua_pop(state_, 1);
    }
    if (length > 0 && seen != length) return refuse("a sequence has gaps", path);
    return out;
  }

  // Key and value are on the stack. Keys of a sequence come in order here or the table is refused by its count.
  result<void> element(json& out, lua_Integer length, std::size_t depth, const std::string& path) {
    if (!lua_isinteger(state_, -2) || lua_tointeger(state_, -2) < 1 || lua_tointeger(state_, -2) > length) {
      return refuse("a table mixes a sequence with other keys", path);
    }
    const auto place = static_cast<std::size_t>(lua_tointeger(state_, -2) - 1);
    auto value = read(-1, depth + 1, path + "/" + std::to_string(place));
    if (!value) return value.error();
    if (out.size() <= place) out.get_ref<json::array_t&>().resize(static_cast<std::size_t>(length));
    out[place] = std::move(*value);
    return {};
  }

  result<void> member(json& out, std::size_t depth, const std::string& path) {
    if (lua_type(state_, -2) != LUA_TSTRING) {
      return refuse("found a key that is a " + std::string(luaL_typename(state_, -2)) + ": use tostring()", path);
    }
    std::size_t size = 0;
    const char* bytes = lua_tolstring(state_, -2, &size);
    std::string key(bytes, size);
    if ((used_ += size + 4) > limits_.bytes) {
      return refuse("the value is larger than " + std::to_string(limits_.bytes) + " bytes", path);
    }
    auto value = read(-1, depth + 1, path + "/" + printable(key, 64));
    if (!value) return value.error();
    out[std::move(key)] = std::move(*value);
    return {};
  }

  lua_State* state_;
  json_limits limits_;
  std::size_t used_ = 0;
};

}  // namespace

void push_json(lua_State* state, const json& value) {
  luaL_checkstack(state, 6, "JSON is nested too deep");
  switch (value.type()) {
    case json::value_t::boolean:
      lua_pushboolean(state, value.get<bool>());
      break;
    case json::value_t::number_integer:
      lua_pushinteger(state, value.get<std::int64_t>());
      break;
    case json::value_t::number_unsigned:
      if (value.get<std::uint64_t>() <= static_cast<std::uint64_t>(LUA_MAXINTEGER)) {
        lua_pushinteger(state, value.get<std::int64_t>());
      } else {
        lua_pushnumber(state, static_cast<double>(value.get<std::uint64_t>()));
      }
      break;
    case json::value_t::number_float:
      lua_pushnumber(state, value.get<double>());
      break;
    case json::value_t::string: {
      const auto& text = value.get_ref<const std::string&>();
      lua_pushlstring(state, text.data(), text.size());
      break;
    }
    case json::value_t::array: {
      lua_createtable(state, static_cast<int>(std::min<std::size_t>(value.size(), 1u << 20)), 0);
      lua_Integer i = 0;
      for (const auto& item : value) {
        push_json(state, item);
        lua_rawseti(state, -2, ++i);
      }
      break;
    }
    case json::value_t::object:
      lua_createtable(state, 0, static_cast<int>(std::min<std::size_t>(value.size(), 1u << 20)));
      for (const auto& [key, item] : value.items()) {
        lua_pushlstring(state, key.data(), key.size());
        push_json(state, item);
        lua_rawset(state, -3);
      }
      break;
    default:
      lua_pushnil(state);
  }
}

result<json> to_json(lua_State* state, int index, const json_limits& limits) {
  return reader(state, limits).read(index, 1, "");
}

}  // namespace caged::policy
