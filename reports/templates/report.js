"use strict";
// Sorting, filtering and the choice of colours. Without it the page reads the same.

const FACETS = ["task", "backbone", "method", "variant"];
const filters = document.getElementById("filters");
const clear = document.getElementById("clear");
const boxes = [...filters.querySelectorAll("input")];
const rows = [...document.querySelectorAll("tbody tr")];

// Sort a table by the column whose heading was pressed; empty cells stay at the end.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const place = heading.cellIndex;
    const numeric = heading.classList.contains("number");
    const body = heading.closest("table").tBodies[0];
    const up = heading.getAttribute("aria-sort") !== "ascending";
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
    const sorted = [...body.rows].map((row) => [key(row), row]).sort(compare);
    body.append(...sorted.map(([, row]) => row));
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
  for (const table of document.querySelectorAll("figure.table")) {
    table.hidden = !table.querySelector("tbody tr:not([hidden])");
  }
  for (const block of document.querySelectorAll(".block")) {
    const tables = [...block.querySelectorAll("figure.table")];
    block.hidden = !fits(block) || (tables.length > 0 && tables.every((table) => table.hidden));
  }
  const hidden = rows.filter((row) => row.hidden).length;
  const count = `${rows.length - hidden} of ${rows.length} table rows shown, ${hidden} hidden`;
  const chosen = FACETS.filter((name) => wanted.get(name).size)
    .map((name) => `${name} ${[...wanted.get(name)].join(", ")}`).join("; ");
  filters.querySelector("output").textContent = chosen ? `${count}. Filter: ${chosen}.` : "";
  for (const details of filters.querySelectorAll(".facet")) {
    const n = wanted.get(details.dataset.facet).size;
    details.querySelector("summary span").textContent = n ? `${n} chosen` : "all";
  }
  clear.hidden = !chosen;
}

// The address holds section and filters, as in #leaderboard&task=rte&method=lora&method=dora.
const stated = () => location.hash.slice(1).split("&");
const section = () => stated().find((part) => part && !part.includes("=")) ?? "";

function save() {
  const pairs = boxes.filter((box) => box.checked).map((box) => [box.name, box.value]);
  const parts = [section(), new URLSearchParams(pairs).toString()].filter(Boolean);
  history.replaceState(null, "", "#" + parts.join("&"));
}

function restore() {
  const pairs = new URLSearchParams(stated().filter((part) => part.includes("=")).join("&"));
  if (pairs.size) {
    for (const box of boxes) box.checked = pairs.getAll(box.name).includes(box.value);
    apply();
    document.getElementById(section())?.scrollIntoView();
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

// What is folded away on the screen belongs on paper.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details.columns")) details.open = true;
});
