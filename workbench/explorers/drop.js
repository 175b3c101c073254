// A place for files: dropped on it, or chosen with a click or the keyboard. They travel in pieces, because servers
// refuse long messages. What drop.py hears: {kind: "begin" | "piece" | "unreadable" | "end", ...}.

const PIECE = 1 << 20;

async function sendAll(model, files) {
  model.send({ kind: "begin" });
  for (const file of files) {
    const about = { name: file.name, size: file.size };
    try {
      if (file.size > model.get("most")) {
        model.send({ kind: "large", ...about });
        continue;
      }
      const bytes = await file.arrayBuffer(); // fails for a folder, and for a file that is gone or not to be read
      for (let start = 0; start === 0 || start < bytes.byteLength; start += PIECE) {
        model.send({ kind: "piece", first: start === 0, ...about }, undefined, [bytes.slice(start, start + PIECE)]);
      }
    } catch (error) {
      model.send({ kind: "unreadable", ...about });
    }
  }
  model.send({ kind: "end" });
}

function render({ model, el }) {
  const place = document.createElement("label");
  const text = document.createElement("span");
  const input = document.createElement("input");
  place.className = "wb-drop";
  text.textContent = model.get("text");
  Object.assign(input, { type: "file", multiple: true, accept: model.get("accept") });
  place.append(text, input);
  el.append(place);

  let running = Promise.resolve(); // one batch after the other, so that their pieces do not mix
  const take = (files) => {
    if (files.length) running = running.then(() => sendAll(model, files));
  };
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // the same file can be chosen again
  });
  const lit = (on) => (event) => {
    event.preventDefault(); // else the browser would leave the page for the file
    event.stopPropagation();
    place.classList.toggle("wb-over", on);
  };
  place.addEventListener("dragover", lit(true));
  place.addEventListener("dragleave", lit(false));
  place.addEventListener("drop", (event) => {
    lit(false)(event);
    take([...event.dataTransfer.files]);
  });
}

export default { render };
