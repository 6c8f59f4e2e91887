#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "process.hpp"
#include "sandbox_bench.hpp"

namespace caged::bench {

namespace {

constexpr std::size_t mib = 1024 * 1024;

double rate(std::size_t bytes, double us) { return static_cast<double>(bytes) / mib / (us / 1e6); }

// Reads a terminal WebSocket until the command's exit; answers the bytes of output.
std::size_t read_terminal(http::client& c, const std::string& target) {
  auto socket = c.websocket(target, "terminal").value();
  std::size_t total = 0;
  for (;;) {
    auto next = socket.read(std::chrono::seconds{30}).value();
    if (!next) break;
    if (!next->text) {
      total += next->data.size();
      continue;
    }
    const json message = json::parse(next->data);
    const auto type = message.at("type").get<std::string>();
    if (type == "exit") break;
    if (type == "error") throw std::runtime_error("the terminal says " + next->data);
    if (type == "output") total += message.at("data").get_ref<const std::string&>().size();
  }
  socket.close();
  return total;
}

}  // namespace

void measure_terminal(server& s, const settings& how, std::vector<comparison>& out) {
  http::client c = s.connect();
  sandbox box(c);
  const std::size_t bytes = how.megabytes * mib / 4;
  const std::string command = "head -c " + std::to_string(bytes) + " /dev/zero | tr '\\0' x";
  comparison line;
  line.name = "terminal";
  line.what = "output of a PTY in the sandbox to a WebSocket client (binary=true)";
  line.ours.unit = line.peer.unit = "MiB/s";
  line.peer_name = "the same command on a local PTY";
  const std::string target =
      box.route("/terminal?binary=true&rows=24&cols=80&command=") + http::encode_component(command);
  const auto measured = [&](const std::function<std::size_t()>& run) {
    std::size_t got = 0;
    const double us = time_us([&] { got = run(); });
    if (got < bytes) throw std::runtime_error("got " + std::to_string(got) + " bytes of " + std::to_string(bytes));
    return rate(got, us);
  };
  for (int round = 0; round < how.rounds; ++round) {
    line.ours.values.push_back(measured([&] { return read_terminal(c, target); }));
    line.peer.values.push_back(measured([&] { return run_on_terminal(command); }));
  }
  out.push_back(line);
}

namespace {

void upload(http::client& c, const std::string& target, std::size_t bytes) {
  http::client_request request;
  request.method = "PUT";
  request.target = target;
  request.fields.emplace_back("Content-Type", "application/octet-stream");
  request.body_size = bytes;
  request.body_source = [left = bytes]() mutable -> result<std::string> {
    const std::size_t piece = std::min<std::size_t>(left, mib);
    left -= piece;
    return std::string(piece, 'x');
  };
  const auto answer = c.request(std::move(request)).value();
  if (!answer.ok()) throw bad_result(answer.failure());
}

std::size_t download(http::client& c, const std::string& target) {
  http::client_request request;
  request.target = target;
  auto stream = c.open(std::move(request)).value();
  if (!stream.head().ok())
    throw std::runtime_error("status " + std::to_string(stream.head().status) + " for " + target);
  std::size_t total = 0;
  for (;;) {
    const std::string piece = stream.read().value();
    if (piece.empty()) return total;
    total += piece.size();
  }
}

void write_local(const std::filesystem::path& path, std::size_t bytes) {
  std::ofstream out(path, std::ios::binary);
  const std::string piece(mib, 'x');
  for (std::size_t done = 0; done < bytes; done += mib) out.write(piece.data(), static_cast<std::streamsize>(mib));
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

std::size_t read_local(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string piece(mib, '\0');
  std::size_t total = 0;
  while (in.read(piece.data(), static_cast<std::streamsize>(mib)) || in.gcount() > 0) {
    total += static_cast<std::size_t>(in.gcount());
  }
  return total;
}

}  // namespace

void measure_files(server& s, const settings& how, std::vector<comparison>& out) {
  http::client c = s.connect();
  sandbox box(c);
  const std::size_t bytes = how.megabytes * mib;
  const std::string target = box.route("/files/content?path=/workspace/big");
  const auto local = s.data() / "big";
  comparison put;
  put.name = "file write";
  put.what = "PUT …/files/content, one file of " + std::to_string(how.megabytes) + " MiB";
  put.ours.unit = put.peer.unit = "MiB/s";
  put.peer_name = "write(2) of the same on the host";
  comparison get = put;
  get.name = "file read";
  get.what = "GET …/files/content of it";
  get.peer_name = "read(2) of the same on the host";
  for (int round = 0; round < how.rounds; ++round) {
    put.ours.values.push_back(rate(bytes, time_us([&] { upload(c, target, bytes); })));
    put.peer.values.push_back(rate(bytes, time_us([&] { write_local(local, bytes); })));
    std::size_t got = 0;
    get.ours.values.push_back(rate(bytes, time_us([&] { got = download(c, target); })));
    if (got != bytes)
      throw std::runtime_error("read back " + std::to_string(got) + " bytes of " + std::to_string(bytes));
    get.peer.values.push_back(rate(bytes, time_us([&] { got = read_local(local); })));
    if (got != bytes) throw std::runtime_error("the host's copy is " + std::to_string(got) + " bytes");
  }
  std::filesystem::remove(local);
  out.push_back(put);
  out.push_back(get);
}

}  // namespace caged::bench
