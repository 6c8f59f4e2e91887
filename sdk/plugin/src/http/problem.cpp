#include <caged/http_front.hpp>

#include <boost/beast/http/status.hpp>

namespace caged::http {

std::string_view status_phrase(int status) noexcept {
  if (status == 499) return "Client Closed Request";
  const auto known = boost::beast::http::int_to_status(static_cast<unsigned>(status));
  if (known == boost::beast::http::status::unknown) return "Unknown";
  const auto phrase = boost::beast::http::obsolete_reason(known);
  return {phrase.data(), phrase.size()};
}

json problem_document(const error& e, int status) {
  const int code = status == 0 ? http_status(e.code) : status;
  json reason{{"code", e.reason.empty() ? std::string(to_string(e.code)) : e.reason},
              {"message", e.message},
              {"action", e.action}};
  if (!e.path.empty()) reason["path"] = e.path;
  return {{"type", "urn:caged:error:" + reason["code"].get<std::string>()},
          {"title", std::string(status_phrase(code))},
          {"status", code},
          {"detail", e.message},
          {"reason", std::move(reason)}};
}

response problem_response(const error& e, int status) {
  response r;
  r.status = status == 0 ? http_status(e.code) : status;
  r.fields = {{"Content-Type", "application/problem+json"}, {"Cache-Control", "no-store"}};
  r.body = to_text(problem_document(e, status));
  return r;
}

}  // namespace caged::http
