#include "box.hpp"

namespace caged::vmm::jail {

json box_record::to_json() const {
  json below = json::array();
  for (const auto& l : layers) below.push_back({{"source", l.source}, {"target", l.target}, {"folder", l.folder}});
  return {{"version", 1},
          {"id", id},
          {"phase", phase},
          {"process", process.to_json()},
          {"slot", slot},
          {"cgroup", cgroup.to_json()},
          {"layers", below},
          {"etc", etc_folder},
          {"disk_base", disk_base},
          {"walls", walls},
          {"missing", missing},
          {"owners_mapped", owners_mapped},
          {"disk_limit", disk_limit},
          {"witness", witness}};
}

result<box_record> box_record::parse(const std::string& text) {
  auto value = parse_json(text);
  if (!value) return value.error();
  try {
    if (value->at("version").get<int>() != 1)
      return fail(errc::unsupported, "unknown_record", "the record of a sandbox has an unknown version",
                  "Use the Caged that made it.");
    box_record r;
    r.id = value->at("id").get<std::string>();
    r.phase = value->at("phase").get<std::string>();
    r.process = process_identity::from_json(value->at("process"));
    r.slot = value->at("slot").get<int>();
    r.cgroup = box_cgroup::from_json(value->at("cgroup"));
    for (const auto& l : value->at("layers")) {
      r.layers.push_back(
          {l.at("source").get<std::string>(), l.at("target").get<std::string>(), l.at("folder").get<std::string>()});
    }
    r.etc_folder = value->at("etc").get<std::string>();
    r.disk_base = value->value("disk_base", 0u);
    r.walls = value->at("walls").get<std::vector<std::string>>();
    r.missing = value->at("missing").get<std::vector<std::string>>();
    r.owners_mapped = value->at("owners_mapped").get<bool>();
    r.disk_limit = value->value("disk_limit", std::uint64_t{0});
    r.witness = value->at("witness").get<std::uint64_t>();
    return r;
  } catch (const json::exception& e) {
    return fail(errc::invalid_argument, "malformed_record",
                std::string("the record of a sandbox cannot be read: ") + e.what());
  }
}

box_info describe_box(const box_record& record) {
  box_info info;
  info.id = record.id;
  info.state = record.phase == "paused" ? box_state::paused : box_state::running;
  info.pid = record.process.pid;
  info.walls = record.walls;
  info.missing = record.missing;
  info.detail = {{"backend", "jail"},
                 {"rootless", record.slot < 0},
                 {"idmapped", record.owners_mapped},
                 {"cgroup", record.cgroup.to_json()}};
  return info;
}

}  // namespace caged::vmm::jail
