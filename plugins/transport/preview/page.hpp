// What a preview says itself: errors and the question for a password, as a page for browsers, as JSON for programs.
#pragma once

#include <caged/http_front.hpp>

namespace caged::transport_preview {

// Whether a person's browser asks.
bool wants_page(const http::request& head);
http::response failure_answer(const http::request& head, const error& e, int status);
// 401; `wrong`: a password was given and is not right.
enum class attempt : std::uint8_t { unset = 0, none, wrong };
http::response password_question(const http::request& head, attempt a);

}  // namespace caged::transport_preview
