// Shows the values at the pointer. Everything else on the page is drawn already.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const plot = data.plot;

  // The index of the point nearest to a step; steps ascend.
  const nearest = (steps, step) => {
    let low = 0, high = steps.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle; else high = middle;
    }
    return Math.abs(steps[low] - step) <= Math.abs(steps[high] - step) ? low : high;
  };
  const shown = (value, unit) => {
    if (typeof value !== "number") return value;
    if (unit === "B") {
      for (const [size, name] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]])
        if (Math.abs(value) >= size) return (value / size).toPrecision(4) + " " + name;
    }
    const text = value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e7) ? value.toExponential(3) : String(+value.toPrecision(5));
    return unit ? text + " " + unit : text;
  };

  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const chart = data.charts[Number(figure.dataset.chart)];
    const svg = figure.querySelector("svg"), cursor = figure.querySelector(".cursor");
    const tip = document.createElement("div");
    tip.className = "tip";
    figure.append(tip);
    const hide = () => { tip.style.display = "none"; cursor.style.visibility = "hidden"; };
    const show = (event) => {
      const box = svg.getBoundingClientRect(), scale = plot.width / box.width;
      const x = (event.clientX - box.left) * scale;
      if (x < plot.left - 8 || x > plot.right + 8) return hide();
      const wanted = Math.min(1, Math.max(0, (x - plot.left) / (plot.right - plot.left))) * data.last_step;
      const curves = chart.curves.filter((curve) => curve.steps.length > 0);
      if (curves.length === 0) return hide();
      let step = curves[0].steps[0];
      for (const curve of curves) {
        const found = curve.steps[nearest(curve.steps, wanted)];
        if (Math.abs(found - wanted) < Math.abs(step - wanted)) step = found;
      }
      tip.replaceChildren();
      const head = document.createElement("b");
      head.textContent = "step " + step;
      tip.append(head);
      for (const curve of curves) {
        const index = nearest(curve.steps, step);
        const line = document.createElement("div"), name = document.createElement("span"), value = document.createElement("b");
        name.textContent = (data.runs.length > 1 && !chart.stacked ? data.runs[curve.run].name + ": " : "") + curve.name +
          (curve.steps[index] === step ? "" : " (step " + curve.steps[index] + ")");
        value.textContent = shown(curve.values[index], chart.unit);
        line.append(name, value);
        tip.append(line);
      }
      tip.style.display = "block";
      const at = plot.left + (plot.right - plot.left) * step / data.last_step;
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.style.visibility = "visible";
      const outer = figure.getBoundingClientRect(), pixels = box.left - outer.left + at / scale;
      tip.style.left = (pixels + 12 + tip.offsetWidth > outer.width ? Math.max(4, pixels - 12 - tip.offsetWidth) : pixels + 12) + "px";
      tip.style.top = (box.top - outer.top + 14) + "px";
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", hide);
  }
})();
