// Ages that grow by themselves, and tiles that turn grey when they are too old: also when the service is away and nothing new comes.
"use strict";
(() => {
  // The server's clock is the one that counts; a browser's may be wrong.
  const pillTime = document.getElementById("live-at");
  let offset = null;

  function now() {
    return Date.now() / 1000 + (offset ?? 0);
  }

  function words(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return `${whole}\u202fs`;
    for (const [length, unit, smaller, smallerUnit] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (whole < length) continue;
      const rest = Math.floor((whole % length) / smaller);
      return `${Math.floor(whole / length)}\u202f${unit}` + (rest ? ` ${rest}\u202f${smallerUnit}` : "");
    }
  }

  function tick() {
    for (const element of document.querySelectorAll("[data-since]")) element.textContent = words(now() - Number(element.dataset.since));
    for (const tile of document.querySelectorAll("[data-fresh-until]")) {
      if (now() <= Number(tile.dataset.freshUntil) || tile.classList.contains("null")) continue;
      tile.classList.remove("good", "medium", "bad");
      tile.classList.add("null");
      const sign = tile.querySelector(".sign");
      sign.className = "sign null";
      sign.querySelector("use")?.setAttribute("href", sign.querySelector("use").getAttribute("href").replace(/#.*/, "#none"));
      sign.querySelector("b").textContent = "stale";
    }
  }

  new MutationObserver(() => {
    const server = Date.parse(pillTime.dateTime) / 1000;
    if (!Number.isNaN(server)) offset = server - Date.now() / 1000;
  }).observe(pillTime, { attributes: true, attributeFilter: ["datetime"] });

  document.addEventListener("soft", tick);
  setInterval(tick, 1000);
})();
