"use strict";
// Sorting, filtering, copying, choosing axes and colours. Without it the page reads the same.

const FACETS = ["task", "backbone", "method", "variant"];
const filters = document.getElementById("filters");
const clear = document.getElementById("clear");
const boxes = [...filters.querySelectorAll("input")];
const rows = [...document.querySelectorAll("figure.table tbody tr, .tasks tbody tr")];
const marks = [...document.querySelectorAll("svg [data-method]")];

// Sort a table by the column whose heading was pressed, the best first; empty cells stay at the end.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const place = heading.cellIndex;
    const numeric = heading.classList.contains("number");
    const body = heading.closest("table").tBodies[0];
    const sorted = heading.getAttribute("aria-sort");
    const up = sorted ? sorted !== "ascending" : heading.dataset.best !== "high";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => {
      const text = row.cells[place].dataset.key ?? row.cells[place].textContent.trim();
      return text === "" || (numeric && isNaN(text)) ? null : numeric ? Number(text) : text;
    };
    const compare = ([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return (up ? 1 : -1) * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    };
    const order = [...body.rows].map((row) => [key(row), row]).sort(compare);
    body.append(...order.map(([, row]) => row));
  });
}

// Headings show under the pointer what the section says of them; it stands in the page once.
for (const part of document.querySelectorAll("section:has(details.columns)")) {
  const terms = [...part.querySelectorAll("details.columns dt")];
  const hints = new Map(terms.map((term) => [term.textContent, term.nextElementSibling.textContent]));
  for (const button of part.querySelectorAll("thead button")) {
    button.title = hints.get(button.textContent) ?? "";
  }
}

// A row says what it is about, or its table does for all its rows.
const facet = (element, name) => element.dataset[name] ?? element.closest("table")?.dataset[name];

function apply() {
  const wanted = new Map(FACETS.map((name) => [name, new Set()]));
  for (const box of boxes) if (box.checked) wanted.get(box.name).add(box.value);
  const fits = (element) => FACETS.every((name) => {
    const value = facet(element, name);
    return value === undefined || !wanted.get(name).size || wanted.get(name).has(value);
  });
  for (const row of rows) row.hidden = !fits(row);
  for (const mark of marks) mark.classList.toggle("dim", !fits(mark));
  for (const table of document.querySelectorAll("figure.table")) {
    table.hidden = !table.querySelector("tbody tr:not([hidden])");
  }
  for (const block of document.querySelectorAll(".block")) {
    const tables = [...block.querySelectorAll("figure.table")];
    block.hidden = !fits(block) || (tables.length > 0 && tables.every((table) => table.hidden));
  }
  for (const fold of document.querySelectorAll("details.fold")) {
    const tables = [...fold.querySelectorAll("figure.table")];
    fold.hidden = tables.length > 0 && tables.every((table) => table.hidden);
  }
  const hidden = rows.filter((row) => row.hidden).length;
  const count = `${rows.length - hidden} of ${rows.length} table rows shown, ${hidden} hidden`;
  const chosen = FACETS.filter((name) => wanted.get(name).size)
    .map((name) => `${name} ${[...wanted.get(name)].join(", ")}`).join("; ");
  document.querySelector("output").textContent = chosen ? `${count}. Filter: ${chosen}.` : "";
  for (const details of filters.querySelectorAll(".facet")) {
    const n = wanted.get(details.dataset.facet).size;
    details.querySelector("summary span").textContent = n ? `${n} chosen` : "all";
  }
  clear.hidden = !chosen;
  for (const note of document.querySelectorAll(".whole")) note.hidden = !chosen;
}

// The address holds section and filters, as in #leaderboard&task=rte&method=lora&method=dora.
const stated = () => location.hash.slice(1).split("&");
const section = () => stated().find((part) => part && !part.includes("=")) ?? "";

