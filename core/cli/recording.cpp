#include <core/cli/recording.hpp>

#include <caged/base64.hpp>
#include <core/base/time.hpp>
#include <core/cli/render.hpp>

namespace caged::cli {
namespace {

// A command as it would have been typed.
std::string typed(const json& data) {
  if (data.contains("command") && data["command"].is_string()) return data["command"].get<std::string>();
  std::string text;
  for (const json& word : data.value("argv", json::array())) {
    if (!word.is_string()) continue;
    const std::string& w = word.get_ref<const std::string&>();
    const bool plain = !w.empty() && w.find_first_of(" \t\n'\"\\$&|;<>()*?`!#~") == std::string::npos;
    text += (text.empty() ? "" : " ") + (plain ? w : "'" + w + "'");
  }
  return text;
}

std::string note(const std::string& type, const json& data) {
  if (type == "command" && data.value("source", "") != "exec" && !data.value("tty", false)) {
    if (data.value("phase", "") == "started") return "\x1b[1m$ " + printable(typed(data)) + "\x1b[0m\r\n";
    if (data.value("phase", "") != "finished" || !data.contains("exit")) return {};
    const json exit = data["exit"];
    if (exit.value("exit_code", json()) == json(0)) return {};
    return "\x1b[31m[" + (exit.value("exit_code", json()).is_null() ? exit.value("signal", json()).dump() : "exit " + exit["exit_code"].dump()) + "]\x1b[0m\r\n";
  }
  if (type == "trust") return "\x1b[33m[trust " + field(data, "score") + ": " + printable(field(data, "reason")) + "]\x1b[0m\r\n";
  if (type == "policy" && data.contains("verdict") && !data["verdict"].value("allowed", true))
    return "\x1b[31m[refused: " + printable(field(data["verdict"], "reason")) + "]\x1b[0m\r\n";
  return {};
}

}  // namespace

void recording::add(const json& event) {
  const auto time = base::parse_time(event.value("timestamp", ""));
  if (!time) return;
  if (started_us == 0) started_us = *time;
  const json data = event.value("data", json::object());
  const std::string type = event.value("type", "");
  frame f;
  f.at = std::max<std::int64_t>(frames.empty() ? 0 : frames.back().at, *time - started_us);
  if (type == "terminal") {
    if (data.contains("cols")) cols = data.value("cols", cols);
    if (data.contains("rows")) rows = data.value("rows", rows);
    if (data.contains("data_base64")) {
      if (auto bytes = base64_decode(data.value("data_base64", "")); bytes) f.text = *bytes;
    } else {
      f.text = data.value("data", "");
    }
  } else {
    f.text = note(type, data);
  }
  if (!f.text.empty()) frames.push_back(std::move(f));
}

void skip_idle(recording& r, std::int64_t longest_us) {
  if (longest_us <= 0) return;
  std::int64_t cut = 0, before = 0;
  for (auto& f : r.frames) {
    const std::int64_t gap = f.at - before;
    before = f.at;
    if (gap > longest_us) cut += gap - longest_us;
    f.at -= cut;
  }
}

std::string asciicast(const recording& r) {
  json head{{"version", 2}, {"width", r.cols}, {"height", r.rows}, {"timestamp", r.started_us / 1000000}, {"title", r.session}};
  std::string out = head.dump() + "\n";
  for (const auto& f : r.frames) {
    const json line = json::array({static_cast<double>(f.at) / 1e6, "o", f.text});
    out += line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  return out;
}

std::string html_page(const recording& r) {
  json frames = json::array();
  for (const auto& f : r.frames) frames.push_back(json::array({static_cast<double>(f.at) / 1e6, f.text}));
  std::string data = frames.dump(-1, ' ', true, json::error_handler_t::replace);
  // Text of a sandbox must not be able to end the script it stands in.
  for (std::size_t at = 0; (at = data.find('<', at)) != std::string::npos;) data.replace(at, 1, "\\u003c");
  std::string page = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<style>
body{margin:0;background:#16181d;color:#d6dae2;font:14px system-ui,sans-serif}
header,footer{display:flex;gap:.8em;align-items:center;padding:.6em 1em;background:#1f2229}
pre{margin:0;padding:1em;font:13px/1.35 ui-monospace,monospace;white-space:pre-wrap;overflow:auto;height:calc(100vh - 7.5em)}
button,select{background:#2b303a;color:inherit;border:1px solid #444b58;border-radius:4px;padding:.25em .7em}
input[type=range]{flex:1}
.b{font-weight:bold}.c1{color:#ff7b72}.c2{color:#7ee787}.c3{color:#e3b341}.c4{color:#79c0ff}.c5{color:#d2a8ff}.c6{color:#76e3ea}
</style></head><body>
<header><strong>@TITLE@</strong><span>@START@</span></header>
<pre id="screen" aria-live="off"></pre>
<footer><button id="play">Play</button><input id="seek" type="range" min="0" max="1000" value="0" aria-label="Position">
<span id="clock">0:00</span><label>Speed <select id="speed"><option>1</option><option>2</option><option selected>4</option><option>16</option></select></label>
<label><input id="idle" type="checkbox" checked> skip idle</label></footer>
<script>
"use strict";
const frames=@DATA@;
const end=frames.length?frames[frames.length-1][0]:0;
const screen=document.getElementById("screen"),seek=document.getElementById("seek"),clock=document.getElementById("clock");
const play=document.getElementById("play"),speed=document.getElementById("speed"),idle=document.getElementById("idle");
let at=0,next=0,timer=null,lines=[[]],row=0,col=0,style="";
function clear(){lines=[[]];row=0;col=0;style="";screen.textContent="";next=0}
function put(ch){while(lines.length<=row)lines.push([]);const l=lines[row];while(l.length<col)l.push([" ",""]);l[col]=[ch,style];col++}
function write(text){
 for(let i=0;i<text.length;i++){const ch=text[i];
  if(ch==="\x1b"){
   let m=/^\x1b\[([0-9;?]*)([A-Za-z])/.exec(text.slice(i,i+40));
   if(m){i+=m[0].length-1;const n=parseInt(m[1])||0;
    if(m[2]==="m"){for(const p of (m[1]||"0").split(";")){const v=parseInt(p)||0;if(v===0)style="";else if(v===1)style+=" b";else if(v>=31&&v<=36)style="c"+(v-30);else if(v>=91&&v<=96)style="c"+(v-90)}}
    else if(m[2]==="J"&&n>=2){lines=[[]];row=0;col=0}
    else if(m[2]==="K"){if(lines[row])lines[row].length=Math.min(lines[row].length,col)}
    else if(m[2]==="H"){const p=m[1].split(";");row=Math.max(0,(parseInt(p[0])||1)-1);col=Math.max(0,(parseInt(p[1])||1)-1)}
    else if(m[2]==="A")row=Math.max(0,row-(n||1));else if(m[2]==="B")row+=n||1;else if(m[2]==="C")col+=n||1;else if(m[2]==="D")col=Math.max(0,col-(n||1));
    continue}
   m=/^\x1b\][^\x07\x1b]*(\x07|\x1b\\)/.exec(text.slice(i,i+300));if(m){i+=m[0].length-1;continue}
   i++;continue}
  if(ch==="\n"){row++}else if(ch==="\r"){col=0}else if(ch==="\b"){col=Math.max(0,col-1)}else if(ch==="\t"){col+=8-col%8}else if(ch>=" ")put(ch)}
 if(lines.length>5000){row-=lines.length-5000;lines.splice(0,lines.length-5000)}}
function draw(){screen.textContent="";const out=document.createDocumentFragment();
 for(const l of lines){let run="",was=null;const flush=()=>{if(run===""&&was===null)return;if(was){const s=document.createElement("span");s.className=was;s.textContent=run;out.append(s)}else out.append(run);run=""};
  for(const c of l){const k=c||[" ",""];if(k[1]!==was&&was!==null)flush();was=k[1];run+=k[0]}flush();out.append("\n")}
 screen.append(out);screen.scrollTop=screen.scrollHeight;seek.value=end?Math.round(at/end*1000):0;
 const s=Math.floor(at);clock.textContent=Math.floor(s/60)+":"+String(s%60).padStart(2,"0")}
function go(to){if(to<at)clear();at=to;while(next<frames.length&&frames[next][0]<=at)write(frames[next++][1]);draw()}
function stop(){clearInterval(timer);timer=null;play.textContent="Play"}
play.onclick=()=>{if(timer)return stop();if(at>=end){clear();at=0}play.textContent="Pause";
 timer=setInterval(()=>{let to=at+.05*speed.value;if(idle.checked&&next<frames.length&&frames[next][0]-at>1)to=Math.max(to,frames[next][0]-.2);if(to>=end){go(end);stop()}else go(to)},50)};
seek.oninput=()=>go(end*seek.value/1000);
go(end);
</script></body></html>
)html";
  const auto fill = [&page](const std::string& mark, const std::string& text) {
    for (std::size_t at = 0; (at = page.find(mark, at)) != std::string::npos; at += text.size()) page.replace(at, mark.size(), text);
  };
  std::string title;
  for (const char c : r.session)
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-') title += c;
  fill("@TITLE@", title);
  fill("@START@", base::format_time(r.started_us));
  fill("@DATA@", data);
  return page;
}

}  // namespace caged::cli
