// Draws a figure when it comes near the screen: a report has dozens, and phones should not draw them all at once.
"use strict";
(function () {
  const parsed = JSON.parse(document.getElementById("figures-data").textContent);
  const figures = new Map(parsed.map(figure => [figure.id, figure]));
  const isTouch = matchMedia("(pointer: coarse)").matches;
  const options = {responsive: true, displayModeBar: false, displaylogo: false, scrollZoom: false};

  function draw(element) {
    const figure = figures.get(element.id);
    if (!figure) return;
    figures.delete(element.id);
    const layout = Object.assign({}, figure.layout, {dragmode: isTouch ? false : "zoom"});
    Plotly.newPlot(element, figure.data, layout, options);
  }

  const plots = Array.from(document.querySelectorAll(".plot"));
  if ("IntersectionObserver" in window) {
    const observer = new IntersectionObserver(entries => {
      for (const entry of entries) if (entry.isIntersecting) { observer.unobserve(entry.target); draw(entry.target); }
    }, {rootMargin: "600px"});
    plots.forEach(plot => observer.observe(plot));
  } else {
    plots.forEach(draw);
  }
  addEventListener("beforeprint", () => plots.forEach(draw));
})();
