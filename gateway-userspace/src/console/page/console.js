"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const main = byId("main");
  const RANK = { viewer: 0, auditor: 1, approver: 2 };
  let me = null;
  let queue = [];
  let status = null;
  let known = null;
  let stop = () => {};

  // ---- Building blocks. Text is only ever inserted as text.

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
      else if (name === "value") node.value = value;
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

  // ---- The server.

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

  // ---- Queue.

  const openId = () => location.hash.startsWith("#/queue/") ? decodeURIComponent(location.hash.slice(8)) : null;
  const needs = (view) => view.needs.map((need) => `${need.approved} of ${need.count} from ${need.group || "any approvers"}`);

  const item = (view, fresh) =>
    el("li", {}, el("a", {
      class: `item ${fresh ? "fresh" : ""}`, href: `#/queue/${encodeURIComponent(view.id)}`,
      "data-state": view.state, "data-id": view.id, "aria-current": view.id === openId() ? "true" : null,
    },
    el("div", { class: "line" }, el("span", {}, stateBadge(view.state), " ", marked(view.database)),
      view.state === "pending" ? el("span", { "data-expires": view.expires }, left(view.expires)) : when(view.created)),
    el("div", { class: "excerpt" }, marked(view.excerpt)),
    el("div", { class: "line" }, el("span", { class: "text" }, marked(view.requester)))));

  const renderList = (fresh) => {
    const list = byId("queue-list");
    if (!list) return;
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.id : null;
    const waiting = queue.filter((view) => view.state === "pending");
    const ended = queue.filter((view) => view.state !== "pending").reverse();
    list.replaceChildren(
      el("h2", {}, "Waiting"),
      waiting.length ? el("ul", { class: "list", id: "waiting-list" }, waiting.map((view) => item(view, fresh && fresh.has(view.id)))) : empty("No statement waits for an answer."),
      ended.length ? el("h2", {}, "Answered") : "",
      ended.length ? el("ul", { class: "list" }, ended.map((view) => item(view))) : "");
    if (focused) {
      const again = [...list.querySelectorAll("a.item")].find((node) => node.dataset.id === focused);
      if (again) again.focus();
    }
  };

  const detail = (view, reason) => {
    const pending = view.state === "pending";
    const KNOWN = ["id", "state", "session", "job", "requester", "process", "database", "statement", "parameters", "effects", "rule", "needs", "approved_by", "created", "expires", "on_hold", "answers", "used", "ended", "ended_because"];
    const further = Object.entries(view).filter(([name, value]) => !KNOWN.includes(name) && value !== null && value !== "" && !(Array.isArray(value) && !value.length));
    const text = el("textarea", { id: "reason", rows: "2", maxlength: "4000", autocomplete: "off", value: reason || "" });
    const answer = (approve) => attempt(async () => {
      const buttons = [...document.querySelectorAll(".answer button")];
      buttons.forEach((button) => { button.disabled = true; });
      try {
        const after = await ask(`/api/approvals/${encodeURIComponent(view.id)}`, { approve, reason: text.value });
        const word = after.state === "pending" ? "Your approval counts; more are needed" : `The statement is ${after.state}`;
        notice(`${word} (${view.id}).`, true);
        say(word);
        openDetail(view.id, true);
      } catch (error) {
        buttons.forEach((button) => { button.disabled = false; });
        throw error;
      }
    });
    return el("article", { class: "sheet", "aria-labelledby": "detail-title", "data-state": view.state },
      el("p", { class: "back" }, el("a", { href: "#/queue" }, "Back to the queue")),
      el("div", { class: "title" }, el("h1", { id: "detail-title", tabindex: "-1" }, "Statement on ", marked(view.database)), stateBadge(view.state),
        pending ? el("span", { class: "right", "data-expires": view.expires }, left(view.expires)) : null),
      el("pre", { id: "statement", tabindex: "0", "aria-label": "The statement" }, marked(view.statement)),
      pairs(
        view.parameters.length ? ["Parameters", el("ol", {}, view.parameters.map((value) => el("li", {}, value === null ? el("i", {}, "NULL") : el("code", {}, marked(value)))))] : null,
        ["Effects", bullets(view.effects)],
        ...further.map(([name, value]) => [name.replaceAll("_", " "), Array.isArray(value) ? bullets(value.map((one) => typeof one === "string" ? one : JSON.stringify(one))) : typeof value === "object" ? JSON.stringify(value) : String(value)]),
        ["Asked by", view.requester],
        ["Process", view.process],
        ["Held by", view.rule],
        ["Needs", bullets(needs(view))],
        ["Answers", view.answers.length ? el("ul", {}, view.answers.map((answer) => el("li", {}, `${answer.approve ? "approved" : "denied"} by `, marked(answer.by), answer.reason ? [": ", marked(answer.reason)] : null, " ", when(answer.at)))) : null],
        ["Meanwhile", pending ? view.on_hold === "refuse" ? "refused; it may be sent once more when it is approved" : "the statement waits on its connection" : null],
        ["Let through", view.used ? when(view.used) : null],
        ["Ended", view.ended && !view.used ? [when(view.ended), view.ended_because ? [": ", ...marked(view.ended_because)] : ""] : null],
        ["Session", may("auditor") ? el("a", { href: `#/sessions/${encodeURIComponent(view.session)}` }, marked(view.session)) : view.session],
        ["Job", view.job],
        ["Since", when(view.created)],
        ["Number", view.id]),
      pending && may("approver")
        ? el("form", { class: "answer", onsubmit: (event) => event.preventDefault() },
          fieldOf("Reason", text, "for the evidence; the agent sees it if you deny"),
          el("div", { class: "buttons" },
            el("button", { type: "button", class: "approve", onclick: () => answer(true) }, "Approve"),
            el("button", { type: "button", class: "deny", onclick: () => answer(false) }, "Deny")))
        : pending ? el("p", { class: "hint" }, `Approvers answer this; your role is ${me.role}.`) : null);
  };

  const openDetail = (id, quiet) => attempt(async () => {
    const view = await ask(`/api/approvals/${encodeURIComponent(id)}`);
    const place = byId("queue-detail");
    if (!place || openId() !== id) return;
    const before = byId("reason");
    const reason = before && place.dataset.id === id ? { text: before.value, focus: document.activeElement === before } : null;
    place.dataset.id = id;
    place.dataset.known = JSON.stringify([view.state, view.approved_by, view.used || null]);
    place.replaceChildren(detail(view, reason && reason.text));
    if (reason && reason.focus && byId("reason")) byId("reason").focus();
    else if (!quiet || view.state !== "pending") byId("detail-title").focus();
  });

  const queuePart = (id) => {
    show(el("div", { class: "split", "data-open": id ? "yes" : "no" },
      el("section", { class: "side", id: "queue-list", "aria-label": "Held statements" }),
      el("section", { id: "queue-detail", "aria-label": "The statement and the answer" },
        id ? null : el("div", { class: "sheet wide" }, empty("Choose a statement to see all of it and to answer.")))));
    renderList();
    if (id) openDetail(id);
  };

  const queueChanged = (now) => {
    const waiting = now.filter((view) => view.state === "pending");
    const fresh = new Set(known ? waiting.filter((view) => !known.has(view.id)).map((view) => view.id) : []);
    known = new Set(now.map((view) => view.id));
    queue = now;
    const count = byId("waiting");
    count.hidden = !waiting.length;
    count.replaceChildren(String(waiting.length), el("span", { class: "unseen" }, " waiting"));
    document.title = waiting.length ? `(${waiting.length}) Cordon` : "Cordon";
    if (fresh.size) say(fresh.size === 1 ? `A statement waits for an answer: ${waiting.find((view) => fresh.has(view.id)).requester}` : `${fresh.size} more statements wait for an answer`);
    renderList(fresh);
    const place = byId("queue-detail");
    const open = place && now.find((view) => view.id === openId());
    if (open && place.dataset.id === open.id && place.dataset.known !== JSON.stringify([open.state, open.approved_by, open.used || null])) openDetail(open.id, true);
  };

  // ---- Sessions.

  const count = (n, kind) => el("td", { class: `number ${n ? "" : "zero"}` }, n && kind ? badge(number.format(n), kind) : number.format(n));

  const sessionsPart = (filters) => {
    const q = el("input", { type: "search", value: filters.q || "" });
    const text = el("input", { type: "search", value: filters.text || "" });
    const state = choice([["", "all"], ["open", "open"], ["closed", "closed"]], filters.state || "");
    const having = choice([["", "anything"], ["denied", "denied statements"], ["held", "held statements"], ["observed", "observed grants"], ["masked", "masked cells"]], filters.with || "");
    const result = el("div", { id: "result", "aria-live": "polite" }, empty("Reading the evidence ..."));
    const grow = (node) => { node.classList.add("grow"); return node; };
    show(title("Sessions"),
      el("form", {
        class: "bar", role: "search",
        onsubmit: (event) => {
          event.preventDefault();
          const wanted = withQuery("#/sessions", { q: q.value, state: state.value, with: having.value, text: text.value });
          if (location.hash === wanted) route();
          else location.hash = wanted;
        },
      },
      grow(fieldOf("Search", q, "job, database, login, process, time")),
      may("auditor") ? grow(fieldOf("In statements", text)) : null,
      fieldOf("State", state), fieldOf("With", having),
      el("div", { class: "field" }, el("button", { class: "primary" }, "Search"))),
      result);
    attempt(async () => {
      const { sessions, found } = await ask(withQuery("/api/sessions", filters));
      result.replaceChildren(found ? el("div", { class: "sheet scroll" }, el("table", {},
        el("thead", {}, el("tr", {}, ["Session", "Opened", "State", "Job", "Database", "Login", "Process"].map((name) => el("th", { scope: "col" }, name)),
          ["Statements", "Denied", "Held", "Rows", "Masked"].map((name) => el("th", { scope: "col", class: "number" }, name)))),
        el("tbody", {}, sessions.map((session) => el("tr", {},
          el("td", {}, may("auditor") ? el("a", { href: `#/sessions/${encodeURIComponent(session.session)}` }, marked(session.session)) : marked(session.session)),
          el("td", {}, when(session.opened)),
          el("td", {}, session.closed ? "closed" : badge("open", "good")),
          el("td", {}, marked(session.job)), el("td", {}, marked(session.database)), el("td", {}, marked(session.login)), el("td", {}, marked(session.process)),
          count(session.statements), count(session.denied, "bad"), count(session.held, "warn"), count(session.rows), count(session.cells_masked))))),
      found > sessions.length ? el("p", { class: "hint" }, `The newest ${sessions.length} of ${found}; narrow the search to see others.`) : null)
        : empty("No session fits."));
    });
  };

  const step = (one) => el("li", { class: one.verdict, "data-at": one.at_ms },
    el("div", { class: "step-line" }, el("b", {}, `#${one.number}`), el("span", {}, `+${span(one.at_ms)}`), stateBadge(one.verdict), el("span", {}, one.phase),
      one.outcome ? el("span", {}, one.outcome) : null,
      one.outcome ? el("span", {}, `${number.format(one.rows)} rows, ${span(one.duration_us / 1000)}`) : null,
      one.cells_masked ? badge(`${number.format(one.cells_masked)} cells masked`, "warn") : null),
    el("pre", { tabindex: "0" }, marked(one.text), one.whole ? null : el("i", {}, " (only its beginning is kept here)")),
    one.parameters.length ? el("div", { class: "step-line" }, one.parameters.map((value, at) => el("span", {}, `$${at + 1} = `, value === null ? el("i", {}, "NULL") : el("code", {}, marked(value))))) : null,
    el("div", { class: "step-line" }, marked(one.why), one.rule ? el("span", {}, "(", marked(one.rule), ")") : null),
    one.masked.length ? el("div", { class: "step-line" }, "masked: ", marked(one.masked.join(", "))) : null,
    one.answers.map((answer) => el("div", { class: "step-line" }, el("span", {}, stateBadge(answer.approve ? "approved" : "denied"), " by ", marked(answer.by), answer.reason ? [": ", marked(answer.reason)] : null))));

  const replayPart = (id) => {
    show(empty("Reading the evidence ..."));
    attempt(async () => {
      const session = await ask(`/api/sessions/${encodeURIComponent(id)}`);
      const length = Math.max(session.duration_ms, 1);
      const steps = [];
      const marks = [];
      const list = el("ol", { class: "steps" });
      const cursor = el("span", { class: "cursor" });
      const track = el("div", { class: "track", "aria-hidden": "true" }, cursor);
      const slider = el("input", { type: "range", min: "0", max: String(length), step: "1", value: String(length), "aria-label": "Time in the session" });
      const told = el("output", {});
      const button = el("button", { type: "button", class: "primary" }, "Play");
      const speed = choice([["1", "real time"], ["4", "4 times"], ["16", "16 times"], ["64", "64 times"]], "4");
      speed.setAttribute("aria-label", "Speed");
      const sheet = el("div", { class: "sheet" }, list);
      let now = length;
      let timer = null;
      const place = (follow) => {
        slider.value = String(now);
        slider.setAttribute("aria-valuetext", span(now));
        told.textContent = `${span(now)} of ${span(length)}`;
        cursor.style.left = `${(now / length) * 100}%`;
        let last = null;
        steps.forEach((node, at) => {
          const ahead = Number(node.dataset.at) > now;
          node.classList.toggle("ahead", ahead);
          node.classList.remove("now");
          marks[at].classList.remove("now");
          if (!ahead) last = at;
        });
        if (last !== null && now < length) {
          steps[last].classList.add("now");
          marks[last].classList.add("now");
          if (follow) steps[last].scrollIntoView({ block: "nearest" });
        }
      };
      const pause = () => { if (timer) clearInterval(timer); timer = null; button.textContent = "Play"; };
      const play = () => {
        if (now >= length) now = 0;
        button.textContent = "Pause";
        let before = performance.now();
        timer = setInterval(() => {
          const at = performance.now();
          now = Math.min(length, now + (at - before) * Number(speed.value));
          before = at;
          place(true);
          if (now >= length) pause();
        }, 60);
      };
      button.addEventListener("click", () => timer ? pause() : play());
      slider.addEventListener("input", () => { pause(); now = Number(slider.value); place(true); });
      stop = pause;
      const append = (page) => {
        for (const one of page.statements) {
          const node = step(one);
          const bar = el("i", { class: one.verdict });
          bar.style.left = `${Math.min(one.at_ms / length, 0.995) * 100}%`;
          bar.style.width = `${Math.min(one.duration_us / 1000 / length, 1) * 100}%`;
          steps.push(node);
          marks.push(bar);
          list.append(node);
          track.append(bar);
        }
        more.hidden = steps.length >= session.total;
        more.textContent = `Show more (${steps.length} of ${session.total})`;
        place(false);
      };
      const more = el("button", { type: "button", onclick: () => attempt(async () => append(await ask(withQuery(`/api/sessions/${encodeURIComponent(id)}`, { from: String(steps.length) })))) });
      show(el("p", {}, el("a", { href: "#/sessions" }, "All sessions")),
        title(["Session ", ...marked(session.session)], session.closed ? badge("closed") : badge("open", "good")),
        el("div", { class: "sheet" }, pairs(
          ["Database", `${session.database} as ${session.login} (dialled ${session.original})`],
          ["Job", session.job],
          ["Process", `${session.process.executable || session.process.comm}, pid ${session.process.pid}, uid ${session.process.uid}`],
          ["Command", session.process.command_line],
          ["Client", bullets(Object.entries(session.client).map(([name, value]) => `${name}=${value}`))],
          ["Opened", when(session.opened)],
          ["Closed", session.closed ? [when(session.closed), ": ", ...marked(session.reason)] : "not in this log: it is open, or a crash ended it"])),
        session.total ? [
          el("div", { class: "sheet" }, el("h2", {}, "Time line"), track, slider, el("div", { class: "player" }, button, speed, told)),
          sheet, more,
        ] : empty("No statement was sent."));
      append(session);
    });
  };

  // ---- Refusals.

  const refusalsPart = (filters) => {
    const q = el("input", { type: "search", value: filters.q || "" });
    const kind = choice([["", "everything"], ["statement", "statements"], ["connection", "connections"], ["job", "job starts"], ["answer", "answers"], ["policy", "policies"]], filters.kind || "");
    const result = el("div", { id: "result", "aria-live": "polite" }, empty("Reading the evidence ..."));
    const search = fieldOf("Search", q, "statement, reason, rule, session, code");
    search.classList.add("grow");
    show(title("Refusals"),
      el("form", {
        class: "bar", role: "search",
        onsubmit: (event) => {
          event.preventDefault();
          const wanted = withQuery("#/refusals", { q: q.value, kind: kind.value });
          if (location.hash === wanted) route();
          else location.hash = wanted;
        },
      }, search, fieldOf("What", kind), el("div", { class: "field" }, el("button", { class: "primary" }, "Search"))),
      result);
    attempt(async () => {
      const { refusals, found } = await ask(withQuery("/api/refusals", filters));
      result.replaceChildren(...(found ? [
        ...refusals.map((one) => el("article", { class: "sheet" },
          el("div", { class: "step-line" }, badge(one.kind, "bad"), when(one.time), one.code ? el("code", {}, marked(one.code)) : null,
            one.session ? el("a", { href: `#/sessions/${encodeURIComponent(one.session)}` }, marked(one.session)) : null, one.job ? el("span", {}, marked(one.job)) : null),
          el("pre", { tabindex: "0" }, marked(one.what)),
          pairs(["Reason", one.reason], ["Rule", one.rule], ["What would allow it", one.hint]))),
        found > refusals.length ? el("p", { class: "hint" }, `The newest ${refusals.length} of ${found}; narrow the search to see others.`) : "",
      ] : [empty("Nothing that fits was refused.")]));
    });
  };

  // ---- Explain.

  const reasonOf = (reason) => reason ? pairs(["Reason", reason.message], ["Rule", reason.rule], ["What would allow it", reason.hint], ["SQLSTATE", reason.sqlstate]) : null;
  const table = (names, rows) => el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, typeof cell === "string" ? marked(cell) : cell)))))));

  const explained = (one) => {
    if (one.error) return el("section", { class: "sheet" }, el("pre", {}, marked(one.text)), pairs(["Not understood", one.error.message], ["SQLSTATE", one.error.sqlstate]));
    const verdict = one.verdict;
    return el("section", { class: "sheet" },
      el("div", { class: "title" }, el("h2", {}, "Verdict"), stateBadge(verdict.is), el("span", { class: "hint" }, one.kind)),
      el("pre", {}, marked(one.text)),
      reasonOf(verdict.reason),
      verdict.needs ? pairs(["Needs", bullets(verdict.needs.map((need) => `${need.count} from ${need.group || "any approvers"}`))], ["Waits", span(verdict.hold_seconds * 1000)]) : null,
      verdict.observed ? el("p", {}, badge(`observed: would ${verdict.observed.would}`, "warn"), reasonOf(verdict.observed.reason)) : null,
      one.remedy ? [el("h2", {}, "What would allow it"), pairs(["Grant", one.remedy.grant], ["allow", bullets(one.remedy.allow)], ["approve", bullets(one.remedy.approve)])] : null,
      one.parts.length ? [el("h2", {}, "What it does, and the rules on it"), table(["Part", "Columns", "Standing", "Rules"], one.parts.map((part) => [
        part.what, part.columns.join(", "), stateBadge(part.standing),
        part.rules.length ? bullets(part.rules.map((rule) => `${rule.place}: ${rule.rule}`)) : part.reason ? part.reason.message : ""]))] : null,
      one.output ? [el("h2", {}, "Where its columns come from"), table(["Column", "How", "Origins", "Mask"], one.output.map((column) => [column.name, column.how, column.origins.join(", "), column.mask ? badge(column.mask, "warn") : ""]))] : null,
      one.every_row ? el("p", {}, badge("no WHERE limits it: every row", "bad")) : null);
  };

  const explainPart = () => {
    show(title("Explain"), empty("Reading the jobs ..."));
    attempt(async () => {
      const subjects = await ask("/api/explain");
      const sql = el("textarea", { class: "sql", spellcheck: "false", autocomplete: "off", required: true });
      const database = choice(subjects.databases.map((name) => [name, name]));
      const who = choice([...subjects.jobs.map((job) => [job.id, `${job.live ? "live" : "recorded"}: ${job.issuer} ${job.subject} (${job.id})`]), ["", "a job described here"]]);
      const issuer = choice(subjects.issuers.map((name) => [name, name]));
      const claims = el("textarea", { rows: "4", spellcheck: "false", placeholder: "repository_id=123456\nref=refs/heads/main" });
      const groups = el("input", { type: "text", placeholder: "group, group" });
      const described = el("div", {}, fieldOf("Issuer", issuer), fieldOf("Claims", claims, "one a line: name=value"), fieldOf("Groups", groups));
      const choose = () => { described.hidden = who.value !== ""; };
      who.addEventListener("change", choose);
      choose();
      const result = el("div", { id: "result", "aria-live": "polite" });
      show(title("Explain"),
        el("form", {
          class: "sheet",
          onsubmit: (event) => {
            event.preventDefault();
            attempt(async () => {
              notice("");
              result.replaceChildren(empty("Asking the policy ..."));
              const asked = { sql: sql.value, database: database.value };
              if (who.value) asked.job = who.value;
              else Object.assign(asked, {
                issuer: issuer.value,
                claims: Object.fromEntries(claims.value.split("\n").filter((line) => line.includes("=")).map((line) => [line.slice(0, line.indexOf("=")).trim(), line.slice(line.indexOf("=") + 1).trim()])),
                groups: groups.value.split(",").map((group) => group.trim()).filter(Boolean),
              });
              let answer;
              try {
                answer = await ask("/api/explain", asked);
              } catch (error) {
                result.replaceChildren();
                throw error;
              }
              result.replaceChildren(
                el("div", { class: "title" }, el("h1", {}, "Answer"), stateBadge(answer.verdict)),
                answer.refused ? el("section", { class: "sheet" }, el("h2", {}, "The job has no access"), reasonOf(answer.refused)) : "",
                ...answer.statements.map(explained),
                el("section", { class: "sheet" }, el("h2", {}, "Grants of the database"),
                  table(["Grant", "Applies", "Why"], answer.grants.map((grant) => [grant.grant, grant.unmet ? grant.unmet : badge("yes", "good"), grant.why || ""])),
                  answer.limits.length ? [el("h2", {}, "Limits"), table(["Limit", "Most", "Rule"], answer.limits.map((limit) => [limit.limit, limit.most, limit.rule]))] : null,
                  answer.catalog ? pairs(["Catalog", answer.catalog.from], ["Read", answer.catalog.read], ["Search path", answer.catalog.search_path.join(", ")], ["Login", answer.login]) : null));
            });
          },
        }, fieldOf("Statement", sql), fieldOf("Database", database), fieldOf("Job", who), described, el("button", { class: "primary" }, "Explain")),
        result);
    });
  };

  // ---- Evidence.

  const checked = (last) => {
    if (last.is === "none") return el("p", {}, "Not checked since the daemon started.");
    if (last.is === "running") return el("p", {}, badge("running", "warn"), ` since ${clock(last.began)}, asked for by `, marked(last.by));
    return el("div", {},
      el("p", {}, last.ok ? badge("nothing is wrong", "good") : badge("something is wrong", "bad"), " ", when(last.ended), ", asked for by ", marked(last.by)),
      pairs(["Problem", last.problem], ["Entries", number.format(last.report.entries)], ["Segments", number.format(last.report.segments)],
        ["Checkpoints", number.format(last.report.checkpoints)], ["Entries not yet signed", number.format(last.report.unsigned_entries)],
        ["Declared gaps", number.format(last.report.gap_count)], ["Unclean restarts", number.format(last.report.unclean_restarts)], ["Root", el("code", {}, last.report.root)]));
  };

  const evidencePart = () => {
    show(title("Evidence"), empty("Reading its state ..."));
    let timer = null;
    stop = () => clearTimeout(timer);
    const load = () => attempt(async () => {
      const state = await ask("/api/evidence");
      if (!location.hash.startsWith("#/evidence")) return;
      const running = state.verification.is === "running";
      show(title("Evidence"),
        state.fault ? el("p", { role: "alert" }, badge("nothing can be recorded", "bad"), " ", marked(state.fault)) : null,
        el("div", { class: "tiles" }, tile(number.format(state.entries), "entries"), tile(bytes(state.bytes), "on disk"),
          tile(state.checkpoint && state.checkpoint.entries !== null ? number.format(state.checkpoint.entries) : "none", "entries under the last checkpoint")),
        el("section", { class: "sheet" }, el("h2", {}, "Last check"), el("div", { role: "status" }, checked(state.verification)),
          el("button", { type: "button", class: "primary", id: "verify", disabled: running, onclick: () => attempt(async () => { await ask("/api/evidence/verify", {}); load(); }) }, running ? "Checking ..." : "Check all of it now"),
          el("p", { class: "hint" }, "This trusts the key beside the log. To trust nobody, copy key and checkpoint elsewhere and run cordon evidence verify there.")),
        el("section", { class: "sheet" }, el("h2", {}, "Last checkpoint"),
          state.checkpoint ? [pairs(["Written", state.checkpoint.written ? when(state.checkpoint.written) : null]), el("pre", { tabindex: "0", "aria-label": "The checkpoint: log, entries, root" }, marked(state.checkpoint.text)), el("p", {}, el("a", { class: "button", href: "/api/evidence/checkpoint", download: "checkpoint" }, "Download it with its signatures"))] : el("p", {}, marked(state.checkpoint_problem || "none yet")),
          pairs(["Folder", state.folder])));
      if (running) timer = setTimeout(load, 700);
    });
    load();
  };

  // ---- Host.

  const hostPart = () => {
    show(title("Host"), el("div", { id: "host" }), el("div", { id: "jobs" }));
    renderHost();
    if (may("auditor")) attempt(async () => {
      const jobs = await ask("/api/jobs");
      const place = byId("jobs");
      if (place) place.replaceChildren(el("h2", {}, "Live jobs"), jobs.length ? el("div", { class: "sheet" }, table(["Job", "Issuer", "Subject", "Processes", "Sessions", "Since"],
        jobs.map((job) => [job.id, job.issuer, job.subject, String(job.processes), String(job.sessions), when(job.started)]))) : empty("No job runs."));
    });
  };
  const renderHost = () => {
    const place = byId("host");
    if (!place || !status) return;
    place.replaceChildren(
      el("div", { class: "tiles" }, tile(number.format(status.jobs), "live jobs"), tile(number.format(status.sessions), "open sessions"), tile(number.format(status.held), "held statements"),
        tile(number.format(status.evidence_entries), "entries of evidence"), tile(number.format(status.disagreements), "disagreements with the database")),
      el("div", { class: "sheet" }, pairs(
        ["Version", status.version], ["Process", String(status.pid)],
        ["Policy", [el("code", {}, status.policy.slice(0, 16)), " since ", when(status.policy_since)]],
        status.policy_error ? ["Policy files", el("div", {}, badge("not in force", "bad"), bullets(status.policy_error.problems))] : null,
        status.observing.length ? ["Only observing", bullets(status.observing)] : null,
        ["Databases", bullets(Object.entries(status.databases).map(([name, address]) => `${name} at ${address}`))])));
  };

  // ---- Around it.

  const route = () => {
    stop();
    stop = () => {};
    notice("");
    const [path, query] = location.hash.slice(2).split("?");
    const [part, id] = path.split("/");
    const filters = Object.fromEntries(new URLSearchParams(query || ""));
    document.querySelectorAll("nav a").forEach((link) => {
      if (link.dataset.part === (part || "queue")) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    if (part === "sessions" && id && may("auditor")) replayPart(decodeURIComponent(id));
    else if (part === "sessions") sessionsPart(filters);
    else if (part === "refusals" && may("auditor")) refusalsPart(filters);
    else if (part === "explain" && may("auditor")) explainPart();
    else if (part === "evidence" && may("auditor")) evidencePart();
    else if (part === "host") hostPart();
    else queuePart(part === "queue" && id ? decodeURIComponent(id) : null);
  };

  const follow = () => {
    const events = new EventSource("/api/events");
    const link = (state, text) => { byId("link").dataset.state = state; byId("link").textContent = text; };
    events.addEventListener("open", () => link("on", "live"));
    events.addEventListener("queue", (event) => queueChanged(JSON.parse(event.data)));
    events.addEventListener("status", (event) => {
      status = JSON.parse(event.data);
      byId("footer").textContent = `Cordon ${status.version}, policy ${status.policy.slice(0, 12)}`;
      renderHost();
    });
    events.addEventListener("over", () => location.reload());
    events.addEventListener("error", () => {
      link("off", "not connected");
      if (events.readyState !== EventSource.CLOSED) return;
      // The browser gives up after an answer that is no stream: the login may have ended.
      setTimeout(() => ask("/api/me").then(follow, () => setTimeout(follow, 3000)), 1000);
    });
  };

  const start = async () => {
    me = await ask("/api/me");
    byId("who").replaceChildren(...marked(me.name), ` (${me.role})`);
    document.querySelectorAll("nav a[data-role]").forEach((link) => { link.hidden = !may(link.dataset.role); });
    byId("logout").hidden = !me.logout;
    byId("logout").addEventListener("click", () => attempt(async () => { await ask("/logout", {}); location.assign("/"); }));
    window.addEventListener("hashchange", () => {
      const opens = location.hash.startsWith("#/queue/");
      route();
      if (!opens) main.focus();
    });
    // The address after the # says what is shown: the link must not change it.
    byId("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
    setInterval(() => document.querySelectorAll("[data-expires]").forEach((node) => { node.textContent = left(node.dataset.expires); }), 1000);
    route();
    follow();
  };
  start().catch((error) => notice(error.message));
})();
