// Recorded sessions with their replay, and what was refused.

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

const refusalsPart = (filters) => {
  const q = el("input", { type: "search", value: filters.q || "" });
  const kind = choice([["", "everything"], ["statement", "statements"], ["connection", "connections"], ["job", "job starts"], ["answer", "answers"], ["message", "messages"], ["policy", "policies"]], filters.kind || "");
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
