// What a session showed, as a recording: from its events to text on a terminal, asciicast and HTML.
#pragma once

#include <caged/json.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace caged::cli {

// A piece of what a terminal showed, `at` microseconds after the session's first event.
struct frame {
  std::int64_t at = 0;
  std::string text;  // bytes for a terminal
};

struct recording {
  std::string session;
  std::int64_t started_us = 0;
  int cols = 80, rows = 24;
  std::vector<frame> frames;

  // Takes the next event. Terminal output is what it was; a command without a terminal is told as a line of its own.
  void add(const json& event);
};

// Pauses longer than `longest` become that long; 0 = as they were.
void skip_idle(recording& r, std::int64_t longest_us);

// asciicast v2: a header and one line a frame.
std::string asciicast(const recording& r);
// One self-contained page that plays it: no script or style from elsewhere.
std::string html_page(const recording& r);

}  // namespace caged::cli