function save() {
  const pairs = boxes.filter((box) => box.checked).map((box) => [box.name, box.value]);
  const parts = [section(), new URLSearchParams(pairs).toString()].filter(Boolean);
  history.replaceState(null, "", "#" + parts.join("&"));
}

// What an address names may be folded away.
function reveal() {
  const target = document.getElementById(section());
  const fold = target?.closest("details");
  if (fold) fold.open = true;
  target?.scrollIntoView();
}

function restore() {
  const pairs = new URLSearchParams(stated().filter((part) => part.includes("=")).join("&"));
  if (pairs.size) {
    for (const box of boxes) box.checked = pairs.getAll(box.name).includes(box.value);
    apply();
    reveal();
  } else if (boxes.some((box) => box.checked)) {
    save();
  }
}

filters.hidden = false;
filters.addEventListener("change", () => { apply(); save(); });
clear.addEventListener("click", () => {
  for (const box of boxes) box.checked = false;
  apply();
  save();
});
filters.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", restore);
restore();

// Contents and filters stand beside the report where there is room, else folded above the answer.
const menu = document.getElementById("menu");
const room = matchMedia("(min-width: 78rem)");
const fold = () => { menu.open = room.matches; };
room.addEventListener("change", fold);
fold();

// Dark or light as the system has it, until the button says otherwise.
const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const dark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const name = () => theme.setAttribute("aria-pressed", dark());
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  name();
});
system.addEventListener("change", name);
name();

// What a mark shows, where the pointer rests; the same text is its title in the drawing.
const tip = document.getElementById("tip");
function tell(mark, x, y) {
  tip.hidden = false;
  tip.textContent = mark.querySelector("title").textContent;
  tip.style.left = `${Math.max(0, Math.min(x, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.min(y, innerHeight - tip.offsetHeight - 8)}px`;
}
addEventListener("pointermove", (event) => {
  const mark = event.target.closest?.("svg [data-method]");
  if (mark) tell(mark, event.clientX + 14, event.clientY + 16);
  else tip.hidden = true;
});
addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
addEventListener("change", () => { tip.hidden = true; }); // what it was about may be drawn anew

// A figure is one stop of the keyboard: in it, arrows go from mark to mark.
for (const frame of document.querySelectorAll(".picture .scroll")) {
  let place = -1;
  const leave = () => { for (const mark of frame.querySelectorAll(".at")) mark.classList.remove("at"); };
  frame.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const own = [...frame.querySelectorAll("svg [data-method]:not(.dim)")];
    if (!step || !own.length) return;
    event.preventDefault();
    place = (Math.max(place + step, -1) + own.length) % own.length;
    const mark = own[place];
    leave();
    mark.classList.add("at");
    mark.scrollIntoView({ block: "nearest", inline: "nearest" });
    const box = mark.getBoundingClientRect();
    tell(mark, box.right + 8, box.bottom + 8);
  });
  frame.addEventListener("blur", () => { leave(); tip.hidden = true; });
}

// Copy a table as it is sorted and filtered.
const texts = (row) => [...row.cells].map((cell) => cell.textContent.trim());
const shown = (table) => [...table.rows].filter((row) => !row.hidden).map(texts);
const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const inLatex = (text) => text
  .replace(/[\\&%$#_{}~^]/g, (letter) => ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" })[letter] ?? `\\${letter}`)
  .replaceAll("Δ", "$\\Delta$").replaceAll("▲", "$\\uparrow$").replaceAll("▼", "$\\downarrow$").replaceAll("×", "$\\times$")
  .replace(/[<>]/g, "$$$&$$").replace(/(?<![\w$])-(?=[\d.])/g, "$$-$$");
const forms = {
  csv: (table) => shown(table).map((row) => row.map(quoted).join(",")).join("\n") + "\n",
  latex: (table) => {
    const [head, ...body] = shown(table).map((row) => row.map(inLatex).join(" & ") + " \\\\");
    const longest = (place) => Math.max(...shown(table).map((row) => row[place].length));
    const columns = [...table.tHead.rows[0].cells].map((cell, place) => (
      cell.classList.contains("number") ? "r" : longest(place) > 40 ? "p{0.3\\linewidth}" : "l")).join("");
    return ["\\begin{tabular}{" + columns + "}", "\\toprule", head, "\\midrule", ...body, "\\bottomrule", "\\end{tabular}"].join("\n") + "\n";
  },
};
for (const group of document.querySelectorAll(".copy")) group.hidden = false;
document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy button");
  if (!button) return;
  const said = button.textContent;
  const text = forms[button.dataset.form](button.parentElement.previousElementSibling.querySelector("table"));
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copying is not allowed here";
  }
  setTimeout(() => { button.textContent = said; }, 1500);
});

