// A place for files: dropped on it or around it, or chosen with a click or the keyboard. They travel in pieces, because
// servers refuse long messages. What drop.py hears: {kind: "begin" | "piece" | "large" | "unreadable" | "end", batch, ...}.

const PIECE = 1 << 20;

async function sendAll(model, files) {
  const batch = `${Date.now()}-${Math.random()}`; // pages that show the same widget may send at the same time
  const say = (kind, about, buffers) => model.send({ kind, batch, ...about }, undefined, buffers);
  let room = model.get("most");
  say("begin");
  for (const file of files) {
    const about = { name: file.name, size: file.size };
    if (file.size > room) {
      say("large", about);
      continue;
    }
    let bytes;
    try {
      bytes = await file.arrayBuffer(); // fails for a folder, and for a file that is gone or not to be read
    } catch {
      say("unreadable", about);
      continue;
    }
    room -= bytes.byteLength;
    for (let start = 0; start === 0 || start < bytes.byteLength; start += PIECE) {
      say("piece", { first: start === 0, ...about }, [bytes.slice(start, start + PIECE)]);
    }
  }
  say("end");
}

function render({ model, el }) {
  const place = document.createElement("label");
  const text = document.createElement("span");
  const input = document.createElement("input");
  place.className = "wb-drop";
  text.setAttribute("role", "status");
  text.textContent = model.get("text");
  Object.assign(input, { type: "file", multiple: true, accept: model.get("accept") });
  place.append(text, input);
  el.append(place);

  let running = Promise.resolve(); // one batch after the other
  const take = (files) => {
    if (!files.length) return;
    running = running.then(async () => {
      text.textContent = "Reading …";
      try {
        await sendAll(model, files);
        text.textContent = model.get("text");
      } catch (error) {
        console.error(error);
        text.textContent = "That did not arrive; drop it again";
      }
    });
  };
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // the same file can be chosen again
  });

  // The whole explorer takes files: beside the place, the browser would leave the page for a picture dropped there.
  const around = (event) => {
    const own = (model.get("around") && el.closest(model.get("around"))) || place;
    const carries = [...(event.dataTransfer?.types ?? [])].includes("Files");
    return carries && own.contains(event.target);
  };
  const over = (event) => {
    const on = around(event);
    place.classList.toggle("wb-over", on);
    if (on) event.preventDefault();
  };
  const drop = (event) => {
    place.classList.remove("wb-over");
    if (!around(event)) return;
    event.preventDefault();
    event.stopPropagation();
    take([...event.dataTransfer.files]);
  };
  document.addEventListener("dragover", over);
  document.addEventListener("drop", drop, true);
  return () => {
    document.removeEventListener("dragover", over);
    document.removeEventListener("drop", drop, true);
  };
}

export default { render };
