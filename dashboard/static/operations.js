// The operations page: the history charts, and the choice of how far they look back.
"use strict";
(() => {
  const base = document.documentElement.dataset.base;
  const charts = document.getElementById("history");
  const links = [...document.querySelectorAll("[data-window]")];
  const pill = document.getElementById("live");
  const at = document.getElementById("live-at");
  const { axis, xAxis, line, moments } = plots;

  const percent = (value) => (value === null || value === undefined ? "–" : `${+(value * 100).toPrecision(3)} %`);
  const number = (value) => (value === null || value === undefined ? "–" : `${+value.toPrecision(3)}`);
  const upTo = (least) => (_u, _min, max) => [0, Math.max(max * 1.1, least)];
  const whole = () => [0, 1];
  const of = (value) => (_u, v) => value(v);

  // What each chart shows: columns of the history, in words and colours.
  const CHARTS = {
    prompt: { lines: [["fraction_in_time", "in time", "done"]], range: whole, value: percent },
    rates: { lines: [["arrived_per_s", "arrived", "wait"], ["processed_per_s", "processed", "done"]], range: upTo(0.01), value: number },
    backlog: { lines: [["backlog", "waiting", "work"], ["late", "late", "late"]], range: upTo(4), value: number },
    jobs: { lines: [["running", "running", "work"], ["queued", "queued", "wait"], ["slots_wanted", "slots wanted", "late"]], range: upTo(4), value: number },
    buffer: { lines: [["buffer_fraction", "filled", "work"]], range: whole, value: percent, marks: ["low water", "high water"] },
  };

  function draw() {
    const samples = JSON.parse(document.getElementById("history-data").textContent);
    const slots = samples.columns.backlog.length;
    const times = Array.from({ length: slots }, (_, i) => samples.begin + i * samples.interval_s);
    for (const [key, chart] of Object.entries(CHARTS)) {
      const marks = chart.marks || [];
      const show = { value: of(chart.value) };
      const lines = chart.lines.map(([, words, colour], i) => line(words, colour, i === 0 ? { ...show, width: 1.8 } : show));
      plots.draw(
        document.getElementById(`${key}-plot`),
        {
          kind: samples.window,
          padding: [6, 6, 0, 0],
          scales: { x: { range: [times[0], times[slots - 1]] }, y: { range: chart.range } },
          series: [
            { label: "UTC", value: (_u, seconds) => (seconds === null ? "" : new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")) },
            ...lines,
            ...marks.map((words) => line(words, words === "high water" ? "parked" : "ink-3", { ...show, width: 1, dash: [5, 4] })),
          ],
          axes: [
            xAxis("", { values: moments, space: 56 }),
            axis("", { size: 42, space: 26, values: (_u, ticks) => ticks.map((tick) => chart.value(tick).replace(" ", "")) }),
          ],
        },
        [times, ...chart.lines.map(([name]) => samples.columns[name]), ...marks.map((_, i) => Array(slots).fill(samples.marks[i]))],
      );
    }
    shownTo = times[slots - 1] + samples.interval_s;
  }

  let shownTo = 0;
  let asked = 0;
  async function look(name) {
    const mine = ++asked;
    const answer = await fetch(`${base}/operations/history?window=${name}`);
    // An answer that was overtaken by another choice is of no use.
    if (!answer.ok || mine !== asked) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const figures = charts.querySelectorAll("figure");
    fresh.querySelectorAll("figure").forEach((figure, i) => {
      figures[i].querySelector(".spreads").replaceWith(figure.querySelector(".spreads"));
      figures[i].querySelector(".plot").setAttribute("aria-label", figure.querySelector(".plot").getAttribute("aria-label"));
    });
    document.getElementById("history-data").textContent = fresh.getElementById("history-data").textContent;
    draw();
  }

  const chosen = () => links.find((link) => link.hasAttribute("aria-current"));
  for (const link of links) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      links.forEach((other) => other.removeAttribute("aria-current"));
      link.setAttribute("aria-current", "true");
      history.replaceState(null, "", link.getAttribute("href"));
      look(link.dataset.window);
    });
  }
  // The next sample is there soon after its slot has begun, by the clock of the service.
  const SAMPLED_AFTER_S = 6;
  setInterval(() => {
    if (document.hidden || pill.dataset.state !== "live" || !at.dateTime) return;
    if (Date.parse(at.dateTime) / 1000 >= shownTo + SAMPLED_AFTER_S) look(chosen().dataset.window);
  }, 2000);
  draw();
})();
