// What the policy says to a statement.

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
