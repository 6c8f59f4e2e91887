// Sends one e-mail by SMTP: a blocking client that speaks TLS and takes nothing of a message for a header.
#pragma once

#include <caged/result.hpp>
#include <chrono>
#include <string>

namespace caged::judgement {

struct mail_server {
  std::string address;  // NAME:PORT; "" = there is none
  std::string from;
  std::string user, password_file;  // AUTH PLAIN, never without TLS unless the server is on this machine
  std::string tls = "starttls";     // none, starttls, tls; certificates are checked against the system's
};

struct mail {
  std::string to, subject, text;
  std::string id;  // becomes the Message-ID: the same in every attempt
};

// "name@host" without anything that could end a line or an address.
bool is_mail_address(const std::string& text);
// The message as it goes over the wire: headers of ASCII only, the text in base64. Pure.
std::string mail_message(const mail_server& server, const mail& m);
// Blocks, each step at most 10 s.
result<void> send_mail(const mail_server& server, const mail& m);

}  // namespace caged::judgement
