// A run's page: all its files by stages on one canvas. A column is a file, its cells are the stages and, below them, its data quality.
// Every state has a shape of its own, so that it can be told without its colour.
"use strict";
(() => {
  const section = document.getElementById("matrix");
  if (!section) return;
  const area = document.getElementById("matrix-area");
  const canvas = document.getElementById("matrix-canvas");
  const readout = document.getElementById("matrix-readout");
  const base = document.documentElement.dataset.base;
  const hint = readout.textContent;
  const FLAGS = ["null", "good", "medium", "bad"];
  const FLAG_WORDS = ["not judged", "good", "medium", "bad"];
  const WIDTHS = [14, 12, 10, 8, 6, 5, 4, 3];
  const LEFT = 46; // room for the number of a line's first file
  const GAP = 9; // between two lines of files
  const HIGHEST = 680; // the cells shrink until all files fit into so many pixels, if they can
  let data = null;
  let late = new Set();
  let shape = null; // how the canvas is divided
  let cursor = null;

  const probe = document.createElement("span");
  probe.hidden = true;
  section.append(probe);
  function colour(name, alpha = 1) {
    probe.style.color = `var(--${name})`;
    const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g);
    return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
  }

  function divide() {
    const width = area.clientWidth;
    const rows = Object.keys(data.stages).length + 1;
    for (const cell of WIDTHS) {
      const across = Math.max(1, Math.floor((width - LEFT) / cell));
      const height = Math.max(4, Math.min(cell, 12));
      const line = rows * height + 2 + GAP;
      const lines = Math.ceil(data.files / across);
      shape = { cell, across, height, rows, line, lines, width, total: lines * line };
      if (shape.total <= HIGHEST) return;
    }
  }

  // One path for each state: ten thousand files are drawn in some milliseconds.
  function draw() {
    divide();
    const scale = devicePixelRatio;
    canvas.width = shape.width * scale;
    canvas.height = shape.total * scale;
    canvas.style.width = `${shape.width}px`;
    canvas.style.height = `${shape.total}px`;
    const ink = canvas.getContext("2d");
    ink.scale(scale, scale);
    const paths = {};
    const path = (name) => (paths[name] ??= new Path2D());
    const inner = shape.cell > 5 ? 2 : shape.cell > 4 ? 1 : 0;
    const w = shape.cell - inner;
    const h = shape.height - (shape.height > 5 ? 2 : 1);
    const strings = [...Object.values(data.stages), data.quality];
    for (let i = 0; i < data.files; i++) {
      const x = LEFT + (i % shape.across) * shape.cell;
      const top = Math.floor(i / shape.across) * shape.line;
      for (let row = 0; row < shape.rows; row++) {
        const sort = strings[row][i];
        const quality = row === shape.rows - 1;
        const y = top + row * shape.height + (quality ? 2 : 0);
        if (quality) {
          if (sort !== "-") mark(path(`flag-${FLAGS[sort]}`), sort === "0" ? "wait" : sort === "1" ? "done" : sort === "2" ? "work" : "parked", x, y, w, h);
        } else {
          mark(path(data.kinds[sort]), data.kinds[sort], x, y, w, h);
        }
      }
      // Where cells are small, a mark below says which file is parked.
      if (shape.cell < 8 && isParked(i)) path("parked").rect(x - 1, top + shape.rows * shape.height + 3, w + 2, 3);
      if (late.has(i)) path("late").rect(x, top - 3, w, 2);
    }
    const styles = { done: ["done", 0.42], work: ["work", 1], wait: ["wait", 0.9], parked: ["parked", 1], waived: ["waived", 1], late: ["late", 1], "flag-null": ["null", 0.9], "flag-good": ["good", 0.9], "flag-medium": ["medium", 1], "flag-bad": ["bad", 1] };
    for (const [name, drawn] of Object.entries(paths)) {
      ink.fillStyle = colour(...styles[name]);
      ink.fill(drawn, "evenodd");
    }
    ink.fillStyle = colour("ink-3");
    ink.font = "10px Inter, sans-serif";
    ink.textBaseline = "top";
    ink.textAlign = "right";
    for (let line = 0; line < shape.lines; line++) {
      const first = line * shape.across;
      ink.fillText(String(data.index[first] ?? first + 1), LEFT - 8, line * shape.line + 1);
    }
    if (cursor !== null) {
      const [x, top] = place(cursor);
      ink.strokeStyle = colour("ink");
      ink.lineWidth = 2;
      ink.strokeRect(x - 2, top - 2, w + 4, shape.rows * shape.height + 4);
    }
    section.dataset.ready = "1";
  }

  // Done: a full cell; at work: a wedge, or the lower half where there is no room; waiting: a dot; parked: full with a hole; waived: a line.
  function mark(path, kind, x, y, w, h) {
    if (kind === "done") path.rect(x, y, w, h);
    else if (kind === "parked") {
      path.rect(x, y, w, h);
      const hole = Math.max(1, Math.floor(Math.min(w, h) / 3));
      path.rect(x + (w - hole) / 2, y + (h - hole) / 2, hole, hole);
    } else if (kind === "work") {
      if (w < 5) return path.rect(x, y + h / 2, w, h / 2);
      path.moveTo(x, y);
      path.lineTo(x + w, y + h / 2);
      path.lineTo(x, y + h);
      path.closePath();
    } else if (kind === "wait") {
      const size = Math.max(1, Math.min(w, h) * 0.4);
      path.rect(x + (w - size) / 2, y + (h - size) / 2, size, size);
    } else path.rect(x, y + h / 2 - 0.5, w, 1);
  }

  function place(i) {
    return [LEFT + (i % shape.across) * shape.cell, Math.floor(i / shape.across) * shape.line];
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - LEFT) / shape.cell);
    const line = Math.floor((event.clientY - box.top) / shape.line);
    const i = line * shape.across + column;
    return column >= 0 && column < shape.across && i >= 0 && i < data.files ? i : null;
  }

  function tell(i) {
    if (i === null) {
      readout.textContent = hint;
      return;
    }
    const stages = Object.entries(data.stages).map(([stage, states]) => `${stage} ${data.words[states[i]]}`);
    const flag = data.quality[i];
    const parts = [`file ${data.index[i] ?? "–"}: ${stages.join(", ")}`, `quality ${flag === "-" ? "–" : FLAG_WORDS[flag]}`];
    if (late.has(i)) parts.push("late");
    if (data.messages[i]) parts.push(data.messages[i]);
    parts.push(name(i));
    readout.textContent = parts.join("; ");
  }

  const did = (i) => data.prefix + data.names[i] + data.suffix;
  const name = (i) => did(i).slice(did(i).indexOf(":") + 1);

  function open(i) {
    location.assign(`${base}/files/${encodeURIComponent(did(i))}`);
  }

  function go(i) {
    cursor = Math.max(0, Math.min(data.files - 1, i));
    draw();
    tell(cursor);
    const [, top] = place(cursor);
    if (top < area.scrollTop || top + shape.line > area.scrollTop + area.clientHeight) area.scrollTop = top - area.clientHeight / 2;
  }

  function isParked(i) {
    const parked = String(data.states.indexOf("parked"));
    return Object.values(data.stages).some((states) => states[i] === parked);
  }

  function nextParked(from) {
    for (let step = 1; step <= data.files; step++) {
      const i = (from + step) % data.files;
      if (isParked(i)) return i;
    }
    return null;
  }

  const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -shape.across, ArrowDown: () => shape.across, PageUp: () => -5 * shape.across, PageDown: () => 5 * shape.across, Home: () => -data.files, End: () => data.files };
  area.addEventListener("keydown", (event) => {
    if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && cursor !== null) open(cursor);
    else if (event.key === "p" || event.key === "P") {
      const found = nextParked(cursor ?? -1);
      if (found === null) readout.textContent = "No file is parked.";
      else go(found);
    } else if (STEPS[event.key]) {
      event.preventDefault();
      go(cursor === null ? 0 : cursor + STEPS[event.key]());
    }
  });
  area.addEventListener("focus", () => data && cursor === null && area.matches(":focus-visible") && go(0));
  area.addEventListener("blur", () => {
    cursor = null;
    if (data) draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!data) return;
    const i = at(event);
    canvas.classList.toggle("over", i !== null);
    tell(i ?? cursor);
  });
  canvas.addEventListener("pointerleave", () => data && tell(cursor));
  canvas.addEventListener("click", (event) => {
    const i = data && at(event);
    if (i !== null) open(i);
  });

  async function load() {
    const answer = await fetch(section.dataset.source);
    if (!answer.ok) return;
    const read = await answer.json();
    if (!read.files) return;
    data = read;
    late = new Set(data.late);
    section.hidden = false;
    if (cursor !== null) cursor = Math.min(cursor, data.files - 1);
    draw();
  }

  new ResizeObserver(() => data && area.clientWidth !== shape.width && draw()).observe(area);
  document.addEventListener("theme", () => data && draw());
  document.addEventListener("soft", load);
  load();
})();
