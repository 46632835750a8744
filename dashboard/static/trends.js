// The plots of the trends page. A click on a point goes to its run.
"use strict";
(() => {
  const base = document.documentElement.dataset.base;

  function draw() {
    const trends = JSON.parse(document.getElementById("trends-data").textContent);
    for (const element of document.querySelectorAll("[data-element]")) {
      const points = trends.elements[element.dataset.element];
      if (points) drawOne(element, trends, points);
    }
  }

  function drawOne(element, trends, points) {
    const { line, axis, xAxis, colour } = plots;
    const { run: runs, at } = trends.axes[points.axis];
    const byTime = trends.against === "time";
    // Against run: equally apart, in order, since run numbers have gaps that mean nothing.
    const xs = byTime ? at : runs.map((_, i) => i);
    const one = trends.planes.length === 1;
    const series = [{ label: byTime ? "taken" : "run", value: (_u, _v, _s, i) => (i === null ? "–" : `${runs[i]}`) }];
    const columns = [xs];
    const bands = [];
    const scale = trends.percent ? 100 : 1;
    const scaled = (values) => values.map((value) => (value === null ? null : value * scale));
    for (const plane of trends.planes) {
      const name = `plane-${plane.toLowerCase()}`;
      const [median, lowest, highest] = points.values[plane].map(scaled);
      if (one) {
        series.push(line("highest", name, { width: 0 }), line("lowest", name, { width: 0 }));
        columns.push(highest, lowest);
        bands.push({ series: [1, 2], fill: () => colour(name, 0.16) });
      }
      series.push(line(plane, name, { spanGaps: false, points: { show: xs.length < 400, size: 5, fill: () => colour(name) } }));
      columns.push(median);
    }
    const limits = (trends.limits || []).map((value) => (value === null ? null : value * scale));
    const drawLimits = (u) => {
      limits.forEach((value, i) => {
        if (value === null) return;
        const y = Math.round(u.valToPos(value, "y", true));
        if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) return;
        u.ctx.fillStyle = colour(i === 1 || i === 2 ? "medium" : "bad");
        u.ctx.fillRect(u.bbox.left, y - devicePixelRatio / 2, u.bbox.width, devicePixelRatio * 1.5);
      });
    };
    const runAt = (i) => (Number.isInteger(i) && runs[i] !== undefined ? `${runs[i]}` : "");
    plots.draw(
      element,
      {
        kind: JSON.stringify([trends.label, trends.against, trends.planes, limits, xs.length]),
        scales: { x: byTime ? { time: true } : { time: false, range: [-0.5, Math.max(xs.length, 2) - 0.5] } },
        series,
        bands,
        axes: [
          byTime ? xAxis("time, UTC") : xAxis("run", { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], values: (_u, ticks) => ticks.map(runAt) }),
          axis(trends.percent ? `${trends.label} %` : trends.label, { size: 58 }),
        ],
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
        hooks: {
          drawClear: [drawLimits],
          ready: [(u) => u.over.addEventListener("click", () => go(u, element.dataset.element))],
        },
      },
      columns,
    );

    function go(u, name) {
      const run = u.cursor.idx === null ? undefined : runs[u.cursor.idx];
      if (run === undefined || u.select.width > 0) return;
      const here = new URLSearchParams(location.search);
      const query = new URLSearchParams({ element: name });
      for (const key of ["campaign", "version", "plane"]) if (here.get(key)) query.set(key, here.get(key));
      location.assign(`${base}/runs/${run}/quality?${query}`);
    }
  }

  document.addEventListener("soft", draw);
  draw();
})();
