"use strict";
(() => {
{% include "trials.js" %}

{% include "filter.js" %}

{% include "parallel.js" %}

{% include "charts.js" %}

{% include "table.js" %}

  // ---- figures are drawn when they come into sight, one at a time
  const figures = new Map([["explore-parallel", parallel]]);
  keys.forEach((_, i) => {
    element("div", "", byId("explore-keys")).id = `explore-key-${i}`;
    figures.set(`explore-key-${i}`, (list) => scatter(list, i));
  });
  figures.set("explore-curves", curves);
  const near = new Set(), stale = new Set();
  let list = trials, busy = false;
  function work() {
    const next = [...near].find((id) => stale.has(id));
    if (busy || !next) return;
    busy = true;
    setTimeout(() => {
      busy = false;
      stale.delete(next);
      const first = !byId(next).data;
      figures.get(next)(list);
      if (first) listen(next);
      byId(next).dataset.drawn = "";
      work();
    });
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? near.add(target.id) : near.delete(target.id);
    work();
  }, { rootMargin: "300px" });
  function draw() {
    list = shown();
    const numbers = new Set(list.map((t) => t.n));
    byId("explore-count").textContent = `${list.length} of ${trials.length} trials shown`;
    tables.forEach((table) => table.show(numbers));
    for (const id of figures.keys()) { stale.add(id); delete byId(id).dataset.drawn; }
    highlight(null);
    work();
  }

  // ---- one trial, marked everywhere: without drawing a figure anew
  function mark(id, places) {
    const figure = byId(id);
    figure.querySelector(".mark")?.remove();
    const known = places.filter(([, y]) => y !== null);
    if (!figure.data || !known.length) return;
    const { xaxis, yaxis, width, height } = figure._fullLayout;
    const inside = ([x, y]) => x >= 0 && x <= xaxis._length && y >= 0 && y <= yaxis._length;
    const at = known.map(([x, y]) => [xaxis.d2p(x), yaxis.d2p(y)]).filter(inside)
      .map(([x, y]) => [xaxis._offset + x, yaxis._offset + y]);
    const line = at.length > 1 ? `<polyline points="${at.join(" ")}" fill="none"/>` : "";
    const dots = at.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="6" fill="none"/>`).join("");
    figure.insertAdjacentHTML("beforeend", `<svg class="mark" width="${width}" height="${height}" stroke="#D55E00" stroke-width="3">${line}${dots}</svg>`);
  }
  function highlight(n) {
    const t = byNumber.get(n);
    tables.forEach((table) => table.light(n));
    mark("explore-parallel", t ? corners(t) : []);
    keys.forEach((_, i) => mark(`explore-key-${i}`, t && t.values[i] !== null ? [[across(t, i), t.mean]] : []));
    mark("explore-curves", t ? evaluations(t).map((p) => [p.at, p.mean]) : []);
  }
  function listen(id) {
    byId(id).on("plotly_hover", (event) => highlight(event.points[0].customdata));
    byId(id).on("plotly_unhover", () => highlight(null));
    if (id !== "explore-parallel") return;
    byId(id).on("plotly_selected", brush);
    byId(id).on("plotly_deselect", clear);
  }

  // ---- what the reader chooses
  function brush(event) {
    if (!event || !event.range) return;
    const [x0, x1] = event.range.x, [y0, y1] = event.range.y;
    const inside = axes.map((_, i) => i).filter((i) => i >= x0 && i <= x1);
    const nearest = Math.max(0, Math.min(axes.length - 1, Math.round((x0 + x1) / 2)));
    (inside.length ? inside : [nearest]).forEach((i) => chosen.brushes.set(i, [Math.min(y0, y1), Math.max(y0, y1)]));
    draw();
  }
  function clear() {
    chosen.brushes.clear();
    chosen.words = byId("explore-filter").value = "";
    draw();
  }
  const links = [...document.querySelectorAll("#importances tbody tr")].map((row) => {
    const button = element("button", row.cells[0].textContent);
    button.type = "button";
    row.cells[0].replaceChildren(button);
    const index = keys.findIndex((key) => key.key === button.textContent);
    button.addEventListener("click", () => {
      colourBy(chosen.key === index ? -1 : index);
      byId("explore").scrollIntoView();
    });
    return [button, index];
  });
  function colourBy(index) {
    chosen.key = index;
    byId("explore-colour").value = index;
    links.forEach(([button, own]) => button.setAttribute("aria-pressed", own === index));
    if (index >= 0) tables.forEach((table) => table.sort(1 + index, true));
    draw();
  }
  const colouring = byId("explore-colour");
  colouring.options[0].textContent = methods.length > 1 ? "method" : metric;
  keys.forEach((key, i) => { element("option", key.name, colouring).value = i; });
  colouring.addEventListener("change", () => colourBy(Number(colouring.value)));
  byId("explore-clear").addEventListener("click", clear);
  byId("explore-filter").addEventListener("input", (event) => { chosen.words = event.target.value; draw(); });
  byId("explore-log").addEventListener("change", (event) => { chosen.logarithmic = event.target.checked; draw(); });
  const slider = byId("explore-step");
  if (slider) {
    slider.parentElement.hidden = false;
    slider.addEventListener("input", () => {
      const grid = data.grids[Number(slider.value)];
      byId("explore-grid").src = grid.uri;
      byId("explore-step-text").textContent = `step ${grid.step}`;
    });
  }

{% include "refresh.js" %}

  byId("explore").hidden = false;
  draw();
  figures.forEach((_, id) => watcher.observe(byId(id)));
})();
