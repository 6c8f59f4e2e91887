#include "core/operation/families.hpp"

namespace caged::operation {

void add_all_operations(services& s) {
  add_sandbox_operations(s);
  add_exec_operations(s);
  add_process_operations(s);
  add_terminal_operations(s);
  add_file_operations(s);
  add_event_operations(s);
  add_network_operations(s);
  add_snapshot_operations(s);
  add_template_operations(s);
  add_host_operations(s);
  add_policy_operations(s);
  add_secret_operations(s);
  add_billing_operations(s);
  add_ingest_operations(s);
  add_alert_operations(s);
}

}  // namespace caged::operation
