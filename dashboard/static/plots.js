// Plots in the colours of the page, drawn again when the theme or the width changes. `window.plots` is all others see.
"use strict";
window.plots = (() => {
  const drawn = new Map();
  const probe = document.createElement("span");
  probe.hidden = true;
  document.documentElement.append(probe);

  function colour(name, alpha = 1) {
    probe.style.color = `var(--${name})`;
    const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g);
    return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
  }

  function axis(label, more = {}) {
    return {
      label,
      labelSize: label ? 18 : 0,
      labelGap: 2,
      labelFont: "500 11px Inter, sans-serif",
      font: "11px Inter, sans-serif",
      stroke: () => colour("ink-2"),
      grid: { stroke: () => colour("line"), width: 1 },
      ticks: { stroke: () => colour("line"), width: 1, size: 4 },
      gap: 4,
      size: 44,
      ...more,
    };
  }

  function xAxis(label, more = {}) {
    return axis(label, { size: 26, ...more });
  }

  // Times of day in UTC, as everywhere on the pages.
  const clock = (_u, seconds) => seconds.map((at) => new Date(at * 1000).toISOString().slice(11, at % 60 ? 19 : 16));

  // The same for longer times: midnights are dates.
  const moments = (_u, seconds) =>
    seconds.map((at) => {
      const text = new Date(at * 1000).toISOString();
      return at % 86400 ? text.slice(11, at % 60 ? 19 : 16) : `${+text.slice(8, 10)} ${MONTHS[text.slice(5, 7) - 1]}`;
    });
  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

  const dots = (u, seriesIndex) => {
    // One path of squares: uPlot's own points are circles, drawn one by one.
    const path = new Path2D();
    const size = 2.2 * devicePixelRatio;
    const xs = u.data[0];
    const ys = u.data[seriesIndex];
    for (let i = 0; i < xs.length; i++) {
      if (ys[i] === null) continue;
      path.rect(u.valToPos(xs[i], "x", true) - size / 2, u.valToPos(ys[i], u.series[seriesIndex].scale, true) - size / 2, size, size);
    }
    return { fill: path, stroke: null, clip: null, flags: 3 };
  };

  function scatter(label, name) {
    return { label, stroke: () => colour(name), fill: () => colour(name), width: 0, paths: dots, points: { show: false } };
  }

  function line(label, name, more = {}) {
    return { label, stroke: () => colour(name), width: 1.6, points: { show: false }, ...more };
  }

  function draw(element, options, data) {
    const known = drawn.get(element.id);
    if (known && known.root.isConnected && known.kind === options.kind) {
      // New numbers leave a zoomed plot where it is.
      known.setData(data, !known.zoomed);
      if (known.zoomed) known.redraw();
      return known;
    }
    if (known) known.destroy();
    element.replaceChildren();
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: element.clientHeight,
        padding: [8, 16, 0, 0],
        tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
        cursor: { y: false, points: { size: 6 }, drag: { x: true, y: false } },
        ...options,
      },
      data,
      element,
    );
    plot.kind = options.kind;
    plot.hooks.setSelect = [...(plot.hooks.setSelect || []), (u) => (u.zoomed = u.select.width > 0 || u.zoomed)];
    plot.over.addEventListener("dblclick", () => (plot.zoomed = false));
    drawn.set(element.id, plot);
    element.dataset.ready = "1";
    return plot;
  }

  new ResizeObserver(() => {
    for (const plot of drawn.values()) {
      const element = plot.root.parentElement;
      if (element && element.clientWidth && element.clientWidth !== plot.width) plot.setSize({ width: element.clientWidth, height: element.clientHeight });
    }
  }).observe(document.documentElement);
  document.addEventListener("theme", () => drawn.forEach((plot) => plot.redraw()));

  return { clock, moments, colour, axis, xAxis, scatter, line, draw };
})();
