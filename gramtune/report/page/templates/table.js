  // The tables of trials: sorted by a click on a heading, filtered with the rest. Only the rows in sight are in the page.
  const number = (text) => parseFloat(text.replace("−", "-").replace(/,/g, ""));
  function element(name, text, parent) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    parent?.append(made);
    return made;
  }

  class Table {
    constructor({ name, header, rows }) {
      this.all = rows;
      this.list = rows;
      this.lit = null;
      if (name) element("h3", name, byId("trials"));
      this.box = element("div", "", byId("trials"));
      this.box.className = "scroll tall";
      this.box.tabIndex = 0;
      this.box.setAttribute("role", "region");
      this.box.setAttribute("aria-label", name || "trials");
      const table = element("table", "", this.box);
      table.setAttribute("aria-rowcount", rows.length + 1);
      this.headings = this.head(element("tr", "", element("thead", "", table)), header);
      this.body = element("tbody", "", table);
      this.box.addEventListener("scroll", () => this.render());
      this.box.addEventListener("keydown", (event) => this.walk(event));
      this.body.addEventListener("mouseover", (event) => highlight(this.numberAt(event.target)));
      this.body.addEventListener("mouseleave", () => highlight(null));
    }

    head(row, header) {
      return header.map((text, i) => {
        const heading = element("th", "", row);
        const longest = this.all.reduce((most, cells) => Math.max(most, cells[i].length), 0);
        heading.style.minWidth = `${longest + 2}ch`; // so that columns keep their width while one scrolls
        if (text) {
          const button = element("button", text, heading);
          button.type = "button";
          button.addEventListener("click", () => this.sort(i, heading.getAttribute("aria-sort") !== "ascending"));
        }
        return heading;
      });
    }

    sort(column, up) {
      this.headings.forEach((other) => other.removeAttribute("aria-sort"));
      this.headings[column].setAttribute("aria-sort", up ? "ascending" : "descending");
      const read = this.all.map((cells) => [cells, cells[column], number(cells[column])]);
      const numeric = read.some(([, , n]) => !Number.isNaN(n));
      read.sort(([, a, m], [, b, n]) => {
        if (!numeric) return (up ? 1 : -1) * (a < b ? -1 : a > b ? 1 : 0);
        if (Number.isNaN(m) || Number.isNaN(n)) return Number.isNaN(m) - Number.isNaN(n); // no value: last
        return (up ? 1 : -1) * (m - n);
      });
      this.sorted = [column, up];
      this.all = read.map(([cells]) => cells);
      this.show(this.numbers);
    }

    show(numbers) {
      this.numbers = numbers;
      this.list = numbers ? this.all.filter((cells) => numbers.has(Number(cells[0]))) : this.all;
      this.render(true);
    }

    // The rows in sight and a few around them; rows without content keep the place of all others.
    render(anew = false, whole = false) {
      const height = (this.height ||= this.measure());
      const seen = Math.ceil((this.box.clientHeight || 520) / height);
      const first = whole ? 0 : Math.max(0, Math.floor(this.box.scrollTop / height) - 20);
      const end = whole ? this.list.length : Math.min(this.list.length, first + seen + 40);
      if (!anew && !whole && first === this.first && end === this.end) return;
      [this.first, this.end] = [first, end];
      const spacer = (rows) => { const row = element("tr"); row.style.height = `${rows * height}px`; return rows > 0 ? [row] : []; };
      const rows = this.list.slice(first, end).map((cells, i) => this.row(cells, first + i + 2));
      this.body.replaceChildren(...spacer(first), ...rows, ...spacer(this.list.length - end));
    }

    measure() {
      if (!this.all.length) return 25;
      this.body.replaceChildren(this.row(this.all[0], 2));
      return this.body.firstChild.getBoundingClientRect().height || 25;
    }

    row(cells, index) {
      const row = element("tr");
      row.setAttribute("aria-rowindex", index);
      cells.forEach((text) => element("td", text, row));
      const n = Number(cells[0]);
      row.dataset.trial = n;
      row.cells[0].style.boxShadow = `inset 4px 0 0 ${colour(byNumber.get(n))}`;
      row.classList.toggle("lit", n === this.lit);
      return row;
    }

    numberAt(target) {
      const row = target.closest("tr[data-trial]");
      return row ? Number(row.dataset.trial) : null;
    }

    light(n) {
      this.lit = n;
      for (const row of this.body.rows) row.classList.toggle("lit", row.dataset.trial === String(n));
    }

    // The arrow keys lead through the trials; the figures show the marked one.
    walk(event) {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!by || !this.list.length) return;
      event.preventDefault();
      const at = this.list.findIndex((cells) => Number(cells[0]) === this.lit);
      const next = at < 0 ? 0 : Math.max(0, Math.min(this.list.length - 1, at + by));
      const top = next * this.height, seen = this.box.clientHeight - 3 * this.height;
      if (top < this.box.scrollTop || top > this.box.scrollTop + seen) this.box.scrollTop = top - seen / 2;
      this.render();
      highlight(Number(this.list[next][0]));
    }
  }
  const tables = data.tables.map((table) => new Table(table));
  window.addEventListener("beforeprint", () => tables.forEach((table) => table.render(true, true)));
  window.addEventListener("afterprint", () => tables.forEach((table) => table.render(true)));
