// Explains words, shows the values of charts, enlarges them, and filters the samples. The page works without it.
"use strict";
(function () {
  const tip = document.getElementById("tip");
  const large = document.getElementById("large");
  let figures = new Map();

  function readFigures() {
    const parsed = JSON.parse(document.getElementById("figures-data").textContent);
    figures = new Map(parsed.map(figure => [figure.id, figure]));
  }

  // The tip stays on the screen: beside the pointer or below the element, never over an edge.
  function showTip(lines, x, y) {
    tip.replaceChildren(...lines.map(([text, color]) => {
      const line = document.createElement("div");
      if (color) {
        const dot = document.createElement("span");
        dot.className = "dot";
        dot.style.setProperty("--c", color);
        line.append(dot);
      }
      line.append(text);
      return line;
    }));
    (large.open ? large : document.body).append(tip);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const width = document.documentElement.clientWidth, height = document.documentElement.clientHeight;
    tip.style.left = Math.max(4, Math.min(x, width - box.width - 4)) + "px";
    tip.style.top = (y + box.height + 8 > height ? Math.max(4, y - box.height - 24) : y + 6) + "px";
  }
  function hideTip() {
    tip.hidden = true;
    document.querySelectorAll(".cursor").forEach(line => line.remove());
  }

  function explain(button) {
    const text = document.getElementById(button.getAttribute("aria-describedby"));
    const box = button.getBoundingClientRect();
    if (text) showTip([[text.textContent.trim()]], box.left, box.bottom);
  }

  function amount(value, form) {
    if (form.endsWith("%")) return (100 * value).toFixed(parseInt(form.slice(1)) || 0) + "%";
    if (form.endsWith("f")) {
      const digits = parseInt(form.slice(form.indexOf(".") + 1)) || 0;
      return value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
    }
    const size = Math.abs(value);
    if (size > 0 && size < 0.001) return value.toExponential(2);
    return Number(value.toPrecision(3)).toLocaleString("en", {maximumFractionDigits: 6});
  }

  // The values of all curves at the step that is pointed at.
  function readCurves(svg, event) {
    const figure = figures.get(svg.dataset.figure || svg.closest(".plot").id);
    if (!figure) return;
    const [low, high, start, end, top, bottom] = svg.dataset.x.split(" ").map(Number);
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const wanted = low + (place.x - start) / (end - start) * (high - low);
    const shown = figure.data.filter(trace => trace.hoverinfo !== "skip");
    const steps = shown.flatMap(trace => trace.x);
    const step = steps.reduce((best, x) => Math.abs(x - wanted) < Math.abs(best - wanted) ? x : best, steps[0]);
    const lines = [["step " + step.toLocaleString("en")]];
    for (const trace of shown) {
      const at = trace.x.indexOf(step);
      if (at < 0) continue;
      const form = ((trace.hovertemplate || "").match(/%\{y:([^}]*)\}/) || ["", ".3s"])[1];
      lines.push([trace.name + " " + amount(trace.y[at], form), trace.line.color]);
    }
    svg.querySelectorAll(".cursor").forEach(line => line.remove());
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const x = start + (step - low) / (high - low) * (end - start);
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("d", "M" + x + "," + top + "V" + bottom);
    svg.append(cursor);
    showTip(lines, event.clientX + 12, event.clientY);
  }

  function point(event) {
    const button = event.target.closest(".term");
    if (button) return explain(button);
    const marked = event.target.closest("[data-tip]");
    if (marked) return showTip([[marked.dataset.tip]], event.clientX + 12, event.clientY);
    const svg = event.target.closest("svg[data-x]");
    if (svg) return readCurves(svg, event);
    if (!document.activeElement || !document.activeElement.classList.contains("term")) hideTip();
  }

  function enlarge(svg) {
    const copy = svg.cloneNode(true);
    copy.dataset.figure = svg.closest(".plot").id;
    const title = document.createElement("h3");
    const figure = figures.get(copy.dataset.figure);
    title.textContent = figure ? figure.title : "";
    large.querySelector("div").replaceChildren(title, copy);
    large.showModal();
  }

  function filterSamples() {
    const form = document.getElementById("filter");
    if (!form) return;
    const text = form.elements.text.value.trim().toLowerCase();
    const {set, model, verdict} = Object.fromEntries(["set", "model", "verdict"].map(n => [n, form.elements[n].value]));
    let count = 0;
    const samples = document.querySelectorAll("#sample-list .sample");
    for (const sample of samples) {
      const prompt = sample.querySelector("summary").textContent.toLowerCase();
      let any = false;
      for (const one of sample.querySelectorAll(".completion")) {
        const fits = (!model || one.dataset.model === model) && (!verdict || one.dataset.verdict === verdict)
          && (!text || prompt.includes(text) || one.textContent.toLowerCase().includes(text));
        one.hidden = !fits;
        any = any || fits;
      }
      sample.hidden = !any || Boolean(set && sample.dataset.set !== set);
      count += sample.hidden ? 0 : 1;
    }
    const is_filtered = text || set || model || verdict;
    form.querySelector("[role=status]").textContent = is_filtered ? count + " of " + samples.length + " prompts" : "";
  }

  // Called at the beginning, and whenever the live view has put new content into the page.
  function start() {
    readFigures();
    const form = document.getElementById("filter");
    if (form) form.hidden = false;
    filterSamples();
  }

  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("focusin", event => event.target.matches(".term") ? explain(event.target) : hideTip());
  document.addEventListener("keydown", event => { if (event.key === "Escape") hideTip(); });
  addEventListener("scroll", () => { // the tab key scrolls too, and then the tip has to stay with its word
    const focused = document.activeElement;
    if (focused && focused.matches(".term")) explain(focused); else hideTip();
  }, {passive: true, capture: true});
  document.addEventListener("input", event => { if (event.target.closest("#filter")) filterSamples(); });
  document.addEventListener("submit", event => event.preventDefault());
  document.addEventListener("click", event => {
    const svg = event.target.closest(".plot svg");
    if (svg) enlarge(svg);
    if (event.target === large || event.target.closest("#large > button")) large.close();
  });
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])")).filter(fold =>
      /^(origin|tests-|charts-)/.test(fold.dataset.key || "") || fold.querySelector(":scope > .grid"));
    opened.forEach(fold => { fold.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach(fold => { fold.open = false; }));
  window.reportStart = start;
  start();
})();
