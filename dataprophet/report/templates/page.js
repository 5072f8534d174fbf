"use strict";
// What the page does beyond showing what it holds: charts, the choice of a target, the cells of the matrix, the theme.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const state = { target: 0 };

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Numbers as the commands write them: four significant digits.
function number(value) {
  if (value === null || value === undefined) return "-";
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e9) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    const [digits, power] = value.toExponential(3).split("e");
    return `${digits}e${power[0]}${power.slice(1).padStart(2, "0")}`;
  }
  return value === 0 ? "0.000" : value.toPrecision(4);
}
const shown = (value) =>
  typeof value === "number" && !Number.isInteger(value) ? number(value)
    : typeof value === "number" ? value.toLocaleString("en")
    : typeof value === "boolean" ? (value ? "yes" : "no") : value === null ? "-" : String(value);

// Columns, as the page keeps them, to rows.
function rows(key) {
  const columns = data.rows[key] || {};
  const names = Object.keys(columns);
  return names.length ? columns[names[0]].map((_, i) => Object.fromEntries(names.map((n) => [n, columns[n][i]]))) : [];
}
const keyOf = (figure) => figure.dataset.rows === "target" ? `target/${state.target}` : figure.dataset.rows;

// ---- charts
async function draw(figure) {
  const spec = structuredClone(data.charts[figure.dataset.chart]);
  spec.datasets = { rows: rows(keyOf(figure)) };
  const plot = figure.querySelector(".plot");
  await vegaEmbed(plot, spec, {
    mode: "vega-lite", actions: false, renderer: "svg", ast: true, defaultStyle: false, logLevel: 1,
    tooltip: { disableDefaultStyle: true },
  });
  plot.querySelector("svg")?.setAttribute("aria-hidden", "true");
  if (["similarity", "agreement"].includes(figure.dataset.chart)) thin(plot);
  figure.dataset.drawn = keyOf(figure);
  stops(figure);
  const details = figure.querySelector("details.rows");
  if (details.open) fill(details);
}

// A name that would cover another one is left out: it stands in the tooltip of its point, and under Numbers.
function thin(plot) {
  const kept = [];
  for (const name of plot.querySelectorAll(".mark-text.role-mark text")) {
    const own = name.getBoundingClientRect();
    const over = (it) => own.left < it.right && it.left < own.right && own.top < it.bottom - 2 && it.top < own.bottom - 2;
    if (kept.some(over)) name.style.visibility = "hidden";
    else kept.push(own);
  }
}

// What scrolls is a stop of the tab key, what does not is none.
function stops(within = document) {
  for (const each of within.querySelectorAll(".plot, .scroll")) {
    if (each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight) each.tabIndex = 0;
    else each.removeAttribute("tabindex");
  }
}

function fill(details) {
  const figure = details.closest("figure"), all = rows(keyOf(figure)), most = 500;
  const holder = details.querySelector(".scroll");
  const table = element("table"), head = element("tr"), body = element("tbody");
  const names = all.length ? Object.keys(all[0]) : [];
  for (const name of names) head.append(element("th", name, { scope: "col" }));
  for (const row of all.slice(0, most)) {
    const line = element("tr");
    for (const name of names) {
      const text = typeof row[name] === "string";
      line.append(element("td", shown(row[name]), text ? { class: "word" } : {}));
    }
    body.append(line);
  }
  const wrap = element("thead");
  wrap.append(head);
  table.append(wrap, body);
  if (all.length > most) table.prepend(element("caption", `the first ${most} of ${all.length.toLocaleString("en")} rows`));
  holder.replaceChildren(table);
  stops(details);
}

// One after the other, what can be seen first, so that the page answers meanwhile.
const waiting = [...document.querySelectorAll("figure[data-chart]")];
let drawing = false;
async function drawAll() {
  if (drawing) return;
  drawing = true;
  for (let figure = waiting.shift(); figure; figure = waiting.shift()) {
    await draw(figure);
    await new Promise((done) => setTimeout(done));
  }
  drawing = false;
  document.documentElement.dataset.ready = "yes";
}
function redraw(figures) {
  for (const figure of figures) if (!waiting.includes(figure)) waiting.unshift(figure);
  delete document.documentElement.dataset.ready;
  drawAll();
}

// ---- the target that is looked at
function choose(target) {
  state.target = target;
  const name = data.targets[target];
  for (const each of document.querySelectorAll("[data-target-name]")) each.textContent = name;
  ranks();
  redraw([...document.querySelectorAll('figure[data-rows="target"]')].reverse());
}

function ranks() {
  const table = byId("ranks");
  if (!table) return;
  const names = data.factors;
  table.tBodies[0].replaceChildren(...rows(`target/${state.target}`).map((row) => {
    const line = element("tr");
    line.append(element("td", row.rank), element("th", row.source, { scope: "row" }), element("td", number(row.M)));
    for (const name of names) {
      const place = row[`without ${name}`], moved = row.rank - place;
      const cell = element("td", String(place), moved ? { class: moved > 0 ? "up" : "down" } : {});
      if (moved) cell.append(element("span", ` (${moved > 0 ? "+" : "−"}${Math.abs(moved)})`, { class: "soft" }));
      line.append(cell);
    }
    return line;
  }));
}

