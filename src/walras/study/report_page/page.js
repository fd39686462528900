"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const books = JSON.parse(document.getElementById("books").textContent);
  const config = { displayModeBar: false, scrollZoom: false, doubleClick: "reset" };
  const narrow = () => window.innerWidth < 560;

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // Colours are names until the page knows whether it is light or dark.
  function coloured(value) {
    if (value === "$heat") return [[0, css("heat0")], [1, css("heat1")]];
    if (typeof value === "string" && value.startsWith("$")) return css(value.slice(1));
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(coloured);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v)]));
    return value;
  }

  function axis(own) {
    const base = {
      gridcolor: css("grid"), linecolor: css("line"), zerolinecolor: css("muted"), zerolinewidth: 1, automargin: true,
      fixedrange: true, tickfont: { size: narrow() ? 11 : 12 }, title: { standoff: 8, font: { size: 13 } },
    };
    const merged = Object.assign({}, base, own);
    merged.title = Object.assign({}, base.title, own.title);
    if (own.type === "date") {
      Object.assign(merged, { tickformat: "%H:%M\n%d %b", hoverformat: "%d %b, %H:%M", showgrid: false, nticks: narrow() ? 5 : 9 });
    }
    return merged;
  }

  function layoutOf(own) {
    const layout = coloured(own);
    const y = Object.assign({}, layout.yaxis);
    if (y.title) delete y.title; // the unit stands above the plot, where it takes no width
    return Object.assign({
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hoverlabel: {
        bgcolor: css("card"), bordercolor: css("line"), font: { color: css("text"), family: css("sans"), size: 13 }, align: "left",
      },
      font: { family: css("sans"), color: css("muted"), size: 12 }, margin: { l: 40, r: 14, t: 10, b: 30 }, dragmode: false,
    }, layout, { xaxis: axis(layout.xaxis || {}), yaxis: axis(y) });
  }

  function swatch(trace) {
    const mark = document.createElement("span");
    const box = trace.type === "bar" || (trace.mode === "markers");
    mark.className = box ? "swatch box" : "swatch";
    const colour = coloured(box ? trace.marker.color : trace.line.color);
    if (box) mark.style.background = colour;
    else {
      mark.style.borderTopColor = colour;
      mark.style.borderTopStyle = { dot: "dotted", dash: "dashed" }[trace.line.dash] || "solid";
    }
    return mark;
  }

  function legend(plot, figure) {
    let list = plot.previousElementSibling;
    if (!list || !list.classList.contains("legend")) {
      list = document.createElement("ul");
      list.className = "legend";
      plot.before(list);
    }
    list.replaceChildren();
    const unit = figure.layout.yaxis && figure.layout.yaxis.title && figure.layout.yaxis.title.text;
    if (unit) {
      const item = document.createElement("li");
      item.className = "unit";
      item.textContent = unit;
      list.append(item);
    }
    figure.data.forEach((trace, index) => {
      if (!trace.name || trace.showlegend === false) return;
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.append(swatch(trace), trace.name);
      const same = figure.data.map((other, k) => (other.name === trace.name ? k : -1)).filter((k) => k >= 0);
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(shown));
        Plotly.restyle(plot, { visible: shown }, same);
      });
      item.append(button);
      list.append(item);
    });
  }

  function draw(id) {
    const plot = document.getElementById(id), figure = figures[id];
    const data = coloured(figure.data).map((trace) => (trace.type === "heatmap" && narrow() ? Object.assign(trace, { showscale: false }) : trace));
    legend(plot, figure);
    return Plotly.react(plot, data, layoutOf(figure.layout), config);
  }

  // Supply and demand: flat lists [price, energy, ...] become steps from the left.
  function steps(flat) {
    const x = [], y = [];
    let at = 0;
    for (let i = 0; i < flat.length; i += 2) {
      x.push(at, at + flat[i + 1]);
      y.push(flat[i], flat[i]);
      at += flat[i + 1];
    }
    return { x, y };
  }

  const prices = books.flatMap((b) => [...b.b, ...b.a].filter((_, i) => i % 2 === 0));
  const top = prices.reduce((a, b) => Math.max(a, b), 1), bottom = prices.reduce((a, b) => Math.min(a, b), 0);

  function drawBook(index) {
    const plot = document.getElementById("book-plot"), book = books[index];
    const form = "%{x:.2f} kWh at %{y:.2f} ct/kWh";
    const data = [
      Object.assign(steps(book.b), { name: "demand: what buyers would pay", mode: "lines", type: "scatter", line: { color: "$traded", width: 2.4 }, hovertemplate: form }),
      Object.assign(steps(book.a), { name: "supply: what sellers ask", mode: "lines", type: "scatter", line: { color: "$solar", width: 2.4 }, hovertemplate: form }),
    ];
    if (book.p !== null) {
      data.push({
        x: [book.v], y: [book.p], name: "cleared", mode: "markers", type: "scatter", hovertemplate: form,
        marker: { color: "$warm", size: 13, line: { color: "$card", width: 2 } },
      });
    }
    const drop = { type: "line", x0: book.v, x1: book.v, y0: bottom, y1: top, line: { color: "$warm", width: 1.2, dash: "dot" } };
    const shapes = book.p === null ? (book.v > 0 ? [drop] : []) : [
      { type: "line", x0: 0, x1: book.v, y0: book.p, y1: book.p, line: { color: "$warm", width: 1.2, dash: "dot" } },
      { type: "line", x0: book.v, x1: book.v, y0: bottom, y1: book.p, line: { color: "$warm", width: 1.2, dash: "dot" } },
    ];
    const layout = {
      shapes, hovermode: "closest", margin: { l: 40, r: 14, t: 10, b: 44 },
      xaxis: { title: { text: "energy in the slot, kWh" }, rangemode: "tozero" },
      yaxis: { title: { text: "ct/kWh" }, range: [bottom - 1, top * 1.05] },
    };
    legend(plot, { data, layout });
    Plotly.react(plot, coloured(data), layoutOf(layout), config);
    document.getElementById("book-time").textContent = book.t;
    const total = (flat) => flat.reduce((sum, value, i) => (i % 2 ? sum + value : sum), 0);
    const sides = `${total(book.b).toFixed(1)} kWh wanted, ${total(book.a).toFixed(1)} kWh offered`;
    document.getElementById("book-words").textContent = book.p === null
      ? (book.v > 0 ? `${sides}: ${book.v.toFixed(2)} kWh cleared, each order at its own price.` : `${sides}: no bid reaches an ask, nothing is traded.`)
      : `${sides}: ${book.v.toFixed(2)} kWh cleared at ${book.p.toFixed(2)} ct/kWh.`;
  }

  function bookControls() {
    const slider = document.getElementById("book-slot");
    const go = (by) => { slider.value = String(Number(slider.value) + by); drawBook(Number(slider.value)); };
    slider.addEventListener("input", () => drawBook(Number(slider.value)));
    document.getElementById("book-before").addEventListener("click", () => go(-1));
    document.getElementById("book-after").addEventListener("click", () => go(1));
    drawBook(Number(slider.value));
  }

  function memberTable() {
    const table = document.getElementById("member-table"), body = table.tBodies[0];
    const search = document.getElementById("member-search");
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, undefined, { numeric: true }) : Number(x) - Number(y);
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    }));
  }

  function drawAll() {
    const all = Object.keys(figures).map(draw);
    drawBook(Number(document.getElementById("book-slot").value));
    return Promise.all(all);
  }

  bookControls();
  memberTable();
  const widths = new Map();
  const watcher = new ResizeObserver((seen) => seen.forEach(({ target, contentRect }) => {
    const width = Math.round(contentRect.width);
    if (widths.get(target) !== width && target.classList.contains("js-plotly-plot")) Plotly.Plots.resize(target);
    widths.set(target, width);
  }));
  document.querySelectorAll(".plot").forEach((plot) => watcher.observe(plot));
  drawAll().then(() => { document.documentElement.dataset.ready = "yes"; });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let was = narrow();
  window.addEventListener("resize", () => { if (narrow() !== was) { was = narrow(); drawAll(); } });
})();
