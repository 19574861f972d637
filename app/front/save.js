// Gives the browser a file to save, as it comes from Python, and keeps a link to it.
function render({ model, el }) {
  const list = document.createElement("ul");
  list.className = "kneel-saved";
  el.append(list);
  model.on("msg:custom", (said, buffers) => {
    if (said.kind === "clear") {
      for (const link of list.querySelectorAll("a")) URL.revokeObjectURL(link.href);
      list.replaceChildren();
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(buffers, { type: "application/octet-stream" }));
    link.download = said.name;
    link.textContent = said.name;
    const item = document.createElement("li");
    item.append("Saved: ", link);
    list.prepend(item);
    link.click();
  });
}

export default { render };
