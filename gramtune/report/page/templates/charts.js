  // A scatter per key, and the learning curves.
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "autoScale2d"] };
  const layout = (own) => ({
    margin: { l: 60, r: 15, t: 15, b: 45 }, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", font: { color: "#1b1b1f", size: 12 },
    legend: { orientation: "h", y: -0.3 }, hovermode: "closest", ...own,
  });
  const valueAxis = () => ({ title: { text: safe(metric) }, type: chosen.logarithmic ? "log" : "linear", gridcolor: "#eeeeee", exponentformat: "e" });
  const symbols = { COMPLETED: "circle", PRUNED: "triangle-down", PAUSED: "triangle-left", STOPPED: "square", DIVERGED: "triangle-up", FAILED: "x" };
  const across = (t, index) => (keys[index].number ? t.values[index] : String(t.values[index]));
  function points(some, index, own) {
    return {
      type: "scatter", mode: "markers", x: some.map((t) => across(t, index)), text: some.map(hover), customdata: some.map((t) => t.n), hoverinfo: "text",
      marker: { size: 8, color: some.map(colour), symbol: some.map((t) => symbols[t.status] || "circle-open") }, ...own,
    };
  }
  function scatter(list, index) {
    const key = keys[index], having = list.filter((t) => t.values[index] !== null);
    const traces = methods.map((method) => {
      const some = having.filter((t) => t.method === method && t.mean !== null);
      return points(some, index, {
        name: safe(method || "trials"), showlegend: methods.length > 1 && chosen.key < 0, y: some.map((t) => t.mean),
        error_y: { visible: !many, type: "data", array: some.map((t) => t.std || 0), thickness: 1, width: 3 },
      });
    });
    // Trials that ended without a value stand at the upper edge.
    const none = having.filter((t) => t.mean === null && symbols[t.status]);
    traces.push(points(none, index, { name: "no value", showlegend: none.length > 0, y: none.map(() => 0.97), yaxis: "y2" }));
    const type = key.number ? (key.log ? "log" : "linear") : "category";
    Plotly.react(`explore-key-${index}`, traces, layout({
      height: 300, xaxis: { title: { text: safe(key.name) }, type, gridcolor: "#eeeeee", exponentformat: "e" }, yaxis: valueAxis(),
      yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    }), config);
  }
  function evaluations(t) {
    return t.curve.map(([at, ...values]) => {
      const known = values.map((v, r) => [v, t.seed + r]).filter(([v]) => v !== null);
      const mean = known.length ? known.reduce((sum, [v]) => sum + v, 0) / known.length : null;
      const seeds = known.map(([v, seed]) => `seed ${seed}: ${v}`).join("<br>");
      return { at, mean, text: mean === null ? "" : `trial ${t.n}: ${safe(t.text)}<br>step ${at}: ${digits(mean)} (n = ${known.length})<br>${seeds}` };
    });
  }
  function curves(list) {
    const some = [...list].sort((a, b) => place(a) - place(b)).slice(0, 60);
    const each = methods.length === 1 && some.length <= 20 && chosen.key < 0;
    const named = new Set();
    const traces = some.map((t, i) => {
      const reached = evaluations(t), first = !each && !named.has(t.method);
      named.add(t.method);
      return {
        type: "scatter", mode: "lines+markers", x: reached.map((p) => p.at), y: reached.map((p) => p.mean), text: reached.map((p) => p.text),
        hoverinfo: "text", customdata: reached.map(() => t.n), name: safe(each ? `${t.n}: ${t.text}` : t.method || "trials"), showlegend: each || first,
        legendgroup: each ? `${t.n}` : t.method, marker: { size: 5 },
        line: { width: 1.5, dash: t.status === "COMPLETED" ? ["solid", "dash", "dot"][Math.floor(i / colours.length) % 3] : "dot", color: each ? colours[i % colours.length] : colour(t) },
      };
    });
    byId("explore-curves-note").textContent = list.length > some.length ? `The ${some.length} best of ${list.length}.` : "";
    Plotly.react("explore-curves", traces, layout({ height: 420, xaxis: { title: { text: "training steps" }, gridcolor: "#eeeeee" }, yaxis: valueAxis() }), config);
  }
