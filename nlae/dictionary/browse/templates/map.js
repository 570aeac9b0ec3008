"use strict";
// The map of all neurons: bytes painted on a canvas, one square per neuron, one band of rows per block, the best first.
(() => {
  const home = document.getElementById("map");
  const live = home.dataset.live === "yes";
  const [canvas, field, tip, mark, select, ramp] = ["canvas", ".field", ".tip", ".cursor", "select", ".ramp"].map((name) => home.querySelector(name));
  const NONE = 255, SCALE = 200, GUTTER = 34, GAP = 5, SIZES = [16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1];
  const KINDS = ["not scored", "does not pass", "token", "context"];
  const SWATCHES = {
    auroc: [[NONE, "not scored"], [80, "0.4"], [100, "0.5, chance"], [120, "0.6"], [140, "0.7"], [160, "0.8"], [180, "0.9"], [200, "1"]],
    kind: KINDS.map((text, value) => [value, text]),
  };
  let data = null, bands = [], size = 1, at = null, asked = 0;

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    node.className = name;
    node.textContent = text;
    return node;
  };
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // Colour of every byte of a measure, from the page's own variables.
  function colours(measure) {
    const [base, accent, deep, below, token, none] = ["base", "accent", "deep", "below", "token", "none"].map((name) => {
      const hex = getComputedStyle(document.documentElement).getPropertyValue(`--map-${name}`).trim();
      return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
    });
    const mixed = (one, other, share) => one.map((value, i) => Math.round(value + (other[i] - value) * share));
    const colour = (value) => {
      if (measure === "kind") return [none, base, token, accent][value] || none;
      if (value === NONE) return none;
      const t = value / SCALE * 2 - 1;  // below 0 is below chance
      if (t < 0) return mixed(base, below, Math.min(1, -t * 2.2));
      return t < 0.6 ? mixed(base, accent, t / 0.6) : mixed(accent, deep, (Math.min(t, 1) - 0.6) / 0.4);
    };
    return Array.from({ length: 256 }, (_, value) => `rgb(${colour(value).join(" ")})`);
  }

  // The entry that a square shows: the sign that is predicted better.
  function better(band, neuron) {
    const plus = band.start + neuron, minus = plus + band.width, a = data.auroc[plus], b = data.auroc[minus];
    return b !== NONE && (a === NONE || b > a) ? minus : plus;
  }

  function draw() {
    leave();
    at = null;
    const room = field.clientWidth - GUTTER, measure = select.value, colour = colours(measure);
    const rank = (band, neuron) => (data[measure][better(band, neuron)] + 1) % 256;  // what is not there comes last
    for (size of SIZES) {
      const across = Math.max(1, Math.floor(room / size));
      let y = 0;
      for (const band of bands) {
        band.top = y;
        band.rows = Math.ceil(band.width / across);
        band.columns = Math.ceil(band.width / band.rows);
        band.step = Math.min(room / band.columns, 1.6 * size);
        y += band.rows * size + GAP;
      }
      if (y <= 620) break;
    }
    const last = bands[bands.length - 1], sharp = window.devicePixelRatio || 1;
    const height = last ? last.top + last.rows * size + GAP : 0;
    canvas.style.height = `${height}px`;
    canvas.style.width = `${field.clientWidth}px`;
    canvas.width = Math.round(field.clientWidth * sharp);
    canvas.height = Math.round(height * sharp);
    const brush = canvas.getContext("2d"), style = getComputedStyle(home), line = size < 5 ? 0 : 1;
    brush.scale(sharp, sharp);
    brush.font = `11px ${style.fontFamily}`;
    brush.textAlign = "right";
    brush.textBaseline = "middle";
    let written = -20;
    for (const band of bands) {
      band.order = Uint32Array.from({ length: band.width }, (_, neuron) => neuron).sort((a, b) => rank(band, b) - rank(band, a) || a - b);
      band.order.forEach((neuron, place) => {
        brush.fillStyle = colour[data[measure][better(band, neuron)]];
        const [x, y] = corner(band, place);
        brush.fillRect(x, y, band.step - line, size - line);
      });
      const middle = band.top + band.rows * size / 2;
      if (middle - written < 13) continue;
      brush.fillStyle = style.color;
      brush.fillText(String(band.layer), GUTTER - 8, middle);
      written = middle;
    }
    ramp.replaceChildren(...SWATCHES[measure].map(([value, text]) => {
      const item = make("li", "", text), box = make("i", "", "");
      box.style.background = colour[value];
      item.prepend(box);
      return item;
    }));
  }

  function corner(band, place) {
    return [GUTTER + Math.floor(place / band.rows) * band.step, band.top + (place % band.rows) * size];
  }

  function point(band, place) {
    at = { band, place };
    const neuron = band.order[place], [x, y] = corner(band, place);
    Object.assign(mark.style, { transform: `translate(${x - 2}px, ${y - 2}px)`, width: `${band.step + 3}px`, height: `${size + 3}px` });
    tip.replaceChildren(make("b", "", `${band.layer}.${neuron}`));
    const lines = ["+", "\u2212"].flatMap((sign, s) => {
      const i = band.start + s * band.width + neuron, kind = data.kind[i];
      if (kind === NONE) return [];
      const line = make("p", kind > 1 ? "yes" : "none", "");
      line.append(make("span", "sign", sign), make("small", "", kind ? `AUROC ${(data.auroc[i] / SCALE).toFixed(2)}, ${KINDS[kind]}` : KINDS[0]));
      tip.append(line);
      return [line];
    });
    mark.hidden = tip.hidden = false;
    tip.style.left = `${Math.max(0, Math.min(x + band.step + 10, field.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${y + size + 10}px`;
    if (!live) return;
    const mine = ++asked;
    setTimeout(async () => {
      if (mine !== asked) return;
      const answer = await fetch(`/peek/${band.layer}/${neuron}`).catch(() => null);  // the server may have gone
      const words = answer && answer.ok ? await answer.json() : [];
      if (mine !== asked) return;
      words.forEach((text, i) => { lines[i].querySelector(".sign").after(make("span", "words", text)); });
    }, 90);
  }

  function leave() { asked++; tip.hidden = mark.hidden = true; }
  function locate(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left - GUTTER, y = event.clientY - box.top;
    const band = bands.find((one) => y >= one.top && y < one.top + one.rows * size);
    const column = band ? Math.floor(x / band.step) : -1;
    const place = column < 0 ? -1 : column * band.rows + Math.floor((y - band.top) / size);
    return column >= 0 && column < band.columns && place < band.width ? { band, place } : null;
  }
  function start(given) {
    data = { auroc: bytes(given.auroc), kind: bytes(given.kind) };
    let offset = 0;
    bands = given.layers.map(({ layer, width }) => {
      offset += 2 * width;
      return { layer, width, start: offset - 2 * width };
    });
    draw();
    home.dataset.ready = "yes";
    let width = field.clientWidth;
    new ResizeObserver(() => { if (field.clientWidth !== width) { width = field.clientWidth; draw(); } }).observe(field);
    select.addEventListener("change", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    canvas.addEventListener("pointermove", (event) => {
      const found = locate(event);
      if (!found) return leave();
      if (!at || mark.hidden || at.band !== found.band || at.place !== found.place) point(found.band, found.place);
    });
    canvas.addEventListener("pointerleave", leave);
    canvas.addEventListener("click", (event) => {
      const found = locate(event);
      if (live && found) location.assign(`/neuron/${found.band.layer}/${found.band.order[found.place]}`);
    });
  }

  const inline = document.getElementById("map-data");
  if (inline) start(JSON.parse(inline.textContent));
  else fetch("/map.json").then((answer) => answer.json()).then(start);
})();