// Draw a figure of points anew, with the axes that a reader chooses.
const WIDE = 860, HIGH = 420, LEFT = 70, RIGHT = 24, TOP = 16, BOTTOM = 52;
function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
// In three digits, with the letters of the tables; beside a unit none stand for thousands.
const LETTERS = ["", "k", "M", "G", "T", "P"];
function brief(value, unit) {
  value = Number(value.toPrecision(3)); // 999,999 is 1.00M
  const power = unit || !value ? 0 : Math.floor(Math.log10(Math.abs(value)) / 3);
  const letter = LETTERS[Math.max(0, Math.min(power, LETTERS.length - 1))];
  const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  return digits.format(value / 1000 ** LETTERS.indexOf(letter)) + letter;
}

function scale(values, name, from, to) {
  let low = Math.min(...values), high = Math.max(...values);
  const log = name !== "generalization_gap" && low > 0 && high > 8 * low;
  const move = log ? Math.log10 : (value) => value;
  [low, high] = [move(low), move(high)];
  const room = 0.08 * (high - low) || 0.1 * Math.abs(high) || 1;
  [low, high] = [low - room, high + room];
  const place = (value) => from + (to - from) * (move(value) - low) / (high - low);
  const ticks = [];
  if (log) {
    for (let power = Math.floor(low); power <= high; power++) for (const one of [1, 2, 5]) ticks.push(one * 10 ** power);
  } else {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
    for (let tick = Math.ceil(low / step); tick * step <= high; tick++) ticks.push(tick * step);
  }
  return { place, ticks: ticks.filter((tick) => move(tick) >= low && move(tick) <= high) };
}

// Where the intervals of a point end, those of both axes.
function bars(point, x, y, across, up) {
  const [cx, cy] = [across.place(point[x]), up.place(point[y])];
  const style = `stroke: ${point.colour}; stroke-width: 1.3; opacity: .6`;
  const wide = point.ends[x]?.map(across.place), high = point.ends[y]?.map(up.place);
  return [
    ...(wide ? [element("line", { x1: wide[0], x2: wide[1], y1: cy, y2: cy, style })] : []),
    ...(high ? [element("line", { x1: cx, x2: cx, y1: high[0], y2: high[1], style })] : []),
  ];
}

