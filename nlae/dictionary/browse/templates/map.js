"use strict";
// The map of all neurons: bytes painted on a canvas, one square per neuron, one band of rows per block.
(() => {
  const home = document.getElementById("map");
  if (!home) return;
  const live = home.dataset.live === "yes";
  const canvas = home.querySelector("canvas");
  const field = home.querySelector(".field");
  const tip = home.querySelector(".tip");
  const mark = home.querySelector(".cursor");
  const read = document.getElementById("map-read");
  const select = (name) => home.querySelector(`select[name=${name}]`);
  const NONE = 255, SCALE = 200, GUTTER = 34, GAP = 5, SIZES = [16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1];
  let data = null, bands = [], size = 1, across = 1, at = null, asked = 0;

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const variable = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
  };
  const mixed = (one, other, share) => one.map((value, i) => Math.round(value + (other[i] - value) * share));

  const KINDS = ["not scored", "does not pass", "token", "context"];
  const swatches = {
    auroc: [[NONE, "not scored"], [80, "0.4"], [100, "0.5, chance"], [120, "0.6"], [140, "0.7"], [160, "0.8"], [180, "0.9"], [200, "1"]],
    kind: KINDS.map((text, value) => [value, text]),
  };

  function painter(measure) {
    const base = variable("--map-base"), accent = variable("--map-accent"), deep = variable("--map-deep");
    const below = variable("--map-below"), none = variable("--map-none");
    if (measure === "kind") return Array.from({ length: 256 }, (_, value) => [none, base, variable("--map-token"), accent][value] || none);
    return Array.from({ length: 256 }, (_, value) => {
      if (value === NONE) return none;
      const t = value / SCALE * 2 - 1;  // below 0 is below chance
      if (t < 0) return mixed(base, below, Math.min(1, -t * 2.2));
      return t < 0.6 ? mixed(base, accent, t / 0.6) : mixed(accent, deep, (Math.min(t, 1) - 0.6) / 0.4);
    });
  }

  // Which entry a square shows: the sign asked for, or the one that is predicted better.
  function entry(band, neuron) {
    const sign = select("sign").value;
    const plus = band.start + neuron, minus = plus + band.width;
    if (sign !== "best") return sign === "0" ? plus : minus;
    const a = data.auroc[plus], b = data.auroc[minus];
    return b !== NONE && (a === NONE || b > a) ? minus : plus;
  }

  function arrange() {
    const room = field.clientWidth - GUTTER;
    for (size of SIZES) {
      across = Math.max(1, Math.floor(room / size));
      const height = bands.reduce((sum, band) => sum + Math.ceil(band.width / across) * size + GAP, 0);
      if (height <= 620) break;
    }
    const measure = select("measure").value, byValue = select("order").value === "value";
    const rank = (v) => (v === NONE ? 256 : 255 - v);
    let y = 0;
    for (const band of bands) {
      band.top = y;
      band.rows = Math.ceil(band.width / across);
      band.columns = Math.ceil(band.width / band.rows);
      band.step = Math.min(room / band.columns, 1.6 * size);
      y += band.rows * size + GAP;
      band.shown = new Uint32Array(band.width);
      band.order = new Uint32Array(band.width);
      for (let n = 0; n < band.width; n++) band.shown[n] = entry(band, n);
      if (!byValue) { for (let n = 0; n < band.width; n++) band.order[n] = n; continue; }
      const first = new Uint32Array(258);
      for (let n = 0; n < band.width; n++) first[rank(data[measure][band.shown[n]]) + 1]++;
      for (let v = 1; v < 258; v++) first[v] += first[v - 1];
      for (let n = 0; n < band.width; n++) band.order[first[rank(data[measure][band.shown[n]])]++] = n;
    }
    canvas.style.height = `${y}px`;
    canvas.style.width = `${field.clientWidth}px`;
    paint(y);
  }

  function paint(height) {
    const measure = select("measure").value, colours = painter(measure), sharp = window.devicePixelRatio || 1;
    canvas.width = Math.round(field.clientWidth * sharp);
    canvas.height = Math.round(height * sharp);
    const brush = canvas.getContext("2d");
    brush.scale(sharp, sharp);
    brush.imageSmoothingEnabled = false;
    const style = getComputedStyle(home);
    brush.font = `11px ${style.fontFamily}`;
    brush.textAlign = "right";
    brush.textBaseline = "middle";
    const sheet = document.createElement("canvas");
    let written = -20;
    for (const band of bands) {
      sheet.width = band.columns;
      sheet.height = band.rows;
      const pen = sheet.getContext("2d"), image = pen.createImageData(band.columns, band.rows);
      for (let i = 0; i < band.width; i++) {
        const colour = colours[data[measure][band.shown[band.order[i]]]];
        image.data.set([colour[0], colour[1], colour[2], 255], 4 * ((i % band.rows) * band.columns + Math.floor(i / band.rows)));
      }
      pen.putImageData(image, 0, 0);
      brush.drawImage(sheet, GUTTER, band.top, band.columns * band.step, band.rows * size);
      const middle = band.top + band.rows * size / 2;
      if (middle - written >= 13) {
        brush.fillStyle = style.color;
        brush.fillText(String(band.layer), GUTTER - 8, middle);
        written = middle;
      }
      if (size < 5) continue;
      brush.fillStyle = style.getPropertyValue("--paper");
      for (let c = 1; c <= band.columns; c++) brush.fillRect(GUTTER + c * band.step - 1, band.top, 1, band.rows * size);
      for (let r = 1; r <= band.rows; r++) brush.fillRect(GUTTER, band.top + r * size - 1, band.columns * band.step, 1);
    }
  }

  function legend() {
    const measure = select("measure").value, colours = painter(measure), list = home.querySelector(".ramp");
    list.replaceChildren(...swatches[measure].map(([value, text]) => {
      const item = make("li"), box = make("i");
      box.style.background = `rgb(${colours[value].join(" ")})`;
      item.append(box, text);
      return item;
    }));
  }

  const score = (value) => (value === NONE ? "not scored" : (value / SCALE).toFixed(2));
  function facts(band, neuron) {
    return ["+", "\u2212"].map((sign, s) => {
      const i = band.start + s * band.width + neuron;
      const kind = data.kind[i];
      return { sign, passes: kind > 1, absent: kind === NONE, text: kind ? `AUROC ${score(data.auroc[i])}, ${KINDS[kind]}` : KINDS[0] };
    }).filter((fact) => !fact.absent);
  }

  function point(band, place, spoken) {
    at = { band, place };
    const neuron = band.order[place], found = facts(band, neuron);
    const x = GUTTER + Math.floor(place / band.rows) * band.step, y = band.top + (place % band.rows) * size;
    mark.hidden = false;
    mark.style.transform = `translate(${x - 2}px, ${y - 2}px)`;
    mark.style.width = `${band.step + 3}px`;
    mark.style.height = `${size + 3}px`;
    tip.replaceChildren(make("b", "", `${band.layer}.${neuron}`));
    const lines = found.map((fact) => {
      const line = make("p", fact.passes ? "yes" : "");
      line.append(make("span", "sign", fact.sign), make("small", "", fact.text));
      tip.append(line);
      return line;
    });
    tip.hidden = false;
    const wide = tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(x + band.step + 10, field.clientWidth - wide))}px`;
    tip.style.top = `${y + size + 10}px`;
    const say = () => {
      if (spoken) read.textContent = `Block ${band.layer}, neuron ${neuron}. ` + found.map((f, i) => `${f.sign} ${f.words || ""} ${f.text}`).join(". ");
    };
    if (!live) return say();
    const mine = ++asked;
    setTimeout(async () => {
      if (mine !== asked) return;
      try {
        const answer = await fetch(`/peek/${band.layer}/${neuron}`);
        const words = answer.ok ? await answer.json() : [];
        if (mine !== asked) return;
        words.forEach((word, i) => {
          if (!lines[i]) return;
          found[i].words = `${word.text}.`;
          const text = make("span", word.passes ? "words" : "words none", word.text);
          text.dir = "auto";
          lines[i].querySelector(".sign").after(text);
        });
      } catch { /* the server has gone: the scores are shown all the same */ }
      say();
    }, 90);
  }

  function leave() { asked++; tip.hidden = true; mark.hidden = true; }
  function locate(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left - GUTTER, y = event.clientY - box.top;
    const band = bands.find((one) => y >= one.top && y < one.top + one.rows * size);
    const column = band ? Math.floor(x / band.step) : -1;
    if (column < 0 || column >= band.columns) return null;
    const place = column * band.rows + Math.floor((y - band.top) / size);
    return place < band.width && facts(band, band.order[place]).length ? { band, place } : null;
  }
  function open() {
    if (live && at) location.assign(`/neuron/${at.band.layer}/${at.band.order[at.place]}`);
  }
  function step(event) {
    if (event.key === "Escape") return leave();
    if (event.key === "Enter") return open();
    const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    const jump = { PageDown: 1, PageUp: -1 }[event.key];
    if (!move && !jump && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    let { band, place } = at || { band: bands[0], place: 0 };
    const index = bands.indexOf(band), other = (by) => bands[Math.max(0, Math.min(bands.length - 1, index + by))];
    if (event.key === "Home") place = 0;
    else if (event.key === "End") place = band.width - 1;
    else if (at && jump) band = other(jump);
    else if (at) {
      const column = Math.floor(place / band.rows) + move[0];
      let row = place % band.rows + move[1];
      const next = row < 0 ? other(-1) : row >= band.rows ? other(1) : band;
      if (next !== band) row = row < 0 ? next.rows - 1 : 0;
      band = next;
      row = Math.max(0, Math.min(band.rows - 1, row));
      place = Math.max(0, column) * band.rows + row;
    }
    point(band, Math.max(0, Math.min(band.width - 1, place)), true);
  }

  function start(given) {
    data = { auroc: bytes(given.auroc), kind: bytes(given.kind) };
    let offset = 0;
    bands = given.layers.map(({ layer, width }) => {
      const band = { layer, width, start: offset };
      offset += 2 * width;
      return band;
    });
    const redraw = () => { leave(); at = null; arrange(); legend(); };
    redraw();
    home.dataset.ready = "yes";
    for (const name of ["measure", "sign", "order"]) select(name).addEventListener("change", redraw);
    let width = field.clientWidth;
    new ResizeObserver(() => { if (field.clientWidth !== width) { width = field.clientWidth; redraw(); } }).observe(field);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    canvas.addEventListener("pointermove", (event) => {
      const found = locate(event);
      if (!found) return leave();
      if (!at || mark.hidden || at.band !== found.band || at.place !== found.place) point(found.band, found.place, false);
    });
    canvas.addEventListener("pointerleave", leave);
    canvas.addEventListener("click", (event) => { if ((at = locate(event))) open(); });
    canvas.addEventListener("keydown", step);
    canvas.addEventListener("blur", leave);
  }

  const inline = document.getElementById("map-data");
  if (inline) start(JSON.parse(inline.textContent));
  else fetch("/map.json").then((answer) => answer.json()).then(start);
})();
