// The state of the evidence and of the host.

const checked = (last) => {
  if (last.is === "none") return el("p", {}, "Not checked since the daemon started.");
  if (last.is === "running") return el("p", {}, badge("running", "warn"), ` since ${clock(last.began)}, asked for by `, marked(last.by));
  return el("div", {},
    el("p", {}, last.ok ? badge("nothing is wrong", "good") : badge("something is wrong", "bad"), " ", when(last.ended), ", asked for by ", marked(last.by)),
    pairs(["Problem", last.problem], ["Entries", number.format(last.report.entries)], ["Segments", number.format(last.report.segments)],
      ["Checkpoints", number.format(last.report.checkpoints)], ["Entries not yet signed", number.format(last.report.unsigned_entries)],
      ["Declared gaps", number.format(last.report.gap_count)], ["Unclean restarts", number.format(last.report.unclean_restarts)],
      ["Parts of recordings", number.format(last.report.recorded_parts)], ["Recordings removed", last.report.removed_recordings ? number.format(last.report.removed_recordings) : null],
      ["Removed from the beginning", last.report.pruned ? `${number.format(last.report.pruned.first)} entries: ${last.report.pruned.reason}` : null], ["Root", el("code", {}, last.report.root)]));
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
        pairs(["Folder", state.folder],
          ["Off the host", state.shipping ? el("span", {}, `${number.format(state.shipping.entries)} entries; ${bytes(state.shipping.backlog)} not yet`, state.shipping.problem ? [" ", badge("does not ship", "bad"), " ", marked(state.shipping.problem)] : null) : "not shipped"],
          ...(state.witnesses ? state.witnesses.witnesses.map((witness) => [`Witness ${witness.name}`, el("span", {},
            witness.time ? [`${number.format(witness.entries)} entries, `, when(witness.time)] : "nothing since the daemon started",
            witness.problem ? [" ", badge("does not cosign", "bad"), " ", marked(witness.problem)] : null)]) : [["Witnesses", "none"]]))));
    if (running) timer = setTimeout(load, 700);
  });
  load();
};

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
