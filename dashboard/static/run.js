// A run's page: its plots, and changing the choice of file, element and plane without losing one's place.
"use strict";
(() => {
  let source = {}; // what the server sent last of each exchanged part

  // 2000000 as 2M; what uPlot leaves without a number stays so.
  const short = (value) => (value === null || value < 1000 ? value : value < 1e6 ? `${value / 1000}k` : `${value / 1e6}M`);

  function draw() {
    const { plots: shown, trend, plane } = JSON.parse(document.getElementById("plots-data").textContent);
    const { line, scatter, axis, xAxis, colour } = plots;
    const at = (id) => document.getElementById(id);

    if (shown) {
      const { first, pedestal_adc, rms_raw_adc, rms_nf_adc } = shown.channels;
      const channels = pedestal_adc.map((_, i) => first + i);
      const channelScale = { time: false, range: [first - 1, first + channels.length] };
      plots.draw(
        at("rms-plot"),
        {
          kind: "rms",
          scales: { x: channelScale, y: { range: (_u, _min, max) => [0, (max || 1) * 1.05] } },
          series: [{ label: "channel" }, scatter("raw", "wait"), scatter("filtered", "work")],
          axes: [xAxis("offline channel", { values: (_u, ticks) => ticks }), axis("RMS / ADC")],
        },
        [channels, rms_raw_adc, rms_nf_adc],
      );
      plots.draw(
        at("pedestal-plot"),
        {
          kind: "pedestal",
          scales: { x: channelScale },
          series: [{ label: "channel" }, scatter("pedestal", "work")],
          axes: [xAxis("offline channel", { values: (_u, ticks) => ticks }), axis("pedestal / ADC", { size: 52 })],
        },
        [channels, pedestal_adc],
      );
    }
    if (at("spectrum-plot")) {
      const positive = (values) => values.map((value) => (value > 0 ? value : null));
      const { frequency_mhz, before_adc, after_adc } = shown.spectrum;
      plots.draw(
        at("spectrum-plot"),
        {
          kind: "spectrum",
          scales: { x: { time: false }, y: { distr: 3 } },
          series: [{ label: "MHz" }, line("before", "wait", { width: 2 }), line("after", "work", { width: 2 })],
          axes: [xAxis("frequency / MHz"), axis("|FFT| / √ticks, ADC")],
        },
        [frequency_mhz, positive(before_adc), positive(after_adc)],
      );
    }
    if (at("hits-plot")) {
      const { edges, counts } = shown.hit_charge_e;
      plots.draw(
        at("hits-plot"),
        {
          kind: "hits",
          scales: { x: { time: false, ...(edges[0] > 0 ? { distr: 3 } : {}) }, y: { range: (_u, _min, max) => [0, (max || 1) * 1.05] } },
          series: [
            { label: "from e" },
            line("hits", `plane-${plane.toLowerCase()}`, { paths: uPlot.paths.stepped({ align: 1 }), fill: () => colour(`plane-${plane.toLowerCase()}`, 0.2) }),
          ],
          axes: [xAxis("charge / electrons", { values: (_u, ticks) => ticks.map(short) }), axis("hits", { size: 52 })],
        },
        [edges, [...counts, null]],
      );
    }
    if (at("trend-plot")) drawTrend(at("trend-plot"), trend);
  }

  function drawTrend(element, trend) {
    const { line, axis, xAxis, colour } = plots;
    const order = trend.files.map((_, i) => i);
    const index = (i) => (trend.index[i] === null || trend.index[i] === undefined ? "–" : trend.index[i]);
    const series = ["U", "V", "W"].map((plane) => {
      const name = `plane-${plane.toLowerCase()}`;
      return line(plane, name, { points: { show: true, size: 5, fill: () => colour(name) }, spanGaps: false });
    });
    const mark = (u) => {
      if (trend.shown === null) return;
      const x = Math.round(u.valToPos(trend.shown, "x", true));
      u.ctx.fillStyle = colour("ink-3");
      u.ctx.fillRect(x, u.bbox.top, devicePixelRatio, u.bbox.height);
    };
    plots.draw(
      element,
      {
        kind: `trend ${trend.label} ${trend.files.length} ${trend.shown}`,
        scales: { x: { time: false, range: [-0.5, Math.max(order.length, 2) - 0.5] } },
        series: [{ label: "file", value: (_u, i) => (i === null || i === undefined ? "–" : index(i)) }, ...series],
        axes: [
          xAxis("file, in the order of writing", { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], values: (_u, ticks) => ticks.map((i) => (Number.isInteger(i) && trend.files[i] ? index(i) : "")) }),
          axis(trend.label, { size: 56 }),
        ],
        hooks: {
          drawClear: [mark],
          ready: [(u) => u.over.addEventListener("click", () => u.cursor.idx !== null && trend.files[u.cursor.idx] && choose(trend.files[u.cursor.idx]))],
        },
      },
      [order, trend.planes.U, trend.planes.V, trend.planes.W],
    );
  }

  function choose(file) {
    const address = new URL(location.href);
    address.searchParams.set("file", file);
    go(address.href);
  }

  // Exchanges the parts of the page that differ, and nothing else.
  async function go(href, { remember = true } = {}) {
    const answer = await fetch(href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return location.assign(href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    let changed = false;
    for (const part of page.querySelectorAll("[data-soft]")) {
      const here = document.getElementById(part.id);
      if (!here || source[part.id] === part.innerHTML) continue;
      source[part.id] = part.innerHTML;
      here.innerHTML = part.innerHTML;
      changed = true;
    }
    if (remember) history.pushState(null, "", href);
    if (changed) draw();
  }

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const cell = event.target.closest("[data-file]");
    const link = event.target.closest("[data-soft-link]");
    if (!cell && !link) return;
    event.preventDefault();
    if (cell) choose(cell.dataset.file);
    else go(link.href);
  });
  addEventListener("popstate", () => go(location.href, { remember: false }));

  // News of this run: look again, at most every two seconds.
  const run = document.body.dataset.run;
  let mark = document.body.dataset.mark;
  let due = null;
  document.addEventListener("part", (event) => {
    if (event.detail.name !== "run_marks") return;
    const now = JSON.parse(event.detail.text)[run] || "";
    if (now !== mark && due === null) {
      due = setTimeout(() => {
        due = null;
        go(location.href, { remember: false });
      }, 2000);
    }
    mark = now;
  });

  for (const part of document.querySelectorAll("[data-soft]")) source[part.id] = part.innerHTML;
  draw();
})();