function chart({ axes, points }, x, y) {
  const known = points.filter((point) => point[x] !== null && point[y] !== null);
  const told = (point, name) => `${brief(point[name], axes[name][1])} ${axes[name][1]}`.trim();
  const title = (name) => axes[name][0] + (axes[name][1] ? `, ${axes[name][1]}` : "") + ` (${axes[name][2]}er is better)`;
  const svg = element("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${title(y)} against ${title(x)}: ` + known.map((p) => `${p.name} ${told(p, x)}, ${told(p, y)}`).join("; "), class: "drawn" });
  if (!known.length) return svg;
  const all = (name) => known.flatMap((point) => [point[name], ...(point.ends[name] ?? [])]);
  const across = scale(all(x), x, LEFT, WIDE - RIGHT);
  const up = scale(all(y), y, HIGH - BOTTOM, TOP);
  for (const tick of across.ticks) {
    const at = across.place(tick);
    svg.append(element("line", { x1: at, x2: at, y1: TOP, y2: HIGH - BOTTOM }), element("text", { x: at, y: HIGH - BOTTOM + 16, "text-anchor": "middle" }, brief(tick, axes[x][1])));
  }
  for (const tick of up.ticks) {
    const at = up.place(tick);
    svg.append(element("line", { x1: LEFT, x2: WIDE - RIGHT, y1: at, y2: at }), element("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, brief(tick, axes[y][1])));
  }
  svg.append(element("text", { x: (LEFT + WIDE) / 2, y: HIGH - 10, "text-anchor": "middle" }, title(x)));
  svg.append(element("text", { x: 0, y: 0, "text-anchor": "middle", transform: `translate(16 ${(HIGH - BOTTOM) / 2}) rotate(-90)` }, title(y)));
  const taken = known.map((point) => [across.place(point[x]) - 5, up.place(point[y]) - 5, 10, 10]);
  const free = ([left, top, wide, high]) => left > LEFT && left + wide < WIDE && !taken.some(([l, t, w, h]) => left < l + w && l < left + wide && top < t + h && t < top + high);
  for (const point of known) {
    const [cx, cy] = [across.place(point[x]), up.place(point[y])];
    const wide = 6.6 * point.name.length;
    const spots = [[8, -7], [-8 - wide, -7], [-wide / 2, -22], [-wide / 2, 8], [8, 8], [8, -22], [-8 - wide, 8], [-8 - wide, -22]].map(([dx, dy]) => [cx + dx, cy + dy, wide, 14]);
    const spot = spots.find(free); // one name over another would hide both
    if (spot) taken.push(spot);
    const mark = element("g", { "data-method": point.method, "data-variant": point.variant });
    mark.append(element("title", {}, `${point.name}: ${axes[x][0]} ${told(point, x)}, ${axes[y][0]} ${told(point, y)}. ${point.about}`));
    mark.append(...bars(point, x, y, across, up));
    mark.append(element("polygon", { points: point.shape, transform: `translate(${cx - 5} ${cy - 5}) scale(.1)`, style: `fill: ${point.colour}` }));
    if (spot) mark.append(element("text", { x: spot[0], y: spot[1] + 11 }, point.name));
    svg.append(mark);
    marks.push(mark);
  }
  return svg;
}

for (const figure of document.querySelectorAll("figure[data-points]")) {
  const data = JSON.parse(figure.dataset.points);
  const frame = figure.querySelector(".scroll"), printed = frame.firstElementChild;
  const [up, across] = ["Up", "Across"].map((name) => {
    const label = document.createElement("label"), select = document.createElement("select");
    select.autocomplete = "off";
    select.append(new Option("as printed", ""), ...Object.entries(data.axes).map(([key, [text]]) => new Option(text, key)));
    label.append(`${name}: `, select);
    return { label, select };
  });
  const choose = document.createElement("div");
  choose.className = "axes";
  choose.append("Choose the axes. ", up.label, across.label);
  figure.prepend(choose);
  const caption = figure.querySelector(".printed"), own = document.createElement("span");
  caption.after(own);
  choose.addEventListener("change", () => {
    const both = [across, up].map(({ select }) => select.value);
    if (both.every((value) => !value)) frame.replaceChildren(printed);
    else frame.replaceChildren(chart(data, both[0] || "generalization_gap", both[1] || "score"));
    caption.hidden = frame.firstElementChild !== printed;
    const drawn = frame.firstElementChild, unnamed = drawn.querySelector("g:not(:has(text))");
    own.textContent = caption.hidden ? `Drawn anew: ${drawn.ariaLabel.split(":")[0]}; means over seeds.${unnamed ? " Point at a mark without a name to read it." : ""}` : "";
    apply();
  });
}

// What is folded away on the screen belongs on paper.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details.columns")) details.open = true;
});