// ---- the cells of the matrix: one stop of the tab key, arrows within, Enter opens
const grid = byId("heat");
if (grid) {
  const body = grid.tBodies[0], original = [...body.rows];
  const stop = (cell) => {
    grid.querySelector('td[tabindex="0"]')?.setAttribute("tabindex", "-1");
    cell.setAttribute("tabindex", "0");
    cell.focus();
  };
  grid.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td");
    if (!cell) return;
    const row = cell.parentElement, all = [...body.rows], at = all.indexOf(row), last = row.cells.length - 1;
    const column = { ArrowRight: cell.cellIndex + 1, ArrowLeft: cell.cellIndex - 1, Home: 1, End: last }[event.key];
    const line = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
    if (column !== undefined) stop(row.cells[Math.min(last, Math.max(1, column))]);
    else if (line !== undefined) stop(all[Math.min(all.length - 1, Math.max(0, line))].cells[cell.cellIndex]);
    else if (event.key === "Enter" || event.key === " ") open(cell);
    else return;
    event.preventDefault();
  });
  grid.addEventListener("click", (event) => {
    const cell = event.target.closest("td"), button = event.target.closest("thead button");
    if (cell) { stop(cell); open(cell); }
    if (button) sort(button.closest("th"));
  });
  const open = (cell) => tell(cell.parentElement.cells[0].textContent, cell.cellIndex - 1);
  const sort = (head) => {
    const on = head.getAttribute("aria-sort") !== "descending";
    for (const each of grid.tHead.rows[0].cells) if (each.hasAttribute("aria-sort")) each.setAttribute("aria-sort", "none");
    const place = {};
    data.rows[`target/${head.cellIndex - 1}`].source.forEach((name, i) => { place[name] = i; });
    const order = on ? [...original].sort((a, b) => place[a.cells[0].textContent] - place[b.cells[0].textContent]) : original;
    if (on) head.setAttribute("aria-sort", "descending");
    body.replaceChildren(...order);
  };
}

function percent(ratio) {
  const change = 100 * (ratio - 1);
  return change < 100 ? `${change.toPrecision(2)}%` : `${ratio.toPrecision(3)} times`;
}

// What a cell's dialog says: factors, interval, and what would change its rank.
function tell(source, target) {
  const all = rows(`target/${target}`), at = all.findIndex((row) => row.source === source);
  const row = all[at], above = all[at - 1], below = all[at + 1], box = byId("cell-body");
  byId("cell-title").textContent = `${source} → ${data.targets[target]}`;
  const parts = [];
  const say = (text) => parts.push(element("p", text));
  if (row.M === null) say("There is no score: a factor is not positive.");
  else {
    const interval = row.low === undefined || row.low === null ? "" : `, 95% interval ${number(row.low)} to ${number(row.high)}`;
    say(`M is ${number(row.M)}: rank ${row.rank} of ${all.length}${interval}.`);
  }
  if (data.factors.length) {
    const table = element("table"), head = element("tr"), top = element("thead"), body = element("tbody");
    head.append(element("th", "factor", { scope: "col", class: "word" }));
    for (const name of ["value", "rank without it"]) head.append(element("th", name, { scope: "col" }));
    for (const name of [...data.factors, "1/PPL(t)"]) {
      if (row[name] === undefined) continue;
      const line = element("tr"), without = row[`without ${name}`];
      line.append(element("th", name, { scope: "row" }), element("td", number(row[name])));
      line.append(element("td", without === undefined ? "the same for all" : String(without)));
      body.append(line);
    }
    top.append(head);
    table.append(top, body);
    parts.push(table);
  }
  if (row.M > 0 && above && above.M > 0) {
    const ratio = above.M / row.M;
    say(`It would pass “${above.source}” (rank ${at}) if M rose by more than ${percent(ratio)}, to ${number(above.M)}.` +
      (above["not resolved"] ? " The two are not resolved: their order may be chance." : ""));
    const ways = data.factors.filter((name) => row[name] > 0).map((name) => {
      const needed = row[name] * ratio, most = data.most[name];
      return most && needed > most ? `${name} cannot (it is at most ${most})` : `${name} from ${number(row[name])} to ${number(needed)}`;
    });
    if (ways.length) say(`One factor alone would do it: ${ways.join("; ")}.`);
  }
  if (row.M > 0 && below && below.M > 0) {
    say(`“${below.source}” (rank ${at + 2}) would pass it if M fell below ${number(below.M)}, by ${(100 * (1 - below.M / row.M)).toPrecision(2)}%.` +
      (row["not resolved"] ? " The two are not resolved: their order may be chance." : ""));
  }
  box.replaceChildren(...parts);
  byId("cell").showModal();
}

// ---- theme: what the system says, until a button says otherwise
const root = document.documentElement, theme = byId("theme");
const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const label = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `${theme.textContent} colours`); };
theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
label();

document.addEventListener("toggle", (event) => {
  if (event.target.matches?.("details.rows") && event.target.open) fill(event.target);
  else if (event.target.open) stops(event.target);
}, true);
addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details.item")) each.open = true; });
byId("target")?.addEventListener("change", (event) => choose(Number(event.target.value)));
addEventListener("resize", () => stops());
ranks();
stops();
drawAll();
