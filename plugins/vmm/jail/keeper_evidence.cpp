// What is seen of boxes from outside, and who is told.
#include "keeper.hpp"

namespace caged::vmm::jail {

result<void> keeper::open_evidence() {
  auto* sink = host_.service<event_sink>();
  execs_.open(sink);
  files_.open(options_.observe_files, sink, &execs_, [this](std::string what) { host_.log(log_level::warn, what); });
  if (!options_.observe_execs) return {};
  witness_link::handlers told;
  told.packet = [this](std::string_view records) { execs_.packet(records); };
  told.tick = [this] { execs_.tick(); };
  told.lost = [this](std::string what) { host_.log(log_level::warn, what); };
  witness_ = std::make_unique<witness_link>(options_.launcher, std::move(told));
  unique_fd folder(::open(options_.data.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return errno_error(errno, "open the folder " + options_.data.string());
  return witness_->open(folder.get());
}

void keeper::close_evidence() {
  files_.close();
  if (witness_) witness_->close();
}

result<void> keeper::begin_evidence(box& b, unique_fd listener) {
  if (!listener) b.record.witness = 0;  // a missing wall that was accepted, or not wanted
  watch_files(b);
  if (!listener) return {};
  // A box that is made ahead has no name yet; the first one executed in it is the agent, which is no fact.
  if (b.record.phase != "ahead") name_evidence(b);
  return witness_->add(b.record.witness, std::move(listener));
}

void keeper::name_evidence(const box& b) {
  if (b.record.witness == 0) return;
  const bool range = b.record.slot >= 0;
  const auto root = range ? options_.uid_base + static_cast<std::uint32_t>(b.record.slot) * 65536u : ::geteuid();
  execs_.add(b.record.witness, b.id, root, range ? 65536u : 1u);
}

void keeper::watch_files(const box& b) {
  auto fs = open_fs(b.id);
  if (!fs) return;
  file_evidence::watched w;
  w.first_pid = b.record.process.pid;
  w.token = b.record.witness;
  if (b.record.phase != "ahead") w.id = b.id;
  w.fs = fs->get();
  w.layers = b.record.layers;
  w.start = b.mark;
  w.cpu = [group = b.record.cgroup] { return group.cpu(); };
  files_.add(std::move(w));
}

void keeper::end_evidence(const box_record& record) {
  files_.remove(record.process.pid);
  if (!witness_ || record.witness == 0) return;
  witness_->drop(record.witness);
  execs_.remove(record.witness);
}

// What happened to files while no host ran is in changes(), not in facts: it would be told twice.
bool keeper::resume_evidence(box& b) {
  if (b.record.witness != 0 && (!witness_ || !witness_->take_over(b.record.witness))) return false;
  name_evidence(b);
  watch_files(b);
  if (auto fs = open_fs(b.id)) files_.name(b.record.process.pid, b.id, to_manifest(scan(fs->get(), b.record.layers)));
  files_.set_start(b.record.process.pid, b.mark);
  return true;
}

}  // namespace caged::vmm::jail
