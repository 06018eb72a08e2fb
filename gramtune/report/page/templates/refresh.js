  // While a sweep is running, the page loads itself again when it is looked at. What the reader has chosen stays.
  const every = {{ (refresh or 0) * 1000 }}, remembered = `gramtune ${location.pathname}`;
  function recalled() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(remembered));
      sessionStorage.removeItem(remembered);
      return kept;
    } catch { return null; } // a browser that keeps nothing
  }
  const kept = recalled();
  if (kept) {
    Object.assign(chosen, kept, { brushes: new Map(kept.brushes) });
    byId("explore-filter").value = chosen.words;
    byId("explore-log").checked = chosen.logarithmic;
    colouring.value = chosen.key;
    links.forEach(([button, own]) => button.setAttribute("aria-pressed", own === chosen.key));
    tables.forEach((table, i) => { if (kept.sorted[i]) table.sort(...kept.sorted[i]); });
  }
  let touched = 0; // when the reader last did something
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel"]) {
    window.addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
  }
  if (every) setInterval(() => {
    if (document.hidden || Date.now() - touched < every / 3) return;
    const sorted = tables.map((table) => table.sorted);
    try {
      sessionStorage.setItem(remembered, JSON.stringify({ ...chosen, brushes: [...chosen.brushes], sorted }));
    } catch { /* a browser that keeps nothing: the page is fresh, the choice is lost */ }
    location.reload();
  }, every);
