#include <core/policy/lua_event.hpp>

namespace caged::policy {
namespace {

enum envelope : int { type, id, sequence, session_id, sandbox_id, time, duration, data, truncated, envelope_count };
constexpr const char* envelope_names[envelope_count] = {"type", "id",       "sequence", "session_id", "sandbox_id",
                                                        "time", "duration", "data",     "truncated"};

int refuse_change(lua_State* state) {
  return luaL_error(state, "an event cannot be changed (assignment to '%s')", printable(state, 2).c_str());
}

int no_text(lua_State* state) {
  lua_pushliteral(state, "event value");
  return 1;
}

int next_pair(lua_State* state) {
  charge(state, 1);
  lua_settop(state, 2);
  if (lua_next(state, 1) != 0) return 2;
  lua_pushnil(state);
  return 1;
}

}  // namespace

bool has_oversized_string(const json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().size() > max_event_string;
  if (!value.is_structured()) return false;
  for (const auto& item : value) {
    if (has_oversized_string(item)) return true;
  }
  return false;
}

void event_views::prepare(lua_State* state) {
  const auto make_metatable = [&](lua_CFunction index) {
    lua_createtable(state, 0, 6);
    const luaL_Reg methods[] = {{"__index", index}, {"__newindex", refuse_change}, {"__len", length},
                                {"__pairs", pairs}, {"__tostring", no_text},      {nullptr, nullptr}};
    luaL_setfuncs(state, methods, 0);
    lua_pushboolean(state, 0);
    lua_setfield(state, -2, "__metatable");
  };
  const auto make_root = [&](lua_CFunction index, view*& root) {
    root = new (lua_newuserdatauv(state, sizeof(view), 0)) view{nullptr, this, 0};
    make_metatable(index);
    lua_setmetatable(state, -2);
    return luaL_ref(state, LUA_REGISTRYINDEX);
  };
  event_ref_ = make_root(index_event, event_root_);
  session_ref_ = make_root(index_value, session_root_);
  make_metatable(index_value);
  view_metatable_ = luaL_ref(state, LUA_REGISTRYINDEX);
  for (int i = 0; i < envelope_count; ++i) {
    names_[i] = lua_pushstring(state, envelope_names[i]);
    luaL_ref(state, LUA_REGISTRYINDEX);  // kept alive, so the address stays the one of every equal short string
  }
}

void event_views::open(const event& e, const json& session) noexcept {
  event_ = &e;
  ++generation_;
  *event_root_ = {&e.data, this, generation_};
  *session_root_ = {&session, this, generation_};
}

void event_views::close() noexcept {
  event_ = nullptr;
  ++generation_;
}

void event_views::push_event(lua_State* state) const { lua_rawgeti(state, LUA_REGISTRYINDEX, event_ref_); }
void event_views::push_session(lua_State* state) const { lua_rawgeti(state, LUA_REGISTRYINDEX, session_ref_); }

event_views::view& event_views::live_view(lua_State* state) {
  auto& v = *static_cast<view*>(lua_touserdata(state, 1));
  if (v.generation != v.owner->generation_) {
    luaL_error(state, "this event has ended: copy what shall be kept into ctx.state");
  }
  return v;
}

void event_views::push_value(lua_State* state, const json& value) {
  switch (value.type()) {
    case json::value_t::string: {
      const auto& text = value.get_ref<const std::string&>();
      if (text.size() <= max_event_string) {
        lua_pushlstring(state, text.data(), text.size());
        return;
      }
      const std::string ends =
          text.substr(0, max_event_string / 2) + "\n" + text.substr(text.size() - max_event_string / 2);
      lua_pushlstring(state, ends.data(), ends.size());
      return;
    }
    case json::value_t::array:
    case json::value_t::object: {
      new (lua_newuserdatauv(state, sizeof(view), 0)) view{&value, this, generation_};
      lua_rawgeti(state, LUA_REGISTRYINDEX, view_metatable_);
      lua_setmetatable(state, -2);
      return;
    }
    case json::value_t::boolean:
      lua_pushboolean(state, value.get<bool>());
      return;
    case json::value_t::number_integer:
      lua_pushinteger(state, value.get<std::int64_t>());
      return;
    case json::value_t::number_unsigned:
      lua_pushinteger(state, static_cast<lua_Integer>(value.get<std::uint64_t>()));
      return;
    case json::value_t::number_float:
      lua_pushnumber(state, value.get<double>());
      return;
    default:
      lua_pushnil(state);
  }
}

bool event_views::push_envelope(lua_State* state, const char* key) {
  int which = 0;
  while (which < envelope_count && names_[which] != key) ++which;
  switch (which) {
    case type:
      lua_pushlstring(state, event_->type.data(), event_->type.size());
      return true;
    case id:
      lua_pushinteger(state, static_cast<lua_Integer>(event_->id));
      return true;
    case sequence:
      lua_pushinteger(state, static_cast<lua_Integer>(event_->sequence));
      return true;
    case session_id:
      lua_pushlstring(state, event_->session_id.data(), event_->session_id.size());
      return true;
    case sandbox_id:
      lua_pushlstring(state, event_->sandbox_id.data(), event_->sandbox_id.size());
      return true;
    case time:
      lua_pushnumber(state, static_cast<double>(event_->time_us) / 1e6);
      return true;
    case duration:
      lua_pushnumber(state, static_cast<double>(event_->duration_us) / 1e6);
      return true;
    case data:
      push_value(state, event_->data);
      return true;
    case truncated:
      lua_pushboolean(state, has_oversized_string(event_->data));
      return true;
    default:
      return false;
  }
}

int event_views::index_event(lua_State* state) {
  view& v = live_view(state);
  if (lua_type(state, 2) != LUA_TSTRING) {
    lua_pushnil(state);
    return 1;
  }
  if (v.owner->push_envelope(state, lua_tostring(state, 2))) return 1;
  return index_value(state);
}

int event_views::index_value(lua_State* state) {
  view& v = live_view(state);
  const json& node = *v.node;
  if (node.is_object() && lua_type(state, 2) == LUA_TSTRING) {
    std::size_t size = 0;
    const char* key = lua_tolstring(state, 2, &size);
    const auto found = node.find(std::string_view(key, size));
    if (found != node.end()) {
      v.owner->push_value(state, *found);
      return 1;
    }
  } else if (node.is_array() && lua_isinteger(state, 2)) {
    const lua_Integer place = lua_tointeger(state, 2);
    if (place >= 1 && static_cast<std::size_t>(place) <= node.size()) {
      v.owner->push_value(state, node[static_cast<std::size_t>(place - 1)]);
      return 1;
    }
  }
  lua_pushnil(state);
  return 1;
}

int event_views::length(lua_State* state) {
  const view& v = live_view(state);
  lua_pushinteger(state, v.node->is_array() ? static_cast<lua_Integer>(v.node->size()) : 0);
  return 1;
}

int event_views::pairs(lua_State* state) {
  view& v = live_view(state);
  charge(state, static_cast<std::int64_t>(v.node->size()) * 4 + 1);
  lua_pushcfunction(state, next_pair);
  lua_newtable(state);
  if (v.node->is_object()) {
    for (const auto& [key, item] : v.node->items()) {
      lua_pushlstring(state, key.data(), key.size());
      v.owner->push_value(state, item);
      lua_rawset(state, -3);
    }
  } else {
    lua_Integer place = 0;
    for (const auto& item : *v.node) {
      v.owner->push_value(state, item);
      lua_rawseti(state, -2, ++place);
    }
  }
  lua_pushnil(state);
  return 3;
}

}  // namespace caged::policy
