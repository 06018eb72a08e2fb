  // Parallel coordinates: one axis per key and one for the metric, one line per trial.
  const mostLines = 600;
  function numericAxis(name, read, log, { low, high, at } = scaleOf(read, log)) {
    const marks = low > high ? [] : low < high ? [[0, digits(low)], [1, digits(high)]] : [[0.5, digits(low)]];
    return { name: log ? `${name} (log)` : name, place: (t) => at(read(t)), marks };
  }
  function listAxis(key, index) {
    const at = (i) => (key.listed.length > 1 ? i / (key.listed.length - 1) : 0.5);
    const height = (t) => {
      const i = key.listed.indexOf(String(t.values[index]));
      return t.values[index] === null || i < 0 ? null : at(i);
    };
    return { name: key.name, place: height, marks: key.listed.map((text, i) => [at(i), text]) };
  }
  const means = order.map((t) => t.mean);
  const wide = means.length > 0 && Math.min(...means) > 0 && Math.max(...means) >= 10 * Math.min(...means);
  const axes = [
    ...keys.map((k, i) => (k.number ? numericAxis(k.name, (t) => t.values[i], k.log, scales[i]) : listAxis(k, i))),
    numericAxis(metric, (t) => t.mean, wide),
  ];
  const corners = (t) => axes.map((axis, i) => [i, axis.place(t)]);
  function lines(list, style) {
    const trace = { mode: many ? "lines" : "lines+markers", type: "scatter", x: [], y: [], text: [], customdata: [], hoverinfo: "text", ...style };
    for (const t of list) {
      const told = hover(t);
      for (const [x, y] of corners(t)) { trace.x.push(x); trace.y.push(y); trace.text.push(told); trace.customdata.push(t.n); }
      trace.x.push(null); trace.y.push(null); trace.text.push(""); trace.customdata.push(null);
    }
    return trace;
  }
  // A trace per colour: solid for completed trials, dotted for all others.
  function coloured(list) {
    const paint = chosen.key >= 0 ? colour : rankColour, groups = new Map();
    for (const t of [...list].sort((a, b) => place(b) - place(a))) { // the best ones on top
      const look = JSON.stringify([paint(t), t.status === "COMPLETED"]);
      groups.set(look, [...(groups.get(look) ?? []), t]);
    }
    return [...groups].map(([look, some]) => {
      const [color, completed] = JSON.parse(look);
      return lines(some, { line: { color, width: completed ? 1.5 : 1, dash: completed ? "solid" : "dot" }, marker: { size: 5, color }, showlegend: false });
    });
  }
  function parallel(list) {
    const kept = new Set(list.map((t) => t.n)), drawn = thinned(list, mostLines);
    const others = thinned(trials.filter((t) => !kept.has(t.n)), mostLines);
    const traces = [
      lines(others, { line: { color: "#DDDDDD", width: 1 }, marker: { size: 2, color: "#DDDDDD" }, hoverinfo: "skip", name: "filtered out", showlegend: others.length > 0, visible: others.length > 0 }),
      ...coloured(drawn),
    ];
    const marks = axes.flatMap((axis, i) => axis.marks.map(([y, text]) => ({
      x: i, y, text: safe(text), showarrow: false, xanchor: "left", xshift: 5, yshift: y > 0.5 ? 8 : -8, font: { size: 10 }, bgcolor: "rgba(255,255,255,0.7)",
    })));
    const bars = axes.map((_, i) => ({ type: "line", x0: i, x1: i, y0: 0, y1: 1, line: { color: "#888888", width: 1 }, layer: "below" }));
    const boxes = [...chosen.brushes].map(([i, [y0, y1]]) => ({ type: "rect", x0: i - 0.06, x1: i + 0.06, y0, y1, fillcolor: "#56B4E9", opacity: 0.4, line: { width: 0 } }));
    byId("explore-parallel-note").textContent = drawn.length < list.length
      ? `${drawn.length} of ${list.length} lines are drawn, evenly over the ranks, the best included.` : "";
    Plotly.react("explore-parallel", traces, layout({
      xaxis: { tickvals: axes.map((_, i) => i), ticktext: axes.map((a) => safe(a.name)), range: [-0.2, axes.length - 0.6], zeroline: false, showgrid: false },
      yaxis: { visible: false, range: [-0.12, 1.12] },
      dragmode: "select", annotations: marks, shapes: [...bars, ...boxes], height: 380,
    }), config);
  }
