// A place to drop a file, or to choose one. It is sent in parts, since a message has a greatest size.
const PART = 2 ** 22;
let number = 0;

async function send(model, file) {
  const mine = ++number;
  model.send({ kind: "begin", number: mine, name: file.name, size: file.size });
  for (let at = 0; at < file.size; at += PART) {
    const part = await file.slice(at, at + PART).arrayBuffer();
    model.send({ kind: "part", number: mine }, undefined, [part]);
  }
  model.send({ kind: "end", number: mine });
}

function render({ model, el }) {
  const zone = document.createElement("label");
  const input = document.createElement("input");
  zone.className = "kneel-drop";
  input.type = "file";
  zone.append("Drop a radiograph here, or click to choose one", input);
  el.append(zone);
  input.addEventListener("change", () => {
    if (input.files.length) send(model, input.files[0]);
    input.value = "";
  });
  const over = (on) => (event) => {
    event.preventDefault();
    zone.classList.toggle("kneel-over", on);
  };
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer.files.length) send(model, event.dataTransfer.files[0]);
  });
}

export default { render };
