// The plots of a run's data-quality page. Where they are zoomed to stands in the address, and links of the page take it along.
"use strict";
(() => {
  const DOTS = 1.6; // CSS pixels, in plots of many channels
  let data = null;

  // 2000000 as 2M; what uPlot leaves without a number stays so.
  const short = (value) => (value === null || value < 1000 ? value : value < 1e6 ? `${+(value / 1000).toPrecision(3)}k` : `${+(value / 1e6).toPrecision(3)}M`);
  const plain = (_u, ticks) => ticks.map((tick) => (tick === null ? "" : `${tick}`));
  const at = (id) => document.getElementById(id);

  // Squares as one path, of the points in sight only.
  function squares(size) {
    return (u, index) => {
      const path = new Path2D();
      const side = size * devicePixelRatio;
      const [xs, ys] = [u.data[0], u.data[index]];
      const { min, max } = u.scales.x;
      const [left, right] = [u.valToPos(min, "x", true), u.valToPos(max, "x", true)];
      const [low, high] = [u.scales.y.min, u.scales.y.max];
      const { top, height } = u.bbox;
      const dx = (right - left) / (max - min);
      const dy = height / (high - low);
      for (let i = 0; i < xs.length; i++) {
        const y = ys[i];
        if (y === null || y === undefined || xs[i] < min || xs[i] > max) continue;
        // What is beyond the axis stands at its end, so that it is seen.
        const inside = y > high ? high : y < low ? low : y;
        path.rect(left + (xs[i] - min) * dx - side / 2, top + (high - inside) * dy - side / 2, side, side);
      }
      return { fill: path, stroke: null, clip: null, flags: 3 };
    };
  }

  function dotted(label, name, size = DOTS, alpha = 1) {
    const { colour } = plots;
    return { label, stroke: () => colour(name, alpha), fill: () => colour(name, alpha), width: 0, paths: squares(size), points: { show: false } };
  }

  // A scale that shows what nearly all channels have, with some room: single ones that are far off stand at its end.
  function mostly(columns, fromZero) {
    const values = columns.flatMap((column) => column.filter((value) => value !== null && value !== undefined && Number.isFinite(value))).sort((a, b) => a - b);
    if (!values.length) return [0, 1];
    const low = values[Math.floor(values.length * 0.002)];
    const high = values[Math.min(values.length - 1, Math.ceil(values.length * 0.998))];
    const room = 0.12 * (high - low || Math.abs(high) || 1);
    return fromZero ? [0, high + room] : [low - room, high + room];
  }

  // --- zoomed plots and the address ---

  function remember(name, value) {
    const here = new URL(location.href);
    if (value === null) here.searchParams.delete(name);
    else here.searchParams.set(name, value);
    history.replaceState(history.state, "", here);
    for (const link of document.querySelectorAll("main a[data-soft-link]")) {
      const address = new URL(link.href);
      const same = address.pathname === here.pathname && (name === "files" || ["element", "plane", "view"].every((key) => (address.searchParams.get(key) || "") === (data.choice[key] || "")));
      if (!same) continue;
      if (value === null) address.searchParams.delete(name);
      else address.searchParams.set(name, value);
      link.href = address.pathname + address.search;
    }
    for (const input of document.querySelectorAll(`form[data-soft-form] input[name="${name}"]`)) input.remove();
    if (value !== null) {
      for (const form of document.querySelectorAll("main form[data-soft-form]")) form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
    }
  }

  function remembered(name) {
    const found = /^(\d+)-(\d+)$/.exec(new URLSearchParams(location.search).get(name) || "");
    return found && +found[1] < +found[2] ? [+found[1], +found[2]] : null;
  }

  // Plots of the same things along x are zoomed together, by dragging; a double click shows all again.
  const together = { channels: new Set(), files: new Set() };

  function zoomable(name, first, last, room) {
    const whole = { min: first - room, max: last + room };
    return {
      scale: { time: false },
      hooks: {
        init: [(u) => together[name].add(u)],
        destroy: [(u) => together[name].delete(u)],
        setScale: [
          (u, key) => {
            if (key !== "x" || u.status !== 1) return;
            const { min, max } = u.scales.x;
            const all = min <= first && max >= last;
            u.zoomed = !all;
            remember(name, all ? null : `${Math.max(0, Math.round(min))}-${Math.round(max)}`);
            // Later, because uPlot forgets what it is told meanwhile. Those that are there already stay quiet.
            queueMicrotask(() => together[name].forEach((one) => one.setScale("x", all ? whole : { min, max })));
          },
        ],
      },
      // Where the address says.
      place(u) {
        const zoom = remembered(name);
        u.setScale("x", zoom ? { min: zoom[0], max: zoom[1] } : whole);
      },
    };
  }

  // --- channels ---

  // Values come as whole steps: a third of the bytes.
  const whole = ({ step, from, steps }, unit) => steps.map((value) => (value === null ? null : ((from + value) * step) / unit));
  const columnsOf = (planes, name, unit) => planes.flatMap((plane) => whole(plane[name], unit));
  const othersOf = (planes, name, unit) => planes.flatMap((plane) => (plane.other ? whole(plane.other[name], unit) : Array(plane.size).fill(null)));

  function drawChannels() {
    const planes = data.channels;
    const { axis, xAxis, colour } = plots;
    const channels = planes.flatMap((plane) => Array.from({ length: plane.size }, (_, i) => plane.first + i));
    const compared = planes.some((plane) => plane.other);
    const ratio = data.choice.show === "ratio" && compared;
    const [first, last] = [channels[0], channels[channels.length - 1]];
    const size = channels.length > 3000 ? DOTS : 2.4;

    // Where planes begin, with their names, when there are several.
    const bounds = (u) => {
      if (planes.length < 2) return;
      const { ctx, bbox } = u;
      ctx.save();
      ctx.font = `500 ${10 * devicePixelRatio}px Inter, sans-serif`;
      ctx.textBaseline = "top";
      let free = -Infinity;
      for (const plane of planes) {
        const x = u.valToPos(plane.first - 0.5, "x", true);
        if (x > bbox.left && x < bbox.left + bbox.width) {
          ctx.fillStyle = colour("line");
          ctx.fillRect(Math.round(x), bbox.top, devicePixelRatio, bbox.height);
        }
        const words = planes.length > 3 ? `${plane.element} ${plane.plane}` : plane.plane;
        const from = Math.max(x, bbox.left) + 4 * devicePixelRatio;
        const end = u.valToPos(plane.first + plane.size, "x", true);
        const width = ctx.measureText(words).width;
        if (end < bbox.left || x > bbox.left + bbox.width || from + width > end || from < free) continue;
        ctx.fillStyle = colour("ink-3");
        ctx.fillText(words, from, bbox.top + 2 * devicePixelRatio);
        free = from + width + 4;
      }
      ctx.restore();
    };
    const one = (u) => {
      if (!ratio) return;
      const y = Math.round(u.valToPos(1, "y", true));
      u.ctx.fillStyle = colour("ink-3");
      u.ctx.fillRect(u.bbox.left, y, u.bbox.width, devicePixelRatio);
    };

    function drawOne(id, label, quantities, { fromZero = false, unit = 1 } = {}) {
      const { scale, hooks, place } = zoomable("channels", first, last, 1);
      const mine = quantities.map(({ name }) => columnsOf(planes, name, unit));
      const others = compared ? quantities.map(({ name }) => othersOf(planes, name, unit)) : [];
      const divided = (values, by) => values.map((value, i) => (value === null || !by[i] ? null : value / by[i]));
      const columns = ratio ? mine.map((values, i) => divided(values, others[i])) : [...others, ...mine];
      const series = [
        ...(ratio ? [] : others.map((_, i) => dotted(`${quantities[i].label}, ${data.comparison}`, "other", size, 0.6))),
        ...quantities.map(({ label: words, colour: name }) => dotted(ratio ? `${words}, ratio` : words, name, size)),
      ];
      const shown = mostly(columns, fromZero && !ratio);
      // Zoomed, what is in sight; but never more than all together.
      const range = (_u, low, high) => {
        const [from, to] = [Math.max(low ?? shown[0], shown[0]), Math.min(high ?? shown[1], shown[1])];
        const room = 0.08 * (to - from);
        return from < to ? [shown[0] === 0 ? 0 : from - room, to + room] : shown;
      };
      const plot = plots.draw(
        at(id),
        {
          kind: JSON.stringify([id, label, first, last, ratio, compared, channels.length, shown, data.comparison]),
          scales: { x: scale, y: { range } },
          series: [{ label: "channel" }, ...series],
          axes: [xAxis("offline channel", { values: plain }), axis(ratio ? "ratio" : label, { size: 52 })],
          hooks: { ...hooks, drawClear: [bounds, one] },
        },
        [channels, ...columns],
      );
      place(plot);
    }

    drawOne("rms-plot", "RMS / ADC", [{ name: "rms_raw_adc", label: "raw", colour: "wait" }, { name: "rms_nf_adc", label: "filtered", colour: "work" }], { fromZero: true });
    drawOne("pedestal-plot", "pedestal / ADC", [{ name: "pedestal_adc", label: "pedestal", colour: "work" }]);
    drawOne("charge-plot", "charge / ke", [{ name: "charge_e", label: "charge", colour: "work" }], { fromZero: true, unit: 1000 });
  }

  // --- spectrum and hits ---

  const positive = (values) => values.map((value) => (value > 0 ? value : null));

  function drawSpectrum() {
    const { line, axis, xAxis } = plots;
    const { spectrum, other_spectrum: other } = data.plots;
    const mhz = spectrum.frequency_mhz;
    const columns = [positive(spectrum.before_adc), positive(spectrum.after_adc)];
    const others = other ? [positive(other.before_adc), positive(other.after_adc)] : [];
    const labels = ["raw", "filtered"];
    const below = others.map((_, i) => line(`${labels[i]}, ${data.comparison}`, "other", { width: 1.4, dash: i ? [4, 3] : [] }));
    plots.draw(
      at("spectrum-plot"),
      {
        kind: `spectrum ${data.comparison} ${others.length}`,
        scales: { x: { time: false }, y: { distr: 3 } },
        series: [{ label: "MHz" }, ...below, line("raw", "wait", { width: 2 }), line("filtered", "work", { width: 2 })],
        axes: [xAxis(at("spectrum-ratio") ? "" : "frequency / MHz"), axis("|FFT| / √ticks, ADC", { size: 52 })],
      },
      [mhz, ...others, ...columns],
    );
    if (at("spectrum-ratio")) {
      const ratios = columns.map((values, i) => values.map((value, k) => (value === null || !others[i][k] ? null : value / others[i][k])));
      drawRatio("spectrum-ratio", { time: false }, mhz, ratios, [line("raw", "wait", { width: 1.6 }), line("filtered", "work", { width: 1.6 })], xAxis("frequency / MHz"));
    }
  }

  function drawHits() {
    const { line, axis, xAxis, colour } = plots;
    const { hits, other_hits: other } = data.plots;
    const { edges, counts } = hits;
    if (edges.length < 2) return;
    const name = `plane-${data.choice.plane.toLowerCase()}`;
    const sum = (values) => values.reduce((total, value) => total + value, 0);
    const scale = other && sum(other) > 0 ? sum(counts) / sum(other) : 0;
    const others = other ? [other.map((count) => count * scale)] : [];
    const stepped = uPlot.paths.stepped({ align: 1 });
    const x = { time: false, ...(edges[0] > 0 ? { distr: 3 } : {}) };
    const bins = xAxis(at("hits-ratio") ? "" : "charge / electrons", { values: (_u, ticks) => ticks.map(short) });
    plots.draw(
      at("hits-plot"),
      {
        kind: `hits ${data.comparison} ${edges.length} ${name}`,
        scales: { x, y: { range: (_u, _min, max) => [0, (max || 1) * 1.08] } },
        series: [{ label: "from e" }, line("hits", name, { paths: stepped, fill: () => colour(name, 0.2) }), ...others.map(() => line(data.comparison, "other", { paths: stepped, width: 1.4 }))],
        axes: [bins, axis("hits", { size: 52, values: (_u, ticks) => ticks.map(short) })],
      },
      [edges, [...counts, null], ...others.map((values) => [...values, null])],
    );
    if (at("hits-ratio")) {
      // Bins with a handful of hits say nothing.
      const ratio = counts.map((count, i) => (others[0][i] >= 5 ? count / others[0][i] : null));
      drawRatio("hits-ratio", x, edges, [[...ratio, null]], [line("ratio", name, { paths: stepped })], xAxis("charge / electrons", { values: (_u, ticks) => ticks.map(short) }));
    }
  }

  function drawRatio(id, x, xs, columns, series, bottom) {
    const { axis, colour } = plots;
    const [low, high] = mostly(columns, false);
    const far = Math.min(3, Math.max(0.1, high - 1, 1 - low));
    plots.draw(
      at(id),
      {
        kind: `${id} ${data.comparison} ${far} ${xs.length} ${data.choice.plane}`,
        scales: { x, y: { range: () => [Math.max(0, 1 - far), 1 + far] } },
        series: [{ label: "at" }, ...series],
        axes: [bottom, axis("ratio", { size: 52, space: 20, incrs: [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2] })],
        hooks: {
          drawClear: [
            (u) => {
              u.ctx.fillStyle = colour("other", 0.8);
              u.ctx.fillRect(u.bbox.left, Math.round(u.valToPos(1, "y", true)), u.bbox.width, devicePixelRatio);
            },
          ],
        },
      },
      [xs, ...columns],
    );
  }

  // --- the trend over the files of the run ---

  function drawTrend() {
    const trend = data.trend;
    const { line, axis, xAxis, colour } = plots;
    const chosen = data.choice.plane;
    const factor = trend.percent ? 100 : 1;
    const scaled = (values) => values.map((value) => (value === null ? null : value * factor));
    const planes = Object.keys(trend.planes);
    const series = planes.map((plane) => {
      const name = `plane-${plane.toLowerCase()}`;
      return line(plane, name, { width: plane === chosen ? 1.8 : 1, spanGaps: false, points: { show: trend.at.length < 300, size: plane === chosen ? 5 : 3.5, fill: () => colour(name) } });
    });
    const limits = trend.limits[chosen] || {};
    const reference = trend.reference[chosen];
    const across = (u, value, name, dash) => {
      const y = Math.round(u.valToPos(value * factor, "y", true)) + 0.5;
      if (!(y >= u.bbox.top && y <= u.bbox.top + u.bbox.height)) return;
      const { ctx } = u;
      ctx.save();
      ctx.strokeStyle = colour(name);
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
      ctx.beginPath();
      ctx.moveTo(u.bbox.left, y);
      ctx.lineTo(u.bbox.left + u.bbox.width, y);
      ctx.stroke();
      ctx.restore();
    };
    const inSight = (u, first, last) => {
      const [left, right] = [u.bbox.left, u.bbox.left + u.bbox.width];
      const from = Math.max(left, u.valToPos(first - 0.5, "x", true));
      const to = Math.min(right, Math.max(u.valToPos(last + 0.5, "x", true), from + devicePixelRatio));
      return from < right && to > left ? [from, to - from] : null;
    };
    const background = (u) => {
      const { ctx, bbox } = u;
      ctx.fillStyle = colour("null", 0.22);
      for (const [first, last] of trend.gaps) {
        const place = inSight(u, first, last);
        if (place) ctx.fillRect(place[0], bbox.top, place[1], bbox.height);
      }
      for (const [key, value] of Object.entries(limits)) if (value !== null) across(u, value, key.endsWith("alarm") ? "bad" : "medium", []);
      if (reference !== undefined) across(u, reference, "other", [6, 4]);
      if (trend.shown !== null) {
        const place = inSight(u, trend.shown, trend.shown);
        ctx.fillStyle = colour("accent", 0.35);
        if (place) ctx.fillRect(place[0] + place[1] / 2 - devicePixelRatio, bbox.top, 2 * devicePixelRatio, bbox.height);
      }
    };
    // Files that are not good, as marks below.
    const marks = (u) => {
      const { ctx, bbox } = u;
      const side = 3.5 * devicePixelRatio;
      trend.at.forEach((place, i) => {
        if (trend.flags[i] < 2) return;
        const x = u.valToPos(place, "x", true);
        if (x < bbox.left || x > bbox.left + bbox.width) return;
        const y = bbox.top + bbox.height;
        ctx.fillStyle = colour(trend.flags[i] === 3 ? "bad" : "medium");
        ctx.beginPath();
        ctx.moveTo(x - side, y);
        ctx.lineTo(x + side, y);
        ctx.lineTo(x, y - 2 * side);
        ctx.fill();
      });
    };
    const words = ["not judged", "good", "medium", "bad"];
    const nearest = (place) => {
      let [low, high] = [0, trend.at.length - 1];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (trend.at[middle] < place) low = middle;
        else high = middle;
      }
      return place - trend.at[low] <= trend.at[high] - place ? low : high;
    };
    const indexAt = (place) => {
      const i = nearest(place);
      return trend.at[i] === place && trend.index[i] !== null ? trend.index[i] : null;
    };
    // The place says which file it is, unless the run's files are not numbered one by one.
    const numbered = trend.at.length && trend.at.every((place, i) => trend.index[i] === null || trend.index[i] - trend.index[0] === place - trend.at[0]);
    const offset = numbered && trend.index[0] !== null ? trend.index[0] - trend.at[0] : 0;
    const label = (place) => (!Number.isInteger(place) || place < 0 || place >= trend.files ? "" : numbered ? `${place + offset}` : `${indexAt(place) ?? ""}`);
    const { scale, hooks, place } = zoomable("files", 0, Math.max(trend.files, 1) - 1, 0.5);
    const drawn = [...Object.values(limits).filter((value) => value !== null), ...(reference === undefined ? [] : [reference])].map((value) => value * factor);
    const known = planes.flatMap((plane) => scaled(trend.planes[plane]).filter((value) => value !== null));
    const [lowest, highest] = [Math.min(...known), Math.max(...known)];
    // Limits that are near enough are in sight.
    const span = Math.max(highest - lowest, 0.1 * Math.abs(highest)) || 1;
    const near = drawn.filter((value) => value > lowest - 1.5 * span && value < highest + 1.5 * span);
    const range = [Math.min(lowest, ...near), Math.max(highest, ...near)];
    const room = 0.06 * (range[1] - range[0] || Math.abs(range[1]) || 1);
    const unit = trend.percent ? " / %" : trend.unit && trend.unit !== "channels" ? ` / ${trend.unit.replace(/^\//, "per ")}` : "";
    const plot = plots.draw(
      at("trend-plot"),
      {
        kind: JSON.stringify(["trend", trend.key, data.choice.element, chosen, trend.files, trend.shown, limits, reference, range, trend.gaps.length]),
        scales: { x: scale, y: { range: () => [lowest >= 0 ? Math.max(0, range[0] - room) : range[0] - room, range[1] + room] } },
        series: [{ label: "file", value: (_u, _v, _s, i) => (i === null || i === undefined ? "–" : `${trend.index[i] ?? trend.prefix + trend.names[i] + trend.suffix} ${words[trend.flags[i]]}`) }, ...series],
        axes: [
          xAxis("file, in the order of writing", { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000], values: (_u, ticks) => ticks.map(label) }),
          axis(trend.label + unit, { size: 62, values: (_u, ticks) => ticks.map((tick) => (tick === null ? "" : Math.abs(tick) >= 10000 ? short(tick) : `${+tick.toPrecision(6)}`)) }),
        ],
        hooks: { ...hooks, drawClear: [background], draw: [marks], ready: [(u) => u.over.addEventListener("click", () => open(u))] },
      },
      [trend.at, ...planes.map((plane) => scaled(trend.planes[plane]))],
    );
    place(plot);

    function open(u) {
      const i = u.cursor.idx;
      if (i === null || i === undefined || u.select.width > 0) return;
      const address = new URL(location.href);
      address.searchParams.set("file", trend.prefix + trend.names[i] + trend.suffix);
      for (const name of ["attempt", "record"]) address.searchParams.delete(name);
      soft.go(address.href);
    }
  }

  function draw() {
    data = JSON.parse(at("quality-data").textContent);
    if (at("rms-plot")) drawChannels();
    if (at("spectrum-plot")) drawSpectrum();
    if (at("hits-plot")) drawHits();
    if (at("trend-plot")) drawTrend();
    // uPlot draws at the end of this task.
    requestAnimationFrame(() => performance.mark("drawn"));
  }

  // The strip of files is SVG, whose links have no text for an address.
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".strip a");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    soft.go(new URL(link.getAttribute("href"), location.href).href);
  });

  window.runQuality = { remember };
  document.addEventListener("soft", draw);
  draw();
})();
