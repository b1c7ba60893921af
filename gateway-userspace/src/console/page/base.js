// What the parts of the page are built of. Text is only ever inserted as text.

const byId = (id) => document.getElementById(id);
const main = byId("main");
const RANK = { viewer: 0, auditor: 1, approver: 2 };
let me = null;
let queue = [];
let status = null;
let known = null;
let stop = () => {};

const add = (node, child) => {
  if (child === null || child === undefined || child === false) return;
  if (Array.isArray(child)) child.forEach((one) => add(node, one));
  else node.append(child instanceof Node ? child : document.createTextNode(String(child)));
};
const el = (tag, props, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" && tag !== "li") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
};
// What the server has marked (control, invisible, look-alike characters) stands out.
const MARK = /<U\+[0-9A-F]{4,6}(?: x\d+)?>/g;
const marked = (text) => {
  const out = [];
  let from = 0;
  for (const found of String(text ?? "").matchAll(MARK)) {
    if (found.index > from) out.push(text.slice(from, found.index));
    out.push(el("mark", { title: "a character that hides, moves or imitates text" }, found[0]));
    from = found.index + found[0].length;
  }
  out.push(String(text ?? "").slice(from));
  return out;
};
const badge = (word, kind) => el("span", { class: `badge ${kind || ""}` }, word);
const KINDS = {
  pending: "warn", approved: "good", denied: "bad", expired: "", withdrawn: "",
  allow: "good", deny: "bad", hold: "warn", observe: "warn", unreadable: "bad",
  allowed: "good", held: "warn", free: "",
};
const stateBadge = (word) => badge(word, KINDS[word]);
const pairs = (...rows) =>
  el("dl", {}, rows.filter((row) => row && row[1] !== null && row[1] !== undefined && row[1] !== "")
    .map(([name, value]) => [el("dt", {}, name), el("dd", {}, typeof value === "string" ? marked(value) : value)]));
const bullets = (values) => values.length ? el("ul", {}, values.map((value) => el("li", {}, marked(value)))) : null;
// A page of somebody else: told nothing of this one, and never anything but a page.
const outside = (url) => /^https:\/\//.test(url) && !url.includes("<U+")
  ? el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, url) : el("span", {}, marked(url));
const tile = (value, label) => el("div", { class: "tile" }, el("b", {}, value), el("span", {}, label));
const title = (text, ...more) => el("div", { class: "title" }, el("h1", {}, text), more);
const empty = (text) => el("p", { class: "empty" }, text);
const show = (...nodes) => main.replaceChildren(...nodes.flat().filter(Boolean));
const fieldOf = (label, input, hint) => {
  const id = input.id || (input.id = `field-${Math.random().toString(36).slice(2)}`);
  return el("div", { class: "field" }, el("label", { for: id }, label, hint && el("span", { class: "hint" }, ` ${hint}`)), input);
};
const choice = (options, value) => {
  const node = el("select", {}, options.map(([name, label]) => el("option", { value: name }, label)));
  if (value !== undefined) node.value = value;
  return node;
};

const number = new Intl.NumberFormat("en");
const clock = (text) => {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text ?? "");
  const two = (n) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
};
const when = (text) => el("time", { datetime: text, title: text }, clock(text));
const span = (ms) => {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${(ms / 1000).toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
};
const bytes = (n) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return `${at ? n.toFixed(1) : n} ${units[at]}`;
};
const left = (expires) => {
  const ms = new Date(expires) - Date.now();
  return ms > 0 ? `${span(ms).replace(/\.\d s/, " s")} left` : "time is up";
};

const notice = (text, good) => {
  const node = byId("notice");
  node.hidden = !text;
  node.className = good ? "good" : "";
  node.replaceChildren(...marked(text || ""));
};
const say = (text) => { byId("live").textContent = text; };

const ask = async (path, body) => {
  const options = { headers: { accept: "application/json" }, credentials: "same-origin", redirect: "error" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["content-type"] = "application/json";
    options.headers["x-cordon-csrf"] = me.csrf;
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The daemon does not answer. Is it running?");
  }
  const value = await answer.json().catch(() => ({}));
  if (answer.status === 401 && me && me.logout) {
    location.reload();
    return new Promise(() => {});
  }
  if (!answer.ok) throw new Error(value.error || `The daemon answers with ${answer.status}.`);
  return value;
};
const withQuery = (path, values) => {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value !== undefined));
  return String(query) ? `${path}?${query}` : path;
};
const may = (role) => me && RANK[me.role] >= RANK[role];
const attempt = (work) => Promise.resolve().then(work).catch((error) => notice(error.message));
