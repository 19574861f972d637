// One knee: its picture, and landmarks that are moved with the mouse or the arrow keys.
const SVG = "http://www.w3.org/2000/svg";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function render({ model, el }) {
  const size = model.get("size");
  const svg = element("svg", { class: "kneel-knee", viewBox: `0 0 ${size} ${size}` }, el);
  const picture = element("image", { width: size, height: size }, svg);
  const layer = element("g", {}, svg);
  let address = "";
  let dragged = null;

  function show() {
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/jpeg" }));
    picture.setAttribute("href", address);
  }

  function place(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [at.x, at.y].map((value) => Math.min(Math.max(value, 0), size));
  }

  function choose(number) {
    model.set("chosen", number);
    model.save_changes();
  }

  function draw() {
    const focused = layer.contains(document.activeElement);
    layer.replaceChildren();
    model.get("marks").forEach((mark, number) => {
      const chosen = number === model.get("chosen");
      const group = element("g", { class: chosen ? "kneel-chosen" : "", stroke: mark.colour, fill: "none" }, layer);
      if (mark.ellipse) {
        const [rx, ry, turned] = mark.ellipse;
        const [cx, cy] = mark.at;
        element("ellipse", { cx, cy, rx, ry, transform: `rotate(${turned} ${cx} ${cy})`, class: "kneel-region" }, group);
      }
      const point = element("g", { transform: `translate(${mark.at})`, tabindex: chosen ? 0 : -1, class: "kneel-point" }, group);
      point.setAttribute("role", "button");
      point.setAttribute("aria-label", `landmark ${number}, ${mark.name}`);
      element("circle", { r: 13, class: "kneel-grip" }, point);
      element("circle", { r: chosen ? 8 : 6 }, point);
      element("circle", { r: 1.5, fill: mark.colour }, point);
      if (mark.moved) element("path", { d: "M-9 0H-4M4 0H9M0 -9V-4M0 4V9" }, point);
      element("text", { x: 9, y: number < 9 ? 19 : -9, fill: mark.colour }, point).textContent = number;
      point.addEventListener("pointerdown", (event) => {
        svg.setPointerCapture(event.pointerId);
        const [x, y] = place(event);
        dragged = { number, point, off: [mark.at[0] - x, mark.at[1] - y], at: null };
        event.preventDefault();
      });
      if (chosen && focused) point.focus();
    });
  }

  svg.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    dragged.at = place(event).map((value, axis) => value + dragged.off[axis]);
    dragged.point.setAttribute("transform", `translate(${dragged.at})`);
  });
  svg.addEventListener("pointerup", () => {
    if (!dragged) return;
    const { number, at } = dragged;
    dragged = null;
    if (at) model.send({ kind: "put", number, at });
    choose(number);
    draw();
    layer.querySelector("[tabindex='0']")?.focus();
  });
  svg.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    model.send({ kind: "step", number: model.get("chosen"), step });
  });
  model.on("change:picture", show);
  model.on("change:marks", draw);
  model.on("change:chosen", draw);
  show();
  draw();
}

export default { render };
