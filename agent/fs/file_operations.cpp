#include "fs/file_operations.hpp"

#include <algorithm>

#include "fs/change.hpp"
#include "fs/entry.hpp"
#include "fs/search.hpp"
#include "fs/transfer.hpp"
#include "fs/watch_channel.hpp"
#include "server.hpp"

namespace caged::agent {
namespace {

using asked_ptr = std::shared_ptr<call>;

void file_stat(server& agent, const asked_ptr& asked) {
  asked->answer(stat_entry(agent.files(), arguments(asked->args())));
}
void file_read(server& agent, const asked_ptr& asked) { start_download(agent.files(), asked); }
void file_write(server& agent, const asked_ptr& asked) { start_upload(agent.files(), asked); }
void file_mkdir(server& agent, const asked_ptr& asked) {
  asked->answer(make_folder(agent.files(), arguments(asked->args())));
}
void file_chmod(server& agent, const asked_ptr& asked) {
  asked->answer(change_mode(agent.files(), arguments(asked->args())));
}
void file_symlink(server& agent, const asked_ptr& asked) {
  asked->answer(make_symlink(agent.files(), arguments(asked->args())));
}
void file_watch(server& agent, const asked_ptr& asked) { start_watch(agent.events(), agent.files(), asked); }

using job = json (*)(const tree&, const arguments&, const std::atomic<bool>&);

// What may take long runs beside the loop.
template <job Work>
void as_job(server& agent, const asked_ptr& asked) {
  agent.answer_from_job(
      asked, [&files = agent.files()](const call& c) { return Work(files, arguments(c.args()), c.cancelled()); });
}

struct row {
  std::string_view name;
  void (*run)(server&, const asked_ptr&);
};

constexpr row table[] = {
    {"file.stat", file_stat},
    {"file.list", as_job<list_entries>},
    {"file.read", file_read},
    {"file.write", file_write},
    {"file.mkdir", file_mkdir},
    {"file.move", as_job<move_entry>},
    {"file.copy", as_job<copy_entry>},
    {"file.remove", as_job<remove_entry>},
    {"file.chmod", file_chmod},
    {"file.symlink", file_symlink},
    {"file.watch", file_watch},
    {"file.glob", as_job<glob_files>},
    {"file.search", as_job<search_files>},
};

}  // namespace

bool dispatch_file_operation(server& agent, const std::shared_ptr<call>& asked) {
  const auto it =
      std::find_if(std::begin(table), std::end(table), [&](const row& r) { return r.name == asked->operation(); });
  if (it == std::end(table)) return false;
  it->run(agent, asked);
  return true;
}

}  // namespace caged::agent
