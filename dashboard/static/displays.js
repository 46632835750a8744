// Event displays: the pictures of a plane side by side, zoomed and moved together. Without this script they are plain images.
// The view is kept as channels and ticks, so that pictures with other numbers of ticks a pixel stay together; it stands in the address
// as zoom=CHANNEL-CHANNEL,TICK-TICK.
"use strict";
(() => {
  const STEP = 1.5; // of one zoom by button, key or notch of a wheel
  const LEAST = 8; // channels or ticks in sight
  const [LEFT, BOTTOM, TOP] = [46, 30, 4]; // CSS pixels around a picture, for its axes
  const HEIGHT = 420;
  let panes = [];
  let view = null;
  let whole = null;
  let drawnKey = "";
  let queued = false;

  const at = (id) => document.getElementById(id);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // --- the view ---

  function set(next) {
    const width = clamp(next.c1 - next.c0, Math.min(LEAST, whole.c1 - whole.c0), whole.c1 - whole.c0);
    const height = clamp(next.t1 - next.t0, Math.min(LEAST, whole.t1 - whole.t0), whole.t1 - whole.t0);
    const c0 = clamp(next.c0, whole.c0, whole.c1 - width);
    const t0 = clamp(next.t0, whole.t0, whole.t1 - height);
    view = { c0, c1: c0 + width, t0, t1: t0 + height };
    // One finger scrolls the page over a picture that is shown whole, and moves one that is not.
    for (const { canvas } of panes) canvas.style.touchAction = isWhole() ? "pan-y" : "none";
    redraw();
    clearTimeout(set.later);
    set.later = setTimeout(keep, 250);
  }

  // `factor` below 1 zooms in; (channel, tick) stays where it is.
  function zoom(factor, channel = (view.c0 + view.c1) / 2, tick = (view.t0 + view.t1) / 2, along = "both") {
    const x = along === "ticks" ? 1 : factor;
    const y = along === "channels" ? 1 : factor;
    set({
      c0: channel - (channel - view.c0) * x,
      c1: channel + (view.c1 - channel) * x,
      t0: tick - (tick - view.t0) * y,
      t1: tick + (view.t1 - tick) * y,
    });
  }

  function move(channels, ticks) {
    set({ c0: view.c0 + channels, c1: view.c1 + channels, t0: view.t0 + ticks, t1: view.t1 + ticks });
  }

  function isWhole() {
    return view.c0 <= whole.c0 && view.c1 >= whole.c1 && view.t0 <= whole.t0 && view.t1 >= whole.t1;
  }

  function keep() {
    if (!panes.length) return;
    const round = Math.round;
    window.runQuality.remember("zoom", isWhole() ? null : `${round(view.c0)}-${round(view.c1)},${round(view.t0)}-${round(view.t1)}`);
  }

  function kept() {
    const found = /^(\d+)-(\d+),(\d+)-(\d+)$/.exec(new URLSearchParams(location.search).get("zoom") || "");
    if (!found) return null;
    const [c0, c1, t0, t1] = found.slice(1).map(Number);
    return c0 < c1 && t0 < t1 ? { c0, c1, t0, t1 } : null;
  }

  // --- drawing ---

  function redraw() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      panes.forEach(drawPane);
    });
  }

  // The stretch of the axis that is in sight, with at most `most` ticks at round numbers.
  function rounds(low, high, most) {
    const rough = (high - low) / Math.max(1, most);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough));
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(value);
    return found;
  }

  function drawPane(pane) {
    const { canvas, axes, tall } = pane;
    const ratio = devicePixelRatio;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const ctx = canvas.getContext("2d");
    const { colour } = plots;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    const box = { x: LEFT, y: TOP, w: width - LEFT - 1, h: height - TOP - BOTTOM };
    pane.box = box;
    const perChannel = box.w / (view.c1 - view.c0);
    const perTick = box.h / (view.t1 - view.t0);
    const perPixel = perTick * axes.ticks_per_pixel;
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.x, box.y, box.w, box.h);
    ctx.clip();
    // Many pixels in one are averaged, single ones are squares.
    ctx.imageSmoothingEnabled = perChannel < 1 || perPixel < 1;
    ctx.imageSmoothingQuality = "high";
    const top = axes.n_ticks > tall * axes.ticks_per_pixel ? axes.n_ticks : tall * axes.ticks_per_pixel;
    const put = (channels, pixels) =>
      ctx.drawImage(pane.shades, box.x + (axes.first_channel - view.c0 + channels) * perChannel, box.y + (view.t1 - top) * perTick + pixels * perPixel, axes.n_channels * perChannel, top * perTick);
    if (pane.kind === "sp" && ctx.imageSmoothingEnabled) {
      // Charge is sparse: of many pixels in one the strongest is shown, or thin tracks would fade away.
      ctx.imageSmoothingEnabled = false;
      const [across, along] = [perChannel, perPixel].map((size) => clamp(Math.ceil(1 / size), 1, 5));
      for (let i = 0; i < across; i++) {
        for (let j = 0; j < along; j++) {
          put(i, -j);
          ctx.globalCompositeOperation = pane.shades === pane.dark ? "lighten" : "darken";
        }
      }
    } else put(0, 0);
    ctx.restore();
    ctx.strokeStyle = colour("line");
    ctx.lineWidth = 1;
    ctx.strokeRect(box.x + 0.5, box.y + 0.5, box.w - 1, box.h - 1);
    ctx.font = "11px Inter, sans-serif";
    ctx.fillStyle = colour("ink-2");
    ctx.strokeStyle = colour("ink-3");
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    for (const channel of rounds(view.c0, view.c1, box.w / 64)) {
      const x = box.x + (channel + 0.5 - view.c0) * perChannel;
      if (x < box.x || x > box.x + box.w) continue;
      line(ctx, x, box.y + box.h, x, box.y + box.h + 4);
      const half = ctx.measureText(`${channel}`).width / 2;
      ctx.fillText(`${channel}`, clamp(x, half, width - half), box.y + box.h + 6);
    }
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    // Time on the left: ticks on the first picture, microseconds on the others.
    const scale = pane.first ? 1 : axes.tick_ns / 1000;
    for (const tick of rounds(view.t0 * scale, view.t1 * scale, box.h / 44)) {
      const y = box.y + (view.t1 - tick / scale) * perTick;
      line(ctx, box.x - 4, y, box.x, y);
      ctx.fillText(`${tick}`, box.x - 6, clamp(y, 6, box.y + box.h));
    }
    ctx.fillStyle = colour("ink-3");
    ctx.textAlign = "left";
    ctx.textBaseline = "bottom";
    ctx.fillText(pane.first ? "tick" : "µs", 0, height);
    ctx.textAlign = "right";
    ctx.fillText("channel", width, height);
  }

  function line(ctx, x0, y0, x1, y1) {
    ctx.beginPath();
    ctx.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
    ctx.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
    ctx.stroke();
  }

  // On a dark page pictures have their light and dark exchanged, hues stay; the style sheet does the same to the scale of colours.
  function shade() {
    const [red, green, blue] = plots.colour("panel").match(/[\d.]+/g).map(Number);
    const dark = red + green + blue < 380;
    for (const pane of panes) {
      if (!dark) pane.shades = pane.image;
      else if (pane.dark) pane.shades = pane.dark;
      else {
        const { naturalWidth: width, naturalHeight: height } = pane.image;
        pane.dark = pane.shades = Object.assign(document.createElement("canvas"), { width, height });
        const ctx = pane.dark.getContext("2d");
        ctx.filter = `invert(1) hue-rotate(180deg)${pane.kind === "sp" ? " brightness(1.5)" : ""}`;
        ctx.drawImage(pane.image, 0, 0);
      }
    }
    redraw();
  }

  // --- the hand on it ---

  function place(pane, event) {
    const { box } = pane;
    const edge = pane.canvas.getBoundingClientRect();
    return {
      channel: view.c0 + ((event.clientX - edge.left - box.x) / box.w) * (view.c1 - view.c0),
      tick: view.t1 - ((event.clientY - edge.top - box.y) / box.h) * (view.t1 - view.t0),
    };
  }

  function read(pane, { channel, tick }) {
    const { axes } = pane;
    const number = Math.floor(channel);
    const time = Math.floor(tick);
    const readout = at("display-readout");
    if (number < axes.first_channel || number >= axes.first_channel + axes.n_channels || time < 0 || time >= axes.n_ticks) {
      readout.textContent = readout.dataset.hint;
      return;
    }
    const values = panes.map((other) => `${other.kind} ${valueAt(other, number, time)}`).join(", ");
    readout.textContent = `channel ${number}, tick ${time} (${((time * axes.tick_ns) / 1000).toFixed(1)} µs): ${values}`;
  }

  // What the colour of a pixel stands for, within the step of the scale.
  function valueAt(pane, channel, tick) {
    const { axes, scale, image, tall } = pane;
    if (!scale) return "–";
    const probe = (valueAt.canvas ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }));
    const ctx = (valueAt.context ??= probe.getContext("2d", { willReadFrequently: true }));
    ctx.drawImage(image, channel - axes.first_channel, tall - 1 - Math.floor(tick / axes.ticks_per_pixel), 1, 1, 0, 0, 1, 1);
    const [red, green, blue] = ctx.getImageData(0, 0, 1, 1).data;
    let best = 0;
    let least = Infinity;
    scale.colours.forEach(([r, g, b], i) => {
      const far = (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2;
      if (far < least) [best, least] = [i, far];
    });
    const last = scale.colours.length - 1;
    const value = scale.low + ((scale.high - scale.low) * best) / last;
    const bound = best === last ? "≥ " : best === 0 && scale.low < 0 ? "≤ " : "≈ ";
    return best === 0 && scale.low === 0 ? `0 ${scale.unit}` : `${bound}${Math.round(value)} ${scale.unit}`;
  }

  function listen(pane) {
    const { canvas } = pane;
    const fingers = new Map();
    let pinch = 0;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      fingers.set(event.pointerId, event);
      canvas.setPointerCapture(event.pointerId);
      pinch = apart();
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return read(pane, place(pane, event));
      fingers.set(event.pointerId, event);
      if (fingers.size === 2) {
        const now = apart();
        const [one, two] = [...fingers.values()].map((finger) => place(pane, finger));
        if (pinch && now) zoom(pinch / now, (one.channel + two.channel) / 2, (one.tick + two.tick) / 2);
        pinch = now;
      } else if (fingers.size === 1) {
        const [from, to] = [place(pane, before), place(pane, event)];
        move(from.channel - to.channel, from.tick - to.tick);
      }
    });
    const up = (event) => {
      fingers.delete(event.pointerId);
      pinch = apart();
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => (at("display-readout").textContent = at("display-readout").dataset.hint));
    canvas.addEventListener("dblclick", (event) => zoom(1 / (STEP * STEP), place(pane, event).channel, place(pane, event).tick));
    // A wheel scrolls the page, until the picture was clicked or Control is held.
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (document.activeElement !== canvas && !event.ctrlKey) return;
        event.preventDefault();
        const { channel, tick } = place(pane, event);
        zoom(STEP ** clamp(event.deltaY / 100, -2, 2), channel, tick, event.shiftKey ? "channels" : event.altKey ? "ticks" : "both");
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const [dc, dt] = [0.15 * (view.c1 - view.c0), 0.15 * (view.t1 - view.t0)];
      const does = {
        "+": () => zoom(1 / STEP),
        "=": () => zoom(1 / STEP),
        "-": () => zoom(STEP),
        0: () => set(whole),
        Home: () => set(whole),
        ArrowLeft: () => move(-dc, 0),
        ArrowRight: () => move(dc, 0),
        ArrowUp: () => move(0, dt),
        ArrowDown: () => move(0, -dt),
      }[event.key];
      if (!does) return;
      event.preventDefault();
      does();
    });

    function apart() {
      if (fingers.size !== 2) return 0;
      const [one, two] = [...fingers.values()];
      return Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY);
    }
  }

  // --- beginning ---

  function scaleOf(figure) {
    const colours = [...figure.querySelectorAll(".colours rect")].map((rect) => rect.getAttribute("fill").match(/[\da-f]{2}/gi).map((part) => parseInt(part, 16)));
    const words = figure.querySelector(".colours");
    return words && colours.length > 1 ? { low: Number(words.dataset.low), high: Number(words.dataset.high), unit: words.dataset.unit, colours } : null;
  }

  async function begin() {
    panes = [];
    const holder = at("displays-data");
    if (!holder) return;
    const { axes, key } = JSON.parse(holder.textContent);
    const figures = [...document.querySelectorAll("#views figure")].filter((figure) => axes[figure.dataset.kind] && figure.querySelector("img"));
    const loading = figures.map(async (figure) => {
      const image = figure.querySelector("img");
      await image.decode();
      return { figure, image };
    });
    const loaded = (await Promise.allSettled(loading)).filter((one) => one.status === "fulfilled").map((one) => one.value);
    // Another plane may have been chosen meanwhile.
    if (!loaded.length || holder !== at("displays-data")) return;
    const all = loaded.map(({ figure }) => axes[figure.dataset.kind]);
    whole = {
      c0: Math.min(...all.map((one) => one.first_channel)),
      c1: Math.max(...all.map((one) => one.first_channel + one.n_channels)),
      t0: 0,
      t1: Math.max(...all.map((one) => one.n_ticks)),
    };
    view = kept() || whole;
    drawnKey = JSON.stringify(key);
    panes = loaded.map(({ figure, image }, i) => pane(figure, image, axes[figure.dataset.kind], i === 0));
    shade();
    const readout = at("display-readout");
    readout.dataset.hint = "Drag to move. Click, then wheel or + and − to zoom, arrow keys to move, 0 for all of it; Shift: channels only, Alt: ticks only.";
    readout.textContent = readout.dataset.hint;
    readout.hidden = false;
    at("viewer-buttons").hidden = false;
    set(view);
    requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("displays")));
  }

  function pane(figure, image, axes, first) {
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-roledescription", "event display");
    canvas.setAttribute("aria-label", `${image.alt}. Plus and minus zoom, arrow keys move, 0 shows all of it.`);
    canvas.id = `display-${figure.dataset.kind}`;
    canvas.style.height = `${HEIGHT + TOP + BOTTOM}px`;
    image.hidden = true;
    image.after(canvas);
    figure.querySelector(".axes-words").hidden = true;
    const made = { canvas, image, shades: image, dark: null, axes, first, kind: figure.dataset.kind, tall: image.naturalHeight, scale: scaleOf(figure), box: null };
    listen(made);
    return made;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]");
    if (!button || !panes.length) return;
    if (button.dataset.zoom === "whole") set(whole);
    else zoom(button.dataset.zoom === "in" ? 1 / STEP : STEP);
  });
  document.addEventListener("soft", () => {
    // The same pictures stay as they are, unless their section was exchanged.
    const holder = at("displays-data");
    const same = holder && JSON.stringify(JSON.parse(holder.textContent).key) === drawnKey && panes.length && panes[0].canvas.isConnected;
    if (!same) begin();
    else if (kept() || !isWhole()) set(kept() || whole);
  });
  document.addEventListener("theme", shade);
  new ResizeObserver(redraw).observe(document.documentElement);
  begin();
})();
