// The page: a file is chosen, a text is typed, and a Worker (worker.js) answers, its words as they come.
"use strict";

const at = (id) => document.getElementById(id);

// Both lie in the page itself, so that it works from a disk and without a network.
const worker = new Worker(URL.createObjectURL(new Blob([at("worker").textContent], { type: "text/javascript" })));
const wasm = Uint8Array.from(atob(at("wasm").textContent), (byte) => byte.charCodeAt(0));

let turns = []; // {role, content}
let answer = null; // the element that is written into

function show(role, text) {
  const element = document.createElement("div");
  element.className = { user: "mine", failed: "failed" }[role] ?? "answer";
  element.textContent = text;
  at("log").append(element);
  element.scrollIntoView({ block: "end" });
  return element;
}

function setBusy(busy) {
  document.body.dataset.state = busy ? "busy" : "ready";
  for (const id of ["send", "new", "mode", "file"]) at(id).disabled = busy;
  at("send").hidden = busy;
  at("stop").hidden = !busy;
}

function begin() {
  turns = [];
  at("log").replaceChildren();
  at("log").className = at("mode").value;
  at("speed").value = "";
  at("prompt").placeholder = at("mode").value === "chat" ? "Say something" : "How does the text begin?";
  at("prompt").focus();
}

function open(file, name) {
  at("model").textContent = `Reading ${name} ...`;
  at("prompt").disabled = true;
  setBusy(true);
  at("stop").hidden = true;
  worker.postMessage({ kind: "open", wasm, file, name });
  at("model").dataset.name = name;
}

function promptOfTurns() {
  if (at("mode").value === "text") return { text: turns.map((turn) => turn.content).join("") };
  const system = at("system").value.trim();
  return { messages: system === "" ? turns : [{ role: "system", content: system }, ...turns] };
}

function send() {
  const text = at("prompt").value;
  if (at("send").disabled || (text.trim() === "" && (at("mode").value === "chat" || turns.length === 0))) return;
  if (text !== "") {
    turns.push({ role: "user", content: text });
    show("user", text);
  }
  at("prompt").value = "";
  answer = show("assistant", "");
  setBusy(true);
  at("stop").focus();
  const options = { maxTokens: Number(at("tokens").value), temperature: Number(at("temperature").value), seed: Number(at("seed").value) };
  worker.postMessage({ kind: "write", prompt: promptOfTurns(), options });
}

function stop() {
  worker.postMessage({ kind: "stop" });
}

function speedText(tokens, speed) {
  return `${tokens} token${tokens === 1 ? "" : "s"}${speed > 0 ? `, ${speed.toFixed(1)} tokens/s` : ""}`;
}

const REASONS = { max_tokens: "as long as asked for", context_full: "the model can read no more", cancelled: "stopped" };

const heard = {
  opened({ info, notes, seconds }) {
    const millions = (info.parameters / 1e6).toFixed(info.parameters < 1e7 ? 2 : 0);
    const megabytes = (info.packedBytes / 1e6).toFixed(info.packedBytes < 1e7 ? 1 : 0);
    const described = [`${millions} million parameters`, `${megabytes} MB`, `${info.contextTokens} tokens of context`, `read in ${seconds.toFixed(1)} s`];
    at("model").textContent = `${at("model").dataset.name}: ${described.join(", ")}`;
    at("model").title = notes.join("\n");
    at("mode").value = info.hasChatTemplate ? "chat" : "text";
    at("prompt").disabled = false;
    setBusy(false);
    begin();
  },
  text({ text, tokens, speed }) {
    answer.textContent += text;
    at("speed").value = speedText(tokens, speed);
    at("log").scrollTop = at("log").scrollHeight;
  },
  written({ text, tokens, stopReason, speed }) {
    answer.textContent = text;
    turns.push({ role: "assistant", content: text });
    const reason = REASONS[stopReason];
    at("speed").value = speedText(tokens.length, speed) + (reason === undefined ? "" : `: ${reason}`);
    setBusy(false);
    at("prompt").focus();
  },
  failed({ during, message }) {
    setBusy(false);
    at("send").disabled = at("prompt").disabled = during === "open";
    if (during === "open") at("model").textContent = "No model.";
    if (during === "write" && turns.at(-1)?.role === "user") at("prompt").value = turns.pop().content; // as if not sent
    show("failed", message);
  },
};

worker.onmessage = ({ data }) => heard[data.kind](data);
worker.onerror = (event) => heard.failed({ during: "open", message: event.message });

at("file").addEventListener("change", () => {
  if (at("file").files.length > 0) open(at("file").files[0], at("file").files[0].name);
});
at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("stop").addEventListener("click", stop);
at("new").addEventListener("click", begin);
at("mode").addEventListener("change", begin);
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (file !== undefined && !at("file").disabled) open(file, file.name);
});

// model.gguf beside the page, where the page comes from a server.
async function openBeside() {
  if (!location.protocol.startsWith("http")) return;
  const response = await fetch("model.gguf");
  if (response.ok) open(await response.blob(), "model.gguf");
}
openBeside().catch(() => {});
