// Held statements: the list, and one of them with its answer.

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
  const KNOWN = ["id", "state", "session", "job", "requester", "process", "database", "statement", "parameters", "effects", "rule", "needs", "approved_by", "created", "expires", "on_hold", "answers", "used", "ended", "ended_because", "estimated_rows", "warnings", "run_url", "step", "statement_number", "before", "why", "parameter_types"];
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
    (view.warnings || []).map((warning) => el("p", { class: "warning" }, marked(warning))),
    pairs(
      ["Why", view.why],
      view.parameters.length ? ["Parameters", el("ol", {}, view.parameters.map((value, at) => el("li", {}, value === null ? el("i", {}, "NULL") : el("code", {}, marked(value)),
        view.parameter_types && view.parameter_types[at] ? el("span", { class: "hint" }, " as ", marked(view.parameter_types[at])) : null)))] : null,
      ["Effects", bullets(view.effects)],
      ["Rows", view.estimated_rows === undefined || view.estimated_rows === null ? null : `about ${number.format(view.estimated_rows)}, as the database's planner guesses`],
      ...further.map(([name, value]) => [name.replaceAll("_", " "), Array.isArray(value) ? bullets(value.map((one) => typeof one === "string" ? one : JSON.stringify(one))) : typeof value === "object" ? JSON.stringify(value) : String(value)]),
      ["Asked by", view.requester],
      ["Run", view.run_url ? outside(view.run_url) : null],
      ["Step", view.step ? [...marked(view.step), el("span", { class: "hint" }, " (says the job itself)")] : null],
      ["Process", view.process],
      ["Held by", view.rule],
      ["Needs", bullets(needs(view))],
      ["Answers", view.answers.length ? el("ul", {}, view.answers.map((answer) => el("li", {}, `${answer.approve ? "approved" : "denied"} by `, marked(answer.by), answer.reason ? [": ", marked(answer.reason)] : null, " ", when(answer.at)))) : null],
      ["Meanwhile", pending ? view.on_hold === "refuse" ? "refused; it may be sent once more when it is approved" : "the statement waits on its connection" : null],
      ["Let through", view.used ? when(view.used) : null],
      ["Ended", view.ended && !view.used ? [when(view.ended), view.ended_because ? [": ", ...marked(view.ended_because)] : ""] : null],
      ["Session", may("auditor") ? el("a", { href: `#/sessions/${encodeURIComponent(view.session)}` }, marked(view.session)) : view.session],
      ["Before it", view.before && view.before.length ? el("ol", { class: "before" }, view.before.map((one) => el("li", { value: String(one.number) }, el("code", {}, marked(one.statement))))) : null],
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
