  // The trials, what is chosen of them, and how each looks. Everything else on the page reads this.
  const data = JSON.parse(document.getElementById("explore-data").textContent);
  const { trials, keys, metric, colours } = data;
  const byId = (id) => document.getElementById(id);
  const byNumber = new Map(trials.map((t) => [t.n, t]));
  // Plotly reads a little HTML in its texts.
  const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const digits = (value) => Number(value.toPrecision(5)).toString();
  const methods = [...new Set(trials.map((t) => t.method))];
  const ramp = ["#00204C", "#213D6B", "#555B6C", "#7B7A77", "#A59C74", "#D3C064"]; // cividis: dark is good, or low
  const lost = "#B00000", absent = "#BBBBBB";
  const many = trials.length > 500; // then markers and error bars take seconds to draw
  const chosen = { words: "", brushes: new Map(), logarithmic: false, key: -1 };
  // brushes: axis → [low, high], both from 0 to 1; key: the one that colours, -1 for method or metric

  const sign = data.minimised ? 1 : -1;
  const order = trials.filter((t) => t.mean !== null).sort((a, b) => sign * (a.mean - b.mean));
  const rank = new Map(order.map((t, i) => [t.n, i / Math.max(1, order.length - 1)]));
  const place = (t) => rank.get(t.n) ?? 2;
  const hover = (t) => `trial ${t.n}: ${safe(t.text)}<br>${safe(metric)} ` +
    (t.mean === null ? "–" : digits(t.mean) + (t.std === null ? "" : ` ± ${digits(t.std)}`)) + ` ${t.status}`;

  // At most so many of a list, evenly over their ranks, the best one included.
  function thinned(list, most) {
    if (list.length <= most) return list;
    const sorted = [...list].sort((a, b) => place(a) - place(b));
    return Array.from({ length: most }, (_, i) => sorted[Math.floor(i * sorted.length / most)]);
  }

  // Where values of a numeric key lie, from 0 to 1.
  function scaleOf(read, log) {
    let low = Infinity, high = -Infinity;
    for (const t of trials) {
      const value = read(t);
      if (value === null || (log && value <= 0)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const scale = log ? Math.log : (v) => v, width = scale(high) - scale(low);
    const at = (value) => (value === null || (log && value <= 0) ? null : width ? (scale(value) - scale(low)) / width : 0.5);
    return { low, high, at };
  }
  const scales = keys.map((key, i) => (key.number ? scaleOf((t) => t.values[i], key.log) : null));
  const step = (share) => ramp[Math.min(ramp.length - 1, Math.floor(share * ramp.length))];
  function keyColour(t, index) {
    const value = t.values[index];
    if (value === null) return absent;
    return scales[index] ? step(scales[index].at(value)) : colours[Math.max(0, keys[index].listed.indexOf(String(value))) % colours.length];
  }
  const rankColour = (t) => (t.status === "COMPLETED" && rank.has(t.n) ? step(rank.get(t.n)) : lost);
  // One method: dark is good. Several: a colour each. A chosen key: its values.
  const colour = (t) => (chosen.key >= 0 ? keyColour(t, chosen.key)
    : methods.length > 1 ? colours[methods.indexOf(t.method) % colours.length] : rankColour(t));
