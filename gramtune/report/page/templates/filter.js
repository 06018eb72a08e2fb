  // Which trials are shown: those that all terms of the filter and all brushes let pass.
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
    const terms = chosen.words.split(/\s+/).filter(Boolean).map(term);
    return trials.filter((t) => terms.every((f) => f(t)) && [...chosen.brushes].every(([axis, [low, high]]) => {
      const height = axes[axis].place(t);
      return height !== null && height >= low && height <= high;
    }));
  }
