// Changes a page without losing one's place: fetches the address and exchanges the sections ([data-soft]) that differ.
// Fires "soft" when something changed. A page whose body has data-watch (marks, apart by blanks) looks again when one of them changes.
"use strict";
window.soft = (() => {
  const source = {}; // what the server sent last of each section

  let turn = 0; // of the last request
  let choice = 0; // the turn of a choice that is not answered yet: news wait for it

  async function go(href, { remember = true } = {}) {
    if (choice && !remember) return;
    const mine = ++turn;
    if (remember) choice = mine;
    const text = await fetched(href, remember);
    if (choice === mine) choice = 0;
    // Another choice was made meanwhile: what this one brought is not wanted any more.
    if (text === null || mine !== turn) return;
    const page = new DOMParser().parseFromString(text, "text/html");
    let changed = false;
    for (const part of page.querySelectorAll("[data-soft]")) {
      const here = document.getElementById(part.id);
      if (!here || source[part.id] === part.innerHTML) continue;
      source[part.id] = part.innerHTML;
      keepFocus(here, () => (here.innerHTML = part.innerHTML));
      changed = true;
    }
    document.title = page.title;
    if (remember && href !== location.href) history.pushState(null, "", href);
    if (changed) document.dispatchEvent(new Event("soft"));
  }

  // The page at an address, or null. What cannot be had that somebody chose is left to the browser, which says why.
  async function fetched(href, chosen) {
    try {
      const answer = await fetch(href, { headers: { Accept: "text/html" } });
      if (answer.ok) return await answer.text();
    } catch {
      // The sign of the live updates tells that the service is away.
      if (!chosen) return null;
    }
    location.assign(href);
    return null;
  }

  // Who walks with the keyboard stays where he is, and a list stays scrolled.
  function keepFocus(section, exchange) {
    const focused = section.contains(document.activeElement) ? document.activeElement : null;
    const name = focused && (focused.id || focused.getAttribute("href"));
    const scrolled = [...section.querySelectorAll(".scroll")].map((list) => [list.scrollTop, list.scrollLeft]);
    exchange();
    section.querySelectorAll(".scroll").forEach((list, i) => scrolled[i] && ([list.scrollTop, list.scrollLeft] = scrolled[i]));
    if (!name) return;
    const same = [...section.querySelectorAll("[id], [href]")].find((e) => e.id === name || e.getAttribute("href") === name);
    if (same) same.focus({ preventScroll: true });
  }

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target.closest("a[data-soft-link]");
    if (!link) return;
    event.preventDefault();
    go(link.href);
  });
  // Forms that only choose what is shown ([data-soft-form]) go at once; without JavaScript their button does it.
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-soft-form]");
    if (form) submit(form);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-soft-form]")) return;
    event.preventDefault();
    submit(event.target);
  });
  function submit(form) {
    const address = new URL(form.action);
    for (const [key, value] of new FormData(form)) if (value !== "") address.searchParams.append(key, value);
    go(address.href);
  }
  addEventListener("popstate", () => {
    choice = 0;
    go(location.href, { remember: false });
  });

  const watched = (document.body.dataset.watch || "").split(" ").filter(Boolean);
  let seen = null;
  let due = null;
  document.addEventListener("part", (event) => {
    if (event.detail.name !== "marks" || !watched.length) return;
    const marks = JSON.parse(event.detail.text);
    const now = watched.map((name) => marks[name] || "").join("|");
    if (now === seen) return;
    seen = now;
    // News come in bursts: look at most every two seconds.
    due ??= setTimeout(() => {
      due = null;
      go(location.href, { remember: false });
    }, 2000);
  });

  for (const part of document.querySelectorAll("[data-soft]")) source[part.id] = part.innerHTML;
  return { go };
})();
