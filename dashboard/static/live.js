// Keeps the parts of a page ([data-part]) up to date from the server's stream of updates. Fires "part" on each that changed.
"use strict";
(() => {
  const pill = document.getElementById("live");
  const word = document.getElementById("live-word");
  const at = document.getElementById("live-at");
  const button = document.getElementById("pause");
  const base = document.documentElement.dataset.base;
  // A page that only wants to know when to look again names the parts it listens to.
  const only = document.body.dataset.parts;
  let stream = null;
  let last = document.body.dataset.live;
  let paused = false;

  function show(state, text) {
    pill.dataset.state = state;
    word.textContent = text;
  }

  function update(message) {
    last = message.lastEventId;
    const { at: seconds, parts } = JSON.parse(message.data);
    const time = new Date(seconds * 1000).toISOString();
    at.dateTime = time;
    at.textContent = time.slice(11, 19);
    for (const [name, text] of Object.entries(parts)) {
      for (const element of document.querySelectorAll(`[data-part="${name}"]`)) {
        if (element.tagName === "SCRIPT") element.textContent = text;
        else element.innerHTML = text;
      }
      document.dispatchEvent(new CustomEvent("part", { detail: { name, text } }));
    }
    show("live", "live");
  }

  function open() {
    if (stream || paused || document.hidden) return;
    // Only what changed since this page's numbers; after a break the browser itself names the last update it saw.
    const query = new URLSearchParams({ after: last, ...(only ? { parts: only } : {}) });
    stream = new EventSource(`${base}/events?${query}`);
    stream.addEventListener("update", update);
    stream.addEventListener("error", () => {
      show("reconnecting", "reconnecting");
      // A browser tries again by itself, but gives up when somebody in between answers for the service.
      if (stream && stream.readyState === EventSource.CLOSED) {
        close();
        setTimeout(open, 5000);
      }
    });
  }

  // A closed stream frees one of the six connections a browser keeps to a host.
  function close() {
    if (stream) stream.close();
    stream = null;
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.setAttribute("aria-label", paused ? "Resume live updates" : "Pause live updates");
    if (paused) {
      close();
      show("paused", "paused");
    } else {
      show("reconnecting", "connecting");
      open();
    }
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
})();
