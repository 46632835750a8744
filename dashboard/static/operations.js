// The operations page: arrival and processing over time, and the choice of the time window.
"use strict";
(() => {
  const panels = document.querySelectorAll("[data-window]");
  const element = document.getElementById("rates-plot");
  const source = document.querySelector('[data-part="rates_data"]');
  let shown = panels[0].dataset.window;

  function draw() {
    const rates = JSON.parse(source.textContent)[shown];
    const perMinute = 60 / rates.bin_s;
    const scaled = (counts) => counts.map((n) => n * perMinute);
    // A step is drawn from the begin of its bin to that of the next: the last one needs an end.
    const edges = [...rates.arrived, 0].map((_, i) => rates.begin + i * rates.bin_s);
    const steps = (counts) => [...scaled(counts), counts.at(-1) * perMinute];
    const data = [edges, steps(rates.arrived), steps(rates.processed)];
    const stepped = uPlot.paths.stepped({ align: 1 });
    const { clock, line, axis, xAxis, colour } = plots;
    plots.draw(
      element,
      {
        kind: "rates",
        scales: { y: { range: (_u, _min, max) => [0, Math.max(max * 1.1, perMinute)] } },
        series: [
          { label: "UTC", value: (_u, at) => (at === null ? "" : clock(null, [at])[0]) },
          line("arrived", "wait", { paths: stepped, fill: () => colour("wait", 0.18) }),
          line("processed", "done", { paths: stepped, width: 2 }),
        ],
        axes: [xAxis("", { values: clock }), axis("files / min")],
      },
      data,
    );
  }

  for (const link of document.querySelectorAll("[data-window-choice]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      shown = link.dataset.windowChoice;
      panels.forEach((panel) => (panel.dataset.window = shown));
      for (const other of document.querySelectorAll("[data-window-choice]")) {
        if (other === link) other.setAttribute("aria-current", "true");
        else other.removeAttribute("aria-current");
      }
      history.replaceState(null, "", link.getAttribute("href"));
      draw();
    });
  }
  document.addEventListener("part", (event) => {
    if (event.detail.name === "rates_data") draw();
  });
  draw();
})();
