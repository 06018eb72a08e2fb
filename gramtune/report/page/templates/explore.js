"use strict";
(() => {
  const data = JSON.parse(document.getElementById("explore-data").textContent);
  const { trials, keys, metric, colours } = data;
  const byId = (id) => document.getElementById(id);
  // Plotly reads a little HTML in its texts.
  const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const digits = (value) => Number(value.toPrecision(5)).toString();
  const methods = [...new Set(trials.map((t) => t.method))];
  const symbols = { COMPLETED: "circle", PRUNED: "triangle-down", STOPPED: "square", DIVERGED: "triangle-up", FAILED: "x" };
  const ramp = ["#00204C", "#213D6B", "#555B6C", "#7B7A77", "#A59C74", "#D3C064"]; // cividis: dark is good
  const brushes = new Map(); // axis → [low, high], both from 0 to 1
  const many = trials.length > 500; // then markers and error bars take seconds to draw
  let words = "", logarithmic = false;

  const sign = data.minimised ? 1 : -1;
  const order = trials.filter((t) => t.mean !== null).sort((a, b) => sign * (a.mean - b.mean));
  const rank = new Map(order.map((t, i) => [t.n, i / Math.max(1, order.length - 1)]));
  const hover = (t) => `trial ${t.n}: ${safe(t.text)}<br>${safe(metric)} ` +
    (t.mean === null ? "–" : digits(t.mean) + (t.std === null ? "" : ` ± ${digits(t.std)}`)) + ` ${t.status}`;

  // ---- which trials are shown
  const columns = new Map([["trial", (t) => t.n], ["status", (t) => t.status], [metric, (t) => t.mean]]);
  keys.forEach((k, i) => [k.key, k.name].forEach((name) => columns.set(name, (t) => t.values[i])));
  const tests = {
    "=": (a, b) => a === b, "!=": (a, b) => a !== b, "<": (a, b) => a < b, ">": (a, b) => a > b,
    "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
  };
  function term(word) {
    const parts = word.match(/^([^<>=!]+)(<=|>=|!=|=|<|>)(.+)$/);
    const column = parts && columns.get(parts[1]);
    if (!column) return (t) => `${t.n} ${t.text} ${t.status}`.toLowerCase().includes(word.toLowerCase());
    const wanted = parts[3];
    return (t) => {
      const value = column(t);
      if (value === null) return false;
      const numbers = typeof value === "number" && wanted.trim() !== "" && !Number.isNaN(Number(wanted));
      return numbers ? tests[parts[2]](value, Number(wanted))
        : tests[parts[2]](String(value).toLowerCase(), wanted.toLowerCase());
    };
  }
  function shown() {
    const terms = words.split(/\s+/).filter(Boolean).map(term);
    return trials.filter((t) => terms.every((f) => f(t)) && [...brushes].every(([axis, [low, high]]) => {
      const place = axes[axis].place(t);
      return place !== null && place >= low && place <= high;
    }));
  }

  // ---- parallel coordinates
  function numericAxis(name, read, log) {
    const values = trials.map(read).filter((v) => v !== null && (!log || v > 0));
    const scale = log ? Math.log : (v) => v;
    const low = Math.min(...values), high = Math.max(...values), width = scale(high) - scale(low);
    const place = (t) => {
      const value = read(t);
      return value === null || (log && value <= 0) ? null : width ? (scale(value) - scale(low)) / width : 0.5;
    };
    const marks = !values.length ? [] : width ? [[0, digits(low)], [1, digits(high)]] : [[0.5, digits(low)]];
    return { name: log ? `${name} (log)` : name, place, marks };
  }
  function listAxis(key, index) {
    const at = (i) => (key.listed.length > 1 ? i / (key.listed.length - 1) : 0.5);
    const place = (t) => {
      const i = key.listed.indexOf(String(t.values[index]));
      return t.values[index] === null || i < 0 ? null : at(i);
    };
    return { name: key.name, place, marks: key.listed.map((text, i) => [at(i), text]) };
  }
  const means = order.map((t) => t.mean);
  const wide = means.length > 0 && Math.min(...means) > 0 && Math.max(...means) >= 10 * Math.min(...means);
  const axes = [
    ...keys.map((k, i) => (k.number ? numericAxis(k.name, (t) => t.values[i], k.log) : listAxis(k, i))),
    numericAxis(metric, (t) => t.mean, wide),
  ];
  function lines(list, style) {
    const trace = { mode: many ? "lines" : "lines+markers", type: "scatter", x: [], y: [], text: [], customdata: [], hoverinfo: "text", ...style };
    for (const t of list) {
      axes.forEach((axis, i) => {
        trace.x.push(i);
        trace.y.push(axis.place(t));
        trace.text.push(hover(t));
        trace.customdata.push(t.n);
      });
      trace.x.push(null); trace.y.push(null); trace.text.push(""); trace.customdata.push(null);
    }
    return trace;
  }
  function parallel(list) {
    const chosen = new Set(list.map((t) => t.n));
    const groups = ramp.map((colour, i) => [colour, list.filter((t) =>
      rank.has(t.n) && t.status === "COMPLETED" && shade(t) === i)]);
    const traces = [
      lines(trials.filter((t) => !chosen.has(t.n)), { line: { color: "#DDDDDD", width: 1 }, marker: { size: 2, color: "#DDDDDD" }, hoverinfo: "skip", name: "filtered out", visible: chosen.size < trials.length }),
      ...groups.reverse().map(([colour, some]) => lines(some, { line: { color: colour, width: 1.5 }, marker: { size: 5, color: colour }, showlegend: false })),
      lines(list.filter((t) => t.status !== "COMPLETED"), { line: { color: "#B00000", width: 1, dash: "dot" }, marker: { size: 5, color: "#B00000" }, name: "pruned, diverged, unfinished" }),
      lines([], { line: { color: "#D55E00", width: 4 }, marker: { size: 8, color: "#D55E00" }, hoverinfo: "skip", showlegend: false }),
    ];
    const marks = axes.flatMap((axis, i) => axis.marks.map(([y, text]) => ({
      x: i, y, text: safe(text), showarrow: false, xanchor: "left", xshift: 5, yshift: y > 0.5 ? 8 : -8, font: { size: 10 }, bgcolor: "rgba(255,255,255,0.7)",
    })));
    const bars = axes.map((_, i) => ({ type: "line", x0: i, x1: i, y0: 0, y1: 1, line: { color: "#888888", width: 1 }, layer: "below" }));
    const boxes = [...brushes].map(([i, [y0, y1]]) => ({ type: "rect", x0: i - 0.06, x1: i + 0.06, y0, y1, fillcolor: "#56B4E9", opacity: 0.4, line: { width: 0 } }));
    Plotly.react("explore-parallel", traces, layout({
      xaxis: { tickvals: axes.map((_, i) => i), ticktext: axes.map((a) => safe(a.name)), range: [-0.2, axes.length - 0.6], zeroline: false, showgrid: false },
      yaxis: { visible: false, range: [-0.12, 1.12] },
      dragmode: "select", annotations: marks, shapes: [...bars, ...boxes], hovermode: "closest", height: 380,
    }), config);
  }

  // ---- scatter per key, curves
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "autoScale2d"] };
  const layout = (own) => ({
    margin: { l: 60, r: 15, t: 15, b: 45 }, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", font: { color: "#1b1b1f", size: 12 },
    legend: { orientation: "h", y: -0.2 }, hovermode: "closest", ...own,
  });
  const value = () => ({ title: { text: safe(metric) }, type: logarithmic ? "log" : "linear", gridcolor: "#eeeeee", exponentformat: "e" });
  // One method: dark is good, as in the parallel coordinates. Several: a colour each.
  const shade = (t) => Math.min(ramp.length - 1, Math.floor(rank.get(t.n) * ramp.length));
  const colour = (t) => methods.length > 1 ? colours[methods.indexOf(t.method) % colours.length]
    : t.status === "COMPLETED" && rank.has(t.n) ? ramp[shade(t)] : "#B00000";
  function scatter(list, key, index) {
    const traces = methods.map((method) => {
      const some = list.filter((t) => t.method === method && t.mean !== null && t.values[index] !== null);
      return {
        type: "scatter", mode: "markers", name: safe(method || "trials"), showlegend: methods.length > 1,
        x: some.map((t) => (key.number ? t.values[index] : String(t.values[index]))), y: some.map((t) => t.mean),
        error_y: { visible: !many, type: "data", array: some.map((t) => t.std || 0), thickness: 1, width: 3 },
        marker: { size: 8, color: some.map(colour), symbol: some.map((t) => symbols[t.status] || "circle-open") },
        text: some.map(hover), customdata: some.map((t) => t.n), hoverinfo: "text",
      };
    });
    const type = key.number ? (key.log ? "log" : "linear") : "category";
    Plotly.react(`explore-key-${index}`, traces, layout({ height: 300, xaxis: { title: { text: safe(key.name) }, type, gridcolor: "#eeeeee", exponentformat: "e" }, yaxis: value() }), config);
  }
  function curves(list) {
    const some = [...list].sort((a, b) => (rank.get(a.n) ?? 2) - (rank.get(b.n) ?? 2)).slice(0, 60);
    const each = methods.length === 1 && some.length <= 20;
    const named = new Set();
    const traces = some.map((t, i) => {
      const points = t.curve.map(([step, ...values]) => {
        const known = values.map((v, r) => [v, t.seed + r]).filter(([v]) => v !== null);
        const mean = known.length ? known.reduce((sum, [v]) => sum + v, 0) / known.length : null;
        const seeds = known.map(([v, seed]) => `seed ${seed}: ${v}`).join("<br>");
        return { step, mean, text: mean === null ? "" : `trial ${t.n}: ${safe(t.text)}<br>step ${step}: ${digits(mean)} (n = ${known.length})<br>${seeds}` };
      });
      const first = !each && !named.has(t.method);
      named.add(t.method);
      return {
        type: "scatter", mode: "lines+markers", x: points.map((p) => p.step), y: points.map((p) => p.mean), text: points.map((p) => p.text),
        hoverinfo: "text", customdata: points.map(() => t.n), name: safe(each ? `${t.n}: ${t.text}` : t.method || "trials"), showlegend: each || first,
        legendgroup: each ? `${t.n}` : t.method, marker: { size: 5 },
        line: { width: 1.5, dash: t.status === "COMPLETED" ? ["solid", "dash", "dot"][Math.floor(i / colours.length) % 3] : "dot", color: each ? colours[i % colours.length] : colour(t) },
      };
    });
    byId("explore-curves-note").textContent = list.length > some.length ? `The ${some.length} best of ${list.length}.` : "";
    Plotly.react("explore-curves", traces, layout({ height: 420, xaxis: { title: { text: "training steps" }, gridcolor: "#eeeeee" }, yaxis: value() }), config);
  }

  // ---- the table of the page: sorted by a click on a heading, filtered with the rest
  const tables = [...document.querySelectorAll("#trials table")];
  const cell = (row, i) => row.cells[i].textContent.trim();
  const number = (text) => parseFloat(text.replace("−", "-").replace(/,/g, ""));
  for (const table of tables) {
    [...table.tHead.rows[0].cells].forEach((heading, i) => {
      if (!heading.textContent) return;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = heading.getAttribute("aria-sort") !== "ascending";
        [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows].map((row) => [row, cell(row, i), number(cell(row, i))]);
        const numeric = rows.some(([, , n]) => !Number.isNaN(n));
        rows.sort(([, a, m], [, b, n]) => {
          if (!numeric) return (up ? 1 : -1) * a.localeCompare(b);
          if (Number.isNaN(m) || Number.isNaN(n)) return Number.isNaN(m) - Number.isNaN(n); // no value: last
          return (up ? 1 : -1) * (m - n);
        });
        table.tBodies[0].append(...rows.map(([row]) => row));
      });
    });
  }
  const rowOf = new Map(tables.flatMap((table) => [...table.tBodies[0].rows]).map((row) => [Number(cell(row, 0)), row]));
  function highlight(n) {
    rowOf.forEach((row, other) => row.classList.toggle("lit", other === n));
    const found = trials.filter((t) => t.n === n);
    const { x, y } = lines(found, {});
    const last = byId("explore-parallel").data.length - 1;
    Plotly.restyle("explore-parallel", { x: [x], y: [y] }, [last]);
  }

  function draw() {
    const list = shown(), numbers = new Set(list.map((t) => t.n));
    byId("explore-count").textContent = `${list.length} of ${trials.length} trials shown`;
    rowOf.forEach((row, n) => { row.hidden = !numbers.has(n); });
    parallel(list);
    keys.slice(0, 8).forEach((key, i) => scatter(list, key, i));
    curves(list);
  }

  byId("explore").hidden = false;
  keys.slice(0, 8).forEach((_, i) => {
    const place = document.createElement("div");
    place.id = `explore-key-${i}`;
    byId("explore-keys").append(place);
  });
  draw();
  for (const id of ["explore-parallel", "explore-curves", ...keys.slice(0, 8).map((_, i) => `explore-key-${i}`)]) {
    byId(id).on("plotly_hover", (event) => highlight(event.points[0].customdata));
    byId(id).on("plotly_unhover", () => highlight(null));
  }
  byId("explore-parallel").on("plotly_selected", (event) => {
    if (!event || !event.range) return;
    const [x0, x1] = event.range.x, [y0, y1] = event.range.y;
    const inside = axes.map((_, i) => i).filter((i) => i >= x0 && i <= x1);
    const nearest = Math.max(0, Math.min(axes.length - 1, Math.round((x0 + x1) / 2)));
    (inside.length ? inside : [nearest]).forEach((i) => brushes.set(i, [Math.min(y0, y1), Math.max(y0, y1)]));
    draw();
  });
  const clear = () => { brushes.clear(); words = byId("explore-filter").value = ""; draw(); };
  byId("explore-parallel").on("plotly_deselect", clear);
  byId("explore-clear").addEventListener("click", clear);
  byId("explore-filter").addEventListener("input", (event) => { words = event.target.value; draw(); });
  byId("explore-log").addEventListener("change", (event) => { logarithmic = event.target.checked; draw(); });
  const slider = byId("explore-step");
  if (slider) {
    slider.parentElement.hidden = false;
    slider.addEventListener("input", () => {
      const grid = data.grids[Number(slider.value)];
      byId("explore-grid").src = grid.uri;
      byId("explore-step-text").textContent = `step ${grid.step}`;
    });
  }
})();
