#include "page.hpp"

namespace caged::transport_preview {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

http::response page(int status, const std::string& title, const std::string& inside) {
  http::response r;
  r.status = status;
  r.fields = {{"Content-Type", "text/html; charset=utf-8"},
              {"Cache-Control", "no-store"},
              {"Content-Security-Policy",
               "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors *"}};
  r.body =
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>" +
      escaped(title) +
      "</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em}"
      "input,button{font:inherit;padding:.4em .6em}</style><h1>" +
      escaped(title) + "</h1>" + inside + "</html>\n";
  return r;
}

}  // namespace

bool wants_page(const http::request& head) { return head.field("accept").find("text/html") != std::string_view::npos; }

http::response failure_answer(const http::request& head, const error& e, int status) {
  http::response r = wants_page(head)
                         ? page(status, std::to_string(status) + " " + std::string(http::status_phrase(status)),
                                "<p>" + escaped(e.message) + ".</p><p>" + escaped(e.action) + "</p>")
                         : http::problem_response(e, status);
  r.fields.emplace_back("X-Caged-Reason", e.reason);
  return r;
}

http::response password_question(const http::request& head, attempt a) {
  const std::string what = a == attempt::wrong ? "the password is not right" : "this preview asks for a password";
  if (!wants_page(head))
    return failure_answer(head,
                          fail(errc::unauthenticated, a == attempt::wrong ? "wrong_password" : "password_needed", what,
                               "Send it as X-Preview-Password."),
                          401);
  return page(401, "Password",
              "<p>" + escaped(what) +
                  ".</p><form method=\"post\" action=\"/__caged/password\"><input type=\"password\" name=\"password\" "
                  "autofocus required> "
                  "<button>Open</button></form>");
}

}  // namespace caged::transport_preview
