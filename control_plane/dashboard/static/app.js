// Keeps the page up to date: parts that have changed come as HTML over server-sent events. Nothing here decides anything.
"use strict";
(() => {
  const main = document.getElementById("main");
  const indicator = document.getElementById("live");
  const pause = document.getElementById("pause");
  const theme = document.getElementById("theme");
  const spoken = document.getElementById("spoken");
  const skew = Number(document.body.dataset.now) - Date.now() / 1000;
  let source = null;
  let paused = false;
  let waiting = new Map();

  const show = (state, text) => {
    indicator.dataset.state = state;
    indicator.lastElementChild.textContent = text;
  };

  const fragment = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };

  // Someone selects text in it, or types there: it waits.
  const isBusy = (element) => {
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && element.contains(selection.anchorNode)) return true;
    const active = document.activeElement;
    return element.contains(active) && /^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName);
  };

  const focusables = (element) => [...element.querySelectorAll("a[href], button, summary, [tabindex]")];

  const replace = (element, html, inside) => {
    const open = [...element.querySelectorAll("details[id][open]")].map((one) => one.id);
    const scrolled = [...element.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    const focused = focusables(element).indexOf(document.activeElement);
    const next = fragment(html);
    const first = next.firstElementChild;
    if (inside) element.replaceChildren(next);
    else element.replaceWith(next);
    const now = inside ? element : first;
    if (!now) return;
    for (const id of open) { const one = document.getElementById(id); if (one) one.open = true; }
    [...now.querySelectorAll(".scroll")].forEach((one, index) => { one.scrollLeft = scrolled[index] || 0; });
    if (focused >= 0) focusables(now)[focused]?.focus({ preventScroll: true });
  };

  const apply = (id, html) => {
    const element = id === "main" ? main : document.getElementById(id);
    if (!element) return;
    if (isBusy(element)) { waiting.set(id, html); return; }
    waiting.delete(id);
    replace(element, html, id === "main");
  };

  // Only a change of the verdict is said aloud; numbers are not.
  const speak = () => {
    const verdict = document.getElementById("verdict-text");
    const text = verdict ? verdict.textContent.trim() : "";
    if (spoken.dataset.last !== undefined && spoken.dataset.last !== text) spoken.textContent = text;
    spoken.dataset.last = text;
  };

  const ages = () => {
    const now = Date.now() / 1000 + skew;
    for (const one of document.querySelectorAll("time[data-age]")) {
      const text = age(now - Number(one.dataset.age));
      if (one.textContent !== text) one.textContent = text;
    }
    for (const [id, html] of waiting) apply(id, html);
  };

  const age = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    for (const [size, unit, smaller, below] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (whole >= size) {
        const rest = Math.floor((whole % size) / smaller);
        return rest ? `${Math.floor(whole / size)} ${unit} ${rest} ${below}` : `${Math.floor(whole / size)} ${unit}`;
      }
    }
    return `${whole} s`;
  };

  const connect = () => {
    if (source || paused || document.hidden || !main.dataset.live) return;
    const url = new URL("/live", location.href);
    url.search = location.search;
    url.searchParams.set("path", location.pathname);
    source = new EventSource(url);
    source.addEventListener("open", () => show("on", "Live"));
    source.addEventListener("update", (event) => {
      const changed = JSON.parse(event.data);
      if (changed.main) apply("main", changed.main);
      for (const [id, html] of Object.entries(changed.parts)) apply(id, html);
      main.dataset.updates = Number(main.dataset.updates || 0) + 1;
      speak();
    });
    source.addEventListener("error", () => {
      show("off", "Reconnecting");
      if (source && source.readyState === EventSource.CLOSED) { disconnect(); setTimeout(connect, 5000); }
    });
  };

  const disconnect = () => { if (source) source.close(); source = null; };

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    if (paused) { disconnect(); show("paused", "Paused"); } else { show("off", "Connecting"); connect(); }
  });

  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    theme.setAttribute("aria-pressed", String(!dark));
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* for this page only */ }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("form[data-auto] select")) event.target.form.requestSubmit();
  });

  // "/" goes to the filter, as elsewhere.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
    const filter = document.getElementById("q");
    if (filter) { event.preventDefault(); filter.focus(); filter.select(); }
  });

  document.addEventListener("visibilitychange", () => { if (document.hidden) disconnect(); else connect(); });
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", connect);
  speak();
  setInterval(ages, 1000);
  connect();
})();
