"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const home = document.getElementById("text");
  const panel = document.getElementById("panel");
  const buttons = [];

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const show = (value, digits = 2) =>
    value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "\u2212");
  // The scale is fixed, so that a colour means the same on every page.
  const tint = (value) => {
    if (value === null) return "var(--faint)";
    const v = Math.max(-1, Math.min(1, value));
    const [colour, most] = v < 0 ? ["--below", 48] : ["--accent", 55];
    return `color-mix(in srgb, var(${colour}) ${(Math.abs(v) * most).toFixed(1)}%, var(--paper))`;
  };
  const visible = (piece) => (/^[\n\r]+$/.test(piece) ? piece.replace(/[\n\r]/g, "\u21b5") : piece === "" ? "\u00b7" : piece);
  const score = (read) => (data.measure === "cosine" ? read.cosine : read.fve);

  function token(passage, index, read) {
    const piece = passage.tokens[index];
    const button = make("button", "token");
    const word = make("span", "word", visible(piece));
    if (/^[\n\r]*$/.test(piece)) word.classList.add("invisible");
    word.dir = "auto";
    button.type = "button";
    button.tabIndex = -1;
    button.setAttribute("aria-pressed", "false");
    button.append(word, make("span", "value", show(score(read))));
    button.style.setProperty("--tint", tint(score(read)));
    if (read.mark) button.classList.add("odd");
    const entry = { button, passage, index, read };
    button.addEventListener("click", () => choose(entry, true));
    button.addEventListener("focus", () => choose(entry, false));
    button.addEventListener("keydown", (event) => move(event, entry));
    buttons.push(entry);
    return button;
  }

  function draw(passage) {
    const section = make("section");
    if (data.passages.length > 1) section.append(make("h2", "", passage.name));
    for (const turn of passage.turns) {
      const block = make("div", "turn" + (turn.role ? " chat" : "") + (passage.kind === "vector" ? " cards" : ""));
      if (turn.role) {
        const role = make("span", "role", turn.role);
        if (turn.generated) role.append(make("span", "made", " · the model\u2019s own words"));
        block.append(role);
      }
      let plain = "";
      const flush = () => { if (plain) block.append(make("span", "plain", plain)); plain = ""; };
      for (let i = turn.start; i < turn.end; i++) {
        const read = passage.reads[i];
        if (read) {
          flush();
          block.append(token(passage, i, read));
          if (passage.tokens[i].includes("\n")) block.append(make("br"));
        } else plain += passage.tokens[i];
      }
      flush();
      section.append(block);
    }
    home.append(section);
  }

  function facts(pairs) {
    const line = make("p", "facts num");
    for (const [name, value] of pairs) {
      const span = make("span", "", name + " ");
      span.append(make("b", "", value));
      line.append(span);
    }
    return line;
  }

  let chosen = null;
  function choose(entry, focus) {
    if (chosen === entry && !focus) return;
    if (chosen) { chosen.button.setAttribute("aria-pressed", "false"); chosen.button.tabIndex = -1; }
    chosen = entry;
    entry.button.setAttribute("aria-pressed", "true");
    entry.button.tabIndex = 0;
    const { passage, index, read } = entry;
    panel.replaceChildren();
    const around = make("p", "around");
    around.dir = "auto";
    if (passage.kind !== "vector") {
      const before = passage.tokens.slice(Math.max(0, index - 24), index).join("");
      around.append(document.createTextNode((index > 24 ? "…" : "") + before.replace(/\s*\n\s*/g, " ")));
    }
    around.append(make("mark", "", visible(passage.tokens[index])));
    panel.append(around);
    if (read.mark) panel.append(make("p", "mark", read.mark));
    for (const sample of read.samples) {
      const box = make("div", "sample");
      const said = make("p", "said", sample.text || "(nothing was written)");
      if (!sample.closed) said.append(make("span", "cut", " … cut at the length limit"));
      box.append(said);
      const pairs = [];
      if (sample.fve !== null) pairs.push(["FVE", show(sample.fve)]);
      if (sample.fve === null) pairs.push(["cosine", show(sample.cosine)]);
      if (sample.shuffled !== null) pairs.push(["shuffled", show(sample.shuffled)]);
      if (sample.rank !== null) pairs.push(["rank", `${sample.rank} of ${data.others + 1}`]);
      if (sample.alignment !== null) pairs.push(["along", show(sample.alignment)]);
      pairs.push(["tokens", String(sample.n_tokens)]);
      box.append(facts(pairs));
      panel.append(box);
    }
    const where = passage.kind === "vector" ? [] : [["position", String(index)]];
    if (read.role) where.push(["role", read.role]);
    panel.append(facts([...where, ["norm", show(read.norm, 1)]]));
  }

  function vertical(entry, down) {
    const here = entry.button.getBoundingClientRect();
    const middle = here.left + here.width / 2;
    let best = null, least = Infinity;
    for (const other of buttons) {
      const box = other.button.getBoundingClientRect();
      const away = down ? box.top - here.top : here.top - box.top;
      if (away < here.height / 2) continue;
      const cost = away * 40 + Math.abs(box.left + box.width / 2 - middle);
      if (cost < least) { least = cost; best = other; }
    }
    return best;
  }

  function move(event, entry) {
    const at = buttons.indexOf(entry);
    const target = {
      ArrowRight: () => buttons[at + 1], ArrowLeft: () => buttons[at - 1],
      ArrowDown: () => vertical(entry, true), ArrowUp: () => vertical(entry, false),
      Home: () => buttons[0], End: () => buttons[buttons.length - 1],
    }[event.key];
    if (!target || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const next = target();
    if (next) next.button.focus();
  }

  function find(words) {
    const wanted = words.trim().toLowerCase();
    let hits = 0;
    for (const { button, read } of buttons) {
      const hit = !wanted || read.samples.some((s) => s.text.toLowerCase().includes(wanted));
      button.classList.toggle("faded", !hit);
      if (hit) hits += 1;
    }
    home.classList.toggle("finding", Boolean(wanted));
    document.getElementById("found").textContent = wanted ? `${hits} of ${buttons.length}` : "";
  }

  function table(box) {
    const whole = make("table");
    const head = make("tr");
    const measure = data.measure === "cosine" ? "cosine" : "FVE";
    for (const name of ["position", "token", measure, "shuffled", "rank", "explanation"]) {
      const cell = make("th", ["token", "explanation"].includes(name) ? "" : "num", name);
      cell.scope = "col";
      head.append(cell);
    }
    whole.append(head);
    for (const { passage, index, read } of buttons) {
      for (const sample of read.samples) {
        const row = make("tr");
        row.append(
          make("td", "num", String(index)), make("td", "tok", visible(passage.tokens[index])), make("td", "num", show(sample[data.measure])),
          make("td", "num", show(sample.shuffled)),
          make("td", "num", sample.rank === null ? "–" : String(sample.rank)), make("td", "said", sample.text + (sample.closed ? "" : " … cut at the length limit")));
        whole.append(row);
      }
    }
    box.replaceChildren(whole);
  }

  data.passages.forEach(draw);
  if (buttons.length) choose(buttons[data.first] || buttons[0], false);
  document.getElementById("find").addEventListener("input", (event) => find(event.target.value));
  document.getElementById("numbers").addEventListener("change", (event) => home.classList.toggle("bare", !event.target.checked));
  const rows = document.getElementById("rows");
  rows.addEventListener("toggle", () => { if (rows.open) table(rows.querySelector(".scroll")); });
})();
