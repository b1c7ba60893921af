// Which part is shown, what the server tells by itself, and the start.

const route = () => {
  stop();
  stop = () => {};
  notice("");
  // The short form of links in messages: #apr-...
  if (/^#apr-[0-9a-f]+$/.test(location.hash)) {
    history.replaceState(null, "", `#/queue/${location.hash.slice(1)}`);
  }
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
    route();
    const opens = location.hash.startsWith("#/queue/");
    if (!opens) main.focus();
  });
  // The address after the # says what is shown: the link must not change it.
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  setInterval(() => document.querySelectorAll("[data-expires]").forEach((node) => { node.textContent = left(node.dataset.expires); }), 1000);
  // Where the link led before the login.
  const wanted = sessionStorage.getItem("cordon-wanted");
  sessionStorage.removeItem("cordon-wanted");
  if (wanted && !location.hash) history.replaceState(null, "", wanted);
  route();
  follow();
};
start().catch((error) => notice(error.message));
